"""The points beside a real proxy and relay: calls of a target are at mediation, whole, and nobody else's."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest

from lab.voice.phone import Call
from lawful_intercept.identifiers import TargetIdentifier
from lawful_intercept.x1.ending import ending_extension
from lawful_intercept.x1.exchange import ReportTaskIssue
from lawful_intercept.x1.lost import Lost, lost_of
from lawful_intercept.x1.messages import DeliveryType, ReportType, TaskDetails
from lawful_intercept.x2x3.codec import Pdu, PduType, encode
from tests.lawful_intercept.points.judges import tshark
from tests.lawful_intercept.points.live import DID, Network, network, until
from tests.sip.interception.world import TARGET, Point, core, phones, talk
from tests.sip.kamailio.daemon import Proxy, Relay

pytestmark = [pytest.mark.root, pytest.mark.daemon]

ALICE = TargetIdentifier("sipUri", TARGET)
FIRST, SECOND = UUID(int=1), UUID(int=2)
X2, X3 = PduType.X2, PduType.X3
POINTS = "{sip: {content: media, address: 127.0.0.1}}"


@pytest.fixture(scope="module")
def machine(
    require_root: Callable[[], None],
    require_programs: Callable[..., None],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Proxy, Relay, Point]]:
    require_root()
    require_programs("kamailio", "rtpengine", "tshark")
    with core(tmp_path_factory.mktemp("i")) as made:
        yield made


@pytest.fixture
def run_dir(machine: tuple[Proxy, Relay, Point]) -> Path:
    return machine[2].run_dir


def lines(pdus: list[Pdu]) -> list[str]:
    return [pdu.payload.partition(b"\r\n")[0].decode(errors="replace") for pdu in pdus if pdu.form.name == "SIP"]


async def whole(net: Network, xid: UUID) -> None:
    """A complete product: all messages of the call, both ways of its media, no gap but for what is told as lost."""
    signalling, media = net.mediation.of(X2, xid), net.mediation.of(X3, xid)
    found = lines(signalling)
    for wanted in ("INVITE sip:bob", "SIP/2.0 180", "SIP/2.0 200", "ACK sip:", "BYE sip:"):
        assert any(line.startswith(wanted) for line in found), found
    assert [pdu.sequence for pdu in signalling] == [*range(len(signalling))]
    left_out = (media[-1].sequence or 0) + 1 - len(media)
    beginning = (media[0].sequence or 0) > 1  # one packet is two numbers there
    await until(lambda: told(net, xid) >= left_out - beginning)
    assert {pdu.form.name for pdu in media} == {"RTP"}
    call = {pdu.correlation for pdu in signalling if pdu.form.name == "SIP" and b"REGISTER" not in pdu.payload[:20]}
    assert len(call) == 1
    assert {pdu.correlation for pdu in media} == call
    for way in ("FROM_TARGET", "TO_TARGET"):
        numbers = [int.from_bytes(pdu.payload[2:4], "big") for pdu in media if pdu.direction.name == way]
        assert len(numbers) >= 40
        assert len(set(numbers)) == len(numbers)


def told(net: Network, xid: UUID) -> int:
    """Packets that the ADMF knows are lost."""
    reports = (one for one in net.admf.reports if isinstance(one, ReportTaskIssue) and one.xid == xid)
    return sum((lost_of(one.extensions) or Lost()).cc for one in reports)


def test_two_tasks_on_a_target_have_a_whole_product_each(run_dir: Path, tmp_path: Path) -> None:
    async def run() -> None:
        async with network(tmp_path / "li", run_dir, POINTS) as net, phones("alice", "bob") as (alice, bob):
            await net.ready(1)
            await net.activate(ALICE, FIRST)
            await net.activate(ALICE, SECOND)
            await net.complete(FIRST, SECOND)
            call, other = await talk(alice, "bob", bob)
            await until(lambda: min(len(net.mediation.of(X3, xid)) for xid in (FIRST, SECOND)) >= 200)
            await call.hangup()
            await other.ended()
            for xid in (FIRST, SECOND):
                await until(
                    lambda xid=xid: _answered(lines(net.mediation.of(X2, xid))), lambda: lines(net.mediation.of(X2))
                )
                await whole(net, xid)
            assert lines(net.mediation.of(X2, FIRST)) == lines(net.mediation.of(X2, SECOND))
            first = [pdu.payload for pdu in net.mediation.of(X3, FIRST)]
            assert set(first) & {pdu.payload for pdu in net.mediation.of(X3, SECOND)}
            status = (await net.admf.client.get_task_details(FIRST)).status
            assert (status.x2_octets or 0) > 0
            assert (status.x3_octets or 0) > 0
            # A judge that this product did not make reads all of it.
            sample = [*net.mediation.of(X2, FIRST), *net.mediation.of(X3, FIRST)[:20]]
            read = [layers["5gli"] for layers in await asyncio.to_thread(tshark, [*map(encode, sample)], tmp_path)]
            assert [one["5gli_li5g_type"] for one in read] == [str(int(pdu.kind)) for pdu in sample]
            assert {one["5gli_li5g_xid"] for one in read} == {str(FIRST)}
            assert [one["rtp"]["rtp_rtp_version"] for one in read[-20:]] == ["2"] * 20
            assert sum("sip" in one for one in read) == len(lines(sample))

    asyncio.run(run())


def _answered(found: list[str]) -> bool:
    """The answer to the BYE is there."""
    at = next((number for number, line in enumerate(found) if line.startswith("BYE")), len(found))
    return any(line.startswith("SIP/2.0 200") for line in found[at:])


def test_of_others_there_is_nothing(run_dir: Path, tmp_path: Path) -> None:
    async def run() -> None:
        async with (
            network(tmp_path / "li", run_dir, POINTS) as net,
            phones("alice", "bob", "carol") as (alice, bob, carol),
        ):
            await net.ready(1)
            await net.activate(ALICE, FIRST)
            await net.complete(FIRST)
            await until(lambda: net.mediation.of(X2))  # her registration, which stood
            standing = len(net.mediation.of(X2))
            call, _ = await talk(bob, "carol", carol)
            await asyncio.sleep(0.5)  # media, as they talk
            await call.hangup()
            await bob.register()
            await alice.register()  # a target's, after all that
            await until(lambda: len(net.mediation.of(X2)) >= standing + 2)
            told = net.mediation.of(X2)[standing:]
            assert lines(told)[0].startswith("REGISTER")
            assert [json.loads(pdu.payload)["event"] for pdu in told[1:]] == ["registration"]
            assert not net.mediation.of(X3)

    asyncio.run(run())


def test_a_call_that_is_up_is_told_and_copied_from_then_on(run_dir: Path, tmp_path: Path) -> None:
    async def run() -> None:
        async with network(tmp_path / "li", run_dir, POINTS) as net, phones("alice", "bob") as (alice, bob):
            await net.ready(1)
            call, other = await talk(alice, "bob", bob)
            await net.activate(ALICE, FIRST)
            await until(lambda: len(net.mediation.of(X3)) >= 100)

            def told() -> list[Pdu]:
                return [pdu for pdu in net.mediation.of(X2) if pdu.form.name == "TS_33_128"]

            await until(told, lambda: f"{lines(net.mediation.of(X2))} {net.admf.reports} {net.process.written()!r}")
            begun = told()
            assert len(begun) == 1
            assert TARGET.encode() in begun[0].payload
            await net.end(FIRST)
            await net.activate(ALICE, SECOND, DeliveryType.X2_ONLY)
            await until(lambda: net.mediation.of(X2, SECOND))
            await call.hangup()
            await other.ended()
            await until(lambda: _answered(lines(net.mediation.of(X2, SECOND))))
            assert not net.mediation.of(X3, SECOND)
            assert begun[0].correlation in {pdu.correlation for pdu in net.mediation.of(X2, SECOND)}

    asyncio.run(run())


@asynccontextmanager
async def chatter(call: Call) -> AsyncIterator[Callable[[], int]]:
    """A re-INVITE after the other, ten in a second at most; how many there were by now."""
    count = 0

    async def run() -> None:
        nonlocal count
        while True:
            await (call.resume() if count % 2 else call.hold())
            count += 1
            await asyncio.sleep(0.1)

    running = asyncio.create_task(run())
    try:
        yield lambda: count
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def numbers(net: Network) -> list[int]:
    """CSeq of the INVITEs that mediation has of alice."""
    heads = [pdu.payload.partition(b"\r\n\r\n")[0] for pdu in net.mediation.of(X2, FIRST) if pdu.form.name == "SIP"]
    found = [re.search(rb"(?im)^CSeq: *(\d+) INVITE", head) for head in heads if head.startswith(b"INVITE ")]
    return sorted({int(one[1]) for one in found if one is not None})


@pytest.mark.parametrize("killed", ["points", "observation", "both"])
def test_of_signalling_a_killed_process_costs_a_tenth_of_a_second(
    machine: tuple[Proxy, Relay, Point], tmp_path: Path, killed: str
) -> None:
    """It comes back with its tasks by itself; what happened while it was away waited in shared memory."""
    point = machine[2]

    async def run() -> None:
        async with network(tmp_path / "li", point.run_dir, POINTS) as net, phones("alice", "bob") as (alice, bob):
            await net.ready(1)
            await net.activate(ALICE, FIRST)
            await net.complete(FIRST)
            call, other = await talk(alice, "bob", bob)
            async with chatter(call) as said:
                await until(lambda: said() >= 5 and len(numbers(net)) >= 5)
                if killed in {"points", "both"}:
                    net.process.kill()
                if killed in {"observation", "both"}:
                    assert point.process is not None
                    point.process.kill()
                    await asyncio.to_thread(point.process.wait)
                away = said()
                await until(lambda: said() >= away + 10)
                if killed in {"observation", "both"}:
                    await asyncio.to_thread(point.start)
                if killed in {"points", "both"}:
                    net.process.start()
                await until(lambda: numbers(net)[-1] - numbers(net)[0] >= away + 5, lambda: (said(), numbers(net)))
                await until(lambda: said() >= away + 20)
                latest = said()
            await until(lambda: numbers(net)[-1] - numbers(net)[0] >= latest - 1, lambda: (latest, numbers(net)))
            await call.hangup()
            await other.ended()
            await until(lambda: _answered(lines(net.mediation.of(X2))), lambda: lines(net.mediation.of(X2)))
            found = numbers(net)
            missing = {*range(found[0], found[-1] + 1)} - {*found}
            assert len(missing) <= 2, (missing, found)
            assert net.admf.cleared() == 1, "nobody had to task it anew"
            assert [record.details.xid for record in (await net.admf.client.get_all_details()).tasks] == [FIRST]
            told = [one for one in net.admf.reports if isinstance(one, ReportTaskIssue) and one.xid == FIRST]
            assert any(one.report is ReportType.NON_TERMINATING_FAULT for one in told), "never silent"

    asyncio.run(run())


def test_copies_go_on_after_a_kill_and_no_number_is_used_twice(run_dir: Path, tmp_path: Path) -> None:
    async def run() -> None:
        async with network(tmp_path / "li", run_dir, POINTS) as net, phones("alice", "bob") as (alice, bob):
            await net.ready(1)
            await net.activate(ALICE, FIRST)
            call, other = await talk(alice, "bob", bob)
            await until(lambda: len(net.mediation.of(X3)) >= 50)
            net.process.kill()
            last = net.mediation.of(X3)[-1].sequence or 0
            before = len(net.mediation.pdus)
            net.process.start()
            await until(lambda: sum(pdu.kind is X3 for pdu in net.mediation.pdus[before:]) >= 200)
            fresh = [pdu.sequence or 0 for pdu in net.mediation.pdus[before:] if pdu.kind is X3]
            fresh = [number for number in fresh if number > last]
            assert len(set(fresh)) == len(fresh)
            for way in ("FROM_TARGET", "TO_TARGET"):
                packets = [pdu for pdu in net.mediation.of(X3) if pdu.direction.name == way]
                seen = [int.from_bytes(pdu.payload[2:4], "big") for pdu in packets]
                assert len(set(seen)) == len(seen)
            await call.hangup()
            await other.ended()

    asyncio.run(run())


def test_a_task_that_ended_while_nobody_was_here_does_not_come_back(run_dir: Path, tmp_path: Path) -> None:
    async def run() -> None:
        async with network(tmp_path / "li", run_dir, POINTS) as net, phones("alice", "bob") as (alice, bob):
            await net.ready(1)
            end = datetime.now(UTC) + timedelta(seconds=5)
            for xid, extensions in ((FIRST, (ending_extension(end),)), (SECOND, ())):
                details = TaskDetails(xid, (ALICE,), DeliveryType.X2_AND_X3, (DID,), extensions=extensions)
                await net.admf.client.activate_task(details)
            net.process.kill()
            await until(lambda: datetime.now(UTC) > end)
            call, other = await talk(alice, "bob", bob)
            net.process.start()
            await until(lambda: any(line.startswith("INVITE") for line in lines(net.mediation.of(X2, SECOND))))
            assert [record.details.xid for record in (await net.admf.client.get_all_details()).tasks] == [SECOND]
            await call.hangup()
            await other.ended()
            await until(lambda: _answered(lines(net.mediation.of(X2, SECOND))))
            assert not any(line.startswith("INVITE") for line in lines(net.mediation.of(X2, FIRST)))

    asyncio.run(run())


def test_mediation_that_was_away_gets_all_of_it(run_dir: Path, tmp_path: Path) -> None:
    async def run() -> None:
        async with network(tmp_path / "li", run_dir, POINTS) as net, phones("alice", "bob") as (alice, bob):
            await net.ready(1)
            await net.activate(ALICE, FIRST)
            await net.complete(FIRST)
            await until(lambda: net.mediation.of(X2))
            await net.mediation.stop()
            call, other = await talk(alice, "bob", bob)
            await asyncio.sleep(2.0)  # media, as the target talks
            await call.hangup()
            await other.ended()
            await net.mediation.start()
            await until(lambda: _answered(lines(net.mediation.of(X2))), lambda: lines(net.mediation.of(X2)))
            await until(lambda: len(net.mediation.of(X3)) >= 150)
            await whole(net, FIRST)

    asyncio.run(run())
