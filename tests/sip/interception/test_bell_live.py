"""The bell beside the queue: who hears it, and that it is only faster, never needed."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress

import pytest

from nf.contracts.interception import Event, EventKind, Loss
from sip.interception.bell import Bell
from sip.interception.link import WORD, WORDS
from sip.naming import bell_port
from tests.sip.interception.world import PHONES, Point, asking, core, order, phones, talk, until
from tests.sip.kamailio.daemon import DOMAIN, PASSWORD, Proxy, Relay
from tests.sip.kamailio.daemon import until as wait_until
from tests.sip.kamailio.phones import Endpoint

pytestmark = [pytest.mark.root, pytest.mark.daemon]

ALL_PLACES = 8
"""Of evapi's clients."""


@pytest.fixture
def machine(
    require_root: Callable[[], None],
    require_programs: Callable[..., None],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Proxy, Relay, Point]]:
    require_root()
    require_programs("kamailio", "rtpengine")
    with core(tmp_path_factory.mktemp("b")) as made:
        yield made


def stranger(proxy: Proxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", bell_port(proxy.paths.rpc_port)), timeout=30)


def heard(connection: socket.socket) -> bytes:
    """What has come by now."""
    connection.setblocking(False)
    with suppress(BlockingIOError):
        return connection.recv(4096)
    return b""


def free(proxy: Proxy) -> bool:
    """The observation point has used its word."""
    try:
        proxy.rpc("htable.get", WORDS, WORD)
    except LookupError:
        return True
    return False


async def told(point: Point) -> list[Event]:
    """A call of a target, as it is told."""
    async with phones("alice", "bob") as (alice, bob), asking(point) as taker:
        await taker.point.activate(order())
        call, _ = await talk(alice, "bob", bob)
        await taker.event(EventKind.SESSION_BEGIN)
        await call.hangup()
        await taker.event(EventKind.SESSION_END)
        return taker.of(Event)


def test_only_who_knows_the_word_hears_it(machine: tuple[Proxy, Relay, Point]) -> None:
    proxy, _, point = machine
    wait_until(lambda: free(proxy))
    with ExitStack() as stack:
        others = [stack.enter_context(stranger(proxy)) for _ in range(3)]
        others[1].sendall(b"32:" + b"0" * 32 + b",")
        assert asyncio.run(told(point))
        # Its place at the proxy becomes another's.
        point.stop()
        others.append(stack.enter_context(stranger(proxy)))
        point.start()
        wait_until(lambda: free(proxy))
        assert asyncio.run(told(point))
        assert [heard(one) for one in others] == [b""] * 4


def test_a_word_is_good_once(machine: tuple[Proxy, Relay, Point]) -> None:
    proxy, _, point = machine
    wait_until(lambda: free(proxy))
    proxy.rpc("htable.sets", WORDS, WORD, "abc")
    with stranger(proxy) as first, stranger(proxy) as second:
        first.sendall(b"3:abc,")
        assert first.recv(4) == b"1:.,"
        second.sendall(b"3:abc,")
        assert asyncio.run(told(point))
        assert b"1:.," in heard(first)
        assert heard(second) == b""


def test_it_rings_for_what_comes_and_only_then(machine: tuple[Proxy, Relay, Point]) -> None:
    proxy, _, point = machine
    wait_until(lambda: free(proxy))

    async def run() -> None:
        rings: list[None] = []
        bell = Bell(proxy.paths.rpc_port, lambda: rings.append(None))
        proxy.rpc("htable.sets", WORDS, WORD, "abc")
        bell.listen("abc")
        await until(lambda: bell.heard)
        rings.clear()
        async with phones("alice", "bob", "carol") as (alice, bob, carol), asking(point) as taker:
            await taker.point.activate(order())
            await taker.event(EventKind.REGISTRATION_STANDING)
            call, _ = await talk(bob, "carol", carol)
            await call.hangup()
            assert not rings
            call, _ = await talk(alice, "bob", bob)
            await until(lambda: bool(rings))
            await call.hangup()
            await taker.event(EventKind.SESSION_END)
        bell.close()
        assert not bell.heard

    asyncio.run(run())


def test_a_call_is_told_while_all_places_at_the_bell_are_taken(machine: tuple[Proxy, Relay, Point]) -> None:
    proxy, _, point = machine
    wait_until(lambda: free(proxy))
    point.stop()
    with ExitStack() as stack:
        taken = [stack.enter_context(stranger(proxy)) for _ in range(ALL_PLACES)]
        point.start()
        assert asyncio.run(told(point))
        assert [heard(one) for one in taken] == [b""] * ALL_PLACES


def test_a_proxy_serves_though_whoever_it_rings_for_stands_still(machine: tuple[Proxy, Relay, Point]) -> None:
    """More than its processes could have waiting for the bell; all of it is told afterwards."""
    proxy, _, point = machine
    wait_until(lambda: free(proxy))
    registrations = 600

    async def run() -> None:
        async with asking(point) as taker:
            await taker.point.activate(order())
            assert point.process
            point.process.send_signal(signal.SIGSTOP)
            try:
                await asyncio.to_thread(register)
            finally:
                point.process.send_signal(signal.SIGCONT)
            await until(lambda: len(taker.events(EventKind.REGISTRATION)) >= registrations, taker.told)
            assert not taker.of(Loss)

    def register() -> None:
        with Endpoint(PHONES, 6900) as phone:
            for _ in range(registrations):
                assert phone.register("alice", DOMAIN, PASSWORD).code == 200

    asyncio.run(run())
