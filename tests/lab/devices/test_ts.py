from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.devices import ts
from lab.devices.coder import Splice
from lab.devices.ts import ContinuityCheck, Programme, SectionReader, Stream, TableSender


def test_crc_is_the_one_of_the_standard() -> None:
    assert ts.crc32(b"123456789") == 0x0376E6E7  # CRC-32/MPEG-2


@given(st.lists(st.binary(max_size=1000), min_size=1, max_size=5))
def test_sections_come_back_from_their_packets(bodies: list[bytes]) -> None:
    sections = [ts.section(0x42, 7, 3, body) for body in bodies]
    sender, reader = TableSender(0x11), SectionReader()
    packets = sender.packets(sections)
    assert all(len(packet) == 188 and ts.pid_of(packet) == 0x11 for packet in packets)
    assert [whole for packet in packets for whole in reader.feed(packet)] == sections
    assert all(ts.crc32(whole) == 0 for whole in sections)
    check = ContinuityCheck()
    for packet in packets:
        check.see(packet)
    assert check.errors == 0


streams = st.lists(st.builds(Stream, st.integers(0, 255), st.integers(32, 8190), st.binary(max_size=20)), max_size=8)


@given(st.integers(32, 8190), st.binary(max_size=30), streams)
def test_a_pmt_comes_back_with_its_pids_moved(pcr_pid: int, descriptors: bytes, found: list[Stream]) -> None:
    programme = Programme(pcr_pid, descriptors, tuple(found))
    same = {pid: pid for pid in [pcr_pid, *(stream.pid for stream in found)]}
    assert Programme.parse(programme.section(5, 1, same)) == programme
    moved = {pid: pid ^ 1 for pid in same}
    back = Programme.parse(programme.section(5, 1, moved))
    assert back is not None
    assert back.pcr_pid == pcr_pid ^ 1
    assert [stream.pid for stream in back.streams] == [stream.pid ^ 1 for stream in found]


@given(st.binary(max_size=400))
def test_what_is_no_table_is_refused(noise: bytes) -> None:
    assert Programme.parse(noise) is None
    assert ts.first_programme(noise) is None
    assert all(len(packet) == 188 for packet in ts.packets_of(noise))


@given(st.lists(st.binary(min_size=188, max_size=188), max_size=20))
def test_the_section_reader_survives_noise(packets: list[bytes]) -> None:
    reader = SectionReader()
    for packet in packets:
        reader.feed(packet)


def test_a_pat_names_the_first_programme() -> None:
    assert ts.first_programme(ts.pat(1, 0, {101: 256, 102: 272})) == (101, 256)
    assert ts.first_programme(ts.pat(1, 0, {})) is None


def packet(pid: int, counter: int, *, flags: int = 0x10, field: bytes = b"") -> bytes:
    head = bytes((0x47, pid >> 8, pid & 0xFF, flags | counter)) + field
    return head + bytes(188 - len(head))


def test_continuity_errors_by_the_rule_of_tr_101_290() -> None:
    def errors(*packets: bytes) -> int:
        check = ContinuityCheck()
        for one in packets:
            check.see(one)
        return check.errors

    assert errors(packet(33, 14), packet(33, 15), packet(33, 0)) == 0
    assert errors(packet(33, 1), packet(33, 1)) == 0, "one repetition is legal"
    assert errors(packet(33, 1), packet(33, 1), packet(33, 1)) == 1
    assert errors(packet(33, 1), packet(33, 3)) == 1
    assert errors(packet(33, 1), packet(33, 7, flags=0x30, field=b"\x01\x80")) == 0, "a flagged jump is allowed"
    assert errors(packet(33, 1), packet(33, 7, flags=0x20, field=b"\x01\x00")) == 0, "no payload, no count"
    assert errors(packet(ts.NULL_PID, 1), packet(ts.NULL_PID, 5)) == 0


@given(st.lists(st.integers(1, 60), min_size=1, max_size=4), st.integers(0, 2**32))
def test_spliced_streams_have_no_gap_in_their_counters(lengths: list[int], seed: int) -> None:
    """Each begins with any counters; the splice flags the jump of its clock, once."""
    chance = random.Random(seed)  # noqa: S311 - a reproducible stream
    splice, check, flagged = Splice(), ContinuityCheck(), 0
    for length in lengths:
        counters = {pid: chance.randrange(16) for pid in (33, 34)}
        splice.begin()
        for place in range(length):
            pid = chance.choice((33, 34))
            counters[pid] = counters[pid] + 1 & 15
            clock = bytes((7, 0x10)) + bytes(6) if place % 5 == 0 else b""
            made = splice.stamp(packet(pid, counters[pid], flags=0x30 if clock else 0x10, field=clock))
            flagged += bool(ts.pcr_at(made) and made[5] & 0x80)
            check.see(made)
    assert check.errors == 0
    assert flagged == len(lengths) - 1


@pytest.mark.parametrize("base", [0, 1, 90_000, (1 << 33) - 1])
def test_clock_references_are_read(base: int) -> None:
    field = bytes((7, 0x10)) + (base >> 1).to_bytes(4, "big") + bytes(((base & 1) << 7 | 0x7E, 0))
    assert ts.pcr_of(packet(33, 0, flags=0x30, field=field)) == base
    assert ts.pcr_of(packet(33, 0)) is None
