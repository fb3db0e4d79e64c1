"""A PoP that only unicast reaches, through a NAT, and a relay behind a real FRR router.

source s - FRR router a - relay q - NAT n - PoP p - receiver r
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from headend.multicast.amt import units
from headend.multicast.amt.codec import MembershipUpdate, encode
from headend.multicast.amt.documents import AmtFlow, AmtGateway, AmtRelay, AmtSection
from headend.multicast.amt.driver import create
from headend.multicast.documents import FrrInterface, FrrSection
from headend.multicast.frr.driver import create as create_frr
from nf.contracts.json import JsonObject
from nf.errors import RefusedError
from nf.telemetry.alarms import AlarmEvent, Severity
from nf.telemetry.samples import Sample
from tests.headend.multicast.tree.network import (
    Node,
    commit,
    connect,
    context,
    ip,
    joined,
    nodes,
    receive,
    send,
    take_back,
    until,
)

pytestmark = [pytest.mark.root, pytest.mark.daemon]

SOURCE, RECEIVER, RELAY = "10.63.1.10", "10.63.5.10", "10.63.3.1"
GROUP, OTHER = "232.63.1.1", "232.63.1.2"
ADDRESSES = {
    "s": ("10.63.1.10/24",),
    "a": ("10.63.1.1/24", "10.63.2.1/24"),
    "q": ("10.63.2.2/24", f"{RELAY}/24"),
    "n": ("10.63.3.2/24", "10.63.4.1/24"),
    "p": ("10.63.4.2/24", "10.63.5.1/24"),
    "r": (f"{RECEIVER}/24",),
}


def relay_section(**given: object) -> AmtSection:
    return AmtSection(relay=AmtRelay.model_validate({"address": RELAY, "upstream": "eth1", **given}))


def gateway_section(*groups: str) -> AmtSection:
    flows = tuple(AmtFlow(source=IPv4Address(SOURCE), group=IPv4Address(group)) for group in groups)
    gateway = AmtGateway(relay=IPv4Address(RELAY), flows=flows, deliver=("eth2",), provides=("amt.p",))
    return AmtSection(gateway=gateway)


@pytest.fixture(scope="module")
def network(require_programs: Callable[..., None]) -> Iterator[dict[str, Node]]:
    require_programs("ip", "nft", "zebra", "pimd", "tshark", "tcpdump", "nsenter")
    with nodes(*ADDRESSES) as made:
        for left, right in (("s", "a"), ("a", "q"), ("q", "n"), ("n", "p"), ("p", "r")):
            connect(made[left], "eth1" if left == "s" else "eth2", made[right], "eth1")
        for name, addresses in ADDRESSES.items():
            for number, address in enumerate(addresses, start=1):
                ip("-n", made[name].namespace, "address", "add", address, "dev", f"eth{number}")
                ip("-n", made[name].namespace, "link", "set", f"eth{number}", "up")
        ip("-n", made["a"].namespace, "address", "add", "10.63.255.1/32", "dev", "lo")
        ip("-n", made["p"].namespace, "route", "add", "default", "via", "10.63.4.1")
        made["n"].shell("sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
        made["r"].shell("sh", "-c", "echo 0 > /proc/sys/net/ipv4/conf/all/rp_filter")
        made["r"].shell("sh", "-c", "echo 0 > /proc/sys/net/ipv4/conf/eth1/rp_filter")
        masquerade(made["n"], "masquerade")
        for name in ("a", "q", "p"):
            made[name].supervise()
        faces = (FrrInterface(name="eth1", passive=True), FrrInterface(name="eth2", passive=True, igmp=True))
        frr = FrrSection(router_id=IPv4Address("10.63.255.1"), interfaces=faces)
        made["a"].call(commit, create_frr(made["a"].context()), frr)
        for name in ("q", "p"):
            made[name].drivers["amt"] = create(made[name].context())
        yield made


def masquerade(node: Node, how: str) -> None:
    chain = f'chain out {{ type nat hook postrouting priority 100; oifname "eth1" ip protocol udp {how}; }};'
    rules = f"add table ip nat; delete table ip nat; table ip nat {{ {chain} }}"
    node.shell("nft", rules)


@pytest.fixture
def tunnel(network: dict[str, Node]) -> Iterator[dict[str, Node]]:
    """Relay and gateway committed, and the stream flowing into the network."""
    before = {name: network[name].snapshot() for name in ("q", "p")}
    undos = [
        (network[name], network[name].call(commit, network[name].drivers["amt"], section))
        for name, section in (("q", relay_section()), ("p", gateway_section(GROUP)))
    ]
    flow = network["s"].start(send, SOURCE, (GROUP, OTHER))
    try:
        yield network
    finally:
        flow.cancel()
        for node, records in reversed(undos):
            node.call(take_back, node.drivers["amt"], records)
    for name, texts in before.items():
        assert network[name].changes(texts) == []
        assert network[name].call(network[name].context().units.list) == ()


async def status(node: Node, role: str) -> JsonObject:
    found = await units.ask(node.run_dir, role)
    assert found is not None
    return found


def flowing(network: dict[str, Node], group: str = GROUP) -> int:
    return network["r"].call(receive, RECEIVER, SOURCE, group, 20.0)


def unit_pid(node: Node, role: str) -> int:
    (found,) = [s for s in node.call(node.context().units.list) if s.name == units.unit_name(role)]
    assert found.pid is not None
    return found.pid


@contextmanager
def capture(node: Node, path: Path) -> Iterator[None]:
    """What passes the NAT's outer side, as tcpdump writes it."""
    command = ("tcpdump", "-i", "eth1", "--immediate-mode", "-U", "-w", str(path), "-Z", "root", "udp", "port", "2268")
    with subprocess.Popen(["nsenter", f"--net=/run/netns/{node.namespace}", *command], stderr=subprocess.PIPE) as child:
        assert child.stderr is not None
        while b"listening on" not in child.stderr.readline():
            assert child.poll() is None
        try:
            yield
        finally:
            child.terminate()
            child.wait(10)


def decoded(path: Path) -> list[dict[str, Any]]:
    done = subprocess.run(["tshark", "-r", str(path), "-T", "json"], check=True, capture_output=True, text=True)
    return [packet["_source"]["layers"] for packet in json.loads(done.stdout)]


def test_the_stream_comes_as_it_was_sent_and_tshark_reads_every_message(
    network: dict[str, Node], tmp_path: Path
) -> None:
    relay, pop = network["q"], network["p"]
    path = tmp_path / "amt.pcap"
    relay_undos = relay.call(commit, relay.drivers["amt"], relay_section())
    flow = network["s"].start(send, SOURCE, (GROUP, OTHER))
    try:
        with capture(network["n"], path):
            undos = pop.call(commit, pop.drivers["amt"], gateway_section(GROUP))
            assert flowing(network) == 5
            assert network["r"].call(receive, RECEIVER, SOURCE, OTHER, 1.0) == 0
            assert pop.call(pop.drivers["amt"].observe).facts == {"amt.p"}
            pop.call(take_back, pop.drivers["amt"], undos)

            async def forgotten() -> bool:
                now = await status(relay, "relay")
                return not now["gateways"] and not now["flows"]

            relay.call(until, forgotten)
    finally:
        flow.cancel()
        relay.call(take_back, relay.drivers["amt"], relay_undos)
    packets = decoded(path)
    assert not [packet for packet in packets if "_ws.malformed" in packet]
    types = [int(packet["amt"]["amt.type"]) for packet in packets]
    assert list(dict.fromkeys(types)) == [1, 2, 3, 4, 5, 6, 7]
    data = packets[types.index(6)]
    assert (data["ip"], data["udp"]) is not None
    text = json.dumps(data)
    assert SOURCE in text
    assert GROUP in text
    update = json.dumps(packets[types.index(5)])
    assert GROUP in update
    assert "igmp" in update
    teardown = packets[types.index(7)]["amt"]
    assert "10.63.3.2" in json.dumps(teardown)


async def _source_of(interface: str) -> tuple[str, int]:
    """Where a datagram comes from and with how many hops left, as a receiver's socket says."""
    loop = asyncio.get_running_loop()
    with joined(interface, SOURCE, GROUP) as receiver:
        receiver.setsockopt(socket.IPPROTO_IP, 12, 1)  # IP_RECVTTL
        ready = asyncio.Event()
        loop.add_reader(receiver.fileno(), ready.set)
        async with asyncio.timeout(90):
            await ready.wait()
        loop.remove_reader(receiver.fileno())
        _, ancillary, _, (address, _) = receiver.recvmsg(2048, 64)
        return address, int.from_bytes(ancillary[0][2][:4], "little")


def test_source_address_and_hops_are_those_of_a_routed_stream(tunnel: dict[str, Node]) -> None:
    # Sent with 8: one hop is the router, one the tunnel.
    assert tunnel["r"].call(_source_of, RECEIVER) == (SOURCE, 6)


def test_a_killed_relay_comes_back_and_the_stream_with_it(tunnel: dict[str, Node]) -> None:
    assert flowing(tunnel) == 5
    killed = unit_pid(tunnel["q"], "relay")
    os.kill(killed, signal.SIGKILL)

    async def anew() -> bool:
        found = await tunnel["q"].context().units.status("amt-relay")
        return found is not None and found.pid not in {None, killed}

    tunnel["q"].call(until, anew)
    assert flowing(tunnel) == 5


def test_a_nat_that_gives_another_port_costs_no_second_tunnel(tunnel: dict[str, Node]) -> None:
    assert flowing(tunnel) == 5
    (before,) = _gateways(tunnel)
    masquerade(tunnel["n"], "masquerade to :40000-40100")
    for state in ("down", "up"):  # with its interface down a NAT forgets what it knew
        ip("-n", tunnel["n"].namespace, "link", "set", "eth1", state)

    async def moved() -> bool:
        now = (await status(tunnel["q"], "relay"))["gateways"]
        return isinstance(now, dict) and len(now) == 1 and before not in now

    tunnel["q"].call(until, moved)
    assert flowing(tunnel) == 5
    masquerade(tunnel["n"], "masquerade")


def _gateways(network: dict[str, Node]) -> list[str]:
    found = network["q"].call(status, network["q"], "relay")["gateways"]
    assert isinstance(found, dict)
    return list(found)


def test_a_killed_gateway_comes_back(tunnel: dict[str, Node]) -> None:
    assert flowing(tunnel) == 5
    os.kill(unit_pid(tunnel["p"], "gateway"), signal.SIGKILL)
    assert flowing(tunnel) == 5
    assert not tunnel["p"].call(tunnel["p"].drivers["amt"].verify, gateway_section(GROUP), context(10.0))


def test_more_flows_are_asked_for_and_an_update_without_its_mac_is_nothing(tunnel: dict[str, Node]) -> None:
    pop, relay = tunnel["p"], tunnel["q"]
    undos = pop.call(commit, pop.drivers["amt"], gateway_section(GROUP, OTHER))
    assert flowing(tunnel, OTHER) == 5

    async def forge() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
            out.sendto(encode(MembershipUpdate(bytes(6), 1, bytes(40))), (RELAY, 2268))

    async def counted() -> bool:
        await pop_forge()
        bad = (await status(relay, "relay"))["bad"]
        return isinstance(bad, dict) and "mac" in bad

    async def pop_forge() -> None:
        await asyncio.wrap_future(pop.start(forge))

    relay.call(until, counted)
    pop.call(take_back, pop.drivers["amt"], undos)
    assert not pop.call(pop.drivers["amt"].verify, gateway_section(GROUP), context(10.0))
    assert flowing(tunnel) == 5


def test_events_tell_of_the_tunnel_and_of_a_relay_that_is_lost(tunnel: dict[str, Node]) -> None:
    pop, relay = tunnel["p"], tunnel["q"]

    async def next_event(kind: str, severity: Severity | None = None) -> None:
        async for event in pop.drivers["amt"].events():
            if isinstance(event, Sample) and event.kind == kind and event.values["flowing"] == 1:
                return
            if isinstance(event, AlarmEvent) and (event.cause, event.severity) == (kind, severity):
                return

    assert flowing(tunnel) == 5
    pop.call(next_event, "amt.gateway")
    relay.call(relay.context().units.stop, "amt-relay")
    pop.call(next_event, "amt-relay-lost", Severity.MAJOR)
    relay.call(relay.context().units.start, "amt-relay")
    pop.call(next_event, "amt-relay-lost", Severity.CLEARED, timeout_s=90.0)


def test_an_interface_that_is_not_there_is_refused(network: dict[str, Node]) -> None:
    driver = network["q"].drivers["amt"]
    wrong = relay_section(upstream="eth9")
    steps = driver.plan(network["q"].call(driver.observe), wrong)
    with pytest.raises(RefusedError) as refused:
        network["q"].call(driver.check, steps, wrong)
    assert [problem.key for problem in refused.value.problems] == ["eth9"]
