from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headend.transport.packet import NULL_PID, PACKET_SIZE, PCR_MODULUS, build_packet, parse_packet

pids = st.integers(0, NULL_PID)
counters = st.integers(0, 15)


@given(pids, counters, st.binary(max_size=176), st.booleans(), st.none() | st.integers(0, PCR_MODULUS - 1))
def test_what_is_built_is_read_back(
    pid: int, counter: int, payload: bytes, discontinuity: bool, pcr: int | None
) -> None:
    packet = build_packet(pid, counter, payload, discontinuity=discontinuity, pcr=pcr)
    assert len(packet) == PACKET_SIZE
    header = parse_packet(packet)
    assert (header.pid, header.continuity_counter, header.pcr) == (pid, counter, pcr)
    assert header.discontinuity is discontinuity
    assert header.has_payload is bool(payload)
    assert packet[header.payload_offset :] == payload


@given(st.binary(min_size=177, max_size=184))
def test_payload_may_fill_the_packet(payload: bytes) -> None:
    packet = build_packet(256, 0, payload)
    assert packet[parse_packet(packet).payload_offset :] == payload


@given(st.binary(max_size=200))
def test_anything_else_is_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError, match="TS packet"):
        parse_packet(data)


@given(st.binary(min_size=187, max_size=187))
def test_any_packet_with_a_sync_byte_is_read_or_refused(rest: bytes) -> None:
    try:
        header = parse_packet(b"\x47" + rest)
    except ValueError:
        assert rest[2] & 0x20
        assert rest[3] > 183
        return
    assert 4 <= header.payload_offset <= PACKET_SIZE


@pytest.mark.parametrize("payload", [185, 184, 180])
def test_what_does_not_fit_is_refused(payload: int) -> None:
    with pytest.raises(ValueError, match="do not fit"):
        build_packet(1, 0, bytes(payload), pcr=1)


@pytest.mark.parametrize(("pid", "counter", "pcr"), [(0x2000, 0, None), (1, 16, None), (1, 0, PCR_MODULUS)])
def test_fields_have_their_widths(pid: int, counter: int, pcr: int | None) -> None:
    with pytest.raises(ValueError, match=r"bits|below"):
        build_packet(pid, counter, b"x", pcr=pcr)


def test_pcr_of_the_standard_is_27_mhz() -> None:
    # One second: base 90000, extension 0 (ISO/IEC 13818-1, 2.4.3.5), written out by hand.
    packet = bytes([0x47, 0x01, 0x00, 0x20, 183, 0x10, 0x00, 0x00, 0xAF, 0xC8, 0x7E, 0x00]) + b"\xff" * 176
    assert parse_packet(packet).pcr == 27_000_000
