"""Enrolment, renewal and the uplink; the appliance serves whatever becomes of them."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from nf.agent.enrolment import Keyring, read_ticket
from nf.agent.telemetry import BATCH_ITEMS, TelemetryHub
from nf.clock import RealClock
from nf.control.v1 import noc_pb2
from nf.errors import IdentityError, InputError, NotFoundError, UnavailableError
from nf.telemetry.alarms import AlarmEvent, Severity
from nf.telemetry.samples import Sample
from tests.support.fleet import InProcessFleet, Place, in_process_fleet

ONE = (Place("head", "hub", "headend"),)


@pytest.fixture
async def bare(tmp_path: Path) -> AsyncIterator[InProcessFleet]:
    """A NOC whose one appliance has not enrolled."""
    async with in_process_fleet(tmp_path, ONE, start=False) as running:
        yield running


async def test_an_agent_waits_for_its_enrolment_file(bare: InProcessFleet, caplog: pytest.LogCaptureFixture) -> None:
    bare.home("head").mkdir()
    await bare.start_agent("head")
    await bare.until(lambda: "not enrolled yet" in caplog.text)
    await bare.enrol("head")
    await bare.current()
    assert bare.daemons["head"].rows == {"underlay": "1"}
    mode = (bare.home("head") / "state" / "identity" / "identity.pem").stat().st_mode
    assert mode & 0o077 == 0


async def test_the_file_of_another_machine_or_another_ca_is_refused(bare: InProcessFleet) -> None:
    await bare.enrol("head")
    home = bare.home("head")
    keyring = Keyring(home / "state", home / "enrolment.json", home / "serial", RealClock())
    (home / "serial").write_text("SV-OTHER")
    with pytest.raises(IdentityError, match="SV-OTHER"):
        await keyring.enrol_if_asked()
    data = json.loads((home / "enrolment.json").read_text())
    (home / "enrolment.json").write_text(json.dumps({**data, "ca_sha256": "0" * 64}))
    with pytest.raises(IdentityError, match="not the one"):
        read_ticket(home / "enrolment.json")
    (home / "enrolment.json").write_text("{}")
    with pytest.raises(InputError, match="not an enrolment file"):
        read_ticket(home / "enrolment.json")
    with pytest.raises(NotFoundError):
        read_ticket(home / "nothing")


async def test_an_answer_that_is_lost_after_the_token_was_spent_costs_nobody_a_journey(
    bare: InProcessFleet, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The NOC has it enrolled, the machine does not know: its device key proves who it is."""
    enrolment = bare.node.enrolment
    enrol = enrolment.enrol

    async def lost(**request: object) -> tuple[bytes, bytes]:
        await enrol(**request)
        raise UnavailableError("the line went down", where="head")

    monkeypatch.setattr(enrolment, "enrol", lost)
    await bare.enrol("head")
    await bare.start_agent("head")
    await bare.until(lambda: "the line went down" in caplog.text)
    monkeypatch.setattr(enrolment, "enrol", enrol)
    await bare.current()
    assert bare.daemons["head"].rows == {"underlay": "1"}


async def test_a_crash_between_certificate_and_record_is_made_good_after_the_restart(bare: InProcessFleet) -> None:
    await bare.enrol("head")
    await bare.start_agent("head")
    await bare.current()
    await bare.kill_agent("head")
    (bare.home("head") / "state" / "noc.json").unlink()
    await bare.start_agent("head")
    await bare.current()


async def test_a_replayed_token_helps_no_other_machine(bare: InProcessFleet) -> None:
    """A copy of the whole enrolment file and of the serial, but not of the device key."""
    await bare.enrol("head")
    await bare.start_agent("head")
    await bare.current()
    thief = bare.directory / "thief"
    shutil.copytree(bare.home("head"), thief, ignore=shutil.ignore_patterns("state", "run"))
    keyring = Keyring(thief / "state", thief / "enrolment.json", thief / "serial", RealClock())
    with pytest.raises(IdentityError, match="used already"):
        await keyring.enrol_if_asked()
    assert keyring.identity is None
    async with bare.client() as noc:
        audit = await noc.ShowAudit(noc_pb2.ShowAuditRequest(limit=50))
    assert ("enrolment.enrol", "refused") in {(record.action, record.outcome) for record in audit.records}


class Later(RealClock):
    """A clock that can be set forward, for what reads the time of day."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def now(self) -> float:
        return super().now() + self.ahead_s


async def test_a_certificate_is_renewed_in_use(bare: InProcessFleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """At two thirds of its life: a new certificate, a new session, the same standing."""
    from nf.trust.identity import Identity

    first_due = asyncio.Event()
    before = Identity.renew_at

    def soon(self: Identity, jitter: float | None = None) -> float:
        if first_due.is_set():
            return before(self, jitter)
        first_due.set()
        return self.not_before

    monkeypatch.setattr(Identity, "renew_at", soon)
    first_due.set()
    await bare.enrol("head")
    await bare.start_agent("head")
    await bare.current()
    identity = bare.agents["head"].uplink._identity()
    session = bare.node.sessions.get("head")
    await bare.kill_agent("head")
    first_due.clear()
    await bare.start_agent("head")
    await bare.until(lambda: "head" in bare.agents and bare.agents["head"].uplink._identity() != identity)
    await bare.until(lambda: bare.node.sessions.get("head") not in {None, session})
    await bare.current()


async def test_an_expired_certificate_is_renewed_by_the_device_key(bare: InProcessFleet) -> None:
    """Cut off for a month: the row stays, and the way back needs nobody's hands."""
    await bare.enrol("head")
    await bare.start_agent("head")
    await bare.current()
    identity = bare.agents["head"].uplink._identity()
    await bare.kill_agent("head")
    assert bare.daemons["head"].rows == {"underlay": "1"}

    home = bare.home("head")
    clock = Later()
    clock.ahead_s = 30 * 86_400
    keyring = Keyring(home / "state", home / "enrolment.json", home / "serial", clock)
    keyring.load()
    assert keyring.identity == identity
    assert identity.expired(clock.now())
    await keyring.renew()
    assert keyring.identity != identity

    await bare.start_agent("head")
    await bare.current()


async def test_the_agent_serves_without_a_noc(bare: InProcessFleet) -> None:
    await bare.enrol("head")
    await bare.start_agent("head")
    await bare.current()
    await bare.kill_agent("head")
    await bare.stop_noc()
    bare.daemons["head"].rows.clear()  # the machine was rebooted
    bare.timings = replace(bare.timings, reconcile_s=0.2)
    await bare.start_agent("head")
    await bare.until(lambda: bare.daemons["head"].rows == {"underlay": "1"})
    await bare.start_noc()
    await bare.current()


async def test_what_the_queue_dropped_brings_all_alarms_again() -> None:
    hub = TelemetryHub()
    hub.alarm(AlarmEvent("path-down", "ch1", Severity.MAJOR, 1.0, "gone"))
    for number in range(6_000):
        hub.sample(Sample("unit", 1.0, {"unit": str(number)}, {"cpu": 1.0}))
    batches = hub.batches()
    first = await anext(batches)
    assert first.alarms_complete
    assert [item.alarm.cause for item in first.items] == ["path-down"]
    again = await anext(batches)
    assert again.dropped == 1_001
    assert again.alarms_complete
    assert [item.alarm.cause for item in again.items] == ["path-down"]
    assert len((await anext(batches)).items) == BATCH_ITEMS
    await batches.aclose()  # type: ignore[attr-defined]
