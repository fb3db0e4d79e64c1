"""`nf appliance wipe` over a real NOC and real agents. What would run systemctl is a STAND-IN."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from images.appliance.system import Program
from images.appliance.wipe import Wipe
from images.update.manager import Updater
from nf.agent.daemon import AgentConfig
from nf.clock import RealClock
from nf.control.v1 import noc_pb2 as pb
from nf.errors import DeniedError, DriverError, InputError, NfError, NotFoundError, RefusedError, UnavailableError
from nf.trust.roles import OperatorRole
from tests.support.fleet import InProcessFleet, Place, in_process_fleet, refused
from tests.support.machine import FakeMachine


class Recorder:
    def __init__(self) -> None:
        self.ran: list[str] = []
        self.broken = False

    def run(self, program: Program) -> bytes:
        if self.broken:
            raise DriverError("cannot wipe this appliance: the unit failed", where="systemctl")
        self.ran.append(str(program))
        return b""


@dataclass
class Wiping:
    fleet: InProcessFleet
    executor: Recorder

    async def order(
        self,
        code: str = "",
        *,
        appliance: str = "pop1",
        reason: str = "sold",
        name: str = "eve",
        role: OperatorRole = OperatorRole.SECURITY,
    ) -> pb.WipeApplianceResponse:
        async with self.fleet.client(name, role) as noc:
            request = pb.WipeApplianceRequest(appliance=appliance, reason=reason, code=code)
            answer: pb.WipeApplianceResponse = await noc.WipeAppliance(request)
            return answer

    async def refusal(self, code: str = "", **values: str) -> NfError:
        return await refused(self.order(code, **values))  # type: ignore[arg-type]

    async def audited(self) -> list[tuple[str, str]]:
        """(outcome, detail) of what was done here, in the order of time."""
        records = await self.fleet.node.book.store.audit_records(50)
        found = sorted((one for one in records if one.action == "appliance.wipe"), key=lambda one: one.number)
        assert all(one.object == "appliance/pop1" and one.actor.endswith("/operator/eve") for one in found)
        return [(one.outcome, one.detail_json) for one in found]


@pytest.fixture
async def wiping(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Wiping]:
    executor, plain = Recorder(), InProcessFleet.agent_config

    def agent_config(fleet: InProcessFleet, appliance: str) -> AgentConfig:
        config = plain(fleet, appliance)
        if appliance != "pop1":
            return config
        fake = FakeMachine()
        fake.start()
        wipe = Wipe(RealClock(), executor)
        return replace(config, image=lambda context: Updater(context, fake.machine(), wipe))

    monkeypatch.setattr(InProcessFleet, "agent_config", agent_config)
    places = (Place("head", "hub", "headend"), Place("pop1", "s1"))
    async with in_process_fleet(tmp_path, places=places, optional=("s1",)) as fleet:
        await fleet.until(lambda: fleet.node.image_of("pop1") is not None)
        yield Wiping(fleet, executor)


async def test_the_first_call_names_a_code_the_second_does_it_and_both_are_on_record(wiping: Wiping) -> None:
    first = await wiping.order()
    assert (first.wiped, first.code_expires_s, len(first.code)) == (False, 600, 8)
    assert wiping.executor.ran == []
    assert isinstance(await wiping.refusal("AAAAAAAA"), RefusedError)
    assert isinstance(await wiping.refusal(first.code), RefusedError), "each code is tried once"
    assert wiping.executor.ran == []
    code = (await wiping.order()).code
    done = await wiping.order(code)
    assert (done.wiped, done.code, done.reboots_in_s) == (True, "", 10)
    assert wiping.executor.ran == ["systemctl start nf-reset@wipe.service"]
    audited = await wiping.audited()
    assert [outcome for outcome, _ in audited] == [
        "asked", "begun", "failed", "begun", "failed", "asked", "begun", "done",
    ]  # fmt: skip
    assert all('"reason":"sold"' in detail and code not in detail for _, detail in audited)


async def test_what_fails_there_is_told_and_on_record(wiping: Wiping) -> None:
    code = (await wiping.order()).code
    wiping.executor.broken = True
    assert "the unit failed" in str(await wiping.refusal(code))
    assert (await wiping.audited())[-1][0] == "failed"


async def test_it_is_refused_before_anybody_is_asked(wiping: Wiping) -> None:
    assert isinstance(await wiping.refusal(appliance="nobody"), NotFoundError)
    assert isinstance(await wiping.refusal(reason=" "), InputError)
    error = await wiping.refusal(appliance="head")
    assert isinstance(error, RefusedError)
    assert "runs from no image" in str(error)
    with pytest.raises(DeniedError):
        raise await refused(wiping.order(name="ed", role=OperatorRole.ENGINEER))
    await wiping.fleet.kill_agent("pop1")
    await wiping.fleet.until(lambda: wiping.fleet.node.sessions.get("pop1") is None)
    away = await wiping.refusal()
    assert isinstance(away, UnavailableError)
    assert away.remedy
    assert await wiping.audited() == []
