"""PS-PDUs as the agency reads them (ETSI TS 102 232-1 and -5): header, payload, decryption. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from ipaddress import ip_address
from typing import Final, NamedTuple

from lawful_intercept.handover import encryption
from lawful_intercept.handover.reading import (
    Element,
    PduError,
    choice,
    elements,
    fields,
    need,
    one,
    read_head,
    text,
    time_ns,
    unsigned,
)
from lawful_intercept.handover.values import DOMAIN, MOST

_U64: Final = (1 << 64) - 1
_ANY: Final = 255


class Content(Enum):
    """What an IRI's or CC's octets are."""

    SIP = "SIP message"
    SIP_IRI_ONLY = "SIP message of a warrant without CC"
    PACKET = "IP packet"
    RTP = "RTP packet"
    THREEGPP = "TS 33.128"
    OTHER = "other"


class Tri(Enum):
    """Transport related information; the value is its tag."""

    INTEGRITY_CHECK = 0xA0
    TEST = 0x81
    PADDING = 0x82
    KEEP_ALIVE = 0x83
    KEEP_ALIVE_RESPONSE = 0x84
    FIRST_SEGMENT = 0x85
    LAST_SEGMENT = 0x86
    CIN_RESET = 0x87
    OPERATOR_MESSAGE = 0xA8
    OPTION_REQUEST = 0xA9
    OPTION_RESPONSE = 0xAA
    OPTION_COMPLETE = 0x8B
    ACKNOWLEDGEMENT_REQUEST = 0x8C
    ACKNOWLEDGEMENT_RESPONSE = 0x8D


@dataclass(frozen=True, slots=True, repr=False)
class Iri:
    """`iri_type`: 1 begin, 2 end, 3 continue, 4 report, or None; `at_ns`: its own time, where it has one."""

    iri_type: int | None
    content: Content
    octets: bytes
    source: str = ""
    destination: str = ""
    at_ns: int | None = None


@dataclass(frozen=True, slots=True, repr=False)
class Cc:
    """`direction`: as in `values.Direction`, or None; `frame_type`: of TS 102 232-5, or None."""

    direction: int | None
    content: Content
    octets: bytes
    stream: bytes = b""
    frame_type: int | None = None
    at_ns: int | None = None


@dataclass(frozen=True, slots=True, repr=False)
class Encrypted:
    """An encryptionContainer as it stands."""

    algorithm: int
    octets: bytes
    payload_type: int | None


@dataclass(frozen=True, slots=True, repr=False)
class PsPdu:
    """One PS-PDU; `octets` are all of it, as it came. One of iri, cc, tri, encrypted is there, or none (HI1, others).

    at_ns        the header's time in either form, or None
    tri_octets   contents of the transport information
    """

    octets: bytes
    version: int
    liid: bytes
    authorisation_country: str
    operator: bytes
    element: bytes
    cin: int | None
    delivery_country: str
    sequence: int
    at_ns: int | None
    qualifier: int | None
    point: str
    iri: tuple[Iri, ...] = ()
    cc: tuple[Cc, ...] = ()
    tri: Tri | None = None
    tri_octets: bytes = b""
    encrypted: Encrypted | None = None


@dataclass(frozen=True, slots=True, repr=False)
class _Who:
    """What stands in a header before the sequence number: the same in all PDUs of a session."""

    version: int
    liid: bytes
    authorisation_country: str
    operator: bytes
    element: bytes
    cin: int | None
    delivery_country: str


_KNOWN: Final[dict[tuple[bytes | None, ...], _Who]] = {}
_MOST_KNOWN: Final = 1024


def decode(octets: bytes) -> PsPdu:
    """Exactly one PS-PDU; an encrypted payload stays so (`decrypt`). Raises PduError."""
    whole = fields(one(octets, 0x30))
    header = fields(need(whole, 0xA1))
    key = (header.get(0x80), header.get(0x81), header.get(0x82), header.get(0xA3))
    who = _KNOWN.get(key)
    if who is None:
        who = _who(header)
        if len(_KNOWN) >= _MOST_KNOWN:
            _KNOWN.clear()
        _KNOWN[key] = who
    payload = _payload(need(whole, 0xA2))
    return PsPdu(
        octets,
        who.version,
        who.liid,
        who.authorisation_country,
        who.operator,
        who.element,
        who.cin,
        who.delivery_country,
        unsigned(need(header, 0x84), MOST),
        _time(header, 0x85, 0xA7),
        _optional(header, 0x88),
        text(header[0x86]) if 0x86 in header else "",
        payload.iri,
        payload.cc,
        payload.tri,
        payload.tri_octets,
        payload.encrypted,
    )


def _who(header: dict[int, bytes]) -> _Who:
    domain = need(header, 0x80)
    if not 1 <= len(domain) - len(DOMAIN) <= 2 or not domain.startswith(DOMAIN):
        raise PduError("names another domain")
    high, low = (domain[-2] & 0x7F if len(domain) > len(DOMAIN) + 1 else 0), domain[-1]
    identifier = fields(need(header, 0xA3))
    network = fields(need(identifier, 0xA0))
    liid = need(header, 0x81)
    if not 1 <= len(liid) <= 25:
        raise PduError("has no LIID")
    return _Who(
        version=high << 7 | low,
        liid=liid,
        authorisation_country=text(header.get(0x82, b"")),
        operator=need(network, 0x80),
        element=network.get(0x81, b""),
        cin=unsigned(identifier[0x81], MOST) if 0x81 in identifier else None,
        delivery_country=text(identifier.get(0x82, b"")),
    )


def decrypt(pdu: PsPdu, key: bytes | bytearray) -> PsPdu:
    """Its payload in clear; `octets` stay what came.

    Raises PduError when the key does not open it or the algorithm is not known here, InputError for a key of another
    length.
    """
    sealed = pdu.encrypted
    if sealed is None:
        return pdu
    try:
        algorithm = encryption.Algorithm(sealed.algorithm)
    except ValueError as error:
        raise PduError("is encrypted by an algorithm that is not known here") from error
    encryption.check_key(key, algorithm)
    if not sealed.octets or len(sealed.octets) % encryption.BLOCK:
        raise PduError("has an encrypted payload that is cut")
    plain = encryption.unseal(key, pdu.sequence, sealed.octets)
    head = read_head(plain, 0, len(plain))
    if head is None or head.tag != 0x30 or head.length is None:
        raise PduError("is not opened by this key")
    end = head.size + head.length
    if not 0 <= len(plain) - end < encryption.BLOCK or any(plain[end:]):
        raise PduError("is not opened by this key")
    inner = fields(plain[head.size : end])
    unsigned(need(inner, 0x80), _U64)
    opened = _payload(need(inner, 0xA1))
    if opened.encrypted is not None:
        raise PduError("is encrypted twice")
    return replace(pdu, iri=opened.iri, cc=opened.cc, tri=opened.tri, tri_octets=opened.tri_octets, encrypted=None)


def byte_counter(pdu: PsPdu, key: bytes | bytearray) -> int:
    """Of an encrypted PDU. Raises PduError."""
    if pdu.encrypted is None:
        raise PduError("is not encrypted")
    decrypt(pdu, key)
    inner = next(elements(encryption.unseal(key, pdu.sequence, pdu.encrypted.octets)))
    return unsigned(need(fields(inner.contents), 0x80), _U64)


def _optional(found: dict[int, bytes], tag: int) -> int | None:
    return unsigned(found[tag], _ANY) if tag in found else None


def _time(found: dict[int, bytes], generalized: int, microseconds: int) -> int | None:
    if microseconds in found:
        parts = fields(found[microseconds])
        seconds = unsigned(need(parts, 0x80), _U64)
        return (seconds * 1_000_000 + unsigned(need(parts, 0x81), 999_999)) * 1000
    return time_ns(found[generalized]) if generalized in found else None


class _Payload(NamedTuple):
    iri: tuple[Iri, ...] = ()
    cc: tuple[Cc, ...] = ()
    tri: Tri | None = None
    tri_octets: bytes = b""
    encrypted: Encrypted | None = None


def _payload(payload: bytes) -> _Payload:
    tag, contents = choice(payload)
    match tag:
        case 0xA1:
            return _Payload(cc=tuple(map(_cc, elements(contents))))
        case 0xA0:
            return _Payload(iri=tuple(map(_iri, elements(contents))))
        case 0xA2:
            return _tri(contents)
        case 0xA4:
            found = fields(contents)
            sealed = Encrypted(unsigned(need(found, 0x80), _ANY), need(found, 0x81), _optional(found, 0x82))
            return _Payload(encrypted=sealed)
        case _:
            return _Payload()


def _sequence(element: Element) -> dict[int, bytes]:
    if element.tag != 0x30:
        raise PduError("is not built as it has to be")
    return fields(element.contents)


def _iri(element: Element) -> Iri:
    found = _sequence(element)
    iri_type, at_ns = _optional(found, 0x80), _time(found, 0x81, 0xA3)
    tag, contents = choice(need(found, 0xA2))
    if tag == 0x93:
        return Iri(iri_type, Content.THREEGPP, contents, at_ns=at_ns)
    if tag != 0xAB:
        return Iri(iri_type, Content.OTHER, contents, at_ns=at_ns)
    inner_tag, inner = choice(need(fields(contents), 0xA1))
    if inner_tag not in (0xA1, 0xA6):
        return Iri(iri_type, Content.PACKET if inner_tag == 0x80 else Content.OTHER, inner, at_ns=at_ns)
    message = fields(inner)
    return Iri(
        iri_type,
        Content.SIP if inner_tag == 0xA1 else Content.SIP_IRI_ONLY,
        need(message, 0x82),
        _address(need(message, 0xA0)),
        _address(need(message, 0xA1)),
        at_ns,
    )


def _address(contents: bytes) -> str:
    tag, value = choice(need(fields(contents), 0xA2))
    if tag == 0x82:
        return text(value)
    if tag != 0x81 or len(value) not in (4, 16):
        raise PduError("has an address that is none")
    return str(ip_address(value))


def _cc(element: Element) -> Cc:
    found = _sequence(element)
    direction, at_ns = _optional(found, 0x80), _time(found, 0x81, 0xA3)
    tag, contents = choice(need(found, 0xA2))
    if tag == 0xAC:
        media = fields(contents)
        frame = _optional(media, 0x82)
        content = Content.OTHER if frame is None else _FRAMES.get(frame, Content.OTHER)
        return Cc(direction, content, need(media, 0x81), media.get(0x83, b""), frame, at_ns)
    if tag != 0x97:
        return Cc(direction, Content.OTHER, contents, at_ns=at_ns)
    inner_tag, inner = choice(need(fields(one(contents, 0x30)), 0xA2))
    return Cc(direction, Content.PACKET if inner_tag == 0x81 else Content.THREEGPP, inner, at_ns=at_ns)


_FRAMES: Final = {0: Content.PACKET, 2: Content.RTP}


def _tri(contents: bytes) -> _Payload:
    tag, inner = choice(contents)
    return _Payload(tri=_TRI[tag], tri_octets=inner) if tag in _TRI else _Payload()


_TRI: Final = {one_of.value: one_of for one_of in Tri}
