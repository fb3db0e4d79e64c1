"""The observation point beside a real proxy and a real relay: what is told of a target, and nothing of anybody else."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nf.contracts.interception import Content, ContentForm, Direction, Event, EventKind, Loss, LossPlace
from nf.errors import InputError
from tests.sip.interception.world import NUMBER, PHONES, TARGET, Point, asking, core, order, phones, talk, until
from tests.sip.kamailio.daemon import DOMAIN, Proxy, Relay
from tests.sip.kamailio.phones import Endpoint

pytestmark = [pytest.mark.root, pytest.mark.daemon]

BEGIN, END, MESSAGE = EventKind.SESSION_BEGIN, EventKind.SESSION_END, EventKind.MESSAGE


@pytest.fixture(scope="module")
def machine(
    require_root: Callable[[], None],
    require_programs: Callable[..., None],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Proxy, Relay, Point]]:
    require_root()
    require_programs("kamailio", "rtpengine")
    with core(tmp_path_factory.mktemp("i")) as made:
        yield made


@pytest.fixture
def point(machine: tuple[Proxy, Relay, Point]) -> Point:
    return machine[2]


def first_lines(events: list[Event]) -> list[str]:
    return [event.octets.partition(b"\r\n")[0].decode() for event in events]


def test_a_call_is_told_whole_and_both_its_ways_are_copied(point: Point, machine: tuple[Proxy, Relay, Point]) -> None:
    async def run() -> None:
        async with phones("alice", "bob") as (alice, bob), asking(point) as taker:
            await taker.point.activate(order(content="media"))
            call, other = await talk(alice, "bob", bob)
            await until(lambda: len(taker.of(Content)) >= 100, taker.told)
            await call.hold()
            await call.resume()
            await call.hangup()
            await other.ended()
            end = await taker.event(END)
            await until(lambda: any(line.startswith(b"SIP/2.0 200") for line in _tail(taker.events(MESSAGE))))
            begin = await taker.event(BEGIN)
            assert begin.details["direction"] == "from-target"
            assert begin.details["caller"] == TARGET
            assert end.details["seconds"] in range(60)
            assert {event.session for event in taker.of(Event) if event.session} == {begin.session}
            lines = first_lines(taker.events(MESSAGE))
            for wanted in ("INVITE sip:bob", "SIP/2.0 180", "SIP/2.0 200", "ACK sip:", "BYE sip:"):
                assert any(line.startswith(wanted) for line in lines), lines
            assert sum(line.startswith("INVITE") for line in lines) == 3  # hold and resume
            states = [event.details["state"] for event in taker.events(EventKind.SESSION_CHANGE)]
            # 180 and 200 come one upon the other, and the proxy has several workers.
            assert sorted(states[:2]) == ["answered", "ringing"]
            assert states[2:] == ["changed", "changed"]
            assert not any(b"uthorization" in event.octets for event in taker.of(Event))
            assert [event.sequence for event in taker.of(Event)] == [*range(len(taker.of(Event)))]
            copies = taker.of(Content)
            assert [one.sequence for one in copies] == [*range(len(copies))]
            assert {one.form for one in copies} == {ContentForm.RTP}
            assert {one.session for one in copies} == {begin.session}
            for way in (Direction.FROM_TARGET, Direction.TO_TARGET):
                numbers = [int.from_bytes(one.octets[2:4]) for one in copies if one.direction is way]
                assert len(numbers) >= 40
                assert len(set(numbers)) == len(numbers)
            assert {one.direction for one in copies} == {Direction.FROM_TARGET, Direction.TO_TARGET}
            # What is said before media are subscribed to is lost, and told.
            assert {one.place for one in taker.of(Loss)} <= {LossPlace.POINT}

    asyncio.run(run())


def _tail(events: list[Event]) -> list[bytes]:
    """What came after the BYE."""
    octets = [event.octets for event in events]
    at = next((number for number, one in enumerate(octets) if one.startswith(b"BYE")), len(octets))
    return octets[at:]


def test_of_others_there_is_nothing_at_all(point: Point, machine: tuple[Proxy, Relay, Point]) -> None:
    async def run() -> None:
        async with phones("alice", "bob", "carol") as (alice, bob, carol), asking(point) as taker:
            await taker.point.activate(order(content="media"))
            await taker.event(EventKind.REGISTRATION_STANDING)
            before = len(taker.taken)
            call, _ = await talk(bob, "carol", carol)
            await asyncio.sleep(0.5)
            await call.hangup()
            refused = await carol.call("nobody-here")
            await refused.ended()
            await bob.register()
            await alice.register()  # a target's, after all that
            await taker.event(EventKind.REGISTRATION)
            told = taker.taken[before:]
            assert [one.kind for one in told] == [MESSAGE, EventKind.REGISTRATION]
            # Neither is anything of it left where it could be told from.
            proxy = machine[0]
            assert proxy.rpc("htable.dump", "obc") in ([], {}, None) or "c" not in str(proxy.rpc("htable.dump", "obc"))

    asyncio.run(run())


@pytest.mark.parametrize("value", [TARGET, f"tel:{NUMBER}", "tel:+49-30-555-01"])
@pytest.mark.parametrize("dialled", ["alice", NUMBER])
def test_a_target_that_is_called_is_found_by_account_and_number(point: Point, value: str, dialled: str) -> None:
    async def run() -> None:
        async with phones("alice", "bob") as (alice, bob), asking(point) as taker:
            await taker.point.activate(order(value))
            call, _ = await talk(bob, dialled, alice)
            begin = await taker.event(BEGIN)
            assert begin.details["direction"] == "to-target"
            assert {one.value for one in begin.identities} >= {value, TARGET}
            await call.hangup()
            await taker.event(END)

    asyncio.run(run())


def test_a_call_from_a_trunk_is_found_by_the_identity_that_the_network_asserts(point: Point) -> None:
    async def run() -> None:
        async with phones("alice") as (alice,), asking(point) as taker:
            await taker.point.activate(order("tel:+4989777"))
            with Endpoint("127.0.0.22", 5060) as trunk:
                task = asyncio.create_task(
                    asyncio.to_thread(
                        trunk.invite,
                        "anonymous@anonymous.invalid",
                        f"sip:{NUMBER}@127.0.0.1",
                        headers=["P-Asserted-Identity: <sip:+4989777@carrier.example>"],
                    )
                )
                await (await alice.incoming()).answer()
                call = await task
                begin = await taker.event(BEGIN)
                assert begin.details["direction"] == "from-target"
                await asyncio.to_thread(call.bye)
                await taker.event(END)

    asyncio.run(run())


def test_what_a_subscriber_asserts_of_itself_makes_nobody_a_target(point: Point) -> None:
    async def run() -> None:
        async with phones("bob", "carol") as (bob, carol), asking(point) as taker:
            await taker.point.activate(order())
            call = await bob.call("carol", headers=(("P-Asserted-Identity", f"<{TARGET}>"),))
            await (await carol.incoming()).answer()
            await call.answered()
            await call.hangup()
            assert taker.events(BEGIN) == []

    asyncio.run(run())


def test_calls_that_come_to_nothing_are_told_with_how(point: Point) -> None:
    async def run() -> None:
        async with phones("alice", "bob") as (alice, bob), asking(point) as taker:
            await taker.point.activate(order())
            call = await alice.call("bob")
            await bob.incoming()
            await call.early.wait()
            await call.hangup()
            assert (await taker.event(END, 1)).details["code"] == 487
            assert any(line.startswith("CANCEL") for line in first_lines(taker.events(MESSAGE)))
            call = await alice.call("bob")
            (await bob.incoming()).refuse(486)
            await call.ended()
            assert (await taker.event(END, 2)).details["code"] == 486
            call = await alice.call("nobody-here")
            await call.ended()
            assert (await taker.event(END, 3)).details["code"] == 404
            assert len(taker.events(BEGIN)) == 3

    asyncio.run(run())


def test_an_order_in_the_middle_of_a_call_begins_at_once_and_ends_at_once(
    point: Point, machine: tuple[Proxy, Relay, Point]
) -> None:
    async def run() -> None:
        async with phones("alice", "bob") as (alice, bob), asking(point) as taker:
            call, other = await talk(bob, "alice", alice)
            await taker.point.activate(order(content="media"))
            standing = await taker.event(EventKind.SESSION_STANDING)
            assert standing.details["state"] == "answered"
            await until(lambda: len(taker.of(Content)) >= 50)
            await taker.point.activate(order(reference="x2"))
            await taker.event(EventKind.SESSION_STANDING, 1, "x2")
            await taker.point.deactivate("x1")
            await asyncio.sleep(0.3)
            count = len(taker.of(Content))
            await asyncio.sleep(0.5)
            assert len(taker.of(Content)) == count
            for party in (call, other):  # who talk go on hearing one another
                heard = party.media.stats().received
                await until(lambda media=party.media, heard=heard: media.stats().received >= heard + 20)  # type: ignore[misc]
            await call.hangup()
            await taker.event(END, 1, "x2")
            assert taker.events(END, "x1") == []
            await taker.point.deactivate("x2")
            proxy, relay, _ = machine
            await until(lambda: not relay.sessions(), relay.sessions)  # it was left before it had ended
            assert not re.search(r"'name'", str(proxy.rpc("htable.dump", "obt")))

    asyncio.run(run())


def test_registrations_are_told_when_they_come_stand_and_go(point: Point) -> None:
    async def run() -> None:
        async with phones("alice") as (alice,), asking(point) as taker:
            await taker.point.activate(order())
            standing = await taker.event(EventKind.REGISTRATION_STANDING)
            assert PHONES in str(standing.details["contact"])
            await alice.register()
            await taker.event(EventKind.REGISTRATION)
            await alice.register(0)
            await taker.event(EventKind.DEREGISTRATION)
            assert not any(b"uthorization" in event.octets for event in taker.of(Event))

    asyncio.run(run())


def test_what_cannot_be_matched_is_refused(point: Point) -> None:
    async def run() -> None:
        async with asking(point) as taker:
            for value in ("sip:nohost", "tel:alice", "sip:a b@c"):
                with pytest.raises(InputError):
                    await taker.point.activate(order(value))
            with pytest.raises(InputError):
                await taker.point.activate(order(content="n3"))
            status = await taker.point.status()
            assert (status.sources, status.copies, status.orders) == ({"proxy": True}, {"media": True}, 0)

    asyncio.run(run())
    assert DOMAIN
    assert (Path(point.run_dir) / "point.log").read_bytes() == b""
