from __future__ import annotations

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headend.transport.packet import PACKET_SIZE
from headend.transport.psi import (
    PmtStream,
    SectionAssembler,
    build_pat,
    build_pmt,
    crc32,
    descriptor_tags,
    packetise,
    parse_pat,
    parse_pmt,
    strip_descriptors,
)

pids = st.integers(32, 8190)
descriptors = st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=20)), max_size=3).map(
    lambda found: b"".join(bytes([tag, len(body)]) + body for tag, body in found)
)
streams = st.lists(st.builds(PmtStream, st.integers(0, 255), pids, descriptors), max_size=8)


@given(st.binary(max_size=300))
def test_the_crc_is_the_reflected_one_read_backwards(data: bytes) -> None:
    """zlib has the same polynomial with the bits of each byte, of the result and of its end turned round."""
    turned = bytes(int(f"{byte:08b}"[::-1], 2) for byte in data)
    assert crc32(data) == int(f"{zlib.crc32(turned) ^ 0xFFFFFFFF:032b}"[::-1], 2)
    assert crc32(data + crc32(data).to_bytes(4, "big")) == 0


@given(st.integers(0, 0xFFFF), st.integers(0, 31), st.dictionaries(st.integers(0, 0xFFFF), pids, max_size=200))
def test_a_pat_says_what_it_was_made_of(transport_stream_id: int, version: int, programs: dict[int, int]) -> None:
    pat = parse_pat(build_pat(transport_stream_id, version, programs))
    assert (pat.transport_stream_id, pat.version, pat.current, pat.programs) == (
        transport_stream_id,
        version,
        True,
        programs,
    )


@given(st.integers(1, 0xFFFF), st.integers(0, 31), pids, streams, descriptors)
def test_a_pmt_says_what_it_was_made_of(
    number: int, version: int, pcr_pid: int, found: list[PmtStream], info: bytes
) -> None:
    pmt = parse_pmt(build_pmt(number, version, pcr_pid, found, info))
    assert (pmt.program_number, pmt.version, pmt.pcr_pid, pmt.descriptors) == (number, version, pcr_pid, info)
    assert pmt.streams == tuple(found)


@given(st.lists(st.integers(1, 200), min_size=1, max_size=6), st.integers(0, 15))
def test_sections_come_out_of_their_packets_whole(sizes: list[int], counter: int) -> None:
    sections = [build_pat(1, n % 32, dict.fromkeys(range(size), 32)) for n, size in enumerate(sizes)]
    assembler, found = SectionAssembler(), []
    for section in sections:
        packets = packetise(100, section, counter)
        assert {len(packet) for packet in packets} == {PACKET_SIZE}
        counter += len(packets)
        for packet in packets:
            found += assembler.push(packet)
            found += assembler.push(packet)  # a duplicate is legal
    assert (found, assembler.damaged) == (sections, 0)


def test_a_section_may_begin_where_another_ends() -> None:
    first, second = (build_pat(1, version, dict.fromkeys(range(60), 32)) for version in (0, 1))
    tail = first[183:]
    packets = [
        packetise(0, first, 0)[0],
        bytes([0x47, 0x40, 0, 0x11, len(tail)]) + tail + second[: PACKET_SIZE - 5 - len(tail)],
        bytes([0x47, 0, 0, 0x12]) + second[PACKET_SIZE - 5 - len(tail) :].ljust(184, b"\xff"),
    ]
    assembler = SectionAssembler()
    assert [section for packet in packets for section in assembler.push(packet)] == [first, second]


@given(st.data())
def test_what_is_damaged_or_not_whole_is_not_handed_on(data: st.DataObject) -> None:
    section = build_pat(1, 0, dict.fromkeys(range(100), 33))
    packets = packetise(0, section, 3)
    whole = bytearray(b"".join(packets))
    place = data.draw(st.integers(8, len(section) + 4).filter(lambda place: place % PACKET_SIZE > 3))
    whole[place] ^= data.draw(st.integers(1, 255))
    assembler = SectionAssembler()
    hurt = [bytes(whole[i : i + PACKET_SIZE]) for i in range(0, len(whole), PACKET_SIZE)]
    assert [found for packet in hurt for found in assembler.push(packet)] == []
    assert assembler.damaged == 1
    missing = SectionAssembler()
    kept = packets[:1] + packets[2:]
    assert [found for packet in kept for found in missing.push(packet)] == []
    again = packetise(0, section, 9)
    assert [found for packet in again for found in missing.push(packet)] == [section]


@pytest.mark.parametrize("size", [0, 11, 12, 40])
def test_no_section_is_refused(size: int) -> None:
    for parse in (parse_pat, parse_pmt):
        with pytest.raises(ValueError, match="section"):
            parse(bytes(size))


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        build_pat(1, 0, dict.fromkeys(range(260), 32))
    with pytest.raises(ValueError, match="13 bits"):
        build_pmt(1, 0, 0x2000, [])


def test_descriptors_of_a_tag_are_taken_out() -> None:
    loop = bytes([0x0A, 1, 7, 0x09, 2, 1, 2, 0x52, 0])
    assert strip_descriptors(loop, frozenset({9})) == bytes([0x0A, 1, 7, 0x52, 0])
    assert strip_descriptors(loop[:-3], frozenset({9})) == b""
    assert descriptor_tags(loop) == {0x0A, 0x09, 0x52}
