"""The kernel's own multicast routes over rtnetlink: dumped whole, and heard of as they change."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address

import pytest

from headend.multicast.tree.mroute import RouteChange
from headend.multicast.tree.routes import RouteEvents, dump_routes
from tests.headend.multicast.tree.cache import cache
from tests.headend.multicast.tree.network import Node, connect, ip, nodes, send

pytestmark = [pytest.mark.root]

ENTRIES = 1000
FIRST = int(IPv4Address("232.61.0.0"))
SOURCE = "10.61.1.10"


@pytest.fixture(scope="module")
def router(require_programs: Callable[..., None]) -> Iterator[dict[str, Node]]:
    require_programs("ip", "nsenter")
    with nodes("s", "a", "r") as made:
        connect(made["s"], "eth1", made["a"], "eth1")
        connect(made["a"], "eth2", made["r"], "eth1")
        for name, interface, address in (
            ("s", "eth1", f"{SOURCE}/24"),
            ("a", "eth1", "10.61.1.1/24"),
            ("a", "eth2", "10.61.2.1/24"),
            ("r", "eth1", "10.61.2.10/24"),
        ):
            ip("-n", made[name].namespace, "address", "add", address, "dev", interface)
            ip("-n", made[name].namespace, "link", "set", interface, "up")
        yield made


def test_a_kernel_without_a_daemon_has_no_routes(router: dict[str, Node]) -> None:
    async def look() -> int:
        return len(dump_routes())

    assert router["r"].call(look) == 0


def test_a_thousand_entries_are_dumped_and_each_was_told(router: dict[str, Node]) -> None:
    async def fill() -> None:
        groups = [str(IPv4Address(FIRST + number)) for number in range(ENTRIES)]
        with cache(("eth1", "eth2")) as table, RouteEvents() as events:
            for group in groups:
                table.add(SOURCE, group)
            told: list[RouteChange] = []
            async with asyncio.timeout(90):
                while len(told) < ENTRIES:
                    told += await _readable(events)
            indexes = tuple(map(socket.if_nametoindex, ("eth1", "eth2")))
            assert [(change.route.source, change.route.group) for change in told] == [(SOURCE, one) for one in groups]
            assert all((change.route.input, change.route.outputs[0]) == indexes for change in told)
            routes = dump_routes()
            assert set(routes) == {(SOURCE, group) for group in groups}
            assert all((route.input, *route.outputs) == indexes for route in routes.values())
            table.remove(SOURCE, groups[7])
            (change,) = await _readable(events)
            assert change.gone
            assert change.route.group == groups[7]
            assert len(dump_routes()) == ENTRIES - 1
            assert events.overruns == 0

    router["a"].call(fill)


async def _readable(events: RouteEvents) -> list[RouteChange]:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(events.fileno(), ready.set)
    try:
        async with asyncio.timeout(90):
            await ready.wait()
    finally:
        loop.remove_reader(events.fileno())
    return list(events.take())


def test_counters_are_those_of_proc(router: dict[str, Node]) -> None:
    """Judge: /proc/net/ip_mr_cache, the kernel's text of the same counters."""
    group, packets = "232.61.9.9", 25

    async def count() -> None:
        with cache(("eth1", "eth2")) as table:
            table.add(SOURCE, group)
            await asyncio.wrap_future(router["s"].start(send, SOURCE, (group,), packets, 0.001))
            route = dump_routes()[SOURCE, group]
            text = router["a"].shell("cat", "/proc/net/ip_mr_cache")
        line = next(line for line in text.splitlines() if re.match(r"[0-9A-F]{8} ", line))
        told = tuple(map(int, line.split()[3:6]))
        assert (route.packets, route.octets, route.wrong_if) == told == (packets, packets * 1344, 0)
        assert route.forwarded == packets
        assert route.idle_s is not None

    router["a"].call(count)
