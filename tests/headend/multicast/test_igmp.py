from __future__ import annotations

from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.igmp import IGMPv3, IGMPv3_MQ, IGMPv3_MR
from scapy.layers.inet import IP

from headend.multicast.igmp import (
    ALL_IGMPV3_ROUTERS,
    GroupRecord,
    Query,
    RecordType,
    build_query,
    build_report,
    decode_time,
    encode_time,
    parse_query,
    parse_report,
)
from headend.multicast.ipv4 import IGMP, ROUTER_ALERT, MalformedError, build, checksum, parse

addresses = st.integers(0, 2**32 - 1)
records = st.builds(
    GroupRecord,
    type=st.sampled_from(RecordType),
    group=addresses,
    sources=st.lists(addresses, max_size=4).map(tuple),
)


@given(st.lists(records, max_size=6))
def test_a_report_is_read_back_and_scapy_reads_the_same(wanted: list[GroupRecord]) -> None:
    data = build_report(wanted)
    assert parse_report(data) == tuple(wanted)
    judged = IGMPv3(data)[IGMPv3_MR]
    assert judged.numgrp == len(wanted)
    told = [(r.rtype, int(IPv4Address(r.maddr)), [int(IPv4Address(s)) for s in r.srcaddrs]) for r in judged.records]
    assert told == [(int(record.type), record.group, list(record.sources)) for record in wanted]


@given(st.integers(1, 31744), st.integers(0, 31744), st.integers(1, 7), addresses, st.lists(addresses, max_size=3))
def test_a_query_is_read_back_as_far_as_its_codes_tell_times(
    response_ds: int, interval_s: int, robustness: int, group: int, sources: list[int]
) -> None:
    query = Query(response_ds / 10, interval_s, robustness, group, tuple(sources))
    data = build_query(query)
    read = parse_query(data)
    assert (read.robustness, read.group, read.sources) == (robustness, group, tuple(sources))
    assert interval_s / 2 < read.interval_s <= interval_s or interval_s == read.interval_s == 0
    assert read.response_s <= query.response_s
    judged = IGMPv3(data)[IGMPv3_MQ]
    assert (judged.qrv, int(IPv4Address(judged.gaddr)), judged.numsrc) == (robustness, group, len(sources))


@given(st.integers(0, 255))
def test_every_code_of_a_time_stands_for_itself(code: int) -> None:
    assert encode_time(decode_time(code)) == code


@given(addresses, addresses, st.integers(0, 255), st.binary(max_size=40), st.integers(0, 20))
def test_a_datagram_is_read_back_without_its_padding(
    source: int, destination: int, ttl: int, payload: bytes, padding: int
) -> None:
    data = build(source, destination, IGMP, payload, ttl=ttl, options=ROUTER_ALERT)
    read = parse(data + bytes(padding))
    assert (read.source, read.destination, read.ttl, read.payload) == (source, destination, ttl, payload)
    judged = IP(data)
    assert (int(IPv4Address(judged.src)), int(IPv4Address(judged.dst)), judged.ttl) == (source, destination, ttl)
    assert checksum(data[:24]) == 0


@pytest.mark.parametrize(
    ("place", "value", "reason"),
    [(0, 0x55, "ip-header"), (0, 0x44, "ip-header"), (8, 99, "ip-checksum"), (2, 0xFF, "ip-header")],
)
def test_what_is_no_datagram_says_why(place: int, value: int, reason: str) -> None:
    data = bytearray(build(1, ALL_IGMPV3_ROUTERS, IGMP, b"payload"))
    data[place] = value
    with pytest.raises(MalformedError) as malformed:
        parse(bytes(data))
    assert malformed.value.reason == reason


def test_a_record_of_an_unknown_type_is_left_out_and_a_lie_about_lengths_is_not_believed() -> None:
    data = bytearray(build_report([GroupRecord(RecordType.ALLOW, 1, (2,)), GroupRecord(RecordType.ALLOW, 3)]))
    data[8] = 9
    data[2:4] = b"\0\0"
    data[2:4] = checksum(bytes(data)).to_bytes(2, "big")
    assert parse_report(bytes(data)) == (GroupRecord(RecordType.ALLOW, 3),)
    data[6:8] = b"\0\x09"
    data[2:4] = b"\0\0"
    data[2:4] = checksum(bytes(data)).to_bytes(2, "big")
    with pytest.raises(MalformedError, match="igmp-short"):
        parse_report(bytes(data))
