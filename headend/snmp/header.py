"""The head of an SNMP message, as it stands in clear: version, community or USM parameters; sans-IO.

It decides what happens to a datagram before anything expensive is done with it, and it is all that engine discovery
needs (RFC 3414 clause 4): every REPORT carries the engine's id, boots and time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from headend.snmp import ber
from headend.snmp.ber import BerError, Reader

V1, V2C, V3 = 0, 1, 3
USM_MODEL: Final = 3
AUTH_FLAG, PRIV_FLAG, REPORTABLE_FLAG = 0x01, 0x02, 0x04
GET_REQUEST, TRAP_V1, INFORM, TRAP_V2, REPORT = 0xA0, 0xA4, 0xA6, 0xA7, 0xA8
_LARGEST: Final = 65_507
_COUNT_MAX: Final = 2**31 - 1


@dataclass(frozen=True, slots=True)
class CommunityHead:
    """v1 and v2c (RFC 1901)."""

    version: int
    community: bytes
    pdu: int  # its tag


@dataclass(frozen=True, slots=True)
class UsmHead:
    """v3 with USM (RFC 3412 clause 6, RFC 3414 clause 2.4). Nothing of it is to be believed before the digest is."""

    message_id: int
    flags: int
    engine_id: bytes
    boots: int
    time_s: int
    user: bytes
    pdu: int | None  # its tag; None when it is encrypted

    @property
    def level(self) -> int:
        """1 noAuthNoPriv, 2 authNoPriv, 3 authPriv."""
        return 1 + bool(self.flags & AUTH_FLAG) + bool(self.flags & PRIV_FLAG)

    @property
    def reportable(self) -> bool:
        return bool(self.flags & REPORTABLE_FLAG)


@dataclass(frozen=True, slots=True)
class UnknownVersion:
    """A message of a version or security model that nobody here speaks."""

    version: int
    security_model: int = 0


Head = CommunityHead | UsmHead | UnknownVersion


def parse(datagram: bytes) -> Head:
    """The head of one message. Raises BerError."""
    outer = Reader.of(datagram)
    message = outer.enter()
    if outer.at != outer.end:
        raise BerError("octets after the message")
    version = message.integer()
    if version in (V1, V2C):
        community = message.octets()
        return CommunityHead(version, community, message.header()[0])
    return _parse_v3(message) if version == V3 else UnknownVersion(version)


def _parse_v3(message: Reader) -> Head:
    globals_ = message.enter()
    message_id = globals_.integer()
    globals_.integer()  # msgMaxSize: our answers are small
    flags = globals_.octets()
    model = globals_.integer()
    if len(flags) != 1:
        raise BerError("msgFlags is not one octet")
    if model != USM_MODEL:
        return UnknownVersion(V3, model)
    if flags[0] & (AUTH_FLAG | PRIV_FLAG) == PRIV_FLAG:
        raise BerError("privacy without authentication")
    length = message.expect(ber.OCTETS)
    usm = Reader(message.data, message.at, message.at + length).enter()
    message.at += length
    engine_id, boots, time_s, user = usm.octets(), usm.integer(), usm.integer(), usm.octets()
    if not (0 <= boots <= _COUNT_MAX and 0 <= time_s <= _COUNT_MAX):
        raise BerError("engine boots or time out of range")
    pdu = None if flags[0] & PRIV_FLAG else _pdu_tag(message)
    return UsmHead(message_id, flags[0], engine_id, boots, time_s, user, pdu)


def _pdu_tag(message: Reader) -> int:
    scoped = message.enter()
    scoped.octets()
    scoped.octets()
    return scoped.header()[0]


def discovery_request(message_id: int) -> bytes:
    """An unauthenticated, empty GET to no engine: whoever gets it answers with a REPORT (RFC 3414 clause 4)."""
    empty = ber.element(ber.OCTETS)
    usm = ber.element(ber.SEQUENCE, empty, ber.integer(0), ber.integer(0), empty, empty, empty)
    pdu = ber.element(GET_REQUEST, ber.integer(message_id), ber.integer(0), ber.integer(0), ber.element(ber.SEQUENCE))
    head = ber.element(
        ber.SEQUENCE,
        ber.integer(message_id),
        ber.integer(_LARGEST),
        ber.element(ber.OCTETS, bytes((REPORTABLE_FLAG,))),
        ber.integer(USM_MODEL),
    )
    scoped = ber.element(ber.SEQUENCE, empty, empty, pdu)
    return ber.element(ber.SEQUENCE, ber.integer(V3), head, ber.element(ber.OCTETS, usm), scoped)
