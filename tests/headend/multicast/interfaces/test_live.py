"""On real links: what stood there before comes back exactly, order of addresses and switches included."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Interface, IPv6Address

import pytest

from headend.multicast.documents import InterfaceConfig, InterfacesSection
from headend.multicast.interfaces.driver import create
from nf.contracts.driver import Driver
from nf.errors import DriverError
from tests.headend.multicast.tree.network import Node, commit, connect, context, killed_after, nodes, take_back, until

pytestmark = pytest.mark.root


def section(address: str, *, forwarding: bool = True) -> InterfacesSection:
    return InterfacesSection(
        loopback=IPv4Address("10.62.255.1"),
        forwarding=forwarding,
        interfaces=(InterfaceConfig(name="eth1", address=IPv4Interface(address)),),
    )


@pytest.fixture
def node(require_programs: Callable[..., None]) -> Iterator[Node]:
    require_programs("ip", "nft", "nsenter")
    with nodes("i", "j") as made:
        connect(made["i"], "eth1", made["j"], "eth1")
        made["j"].shell("ip", "link", "set", "eth1", "up")
        yield made["i"]


@pytest.fixture
def driver(node: Node) -> Driver:
    return create(node.context())


def test_what_was_there_comes_back(node: Node, driver: Driver) -> None:
    for address in ("10.62.1.9/24", "10.62.1.7/24", "10.62.2.1/24"):
        node.shell("ip", "address", "add", address, "broadcast", "+", "dev", "eth1")
    node.shell("ip", "address", "add", "192.0.2.1/32", "dev", "lo")
    node.shell(
        "sh", "-c", "echo 1 >/proc/sys/net/ipv4/conf/eth1/rp_filter; echo 1 >/proc/sys/net/ipv4/conf/all/rp_filter"
    )
    before = node.snapshot()
    undos = node.call(commit, driver, section("10.62.1.7/24"))
    shown = node.shell("ip", "-4", "address", "show", "dev", "eth1")
    assert "10.62.1.7/24" in shown
    assert "10.62.1.9" not in shown
    assert "192.0.2.1/32" in node.shell("ip", "address", "show", "dev", "lo")
    node.call(take_back, driver, undos)
    assert node.changes(before) == []


def test_undo_of_a_change_brings_the_section_before_back(node: Node, driver: Driver) -> None:
    first, second = section("10.62.1.7/24"), section("10.62.3.1/30", forwarding=False)
    node.shell("sh", "-c", "echo 1 >/proc/sys/net/ipv6/conf/eth1/disable_ipv6")  # its addresses settle by themselves

    async def carrier() -> bool:
        return "state UP" in node.shell("ip", "link", "show", "dev", "eth1")

    node.call(commit, driver, first)
    node.call(until, carrier)
    before = node.snapshot()
    undos = node.call(commit, driver, second)
    assert node.shell("cat", "/proc/sys/net/ipv4/ip_forward").strip() == "0"
    node.call(take_back, driver, undos)
    assert node.changes(before) == []
    assert node.call(driver.verify, first, context(0.0)).differences == ()


def test_a_section_that_goes_takes_its_addresses_along(node: Node, driver: Driver) -> None:
    node.call(commit, driver, section("10.62.1.7/24"))
    state = node.call(driver.observe)
    assert state.facts == {"i.interface.eth1", "i.interface.lo"}
    node.call(commit, driver, None)
    assert "10.62." not in node.shell("ip", "-4", "address")
    assert node.call(driver.observe).value is None


def test_an_ipv6_loopback_comes_and_goes_and_those_of_others_stay(node: Node, driver: Driver) -> None:
    node.shell("ip", "address", "add", "2001:db8:ff::99/128", "dev", "lo")
    before = node.snapshot()
    first = section("10.62.1.7/24").model_copy(update={"loopback6": IPv6Address("2001:db8:ff::3")})
    undos = node.call(commit, driver, first)
    assert "inet6 2001:db8:ff::3/128" in node.shell("ip", "address", "show", "dev", "lo")
    alone = InterfacesSection(loopback6=IPv6Address("2001:db8:ff::4"))
    further = node.call(commit, driver, alone)
    assert node.call(driver.observe).facts == {"i.interface.lo"}
    node.shell("ip", "address", "del", "2001:db8:ff::4/128", "dev", "lo")
    assert node.call(driver.verify, alone, context(0.0)).differences == ("no address is set",)
    node.call(commit, driver, alone)
    node.call(take_back, driver, further)
    assert node.call(driver.verify, first, context(0.0)).differences == ()
    node.call(take_back, driver, undos)
    assert node.changes(before) == []


def with_tap() -> InterfacesSection:
    main = section("10.62.1.7/24").interfaces[0]
    more = (IPv4Interface("10.62.1.11/24"), IPv4Interface("10.62.1.12/24"), IPv4Interface("10.62.9.1/32"))
    tap = InterfaceConfig(
        name="nfout0",
        address=IPv4Interface("169.254.255.0/31"),
        pair="nfout1",
        pair_address=IPv4Interface("169.254.255.1/31"),
    )
    whole = main.model_copy(update={"secondary": more})
    return section("10.62.1.7/24").model_copy(update={"interfaces": (whole, tap)})


async def _hears(sender: str, receiver: str) -> bool:
    """Whether a datagram from one address of this machine arrives at another over the wire between them."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as inward,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out,
    ):
        inward.setblocking(False)
        inward.bind(("232.62.1.1", 5000))
        inward.setsockopt(socket.IPPROTO_IP, 39, b"".join(map(socket.inet_aton, ("232.62.1.1", receiver, sender))))
        out.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(sender))
        out.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 0)
        out.bind((sender, 0))
        try:
            async with asyncio.timeout(5.0):
                while True:
                    out.sendto(b"x", ("232.62.1.1", 5000))
                    with suppress(TimeoutError):
                        async with asyncio.timeout(0.05):
                            return bool(await asyncio.get_running_loop().sock_recv(inward, 10))
        except TimeoutError:
            return False


def test_secondary_addresses_and_a_pair_come_and_go(node: Node, driver: Driver) -> None:
    before = node.snapshot()
    undos = node.call(commit, driver, with_tap())
    assert "interface.nfout1" in " ".join(node.call(driver.observe).facts)
    assert node.call(_hears, "169.254.255.0", "169.254.255.1")
    assert node.call(_hears, "169.254.255.1", "169.254.255.0")
    assert node.shell("cat", "/proc/sys/net/ipv4/conf/nfout1/rp_filter").strip() == "0"
    swapped = with_tap().model_copy(update={"interfaces": section("10.62.1.12/24").interfaces})
    further = node.call(commit, driver, swapped)
    assert "nfout" not in node.shell("ip", "link")
    node.call(take_back, driver, further)
    assert not node.call(driver.verify, with_tap(), context(0.0))
    node.shell("ip", "link", "del", "nfout0")
    assert node.call(driver.verify, with_tap(), context(0.0))
    node.call(commit, driver, with_tap())
    node.call(take_back, driver, undos)
    assert node.changes(before) == []


def test_an_agent_that_is_killed_while_it_makes_a_pair_makes_it_or_takes_it_back(node: Node, driver: Driver) -> None:
    before = node.snapshot()
    (step,) = driver.plan(node.call(driver.observe), with_tap())
    calls = 0
    while True:
        undo = node.call(driver.prepare, step)
        done = node.call(killed_after, driver, step, calls)
        node.call(driver.undo, undo, context(5.0))
        assert node.changes(before) == []
        if done:
            break
        calls += 1
    assert calls > 4
    for killed_at in range(calls):
        undo = node.call(driver.prepare, step)
        node.call(killed_after, driver, step, killed_at)
        node.call(driver.apply, step, context(5.0))
        assert not node.call(driver.verify, with_tap(), context(0.0))
        node.call(driver.undo, undo, context(5.0))
    assert node.changes(before) == []


def test_a_pair_does_not_take_an_interface_that_is_there(node: Node, driver: Driver) -> None:
    node.shell("ip", "link", "add", "nfout1", "type", "bridge")
    steps = driver.plan(node.call(driver.observe), with_tap())
    with pytest.raises(DriverError, match="nfout1 exists"):
        node.call(driver.check, steps, with_tap())
