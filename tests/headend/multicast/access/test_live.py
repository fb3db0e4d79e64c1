"""The access edge on live bridges: what each port receives is read off its wire."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from ipaddress import IPv4Address
from typing import Any

import pytest

from headend.multicast.access import client
from headend.multicast.access.documents import AccessSection
from headend.multicast.access.render import FAMILY, TABLE
from headend.multicast.igmp import ALL_SYSTEMS, Query, RecordType, build_query
from nf.errors import RefusedError
from nf.telemetry.alarms import AlarmEvent, Severity
from nf.telemetry.samples import Sample
from tests.headend.multicast.access.edge import (
    POP,
    Edge,
    Reporter,
    Tap,
    access_port,
    bridged,
    edge,
    group,
    listen,
    open_reporter,
    open_tap,
    plain,
    record,
    stream,
    until_heard,
)
from tests.headend.multicast.tree.network import commit, context, ip, joined, killed_after, take_back, until

pytestmark = [pytest.mark.root, pytest.mark.daemon]

JOIN, LEAVE = RecordType.ALLOW, RecordType.BLOCK
G1, G2, G3, G4 = (group(number) for number in range(257, 261))


@pytest.fixture
def lan(require_programs: Callable[..., None]) -> Iterator[Edge]:
    require_programs("ip", "nft", "bridge", "nsenter")
    with edge(2) as made:
        yield made


@contextmanager
def standing(lan: Edge, section: AccessSection) -> Iterator[None]:
    """The section committed, with the PoP's address on its LAN; taken back exactly afterwards."""
    before = lan.pop.snapshot() | {"bridges": lan.pop.shell("bridge", "-d", "link")}
    undos = lan.pop.call(commit, lan.driver, section)
    device = section.lans[0].bridge or "eth1"
    ip("-n", lan.pop.namespace, "address", "add", f"{POP}/24", "dev", device)
    lan.pop.call(until, _forwarding(lan, section))
    try:
        yield
        assert lan.pop.call(lan.driver.verify, section, context(5.0)).differences == ()
    finally:
        ip("-n", lan.pop.namespace, "address", "del", f"{POP}/24", "dev", device)
        lan.pop.call(take_back, lan.driver, undos)
    assert lan.pop.changes(before) == []
    assert lan.pop.shell("bridge", "-d", "link") == before["bridges"]
    assert lan.pop.call(lan.pop.context().units.list) == ()


def _forwarding(lan: Edge, section: AccessSection) -> Callable[..., Any]:
    """A port passes nothing until the kernel has taken notice of its carrier."""
    count = sum(len(one.ports) for one in section.lans if one.bridge is not None)

    async def every_port() -> bool:
        return lan.pop.shell("bridge", "link").count("state forwarding") == count

    return every_port


@contextmanager
def wires(lan: Edge) -> Iterator[tuple[list[Tap], list[Reporter]]]:
    with ExitStack() as stack:
        taps = [host.call(open_tap) for host in lan.hosts]
        reporters = [host.call(open_reporter) for host in lan.hosts]
        for thing in (*taps, *reporters):
            stack.callback(thing.close)
        yield taps, reporters


@contextmanager
def streaming(lan: Edge, *groups: str) -> Iterator[None]:
    flow = lan.pop.start(stream, groups)
    try:
        yield
    finally:
        flow.cancel()


def heard(lan: Edge, taps: list[Tap], seconds: float = 0.5) -> list[set[str]]:
    waits = [host.start(listen, tap, seconds) for host, tap in zip(lan.hosts, taps, strict=True)]
    return [wait.result(90).groups() for wait in waits]


def test_one_report_with_many_records_brings_only_what_the_port_is_entitled_to(lan: Edge) -> None:
    section = bridged(access_port("eth1", groups=[G1, G3]), access_port("eth2"))
    with standing(lan, section), wires(lan) as (taps, reporters), streaming(lan, G1, G2, G3, G4):
        assert heard(lan, taps) == [set(), set()]  # snooping: nobody asked
        everything = [record(JOIN, address) for address in (G1, G2, G3)]
        reporters[0].report(lan.host_address(1), *everything)
        reporters[1].report(lan.host_address(2), *everything)
        lan.hosts[1].call(until_heard, taps[1], G1, G2, G3)
        lan.hosts[0].call(until_heard, taps[0], G1, G3)
        assert heard(lan, taps) == [{G1, G3}, {G1, G2, G3}]


def test_a_port_has_so_many_channels_and_the_next_one_when_it_leaves_one(lan: Edge) -> None:
    section = bridged(access_port("eth1", max_channels=2), access_port("eth2"))
    with standing(lan, section), wires(lan) as (taps, reporters), streaming(lan, G1, G2, G3):
        for address in (G1, G2, G3):
            reporters[0].report(lan.host_address(1), record(JOIN, address))
        lan.hosts[0].call(until_heard, taps[0], G1, G2)
        assert heard(lan, taps)[0] == {G1, G2}
        raised = lan.pop.call(_next_alarm, lan, "channel-limit", Severity.MINOR)
        assert raised.object == "p/eth1"
        assert "asks for 3 channels" in raised.text
        assert G3 in raised.text
        reporters[0].report(lan.host_address(1), record(LEAVE, G1))
        lan.hosts[0].call(until_heard, taps[0], G3)
        assert heard(lan, taps)[0] == {G2, G3}
        status = lan.pop.call(client.ask, lan.pop.run_dir)
        assert status is not None
        assert status.ports["eth1"].refused == 1
        assert status.ports["eth1"].waiting == ()


async def _next_alarm(lan: Edge, cause: str, severity: Severity) -> AlarmEvent:
    async for event in lan.driver.events():
        if isinstance(event, AlarmEvent) and (event.cause, event.severity) == (cause, severity):
            return event
    raise AssertionError(cause)


async def _sample(lan: Edge, port: str) -> Sample:
    async for event in lan.driver.events():
        if isinstance(event, Sample) and event.labels["port"] == port:
            return event
    raise AssertionError(port)


@pytest.mark.parametrize("fast", [True, False])
def test_the_last_leave_counts(lan: Edge, fast: bool) -> None:
    """Fast: at once, without a question. Slow: the querier asks, and another host behind the port may object."""
    section = bridged(access_port("eth1", fast_leave=fast), access_port("eth2"))
    with standing(lan, section), wires(lan) as (taps, reporters), streaming(lan, G1):
        reporters[0].report("10.3.9.101", record(JOIN, G1))
        lan.hosts[0].call(until_heard, taps[0], G1)
        if fast:
            reporters[0].report("10.3.9.102", record(JOIN, G1))
            reporters[0].report("10.3.9.101", record(LEAVE, G1))
            assert heard(lan, taps)[0] == {G1}  # the other one still wants it
            reporters[0].report("10.3.9.102", record(LEAVE, G1))
        else:
            reporters[0].report("10.3.9.101", record(LEAVE, G1))
        lan.pop.call(until, _passes_nothing(lan))
        assert heard(lan, taps)[0] == set()


def _passes_nothing(lan: Edge) -> Callable[..., Any]:
    async def empty() -> bool:
        status = await client.ask(lan.pop.run_dir)
        return status is not None and status.ports["eth1"].passing == ()

    return empty


def test_igmp_above_the_rate_is_dropped_and_what_only_routers_send_as_well(lan: Edge) -> None:
    section = bridged(access_port("eth1", igmp_rate=5), access_port("eth2"))
    with standing(lan, section), wires(lan) as (taps, reporters), streaming(lan, G1):
        start = time.monotonic()
        for number in range(60):
            reporters[0].report(lan.host_address(1), record(JOIN, group(1000 + number)))
        refilled = 5 * (time.monotonic() - start)  # the longer the burst takes, the more of it is within the rate
        sample = lan.pop.call(_sample, lan, "eth1")
        assert 50 - refilled <= sample.values["igmp_dropped"] <= 55
        assert sample.values["channels"] <= 8 + refilled
        forged = lan.pop.start(_next_alarm, lan, "subscriber-not-a-router", Severity.WARNING)
        while not forged.done():
            reporters[1].datagram("10.3.9.0", ALL_SYSTEMS, build_query(Query()))
            reporters[1].datagram(lan.host_address(2), int(IPv4Address("224.0.0.13")), b"\x20\x00", protocol=103)
            reporters[1].datagram(lan.host_address(2), int(IPv4Address(G1)), bytes(20), protocol=17)
            lan.hosts[1].call(listen, taps[1], 0.1)
        assert forged.result().object == "p/eth2"
        assert lan.pop.call(_sample, lan, "eth2").values["forged_packets"] % 3 == 0
        assert taps[0].heard.groups() == set()
        reporters[1].report(lan.host_address(2), record(JOIN, G1))
        lan.hosts[1].call(until_heard, taps[1], G1)


def test_limits_and_filters_hold_on_the_routers_own_interface(lan: Edge) -> None:
    section = plain(access_port("eth1", max_channels=1, groups=[G1, G2]))
    with standing(lan, section), wires(lan) as (taps, reporters), streaming(lan, G1, G2, G3):
        assert heard(lan, taps)[0] == set()
        reporters[0].report(lan.host_address(1), *(record(JOIN, address) for address in (G3, G1, G2)))
        lan.hosts[0].call(until_heard, taps[0], G1)
        assert heard(lan, taps)[0] == {G1}
        reporters[0].report(lan.host_address(1), record(LEAVE, G1))
        lan.hosts[0].call(until_heard, taps[0], G2)
        assert heard(lan, taps)[0] == {G2}


def test_who_watches_when_a_limit_comes_into_force_keeps_watching(lan: Edge) -> None:
    """Nobody joins anew: the hosts are asked, and nothing is dropped before they have answered."""
    section = plain(access_port("eth1", max_channels=1))
    ip("-n", lan.pop.namespace, "address", "add", f"{POP}/24", "dev", "eth1")
    lan.pop.shell("ip", "link", "set", "eth1", "up")
    with wires(lan) as (taps, _), streaming(lan, G1, G2):
        lan.hosts[0].call(until_heard, taps[0], G1, G2)
        watching = lan.hosts[0].start(_watch, lan.host_address(1))
        undos = lan.pop.call(commit, lan.driver, section)
        taps[0].read()
        assert taps[0].heard.lost(G1) == 0
        assert heard(lan, taps)[0] == {G1}
        lan.pop.call(take_back, lan.driver, undos)
        watching.cancel()


async def _watch(host: str) -> None:
    with joined(host, POP, G1):
        await asyncio.Event().wait()


def test_a_killed_follower_takes_nothing_from_a_host_that_does_not_answer_at_once(lan: Edge) -> None:
    section = plain(access_port("eth1", max_channels=1))
    units = lan.pop.context().units
    with standing(lan, section), wires(lan) as (taps, reporters), streaming(lan, G1, G2):
        reporters[0].report(lan.host_address(1), record(JOIN, G1))
        lan.hosts[0].call(until_heard, taps[0], G1)
        (status,) = lan.pop.call(units.list)
        assert status.pid is not None
        os.kill(status.pid, signal.SIGKILL)
        reporters[0].report(lan.host_address(1), record(JOIN, G2))
        lan.pop.call(until, _learned(lan, status.pid))
        taps[0].read()
        assert taps[0].heard.lost(G1) == 0
        assert heard(lan, taps)[0] == {G1}
        reporters[0].report(lan.host_address(1), record(JOIN, G2), record(LEAVE, G1))
        lan.hosts[0].call(until_heard, taps[0], G2)
        assert heard(lan, taps)[0] == {G2}


def _learned(lan: Edge, killed: int) -> Callable[..., Any]:
    async def anew() -> bool:
        status = await client.ask(lan.pop.run_dir)
        (unit,) = await lan.pop.context().units.list()
        return status is not None and unit.pid != killed and not status.learning

    return anew


def test_what_somebody_changed_by_hand_is_mended_without_a_gap_for_who_is_settled(lan: Edge) -> None:
    section = bridged(access_port("eth1"), access_port("eth2"))
    with standing(lan, section), wires(lan) as (taps, reporters), streaming(lan, G1):
        reporters[0].report(lan.host_address(1), record(JOIN, G1))
        lan.hosts[0].call(until_heard, taps[0], G1)
        lan.hosts[0].call(listen, taps[0], 0.05)
        lan.pop.shell(
            "ip", "link", "set", "bracc", "type", "bridge", "mcast_igmp_version", "2", "mcast_hash_max", "512"
        )
        lan.pop.shell("bridge", "link", "set", "dev", "eth2", "mcast_flood", "on", "fastleave", "off")
        lan.pop.shell("nft", "flush", "chain", FAMILY, TABLE, "in_eth1")
        lan.pop.shell("nft", "add", "chain", FAMILY, TABLE, "mine")
        told = " ".join(lan.pop.call(lan.driver.verify, section, context(0.0)).differences)
        for part in ("mcast_igmp_version", "mcast_hash_max", "mcast_flood", "fast_leave", "eth1", "mine"):
            assert part in told
        lan.pop.call(commit, lan.driver, section)
        now = lan.hosts[0].call(listen, taps[0], 0.2)
        assert now.groups() == {G1}
        lan.pop.shell("nft", "delete", "table", FAMILY, TABLE)
        assert "does not exist" in " ".join(lan.pop.call(lan.driver.verify, section, context(0.0)).differences)
        lan.pop.call(commit, lan.driver, section)
        assert heard(lan, taps) == [{G1}, set()]


def test_a_killed_follower_stops_nobody_and_comes_back_with_everything(lan: Edge) -> None:
    section = bridged(access_port("eth1", max_channels=2), access_port("eth2"))
    units = lan.pop.context().units
    with standing(lan, section), wires(lan) as (taps, reporters), streaming(lan, G1, G2, G3):
        reporters[0].report(lan.host_address(1), record(JOIN, G2))
        lan.hosts[0].call(until_heard, taps[0], G2)
        (status,) = lan.pop.call(units.list)
        assert status.pid is not None
        os.kill(status.pid, signal.SIGKILL)
        reporters[0].report(lan.host_address(1), record(JOIN, G1), record(JOIN, G3))
        lan.pop.call(until, _follows(lan, status.pid))
        taps[0].read()
        assert taps[0].heard.lost(G2) == 0
        now = lan.hosts[0].call(listen, taps[0], 0.5)
        assert now.lost(G2) == 0
        assert len(now.groups()) == 2  # the limit, and who was there before is among them


def _follows(lan: Edge, killed: int) -> Callable[..., Any]:
    async def anew() -> bool:
        status = await client.ask(lan.pop.run_dir)
        (unit,) = await lan.pop.context().units.list()
        return status is not None and unit.pid != killed and len(status.ports["eth1"].waiting) == 1

    return anew


def test_a_host_that_overflows_the_bridges_table_gets_and_costs_nothing(lan: Edge) -> None:
    """The kernel then turns snooping off and floods: the sets stand between, and the drift is put back."""
    section = bridged(access_port("eth1"), access_port("eth2", igmp_rate=5000))
    with standing(lan, section), wires(lan) as (taps, reporters), streaming(lan, G1, G2):
        lan.pop.shell("ip", "link", "set", "bracc", "type", "bridge", "mcast_hash_max", "64")
        reporters[0].report(lan.host_address(1), record(JOIN, G1))
        lan.hosts[0].call(until_heard, taps[0], G1)
        for number in range(1000, 1200):
            reporters[1].report(lan.host_address(2), record(JOIN, group(number)))

        async def off() -> bool:
            told = (await lan.driver.verify(section, context(0.0))).differences
            return any("mcast_snooping is 0" in line for line in told)

        lan.pop.call(until, off)
        assert heard(lan, taps) == [{G1}, set()]
        lan.pop.call(commit, lan.driver, section)
        assert heard(lan, taps) == [{G1}, set()]
        assert taps[0].heard.lost(G1) == 0


def test_a_section_changes_into_another_and_back(lan: Edge) -> None:
    first = bridged(access_port("eth1"), access_port("eth2", max_channels=3, groups=[G2]))
    with standing(lan, first), wires(lan) as (taps, reporters), streaming(lan, G1, G2):
        reporters[0].report(lan.host_address(1), record(JOIN, G1))
        lan.hosts[0].call(until_heard, taps[0], G1)
        lan.hosts[0].call(listen, taps[0], 0.01)
        before = lan.pop.shell("bridge", "-d", "link")
        second = bridged(access_port("eth1", max_channels=5, groups=[G1], fast_leave=False))
        undos = lan.pop.call(commit, lan.driver, second)
        assert lan.pop.shell("bridge", "-d", "link") != before
        lan.pop.call(take_back, lan.driver, undos)
        assert lan.pop.shell("bridge", "-d", "link") == before
        lan.hosts[0].call(listen, taps[0], 0.01)
        assert heard(lan, taps) == [{G1}, set()]
        undos = lan.pop.call(commit, lan.driver, None)
        assert "bracc" not in lan.pop.shell("ip", "link")
        assert [*(lan.pop.run_dir / "access").iterdir()] == []
        lan.pop.call(take_back, lan.driver, undos)
        assert POP in lan.pop.shell("ip", "address", "show", "bracc")


def test_an_agent_that_is_killed_while_it_makes_a_bridge_makes_it_or_takes_it_back(lan: Edge) -> None:
    pop, driver = lan.pop, lan.driver
    before = pop.shell("ip", "-br", "link")
    (step,) = driver.plan(pop.call(driver.observe), bridged(access_port("eth1"), access_port("eth2")))
    for calls in range(5):
        undo = pop.call(driver.prepare, step)
        assert not pop.call(killed_after, driver, step, calls)
        pop.call(driver.undo, undo, context(15.0))
        assert [line.split()[0] for line in pop.shell("ip", "-br", "link").splitlines()] == [
            line.split()[0] for line in before.splitlines()
        ]
        assert not pop.call(killed_after, driver, step, calls)
        pop.call(driver.apply, step, context(15.0))
        pop.call(driver.undo, undo, context(15.0))
    assert pop.call(driver.observe).value is None


def test_what_cannot_be_is_refused_with_every_reason(lan: Edge) -> None:
    lan.pop.shell("ip", "link", "add", "brother", "type", "bridge")
    lan.pop.shell("ip", "link", "set", "eth2", "master", "brother")
    wrong = AccessSection(
        lans=(
            *bridged(access_port("eth1"), access_port("eth7"), bridge="brother").lans,
            *plain(access_port("eth1"), access_port("eth2")).lans,
        )
    )
    steps = lan.driver.plan(lan.pop.call(lan.driver.observe), wrong)
    with pytest.raises(RefusedError) as refused:
        lan.pop.call(lan.driver.check, steps, wrong)
    assert {problem.key for problem in refused.value.problems} == {"eth1", "eth7", "brother", "eth2"}
