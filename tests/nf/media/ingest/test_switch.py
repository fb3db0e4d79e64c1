"""The switch between two contributions, judged by the headend's own reader of transport streams."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from hypothesis import given, settings
from hypothesis import strategies as st

from headend.transport.continuity import ContinuityMonitor
from headend.transport.packet import PACKET_SIZE, parse_packet
from nf.media.ingest.switch import Role, Rules, Switch
from tests.nf.media.ingest.streams import PICTURE_S, PMT_PID, VIDEO_PID, datagrams

DETECT_S = 0.4


class Time:
    """Both contributions, picture by picture; a role that is not among the senders is silent."""

    def __init__(self, rules: Rules, *, backup_at_s: float = 5_000.0, group: int = 25) -> None:
        self.now = 100.0
        self.switch = Switch(rules, self.now)
        self.out: list[tuple[float, bytes]] = []
        self._feeds = {Role.PRIMARY: datagrams(10.0), Role.BACKUP: datagrams(backup_at_s, group=group)}

    def run(self, pictures: int, *senders: Role) -> None:
        for _ in range(pictures):
            for role, feed in self._feeds.items():
                datagram = next(feed)
                if role in senders:
                    self._take(self.switch.receive(role, datagram, self.now))
            for _ in range(2):
                self.now += PICTURE_S / 2
                self._take(self.switch.tick(self.now))

    def _take(self, sent: list[bytes]) -> None:
        self.out += [(self.now, datagram) for datagram in sent]

    def packets(self, since: int = 0) -> Iterator[bytes]:
        for _, datagram in self.out[since:]:
            for place in range(0, len(datagram), PACKET_SIZE):
                yield datagram[place : place + PACKET_SIZE]

    def active(self) -> Role | None:
        return self.switch.active

    def errors(self) -> int:
        monitor = ContinuityMonitor()
        for at, datagram in self.out:
            monitor.receive(datagram, at)
        return monitor.continuity_errors + monitor.sync_errors

    def clocks(self) -> list[int]:
        return [pcr for packet in self.packets() if (pcr := parse_packet(packet).pcr) is not None]


def failed_over(**options: object) -> Time:
    time = Time(Rules(DETECT_S), **options)  # type: ignore[arg-type]
    time.run(60, Role.PRIMARY, Role.BACKUP)
    time.run(40, Role.BACKUP)
    return time


def test_what_one_contribution_brings_goes_out_as_it_came() -> None:
    time = Time(Rules(DETECT_S))
    time.run(60, Role.PRIMARY, Role.BACKUP)
    given_in = datagrams(10.0)
    assert [datagram for _, datagram in time.out] == [next(given_in) for _ in range(60)]


def test_silence_brings_the_backup_within_the_time_of_detection() -> None:
    time = failed_over()
    assert time.active() is Role.BACKUP
    assert time.switch.last_gap_s is not None
    assert DETECT_S <= time.switch.last_gap_s <= DETECT_S + PICTURE_S
    times = [at for at, _ in time.out]
    assert max(b - a for a, b in itertools.pairwise(times)) <= DETECT_S + PICTURE_S


def test_the_backup_begins_with_its_tables_and_a_random_access_point() -> None:
    time = failed_over()
    first = next(i for i, (a, b) in enumerate(zip(time.out, time.out[1:], strict=False)) if b[0] - a[0] > 0.3) + 1
    begins = [parse_packet(packet) for packet in list(time.packets(first))[:6]]
    with_payload = [header for header in begins if header.has_payload]
    assert [header.pid for header in with_payload[:3]] == [0, PMT_PID, VIDEO_PID]
    assert with_payload[2].random_access
    assert with_payload[2].discontinuity


def test_nothing_is_discontinuous_that_is_not_said_to_be() -> None:
    assert failed_over().errors() == 0


def test_the_clock_goes_on_where_it_was() -> None:
    clocks = failed_over().clocks()
    steps = [b - a for a, b in itertools.pairwise(clocks)]
    assert min(steps) > 0
    assert max(steps) <= (DETECT_S + 2 * PICTURE_S) * 27_000_000


def test_the_primary_is_taken_back_when_somebody_says_so_and_not_before() -> None:
    time = failed_over()
    time.run(100, Role.PRIMARY, Role.BACKUP)
    assert time.active() is Role.BACKUP
    time.switch.ask_failback()
    time.run(30, Role.PRIMARY, Role.BACKUP)
    assert time.active() is Role.PRIMARY
    assert time.switch.switches == {"silence": 1, "failback": 1}
    assert time.errors() == 0
    assert min(b - a for a, b in zip(time.clocks(), time.clocks()[1:], strict=False)) > 0


def test_the_primary_is_taken_back_by_itself_when_it_was_back_long_enough() -> None:
    time = Time(Rules(DETECT_S, failback_s=3.0))
    time.run(30, Role.PRIMARY, Role.BACKUP)
    time.run(30, Role.BACKUP)
    time.run(60, Role.PRIMARY, Role.BACKUP)
    assert time.active() is Role.BACKUP
    time.run(60, Role.PRIMARY, Role.BACKUP)
    assert time.active() is Role.PRIMARY


def test_a_backup_that_never_says_where_to_begin_is_taken_all_the_same() -> None:
    time = Time(Rules(DETECT_S), group=10_000)
    next(time._feeds[Role.BACKUP])
    time.run(30, Role.PRIMARY, Role.BACKUP)
    time.run(30, Role.BACKUP)
    assert time.active() is Role.BACKUP
    assert time.switch.last_gap_s is not None
    assert time.switch.last_gap_s < 3 * DETECT_S


def test_without_a_backup_the_primary_goes_on_when_it_comes_again() -> None:
    time = Time(Rules(DETECT_S))
    time.run(30, Role.PRIMARY)
    time.run(60)
    time.run(30, Role.PRIMARY)
    assert len(time.out) == 60
    assert not time.switch.switches


def test_a_clock_that_wraps_goes_on() -> None:
    clocks = failed_over(backup_at_s=(1 << 33) / 90_000 - 2.5).clocks()
    assert min(b - a for a, b in itertools.pairwise(clocks)) > 0


@given(st.lists(st.tuples(st.sampled_from(Role), st.binary(max_size=600), st.floats(0, 1)), max_size=30))
def test_nothing_that_comes_in_breaks_it(arrived: list[tuple[Role, bytes, float]]) -> None:
    now = 0.0
    switch = Switch(Rules(DETECT_S), now)
    for role, data, passes in arrived:
        now += passes
        packet = (b"\x47" + data)[:PACKET_SIZE].ljust(PACKET_SIZE, b"\xff")
        for sent in (*switch.receive(role, packet, now), *switch.receive(role, data, now), *switch.tick(now)):
            assert len(sent) % PACKET_SIZE == 0


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(1, 40)), min_size=1, max_size=8))
def test_whatever_falls_silent_when_the_output_is_continuous(phases: list[tuple[bool, bool, int]]) -> None:
    time = Time(Rules(DETECT_S, failback_s=1.0))
    for primary, backup, pictures in phases:
        time.run(pictures, *([Role.PRIMARY] if primary else []), *([Role.BACKUP] if backup else []))
    # What comes again after silence, without a switch, jumps as its sender's stream does.
    if all(primary or backup for primary, backup, _ in phases):
        clocks = time.clocks()
        assert all(b > a for a, b in itertools.pairwise(clocks))


def test_rtp_is_read_and_what_is_no_transport_stream_is_silence() -> None:
    switch = Switch(Rules(DETECT_S), 0.0)
    datagram = next(datagrams(10.0))
    assert switch.receive(Role.PRIMARY, b"\x80\x21" + bytes(10) + datagram, 0.1) == [datagram]
    assert switch.receive(Role.PRIMARY, b"hello", 0.2) == []
    assert switch.status(0.2)["feeds"]["primary"]["datagrams"] == 1  # type: ignore[index]
