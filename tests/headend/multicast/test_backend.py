"""One suite over both backends: source - router u - PoP p, with the backend that is judged - receivers r and q."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface

import pytest

from headend.multicast.backend import BACKENDS, Backend, Forwarding, Place, forwarding
from headend.multicast.documents import (
    FrrInterface,
    FrrSection,
    InterfaceConfig,
    InterfacesSection,
    PinnedRoute,
    TreeEntry,
    TreeSection,
)
from headend.multicast.frr.driver import create as create_frr
from headend.multicast.interfaces.driver import create as create_interfaces
from headend.multicast.tree.driver import create as create_tree
from headend.multicast.tree.routes import dump_routes
from nf.contracts.driver import Driver, Undo
from nf.documents.model import DocumentModel
from tests.headend.multicast.tree.network import (
    Node,
    commit,
    connect,
    context,
    joined,
    nodes,
    overhear,
    receive,
    send,
    take_back,
    until,
)

pytestmark = [pytest.mark.root, pytest.mark.daemon]

SOURCE, OTHER = IPv4Address("10.65.1.10"), IPv4Address("10.65.1.11")
GROUP = IPv4Address("232.65.1.1")
CHANNELS = 300
R, Q = "10.65.3.10", "10.65.4.10"
PLACE = Place(
    router_id=IPv4Address("10.65.255.2"),
    uplink="eth1",
    gateway=IPv4Address("10.65.2.0"),
    access=("eth2", "eth3"),
    sources=(SOURCE, OTHER),
)


@dataclass
class Site:
    backend: Backend
    nodes: dict[str, Node]
    before: dict[str, str] = field(default_factory=dict)
    undos: list[tuple[Driver, list[Undo]]] = field(default_factory=list)

    @property
    def pop(self) -> Node:
        return self.nodes["p"]

    def apply(self, driver: Driver, want: DocumentModel) -> None:
        self.undos.insert(0, (driver, self.pop.call(commit, driver, want)))

    def forwards(self, expected: Callable[[Forwarding | None], bool], source: IPv4Address = SOURCE) -> None:
        async def so() -> bool:
            return expected(forwarding(source, GROUP))

        self.pop.call(until, so)


def interfaces(loopback: str | None, *more: IPv4Interface, **addresses: str) -> InterfacesSection:
    configs = [InterfaceConfig(name=n, address=IPv4Interface(a)) for n, a in addresses.items()]
    configs[0] = configs[0].model_copy(update={"secondary": more})
    return InterfacesSection(
        loopback=IPv4Address(loopback) if loopback else None, forwarding=loopback is not None, interfaces=tuple(configs)
    )


def tree(pinned: tuple[str, ...] = ()) -> TreeSection:
    return TreeSection(
        entries=tuple(
            TreeEntry(
                channel=channel,
                path="iptv",
                source=source,
                group=GROUP,
                port=5000,
                pinned=PinnedRoute(outputs=pinned) if pinned and source == SOURCE else None,
            )
            for channel, source in (("ch1", SOURCE), ("ch2", OTHER))
        )
    )


@pytest.fixture(scope="module", params=BACKENDS, ids=lambda backend: backend.name)
def site(request: pytest.FixtureRequest, require_programs: Callable[..., None]) -> Iterator[Site]:
    require_programs("ip", "nft", "zebra", "staticd", "ospfd", "pimd", "bfdd", "vtysh", "nsenter")
    with nodes("s", "u", "p", "r", "q") as made:
        connect(made["s"], "eth1", made["u"], "eth1")
        connect(made["u"], "eth2", made["p"], "eth1")
        connect(made["p"], "eth2", made["r"], "eth1")
        connect(made["p"], "eth3", made["q"], "eth1")
        site = Site(request.param, made)
        site.before = site.pop.snapshot()
        for name in ("u", "p"):
            made[name].supervise()
        for name, hosts in (
            ("s", interfaces(None, IPv4Interface(f"{OTHER}/24"), eth1=f"{SOURCE}/24")),
            ("r", interfaces(None, eth1=f"{R}/24")),
            ("q", interfaces(None, eth1=f"{Q}/24")),
            ("u", interfaces("10.65.255.1", eth1="10.65.1.1/24", eth2="10.65.2.0/31")),
        ):
            made[name].call(commit, create_interfaces(made[name].context()), hosts)
        # A router towards which a proxy asks is its IGMP router; towards a router, its PIM neighbour.
        down = FrrInterface(name="eth2", bfd=True, igmp=True)
        up = FrrSection(
            router_id=IPv4Address("10.65.255.1"), interfaces=(FrrInterface(name="eth1", passive=True), down)
        )
        made["u"].call(commit, create_frr(made["u"].context()), up)
        made["u"].call(commit, create_tree(made["u"].context()), tree())
        pop = made["p"].context()
        addresses = {"eth1": "10.65.2.1/31", "eth2": "10.65.3.1/24", "eth3": "10.65.4.1/24"}
        site.apply(create_interfaces(pop), interfaces("10.65.255.2", **addresses))
        site.apply(site.backend.driver(pop), site.backend.section(PLACE))
        site.apply(create_tree(pop), tree())
        flows = [made["s"].start(send, str(source), (str(GROUP),), 100_000) for source in (SOURCE, OTHER)]
        try:
            yield site
        finally:
            for flow in flows:
                flow.cancel()


def test_who_asks_gets_it_and_nobody_else(site: Site) -> None:
    assert site.nodes["r"].call(receive, R, str(SOURCE), str(GROUP), 30.0) == 5
    with _Asking(site, "r", R):
        site.forwards(lambda found: found is not None and found.outputs == {"eth2"} and found.packets > 0)
        assert forwarding_of(site) == ("eth1", {"eth2"})
        assert site.nodes["q"].call(overhear, "eth1", str(GROUP), 0.5) == 0
        with _Asking(site, "q", Q):
            site.forwards(lambda found: found is not None and found.outputs == {"eth2", "eth3"})
        site.forwards(lambda found: found is not None and found.outputs == {"eth2"})
    site.forwards(lambda found: found is None)


def forwarding_of(site: Site) -> tuple[str, set[str]]:
    async def read() -> Forwarding | None:
        return forwarding(SOURCE, GROUP)

    found = site.pop.call(read)
    assert found is not None
    return found.input, set(found.outputs)


class _Asking:
    """A receiver of (source, GROUP) for as long as the block runs."""

    def __init__(self, site: Site, node: str, interface: str, source: IPv4Address = SOURCE) -> None:
        self._node, self._way = site.nodes[node], joined(interface, str(source), str(GROUP))

    def __enter__(self) -> socket.socket:
        async def enter() -> socket.socket:
            return self._way.__enter__()

        return self._node.call(enter)

    def __exit__(self, *_: object) -> None:
        async def leave() -> None:
            self._way.__exit__(None, None, None)

        self._node.call(leave)


def test_two_sources_of_one_group_stay_apart(site: Site) -> None:
    assert site.nodes["r"].call(receive, R, str(OTHER), str(GROUP), 20.0) == 5
    with _Asking(site, "r", R, OTHER):
        site.forwards(lambda found: found is not None, OTHER)
        site.forwards(lambda found: found is None, SOURCE)


def test_one_that_stays_is_served_while_another_leaves(site: Site) -> None:
    with _Asking(site, "r", R) as staying:
        site.forwards(lambda found: found is not None)
        with _Asking(site, "r", R):
            pass
        with _Asking(site, "r", R, OTHER):
            site.forwards(lambda found: found is not None, OTHER)
        site.forwards(lambda found: found is None, OTHER)
        assert site.nodes["r"].call(_five, staying) == 5


async def _five(receiver: socket.socket) -> int:
    """Five packets that are yet to come."""
    loop = asyncio.get_running_loop()
    while True:
        try:
            receiver.recv(2048)
        except BlockingIOError:
            break
    return sum([len(await asyncio.wait_for(loop.sock_recv(receiver, 2048), 20.0)) > 0 for _ in range(5)])


def test_many_channels_are_asked_for(site: Site) -> None:
    """More than one socket may hold, here and towards the router above."""
    groups = [str(GROUP + 256 + number) for number in range(CHANNELS)]

    async def carried(number: int) -> bool:
        routes = dump_routes()
        return sum(routes[str(SOURCE), g].wanted for g in groups if (str(SOURCE), g) in routes) == number

    async def ask() -> list[socket.socket]:
        sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(0, CHANNELS, 20)]
        for number, group in enumerate(groups):
            addresses = [socket.inet_aton(text) for text in (group, R, str(SOURCE))]
            sockets[number // 20].setsockopt(socket.IPPROTO_IP, 39, b"".join(addresses))  # IP_ADD_SOURCE_MEMBERSHIP
        return sockets

    sockets = site.nodes["r"].call(ask)
    try:
        for node in (site.pop, site.nodes["u"]):
            node.call(until, lambda: carried(CHANNELS))
    finally:
        for one in sockets:
            one.close()
    for node in (site.pop, site.nodes["u"]):
        node.call(until, lambda: carried(0))


def test_a_unit_that_dies_serves_those_who_still_ask(site: Site) -> None:
    units = site.pop.context().units
    with _Asking(site, "r", R) as receiver:
        site.forwards(lambda found: found is not None)
        status = site.pop.call(units.status, site.backend.unit)
        assert status is not None
        assert status.pid is not None
        os.kill(status.pid, signal.SIGKILL)

        async def anew() -> bool:
            now = await units.status(site.backend.unit)
            return now is not None and now.pid not in {None, status.pid}

        site.pop.call(until, anew)
        site.forwards(lambda found: found is not None)
        assert site.nodes["r"].call(_five, receiver) == 5
    driver = site.undos[1][0]
    assert not site.pop.call(driver.verify, site.backend.section(PLACE), context(15.0))


def test_what_is_pinned_flows_unasked_beside_it(site: Site) -> None:
    """The router above is asked by hand: pins there are its own."""
    driver = create_tree(site.pop.context())
    above = create_tree(site.nodes["u"].context())
    upper = site.nodes["u"].call(commit, above, tree(("eth2",)))
    undos = site.pop.call(commit, driver, tree(("eth3",)))
    assert site.nodes["q"].call(overhear, "eth1", str(GROUP), 20.0) == 5
    units = site.pop.context().units
    status = site.pop.call(units.status, site.backend.unit)
    assert status is not None
    assert status.pid is not None
    os.kill(status.pid, signal.SIGKILL)
    site.forwards(lambda found: found is None)
    site.forwards(lambda found: found is not None and "eth3" in found.outputs)
    assert site.nodes["q"].call(overhear, "eth1", str(GROUP), 20.0) == 5
    with _Asking(site, "r", R):
        site.forwards(lambda found: found is not None and found.outputs == {"eth2", "eth3"})
    site.forwards(lambda found: found is not None and found.outputs == {"eth3"})
    site.pop.call(take_back, driver, undos)
    site.nodes["u"].call(take_back, above, upper)
    site.forwards(lambda found: found is None)


def test_undo_leaves_no_trace(site: Site) -> None:
    for driver, records in site.undos:
        site.pop.call(take_back, driver, records)
        assert site.pop.call(driver.observe).value is None
    assert site.pop.changes(site.before) == []
