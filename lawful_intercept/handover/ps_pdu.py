"""PS-PDUs by templates (ETSI TS 102 232-1 clauses 5 and 6, -5 annex A; 3GPP TS 33.128), strict DER.

What does not change in a stream is written once. What changes (sequence number, time, direction, packet, and the
lengths around them) has a layout for each combination of widths, made when it is first met; the rest is joining octets.
"""

from __future__ import annotations

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
_WIDE_US: Final = 0x8000
"""Microseconds from here on have three octets: almost all of them."""


class _Tail:
    """What streams that look alike have in common behind their numbers. They share it, so that it stays in the
    processor's cache however many they are; `now` is replaced as a whole, for threads that do so too.

    key  `_key` of the packets that it is for
    now  microseconds since 1970 at which a second began, and the octets from the number to that second's microseconds
    """

    __slots__ = ("_before_microseconds", "_before_seconds", "_wide_s", "end", "key", "now", "packet")

    def __init__(self, key: int, layout: _Layout, wide_s: int) -> None:
        self.key = key
        _, self._before_seconds, self._before_microseconds, self.packet, self.end = layout
        self._wide_s = wide_s
        self.now = (-_US_IN_S, b"")

    def turn(self, at_us: int) -> tuple[int, bytes]:
        """To the second of this time. (`at_us`, b"") where it is written in another width: lengths are others then."""
        second = at_us // _US_IN_S
        if second.bit_length() // 8 + 1 != self._wide_s:
            return at_us, b""
        octets = self._before_seconds + second.to_bytes(self._wide_s, "big") + self._before_microseconds
        self.now = second * _US_IN_S, octets
        return self.now


_Layout = tuple[bytes, bytes, bytes, bytes, bytes]
_tails: dict[tuple[int, _Layout, int], _Tail] = {}
_NONE: Final = _Tail(-1, (b"",) * 5, 0)


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
        wide = sequence.bit_length() // 8 + 1  # of a minimal INTEGER: a zero octet more where the top bit is set
        key = len(octets) << 8 | wide << 4 | direction
        tail = self._tail
        if tail.key != key:
            tail = self._other
        at_us = at_ns // 1000
        begun_us, before = tail.now
        if not begun_us <= at_us < begun_us + _US_IN_S:
            begun_us, before = tail.turn(at_us)
        microseconds = at_us - begun_us
        if tail.key != key or microseconds < _WIDE_US or not before or stream:
            return self._exactly(sequence, at_ns, direction, octets, stream)
        return b"".join(
            (
                self._head,
                sequence.to_bytes(wide, "big"),
                before,
                microseconds.to_bytes(3, "big"),
                tail.packet,
                octets,
                tail.end,
            )
        )

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
            self._other = self._tail if self._head == layout[0] else _NONE
            self._head, self._tail = layout[0] if self._other is _NONE else self._head, tail
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
        if wide_us == 3 and not stream:
            tail = _shared(len(octets) << 8 | wide << 4 | direction, layout, wide_s)
        self._layouts[len(octets), direction, wide, wide_s, wide_us, stream] = layout, tail
        return layout, tail


def _shared(key: int, layout: _Layout, wide_s: int) -> _Tail:
    alike = key, (b"", *layout[1:]), wide_s
    tail = _tails.get(alike)
    if tail is None:
        if len(_tails) >= LAYOUTS_KEPT:
            _tails.clear()
        tail = _tails[alike] = _Tail(key, layout, wide_s)
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
