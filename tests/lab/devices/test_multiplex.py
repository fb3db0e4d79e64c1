"""The multiplex in a time of its own: tables, PIDs, counters, rates, and who loses when there is no room."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from lab.devices import ts
from lab.devices.multiplex import Multiplex, OutputPlan
from lab.devices.net import Endpoint
from lab.devices.programme import Service, ServicePlan
from lab.devices.ts import NULL_PACKET, NULL_PID, ContinuityCheck, Programme, SectionReader, Stream, TableSender

OUTPUT = OutputPlan(True, True, 1_504_000, 1, 0xFF01, "Test")
TICK_S = 0.01


def plan(number: int, **changes: object) -> ServicePlan:
    place = Endpoint(IPv4Address(0), 5000 + number, IPv4Address(0))
    made = ServicePlan(True, 100 + number, f"Channel {number}", "Test", place, 240 + 16 * number, 0)
    return replace(made, **changes)


class Feed:
    """A programme of constant rate, in datagrams of seven packets: tables, pictures, a null packet."""

    def __init__(self, packets_per_second: float) -> None:
        self._rate = packets_per_second
        self._owed = 0.0
        self._counter = 0
        self._pat, self._pmt = TableSender(0), TableSender(0x1000)
        self._programme = Programme(0x100, b"", (Stream(0x1B, 0x100, b""), Stream(0x0F, 0x101, b"\x0a\x04eng\0")))

    def datagrams(self) -> list[bytes]:
        self._owed += self._rate * TICK_S
        made = []
        while self._owed >= 7:
            self._owed -= 7
            tables = self._pat.packets([ts.pat(9, 0, {1: 0x1000})])
            tables += self._pmt.packets([self._programme.section(1, 0, {0x100: 0x100, 0x101: 0x101})])
            made.append(b"".join([*tables, *(self._picture() for _ in range(4)), NULL_PACKET]))
        return made

    def _picture(self) -> bytes:
        self._counter = self._counter + 1 & 15
        return bytes((0x47, 0x01, 0x00, 0x10 | self._counter)) + bytes(184)


def run(multiplex: Multiplex, feeds: dict[Service, Feed], seconds: float, *, begin: float = 0.0) -> list[bytes]:
    sent = []
    for tick in range(1, round(seconds / TICK_S) + 1):
        now = begin + tick * TICK_S
        for service, feed in feeds.items():
            for datagram in feed.datagrams():
                service.feed(datagram, now)
        sent += multiplex.carry(now)
    return sent


def sections(sent: list[bytes], pid: int) -> list[bytes]:
    reader = SectionReader()
    return [whole for packet in sent if ts.pid_of(packet) == pid for whole in reader.feed(packet)]


def continuity_errors(sent: list[bytes]) -> dict[int, int]:
    checks: dict[int, ContinuityCheck] = defaultdict(ContinuityCheck)
    for packet in sent:
        checks[ts.pid_of(packet)].see(packet)
    return {pid: check.errors for pid, check in checks.items()}


def made(rates: list[float], output: OutputPlan = OUTPUT) -> tuple[Multiplex, dict[Service, Feed]]:
    services = [Service(plan(number)) for number in range(1, len(rates) + 1)]
    return Multiplex(output, services, 0.0), dict(zip(services, map(Feed, rates), strict=True))


def test_tables_say_what_is_there() -> None:
    multiplex, feeds = made([210, 210])
    sent = run(multiplex, feeds, 6.0)
    pats, sdts, nits = (sections(sent, pid) for pid in (ts.PAT_PID, ts.SDT_PID, ts.NIT_PID))
    assert all(ts.crc32(whole) == 0 for whole in (*pats, *sdts, *nits))
    assert ts.first_programme(pats[-1]) == (101, 256)
    assert b"Channel 1" in sdts[-1]
    assert b"Channel 2" in sdts[-1]
    assert b"Test" in nits[-1]
    for number, base in ((101, 256), (102, 272)):
        whole = sections(sent, base)[-1]
        programme = Programme.parse(whole)
        assert programme is not None
        assert int.from_bytes(whole[3:5], "big") == number
        assert (programme.pcr_pid, [stream.pid for stream in programme.streams]) == (base + 1, [base + 1, base + 2])
        assert programme.streams[1].descriptors == b"\x0a\x04eng\0"


def test_tables_are_often_enough() -> None:
    """TR 101 290, 1.3.a and 1.5.a at a fifth of their limit; TS 101 211 for the others."""
    multiplex, feeds = made([210])
    sent = run(multiplex, feeds, 12.0)
    seen = Counter(ts.pid_of(packet) for packet in sent)
    assert seen[ts.PAT_PID] >= 120
    assert seen[256] >= 110
    assert seen[ts.SDT_PID] >= 11
    assert seen[ts.NIT_PID] >= 2


def test_the_rate_is_constant_and_every_counter_goes_on() -> None:
    multiplex, feeds = made([210, 420])
    sent = run(multiplex, feeds, 5.0)
    assert len(sent) == pytest.approx(5000, abs=14)
    assert set(continuity_errors(sent).values()) == {0}
    seen = Counter(ts.pid_of(packet) for packet in sent)
    assert set(seen) == {0, 0x10, 0x11, 256, 257, 272, 273, NULL_PID}
    assert seen[257] == pytest.approx(210 * 5 * 4 / 7, abs=30)
    assert seen[NULL_PID] == multiplex.nulls
    assert all(service.overflow == 0 and service.check.errors == 0 for service in feeds)


def test_a_variable_rate_has_no_null_packets() -> None:
    multiplex, feeds = made([210], replace(OUTPUT, constant=False))
    sent = run(multiplex, feeds, 3.0)
    assert NULL_PID not in {ts.pid_of(packet) for packet in sent}
    assert len(sent) < 700


def test_who_needs_little_loses_nothing_when_there_is_no_room() -> None:
    """1000 packets/s for services of 120, 800 and 800: the small one has all it wants, the others what is left."""
    multiplex, feeds = made([210, 1400, 1400])
    sent = run(multiplex, feeds, 10.0)
    small, *big = feeds
    errors = continuity_errors(sent)
    assert (small.overflow, errors[257]) == (0, 0)
    for service in big:
        assert service.overflow > 1000
    seen = Counter(ts.pid_of(packet) for packet in sent)
    assert seen[273] == pytest.approx(seen[289], rel=0.05)
    lost = sum(service.overflow for service in feeds)
    waiting = sum(len(service.queue) for service in feeds)
    offered = 10 * (210 + 1400 + 1400) * 4 / 7
    assert seen[257] + seen[273] + seen[289] + lost + waiting == pytest.approx(offered, abs=60)


def test_a_service_is_held_to_its_own_limit() -> None:
    services = [Service(plan(1, max_bps=300 * 1504)), Service(plan(2))]
    multiplex = Multiplex(OUTPUT, services, 0.0)
    sent = run(multiplex, dict(zip(services, (Feed(1000), Feed(210)), strict=True)), 10.0)
    seen = Counter(ts.pid_of(packet) for packet in sent)
    assert seen[257] == pytest.approx(3000, rel=0.05)
    assert (services[0].overflow > 2000, services[1].overflow) == (True, 0)


def test_a_lower_rate_holds_from_the_next_packet_on() -> None:
    multiplex, feeds = made([210])
    run(multiplex, feeds, 2.0)
    multiplex.plan = replace(OUTPUT, rate_bps=752_000)
    sent = run(multiplex, feeds, 4.0, begin=2.0)
    assert len(sent) == pytest.approx(2000, abs=14)
    assert set(continuity_errors(sent).values()) == {0}


def test_a_stall_is_not_made_up_for() -> None:
    multiplex, feeds = made([210])
    run(multiplex, feeds, 2.0)
    assert len(multiplex.carry(4.0)) <= 35


def test_a_service_that_leaves_is_gone_from_the_tables_at_once() -> None:
    multiplex, feeds = made([210, 210])
    before = sections(run(multiplex, feeds, 2.0), ts.PAT_PID)[-1]
    service = list(feeds)[1]
    service.replan(plan(2, enabled=False))
    after = sections(run(multiplex, {next(iter(feeds)): next(iter(feeds.values()))}, 0.1, begin=2.0), ts.PAT_PID)[0]
    assert (len(before) - len(after), before[5] == after[5]) == (4, False)


def test_a_change_of_identity_moves_the_pids() -> None:
    multiplex, feeds = made([210])
    run(multiplex, feeds, 1.0)
    next(iter(feeds)).replan(plan(1, pid_base=512, service_id=7))
    sent = run(multiplex, feeds, 1.0, begin=1.0)
    assert ts.first_programme(sections(sent, ts.PAT_PID)[-1]) == (7, 512)
    seen = {ts.pid_of(packet) for packet in sent}
    assert {512, 513} <= seen
    assert 257 not in seen


def test_what_is_no_transport_stream_is_left_alone() -> None:
    service = Service(plan(1))
    for datagram in (b"", b"x" * 188, NULL_PACKET[:100], NULL_PACKET * 8):
        service.feed(datagram, 1.0)
    assert (service.input_meter.total, service.locked(1.0)) == (0, False)
