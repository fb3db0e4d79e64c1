"""PS-PDUs by templates (ETSI TS 102 232-1 clauses 5 and 6, -5 annex A; 3GPP TS 33.128), strict DER.

What does not change in a stream is written once. What changes (sequence number, time, direction, packet, and the
lengths around them) has a layout for each combination of widths, made when it is first met; the rest is joining octets.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from lawful_intercept.handover import ipmm, threegpp
from lawful_intercept.handover.ber import integer, tlv
from lawful_intercept.handover.decoder import PsPdu, decode
from lawful_intercept.handover.splitter import Splitter
from lawful_intercept.handover.values import (
    CcKind,
    DataType,
    Direction,
    Header,
    IriType,
    Qualifier,
    TimeForm,
    check_cin,
    make_pdu,
)

if TYPE_CHECKING:
    from lawful_intercept.handover.encryption import PayloadCipher

__all__ = [
    "CcKind",
    "CcTemplate",
    "DataType",
    "Direction",
    "Header",
    "IriTemplate",
    "IriType",
    "PsPdu",
    "Qualifier",
    "Splitter",
    "TimeForm",
    "decode",
]

LAYOUTS_KEPT: Final = 4096
"""Of one template: as many lengths of packets times widths of numbers."""
_FRAMES: Final = {CcKind.RTP: ipmm.FrameType.RTP, CcKind.IP: ipmm.FrameType.IP}
_US_IN_S: Final = 1_000_000
_WIDEST: Final = 5
"""Octets of a number of 32 bits."""
_WIDE_US: Final = 0x8000
"""Microseconds from here on have three octets: almost all of them."""


class _Tail:
    """What streams that look alike have in common behind their heads. They share it, so that it stays in the
    processor's cache however many they are. Numbers of any width are written with what stands before them, as eight
    octets: see `_split`.

    low, high         sequence numbers that are as wide as this one is for
    size, direction   of the packets that it is for
    pack              of it all; `number` plus a sequence number is what stands behind the head
    now               of the second that was written last, and replaced as a whole: from and until which microsecond
                      since 1970 it is for; the octets before; what is added to a time to be what stands behind them
    """

    __slots__ = (
        "_before_microseconds",
        "_before_seconds",
        "_wide_s",
        "direction",
        "end",
        "high",
        "low",
        "now",
        "number",
        "pack",
        "packet",
        "size",
    )

    def __init__(self, head: bytes, sizes: tuple[int, int], direction: int, layout: _Layout, wide_s: int) -> None:
        """`sizes`: of a sequence number, and of the packet."""
        wide, self.size = sizes
        self.direction = direction
        self.low, self.high = 1 << 8 * wide - 9 if wide > 1 else 0, 1 << 8 * wide - 1
        _, self._before_seconds, self._before_microseconds, self.packet, self.end = layout
        self._wide_s = wide_s
        self.now = (0, 0, b"", 0)
        head, self.number = _split(head, wide)
        before = len(self._before_seconds) + wide_s + len(self._before_microseconds) + 3 - 8
        parts = len(self.packet), self.size, len(self.end)
        self.pack = struct.Struct(f"!{len(head)}sQ{before}sQ{parts[0]}s{parts[1]}s{parts[2]}s").pack

    def turn(self, at_us: int) -> None:
        """To the second of this time, unless it is written in another width: lengths are others then."""
        second = at_us // _US_IN_S
        if second.bit_length() // 8 + 1 == self._wide_s:
            octets = self._before_seconds + second.to_bytes(self._wide_s, "big") + self._before_microseconds
            before, number = _split(octets, 3)
            begun_us = second * _US_IN_S
            self.now = begun_us + _WIDE_US, begun_us + _US_IN_S, before, number - begun_us


def _split(octets: bytes, wide: int) -> tuple[bytes, int]:
    """Of octets that a number follows: those that do not fit into eight with it, and the eight as of the number 0."""
    at = len(octets) - (8 - wide)
    return octets[:at], int.from_bytes(octets[at:], "big") << 8 * wide


_Layout = tuple[bytes, bytes, bytes, bytes, bytes]
_tails: dict[tuple[bytes, tuple[int, int], int, _Layout, int], _Tail] = {}
_NONE: Final = _Tail(bytes(8), (1, 0), -1, (b"", bytes(8), b"", b"", b""), 4)


@dataclass(frozen=True, slots=True, repr=False)
class _Session:
    """IRI or CC of one CIN. `part`: of TS 102 232, that a payload is of."""

    header: Header
    cin: int
    data_type: DataType
    cipher: PayloadCipher | None

    def pdu(self, sequence: int, at_ns: int, payload: bytes, part: int, qualifier: Qualifier) -> bytes:
        if self.cipher is None:
            return make_pdu(self.header, self.cin, sequence, at_ns, payload, qualifier=qualifier)
        sealed = self.cipher.container(self.data_type, sequence, payload, part)
        pdu = make_pdu(self.header, self.cin, sequence, at_ns, sealed, qualifier=qualifier)
        self.cipher.sent(self.data_type, len(pdu))
        return pdu


class CcTemplate:
    """CC of one session: `encode` is the hot path. Not for several threads at once.

    `qualifier`: what the given times are times of. With `cipher` the payload is encrypted (clause 7.3).
    """

    __slots__ = ("_head", "_header", "_hot", "_kind", "_layouts", "_other", "_qualifier", "_session", "_tail")

    def __init__(
        self,
        header: Header,
        cin: int,
        kind: CcKind = CcKind.RTP,
        *,
        qualifier: Qualifier = Qualifier.INTERCEPTION,
        cipher: PayloadCipher | None = None,
    ) -> None:
        """Raises InputError for a CIN that does not fit."""
        self._header, self._kind, self._qualifier = header, kind, qualifier
        self._session = _Session(header, check_cin(cin), DataType.CC, cipher)
        self._hot = header.time_form == "microseconds" and cipher is None
        self._layouts: dict[tuple[int, int, int, int, int, bytes], tuple[_Layout, _Tail]] = {}
        # The last layout, and one of the same head: that of the other direction.
        self._head, self._tail, self._other = b"", _NONE, _NONE

    def encode(self, sequence: int, at_ns: int, direction: int, octets: bytes, stream: bytes = b"") -> bytes:
        """One packet. `at_ns`: UTC since 1970; `stream`: which of a call's media, left out when empty.

        `sequence` is the caller's to keep within 32 bits; a negative number or time raises OverflowError.
        """
        tail = self._tail
        if tail.direction != direction:
            tail = self._other
        at_us = at_ns // 1000
        since_us, until_us, before, time = tail.now
        if (
            since_us <= at_us < until_us
            and tail.low <= sequence < tail.high
            and tail.size == len(octets)
            and tail.direction == direction
            and not stream
        ):
            return tail.pack(self._head, tail.number + sequence, before, time + at_us, tail.packet, octets, tail.end)
        return self._exactly(sequence, at_ns, direction, octets, stream)

    def _exactly(self, sequence: int, at_ns: int, direction: int, octets: bytes, stream: bytes) -> bytes:
        """Whatever the widths are."""
        if not self._hot:
            return self._whole(sequence, at_ns, direction, octets, stream)
        seconds, microseconds = divmod(at_ns // 1000, _US_IN_S)
        wide, wide_s, wide_us = (value.bit_length() // 8 + 1 for value in (sequence, seconds, microseconds))
        found = self._layouts.get((len(octets), direction, wide, wide_s, wide_us, stream))
        if found is None:
            found = self._lay_out(sequence, at_ns, direction, octets, stream)
        layout, tail = found
        if tail is not _NONE:
            tail.turn(at_ns // 1000)
            self._keep(_split(layout[0], wide)[0], tail)
        head, before_seconds, before_microseconds, before_packet, end = layout
        return b"".join(
            (
                head,
                sequence.to_bytes(wide, "big"),
                before_seconds,
                seconds.to_bytes(wide_s, "big"),
                before_microseconds,
                microseconds.to_bytes(wide_us, "big"),
                before_packet,
                octets,
                end,
            )
        )

    def _keep(self, head: bytes, tail: _Tail) -> None:
        """For the next packet of this direction."""
        if self._head != head or self._tail.low != tail.low:
            self._head, self._tail, self._other = head, tail, _NONE
        elif self._tail.direction == tail.direction:
            self._tail = tail
        else:
            self._other = tail

    def _contents(self, octets: bytes, stream: bytes) -> bytes:
        if self._kind is CcKind.UPF:
            return tlv(0x97, threegpp.cc(octets))
        return ipmm.media_cc(_FRAMES[self._kind], octets, stream)

    def _payload(self, direction: int, octets: bytes, stream: bytes) -> bytes:
        return tlv(0xA1, tlv(0x30, integer(0x80, direction), tlv(0xA2, self._contents(octets, stream))))

    def _whole(self, sequence: int, at_ns: int, direction: int, octets: bytes, stream: bytes) -> bytes:
        payload = self._payload(direction, octets, stream)
        part = 7 if self._kind is CcKind.UPF else 5
        return self._session.pdu(sequence, at_ns, payload, part, self._qualifier)

    def _lay_out(
        self, sequence: int, at_ns: int, direction: int, octets: bytes, stream: bytes
    ) -> tuple[_Layout, _Tail]:
        """From a PDU that was written the long way, cut where the changing fields stand."""
        pdu = self._whole(sequence, at_ns, direction, octets, stream)
        after = len(self._payload(direction, octets, stream))
        after += len(tlv(0xA2, bytes(after))) - after
        times = self._header.times(at_ns, self._qualifier)
        seconds, microseconds = divmod(at_ns // 1000, 1_000_000)
        wide, wide_s, wide_us = (value.bit_length() // 8 + 1 for value in (sequence, seconds, microseconds))
        sequence_at = len(pdu) - after - len(times) - wide
        seconds_at = sequence_at + wide + len(self._header.interception_point()) + 4
        microseconds_at = seconds_at + wide_s + 2
        end = b"" if self._kind is CcKind.UPF else ipmm.cc_end(_FRAMES[self._kind], stream)
        packet_at = len(pdu) - len(end) - len(octets)
        layout = (
            pdu[:sequence_at],
            pdu[sequence_at + wide : seconds_at],
            pdu[seconds_at + wide_s : microseconds_at],
            pdu[microseconds_at + wide_us : packet_at],
            end,
        )
        if len(self._layouts) >= LAYOUTS_KEPT:
            self._layouts.clear()
        tail = _NONE
        if wide_us == 3 and wide <= _WIDEST and not stream:
            tail = _shared(wide, len(octets), direction, layout, wide_s)
        self._layouts[len(octets), direction, wide, wide_s, wide_us, stream] = layout, tail
        return layout, tail


def _shared(wide: int, size: int, direction: int, layout: _Layout, wide_s: int) -> _Tail:
    """Heads differ before the eight octets that end with the sequence number, and only there."""
    head = bytes(len(layout[0]) - 8) + layout[0][-8:]
    alike = head, (wide, size), direction, (b"", *layout[1:]), wide_s
    tail = _tails.get(alike)
    if tail is None:
        if len(_tails) >= LAYOUTS_KEPT:
            _tails.clear()
        tail = _tails[alike] = _Tail(head, (wide, size), direction, layout, wide_s)
    return tail


class IriTemplate:
    """IRI of one session. With `cipher` the payload is encrypted."""

    def __init__(self, header: Header, cin: int, *, cipher: PayloadCipher | None = None) -> None:
        """Raises InputError for a CIN that does not fit."""
        self._session = _Session(header, check_cin(cin), DataType.IRI, cipher)

    def sip(  # noqa: PLR0917 - as many as a message's parts
        self,
        sequence: int,
        at_ns: int,
        iri_type: int,
        source_ip: str,
        destination_ip: str,
        octets: bytes,
        iri_only: bool = False,
        *,
        qualifier: Qualifier = Qualifier.INTERCEPTION,
    ) -> bytes:
        """A SIP message (TS 102 232-5). `iri_only`: of a warrant without CC; the caller has reduced the body.

        Raises InputError for an address that is none.
        """
        contents = ipmm.sip_iri(source_ip, destination_ip, octets, iri_only=iri_only)
        return self._session.pdu(sequence, at_ns, _iri(iri_type, contents), 5, qualifier)

    def threegpp(
        self,
        sequence: int,
        at_ns: int,
        iri_type: int,
        payload: bytes,
        *,
        qualifier: Qualifier = Qualifier.INTERCEPTION,
    ) -> bytes:
        """`payload`: an encoded IRIPayload of TS 33.128."""
        return self._session.pdu(sequence, at_ns, _iri(iri_type, tlv(0x93, payload)), 7, qualifier)


def _iri(iri_type: int, contents: bytes) -> bytes:
    return tlv(0xA0, tlv(0x30, integer(0x80, iri_type), tlv(0xA2, contents)))
