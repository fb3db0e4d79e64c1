"""A zapping storm on an edge whose querier is pimd: 200 receivers change channel every 200 ms."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from ipaddress import IPv4Address, IPv4Interface

import pytest

from headend.multicast.access import client
from headend.multicast.documents import FrrInterface, FrrSection, InterfaceConfig, InterfacesSection
from headend.multicast.frr.client import open_vty
from headend.multicast.frr.daemons import Daemons
from headend.multicast.frr.driver import create as create_frr
from headend.multicast.igmp import RecordType
from headend.multicast.interfaces.driver import create as create_interfaces
from tests.headend.multicast.access.edge import (
    POP,
    Edge,
    Reporter,
    Tap,
    access_port,
    bridged,
    edge,
    group,
    open_reporter,
    open_tap,
    record,
    stream,
    until_heard,
)
from tests.headend.multicast.tree.network import Node, commit, connect, ip, nodes, until

pytestmark = [pytest.mark.root, pytest.mark.daemon]

SOURCE = "10.62.1.10"
CHANNELS = [group(number) for number in range(257, 297)]
SETTLED = group(300)
STORMING, RECEIVERS, ZAP_S = 4, 50, 0.2


@pytest.fixture
def live(require_programs: Callable[..., None]) -> Iterator[tuple[Edge, Node]]:
    """Ports eth1 to eth4 for the storm, eth5 for who is settled, and another one who is settled is behind eth2.

    The source is behind up1, and pimd on the bridge.
    """
    require_programs("ip", "nft", "bridge", "zebra", "pimd", "nsenter")
    with edge(STORMING + 1) as lan, nodes("s") as made:
        source = made["s"]
        connect(lan.pop, "up1", source, "eth1")
        ip("-n", source.namespace, "address", "add", f"{SOURCE}/24", "dev", "eth1")
        ip("-n", source.namespace, "link", "set", "eth1", "up")
        # One of the storming ports has no more than the rate that a subscriber gets.
        ports = [access_port(f"eth{n}", max_channels=100, igmp_rate=20 if n == 1 else 2000) for n in range(1, 5)]
        lan.pop.call(commit, lan.driver, bridged(*ports, access_port("eth5", max_channels=2)))
        faces = InterfacesSection(
            loopback=IPv4Address("10.62.255.1"),
            forwarding=True,
            interfaces=(
                InterfaceConfig(name="up1", address=IPv4Interface("10.62.1.1/24")),
                InterfaceConfig(name="bracc", address=IPv4Interface(f"{POP}/24"), made_by="multicast-access"),
            ),
        )
        addresses = create_interfaces(lan.pop.context())
        (step,) = addresses.plan(lan.pop.call(addresses.observe), faces)
        assert step.requires <= lan.pop.call(lan.driver.observe).facts
        lan.pop.call(commit, addresses, faces)
        routing = (FrrInterface(name="up1", passive=True), FrrInterface(name="bracc", passive=True, igmp=True))
        frr = FrrSection(router_id=IPv4Address("10.62.255.1"), interfaces=routing)
        lan.pop.call(commit, create_frr(lan.pop.context()), frr)
        yield lan, source


async def _zap(reporter: Reporter, port: int, seconds: float) -> int:
    """Every receiver leaves its channel and joins another in one report, spread evenly over the interval."""
    loop, dice = asyncio.get_running_loop(), random.Random(port)  # noqa: S311 - which channel is no secret
    hosts = [f"10.3.9.{100 + number}" for number in range(RECEIVERS)]
    now = {host: dice.choice(CHANNELS) for host in hosts}
    for host, channel in now.items():
        reporter.report(host, record(RecordType.ALLOW, channel, SOURCE))
    due, end, sent = loop.time(), loop.time() + seconds, 0
    while due < end:
        for host in hosts:
            channel = dice.choice(CHANNELS)
            left = record(RecordType.BLOCK, now[host], SOURCE)
            reporter.report(host, left, record(RecordType.ALLOW, channel, SOURCE))
            now[host] = channel
            sent += 1
            due += ZAP_S / RECEIVERS
            await asyncio.sleep(max(0.0, due - loop.time()))
    return sent


async def _watch(tap: Tap, seconds: float) -> None:
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while loop.time() < end:
        tap.read()
        await asyncio.sleep(0.01)
    tap.read()


@pytest.mark.parametrize("seconds", [3.0, pytest.param(30.0, marks=pytest.mark.soak)])
def test_a_zapping_storm_costs_a_settled_receiver_nothing(live: tuple[Edge, Node], seconds: float) -> None:
    lan, source = live
    pop, settled = lan.pop, lan.hosts[-1]
    daemons = Daemons(pop.run_dir, pop.context().units)

    async def querier() -> dict[str, object]:
        async with open_vty(daemons.vty_path("pimd")) as vty:
            told = await vty.show_json("show ip igmp interface bracc json")
        found = told.get("bracc")
        return found if isinstance(found, dict) else {}

    async def asking() -> bool:
        now = await querier()
        return (now.get("querier"), now.get("querierIp")) == ("local", POP)

    pop.call(until, asking)
    units = {status.name: (status.pid, status.restarts) for status in pop.call(pop.context().units.list)}
    flow = source.start(stream, [*CHANNELS, SETTLED], 0.02, SOURCE)
    with ExitStack() as stack:
        tap = settled.call(open_tap)
        reporters = [host.call(open_reporter) for host in lan.hosts]
        for thing in (tap, *reporters):
            stack.callback(thing.close)
        stack.callback(flow.cancel)
        beside = lan.hosts[1].call(open_tap)
        stack.callback(beside.close)
        for _ in range(3):  # a host repeats its report (RFC 3376 section 8.14.1)
            reporters[-1].report("10.3.9.15", record(RecordType.ALLOW, SETTLED, SOURCE))
            reporters[1].report("10.3.9.12", record(RecordType.ALLOW, SETTLED, SOURCE))
        settled.call(until_heard, tap, SETTLED)
        lan.hosts[1].call(until_heard, beside, SETTLED)
        storms = [
            host.start(_zap, reporter, port, seconds)
            for port, (host, reporter) in enumerate(zip(lan.hosts[:STORMING], reporters, strict=False))
        ]
        neighbour = lan.hosts[1].start(_watch, beside, seconds + 1.0)
        settled.call(_watch, tap, seconds + 1.0, timeout_s=120.0)
        neighbour.result(180)
        sent = sum(storm.result(180) for storm in storms)
        assert tap.heard.groups() == {SETTLED}
        assert len(tap.heard.numbers[SETTLED]) > seconds * 40
        assert tap.heard.lost(SETTLED) == 0
        assert beside.heard.lost(SETTLED) == 0  # who is settled among those that zap
        assert len(beside.heard.groups()) > len(CHANNELS) / 2
        assert sent >= STORMING * RECEIVERS * (seconds / ZAP_S) * 0.9
        # Neither querier nor follower died, and both still serve.
        assert pop.call(asking)
        now = {status.name: (status.pid, status.restarts) for status in pop.call(pop.context().units.list)}
        assert now == units
        reporters[-1].report("10.3.9.15", record(RecordType.ALLOW, CHANNELS[0], SOURCE))
        settled.call(until_heard, tap, CHANNELS[0])
        status = pop.call(client.ask, pop.run_dir)
        assert status is not None
        assert status.counts["refused"] == 0
        packets = len(tap.heard.numbers[SETTLED])
        print(f"\n{sent} reports in {seconds:.0f} s; {packets} packets and none lost; follower: {status.counts}")
    assert "not entitled" not in pop.shell("nft", "list", "ruleset")
