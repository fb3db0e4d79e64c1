"""The pacer on streams made for it: steady, whole, one stream across runs, whatever pieces it comes in."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from headend.transport.continuity import ContinuityMonitor
from headend.transport.packet import PCR_HZ, build_packet, parse_packet
from nf.media.intake.pacer import DATAGRAM_PACKETS, PACKET_SIZE, Pacer

VIDEO, AUDIO, NULL = 0x100, 0x101, 0x1FFF
PER_S = 500


def stream(seconds: float, *, clock: int = 0, counter: int = 0) -> bytes:
    """Five hundred packets a second, a PCR in every tenth."""
    packets = []
    for number in range(round(seconds * PER_S)):
        if number % 10 == 0:
            pcr = clock + number * PCR_HZ // PER_S
            packets.append(build_packet(VIDEO, counter & 15, b"v", pcr=pcr))
            counter += 1
        else:
            packets.append(build_packet(AUDIO, (number - number // 10 - 1) & 15, b"a" * 184))
        if number % 3 == 0:
            packets.append(build_packet(NULL, 0, bytes(184)))
    return b"".join(packets)


def play(pacer: Pacer, until_s: float, *, start_s: float = 0.0) -> list[tuple[float, bytes]]:
    found, now = [], start_s
    while now < until_s:
        found += [(now, datagram) for datagram in pacer.due(now)]
        now += 0.005
    return found


def pacer() -> Pacer:
    return Pacer(target_s=2.0, window_s=6.0)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 5000), max_size=40))
def test_a_burst_goes_out_at_the_pace_of_its_clock_in_whatever_pieces_it_came(cuts: list[int]) -> None:
    one, data = pacer(), stream(2.0)
    one.begin(afresh=True)
    for cut in cuts:
        one.push(data[:cut])
        data = data[cut:]
    one.push(data)
    sent = play(one, 3.0)
    packets = [d[i : i + PACKET_SIZE] for _, d in sent for i in range(0, len(d), PACKET_SIZE)]
    assert one.sync_errors == 0
    assert {len(datagram) for _, datagram in sent} == {DATAGRAM_PACKETS * PACKET_SIZE}
    assert all(parse_packet(packet).pid != NULL for packet in packets)
    assert abs(sent[-1][0] - 2.0) < 0.1
    by_second = [sum(1 for at, _ in sent if begin <= at < begin + 0.5) for begin in (0.0, 0.5, 1.0)]
    assert max(by_second) - min(by_second) <= 2
    monitor = ContinuityMonitor()
    for at, datagram in sent:
        monitor.receive(datagram, at)
    assert monitor.continuity_errors == 0


def test_another_run_goes_on_as_the_same_stream_with_its_clock_marked() -> None:
    one = pacer()
    one.begin(afresh=True)
    one.push(stream(2.0))
    one.begin(afresh=False)
    one.push(stream(2.0, clock=PCR_HZ * 9000, counter=7))
    sent = play(one, 5.0)
    monitor = ContinuityMonitor()
    for at, datagram in sent:
        monitor.receive(datagram, at)
    assert monitor.continuity_errors == 0
    headers = [parse_packet(d[i : i + PACKET_SIZE]) for _, d in sent for i in range(0, len(d), PACKET_SIZE)]
    marked = [header for header in headers if header.discontinuity]
    assert [header.pcr for header in marked] == [PCR_HZ * 9000]
    assert abs(sent[-1][0] - 4.0) < 0.1


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 40))
def test_what_lies_ready_is_given_up_for_a_run_afresh_and_nothing_is_missed(tenths: int) -> None:
    one = pacer()
    one.begin(afresh=True)
    one.push(stream(4.0))
    before = play(one, tenths / 10)
    one.begin(afresh=True)
    assert one.level_s(tenths / 10) == 0
    one.push(stream(2.0, clock=PCR_HZ * 9000))
    after = play(one, 9.0, start_s=tenths / 10)
    monitor = ContinuityMonitor()
    for at, datagram in (*before, *after):
        monitor.receive(datagram, at)
    assert monitor.continuity_errors == 0
    packets = [d[i : i + PACKET_SIZE] for _, d in after for i in range(0, len(d), PACKET_SIZE)]
    assert all(pcr is None or pcr >= PCR_HZ * 9000 for pcr in (parse_packet(packet).pcr for packet in packets))
    assert len(packets) > 1.9 * PER_S
    assert after[0][0] <= tenths / 10 + 0.1  # at once, not when what was given up would have ended


def test_what_came_in_too_late_moves_the_rest_and_a_late_turn_does_not() -> None:
    one, data = pacer(), stream(6.0)
    one.begin(afresh=True)
    half = len(data) // 2 // PACKET_SIZE * PACKET_SIZE
    one.push(data[:half])
    play(one, 4.0)
    assert one.underruns == 0
    one.push(data[half:])
    assert len(list(one.due(5.0))) <= 2
    assert one.underruns == 1
    burst = list(one.due(5.5))
    assert len(burst) > 20  # half a second of this process's own making
    assert one.underruns == 1


def test_the_reserve_is_the_least_that_lay_ready() -> None:
    one, data = Pacer(target_s=1.0, window_s=1.0), stream(8.0)
    one.begin(afresh=True)
    one.push(data)
    play(one, 3.0)
    assert one.reserve_s is not None
    assert 4.5 < one.reserve_s < 7.0


@settings(deadline=None, max_examples=100)
@given(st.lists(st.binary(max_size=600), max_size=20))
def test_no_octets_break_it(pieces: list[bytes]) -> None:
    one = pacer()
    one.begin(afresh=True)
    for number, piece in enumerate(pieces):
        one.push(piece if number % 2 else b"\x47" + piece.ljust(187, b"\x30")[:187])
    for _, datagram in play(one, 1.0):
        assert len(datagram) == DATAGRAM_PACKETS * PACKET_SIZE
