"""5G product in HI2 and HI3 (3GPP TS 33.128): xIRI to IRIPayload, packets to CCPayload.

An event has the same tag and type in XIRIPayload and in IRIPayload: it is handed on as it came, so that an event of a
later release than pycrate's 16 is not lost. `read_iri` is not for several threads at once: pycrate shares its objects.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import ip_address
from typing import Any, Final

from lawful_intercept.handover.ber import integer, tlv
from lawful_intercept.handover.reading import PduError, choice, fields, need, one
from lawful_intercept.handover.values import IriType
from lawful_intercept.identifiers import TargetIdentifier
from nf.errors import InputError

CC_OBJECT: Final = bytes((4, 19, 16, 5, 4))
"""RELATIVE-OID threeGPP(4) ts33128(19) r16(16) version5(5) cC(4)."""
MOST_XIRI: Final = 65_536
"""Octets; an xIRI is some hundred."""
_XIRI, _IRI = 1, 3
_LEA_PROVIDED: Final = integer(0x82, 1)

_TYPES: Final[Mapping[int, IriType]] = {
    6: IriType.BEGIN,
    7: IriType.CONTINUE,
    8: IriType.END,
    9: IriType.BEGIN,
}
"""Of the events of a PDU session: establishment, modification, release, interception begins in an established one."""


def cc(packet: bytes) -> bytes:
    """A CCPayload with a packet that a UPF copied."""
    return tlv(0x30, tlv(0x81, CC_OBJECT), tlv(0xA2, tlv(0x81, packet)))


def iri_from_xiri(xiri: bytes, targets: Iterable[TargetIdentifier] = ()) -> bytes:
    """An IRIPayload with the event of an XIRIPayload, and those of the warrant's identifiers that TS 33.128 has.

    Raises PduError for what is no XIRIPayload.
    """
    number, event = _parts(xiri)
    named = b"".join(tlv(0x30, tlv(0xA1, one_of), _LEA_PROVIDED) for one_of in map(_identifier, targets) if one_of)
    return tlv(0x30, tlv(0x81, number[:-1], bytes((_IRI,))), tlv(0xA2, event), tlv(0xA3, named) if named else b"")


def iri_type(xiri: bytes) -> IriType:
    """What the event of an XIRIPayload is to its session; REPORT outside of one. Raises PduError."""
    tag, _ = choice(_parts(xiri)[1])
    return _TYPES.get(tag & 0x1F, IriType.REPORT) if tag <= 0xFF else IriType.REPORT


def _parts(xiri: bytes) -> tuple[bytes, bytes]:
    """(the module's number, the event)."""
    if len(xiri) > MOST_XIRI:
        raise PduError("holds an xIRI that is longer than any can be")
    found = fields(one(xiri, 0x30))
    number, event = need(found, 0x81), need(found, 0xA2)
    if len(number) != 5 or number[:2] != CC_OBJECT[:2] or number[4] != _XIRI:
        raise PduError("holds no xIRI")
    choice(event)
    return number, event


_IDENTIFIERS: Final[Mapping[str, tuple[int, ...]]] = {
    "supiimsi": (0xA1, 0x81),
    "supinai": (0xA1, 0x82),
    "imsi": (0x82,),
    "peiImei": (0xA3, 0x81),
    "peiImeisv": (0xA3, 0x82),
    "imei": (0x84,),
    "gpsiMsisdn": (0xA5, 0x81),
    "gpsiNai": (0xA5, 0x82),
    "e164Number": (0x86,),
    "nai": (0x87,),
    "ipv4Address": (0x88,),
    "ipv6Address": (0x89,),
}
"""Tags of a TargetIdentifier, the outer one first, by X1's form."""


def _identifier(target: TargetIdentifier) -> bytes:
    """A TargetIdentifier of TS 33.128; empty where it has none for this form."""
    tags = _IDENTIFIERS.get(target.form)
    if tags is None:
        return b""
    made = ip_address(target.value).packed if target.form.startswith("ipv") else target.value.encode()
    for tag in reversed(tags):
        made = tlv(tag, made)
    return made


def read_iri(octets: bytes) -> tuple[str, dict[str, Any]]:
    """(the event's name, its fields) of an IRIPayload, as pycrate's release 16 has them.

    Raises InputError for what it cannot read.
    """
    from pycrate_asn1dir import LIX3GPP

    payload = LIX3GPP.TS33128Payloads.IRIPayload
    try:
        payload.from_ber(octets)
        name, value = payload.get_val()["event"]
        return str(name), dict(value)
    except Exception as error:  # pycrate raises what it happens to meet
        raise InputError("an event is of a form or release that is not known", remedy="decode it elsewhere") from error
