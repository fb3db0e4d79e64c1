"""SIP messages as IRI and media as CC (ETSI TS 102 232-5 annex A, module IPMultimediaPDU version 17). Pure."""

from __future__ import annotations

from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from lawful_intercept.handover.ber import integer, tlv
from nf.errors import InputError

IRI_OBJECT: Final = b"\x05\x05\x11\x01"
CC_OBJECT: Final = b"\x05\x05\x11\x02"
"""RELATIVE-OIDs: 5.5.17.1 and 5.5.17.2."""
_NOT_KNOWN: Final = tlv(0x83, b"\x03")
_WHOLE_IPV6: Final = integer(0x84, 128)


class FrameType(IntEnum):
    """What mMCCContents starts with."""

    IP = 0
    UDP = 1
    RTP = 2
    AUDIO = 3
    TCP = 4
    ARTIFICIAL_RTP = 5
    UDPTL = 6
    MSRP = 7


def address(value: str) -> bytes:
    """The contents of an IPAddress, binary. Raises InputError."""
    try:
        parsed: IPv4Address | IPv6Address = ip_address(value)
    except ValueError as error:
        raise InputError("an address of a SIP message is not one", remedy="give an IPv4 or IPv6 address") from error
    kind = tlv(0x81, b"\x00" if parsed.version == 4 else b"\x01")
    prefix = b"" if parsed.version == 4 else _WHOLE_IPV6
    return kind + tlv(0xA2, tlv(0x81, parsed.packed)) + _NOT_KNOWN + prefix


def sip_iri(source: str, destination: str, octets: bytes, *, iri_only: bool) -> bytes:
    """iPMMIRI with a SIP message. `iri_only`: where CC may not be handed over, whose body the caller has reduced."""
    message = tlv(
        0xA6 if iri_only else 0xA1, tlv(0xA0, address(source)), tlv(0xA1, address(destination)), tlv(0x82, octets)
    )
    return tlv(0xAB, tlv(0x80, IRI_OBJECT), tlv(0xA1, message))


def cc_end(frame: FrameType, stream: bytes) -> bytes:
    """What of an iPMMCC stands after the packet."""
    identifier = tlv(0x83, stream) if stream else b""
    return integer(0x82, frame) + identifier + b"\x84\x01\x00"


def media_cc(frame: FrameType, octets: bytes, stream: bytes) -> bytes:
    """iPMMCC with one packet; mMCCprotocol RTP."""
    return tlv(0xAC, tlv(0x80, CC_OBJECT), tlv(0x81, octets), cc_end(frame, stream))
