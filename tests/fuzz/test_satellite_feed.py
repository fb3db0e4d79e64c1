"""Bytes that are no transport stream, no PSI, no configuration: the feed goes on, and sends what is one or nothing."""

from __future__ import annotations

import contextlib
import json

from hypothesis import given, settings
from hypothesis import strategies as st

from headend.multicast.route import parse_answer
from headend.satellite.feed.config import parse
from headend.transport.packet import PACKET_SIZE, SYNC_BYTE, parse_packet
from headend.transport.psi import SectionAssembler, crc32, parse_pat, parse_pmt
from nf.errors import InputError
from tests.headend.satellite.feed.made import CONFIG, Bench

pids = st.sampled_from([0, 0x30, 0x31, 0x32, 0x100, 0x101, 0x1000, 0x1FFF, 0x77])
packets = st.builds(
    lambda pid, flags, rest: bytes([SYNC_BYTE, flags & 0xE0 | pid >> 8, pid & 0xFF]) + rest,
    pids,
    st.integers(0, 255),
    st.binary(min_size=185, max_size=185),
)


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.one_of(packets, st.binary(max_size=400)), st.integers(0, 30)), max_size=25))
def test_any_bytes_between_good_ones(story: list[tuple[bool, bytes, int]]) -> None:
    bench = Bench(CONFIG)
    for satellite, data, good in story:
        bench.run(good / 100)
        bench.multiplexes[not satellite].receive(data, bench.now)
    bench.run(0.2)
    for packet in bench.packets():
        assert len(packet) == PACKET_SIZE
        assert packet[0] == SYNC_BYTE
        with contextlib.suppress(ValueError):
            parse_packet(packet)


@given(st.lists(packets, max_size=30))
def test_sections_of_any_packets_are_whole(found: list[bytes]) -> None:
    assembler = SectionAssembler()
    for packet in found:
        for section in assembler.push(packet):
            assert len(section) >= 3
            assert not section[1] & 0x80 or crc32(section) == 0


@given(st.binary(max_size=1100))
def test_any_section_is_parsed_or_refused(body: bytes) -> None:
    whole = bytearray(body)
    if len(whole) >= 8:
        length = len(whole) + 4 - 3
        whole[0], whole[1], whole[2] = whole[0] & 2, 0xB0 | length >> 8 & 0x0F, length & 0xFF
    section = bytes(whole) + crc32(bytes(whole)).to_bytes(4, "big")
    for parse_table in (parse_pat, parse_pmt):
        with contextlib.suppress(ValueError):
            parse_table(section)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.just("10.1.0.10"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["carrier", "input", "input_port", "services", "transport_stream_id"]), inner)
    ),
    max_leaves=12,
)


@given(st.one_of(st.binary(max_size=60), json_values.map(lambda value: json.dumps(value).encode())))
def test_any_configuration_is_taken_or_refused(text: bytes) -> None:
    with contextlib.suppress(InputError):
        parse(text)


@given(st.binary(min_size=20, max_size=200))
def test_any_answer_about_a_route(data: bytes) -> None:
    with contextlib.suppress(OSError):
        assert all(number >= 0 for number in parse_answer(data[:4] + (24).to_bytes(2, "little") + data[6:]))
