"""The codec by itself, and judged by scapy's."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.igmp import IGMPv3_MQ, IGMPv3_MR, IGMPv3_MR_Group

from headend.multicast.kernel.igmp import (
    IgmpError,
    Message,
    Query,
    Record,
    RecordType,
    Report,
    decode,
    encode,
)

addresses = st.ip_addresses(v=4)
sources = st.lists(addresses, max_size=5).map(tuple)
queries = st.builds(
    Query,
    group=addresses,
    sources=sources,
    max_response_ds=st.integers(0, 127),
    suppress=st.booleans(),
    robustness=st.integers(0, 7),
    interval_s=st.integers(0, 127),
)
records = st.builds(Record, type=st.sampled_from(RecordType), group=addresses, sources=sources)
reports = st.builds(Report, records=st.lists(records, max_size=5).map(tuple))
messages = st.one_of(queries, reports)


@given(messages)
def test_a_message_is_read_back(message: Message) -> None:
    assert decode(encode(message)) == message
    assert decode(encode(message) + bytes(2)) == message  # longer than it says: ignored


@given(st.integers(0, 40_000))
def test_long_times_are_rounded_down(value: int) -> None:
    told = decode(encode(Query(max_response_ds=value, interval_s=value)))
    assert isinstance(told, Query)
    assert told.max_response_ds == told.interval_s
    assert told.interval_s <= value
    assert told.interval_s >= min(value, 31_744) * 15 // 16


@given(queries)
def test_scapy_reads_our_queries(query: Query) -> None:
    read = IGMPv3_MQ(encode(query))
    assert (read.type, read.gaddr, read.numsrc) == (0x11, str(query.group), len(query.sources))
    assert list(read.srcaddrs) == [str(source) for source in query.sources]
    assert (bool(read.s), read.qrv, read.qqic) == (query.suppress, query.robustness, query.interval_s)
    assert read.mrcode == query.max_response_ds


@given(st.integers(0, 31_744))
def test_scapy_reads_our_long_response_times(value: int) -> None:
    data = encode(Query(max_response_ds=value))
    told = decode(data)
    assert isinstance(told, Query)
    assert IGMPv3_MQ(data).fields["mrcode"] == told.max_response_ds  # its attribute is the code again


@given(reports)
def test_scapy_writes_reports_that_we_read(report: Report) -> None:
    groups = [
        IGMPv3_MR_Group(rtype=r.type.value, maddr=str(r.group), srcaddrs=[str(source) for source in r.sources])
        for r in report.records
    ]
    data = bytes(IGMPv3_MR(records=groups))
    assert decode(data) == report
    assert encode(report) == data


@pytest.mark.parametrize("data", [b"", b"\x11", b"\x16" + bytes(7), bytes(16), b"\x22" + bytes(20)])
def test_what_is_no_message_is_an_error(data: bytes) -> None:
    with pytest.raises(IgmpError):
        decode(data)


def test_values_that_do_not_fit_are_errors() -> None:
    for query in (Query(robustness=8), Query(interval_s=-1), Query(max_response_ds=-1)):
        with pytest.raises(IgmpError):
            encode(query)


def test_a_query_of_an_older_version_is_told() -> None:
    old = bytearray(encode(Query(group=IPv4Address("232.1.1.1")))[:8])
    old[2:4] = bytes(2)
    total = sum(int.from_bytes(old[at : at + 2], "big") for at in range(0, 8, 2))
    old[2:4] = (~((total & 0xFFFF) + (total >> 16)) & 0xFFFF).to_bytes(2, "big")
    with pytest.raises(IgmpError, match="IGMPv2"):
        decode(bytes(old))
