"""The points beside a real proxy and relay: calls of a target are at mediation, whole, and nobody else's."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import UUID

import pytest

from lawful_intercept.identifiers import TargetIdentifier
from lawful_intercept.x1.messages import DeliveryType
from lawful_intercept.x2x3.codec import Pdu, PduType, encode
from tests.lawful_intercept.points.judges import tshark
from tests.lawful_intercept.points.live import Network, network, until
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


def whole(net: Network, xid: UUID) -> None:
    """A complete product: all messages of the call, both ways of its media, without a gap."""
    signalling, media = net.mediation.of(X2, xid), net.mediation.of(X3, xid)
    found = lines(signalling)
    for wanted in ("INVITE sip:bob", "SIP/2.0 180", "SIP/2.0 200", "ACK sip:", "BYE sip:"):
        assert any(line.startswith(wanted) for line in found), found
    for pdus in (signalling, media):
        assert [pdu.sequence for pdu in pdus] == [*range(len(pdus))]
    assert {pdu.form.name for pdu in media} == {"RTP"}
    call = {pdu.correlation for pdu in signalling if pdu.form.name == "SIP" and b"REGISTER" not in pdu.payload[:20]}
    assert len(call) == 1
    assert {pdu.correlation for pdu in media} == call
    for way in ("FROM_TARGET", "TO_TARGET"):
        numbers = [int.from_bytes(pdu.payload[2:4], "big") for pdu in media if pdu.direction.name == way]
        assert len(numbers) >= 40
        assert len(set(numbers)) == len(numbers)


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
                whole(net, xid)
            assert lines(net.mediation.of(X2, FIRST)) == lines(net.mediation.of(X2, SECOND))
            first = [pdu.payload for pdu in net.mediation.of(X3, FIRST)]
            assert set(first) & {pdu.payload for pdu in net.mediation.of(X3, SECOND)}
            status = (await net.admf.client.get_task_details(FIRST)).status
            assert (status.x2_octets or 0) > 0
            assert (status.x3_octets or 0) > 0
            # A judge that this product did not make reads all of it.
            sample = [*net.mediation.of(X2, FIRST), *net.mediation.of(X3, FIRST)[:20]]
            read = [layers["5gli"] for layers in tshark(map(encode, sample), tmp_path)]
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
            begun = [pdu for pdu in net.mediation.of(X2) if pdu.form.name == "TS_33_128"]
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


def test_a_process_that_was_killed_says_so_and_is_tasked_anew(run_dir: Path, tmp_path: Path) -> None:
    async def run() -> None:
        async with network(tmp_path / "li", run_dir, POINTS) as net, phones("alice", "bob") as (alice, bob):
            await net.ready(1)
            await net.activate(ALICE, FIRST)
            call, other = await talk(alice, "bob", bob)
            await until(lambda: len(net.mediation.of(X3)) >= 50)
            net.process.kill()
            last = {kind: net.mediation.of(kind)[-1].sequence or 0 for kind in (X2, X3)}
            net.process.start()
            await net.ready(2)
            assert not (await net.admf.client.list_all_details()).xids
            before = len(net.mediation.pdus)
            await net.activate(ALICE, FIRST)
            await until(lambda: sum(pdu.kind is X3 for pdu in net.mediation.pdus[before:]) >= 50)
            fresh = [pdu for pdu in net.mediation.pdus[before:] if (pdu.sequence or 0) > last[pdu.kind]]
            assert {pdu.kind for pdu in fresh} == {X2, X3}
            numbers = [(pdu.kind, pdu.sequence) for pdu in fresh]
            assert len(set(numbers)) == len(numbers)
            await call.hangup()
            await other.ended()

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
            whole(net, FIRST)

    asyncio.run(run())
