"""The three drivers of a router on live routers: real packets, real daemons, exact undo."""

from __future__ import annotations

import os
import selectors
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface

import pytest

from headend.multicast.documents import (
    FrrInterface,
    FrrSection,
    InterfaceConfig,
    InterfacesSection,
    PinnedRoute,
    TreeEntry,
    TreeSection,
)
from headend.multicast.frr.client import open_vty
from headend.multicast.frr.daemons import Daemons
from headend.multicast.frr.driver import FrrDriver
from headend.multicast.frr.driver import create as create_frr
from headend.multicast.frr.render import DAEMONS
from headend.multicast.interfaces.driver import InterfacesDriver
from headend.multicast.interfaces.driver import create as create_interfaces
from headend.multicast.mfc.kernel import read_vifs
from headend.multicast.tree.driver import TreeDriver
from headend.multicast.tree.driver import create as create_tree
from headend.satellite.feed.config import Fallback
from headend.satellite.feed.inputs import FallbackInput
from nf.contracts.driver import Driver, Undo
from nf.documents.model import DocumentModel
from nf.errors import DriverError, RefusedError
from nf.telemetry.alarms import AlarmEvent, Severity
from nf.telemetry.samples import Sample
from tests.headend.multicast.tree.network import (
    Node,
    commit,
    connect,
    context,
    nodes,
    overhear,
    receive,
    send,
    take_back,
    until,
)

pytestmark = [pytest.mark.root, pytest.mark.daemon]

SOURCE, RECEIVER = "10.61.1.10", "10.61.3.10"
COMMITTED, OTHER = "232.61.1.1", "232.61.1.2"


def interfaces(loopback: str | None = None, **addresses: str) -> InterfacesSection:
    return InterfacesSection(
        loopback=IPv4Address(loopback) if loopback else None,
        forwarding=loopback is not None,
        interfaces=tuple(InterfaceConfig(name=n, address=IPv4Interface(a)) for n, a in addresses.items()),
    )


def entry(group: str, channel: str = "ch1") -> TreeEntry:
    return TreeEntry(
        channel=channel,
        path="iptv",
        source=IPv4Address(SOURCE),
        group=IPv4Address(group),
        port=5000,
        provides=(f"tree {channel}/iptv",),
    )


def router(loopback: str, *ports: FrrInterface) -> FrrSection:
    return FrrSection(router_id=IPv4Address(loopback), interfaces=ports)


WANTED: dict[str, tuple[tuple[str, DocumentModel], ...]] = {
    "s": (("interfaces", interfaces(eth1=f"{SOURCE}/24")),),
    "a": (
        ("interfaces", interfaces("10.61.255.1", eth1="10.61.1.1/24", eth2="10.61.2.0/31")),
        ("frr", router("10.61.255.1", FrrInterface(name="eth1", passive=True), FrrInterface(name="eth2", bfd=True))),
        ("multicast-tree", TreeSection(entries=(entry(COMMITTED),))),
    ),
    "b": (
        ("interfaces", interfaces("10.61.255.2", eth1="10.61.2.1/31", eth2="10.61.3.1/24")),
        (
            "frr",
            router(
                "10.61.255.2", FrrInterface(name="eth1", bfd=True), FrrInterface(name="eth2", passive=True, igmp=True)
            ),
        ),
        ("multicast-tree", TreeSection(entries=(entry(COMMITTED),))),
    ),
    "r": (("interfaces", interfaces(eth1=f"{RECEIVER}/24")),),
}
CREATE: dict[str, Callable[..., Driver]] = {
    "interfaces": create_interfaces,
    "frr": create_frr,
    "multicast-tree": create_tree,
}


@dataclass
class Network:
    nodes: dict[str, Node]
    before: dict[str, dict[str, str]] = field(default_factory=dict)
    undos: list[tuple[Node, str, list[Undo]]] = field(default_factory=list)

    def wanted(self, name: str, section: str) -> DocumentModel:
        return dict(WANTED[name])[section]

    def frr(self, name: str) -> FrrDriver:
        driver = self.nodes[name].drivers["frr"]
        assert isinstance(driver, FrrDriver)
        return driver

    def daemons(self, name: str) -> Daemons:
        node = self.nodes[name]
        return Daemons(node.run_dir, node.context().units)


@pytest.fixture(scope="module")
def network(require_programs: Callable[..., None]) -> Iterator[Network]:
    require_programs("ip", "nft", "zebra", "ospfd", "pimd", "bfdd", "vtysh", "nsenter")
    with nodes("s", "a", "b", "r") as made:
        connect(made["s"], "eth1", made["a"], "eth1")
        connect(made["a"], "eth2", made["b"], "eth1")
        connect(made["b"], "eth2", made["r"], "eth1")
        network = Network(made)
        network.before = {name: node.snapshot() for name, node in made.items()}
        for name in ("a", "b"):
            made[name].supervise()
        for name, sections in WANTED.items():
            for section, want in sections:
                driver = CREATE[section](made[name].context())
                made[name].drivers[section] = driver
                network.undos.insert(0, (made[name], section, made[name].call(commit, driver, want)))
        yield network


def neighbours_up(network: Network, name: str, interface: str) -> None:
    """Wait for OSPF and PIM on an interface by the driver's own alarms."""
    driver = network.frr(name)

    async def wait() -> None:
        down = {"ospf", "pim"}
        async for event in driver.events():
            assert isinstance(event, AlarmEvent)
            assert event.cause == "adjacency-down"
            appliance, where, protocol = event.object.split("/")
            assert (appliance, where) == (name, interface)
            (down.discard if event.severity is Severity.CLEARED else down.add)(protocol)
            if not down:
                return

    network.nodes[name].call(wait)


@pytest.fixture(scope="module")
def converged(network: Network) -> Network:
    neighbours_up(network, "b", "eth1")
    routed(network)
    return network


def routed(network: Network) -> None:
    """Wait until b knows the way to the source."""

    async def route_to_source() -> bool:
        async with open_vty(network.daemons("b").vty_path("zebra")) as vty:
            return "10.61.1.0/24" in await vty.show_json("show ip route ospf json")

    network.nodes["b"].call(until, route_to_source)


def test_a_committed_stream_arrives_and_another_does_not(converged: Network) -> None:
    sender, receiver = converged.nodes["s"], converged.nodes["r"]
    flow = sender.start(send, SOURCE, (COMMITTED, OTHER))
    try:
        assert receiver.call(receive, RECEIVER, SOURCE, COMMITTED, 20.0) == 5
        assert receiver.call(receive, RECEIVER, SOURCE, OTHER, 2.0) == 0
        dropped = converged.nodes["a"].shell("nft", "list", "chain", "ip", "nf_multicast", "forward")
        assert "counter packets 0 " not in dropped

        tree = converged.nodes["b"].drivers["multicast-tree"]
        both = TreeSection(entries=(entry(COMMITTED), entry(OTHER, "ch2")))
        undos = [(node, node.call(commit, node.drivers["multicast-tree"], both)) for node in _routers(converged)]
        assert receiver.call(receive, RECEIVER, SOURCE, OTHER, 20.0) == 5
        for node, records in undos:
            node.call(take_back, node.drivers["multicast-tree"], records)
        assert receiver.call(receive, RECEIVER, SOURCE, OTHER, 1.0) == 0
        assert (
            converged.nodes["b"].call(tree.verify, converged.wanted("b", "multicast-tree"), context(1.0)).differences
            == ()
        )
    finally:
        flow.cancel()


def test_the_fallback_of_a_pop_comes_to_the_router_itself(converged: Network) -> None:
    flow = converged.nodes["s"].start(send, SOURCE, (COMMITTED,))
    try:
        converged.nodes["b"].call(_fetch)
    finally:
        flow.cancel()


async def _fetch() -> None:
    fallback = Fallback(IPv4Address(SOURCE), IPv4Address(COMMITTED), 5000)
    with selectors.DefaultSelector() as selector:
        taken = FallbackInput(selector, fallback)
        try:
            taken.fetch([IPv4Address("10.61.3.1")])

            async def come() -> bool:
                taken.drain()
                return taken.multiplex.datagrams >= 5

            await until(come)
        finally:
            taken.close()


def _routers(network: Network) -> tuple[Node, Node]:
    return network.nodes["a"], network.nodes["b"]


def test_the_tree_is_measured_from_the_kernels_counters(converged: Network) -> None:
    node = converged.nodes["b"]
    tree = node.drivers["multicast-tree"]
    assert isinstance(tree, TreeDriver)

    async def flowing() -> Sample:
        async for event in tree.events():
            assert isinstance(event, Sample)
            if event.values["bitrate_bps"] > 0 and "age_ms" in event.values:
                return event
        raise AssertionError("the driver's events ended")

    flow = converged.nodes["s"].start(send, SOURCE, (COMMITTED,))
    listening = converged.nodes["r"].start(_listen, RECEIVER, SOURCE, COMMITTED)
    try:
        sample = node.call(flowing)
    finally:
        listening.cancel()
        flow.cancel()
    assert sample.kind == "path.hop"
    assert sample.labels == {"channel": "ch1", "path": "iptv", "point": "tree"}
    assert sample.values["packets"] > 0


async def _listen(interface: str, source: str, group: str) -> None:
    while True:
        await receive(interface, source, group, 30.0)


def test_a_change_is_undone_byte_for_byte(converged: Network) -> None:
    node, driver, daemons = converged.nodes["a"], converged.frr("a"), converged.daemons("a")
    before = node.call(daemons.running_texts, DAEMONS)
    files = {daemon: daemons.read_file(daemon) for daemon in DAEMONS}
    changed = router(
        "10.61.255.1",
        FrrInterface(name="eth1", passive=True, igmp=True, cost=77),
        FrrInterface(name="eth2", bfd=False, pim=False),
    )
    undos = node.call(commit, driver, changed)
    assert node.call(daemons.running_texts, DAEMONS) != before
    assert daemons.read_file("ospfd") != files["ospfd"]
    node.call(take_back, driver, undos)
    assert node.call(daemons.running_texts, DAEMONS) == before
    assert {daemon: daemons.read_file(daemon) for daemon in DAEMONS} == files


def test_a_change_by_hand_is_a_drift_and_is_put_right(converged: Network) -> None:
    node, driver, daemons = converged.nodes["a"], converged.frr("a"), converged.daemons("a")
    want = converged.wanted("a", "frr")

    async def by_hand() -> None:
        async with open_vty(daemons.vty_path("ospfd")) as vty:
            assert (await vty.configure(("interface eth1",), "ip ospf priority 7")).ok
            assert (await vty.configure(("router ospf",), "redistribute static")).ok
        async with open_vty(daemons.vty_path("pimd")) as vty:
            assert (await vty.configure(("interface eth1",), "no ip pim hello 1 4")).ok

    before = node.call(daemons.running_texts, DAEMONS)
    node.call(by_hand)
    drift = node.call(driver.verify, want, context(0.0))
    assert any("ip ospf priority 7" in line for line in drift.differences)
    assert any("redistribute static" in line for line in drift.differences)
    assert any("ip pim hello" in line for line in drift.differences)
    node.call(commit, driver, want)
    assert node.call(daemons.running_texts, DAEMONS) == before


def test_an_address_set_by_hand_is_a_drift(converged: Network) -> None:
    node = converged.nodes["a"]
    driver, want = node.drivers["interfaces"], converged.wanted("a", "interfaces")
    node.shell("ip", "address", "add", "10.61.77.1/24", "dev", "eth1")
    node.shell("ip", "address", "del", "10.61.255.1/32", "dev", "lo")
    drift = node.call(driver.verify, want, context(0.0))
    assert any("10.61.77.1/24" in line for line in drift.differences)
    assert any("loopback" in line for line in drift.differences)
    node.call(commit, driver, want)


def test_a_killed_pimd_is_healed(converged: Network) -> None:
    node, driver = converged.nodes["b"], converged.frr("b")
    units = node.context().units
    status = node.call(units.status, "pimd")
    assert status is not None
    assert status.pid is not None
    os.kill(status.pid, signal.SIGKILL)

    async def anew() -> bool:
        now = await units.status("pimd")
        return now is not None and now.pid not in {None, status.pid}

    node.call(until, anew)
    assert not node.call(driver.verify, converged.wanted("b", "frr"), context(15.0))


def test_a_pinned_channel_flows_unasked_and_survives_pimd(converged: Network) -> None:
    """Also when the virtual interfaces get other numbers."""
    a, b, r = converged.nodes["a"], converged.nodes["b"], converged.nodes["r"]
    routed(converged)
    pinned = TreeSection(entries=(entry(COMMITTED).model_copy(update={"pinned": PinnedRoute(outputs=("eth2",))}),))
    undos = [(node, node.call(commit, node.drivers["multicast-tree"], pinned)) for node in (a, b)]
    flow = converged.nodes["s"].start(send, SOURCE, (COMMITTED,))
    try:
        assert r.call(overhear, "eth1", COMMITTED, 20.0) == 5
        before = b.call(_vifs)
        units, path = b.context().units, converged.daemons("b").config_path("pimd")
        config = path.read_text()
        # pimd numbers interfaces as they come: without eth1 at its start, eth2 takes the number that eth1 had.
        first, eth1, rest = config.partition("interface eth1\n")
        path.write_text(first + rest.partition("exit\n")[2])
        assert eth1
        status = b.call(units.status, "pimd")
        assert status is not None
        assert status.pid is not None
        os.kill(status.pid, signal.SIGKILL)

        async def anew() -> bool:
            return (await _vifs()).get("eth2") == before["eth1"]

        b.call(until, anew)
        b.call(commit, b.drivers["frr"], converged.wanted("b", "frr"))
        assert not b.call(b.drivers["multicast-tree"].verify, pinned, context(20.0))
        assert r.call(overhear, "eth1", COMMITTED, 20.0) == 5
        assert path.read_text() == config
        for node, records in undos:
            node.call(take_back, node.drivers["multicast-tree"], records)
        assert r.call(overhear, "eth1", COMMITTED, 1.0) == 0
        assert r.call(receive, RECEIVER, SOURCE, COMMITTED, 20.0) == 5
    finally:
        flow.cancel()


async def _vifs() -> dict[str, int]:
    return read_vifs()


def test_what_the_real_thing_would_not_take_is_refused(network: Network) -> None:
    node = network.nodes["r"]
    driver = node.drivers["interfaces"]
    assert isinstance(driver, InterfacesDriver)
    state = node.call(driver.observe)
    absent, management = interfaces(eth7="10.1.1.1/24"), interfaces(eth0="10.1.1.1/24")
    with pytest.raises(DriverError, match="eth7"):
        node.call(driver.check, driver.plan(state, absent), absent)
    with pytest.raises(RefusedError, match="eth0"):
        node.call(driver.check, driver.plan(state, management), management)
    assert node.call(driver.observe) == state


def test_a_cut_link_raises_alarms(converged: Network) -> None:
    driver = converged.frr("b")

    async def both_down() -> None:
        down: set[str] = set()
        async for event in driver.events():
            assert isinstance(event, AlarmEvent)
            if event.severity is Severity.MAJOR:
                down.add(event.object)
            if down == {"b/eth1/ospf", "b/eth1/pim"}:
                return

    converged.nodes["a"].shell("ip", "link", "set", "eth2", "down")
    converged.nodes["b"].call(both_down)
    interfaces_of_a = converged.nodes["a"].drivers["interfaces"]
    want = converged.wanted("a", "interfaces")
    drift = converged.nodes["a"].call(interfaces_of_a.verify, want, context(0.0))
    assert any("down is ['eth2']" in line for line in drift.differences)
    converged.nodes["a"].call(commit, interfaces_of_a, want)


def test_undo_leaves_no_trace(network: Network) -> None:
    for node, section, records in network.undos:
        node.call(take_back, node.drivers[section], records)
    for name, node in network.nodes.items():
        assert node.changes(network.before[name]) == []
        for driver in node.drivers.values():
            assert node.call(driver.observe).value is None
