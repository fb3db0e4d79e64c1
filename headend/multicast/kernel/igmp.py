"""IGMPv3 membership queries and reports (RFC 3376 section 4), without IP headers. Pure."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Address

QUERY, REPORT = 0x11, 0x22
ALL_HOSTS, ALL_ROUTERS = IPv4Address("224.0.0.1"), IPv4Address("224.0.0.22")
GENERAL = IPv4Address(0)
MAX_SOURCES = 366
"""In one query of 1500 octets with the IP router alert option (section 4.1.8)."""

_QUERY = struct.Struct("!BBH4sBBH")
_REPORT = struct.Struct("!BxH2xH")
_RECORD = struct.Struct("!BBH4s")


class IgmpError(ValueError):
    """A message that is no IGMPv3 query or report, or a broken one."""


class RecordType(IntEnum):
    """Section 4.2.12."""

    MODE_IS_INCLUDE = 1
    MODE_IS_EXCLUDE = 2
    CHANGE_TO_INCLUDE = 3
    CHANGE_TO_EXCLUDE = 4
    ALLOW_NEW_SOURCES = 5
    BLOCK_OLD_SOURCES = 6


@dataclass(frozen=True, slots=True)
class Query:
    """`group` 0.0.0.0: general. `suppress`: other routers are not to lower their timers. Response time in tenths of a
    second; both times are rounded down to what the wire's codes can say."""

    group: IPv4Address = GENERAL
    sources: tuple[IPv4Address, ...] = ()
    max_response_ds: int = 100
    suppress: bool = False
    robustness: int = 2
    interval_s: int = 125

    @property
    def destination(self) -> IPv4Address:
        return self.group if int(self.group) else ALL_HOSTS


@dataclass(frozen=True, slots=True)
class Record:
    type: RecordType
    group: IPv4Address
    sources: tuple[IPv4Address, ...] = ()


@dataclass(frozen=True, slots=True)
class Report:
    records: tuple[Record, ...] = ()


Message = Query | Report


def encode(message: Message) -> bytes:
    """Raises IgmpError for a value that its field cannot hold."""
    if isinstance(message, Query):
        sources = b"".join(source.packed for source in message.sources)
        if not 0 <= message.robustness <= 7 or len(message.sources) > 0xFFFF:
            raise IgmpError("the robustness variable is 0 to 7, and sources are at most 65535")
        flags = message.suppress << 3 | message.robustness
        codes = _code(message.max_response_ds), _code(message.interval_s)
        head = _QUERY.pack(QUERY, codes[0], 0, message.group.packed, flags, codes[1], len(message.sources))
        return _summed(head + sources)
    records = b"".join(
        _RECORD.pack(r.type, 0, len(r.sources), r.group.packed) + b"".join(s.packed for s in r.sources)
        for r in message.records
    )
    return _summed(_REPORT.pack(REPORT, 0, len(message.records)) + records)


def decode(data: bytes) -> Message:
    """Raises IgmpError. Data behind the message and auxiliary data are left out (sections 4.1.10, 4.2.11); records of
    an unknown type are ignored (section 4.2.12)."""
    if not data or data[0] not in (QUERY, REPORT):
        raise IgmpError("neither an IGMPv3 query nor an IGMPv3 report")
    if _sum(data) != 0:
        raise IgmpError("the checksum is wrong")
    return _decode_query(data) if data[0] == QUERY else _decode_report(data)


def _decode_query(data: bytes) -> Query:
    if len(data) < _QUERY.size:
        raise IgmpError("a query of IGMPv1 or IGMPv2, or a short one")
    _, response, _, group, flags, interval, count = _QUERY.unpack_from(data)
    sources = _addresses(data, _QUERY.size, count)
    return Query(IPv4Address(group), sources, _value(response), bool(flags & 8), flags & 7, _value(interval))


def _decode_report(data: bytes) -> Report:
    if len(data) < _REPORT.size:
        raise IgmpError("a short report")
    (_, _, count), at = _REPORT.unpack_from(data), _REPORT.size
    records: list[Record] = []
    for _ in range(count):
        if len(data) < at + _RECORD.size:
            raise IgmpError("a record is cut off")
        kind, auxiliary, sources, group = _RECORD.unpack_from(data, at)
        at += _RECORD.size
        found = _addresses(data, at, sources)
        at += 4 * (sources + auxiliary)
        if kind in frozenset(RecordType):
            records.append(Record(RecordType(kind), IPv4Address(group), found))
    return Report(tuple(records))


def _addresses(data: bytes, at: int, count: int) -> tuple[IPv4Address, ...]:
    if len(data) < at + 4 * count:
        raise IgmpError("the list of sources is cut off")
    return tuple(IPv4Address(data[start : start + 4]) for start in range(at, at + 4 * count, 4))


def _code(value: int) -> int:
    """Maximum response code and QQIC (sections 4.1.1, 4.1.7): the largest that is not above `value`."""
    if value < 0:
        raise IgmpError("a time is not negative")
    if value < 128:
        return value
    exponent = min(value.bit_length() - 8, 7)
    mantissa = min(value >> exponent + 3, 31) & 0xF
    return 0x80 | exponent << 4 | mantissa


def _value(code: int) -> int:
    return code if code < 128 else (code & 0xF | 0x10) << (code >> 4 & 7) + 3


def _summed(data: bytes) -> bytes:
    return data[:2] + struct.pack("!H", _sum(data)) + data[4:]


def _sum(data: bytes) -> int:
    """The Internet checksum (RFC 1071); 0 over a message whose own is right."""
    words: tuple[int, ...] = struct.unpack(f"!{len(data) // 2}H", data[: len(data) // 2 * 2])
    total = sum(words) + (data[-1] << 8 if len(data) % 2 else 0)
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
