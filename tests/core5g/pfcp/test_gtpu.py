"""GTP-U: what was on the wire, what can be made, and what is none."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core5g.pfcp.gtpu import (
    ErrorIndication,
    Extension,
    ExtensionType,
    GtpuError,
    GtpuType,
    Packet,
    PduSession,
    decode,
    echo_request,
    echo_response,
    encode,
    end_marker,
    error_indication,
    g_pdu,
    read_error_indication,
    supported_extensions,
)
from tests.core5g.pfcp.recordings import gtpu

octet = st.integers(0, 255)
extensions = st.builds(
    Extension,
    st.integers(1, 255),
    st.integers(1, 5).flatmap(lambda units: st.binary(min_size=4 * units - 2, max_size=4 * units - 2)),
)
packets = st.builds(
    Packet,
    octet,
    st.integers(0, 2**32 - 1),
    st.binary(max_size=40),
    st.none() | st.integers(0, 65535),
    st.none() | octet,
    st.lists(extensions, max_size=3).map(tuple),
    st.booleans(),
)


def test_every_recorded_packet_comes_back_octet_by_octet() -> None:
    counted: dict[int, int] = {}
    for data in gtpu():
        packet = decode(data)
        assert encode(packet) == data
        counted[packet.type] = counted.get(packet.type, 0) + 1
    assert counted == {GtpuType.G_PDU: 80, GtpuType.ERROR_INDICATION: 3}


def test_the_recorded_flows_and_error_indications() -> None:
    found = [decode(data) for data in gtpu()]
    sessions = [packet.pdu_session for packet in found if packet.type == GtpuType.G_PDU]
    assert {one.qfi for one in sessions if one is not None} == {1}
    assert {one.uplink for one in sessions if one is not None} == {True, False}
    told = [read_error_indication(packet) for packet in found if packet.type == GtpuType.ERROR_INDICATION]
    assert {one.address for one in told} == {IPv4Address("10.50.0.7")}
    # As the daemon does it: the unknown TEID in the header too, where the standard has 0, and a port of 0.
    assert {one.port for one in told} == {0}
    assert {one.teid for one in told} == {packet.teid for packet in found if packet.type == GtpuType.ERROR_INDICATION}


@given(packets)
def test_any_packet_comes_back(packet: Packet) -> None:
    assert decode(encode(packet)) == packet


@given(st.integers(0, 2**32 - 1), st.binary(max_size=40), st.none() | st.integers(0, 63), st.booleans())
def test_the_short_way_is_the_long_way(teid: int, payload: bytes, qfi: int | None, uplink: bool) -> None:
    session = PduSession(uplink, qfi or 0)
    long = Packet(GtpuType.G_PDU, teid, payload, extensions=() if qfi is None else (session.extension(),))
    assert g_pdu(teid, payload, qfi, uplink=uplink) == encode(long)
    assert decode(encode(long)).pdu_session == (None if qfi is None else session)


@given(st.integers(0, 63), st.booleans(), st.none() | st.integers(0, 7))
def test_pdu_session_information(qfi: int, rqi: bool, ppi: int | None) -> None:
    made = PduSession.down(qfi, rqi=rqi, ppi=ppi)
    extension = made.extension()
    assert extension.type == ExtensionType.PDU_SESSION_CONTAINER
    assert extension.required
    assert PduSession.decode(extension.content) == made
    assert (made.qfi, made.rqi, made.ppi, made.uplink) == (qfi, rqi, ppi, False)
    up = PduSession.up(qfi)
    assert (up.uplink, up.rqi, up.ppi) == (True, False, None)


def test_path_management() -> None:
    request = echo_request(7)
    assert encode(request).hex() == "320100040000000000070000"
    response = echo_response(request)
    assert encode(response).hex() == "3202000600000000000700000e00"
    assert encode(end_marker(9)).hex() == "30fe000000000009"
    assert end_marker(9, 5).pdu_session == PduSession.down(5)
    assert encode(supported_extensions([0x85, 0x40])).hex() == "321f000800000000000000008d028540"
    assert not Extension(ExtensionType.UDP_PORT, b"").required


@given(
    st.builds(
        ErrorIndication,
        st.integers(0, 2**32 - 1),
        st.ip_addresses(),
        st.none() | st.integers(0, 65535),
    )
)
def test_any_error_indication_comes_back(told: ErrorIndication) -> None:
    assert read_error_indication(decode(encode(error_indication(told)))) == told


def test_ies_that_are_not_known_are_passed_over() -> None:
    told = error_indication(ErrorIndication(1, IPv6Address("::1")))
    private, count = bytes.fromhex("ff0003000141"), bytes.fromhex("8d0140") + bytes.fromhex("0e00")
    assert read_error_indication(told._replace(payload=private + count + told.payload)).teid == 1


GOOD = encode(Packet(255, 1, b"abcd", extensions=(PduSession.up(1).extension(),)))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "short"),
        (GOOD[:7], "short"),
        (b"\x10" + GOOD[1:], "version"),  # GTP version 0
        (b"\x20" + GOOD[1:], "version"),  # GTP'
        (b"\x50" + GOOD[1:], "version"),
        (GOOD[:-1], "length"),
        (GOOD + b"\0", "length"),
        (bytes.fromhex("32ff000300000001000000"), "short"),
        (bytes.fromhex("34ff00040000000100000085"), "extension"),
        (bytes.fromhex("34ff0008000000010000008500100100"), "extension"),
        (bytes.fromhex("34ff0008000000010000008502100100"), "extension"),
    ],
)
def test_what_is_no_packet(data: bytes, reason: str) -> None:
    with pytest.raises(GtpuError) as caught:
        decode(data)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        ("", "missing"),
        ("1000000001", "missing"),
        ("1000000001850003 0a0000", "missing"),
        ("100000", "ie"),
        ("85", "ie"),
        ("8500", "ie"),
        ("85000401", "ie"),
        ("8d", "ie"),
        ("20", "ie"),
    ],
)
def test_what_is_no_error_indication(payload: str, reason: str) -> None:
    with pytest.raises(GtpuError) as caught:
        read_error_indication(Packet(GtpuType.ERROR_INDICATION, 0, bytes.fromhex(payload)))
    assert caught.value.reason == reason
    with pytest.raises(GtpuError, match="no Error Indication"):
        read_error_indication(echo_request(1))


@pytest.mark.parametrize(
    "broken",
    [
        lambda: encode(Packet(256, 0)),
        lambda: encode(Packet(255, 1 << 32)),
        lambda: encode(Packet(255, 1, bytes(65536))),
        lambda: encode(Packet(255, 1, seq=65536)),
        lambda: encode(Packet(255, 1, npdu=-1)),
        lambda: encode(Packet(255, 1, extensions=(Extension(0, b"ab"),))),
        lambda: encode(Packet(255, 1, extensions=(Extension(5, bytes(1100)),))),
        lambda: encode(Packet(255, 1, extensions=(Extension(5, b""), Extension(300, b"")))),
        lambda: g_pdu(1 << 32, b""),
        lambda: g_pdu(1, b"", 64),
        lambda: g_pdu(1, bytes(65530), 1),
        lambda: PduSession.down(1, ppi=8),
        lambda: PduSession.up(64).extension(),
        lambda: error_indication(ErrorIndication(1 << 32, IPv4Address("10.0.0.1"))),
        lambda: supported_extensions([256]),
    ],
)
def test_what_no_packet_can_carry(broken: Any) -> None:
    with pytest.raises(GtpuError) as caught:
        broken()
    assert caught.value.reason == "range"


@pytest.mark.parametrize("content", ["", "10", "2001"])
def test_what_is_no_pdu_session_container(content: str) -> None:
    packet = Packet(255, 1, extensions=(Extension(ExtensionType.PDU_SESSION_CONTAINER, bytes.fromhex(content)),))
    with pytest.raises(GtpuError):
        _ = packet.pdu_session
