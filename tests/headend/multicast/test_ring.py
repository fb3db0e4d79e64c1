"""Failures on a ring of eight routers: an unprotected stream moves to the way around, and the gap is counted."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address

import pytest

from headend.multicast.documents import FrrSection, ReversePath
from headend.multicast.tree.routes import dump_routes
from tests.headend.multicast.ring import (
    FAR,
    GROUP,
    OTHER_SOURCE,
    RECEIVER,
    SOURCE,
    TAP_ADDRESS,
    Ring,
    end_silence,
    failure,
    receiving,
    ring,
    router,
    sections,
    silence,
)
from tests.headend.multicast.tree.network import Node, commit, joined, until

pytestmark = [pytest.mark.root, pytest.mark.daemon]
HERE = router(FAR)
USUAL, AROUND = "eth2", "eth1"
CHANNELS = 1000


@pytest.fixture(scope="module")
def whole(require_programs: Callable[..., None]) -> Iterator[Ring]:
    require_programs("ip", "nft", "zebra", "staticd", "ospfd", "pimd", "bfdd", "vtysh", "nsenter")
    with ring() as made:
        made.emit()
        yield made


def back(whole: Ring) -> None:
    """Wait until the stream takes its usual way again."""
    whole.routed(HERE, USUAL)
    whole.wait_input(HERE, USUAL)
    whole.watched(HERE)


def test_every_hop_keeps_the_class_of_the_stream(whole: Ring) -> None:
    hops, tos = whole["r"].call(_marks)
    assert (hops, tos >> 2) == (FAR + 1, 34)


async def _marks() -> tuple[int, int]:
    """(routers passed, TOS octet) of one packet."""
    loop = asyncio.get_running_loop()
    with joined(RECEIVER, SOURCE, GROUP) as inward:
        inward.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)
        inward.setsockopt(socket.IPPROTO_IP, 12, 1)  # IP_RECVTTL
        arrived = asyncio.Event()
        loop.add_reader(inward, arrived.set)
        await asyncio.wait_for(arrived.wait(), 20.0)
        loop.remove_reader(inward)
        _, ancillary, _, _ = inward.recvmsg(2048, 256)
    values = {kind: data[0] for _, kind, data in ancillary}
    return 16 - values[socket.IP_TTL], values[socket.IP_TOS]


def test_two_sources_of_one_group_stay_apart(whole: Ring) -> None:
    other = whole.emit(OTHER_SOURCE)
    try:
        assert whole["r"].call(_senders, SOURCE) == {SOURCE}
        assert whole["r"].call(_senders, OTHER_SOURCE) == {OTHER_SOURCE}
    finally:
        other.cancel()


async def _senders(source: str) -> set[str]:
    loop = asyncio.get_running_loop()
    senders = set()
    with joined(RECEIVER, source, GROUP) as inward:
        for _ in range(50):
            _, (address, _) = await asyncio.wait_for(loop.sock_recvfrom(inward, 2048), 20.0)
            senders.add(address)
    return senders


def test_a_feed_reaches_the_tap_and_loads_no_lan(whole: Ring) -> None:
    with receiving(whole, HERE, TAP_ADDRESS) as tapped:
        assert tapped.settled
        outputs = whole[HERE].call(_outputs)
    assert len(outputs) == 1


async def _outputs() -> tuple[int, ...]:
    return dump_routes()[SOURCE, GROUP].outputs


def test_a_receiver_joins_and_leaves(whole: Ring) -> None:
    first_ms = whole["r"].call(_join)

    async def left() -> bool:
        route = dump_routes().get((SOURCE, GROUP))
        return route is None or not route.wanted

    start = time.monotonic()
    whole[HERE].call(until, left)
    print(f"join to first packet {first_ms:.1f} ms, leave {(time.monotonic() - start) * 1000:.0f} ms")


async def _join() -> float:
    """Milliseconds to the first packet. The receiver has left when it returns."""
    loop, start = asyncio.get_running_loop(), time.monotonic()
    with joined(RECEIVER, SOURCE, GROUP) as inward:
        await asyncio.wait_for(loop.sock_recv(inward, 2048), 20.0)
        return (time.monotonic() - start) * 1000


def test_carrier_loss(whole: Ring) -> None:
    with receiving(whole) as receiver:
        back(whole)
        link = whole[router(FAR - 1)]
        failure(whole, receiver, "carrier loss", _link(link, "eth1", "down"), lambda: whole.input(HERE) == AROUND)
        _link(link, "eth1", "up")()
        back(whole)


def _link(node: Node, interface: str, state: str) -> Callable[[], object]:
    return lambda: node.shell("ip", "link", "set", interface, state)


def test_a_silent_link(whole: Ring) -> None:
    node = whole[router(FAR - 1)]
    with receiving(whole) as receiver:
        lost = failure(
            whole,
            receiver,
            "silent link",
            lambda: silence(node, "eth1"),
            lambda: whole.input(HERE) == AROUND,
        )
        assert lost > 0
        end_silence(node)
        back(whole)


def test_a_dead_core_router(whole: Ring) -> None:
    node = whole[router(FAR - 2)]
    with receiving(whole) as receiver:

        def die() -> None:
            for interface in ("eth1", "eth2"):
                _link(node, interface, "down")()

        failure(whole, receiver, "dead core router", die, lambda: whole.input(HERE) == AROUND)
        for interface in ("eth1", "eth2"):
            _link(node, interface, "up")()
        back(whole)


def test_a_killed_pimd(whole: Ring) -> None:
    node = whole[router(FAR - 1)]
    units = node.context().units
    with receiving(whole) as receiver:
        before = node.call(units.status, "pimd")
        assert before is not None
        assert before.pid is not None
        pid = before.pid

        def restarted() -> bool:
            now = node.call(units.status, "pimd")
            return now is not None and now.pid not in {None, pid}

        failure(whole, receiver, "killed pimd", lambda: os.kill(pid, signal.SIGKILL), restarted)
        back(whole)


def test_a_dead_source(whole: Ring) -> None:
    with receiving(whole) as receiver:
        way = whole.input(HERE)
        number = receiver.packets[-1][1] + 1

        def die_and_return() -> None:
            whole.flows.pop(0).cancel()
            silent = len(receiver.packets)

            async def quiet_now() -> bool:
                nonlocal silent
                quiet, silent = silent == len(receiver.packets), len(receiver.packets)
                await asyncio.sleep(0.2)
                return quiet

            whole["r"].call(until, quiet_now)
            whole.flows.insert(0, whole.emit(first=number))

        failure(whole, receiver, "dead source", die_and_return, lambda: receiver.packets[-1][1] > number)
        assert whole.input(HERE) == way  # nothing had to be joined anew


def test_a_static_reverse_path_holds_while_its_neighbour_is_there(whole: Ring) -> None:
    node, driver = whole[HERE], whole[HERE].drivers["frr"]
    plain = sections(FAR)["frr"]
    assert isinstance(plain, FrrSection)
    path = ReversePath(source=IPv4Address(SOURCE), neighbour=IPv4Address(f"10.63.2.{2 * FAR + 1}"))
    with receiving(whole) as receiver:
        back(whole)
        want = plain.model_copy(update={"reverse_paths": (path,)})
        failure(
            whole,
            receiver,
            "static reverse path",
            lambda: node.call(commit, driver, want),
            lambda: whole.input(HERE) == AROUND,
        )
        there = whole[router(FAR + 1)]
        failure(
            whole,
            receiver,
            "its neighbour's link goes",
            _link(there, "eth2", "down"),
            lambda: whole.input(HERE) == USUAL,
        )
        _link(there, "eth2", "up")()
        whole.wait_input(HERE, AROUND)
        node.call(commit, driver, plain)
        back(whole)


def test_a_thousand_channels_are_joined(whole: Ring) -> None:
    groups = [str(IPv4Address("232.64.1.0") + number) for number in range(CHANNELS)]

    async def joined_all() -> bool:
        routes = dump_routes()
        return sum(routes[SOURCE, group].wanted for group in groups if (SOURCE, group) in routes) == CHANNELS

    with_limit = whole["r"].shell("cat", "/proc/sys/net/ipv4/igmp_max_memberships").strip()
    assert int(with_limit) < CHANNELS

    def all_the_way() -> None:
        start = time.monotonic()
        for number in range(FAR, -1, -1):
            whole[router(number)].call(until, joined_all)
        print(f"{CHANNELS} channels joined on all routers of the way {(time.monotonic() - start) * 1000:.0f} ms later")

    whole["r"].call(_join_then, groups, all_the_way)


async def _join_then(groups: list[str], condition: Callable[[], None]) -> None:
    """As many sockets as it takes, each of which may join 20 groups."""
    sockets: list[socket.socket] = []
    try:
        for number, group in enumerate(groups):
            if number % 20 == 0:
                sockets.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            addresses = [socket.inet_aton(text) for text in (group, RECEIVER, SOURCE)]
            sockets[-1].setsockopt(socket.IPPROTO_IP, 39, b"".join(addresses))  # IP_ADD_SOURCE_MEMBERSHIP
        await asyncio.to_thread(condition)
    finally:
        for one in sockets:
            one.close()
