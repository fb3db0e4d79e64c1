"""Packets as they lie in a ring, measured; the filter before it, run by a machine of our own."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headend.multicast.monitor.filter import MAX_INSTRUCTIONS, WHOLE_PACKET, Instruction, program
from headend.multicast.monitor.meter import Meter
from headend.multicast.monitor.packets import FlowKey
from headend.multicast.monitor.ring import packet_headers
from headend.transport.packet import NULL_PID
from tests.headend.multicast.monitor.made import GROUP, KEY, PORT, SOURCE, Datagram, frame, packets, rtp, ts

MS = 1_000_000
OTHER = FlowKey(SOURCE, IPv4Address("232.1.1.2"), PORT)


def even(count: int, interval_ns: int = 10 * MS, **fields: object) -> list[Datagram]:
    """Seven TS packets each; a PCR in each, as even as the packets."""
    stream = [ts(range(7 * n, 7 * n + 7), pcr=round(n * interval_ns * 27 / 1000)) for n in range(count)]
    return [replace(Datagram(n * interval_ns, payload), **fields) for n, payload in enumerate(stream)]


def test_an_even_stream() -> None:
    meter = Meter([False])
    meter.take(packets(even(60)))
    meter.take(packets(even(100)[60:]))
    (found,) = meter.close(0, 1000 * MS)
    assert (found.packets, found.octets, found.ts_packets) == (100, 131_600, 700)
    assert (found.continuity_errors, found.bad_packets, found.media_loss_rate) == (0, 0, 0.0)
    assert found.bitrate_bps == pytest.approx(131_600 * 8)
    assert found.delay_factor_ms == pytest.approx(10.0, rel=0.01)
    assert found.pcr_jitter_us == pytest.approx(0.0, abs=0.1)
    assert found.pcr_accuracy_ns == pytest.approx(0.0, abs=40.0)  # a tick of 27 MHz is 37 ns
    assert found.last_ns == 990 * MS


def test_lost_datagrams_without_and_with_rtp() -> None:
    plain = even(100)
    kept = [one for number, one in enumerate(plain) if number not in (20, 50, 51)]
    meter = Meter([False])
    meter.take(packets(kept))
    (found,) = meter.close(0, 1000 * MS)
    # Two datagrams are 14 packets; three in a row would be 21, of which the counter shows 5.
    assert (found.continuity_errors, found.ts_missing, found.media_loss_rate) == (2, 21, 21.0)
    assert found.pcr_accuracy_ns is None
    wrapped = [replace(one, payload=rtp(65_500 + n, one.payload)) for n, one in enumerate(plain)]
    kept = [one for number, one in enumerate(wrapped) if number not in (20, 50, 51, 52)]
    kept[60], kept[61] = kept[61], kept[60]
    kept.insert(70, kept[70])
    meter = Meter([True])
    meter.take(packets(kept))
    (found,) = meter.close(0, 1000 * MS)
    assert (found.lost, found.reordered, found.duplicates) == (4, 1, 1)
    assert found.media_loss_rate == 35.0
    (later,) = meter.close(1000 * MS, 2000 * MS)
    assert (later.lost, later.media_loss_rate, later.interval_packets) == (4, 0.0, 0)


def test_headers_of_rtp_may_be_longer() -> None:
    streams = [
        rtp(1, ts(range(7))),
        rtp(2, ts(range(7, 14)), csrc=3),
        rtp(3, ts(range(14, 21)), extension=bytes(12)),
        rtp(4, ts(range(21, 28)), csrc=1, extension=b""),
    ]
    meter = Meter([True])
    meter.take(packets([Datagram(n, payload) for n, payload in enumerate(streams)]))
    (found,) = meter.close(0, 10)
    assert (found.ts_packets, found.continuity_errors, found.bad_packets, found.lost) == (28, 0, 0, 0)


def test_flows_are_told_apart_and_strangers_left_out() -> None:
    mixed = [
        one
        for number, own in enumerate(even(50))
        for one in (
            own,
            replace(own, group=OTHER.group, payload=ts(range(7 * number, 7 * number + 7), pid=300)),
            replace(own, port=5001),
            replace(own, source=IPv4Address("10.1.0.99")),
            replace(own, group=IPv4Address("232.9.9.9")),
            replace(own, captured=60),
        )
    ]
    found = packets(mixed, (OTHER, KEY))
    assert len(found) == 100
    meter = Meter([False, False])
    meter.take(found)
    other, own = meter.close(0, 500 * MS)
    assert (own.ts_packets, other.ts_packets, own.continuity_errors, other.continuity_errors) == (350, 350, 0, 0)
    assert own.pcr_jitter_us is not None
    assert other.pcr_jitter_us is None


def test_a_flow_counts_on_its_interface_only() -> None:
    only = replace(KEY, interface=7)
    assert len(packets(even(3), (only,), interface=7)) == 3
    assert len(packets(even(3), (only,), interface=8)) == 0


def test_options_null_packets_and_damage() -> None:
    streams = [
        Datagram(1, ts([1, 2]) + ts([5, 5, 5], NULL_PID), options=bytes(8)),
        Datagram(2, b"\x48" + ts([3])[1:] + ts([3])),
        Datagram(3, ts([4]) + bytes(100)),
        Datagram(4, b""),
    ]
    meter = Meter([False])
    meter.take(packets(streams))
    (found,) = meter.close(0, 10)
    assert (found.packets, found.ts_packets, found.continuity_errors, found.bad_packets) == (4, 8, 0, 1)


def test_nothing_is_nothing() -> None:
    meter = Meter([False])
    meter.take(packets([]))
    meter.take(packets(even(1), ()))
    assert meter.close(0, 10)[0].last_ns is None


sizes = st.lists(st.sampled_from([188, 188, 188, 376, 1316]), min_size=1, max_size=300)


@given(sizes)
def test_a_chain_of_any_sizes_is_followed(lengths: list[int]) -> None:
    seen = packets([Datagram(number, bytes(length)) for number, length in enumerate(lengths)])
    assert seen.at_ns.tolist() == list(range(len(lengths)))
    assert seen.size.tolist() == lengths


def test_a_block_whose_count_is_too_high_ends_with_its_chain() -> None:
    words = np.zeros(64, np.uint32)
    words[0], words[8] = 32, 32
    assert packet_headers(words, 0, 9).tolist() == [0, 8, 16]


# -- the filter ----------------------------------------------------------------------------------------------------


def machine(instructions: tuple[Instruction, ...], packet: bytes) -> int:
    """What the filter returns. Raises KeyError for an instruction that it should not use."""
    accumulator = place = 0
    while True:
        step = instructions[place]
        place += 1
        size = {0x30: 1, 0x28: 2, 0x20: 4}.get(step.code)
        if size is not None:
            accumulator = int.from_bytes(packet[step.value : step.value + size], "big")
        elif step.code == 0x06:
            return step.value
        elif step.code == 0x05:
            place += step.value
        else:
            held = {
                0x15: accumulator == step.value,
                0x35: accumulator >= step.value,
                0x45: bool(accumulator & step.value),
            }[step.code]
            place += step.if_true if held else step.if_false


groups = st.integers(0xE8000000, 0xE80003FF)


@given(st.sets(groups, max_size=300), groups)
def test_the_filter_lets_the_watched_groups_through(watched: set[int], asked: int) -> None:
    packet = frame(Datagram(0, b"x", group=IPv4Address(asked)))
    assert machine(program(tuple(watched)), packet) == (WHOLE_PACKET if asked in watched else 0)


def test_the_filter_refuses_fragments_and_other_protocols() -> None:
    packet = bytearray(frame(Datagram(0, b"x")))
    steps = program([int(GROUP)])
    for place, value in ((23, 6), (20, 0x20), (21, 1)):
        damaged = packet.copy()
        damaged[place] = value
        assert machine(steps, bytes(damaged)) == 0
    packet[20] = 0x40  # don't fragment
    assert machine(steps, bytes(packet)) == WHOLE_PACKET


def test_more_groups_than_a_filter_holds() -> None:
    steps = program(range(0xE8000000, 0xE8001000))
    assert len(steps) < MAX_INSTRUCTIONS
    assert machine(steps, frame(Datagram(0, b"x", group=IPv4Address("232.200.0.1")))) == WHOLE_PACKET
    assert machine(steps, frame(Datagram(0, b"x", group=IPv4Address("10.0.0.1")))) == 0
