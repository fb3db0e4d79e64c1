"""The models' own codecs: what they make they read, what is malformed is told, never anything else."""

from __future__ import annotations

import json
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.contrib.gtp import GTP_U_Header
from scapy.contrib.pfcp import PFCP

from lab.mobile import gtpu, icmp, pfcp, sdf
from lab.mobile.gtpu import Encapsulation
from lab.mobile.pfcp import FTeid, PfcpFormatError, T

DATA = Path(__file__).parents[2] / "data" / "core5g"
HEX = [entry["hex"] for run in ("run1", "run2", "run3") for entry in json.loads((DATA / f"{run}.json").read_text())]

ies = st.lists(st.tuples(st.integers(0, 0x7FFF), st.binary(max_size=40)), max_size=8)


@pytest.mark.parametrize("hexed", HEX[:40])
def test_recorded_messages_are_built_again_as_they_were(hexed: str) -> None:
    data = bytes.fromhex(hexed)
    message = pfcp.parse(data)
    assert pfcp.build(message.type, message.seq, *(pfcp.ie(*one) for one in message.ies), seid=message.seid) == data


@given(st.integers(0, 255), st.integers(0, 0xFFFFFF), st.none() | st.integers(0, 2**64 - 1), ies)
def test_what_is_built_parses(kind: int, seq: int, seid: int | None, members: list[tuple[int, bytes]]) -> None:
    message = pfcp.parse(pfcp.build(kind, seq, *(pfcp.ie(*one) for one in members), seid=seid))
    assert (message.type, message.seq, message.seid, list(message.ies)) == (kind, seq, seid, members)


@given(st.binary(max_size=80))
def test_octets_are_a_message_or_malformed(data: bytes) -> None:
    try:
        message = pfcp.parse(data)
        for _, value in message.ies:
            pfcp.members(value)
            FTeid.parse(value)
    except PfcpFormatError:
        return


@given(st.integers(0, 2**32 - 1), st.none() | st.ip_addresses(v=4), st.none() | st.ip_addresses(v=6))
def test_fteids(teid: int, v4: IPv4Address | None, v6: IPv6Address | None) -> None:
    fteid = FTeid(teid, v4, v6)
    assert FTeid.parse(pfcp.members(fteid.encode())[0][1]) == fteid


@given(st.from_regex(r"[a-z0-9-]{1,20}(\.[a-z0-9-]{1,20}){0,3}", fullmatch=True))
def test_a_dnn_is_labels(dnn: str) -> None:
    assert pfcp.dnn_of(pfcp.dnn_labels(dnn)) == dnn


def test_another_implementation_reads_what_is_built() -> None:
    data = pfcp.build(5, 7, pfcp.node_id(IPv4Address("10.50.0.4")), pfcp.ie(T.RECOVERY_TIME_STAMP, bytes(4)))
    read = PFCP(data)
    assert (read.message_type, read.seq, bytes(read)) == (5, 7, data)
    packet = Encapsulation(0x1234, 9, uplink=True).around(b"\x45" + bytes(19))
    tunnelled = GTP_U_Header(packet)
    assert (tunnelled.teid, tunnelled.gtp_type, tunnelled.E) == (0x1234, 255, 1)


@given(st.integers(0, 2**32 - 1), st.none() | st.integers(1, 63), st.binary(min_size=1, max_size=100))
def test_a_packet_comes_out_of_its_tunnel(teid: int, qfi: int | None, packet: bytes) -> None:
    data = Encapsulation(teid, qfi).around(packet)
    header = gtpu.header(data)
    assert header is not None
    assert (header.type, header.teid, header.qfi, data[header.offset :]) == (gtpu.G_PDU, teid, qfi or 0, packet)


@given(st.binary(max_size=60))
def test_octets_are_a_tunnel_header_or_none(data: bytes) -> None:
    header = gtpu.header(data)
    assert header is None or header.offset <= len(data)


@given(st.integers(1, 2**32 - 1), st.ip_addresses())
def test_a_refused_tunnel_is_named(teid: int, local: IPv4Address | IPv6Address) -> None:
    data = gtpu.error_indication(teid, 1, local)
    header = gtpu.header(data)
    assert header is not None
    assert gtpu.refused_tunnel(data[header.offset :]) == (teid, local)


def test_the_recorded_tunnel_octets() -> None:
    assert Encapsulation(0x1001, 1).around(b"\x45" + bytes(59)).hex().startswith("34ff004400001001000000850100010045")
    assert Encapsulation(0x1542, None).around(b"\x45" + bytes(59)).hex().startswith("30ff003c0000154245")


@given(st.text(max_size=60))
def test_a_flow_description_is_one_or_refused(text: str) -> None:
    try:
        sdf.parse(text)
    except sdf.SdfError:
        return


@pytest.mark.parametrize(
    "text",
    [
        "permit in ip from any to 203.0.113.0/24",
        "deny out ip from any to any",
        "permit out ip from 203.0.113.0/33 to any",
        "permit out ip from any",
        "permit out 300 from any to any",
        "permit out 6 from any 70000 to any",
        "permit out ip from 10.0.0.1 to 2001:db8::1",
    ],
)
def test_what_the_recorded_upf_cannot_read(text: str) -> None:
    with pytest.raises(sdf.SdfError):
        sdf.parse(text)


def _tcp(source: str, destination: str, ports: bytes) -> bytes:
    ends = IPv4Address(source).packed + IPv4Address(destination).packed
    return b"\x45\0\0\x28\0\0\0\0\x40\x06\0\0" + ends + ports + bytes(16)


def test_flows_are_written_for_the_downlink_and_turned_round_for_the_access() -> None:
    flow = sdf.parse("permit out 6 from 203.0.113.0/24 443 to assigned")
    down = _tcp("203.0.113.9", "10.45.0.2", b"\x01\xbb\x10\x00")
    up = _tcp("10.45.0.2", "203.0.113.9", b"\x10\x00\x01\xbb")
    assert flow.matches(down, uplink=False)
    assert flow.matches(up, uplink=True)
    assert not flow.matches(up, uplink=False)
    assert not flow.matches(_tcp("10.45.0.2", "203.0.113.9", b"\x10\x00\x00\x50"), uplink=True)
    assert not flow.matches(_tcp("10.45.0.2", "198.51.100.9", b"\x10\x00\x01\xbb"), uplink=True)


@given(st.binary(max_size=80))
def test_only_echo_requests_are_answered(data: bytes) -> None:
    icmp.echo_reply(data)
