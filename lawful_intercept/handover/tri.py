"""Transport related information: keep-alives, flags, options, acknowledgements, messages (ETSI TS 102 232-1). Pure.

pDUAcknowledgement is the protocol's only confirmation of delivery. Whoever delivers asks for it when a connection
begins (`option_request`, answered, `option_complete`); then each `acknowledgement_request` is answered when all that
came before it on this connection is stored, by a PDU with the request's own header.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import Final

from lawful_intercept.handover.ber import integer, tlv
from lawful_intercept.handover.decoder import PsPdu, Tri
from lawful_intercept.handover.encryption import PayloadCipher
from lawful_intercept.handover.reading import elements, fields, need, unsigned
from lawful_intercept.handover.values import DataType, Header, Qualifier, check_cin, make_pdu
from nf.errors import InputError

LINK_LIID: Final = b"-"
"""LIID of what belongs to a connection and to no interception, where an agency does not ask for another."""
ACKNOWLEDGEMENT: Final = 0x80
"""Tag of the option pDUAcknowledgement."""


class Priority(IntEnum):
    """ERROR: what harms intercepted data; INFORMATIONAL: what does not."""

    ERROR = 1
    INFORMATIONAL = 2


def information(
    header: Header,
    cin: int | None,
    sequence: int,
    at_ns: int | None,
    tri: Tri,
    *contents: bytes,
    qualifier: Qualifier = Qualifier.INTERCEPTION,
) -> bytes:
    """A PS-PDU with any transport information; `contents` of it, without its tag."""
    return make_pdu(header, cin, sequence, at_ns, tlv(0xA2, tlv(tri.value, *contents)), qualifier=qualifier)


def answer(request: PsPdu, tri: Tri, *contents: bytes) -> bytes:
    """A PS-PDU with the request's header as it came, number and time included. Raises PduError."""
    (whole,) = elements(request.octets)
    header = need(fields(whole.contents), 0xA1)
    return tlv(0x30, tlv(0xA1, header), tlv(0xA2, tlv(0xA2, tlv(tri.value, *contents))))


def keep_alive(header: Header, sequence: int, at_ns: int) -> bytes:
    """On an idle connection; `sequence`: the connection's own counter."""
    return information(header, None, sequence, at_ns, Tri.KEEP_ALIVE)


def keep_alive_response(header: Header, sequence: int, at_ns: int) -> bytes:
    """Of one who does not repeat the request's header; `answer` does."""
    return information(header, None, sequence, at_ns, Tri.KEEP_ALIVE_RESPONSE)


def segment_flag(header: Header, cin: int, sequence: int, *, first: bool) -> bytes:
    """firstSegmentFlag or lastSegmentFlag; it has no time."""
    return information(header, check_cin(cin), sequence, None, Tri.FIRST_SEGMENT if first else Tri.LAST_SEGMENT)


def cin_reset(header: Header, cin: int, sequence: int, at_ns: int) -> bytes:
    """Before a LIID and CIN are used again whose counters were lost."""
    return information(header, check_cin(cin), sequence, at_ns, Tri.CIN_RESET, qualifier=Qualifier.MEDIATION)


def operator_message(
    header: Header,
    cin: int | None,
    sequence: int,
    at_ns: int,
    priority: Priority,
    *,
    message: str,
    cipher: PayloadCipher | None = None,
) -> bytes:
    """`message`: 1 to 255 octets of UTF-8. With `cipher` it is encrypted, among IRI. Raises InputError."""
    text = message.encode()
    if not 1 <= len(text) <= 255:
        raise InputError("a message to the agency has no or too many octets", remedy="write 1 to 255")
    payload = tlv(0xA2, tlv(Tri.OPERATOR_MESSAGE.value, integer(0x80, priority), tlv(0x81, text)))
    if cipher is not None:
        payload = cipher.container(DataType.IRI, sequence, payload, 1)
    pdu = make_pdu(header, cin, sequence, at_ns, payload, qualifier=Qualifier.MEDIATION)
    if cipher is not None:
        cipher.sent(DataType.IRI, len(pdu))
    return pdu


def read_operator_message(pdu: PsPdu) -> tuple[int, str]:
    """(priority, message). Raises PduError."""
    found = fields(pdu.tri_octets)
    return unsigned(need(found, 0x80), 255), need(found, 0x81).decode(errors="replace")


def option_request(header: Header, sequence: int, at_ns: int) -> bytes:
    """Asks for pDUAcknowledgement."""
    return information(header, None, sequence, at_ns, Tri.OPTION_REQUEST, tlv(0xA0, tlv(ACKNOWLEDGEMENT)))


def option_response(request: PsPdu, accepted: Sequence[int]) -> bytes:
    """Accepts those asked for that stand in `accepted` (tags) and declines the others. Raises PduError."""
    asked = list(elements(need(fields(request.tri_octets), 0xA0)))
    yes = tlv(0xA0, *(tlv(one.tag, one.contents) for one in asked if one.tag in accepted))
    no = tlv(0xA1, *(tlv(one.tag, one.contents) for one in asked if one.tag not in accepted))
    return answer(request, Tri.OPTION_RESPONSE, yes, no)


def accepted_options(response: PsPdu) -> tuple[int, ...]:
    """Tags of an optionResponse's accepted ones. Raises PduError."""
    return tuple(one.tag for one in elements(need(fields(response.tri_octets), 0xA0)))


def option_complete(header: Header, sequence: int, at_ns: int) -> bytes:
    """Options are settled: what is delivered follows."""
    return information(header, None, sequence, at_ns, Tri.OPTION_COMPLETE)


def acknowledgement_request(header: Header, sequence: int, at_ns: int) -> bytes:
    """Is all before this stored? `sequence`: the connection's own counter, which the answer repeats."""
    return information(header, None, sequence, at_ns, Tri.ACKNOWLEDGEMENT_REQUEST)


def acknowledgement_response(request: PsPdu) -> bytes:
    """It is. Raises PduError."""
    return answer(request, Tri.ACKNOWLEDGEMENT_RESPONSE)
