"""The network behind a UPF, in the kernel: what is made, that packets take it, and that undo leaves no trace."""

from __future__ import annotations

import asyncio
import fcntl
import os
import re
import socket
import struct
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from core5g.open5gs.documents import N6NetworkSection
from core5g.open5gs.n6.driver import create
from headend.multicast.documents import InterfacesSection
from headend.multicast.interfaces.driver import create as create_interfaces
from nf.contracts.driver import Driver, Undo
from nf.errors import InputError, RefusedError
from tests.headend.multicast.tree.network import Node, commit, connect, context, killed_after, nodes

pytestmark = pytest.mark.root

_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x1, 0x1000


def section(*dnns: str, **changes: Any) -> N6NetworkSection:
    named = dnns or ("internet",)
    data: dict[str, Any] = {
        "tuns": [
            {
                "name": "ogstun" if not number else f"ogstun{number + 1}",
                "dnn": dnn,
                "gateways": [f"10.{45 + number}.0.1/16", f"2001:db8:{45 + number}::1/48"],
            }
            for number, dnn in enumerate(named)
        ],
        "exit": "eth1",
        "gateway": "192.0.2.2",
        "masquerade": [f"10.{45 + number}.0.0/16" for number, _ in enumerate(named)],
        "provides": [f"u.tun.ogstun{number + 1 if number else ''}" for number, _ in enumerate(named)],
        "requires": ["u.interface.eth1"],
    }
    return N6NetworkSection.model_validate({**data, **changes})


@pytest.fixture
def network(require_programs: Callable[..., None]) -> Iterator[dict[str, Node]]:
    """u (UPF) --eth1-- i (internet), with addresses; nothing forwards."""
    require_programs("ip", "nft", "nsenter")
    with nodes("u", "i") as made:
        connect(made["u"], "eth1", made["i"], "eth1")
        for name, host in (("u", 1), ("i", 2)):
            made[name].shell("ip", "address", "add", f"192.0.2.{host}/24", "dev", "eth1")
            # Addresses that settle by themselves would make two looks at one thing differ.
            made[name].shell("ip", "link", "set", "eth1", "addrgenmode", "none")
            for prefix in (f"2001:db8:1::{host}/64", f"fe80::{host}/64"):
                made[name].shell("ip", "address", "add", prefix, "dev", "eth1", "nodad")
            made[name].shell("ip", "link", "set", "eth1", "up")
        made["i"].shell("ip", "-6", "route", "add", "2001:db8:45::/48", "via", "2001:db8:1::1")
        yield made


@pytest.fixture
def node(network: dict[str, Node]) -> Node:
    return network["u"]


@pytest.fixture
def driver(node: Node) -> Driver:
    return create(node.context())


def snapshot(node: Node) -> dict[str, str]:
    """With the switches of IPv6 and of every interface, which the common one has not."""
    found = node.snapshot()
    names = node.shell("sh", "-c", "cd /proc/sys/net; grep . ipv[46]/conf/*/forwarding")
    return {**found, "forwarding": names}


async def applied(driver: Driver, want: N6NetworkSection | None) -> list[Undo]:
    undos = []
    for step in driver.plan(await driver.observe(), want):
        undos.append(await driver.prepare(step))
        await driver.apply(step, context())
        await driver.apply(step, context())  # a crash repeats it
    return undos


async def undone(driver: Driver, undos: list[Undo]) -> None:
    for undo in reversed(undos):
        await driver.undo(undo, context())
        await driver.undo(undo, context())


def test_it_stands_as_wanted_and_undo_leaves_no_trace(node: Node, driver: Driver) -> None:
    before = snapshot(node)
    undos = node.call(applied, driver, section())
    assert node.call(driver.verify, section(), context()).differences == ()
    shown = node.shell("ip", "-d", "address", "show", "dev", "ogstun")
    assert "tun type tun pi off vnet_hdr off persist on" in shown
    assert "inet 10.45.0.1/16" in shown
    assert "inet6 2001:db8:45::1/48" in shown
    assert "mtu 1400" in shown
    state = node.call(driver.observe)
    assert state.facts == {"u.tun.ogstun"}
    assert driver.plan(state, section()) == ()
    assert node.shell("cat", "/proc/sys/net/ipv4/ip_forward").strip() == "0"
    node.call(undone, driver, undos)
    assert snapshot(node) == before


def test_undo_of_a_change_brings_the_section_before_back(node: Node, driver: Driver) -> None:
    node.call(commit, driver, section("internet", "ims", mtu=1500))
    before = snapshot(node)
    undos = node.call(applied, driver, section("internet", masquerade=[], mtu=1400))
    assert "ogstun2" not in node.shell("ip", "link")
    assert "nf_n6" not in node.shell("nft", "list", "ruleset")
    node.call(undone, driver, undos)
    after = snapshot(node)
    for found in (before, after):
        found["addresses"] = "".join(line.partition(": ")[2] for line in found["addresses"].splitlines())
    assert after["nftables"] == before["nftables"]
    assert after["forwarding"] == before["forwarding"]
    assert node.call(driver.verify, section("internet", "ims", mtu=1500), context()).differences == ()


def test_a_section_that_goes_takes_all_of_it_along(node: Node, driver: Driver) -> None:
    node.call(commit, driver, section("internet", "ims"))
    steps = driver.plan(node.call(driver.observe), None)
    assert steps[0].disruption == "UEs behind ogstun, ogstun2 have no way out"
    node.call(commit, driver, None)
    assert node.call(driver.observe).value is None


def test_a_device_that_stays_is_not_touched(node: Node, driver: Driver) -> None:
    """An UPF keeps its hold on it, and its flows go on."""
    node.call(commit, driver, section())
    before = node.shell("ip", "-o", "link", "show", "ogstun").split(":")[0]
    steps = driver.plan(node.call(driver.observe), section("internet", "ims"))
    assert [step.disruption for step in steps] == [""]
    node.call(commit, driver, section("internet", "ims"))
    assert node.shell("ip", "-o", "link", "show", "ogstun").split(":")[0] == before


BY_HAND = [
    (("ip", "address", "add", "10.99.0.1/24", "dev", "ogstun"), "ogstun has other addresses than"),
    (("ip", "link", "set", "ogstun", "down"), "ogstun is down"),
    (("ip", "link", "set", "ogstun", "mtu", "1300"), "ogstun has an MTU of 1300, not 1400"),
    (("ip", "link", "del", "ogstun"), "the UPF has no TUN device|ogstun is not there"),
    (("nft", "flush", "table", "inet", "nf_n6"), "other pools are masqueraded"),
    (("nft", "flush", "chain", "inet", "nf_n6", "answers"), "other pools are masqueraded"),
    (("ip", "rule", "del", "pref", "5406"), "what comes in by ogstun does not go to 192.0.2.2"),
    (("ip", "rule", "add", "pref", "5406", "iif", "eth1", "lookup", "5406"), "eth1 has a way out that is not wanted"),
    (
        ("ip", "route", "del", "default", "via", "192.0.2.2", "table", "5406"),
        "the UEs' route by 192.0.2.2 is not there",
    ),
    (("ip", "route", "add", "10.9.0.0/16", "dev", "eth1", "table", "5406"), "the UEs' route by eth1 is not wanted"),
    (("ip", "link", "set", "eth1", "down"), "the UEs' route by 192.0.2.2 is not there"),
    (("nft", "add", "chain", "inet", "nf_n6", "mine"), "chain mine was added by hand"),
    (("nft", "add", "rule", "inet", "nf_n6", "leaving", "counter"), "rule .* was added by hand"),
    (("sh", "-c", "echo 0 >/proc/sys/net/ipv4/conf/eth1/forwarding"), "net/ipv4/conf/eth1/forwarding is off"),
    (("sh", "-c", "echo 0 >/proc/sys/net/ipv6/conf/all/forwarding"), "net/ipv6/conf/all/forwarding is off"),
]


def test_a_change_by_hand_is_drift_and_is_taken_back(node: Node, driver: Driver) -> None:
    node.call(commit, driver, section())
    for command, told in BY_HAND:
        node.shell(*command)
        drift = node.call(driver.verify, section(), context(0.0))
        assert [line for line in drift.differences if re.match(told, line)], drift
        node.shell("ip", "link", "set", "eth1", "up")  # which is for the section `interfaces` to do
        node.call(commit, driver, section())
        assert node.call(driver.verify, section(), context()).differences == ()


def test_an_agent_without_devices_has_a_unit_make_them(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    node.supervise()
    monkeypatch.setattr("core5g.open5gs.n6.maker.may_make", lambda: False)
    driver = create(node.context())
    before = snapshot(node)
    undos = node.call(applied, driver, section("internet", "ims"))
    assert node.call(driver.verify, section("internet", "ims"), context()).differences == ()
    assert node.call(node.context().units.list) == ()
    node.call(undone, driver, undos)
    assert snapshot(node) == before


def test_what_somebody_else_made_is_refused(node: Node, driver: Driver) -> None:
    node.shell("ip", "tuntap", "add", "ogstun", "mode", "tun")

    async def check(want: N6NetworkSection) -> None:
        await driver.check(driver.plan(await driver.observe(), want), want)

    with pytest.raises(RefusedError) as caught:
        node.call(check, section())
    assert [problem.key for problem in caught.value.problems] == ["ogstun"]
    node.shell("ip", "link", "del", "ogstun")
    with pytest.raises(RefusedError) as caught:
        node.call(check, section(exit="eth9", requires=[]))
    assert [problem.key for problem in caught.value.problems] == ["eth9"]
    node.call(check, section(exit="eth9", requires=["u.interface.eth9"]))


def test_an_agent_killed_within_a_step_leaves_what_undo_takes_away(node: Node, driver: Driver) -> None:
    before = snapshot(node)
    for calls in range(8):
        (step,) = driver.plan(node.call(driver.observe), section("internet", "ims"))
        undo = node.call(driver.prepare, step)
        ended = node.call(killed_after, driver, step, calls)
        node.call(driver.undo, undo, context())
        assert snapshot(node) == before
    assert not ended


def test_an_unknown_step_is_refused(node: Node, driver: Driver) -> None:
    (step,) = driver.plan(node.call(driver.observe), section())
    with pytest.raises(InputError, match="unknown step"):
        node.call(driver.apply, replace(step, version=9), context())
    with pytest.raises(InputError, match="unknown undo"):
        node.call(driver.undo, Undo("dance", {}), context())


# -- packets --------------------------------------------------------------------------------------------------------


@contextmanager
def attached(name: str) -> Iterator[int]:
    """As upfd opens it: without packet information. Call it in the node's thread."""
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    try:
        fcntl.ioctl(fd, _TUNSETIFF, struct.pack("16sH", name.encode(), _IFF_TUN | _IFF_NO_PI))
        yield fd
    finally:
        os.close(fd)


def _checksum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def datagram(source: str, destination: str, payload: bytes) -> bytes:
    """UDP from port 4000 to 5000; over IPv4 without a checksum (RFC 768)."""
    length = 8 + len(payload)
    if ":" not in source:
        head = struct.pack(
            "!BBHHHBBH4s4s", 0x45, 0, 20 + length, 1, 0, 64, 17, 0, *map(socket.inet_aton, (source, destination))
        )
        head = head[:10] + struct.pack("!H", _checksum(head)) + head[12:]
        return head + struct.pack("!HHHH", 4000, 5000, length, 0) + payload
    ends = b"".join(socket.inet_pton(socket.AF_INET6, text) for text in (source, destination))
    udp = struct.pack("!HHHH", 4000, 5000, length, 0) + payload
    pseudo = ends + struct.pack("!II", length, 17) + udp
    udp = udp[:6] + struct.pack("!H", _checksum(pseudo + b"\0" * (len(pseudo) % 2))) + payload
    return struct.pack("!IHBB", 0x60000000, length, 17, 64) + ends + udp


@pytest.mark.parametrize(
    ("ue", "server", "seen"),
    [("10.45.0.2", "192.0.2.2", "192.0.2.1"), ("2001:db8:45:1::2", "2001:db8:1::2", "2001:db8:45:1::2")],
)
def test_what_a_ue_sends_leaves_and_the_answer_comes_back(
    network: dict[str, Node], ue: str, server: str, seen: str
) -> None:
    """IPv4 with the address of the exit; IPv6 with the UE's own."""
    senders, packet = asked(network, ue, server)
    assert senders == {seen}
    assert socket.inet_pton(socket.AF_INET6 if ":" in ue else socket.AF_INET, ue) in packet


def asked(network: dict[str, Node], ue: str, server: str) -> tuple[set[str], bytes]:
    """Who the server saw, and what came back to the UE."""
    node, internet = network["u"], network["i"]
    node.call(commit, create(node.context()), section())
    family = socket.AF_INET6 if ":" in ue else socket.AF_INET

    async def listen() -> socket.socket:
        sock = socket.socket(family, socket.SOCK_DGRAM)
        sock.bind((server, 5000))
        sock.setblocking(False)
        return sock

    listener = internet.call(listen)

    senders: list[str] = []

    async def echo() -> None:
        while True:
            data, sender = await internet.loop.sock_recvfrom(listener, 2000)
            senders.append(sender[0])
            await internet.loop.sock_sendto(listener, data[::-1], sender)

    async def ask() -> bytes:
        """Again and again, as a UE does: links that have just come up drop what comes first."""
        with attached("ogstun") as fd:
            answers: asyncio.Future[bytes] = node.loop.create_future()

            def readable() -> None:
                packet = os.read(fd, 2000)
                if packet.endswith(b"noitseuq") and not answers.done():
                    answers.set_result(packet)

            node.loop.add_reader(fd, readable)
            try:
                while not answers.done():
                    os.write(fd, datagram(ue, server, b"question"))
                    await asyncio.wait([answers], timeout=0.2)
                return answers.result()
            finally:
                node.loop.remove_reader(fd)

    try:
        served = internet.start(echo)
        packet = node.call(ask, timeout_s=90.0)
        served.cancel()
    finally:
        listener.close()
    return set(senders), packet


def test_it_goes_to_the_gateway_whatever_routes_and_firewall_say(network: dict[str, Node]) -> None:
    """UDP that the firewall does not track, a strict filter of reverse paths, and a route of the appliance's own."""
    node, internet = network["u"], network["i"]
    internet.shell("ip", "address", "add", "198.51.100.1/32", "dev", "lo")
    node.shell("ip", "route", "add", "blackhole", "198.51.100.0/24")
    node.shell("sh", "-c", "echo 1 >/proc/sys/net/ipv4/conf/eth1/rp_filter")
    chain = "chain before { type filter hook prerouting priority raw; iifname eth1 meta l4proto udp notrack; };"
    node.shell("nft", f"table inet wall {{ {chain} }}")
    senders, packet = asked(network, "10.45.0.2", "198.51.100.1")
    assert senders == {"192.0.2.1"}
    assert socket.inet_aton("10.45.0.2") in packet


def test_while_the_exit_is_down_a_ue_goes_nowhere(network: dict[str, Node], driver: Driver) -> None:
    node = network["u"]
    node.call(commit, driver, section())
    node.shell("ip", "route", "add", "default", "via", "192.0.2.2", "table", "main")
    node.shell("ip", "route", "del", "default", "via", "192.0.2.2", "table", "5406")
    entering = ("ip", "netns", "exec", node.namespace)
    found = subprocess.run(
        [*entering, "ip", "route", "get", "198.51.100.1", "from", "10.45.0.2", "iif", "ogstun"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode != 0, found.stdout


def test_ues_reach_one_another(node: Node, driver: Driver) -> None:
    node.call(commit, driver, section())
    told = node.shell("ip", "route", "get", "10.45.0.3", "from", "10.45.0.2", "iif", "ogstun")
    assert "dev ogstun" in told


def test_without_a_gateway_the_routes_of_the_appliance_hold(node: Node, driver: Driver) -> None:
    node.call(commit, driver, section())
    before = snapshot(node)
    undos = node.call(applied, driver, section(gateway=None))
    assert "5406" not in node.shell("ip", "rule")
    assert node.shell("ip", "route", "show", "table", "all").count("proto 81") == 0
    node.call(undone, driver, undos)
    assert snapshot(node) == before


def test_the_drivers_of_addresses_and_of_the_upf_leave_each_other_alone(node: Node, driver: Driver) -> None:
    interfaces = create_interfaces(node.context())
    want = InterfacesSection.model_validate(
        {"forwarding": True, "interfaces": [{"name": "eth1", "address": "192.0.2.1/24"}]}
    )
    node.call(commit, driver, section())
    node.call(commit, interfaces, want)
    assert node.call(driver.verify, section(), context()).differences == ()
    undos = node.call(applied, driver, None)
    assert node.call(interfaces.verify, want, context()).differences == ()
    node.call(undone, driver, undos)
    assert node.call(interfaces.verify, want, context()).differences == ()
