"""A ring of eight routers with the real drivers: source at c0, receiver at c4, two ways of four hops between them.

            s - c0 - c1 - c2 - c3 - c4 - r         the way that costs less
                 \\_ c7 - c6 - c5 _/                the way around

c4 has a tap besides (nfout0, nfout1), as a PoP with an output stage.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface

from headend.multicast.documents import (
    FrrInterface,
    FrrSection,
    InterfaceConfig,
    InterfacesSection,
    TreeEntry,
    TreeSection,
)
from headend.multicast.frr.client import open_vty
from headend.multicast.frr.driver import create as create_frr
from headend.multicast.interfaces.driver import create as create_interfaces
from headend.multicast.tree.driver import create as create_tree
from headend.multicast.tree.routes import dump_routes
from nf.documents.model import DocumentModel
from tests.headend.multicast.tree.network import Node, commit, connect, joined, nodes, until

SIZE, FAR = 8, 4
SOURCE, OTHER_SOURCE, RECEIVER = "10.63.1.10", "10.63.1.11", "10.63.3.10"
GROUP = "232.63.1.1"
TAP, TAP_ADDRESS = "nfout1", "169.254.255.1"
INTERVAL_S = 0.002
"""Between packets: what a gap is measured by."""

_SILENCE = (
    "table netdev silence {{ chain inward {{ type filter hook ingress device {0} priority 0; policy drop; }};"
    " chain outward {{ type filter hook egress device {0} priority 0; policy drop; }}; }}"
)
_SETTLED = 100  # packets that follow each other after a failure before it counts as over


def router(number: int) -> str:
    return f"c{number % SIZE}"


def sections(number: int) -> dict[str, DocumentModel]:
    """`eth1` to the next router, `eth2` to the one before, `eth3` where somebody is attached."""
    before = (number - 1) % SIZE
    addresses = {"eth1": f"10.63.2.{2 * number}/31", "eth2": f"10.63.2.{2 * before + 1}/31"}
    costs = {"eth1": 10, "eth2": 10}
    if number == FAR:
        costs["eth1"] = 15
    interfaces = [InterfaceConfig(name=n, address=IPv4Interface(a)) for n, a in addresses.items()]
    routing = [FrrInterface(name=name, bfd=True, cost=cost) for name, cost in costs.items()]
    if number in (0, FAR):
        lan = IPv4Interface("10.63.1.1/24" if number == 0 else "10.63.3.1/24")
        interfaces.append(InterfaceConfig(name="eth3", address=lan))
        routing.append(FrrInterface(name="eth3", passive=True, igmp=number == FAR))
    if number == FAR:
        near, far = IPv4Interface("169.254.255.0/31"), IPv4Interface(f"{TAP_ADDRESS}/31")
        interfaces.append(InterfaceConfig(name="nfout0", address=near, pair=TAP, pair_address=far))
        routing.append(FrrInterface(name="nfout0", passive=True, igmp=True))
    loopback = IPv4Address(f"10.63.255.{number + 1}")
    return {
        "interfaces": InterfacesSection(loopback=loopback, forwarding=True, interfaces=tuple(interfaces)),
        "frr": FrrSection(router_id=loopback, interfaces=tuple(routing)),
        "multicast-tree": TreeSection(entries=tuple(entry(s) for s in (SOURCE, OTHER_SOURCE))),
    }


def entry(source: str) -> TreeEntry:
    channel = "ch1" if source == SOURCE else "ch2"
    return TreeEntry(channel=channel, path="iptv", source=IPv4Address(source), group=IPv4Address(GROUP), port=5000)


_CREATE = {"interfaces": create_interfaces, "frr": create_frr, "multicast-tree": create_tree}


@dataclass
class Ring:
    nodes: dict[str, Node]
    flows: list[Future[None]] = field(default_factory=list)

    def __getitem__(self, name: str) -> Node:
        return self.nodes[name]

    def emit(self, source: str = SOURCE, first: int = 0, dscp: int = 34) -> Future[None]:
        flow = self["s"].start(emit, source, first, dscp)
        self.flows.append(flow)
        return flow

    def input(self, name: str, source: str = SOURCE) -> str:
        """Interface that the router takes the stream from; "" when it does not forward it."""
        return self[name].call(_input, source)

    def wait_input(self, name: str, interface: str) -> None:
        async def there() -> bool:
            return await _input(SOURCE) == interface

        self[name].call(until, there)

    def routed(self, name: str, interface: str) -> None:
        """Wait until the router's best way to the source is over the interface."""

        async def there() -> bool:
            async with open_vty(self[name].run_dir / "frr" / "vty" / "zebra.vty") as vty:
                return f"via {interface}," in await vty.show(f"show ip route {SOURCE}")

        self[name].call(until, there)

    def watched(self, name: str) -> None:
        """Wait until every BFD session of the router is up: one that has just begun runs at a second an interval."""

        async def up() -> bool:
            async with open_vty(self[name].run_dir / "frr" / "vty" / "bfdd.vty") as vty:
                peers = json.loads(await vty.show("show bfd peers json"))
            return len(peers) >= 2 and all(peer["status"] == "up" for peer in peers)

        self[name].call(until, up)


@contextmanager
def ring() -> Iterator[Ring]:
    names = [router(number) for number in range(SIZE)]
    with nodes("s", *names, "r") as made:
        for number, name in enumerate(names):
            connect(made[name], "eth1", made[router(number + 1)], "eth2")
        connect(made["s"], "eth1", made["c0"], "eth3")
        connect(made[router(FAR)], "eth3", made["r"], "eth1")
        for name in names:
            made[name].supervise()
        for name, addresses in (("s", (SOURCE, OTHER_SOURCE)), ("r", (RECEIVER,))):
            main, *more = (IPv4Interface(f"{address}/24") for address in addresses)
            config = InterfaceConfig(name="eth1", address=main, secondary=tuple(more))
            made[name].call(commit, create_interfaces(made[name].context()), InterfacesSection(interfaces=(config,)))
        work = [made[name].start(_bring_up, made[name], sections(number)) for number, name in enumerate(names)]
        for done in work:
            done.result(60.0)
        whole = Ring(made)
        try:
            for number in range(1, SIZE):
                whole.routed(router(number), "eth2" if number <= FAR else "eth1")
            yield whole
        finally:
            for flow in whole.flows:
                flow.cancel()


async def _bring_up(node: Node, wanted: dict[str, DocumentModel]) -> None:
    for section, want in wanted.items():
        node.drivers[section] = _CREATE[section](node.context())
        await commit(node.drivers[section], want)


async def _input(source: str) -> str:
    route = dump_routes().get((source, GROUP))
    names = dict(socket.if_nameindex())
    return names.get(route.input, "") if route is not None and route.wanted else ""


def silence(node: Node, interface: str) -> None:
    """The link drops everything both ways and keeps its carrier."""
    node.shell("nft", _SILENCE.format(interface))


def end_silence(node: Node) -> None:
    node.shell("nft", "delete table netdev silence")


# -- traffic, and what is missing of it -----------------------------------------------------------------------------


async def emit(source: str, first: int, dscp: int) -> None:
    """Numbered packets, one every INTERVAL_S, until cancelled."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        out.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(source))
        out.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 16)
        out.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, dscp << 2)
        out.bind((source, 0))
        start = time.monotonic()
        number = first
        while True:
            # Late packets are sent at once, so that a busy machine loses none.
            while time.monotonic() >= start + (number - first) * INTERVAL_S:
                out.sendto(number.to_bytes(4, "big") + bytes(184), (GROUP, 5000))
                number += 1
            await asyncio.sleep(INTERVAL_S)


@dataclass
class Receiver:
    """What came, in order: (seconds, number)."""

    packets: list[tuple[float, int]] = field(default_factory=list)

    def gap(self, since: int) -> tuple[int, float]:
        """(packets that never came, longest silence in ms) from the packet of index `since` on."""
        taken = self.packets[max(0, since - 1) :]
        numbers = {number for _, number in taken}
        lost = max(numbers) - min(numbers) + 1 - len(numbers)
        silence = max((after[0] - before[0] for before, after in itertools.pairwise(taken)), default=0.0)
        return lost, silence * 1000.0

    @property
    def settled(self) -> bool:
        """The last packets follow each other."""
        last = [number for _, number in self.packets[-_SETTLED:]]
        return len(last) == _SETTLED and last[-1] - last[0] == _SETTLED - 1


@contextmanager
def receiving(whole: Ring, node: str = "r", interface: str = RECEIVER) -> Iterator[Receiver]:
    receiver = Receiver()
    task = whole[node].start(_receive, interface, receiver)
    try:
        whole[node].call(until, _all_of(lambda: receiver.settled))
        yield receiver
    finally:
        task.cancel()


async def _receive(interface: str, receiver: Receiver) -> None:
    loop = asyncio.get_running_loop()
    with joined(interface, SOURCE, GROUP) as inward:
        inward.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        while True:
            data = await loop.sock_recv(inward, 2048)
            receiver.packets.append((time.monotonic(), int.from_bytes(data[:4], "big")))


def _all_of(*conditions: Callable[[], bool]) -> Callable[[], Awaitable[bool]]:
    async def all_of() -> bool:
        return all(condition() for condition in conditions)

    return all_of


def failure(whole: Ring, receiver: Receiver, title: str, cause: Callable[[], object], over: Callable[[], bool]) -> int:
    """Cause a failure, wait until it is `over` and the stream flows again; the packets lost. Prints the gap."""
    mark = len(receiver.packets)
    cause()

    deadline = time.monotonic() + 90
    while not over():
        assert time.monotonic() < deadline, f"{title}: the stream did not move in time"
        time.sleep(0.02)
    resumed = len(receiver.packets)
    whole["r"].call(until, _all_of(lambda: len(receiver.packets) > resumed + _SETTLED, lambda: receiver.settled))
    lost, silence_ms = receiver.gap(mark)
    with contextlib.suppress(ValueError):  # pytest may have closed it
        print(f"{title}: {lost} packets lost, longest silence {silence_ms:.0f} ms")
    return lost
