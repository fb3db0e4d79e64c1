"""Numbers and the header of PS-PDUs (ETSI TS 102 232-1 clause 5). Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, Literal

from lawful_intercept.handover.ber import arc, generalized_time, integer, split_time, tlv
from nf.errors import InputError

TimeForm = Literal["microseconds", "generalized"]
MOST: Final = 0xFFFF_FFFF
"""Sequence numbers and CINs have 32 bits."""
DOMAIN: Final = b"\x04\x00\x02\x02\x05\x01"
"""0.4.0.2.2.5.1; the version of the module follows as the last arc."""
MOST_VERSION: Final = 1 << 14
_PRINTABLE: Final = re.compile(r"[A-Za-z0-9 '()+,./:=?-]{1,8}")
_COUNTRY: Final = re.compile(r"[A-Z]{2}")


class IriType(IntEnum):
    """Clause 5.2.10."""

    BEGIN = 1
    END = 2
    CONTINUE = 3
    REPORT = 4


class Direction(IntEnum):
    """payloadDirection of HI2 and HI3; X2 and X3 number it in another way."""

    FROM_TARGET = 0
    TO_TARGET = 1
    INDETERMINATE = 2
    COMBINED = 3
    NOT_APPLICABLE = 4


class Qualifier(IntEnum):
    """What the header's time is the time of."""

    UNKNOWN = 0
    INTERCEPTION = 1
    MEDIATION = 2
    AGGREGATION = 3


class CcKind(IntEnum):
    """What one CC holds: a call's RTP packet or whole IP packet (TS 102 232-5), or a UPF's packet (TS 33.128)."""

    RTP = 0
    IP = 1
    UPF = 2


class DataType(IntEnum):
    """Sequence numbers, integrity checks and byte counters are separate for these."""

    IRI = 1
    CC = 2


def check_cin(cin: int) -> int:
    """Raises InputError."""
    if not 0 <= cin <= MOST:
        raise InputError("the CIN does not fit a PS-PDU", remedy="give a number of 32 bits")
    return cin


@dataclass(frozen=True, slots=True, repr=False)
class Header:
    """What every PS-PDU of one LIID towards one agency says of itself. Raises InputError for what the standard forbids.

    liid        1 to 25 octets
    operator    operatorIdentifier, 1 to 16 octets; `element`: networkElementIdentifier, 0 (left out) to 16
    version     of the module LI-PS-PDU that the object identifier names: what the agency's decoder knows
    time_form   microSecondTimeStamp or GeneralizedTime
    point       interceptionPointID, up to 8 characters; left out when empty
    """

    liid: bytes
    authorisation_country: str
    operator: bytes
    element: bytes
    delivery_country: str
    version: int = 17
    time_form: TimeForm = "microseconds"
    point: str = ""

    def __post_init__(self) -> None:
        if not 1 <= len(self.liid) <= 25:
            raise InputError("the LIID does not fit a PS-PDU", remedy="give 1 to 25 octets")
        for country in (self.authorisation_country, self.delivery_country):
            if _COUNTRY.fullmatch(country) is None:
                raise InputError("a country code of a PS-PDU is not one", remedy="write two capital letters (ISO 3166)")
        if not 1 <= len(self.operator) <= 16 or len(self.element) > 16:
            raise InputError("operator or element identifier does not fit a PS-PDU", remedy="give 1 to 16 octets")
        if not 0 <= self.version < MOST_VERSION:
            raise InputError("there is no such version of the PS-PDU's module", remedy="give a number from 0 to 16383")
        if self.point and _PRINTABLE.fullmatch(self.point) is None:
            raise InputError("the interception point does not fit a PS-PDU", remedy="give up to 8 letters and digits")

    def opening(self, cin: int | None) -> bytes:
        """Domain, LIID, countries, network and CIN: all that stands before the sequence number."""
        return b"".join(
            (
                tlv(0x80, DOMAIN, arc(self.version)),
                tlv(0x81, self.liid),
                tlv(0x82, self.authorisation_country.encode()),
                tlv(
                    0xA3,
                    tlv(0xA0, tlv(0x80, self.operator), tlv(0x81, self.element) if self.element else b""),
                    b"" if cin is None else integer(0x81, cin),
                    tlv(0x82, self.delivery_country.encode()),
                ),
            )
        )

    def interception_point(self) -> bytes:
        """Stands before a microSecondTimeStamp and after a GeneralizedTime."""
        return tlv(0x86, self.point.encode()) if self.point else b""

    def times(self, at_ns: int | None, qualifier: Qualifier) -> bytes:
        """All that stands after the sequence number; no time when `at_ns` is None."""
        point = self.interception_point()
        if at_ns is None:
            return point
        end = integer(0x88, qualifier)
        if self.time_form == "generalized":
            return tlv(0x85, generalized_time(at_ns)) + point + end
        seconds, microseconds = split_time(at_ns)
        return point + tlv(0xA7, integer(0x80, seconds), integer(0x81, microseconds)) + end


def make_pdu(
    header: Header,
    cin: int | None,
    sequence: int,
    at_ns: int | None,
    payload: bytes,
    *,
    qualifier: Qualifier = Qualifier.INTERCEPTION,
) -> bytes:
    """A whole PS-PDU, not by a template. `payload`: the encoded Payload CHOICE with its own tag."""
    times = header.times(at_ns, qualifier)
    return tlv(0x30, tlv(0xA1, header.opening(cin), integer(0x84, sequence), times), tlv(0xA2, payload))
