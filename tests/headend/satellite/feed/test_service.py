"""The service of a feed, in virtual time, on streams made for it."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from headend.satellite.feed.policy import AS_BEFORE
from headend.satellite.feed.streams import PCR_PID, PMT_PID
from headend.satellite.feed.switch import State
from headend.transport.packet import PCR_HZ, parse_packet
from headend.transport.psi import PAT_PID, parse_pat, parse_pmt
from tests.headend.satellite.feed.made import CONFIG, MPEG2_VIDEO, Bench, headers, sections

VIDEO, AUDIO = 0x0111, 0x0121
ALONE = replace(CONFIG, fallback=None)


def test_the_output_is_the_service_alone_on_pids_of_its_own() -> None:
    bench = Bench(ALONE)
    bench.run(2)
    packets = bench.packets()
    assert Counter(parse_packet(packet).pid for packet in packets).keys() == {PAT_PID, PMT_PID, VIDEO, AUDIO}
    assert {len(datagram) for datagram in bench.out[:-1]} == {1316}
    pat = parse_pat(sections(packets, PAT_PID)[0])
    assert (pat.transport_stream_id, pat.programs) == (7, {1: PMT_PID})
    (pmt,) = map(parse_pmt, sections(packets, PMT_PID))
    assert (pmt.program_number, pmt.pcr_pid) == (1, VIDEO)
    assert [(stream.stream_type, stream.pid) for stream in pmt.streams] == [(0x1B, VIDEO), (0x0F, AUDIO)]
    assert bench.errors() == 0
    assert bench.service.output.packets == len(packets)


def test_tables_come_ten_times_a_second_and_first() -> None:
    bench = Bench(ALONE)
    bench.run(3)
    pids = [parse_packet(packet).pid for packet in bench.packets()]
    assert pids[:2] == [PAT_PID, PMT_PID]
    assert pids.count(PAT_PID) == pids.count(PMT_PID) == 30


@settings(deadline=None, max_examples=30)
@given(st.sets(st.integers(30, 900), max_size=12))
def test_what_the_input_lost_is_lost_in_the_output_and_nothing_else(lost: set[int]) -> None:
    bench = Bench(ALONE)
    packets = [packet for _ in range(150) for packet in bench.satellite.step()]
    kept = [packet for number, packet in enumerate(packets) if number not in lost]
    for i in range(0, len(kept), 7):
        bench.give(kept[i : i + 7], [])
    service = bench.service
    assert bench.errors() == service.output.continuity_errors == service.satellite.continuity_errors
    streams = {0x31: VIDEO, 0x32: AUDIO}
    payloads = [packet[4:] for packet in kept if parse_packet(packet).pid in streams]
    sent = [packet[4:] for packet in bench.packets() if parse_packet(packet).pid in streams.values()]
    assert sent == payloads


def test_silence_brings_the_fallback_and_five_sound_seconds_the_satellite_back() -> None:
    bench = Bench()
    bench.run(1)
    bench.run(1.5, satellite=False)
    assert (bench.service.state, bench.service.switches) == (State.FALLBACK, 1)
    bench.run(AS_BEFORE.failback_after_s - 0.1)
    assert bench.service.state is State.FALLBACK
    bench.run(1)
    assert (bench.service.state, bench.service.switches) == (State.SATELLITE, 2)
    assert bench.errors() == bench.service.output.continuity_errors == 0
    assert {header.pid for header in map(parse_packet, bench.packets())} == {PAT_PID, PMT_PID, VIDEO, AUDIO}


def test_a_loss_while_the_satellite_is_watched_begins_the_five_seconds_anew() -> None:
    bench = Bench()
    bench.service.reception(good=False, now=bench.now)
    bench.run(1)
    assert bench.service.on_fallback
    bench.service.reception(good=True, now=bench.now)
    bench.run(4)
    bench.satellite.counters[0x32] += 3
    bench.run(4)
    assert bench.service.on_fallback
    bench.run(2)
    assert not bench.service.on_fallback
    assert bench.service.satellite.continuity_errors == 1
    assert bench.errors() == 0


def test_bad_reception_goes_over_without_a_gap_and_good_reception_comes_back() -> None:
    bench = Bench()
    bench.run(1)
    bench.service.reception(good=False, now=bench.now)
    assert bench.service.state is State.LEAVING  # the satellite is sent until the fallback can be entered
    bench.run(1)
    assert bench.service.state is State.FALLBACK
    bench.run(10)
    assert bench.service.state is State.FALLBACK
    bench.service.reception(good=True, now=bench.now)
    bench.run(AS_BEFORE.failback_after_s - 0.1)
    assert bench.service.state is State.FALLBACK
    bench.run(1)
    assert (bench.service.state, bench.service.switches) == (State.SATELLITE, 2)
    assert bench.errors() == 0


def test_a_switch_is_made_at_a_random_access_point_with_the_new_clock_marked() -> None:
    for apart in (False, True):
        bench = Bench()
        bench.fallback.pcr_apart = apart
        bench.run(1)
        bench.service.reception(good=False, now=bench.now)
        bench.run(1)
        packets = bench.packets()
        pcr_pid = PCR_PID if apart else VIDEO
        marked = [number for number, packet in enumerate(packets) if parse_packet(packet).discontinuity]
        assert len(marked) == 1
        header = parse_packet(packets[marked[0]])
        assert (header.pid, header.pcr is not None) == (pcr_pid, True)
        assert header.pcr is not None
        assert header.pcr > PCR_HZ * 5000
        after = [parse_packet(packet) for packet in packets[marked[0] :]]
        picture = next(header for header in after if header.pid == VIDEO)
        assert (picture.payload_unit_start, picture.random_access) == (True, True)
        before = [parse_packet(packet).pcr for packet in packets[: marked[0]]]
        assert all(pcr is None or pcr < PCR_HZ * 5000 for pcr in before)
        assert bench.errors() == 0


def test_a_packet_with_the_new_clock_goes_ahead_where_the_picture_has_none() -> None:
    bench = Bench()
    bench.run(1)
    bench.service.reception(good=False, now=bench.now)
    while not bench.service.on_fallback:
        packets = bench.fallback.step()
        for number, packet in enumerate(packets):
            header = parse_packet(packet)
            if header.random_access and header.pcr is not None and bench.fallback.steps > 42:
                packets[number] = packet[:5] + bytes([packet[5] & ~0x10]) + packet[6:]
        bench.give(bench.satellite.step(), packets)
    marked = [parse_packet(packet) for packet in bench.packets() if parse_packet(packet).discontinuity]
    (only,) = marked
    assert (only.pid, only.has_payload) == (VIDEO, False)
    assert only.pcr is not None
    expected = PCR_HZ * 5000 + (bench.fallback.steps - 1) * PCR_HZ // 100
    assert abs(only.pcr - expected) <= PCR_HZ // 100
    bench.run(1)
    assert bench.errors() == 0


def test_the_pmt_has_another_version_only_when_it_says_something_else() -> None:
    same, other = Bench(), Bench()
    other.fallback.video_type = MPEG2_VIDEO
    for bench, versions in ((same, [0]), (other, [0, 1, 2])):
        bench.run(1)
        bench.service.reception(good=False, now=bench.now)
        bench.run(1)
        bench.service.reception(good=True, now=bench.now)
        bench.run(6)
        assert bench.service.switches == 2
        assert [parse_pmt(section).version for section in sections(bench.packets(), PMT_PID)] == versions


def test_a_fallback_that_is_silent_is_never_taken_and_one_that_falls_silent_is_left() -> None:
    bench = Bench()
    bench.service.reception(good=False, now=bench.now)
    bench.run(2, fallback=False)
    assert (bench.service.state, bench.service.switches) == (State.SATELLITE, 0)
    assert bench.service.output.packets > 500
    bench.run(1)
    assert bench.service.state is State.FALLBACK
    bench.run(2, fallback=False)
    assert not bench.service.on_fallback  # a poor picture is better than none
    assert bench.service.switches == 2


def test_without_a_fallback_nothing_is_sent_while_nothing_comes() -> None:
    bench = Bench(ALONE)
    bench.run(1)
    sent = bench.service.output.packets
    bench.run(3, satellite=False)
    assert (bench.service.output.packets, bench.service.state) == (sent, State.SATELLITE)
    bench.satellite.counters[0x31] += 5
    bench.run(1)
    assert bench.errors() == 1  # the gap shows


def test_a_muted_carrier_at_the_start_is_no_reason_to_wait() -> None:
    bench = Bench()
    bench.run(2, satellite=False)
    assert bench.service.on_fallback
    assert bench.errors() == 0


def test_a_fallback_without_random_access_points_is_entered_after_a_while() -> None:
    bench = Bench()
    bench.run(1)
    for _ in range(200):
        packets = [
            packet[:5] + bytes([packet[5] & ~0x40]) + packet[6:] if parse_packet(packet).random_access else packet
            for packet in bench.fallback.step()
        ]
        bench.give([], packets)
    assert bench.service.on_fallback
    assert bench.errors() == 0


def test_streams_begin_with_a_whole_pes_packet() -> None:
    bench = Bench()
    bench.run(1)
    bench.service.reception(good=False, now=bench.now)
    bench.run(0.8)
    marked = next(i for i, packet in enumerate(bench.packets()) if parse_packet(packet).discontinuity)
    for pid in (VIDEO, AUDIO):
        assert next(headers(bench.packets()[marked:], pid)).payload_unit_start


@settings(deadline=None, max_examples=10)
@given(
    st.lists(st.tuples(st.sampled_from(["good", "bad", "both", "satellite", "fallback", "none"]), st.integers(1, 70)))
)
def test_whatever_happens_the_output_shows_no_error_that_no_input_had(story: list[tuple[str, int]]) -> None:
    """Streams that stop and go on without a gap in their counters: nothing was lost, so no error may show."""
    bench = Bench()
    satellite = fallback = True
    for what, length in story:
        if what in ("good", "bad"):
            bench.service.reception(good=what == "good", now=bench.now)
        else:
            satellite, fallback = what in ("both", "satellite"), what in ("both", "fallback")
        bench.run(length / 10, satellite=satellite, fallback=fallback)
    assert bench.errors() == bench.service.output.continuity_errors == 0
