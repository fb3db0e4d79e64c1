"""X2 and X3 PDUs (ETSI TS 103 221-2 clause 5): pure, no I/O.

A PDU is a header of 40 octets, attributes as type, length and value, then the payload; all integers are big-endian.
The two lengths in the header are the only framing.

What a POI sends is written by `Template`, which packs what stays the same for a session once and puts sequence number
and timestamp first; `Decoder` knows that order and does not read again what stays the same.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, cast, overload

from lawful_intercept.x2x3.pdu import (
    LEGAL,
    LENGTHS,
    MEANING,
    NANOSECONDS,
    NIL_XID,
    Addresses,
    Attribute,
    Attributes,
    PayloadDirection,
    PayloadFormat,
    Pdu,
    PduType,
)
from nf.errors import InputError

__all__ = [
    "HEADER_LIMIT",
    "LEGAL",
    "NIL_XID",
    "PAYLOAD_LIMIT",
    "Addresses",
    "Apart",
    "Attribute",
    "Attributes",
    "CodecError",
    "Decoder",
    "PayloadDirection",
    "PayloadFormat",
    "Pdu",
    "PduType",
    "Pdus",
    "Row",
    "Session",
    "Template",
    "encode",
    "keepalive",
    "pdu_of",
    "x2_template",
    "x3_template",
]

VERSION: Final = 0x0005
HEADER_LIMIT: Final = 4096
"""Octets of header with attributes that are taken. A POI's own are about 200."""
PAYLOAD_LIMIT: Final = 65536
"""Octets of payload that are taken: any IP packet."""

_HEADER: Final = struct.Struct("!HHIIHH16sQ")
_LENGTHS: Final = struct.Struct("!HHII")
_ATTRIBUTE: Final = struct.Struct("!HH")
_IDENTITY: Final = struct.Struct("!I16sQ")
_COMMON: Final = struct.Struct("!QII28sIIII")  # up to the timestamp, as a Template orders attributes
_COMMON_END: Final = 60
_REMEMBERED_OCTETS: Final = 320
_TEMPLATE: Final = struct.Struct("!8sII28sIIII")
_SEQUENCE_TAG: Final = 8 << 16 | 4
_TIMESTAMP_TAG: Final = 9 << 16 | 8
_U32: Final = 0xFFFFFFFF


class CodecError(InputError):
    """Octets that are no PDU, or a PDU that cannot be one. `before`: what the same `feed` had completed by then."""

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message, where="X2/X3", remedy=remedy)
        self.before: tuple[Pdu, ...] = ()


def _packed(attributes: Iterable[tuple[int, bytes]]) -> bytes:
    parts: list[bytes] = []
    for number, value in attributes:
        wanted = LENGTHS.get(number, len(value))
        if not 0 <= number <= 0xFFFF or len(value) != wanted or len(value) > 0xFFFF:
            raise CodecError(f"attribute {number} cannot be of {len(value)} octets")
        parts += (_ATTRIBUTE.pack(number, len(value)), value)
    return b"".join(parts)


def _checked(kind: int, form: int, direction: int, xid: bytes, correlation: int) -> None:
    if kind << 32 | form << 16 | direction not in MEANING:
        raise CodecError(f"a PDU of type {kind} has no payload of format {form} and direction {direction}")
    if len(xid) != 16 or not 0 <= correlation < 1 << 64:
        raise CodecError("the XID or the correlation is out of range", remedy="16 octets; 64 bits")


def encode(pdu: Pdu) -> bytes:
    """Raises CodecError for what no PDU can be, and for more than `Decoder` takes."""
    _checked(pdu.kind, pdu.form, pdu.direction, pdu.xid, pdu.correlation)
    attributes = _packed(pdu.attributes)
    length = _HEADER.size + len(attributes)
    if length > HEADER_LIMIT or len(pdu.payload) > PAYLOAD_LIMIT or (pdu.kind > PduType.X3 and pdu.payload):
        raise CodecError("the PDU is larger than one can be")
    head = _HEADER.pack(VERSION, pdu.kind, length, len(pdu.payload), pdu.form, pdu.direction, pdu.xid, pdu.correlation)
    return head + attributes + pdu.payload


class Template:
    """PDUs of one task, session, type and format: `encode` packs only what differs from one to the next.

    `attributes`: those that stay the same, without sequence number and timestamp. Raises CodecError.
    """

    __slots__ = ("_attributes", "_form", "_identity", "_start")

    def __init__(
        self, kind: PduType, xid: bytes, correlation: int, form: PayloadFormat, attributes: Attributes = ()
    ) -> None:
        _checked(kind, form, PayloadDirection.UNKNOWN, xid, correlation)
        if any(number in (8, 9) for number, _ in attributes):
            raise CodecError("sequence number and timestamp are given with each payload")
        self._attributes = _packed(attributes)
        length = _COMMON_END + len(self._attributes)
        if length > HEADER_LIMIT:
            raise CodecError("the attributes are more than a header can hold")
        self._start = struct.pack("!HHI", VERSION, kind, length)
        self._form = form << 16
        self._identity = xid + struct.pack("!QI", correlation, _SEQUENCE_TAG)

    def encode(self, sequence: int, at_ns: int, direction: PayloadDirection, payload: bytes) -> bytes:
        """`sequence` is taken modulo 2^32, `at_ns` counts nanoseconds since the epoch. Raises CodecError."""
        length = len(payload)
        if length > PAYLOAD_LIMIT or not 0 < direction < 6:
            raise CodecError("the payload is larger than one can be, or its direction is none")
        seconds, nanoseconds = divmod(at_ns, NANOSECONDS)
        head = _TEMPLATE.pack(
            self._start,
            length,
            self._form | direction,
            self._identity,
            sequence & _U32,
            _TIMESTAMP_TAG,
            seconds & _U32,
            nanoseconds,
        )
        return head + self._attributes + payload


def x3_template(xid: bytes, correlation: int, form: PayloadFormat, attributes: Attributes = ()) -> Template:
    return Template(PduType.X3, xid, correlation, form, attributes)


def x2_template(xid: bytes, correlation: int, form: PayloadFormat, attributes: Attributes = ()) -> Template:
    return Template(PduType.X2, xid, correlation, form, attributes)


def keepalive(sequence: int, kind: PduType = PduType.KEEPALIVE) -> bytes:
    """TS 103 221-2 clause 5.5: it is answered by a KEEPALIVE_ACK of the same sequence number."""
    attributes = ((Attribute.SEQUENCE, (sequence & _U32).to_bytes(4, "big")),)
    return encode(Pdu(kind, NIL_XID, 0, PayloadFormat.NONE, PayloadDirection.KEEPALIVE, attributes, b""))


_DIRECTIONS: Final = tuple(PayloadDirection)
_WHAT: Final = {form: form << 16 for form in PayloadFormat}
_starts: Final[dict[int, int]] = {}
"""Objects that all sessions share whose headers are of the same length: few, and near to the processor."""


class Session:
    """What PDUs of a session have in common, by its XID and correlation: both directions share it, so that few octets
    are touched for each PDU however many sessions there are. A decoder gives the same one as long as it all stays so.

    start   from the version to the header's length
    what    format and, nought here, direction, as one number
    octets  its attributes, as they stand behind the timestamp; `others` are the same, read
    """

    __slots__ = ("correlation", "form", "header", "kind", "octets", "others", "start", "what", "xid")

    def __init__(self, head: bytes, pdu: Pdu, octets: bytes) -> None:
        """`head`: the octets up to the header's length. `pdu`: one whose attributes begin with number and timestamp."""
        start = int.from_bytes(head, "big")
        self.start, self.header, self.octets = _starts.setdefault(start, start), _COMMON_END + len(octets), octets
        self.kind, self.xid, self.correlation, self.form = pdu.kind, pdu.xid, pdu.correlation, pdu.form
        self.what = _WHAT[pdu.form]
        self.others = pdu.others[2:]

    def alike(self, other: Session) -> bool:
        """Of one session, whether a PDU of the one is a PDU of the other."""
        return (self.start, self.what, self.octets) == (other.start, other.what, other.octets)

    def pdu(self, direction: int, payload: bytes, sequence: int, at_ns: int) -> Pdu:
        way = _DIRECTIONS[direction]
        parts = (self.kind, self.xid, self.correlation, self.form, way, payload, sequence, at_ns, self.others, True)
        return tuple.__new__(Pdu, parts)


class Apart:
    """A PDU of which no session is known."""

    __slots__ = ("form", "kind", "whole")

    def __init__(self, pdu: Pdu) -> None:
        self.kind, self.form, self.whole = pdu.kind, pdu.form, pdu


Row = tuple[Session | Apart, int, bytes, int, int]
"""Session, direction, payload, sequence number, timestamp; or a PDU apart, and what counts for nothing."""


def pdu_of(row: Row) -> Pdu:
    session, direction, payload, sequence, at_ns = row
    return session.whole if isinstance(session, Apart) else session.pdu(direction, payload, sequence, at_ns)


class Pdus(Sequence[Pdu]):
    """PDUs, made when they are asked for: of content, of which there is most, `rows` say all that there is to know.

    flat   what the rows have, one after another: a tuple that is kept for each is one more object that the garbage
           collector goes through
    """

    __slots__ = ("_others", "flat")

    def __init__(self, pdus: Iterable[Pdu] = ()) -> None:
        self._others: list[int] = []
        self.flat: list[Session | Apart | int | bytes] = []
        for pdu in pdus:
            self.add(pdu)

    def add(self, pdu: Pdu) -> None:
        if pdu.kind > PduType.X3:
            self._others.append(len(self.flat))
        self.flat += (Apart(pdu), 0, b"", 0, 0)

    def rows(self) -> Iterator[Row]:
        one = iter(self.flat)
        return cast("Iterator[Row]", zip(one, one, one, one, one, strict=True))

    def others(self) -> list[Pdu]:
        """Takes out what is not X2 or X3."""
        found = [cast("Apart", self.flat[at]).whole for at in self._others]
        while self._others:
            at = self._others.pop()
            del self.flat[at : at + 5]
        return found

    def __len__(self) -> int:
        return len(self.flat) // 5

    def __iter__(self) -> Iterator[Pdu]:
        return map(pdu_of, self.rows())

    @overload
    def __getitem__(self, index: int) -> Pdu: ...

    @overload
    def __getitem__(self, index: slice) -> list[Pdu]: ...

    def __getitem__(self, index: int | slice) -> Pdu | list[Pdu]:
        return list(self)[index]


class Decoder:
    """From a stream to PDUs. Lengths are judged before anything is held, so it never holds more than one PDU.

    `limits`: octets of header and of payload that are taken.
    """

    _REMEMBERED: Final = 8192

    def __init__(self, limits: tuple[int, int] = (HEADER_LIMIT, PAYLOAD_LIMIT)) -> None:
        self._header_limit, self._payload_limit = limits
        self._held = bytearray()
        self._need = _LENGTHS.size
        self._known: dict[bytes, Session] = {}
        self._apart: set[bytes] = set()
        self._failed: CodecError | None = None

    @property
    def held(self) -> int:
        """Octets of a PDU that is not whole yet."""
        return len(self._held)

    def feed(self, octets: bytes) -> list[Pdu]:
        """What is whole by now. Raises CodecError (see there) once, and again ever after."""
        return list(self.read(octets))

    def read(self, octets: bytes) -> Pdus:
        """As `feed`, for who needs no PDU of each."""
        if self._failed is not None:
            raise CodecError(self._failed.message)
        if self._held:
            if len(self._held) + len(octets) < self._need:
                self._held += octets
                return Pdus()
            octets = b"".join((self._held, octets))
            self._held.clear()
        pdus = Pdus()
        try:
            at = self._read(octets, pdus)
        except CodecError as error:
            error.before = tuple(pdus)
            self._failed = error
            raise
        if at < len(octets):
            self._held += memoryview(octets)[at:]
        return pdus

    def _read(self, data: bytes, pdus: Pdus) -> int:
        """Adds to `pdus`; returns where the first that is not whole begins."""
        at, size = 0, len(data)
        known, limit, add, unpack = self._known.get, self._payload_limit, pdus.flat.extend, _COMMON.unpack_from
        last = size - _COMMON_END
        while at <= last:
            start, length, what, rest, sequence, tag, seconds, nanoseconds = unpack(data, at)
            found = known(rest) or known(data[at + 12 : at + 44])
            if found is not None:
                middle = at + found.header
                end = middle + length
                way = what - found.what
                if (
                    start == found.start
                    and 0 < way < 6
                    and tag == _TIMESTAMP_TAG
                    and end <= size
                    and data[at + _COMMON_END : middle] == found.octets
                    and length <= limit
                    and nanoseconds < NANOSECONDS
                ):
                    add((found, way, data[middle:end], sequence, seconds * NANOSECONDS + nanoseconds))
                    at = end
                    continue
            at, whole = self._any(data, at, size, pdus)
            if not whole:
                return at
        whole = True
        while whole and size - at >= _LENGTHS.size:
            at, whole = self._any(data, at, size, pdus)
        if whole:
            self._need = _LENGTHS.size
        return at

    def _any(self, data: bytes, at: int, size: int, pdus: Pdus) -> tuple[int, bool]:
        """Any PDU: (where the next begins, True), or (`at`, False) when it is not whole."""
        version, number, header, length = _LENGTHS.unpack_from(data, at)
        if version > 0xFF or not 40 <= header <= self._header_limit or length > self._payload_limit:
            raise CodecError("not a header of this protocol, or a longer PDU than is taken")
        middle = at + header
        end = middle + length
        if end > size:
            self._need = header + length
            return at, False
        what, xid, correlation = _IDENTITY.unpack_from(data, at + _LENGTHS.size)
        meaning = MEANING.get(number << 32 | what)
        if meaning is None or (number > PduType.X3 and length):
            raise CodecError("a type, payload format or direction that is none, or that do not go together")
        kind, form, direction = meaning
        attributes = _attributes(data[at + 40 : middle])
        pdu = Pdu(kind, xid, correlation, form, direction, attributes, data[middle:end])
        pdus.add(pdu)
        if kind <= PduType.X3 and [one for one, _ in attributes[:2]] == [8, 9] and header <= _REMEMBERED_OCTETS:
            if len(self._known) >= self._REMEMBERED:
                self._known.clear()
                self._apart.clear()
            session = Session(data[at : at + 8], pdu, data[at + _COMMON_END : middle])
            self._known[self._key(data[at + 12 : at + 44], session)] = session
        return end, True

    def _key(self, whole: bytes, fresh: Session) -> bytes:
        """Of a session; of a format and direction of it where these have not everything in common."""
        shared = whole[4:]
        before = self._known.get(shared)
        if before is not None and not before.alike(fresh):
            del self._known[shared]
            self._apart.add(shared)
        return whole if shared in self._apart else shared


def _attributes(octets: bytes) -> Attributes:
    found: list[tuple[int, bytes]] = []
    at, size = 0, len(octets)
    while at < size:
        if size - at < 4:
            raise CodecError("an attribute is longer than its header")
        number, length = _ATTRIBUTE.unpack_from(octets, at)
        end = at + 4 + length
        if end > size:
            raise CodecError("an attribute is longer than its header")
        if LENGTHS.get(number, length) != length:
            raise CodecError(f"attribute {number} cannot be of {length} octets")
        found.append((number, octets[at + 4 : end]))
        at = end
    return tuple(found)
