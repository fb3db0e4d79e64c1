"""From an observation point's events to X2 payloads. Pure but for what it remembers of sessions.

    sip      MESSAGE                          SIP message as it came (format 9), its direction, addresses and ports
             SESSION_STANDING                 TS 33.128 startOfInterceptionForActiveIMSSession (format 2)
             SESSION_END without a message,   JSON under the attribute "proprietary" (format 4): nothing in signalling
             registrations that stand, are    says it, and no standard has a form for it
             gone or have expired
    core5g   all but MESSAGE                  TS 33.128 XIRIPayload (format 2)

Of a call, begin and change are told by its messages, and its end too where a BYE or a refusal is among them.
"""

from __future__ import annotations

import json
import re
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from lawful_intercept.points.identities import Sought, target_of
from lawful_intercept.points.xiri import active_session, xiri
from lawful_intercept.x2x3.attributes import address_attributes, target_attributes
from lawful_intercept.x2x3.codec import Attribute, Attributes, PayloadDirection, PayloadFormat
from nf.contracts.interception import Event, EventKind
from nf.contracts.json import Json

PROPRIETARY: Final = b"StreamVerse"
"""Attribute 4 of JSON payloads: {"event": kind, ...details}."""
SESSIONS: Final = 4096
"""Of one order, of which something is remembered; the longest silent go first."""

_PROTOCOLS: Final = {"udp": 17, "tcp": 6, "tls": 6, "ws": 6, "wss": 6, "sctp": 132}
_TAG: Final = re.compile(rb";[ \t]*tag[ \t]*=[ \t]*([^\s;,>]+)", re.IGNORECASE)
_STATUS: Final = re.compile(rb"SIP/2\.0 ([1-6][0-9][0-9])")
_TOLD_BY_MESSAGES: Final = frozenset({EventKind.SESSION_BEGIN, EventKind.SESSION_CHANGE})


@dataclass(frozen=True, slots=True, repr=False)
class Payload:
    """Of an X2 PDU, with those of its attributes that are the payload's."""

    form: PayloadFormat
    direction: PayloadDirection
    attributes: Attributes
    octets: bytes


@dataclass(slots=True, repr=False)
class _Call:
    """caller_is_target  None: both are, or nobody knows; `caller_tag`: of the INVITE; `closing`: signalling ended it"""

    caller_is_target: bool | None = None
    caller_tag: bytes = b""
    closing: bool = False


@dataclass(slots=True, repr=False)
class Signalling:
    """Of one order at one point. `here`: where the function itself listens, for what came to it; None: not known."""

    sought: Sought
    here: tuple[IPv4Address | IPv6Address, int] | None = None
    _calls: OrderedDict[int, _Call] = field(default_factory=OrderedDict)

    def payloads(self, event: Event) -> Iterator[Payload]:
        about = self._about(event)
        if event.kind is EventKind.MESSAGE:
            yield self._message(event, about)
        elif _of_5g(event):
            octets = xiri(event)
            if octets is not None:
                yield Payload(PayloadFormat.TS_33_128, PayloadDirection.NOT_APPLICABLE, about, octets)
        else:
            yield from self._told(event, about)

    def _about(self, event: Event) -> Attributes:
        others = (target_of(one) for one in event.identities if one != self.sought.identity)
        return target_attributes(self.sought.target, (one for one in others if one is not None))

    def _told(self, event: Event, about: Attributes) -> Iterator[Payload]:
        if event.kind is EventKind.SESSION_BEGIN:
            role = {"from-target": True, "to-target": False}.get(str(event.details.get("direction")))
            self._remember(event.session, _Call(role))
        if event.kind is EventKind.SESSION_STANDING:
            self._remember(event.session, _Call())
            octets = active_session(event.details)
            yield Payload(PayloadFormat.TS_33_128, PayloadDirection.NOT_APPLICABLE, about, octets)
            return
        # What is known of a call outlives it: the answer to its BYE comes after its end.
        call = self._calls.get(event.session) if event.kind is EventKind.SESSION_END else None
        if event.kind in _TOLD_BY_MESSAGES or (call is not None and call.closing):
            return
        text = json.dumps({"event": event.kind.value, **event.details}, ensure_ascii=False, separators=(",", ":"))
        marked = (*about, (int(Attribute.PROPRIETARY), PROPRIETARY))
        octets = text.encode(errors="replace")
        yield Payload(PayloadFormat.PROPRIETARY, PayloadDirection.NOT_APPLICABLE, marked, octets)

    def _remember(self, session: int, call: _Call) -> None:
        self._calls[session] = call
        self._calls.move_to_end(session)
        while len(self._calls) > SESSIONS:
            self._calls.popitem(last=False)

    def _message(self, event: Event, about: Attributes) -> Payload:
        head = event.octets.partition(b"\r\n\r\n")[0]
        call = self._known(event)
        direction = _direction(head, call) if event.session else _alone(head)
        if call is not None:
            self._calls.move_to_end(event.session)
            call.closing = call.closing or _closes(head)
        where = self._addresses(event.details.get("source"))
        return Payload(PayloadFormat.SIP, direction, (*where, *about), event.octets)

    def _known(self, event: Event) -> _Call | None:
        """A call's message tells who calls, whether its begin was seen here or not."""
        call = self._calls.get(event.session)
        tag = event.details.get("caller_tag")
        if event.session and isinstance(tag, str):
            if call is None:
                self._remember(event.session, call := _Call())
            if call.caller_is_target is None:
                call.caller_is_target = {"c": True, "d": False}.get(str(event.details.get("target")))
                call.caller_tag = tag.encode(errors="surrogateescape")
        return call

    def _addresses(self, source: Json) -> Attributes:
        """Source `PROTOCOL:ADDRESS:PORT`; the destination is the function itself, which has received it."""
        protocol, _, rest = str(source).partition(":")
        host, _, port = rest.rpartition(":")
        try:
            address = ip_address(host.strip("[]"))
            number = int(port)
        except ValueError:
            return ()
        if not 0 <= number <= 0xFFFF:
            return ()
        if self.here is not None and self.here[0].version == address.version:
            return address_attributes(address, self.here[0], (number, self.here[1]), _PROTOCOLS.get(protocol))
        known = Attribute.SOURCE_IPV4 if address.version == 4 else Attribute.SOURCE_IPV6
        return ((int(known), address.packed), (int(Attribute.SOURCE_PORT), number.to_bytes(2, "big")))


def _of_5g(event: Event) -> bool:
    """Its details are the 5G core's: it is about a SUPI."""
    return "supi" in event.details


def _alone(head: bytes) -> PayloadDirection:
    """Outside of a call a subscriber asks and the core answers: REGISTER."""
    return PayloadDirection.TO_TARGET if _STATUS.match(head) else PayloadDirection.FROM_TARGET


def _direction(head: bytes, call: _Call | None) -> PayloadDirection:
    """Whose side it came from: requests come from whom From names, answers from the other."""
    if call is None or call.caller_is_target is None:
        return PayloadDirection.UNKNOWN
    tag = _from_tag(head)
    request = _STATUS.match(head) is None
    if not call.caller_tag and request:
        call.caller_tag = tag  # the INVITE comes first
    if not tag or not call.caller_tag:
        return PayloadDirection.UNKNOWN
    from_caller = (tag == call.caller_tag) is request
    return PayloadDirection.FROM_TARGET if from_caller is call.caller_is_target else PayloadDirection.TO_TARGET


def _from_tag(head: bytes) -> bytes:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.strip().lower() in {b"from", b"f"}:
            match = _TAG.search(value)
            return match[1] if match else b""
    return b""


def _closes(head: bytes) -> bool:
    """A BYE: mediation tells the call's end by its answer. Who refuses one leg of a call may not have ended it."""
    return head.startswith(b"BYE ")
