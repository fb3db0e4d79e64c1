"""The measuring cores against vectors computed by hand, and against the packet-by-packet monitor."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headend.multicast.monitor.continuity import ContinuityBank
from headend.multicast.monitor.mdi import delay_factor_ms, mean_rate_bps, media_loss_rate
from headend.multicast.monitor.pcr import figures, unwrap
from headend.multicast.monitor.sequence import SequenceMeter
from headend.transport.continuity import ContinuityMonitor
from headend.transport.packet import PCR_MODULUS
from tests.headend.multicast.monitor.made import ts

MS = 1_000_000


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


# -- RFC 4445 ------------------------------------------------------------------------------------------------------


def test_delay_factor_of_an_even_stream_is_one_packet() -> None:
    """1,000 octets every 10 ms at 800 kbit/s: the buffer goes 0, 1000, 0, 1000 ...; 1,000 octets last 10 ms."""
    at_ns, size = ints(*(10 * MS * n for n in range(1, 11))), np.full(10, 1000)
    assert delay_factor_ms(at_ns, size, 800_000, 0) == pytest.approx(10.0)


def test_delay_factor_of_a_burst_and_of_a_gap() -> None:
    """Three packets at once at 30 ms: VB falls to -3,000, rises to 0: 30 ms. Then a gap of 50 ms: falls to -5,000."""
    burst = ints(30 * MS, 30 * MS, 30 * MS)
    assert delay_factor_ms(burst, np.full(3, 1000), 800_000, 0) == pytest.approx(30.0)
    gap = ints(10 * MS, 20 * MS, 70 * MS, 80 * MS)  # pre: -1000 -1000 -5000 -5000, post: 0 0 -4000 -4000
    assert delay_factor_ms(gap, np.full(4, 1000), 800_000, 0) == pytest.approx(50.0)
    early = ints(0, 0, 0, 30 * MS)  # post 1000 2000 3000, then pre 0: 3,000 octets
    assert delay_factor_ms(early, np.full(4, 1000), 800_000, 0) == pytest.approx(30.0)


def test_nothing_has_no_delay_and_no_rate() -> None:
    assert delay_factor_ms(ints(), ints(), 800_000, 0) == 0.0
    assert delay_factor_ms(ints(5), ints(1000), 0.0, 0) == 0.0
    assert mean_rate_bps(ints(5), ints(1000)) == 0.0
    assert mean_rate_bps(ints(0, 10 * MS, 20 * MS), ints(1000, 1000, 1000)) == pytest.approx(800_000)
    assert media_loss_rate(14, 7, 2.0) == 10.5
    assert media_loss_rate(-7, 0, 1.0) == 0.0


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=50).map(sorted), st.integers(1, 10**10))
def test_delay_factor_is_that_of_the_loop(times: list[int], rate_bps: int) -> None:
    buffer, low, high, last = 0.0, 0.0, 0.0, 0
    for at_ns in times:
        buffer -= rate_bps / 8 * (at_ns - last) / 1e9
        low, last = min(low, buffer), at_ns
        buffer += 1316
        high = max(high, buffer)
    expected = (high - low) / (rate_bps / 8) * 1000
    assert delay_factor_ms(ints(*times), np.full(len(times), 1316), rate_bps, 0) == pytest.approx(expected, rel=1e-6)


# -- PCR -----------------------------------------------------------------------------------------------------------


def test_pcrs_of_a_perfect_stream_have_no_jitter() -> None:
    """A PCR every 20 ms and 100 packets, which is 7.52 Mbit/s; the receiver's clock runs 50 ppm fast."""
    number = np.arange(50)
    found = figures(number * 540_000 + 7, (number * 20 * MS * (1 + 50e-6)).astype(np.int64), number * 100)
    assert found.jitter_us == pytest.approx(0.0, abs=0.01)
    assert found.accuracy_ns == pytest.approx(0.0, abs=1.0)
    assert found.rate_bps == pytest.approx(7_520_000)


def test_jitter_is_of_arrival_and_accuracy_of_the_stamps() -> None:
    """Late by 300 us at the odd ones: 300 us from peak to peak. A stamp 27 ticks off is 1,000 ns."""
    number = np.arange(101)
    late = number * 20 * MS + (number % 2) * 300_000
    found = figures(number * 540_000, late, number * 100)
    assert found.jitter_us == pytest.approx(300.0, rel=0.01)
    assert found.accuracy_ns == pytest.approx(0.0, abs=1.0)
    stamps = number * 540_000
    stamps[50] += 27
    found = figures(stamps, number * 20 * MS, number * 100)
    assert found.accuracy_ns == pytest.approx(1000.0, rel=0.02)
    assert figures(stamps, late, number * 100, lossless=False).accuracy_ns is None


def test_pcrs_wrap_and_leap() -> None:
    assert unwrap(ints(PCR_MODULUS - 100, 200)).tolist() == [0, 300]  # type: ignore[union-attr]
    assert unwrap(ints(0, 27_000_000 * 11)) is None
    assert figures(ints(1, 2), ints(0, 1), ints(0, 1)).jitter_us is None
    assert figures(ints(5, 5, 5), ints(0, 1, 2), ints(0, 0, 0)).rate_bps is None


# -- RFC 3550 ------------------------------------------------------------------------------------------------------


def counted(*batches: list[int]) -> tuple[int, int, int, int]:
    meter = SequenceMeter()
    for batch in batches:
        meter.take(ints(*batch))
    return meter.lost, meter.reordered, meter.duplicates, meter.restarts


def test_sequences() -> None:
    assert counted([1, 2, 3], [4, 5]) == (0, 0, 0, 0)
    assert counted([65534, 65535, 0, 1]) == (0, 0, 0, 0)
    assert counted([1, 2, 5], [6]) == (2, 0, 0, 0)
    assert counted([1, 2, 5], [3, 6]) == (1, 1, 0, 0)
    assert counted([1, 2, 5, 4, 3, 6]) == (0, 2, 0, 0)
    assert counted([1, 2, 2, 3], [3]) == (0, 0, 2, 0)
    assert counted([65535, 1], [0, 0, 2]) == (0, 1, 1, 0)
    assert counted([1, 2, 30_000, 30_001, 30_003]) == (1, 0, 0, 1)
    assert counted([5000, 5001, 5002, 10, 11]) == (0, 0, 0, 1)


@given(
    st.integers(0, 65535),
    st.lists(st.tuples(st.integers(0, 400), st.sampled_from(["once", "lost", "twice"])), max_size=300),
    st.integers(1, 50),
)
def test_lost_late_and_double_are_told_apart(first: int, told: list[tuple[int, str]], cut: int) -> None:
    """Every number up to the highest is sent once, twice or not; delayed by up to 400 places."""
    sent = [(number + delay, number) for number, (delay, how) in enumerate(told) for _ in range(how.count("once"))]
    sent += [(number + delay, number) for number, (delay, how) in enumerate(told) if how == "twice" for _ in "12"]
    order = [-1, *(number for _, number in sorted(sent))]  # the first one says where it begins
    arrived = [(first + number) % 65536 for number in order]
    meter = SequenceMeter()
    for begin in range(0, len(arrived), cut):
        meter.take(ints(*arrived[begin : begin + cut]))
    came, late, peak = set[int](), 0, -1
    for number in order:
        late += number < peak and number not in came
        came.add(number)
        peak = max(peak, number)
    assert (meter.lost, meter.reordered) == (peak + 2 - len(came), late)
    assert meter.duplicates == len(order) - len(came)
    assert meter.restarts == 0


@given(st.lists(st.integers(0, 65535), max_size=200))
def test_any_sequence(numbers: list[int]) -> None:
    lost, reordered, duplicates, restarts = counted(numbers)
    assert min(lost, reordered, duplicates, restarts) >= 0


# -- continuity ----------------------------------------------------------------------------------------------------

steps = st.sampled_from([1] * 12 + [0, 0, 0, 2, 5, 15])


@given(st.lists(st.tuples(st.sampled_from([32, 33, 0x1FFE, 0x1FFF]), steps), max_size=120), st.integers(1, 40))
def test_counters_are_judged_as_packet_by_packet(moves: list[tuple[int, int]], cut: int) -> None:
    counters: dict[int, int] = {}
    stream: list[tuple[int, int]] = []
    for pid, step in moves:
        counters[pid] = (counters.get(pid, 3) + step) & 15
        stream.append((pid, counters[pid]))
    judge = ContinuityMonitor()
    for pid, counter in stream:
        judge.receive(ts([counter], pid), 0.0)
    bank, errors = ContinuityBank(3), 0
    for begin in range(0, len(stream), cut):
        pids, values = (ints(*column) for column in zip(*stream[begin : begin + cut], strict=True))
        yes = np.ones(len(pids), np.bool_)
        breaks = bank.take(np.full(len(pids), 2), pids, values, yes, ~yes)
        assert not breaks.errors[:2].any()
        errors += int(breaks.errors[2])
    assert errors == judge.continuity_errors


def test_packets_without_payload_do_not_count_up() -> None:
    bank = ContinuityBank(1)
    counter, payload = ints(1, 1, 2, 2, 3, 5), np.array([1, 0, 1, 0, 1, 0], np.bool_)
    breaks = bank.take(np.zeros(6, np.int64), np.full(6, 256), counter, payload, np.zeros(6, np.bool_))
    assert (breaks.errors.tolist(), breaks.missing.tolist()) == ([1], [2])


def test_a_signalled_discontinuity_is_none() -> None:
    bank = ContinuityBank(1)
    flags = np.array([False, True, False])
    breaks = bank.take(np.zeros(3, np.int64), np.full(3, 256), ints(1, 9, 10), ~np.zeros(3, np.bool_), flags)
    assert breaks.errors.tolist() == [0]


def test_flows_do_not_mix() -> None:
    bank = ContinuityBank(2)
    flow, counter = ints(0, 1, 0, 1, 0, 1), ints(1, 7, 2, 9, 3, 10)
    yes = np.ones(6, np.bool_)
    breaks = bank.take(flow, np.full(6, 256), counter, yes, ~yes)
    assert (breaks.errors.tolist(), breaks.missing.tolist()) == ([0, 1], [0, 1])


def test_more_pids_than_are_judged_are_not_judged() -> None:
    """As noise with sync bytes in it has: nine flows of them are more than 65,535."""
    flows = 9
    flow, pid = np.repeat(np.arange(flows), 8192), np.tile(np.arange(8192), flows)
    sure, not_any = np.ones(len(flow), np.bool_), np.zeros(len(flow), np.bool_)
    bank = ContinuityBank(flows)
    for counter in (0, 5):
        errors = bank.take(flow, pid, np.full(len(flow), counter), sure, not_any).errors
    assert errors.sum() == 65_535
    assert errors[0] == 8191
