"""Test calls through real Kamailio and real rtpengine: what is measured is what was done to the packets."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import aclosing
from typing import Any

import pytest

from nf.clock import RealClock
from nf.contracts.driver import Checkpoint, Context, Operation
from nf.contracts.json import JsonObject
from nf.documents.appliance import ProbeTarget
from sip.calling import dialogs
from sip.calling.digest import account_of
from sip.calling.documents import AnswerPlan, TestCallPlan, Traced
from sip.calling.emodel import CODECS, estimate
from sip.calling.leg import Leg
from sip.calling.outcome import Outcome
from sip.calling.placing import Answerer, place
from sip.calling.probe import VoiceProbe
from sip.kamailio.queries import operations
from sip.operations import CALLS, HANGUP, REGISTRATIONS, TRACE
from sip.tracing.ladder import ladder
from sip.tracing.operation import Trace
from tests.sip.calling import daemons
from tests.sip.calling.daemons import DOMAIN, PROXY, Daemons

pytestmark = [pytest.mark.root, pytest.mark.daemon]


@pytest.fixture(scope="module")
def voice(tmp_path_factory: pytest.TempPathFactory, require_root: object) -> Iterator[Daemons]:
    with daemons.running(tmp_path_factory.mktemp("voice")) as made:
        yield made


def plan(**changed: object) -> TestCallPlan:
    given = {
        "id": "edge",
        "proxy": PROXY,
        "port": 5060,
        "domain": DOMAIN,
        "caller": "probe1",
        "called": "probe2",
        "credentials": "secret:probes",
        "answered": "here",
        "seconds": 3,
        **changed,
    }
    return TestCallPlan.model_validate(given)


def call(**changed: object) -> Outcome:
    return asyncio.run(place(plan(**changed), lambda _: daemons.secret(), RealClock()))


def nft(text: str) -> None:
    subprocess.run(["nft", "-f", "-"], input=text.encode(), check=True)


COUNTED = (
    "table ip voicetest { counter dropped { } "
    "chain in { type filter hook input priority 0; RULE counter name dropped drop; } }"
)


@contextlib.contextmanager
def losing(rule: str) -> Iterator[Callable[[], int]]:
    """Packets that match are lost; how many were."""
    nft(COUNTED.replace("RULE", rule).replace("{", "{\n").replace(";", ";\n").replace("}", "\n}\n"))

    def count() -> int:
        shown = subprocess.run(["nft", "list", "counters"], capture_output=True, check=True, text=True).stdout
        return int(shown.partition("packets ")[2].split()[0])

    try:
        yield count
    finally:
        nft("delete table ip voicetest")


FROM_RELAY = f"ip saddr {daemons.RELAY} udp length 180"
TO_RELAY = f"ip daddr {daemons.RELAY} udp length 180"


def test_a_call_is_measured_both_ways(voice: Daemons) -> None:
    made = call()
    assert made.up, made.text
    assert made.status == 200
    assert made.setup_ms is not None
    assert made.setup_ms > 0
    for way in (made.to_called, made.to_caller):
        assert way is not None
        assert way.measured == "receiver"
        assert way.sent >= 100
        assert (way.loss, way.duplicates) == (0.0, 0)
        assert way.delay_ms is not None
        assert 0 < way.delay_ms < 500
    assert made.mos is not None
    assert made.mos > 4.0
    assert voice.rpc("dlg.stats_active")["all"] == 0
    assert voice.rpc("ul.dump")["Domains"][0]["Domain"]["Stats"]["Records"] == 0


def test_each_packet_that_is_lost_is_counted_and_heard_in_the_mos(voice: Daemons) -> None:
    """Every tenth packet, of both ways together: the very number that the kernel dropped is told."""
    good = call()
    with losing(f"{FROM_RELAY} numgen random mod 10 == 0") as dropped:
        made = call(least_mos=1.0)
        ways = (made.to_called, made.to_caller)
        lost = sum(way.sent - way.received for way in ways if way is not None)
        assert lost == dropped() > 0
    assert made.up, made.text
    assert good.mos is not None
    assert made.mos is not None
    assert made.mos < good.mos - 0.3
    for way in ways:
        assert way is not None
        expected = estimate(
            CODECS["PCMU"], delay_ms=80 + (way.delay_ms or 0), loss=way.loss + way.late, burst_ratio=way.burst_ratio
        )
        assert way.mos == pytest.approx(expected.mos)


def test_a_way_without_sound_is_not_up(voice: Daemons) -> None:
    with losing(f"{TO_RELAY} ip saddr != {daemons.RELAY}"):
        made = call(seconds=1)
    assert not made.up
    assert made.text.startswith("no sound to the called: none of ")


def test_below_the_least_mos_it_is_not_up(voice: Daemons) -> None:
    with losing(f"{FROM_RELAY} numgen inc mod 3 == 0"):
        made = call(seconds=2)
    assert not made.up
    assert "less than 3.6" in made.text


def test_who_may_not_call_is_told_why(voice: Daemons) -> None:
    wrong = asyncio.run(place(plan(), lambda _: daemons.secret().replace(":probe2", "").replace("0", "1"), RealClock()))
    assert not wrong.up
    assert "is not let in: 401" in wrong.text
    nobody = call(called="nobody", answered="other")
    assert (nobody.up, nobody.status, nobody.text) == (False, 404, "refused: 404 Not Found")
    emergency = call(called="112", answered="other", emergency=("112",))
    assert "emergency" in emergency.text
    silent = call(port=5999)
    assert "does not answer REGISTER" in silent.text


async def test_another_appliance_answers_and_its_reports_are_the_measure(voice: Daemons) -> None:
    answer = AnswerPlan.model_validate(
        {"test": "edge", "proxy": PROXY, "port": 5060, "domain": DOMAIN, "user": "probe2", "credentials": "secret:p"}
    )
    answerer = Answerer(answer, lambda _: daemons.secret(), RealClock())
    task = asyncio.create_task(answerer.run())
    try:
        async with asyncio.timeout(30):
            while answerer.fault:  # noqa: ASYNC110 - a daemon is asked
                await asyncio.sleep(0.02)
        with losing(f"{FROM_RELAY} numgen random mod 10 == 0"):
            made = await place(
                plan(answered="there", seconds=5, least_mos=1.0), lambda _: daemons.secret(), RealClock()
            )
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    assert made.up, made.text
    assert answerer.answered == 1
    assert made.to_called is not None
    assert made.to_caller is not None
    assert made.to_called.measured == "rtcp"
    assert made.to_called.delay_ms is not None
    assert made.to_called.delay_ms < 500
    assert 0.02 < made.to_called.loss < 0.25
    assert 0.02 < made.to_caller.loss < 0.25
    assert voice.rpc("dlg.stats_active")["all"] == 0


async def test_the_probe_proves_the_path_and_tells_the_call(voice: Daemons) -> None:
    target = ProbeTarget.model_validate(
        {
            "id": "voice/edge/r1",
            "kind": "voice",
            "channel": "voice",
            "path": "edge",
            "arguments": plan(seconds=1).to_json(),
        }
    )
    context = Context(RealClock(), deadline=float("inf"), resolve_secret=lambda _: daemons.secret())
    samples = []
    async with asyncio.timeout(60), aclosing(VoiceProbe().run(target, context)) as found:  # type: ignore[type-var]
        async for sample in found:
            samples.append(sample)
            if sample.up and len(samples) > 3:
                break
    assert not samples[0].up
    assert samples[0].detail == "the first call is under way"
    last = samples[-1]
    assert last.packets >= 100
    assert last.join_ms is not None
    assert "MOS 4." in last.detail
    assert voice.rpc("dlg.stats_active")["all"] == 0


# -- what operators ask -----------------------------------------------------------------------------------------------


async def asked(found: Mapping[str, Operation], name: str, arguments: JsonObject) -> Mapping[str, Any]:
    context = Context(RealClock(), deadline=float("inf"))
    return await found[name].run(arguments, Checkpoint({}, lambda _: None), context)


async def test_a_call_is_listed_and_hung_up(voice: Daemons) -> None:
    found = operations(lambda: voice, lambda: None, voice.run)
    voice.rpc("htable.sets", "li", "probe1@voice.streamverse.test", "XID-0001")
    calling = asyncio.create_task(place(plan(seconds=30), lambda _: daemons.secret(), RealClock()))
    async with asyncio.timeout(30):
        while not (rows := (await asked(found, CALLS, {"state": "talking"}))["rows"]):  # noqa: ASYNC110 - a daemon is asked
            await asyncio.sleep(0.05)
    (row,) = rows
    assert (row["from"], row["to"]) == (f"sip:probe1@{DOMAIN}", f"sip:probe2@{DOMAIN}")
    assert (await asked(found, CALLS, {"user": "nobody"}))["rows"] == []
    assert (await asked(found, CALLS, {"call": row["call"]}))["total"] == 1
    assert (await asked(found, CALLS, {"call": "none@there"}))["total"] == 0
    registered = await asked(found, REGISTRATIONS, {"user": "probe2"})
    assert registered["total"] == 1
    assert registered["rows"][0]["agent"] == "streamverse-nf"
    assert "XID" not in str(rows) + str(registered)
    assert (await asked(found, HANGUP, {"call": row["call"]}))["ended"] == 1
    made = await calling
    assert not made.up
    assert made.text.startswith("the far end hung up after")
    assert (await asked(found, CALLS, {}))["total"] == 0


async def test_one_that_rings_is_hung_up_too(voice: Daemons) -> None:
    found = operations(lambda: voice, lambda: None, voice.run)
    account = account_of(daemons.secret(), "bob", DOMAIN, where="x")
    proxy = (PROXY, 5060)
    async with (
        Leg("bob", DOMAIN, account, proxy=proxy, clock=RealClock()) as bob,
        Leg(
            "alice", DOMAIN, account_of(daemons.secret(), "alice", DOMAIN, where="x"), proxy=proxy, clock=RealClock()
        ) as alice,
    ):
        await bob.register(expires_s=60, timeout_s=10)
        alice.call(f"sip:bob@{DOMAIN}")
        event = await bob.wait(dialogs.Incoming, timeout_s=10)
        assert isinstance(event, dialogs.Incoming)
        bob.agent.ring(event.call, RealClock().monotonic())
        bob.pump()
        assert isinstance(await alice.wait(dialogs.Ringing, timeout_s=10), dialogs.Ringing)
        (row,) = (await asked(found, CALLS, {"state": "ringing"}))["rows"]
        await asked(found, HANGUP, {"call": row["call"]})
        failed = await alice.wait(dialogs.Failed, timeout_s=10)
        assert isinstance(failed, dialogs.Failed)
        assert failed.status == 487
        await bob.register(expires_s=0, timeout_s=10)


async def test_a_call_is_traced_as_it_passes_the_proxy(voice: Daemons) -> None:
    traced = Traced.model_validate({"id": "proxy1", "addresses": [PROXY], "ports": [5060], "hidden": [5061]})
    tracing = asyncio.create_task(asked({TRACE: Trace(lambda: [traced])}, TRACE, {"user": "probe2", "seconds": 20}))
    await asyncio.sleep(0.5)  # until the capture listens: it tells nobody
    made = await place(plan(seconds=1), lambda _: daemons.secret(), RealClock())
    found = await tracing
    assert made.up, made.text
    assert found["call"] == made.call_id
    assert found["over"]
    assert "5061 is encrypted" in found["text"] or "5061" in found["text"]
    shorts = [one["short"] for one in found["rows"]]
    # INVITE, 407, ACK at the caller; then the call through, and its end.
    assert shorts[:3] == ["INVITE", "407 Proxy Authentication Required", "ACK"]
    assert shorts.count("INVITE") == 3
    assert shorts.count("200 OK") == 4
    assert shorts.count("BYE") == 2
    assert "Digest username" not in str(found)
    lines = ladder(found["rows"], found["names"])
    assert "proxy1" in lines[0]
    assert len(lines) == len(shorts) + 1


async def test_nothing_seen_is_told_after_the_time(voice: Daemons) -> None:
    traced = Traced.model_validate({"id": "proxy1", "addresses": [PROXY], "ports": [5060]})
    found = await asked({TRACE: Trace(lambda: [traced])}, TRACE, {"call": "none@there", "seconds": 1})
    assert found["rows"] == []
    assert found["text"] == "nothing of it was seen within 1 s"
