"""IGMPv3 messages as octets (RFC 3376 section 4). Pure. Addresses are numbers."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Address

from headend.multicast.ipv4 import MalformedError, checksum

QUERY, REPORT = 0x11, 0x22
Flow = tuple[int, int]
"""(source, group) as numbers: IPv4Address costs more than all the rest of an event."""

ALL_SYSTEMS = int(IPv4Address("224.0.0.1"))
ALL_IGMPV3_ROUTERS = int(IPv4Address("224.0.0.22"))

_REPORT_HEAD = struct.Struct("!BxHxxH")
_RECORD_HEAD = struct.Struct("!BBHI")
_QUERY = struct.Struct("!BBHIBBH")


class RecordType(IntEnum):
    """RFC 3376 section 4.2.12."""

    IS_INCLUDE = 1
    IS_EXCLUDE = 2
    TO_INCLUDE = 3
    TO_EXCLUDE = 4
    ALLOW = 5
    BLOCK = 6


@dataclass(frozen=True, slots=True)
class GroupRecord:
    type: RecordType
    group: int
    sources: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Query:
    """`group` 0: a general query. Times in seconds, of those that the codes can tell (RFC 3376 section 4.1.1)."""

    response_s: float = 10.0
    interval_s: int = 125
    robustness: int = 2
    group: int = 0
    sources: tuple[int, ...] = ()


def build_report(records: Sequence[GroupRecord]) -> bytes:
    body = b"".join(
        _RECORD_HEAD.pack(record.type, 0, len(record.sources), record.group)
        + struct.pack(f"!{len(record.sources)}I", *record.sources)
        for record in records
    )
    return _summed(_REPORT_HEAD.pack(REPORT, 0, len(records)) + body)


def parse_report(data: bytes) -> tuple[GroupRecord, ...]:
    """Records of an unknown type are left out, as section 4.2.12 asks. Raises MalformedError."""
    if len(data) < _REPORT_HEAD.size:
        raise MalformedError("igmp-short")
    kind, _, count = _REPORT_HEAD.unpack_from(data)
    if kind != REPORT:
        raise MalformedError("igmp-no-report")
    if checksum(data):
        raise MalformedError("igmp-checksum")
    records: list[GroupRecord] = []
    place = _REPORT_HEAD.size
    for _ in range(count):
        if place + _RECORD_HEAD.size > len(data):
            raise MalformedError("igmp-short")
        code, auxiliary, sources, group = _RECORD_HEAD.unpack_from(data, place)
        place += _RECORD_HEAD.size
        if place + 4 * (sources + auxiliary) > len(data):
            raise MalformedError("igmp-short")
        if RecordType.IS_INCLUDE <= code <= RecordType.BLOCK:
            records.append(GroupRecord(RecordType(code), group, struct.unpack_from(f"!{sources}I", data, place)))
        place += 4 * (sources + auxiliary)
    return tuple(records)


def build_query(query: Query) -> bytes:
    head = _QUERY.pack(
        QUERY,
        encode_time(round(query.response_s * 10)),
        0,
        query.group,
        query.robustness & 7,
        encode_time(query.interval_s),
        len(query.sources),
    )
    return _summed(head + struct.pack(f"!{len(query.sources)}I", *query.sources))


def parse_query(data: bytes) -> Query:
    """An IGMPv3 query. Raises MalformedError."""
    if len(data) < _QUERY.size:
        raise MalformedError("igmp-short")
    kind, response, _, group, flags, interval, count = _QUERY.unpack_from(data)
    if kind != QUERY:
        raise MalformedError("igmp-no-query")
    if checksum(data):
        raise MalformedError("igmp-checksum")
    if _QUERY.size + 4 * count > len(data):
        raise MalformedError("igmp-short")
    sources = struct.unpack_from(f"!{count}I", data, _QUERY.size)
    return Query(decode_time(response) / 10, decode_time(interval), flags & 7 or 2, group, sources)


def encode_time(value: int) -> int:
    """The code whose time is the longest that is not above `value`: as it stands below 128, else with an exponent."""
    if value < 128:
        return max(0, value)
    exponent = min(7, value.bit_length() - 8)
    return 0x80 | exponent << 4 | (min(0x1F, value >> exponent + 3) & 0x0F)


def decode_time(code: int) -> int:
    return code if code < 128 else (code & 0x0F | 0x10) << (code >> 4 & 7) + 3


def _summed(data: bytes) -> bytes:
    return data[:2] + checksum(data).to_bytes(2, "big") + data[4:]
