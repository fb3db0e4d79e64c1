from __future__ import annotations

from collections.abc import Iterable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headend.transport.continuity import ContinuityMonitor
from headend.transport.packet import NULL_PID, build_packet


def stream(count: int, pid: int = 256, first: int = 0) -> list[bytes]:
    """`count` packets, each with a payload of its own."""
    return [build_packet(pid, (first + i) & 15, i.to_bytes(4, "big") + bytes(180)) for i in range(count)]


def datagrams(packets: Iterable[bytes], size: int = 7) -> Iterator[bytes]:
    kept = list(packets)
    return (b"".join(kept[i : i + size]) for i in range(0, len(kept), size))


def count(packets: Iterable[bytes], size: int = 7) -> int:
    monitor = ContinuityMonitor()
    return sum(monitor.receive(datagram, i * 0.01) for i, datagram in enumerate(datagrams(packets, size)))


@given(st.integers(1, 200), st.integers(0, 15), st.integers(1, 7))
def test_an_unbroken_stream_has_no_errors(packets: int, first: int, size: int) -> None:
    assert count(stream(packets, first=first), size) == 0


@given(st.data())
def test_every_gap_is_one_error_unless_the_counter_went_round(data: st.DataObject) -> None:
    packets = stream(200)
    visible = st.integers(1, 20).filter(lambda missing: missing != 16)  # four bits say no more
    gaps = data.draw(st.lists(st.tuples(visible, st.integers(1, 40)), max_size=4))
    kept: list[bytes] = packets[:20]
    position, errors = 20, 0
    for dropped, run in gaps:
        if position + dropped >= len(packets):
            break
        position += dropped
        kept += packets[position : position + run]
        position += run
        errors += 1
    assert count(kept) == errors


@given(st.integers(1, 99), st.integers(1, 4))
def test_a_packet_may_come_twice_and_no_more(place: int, copies: int) -> None:
    packets = stream(100)
    repeated = packets[:place] + [packets[place]] * copies + packets[place:]
    assert count(repeated) == (1 if copies == 2 else 0 if copies == 1 else copies // 2)


def test_a_duplicate_may_differ_in_its_pcr_alone() -> None:
    first, same = (build_packet(256, 0, b"payload", pcr=pcr) for pcr in (1000, 2000))
    other = build_packet(256, 0, b"another", pcr=2000)
    assert count([first, same]) == 0
    assert count([first, other]) == 1


def test_a_marked_discontinuity_is_no_error() -> None:
    assert count([*stream(5), build_packet(256, 12, b"x", discontinuity=True), *stream(3, first=13)]) == 0


def test_without_payload_the_counter_stands_still() -> None:
    pcr_only = build_packet(256, 4, b"", pcr=5)
    assert count([*stream(5), pcr_only, pcr_only, *stream(3, first=5)]) == 0
    assert count([*stream(5), build_packet(256, 5, b"", pcr=5), *stream(3, first=6)]) == 1


def test_null_packets_do_not_count_and_pids_do_not_mix() -> None:
    one, two = stream(32), stream(32, pid=257, first=7)
    nulls = [build_packet(NULL_PID, 3, bytes(184))] * 32
    assert count(packet for triple in zip(one, nulls, two, strict=True) for packet in triple) == 0


def test_a_packet_marked_as_damaged_is_counted_as_that() -> None:
    packets = stream(10)
    damaged = bytearray(packets[4])
    damaged[1] |= 0x80
    damaged[3] = 0x1F
    monitor = ContinuityMonitor()
    for datagram in datagrams([*packets[:4], bytes(damaged), *packets[4:]]):
        monitor.receive(datagram, 0)
    assert (monitor.transport_errors, monitor.continuity_errors, monitor.packets) == (1, 0, 11)


def test_sync_is_lost_after_two_and_found_after_five() -> None:
    monitor = ContinuityMonitor()
    noise = bytes(188)
    monitor.receive(noise, 0)
    assert monitor.in_sync
    monitor.receive(noise, 0)
    assert (monitor.in_sync, monitor.sync_errors) == (False, 2)
    packets = stream(5)
    for packet in packets[:4]:
        monitor.receive(packet, 0)
    assert not monitor.in_sync
    monitor.receive(packets[4], 0)
    assert monitor.in_sync


def test_a_datagram_that_ends_inside_a_packet_is_a_sync_error() -> None:
    monitor = ContinuityMonitor()
    monitor.receive(b"".join(stream(2)) + b"\x47abc", 0)
    assert (monitor.packets, monitor.sync_errors) == (2, 1)


def test_bit_rate_follows_the_window_and_age_the_last_datagram() -> None:
    monitor = ContinuityMonitor(window_s=1.0)
    assert (monitor.bitrate_bps(0), monitor.age_s(0)) == (0, None)
    for i in range(200):
        monitor.receive(bytes(1250), i * 0.01)
    assert monitor.bitrate_bps(1.99) == pytest.approx(1_000_000)
    assert monitor.age_s(2.49) == pytest.approx(0.5)
    assert monitor.bitrate_bps(2.49) == pytest.approx(500_000)
    assert monitor.bitrate_bps(9) == 0
    counters = monitor.counters(9)
    assert (counters.bytes, counters.packets, counters.in_sync) == (250_000, 0, False)
