"""All that one task has at one observation point: its orders there, and what becomes X2 and X3 of their deliveries.

A target that a task names twice is two orders here and one product: what both of them tell is told once.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from lawful_intercept.points.events import Signalling
from lawful_intercept.points.identities import Sought
from lawful_intercept.x2x3.attributes import point_attributes, target_attributes
from lawful_intercept.x2x3.codec import PayloadDirection, PayloadFormat, PduType, Template, x2_template, x3_template
from nf.contracts.interception import Content, ContentForm, Direction, Event, EventKind, IdentityKind

FORMS: Final = {
    ContentForm.IPV4: PayloadFormat.IPV4,
    ContentForm.IPV6: PayloadFormat.IPV6,
    ContentForm.RTP: PayloadFormat.RTP,
    ContentForm.OTHER: PayloadFormat.UNSTRUCTURED,
}
DIRECTIONS: Final = {
    Direction.FROM_TARGET: PayloadDirection.FROM_TARGET,
    Direction.TO_TARGET: PayloadDirection.TO_TARGET,
    Direction.UNKNOWN: PayloadDirection.UNKNOWN,
}
TEMPLATES: Final = 1024
"""Sessions of a task whose headers are kept; the oldest go first, and are made again."""
REMEMBERED: Final = 8192
"""Deliveries of a task by which another order's are known to be the same."""
_US: Final = 1_000_000
_THERE: Final = frozenset({EventKind.SESSION_BEGIN, EventKind.SESSION_STANDING, EventKind.REGISTRATION_STANDING})


@dataclass(frozen=True, slots=True, repr=False)
class Place:
    """What a point puts into the attributes of all it delivers.

    element   network function (attribute 6)
    name      interception point (attribute 7)
    here      where the function listens, for the destination of what came to it; None: not known
    """

    element: str
    name: str
    here: tuple[IPv4Address | IPv6Address, int] | None = None


class Products:
    """`xid`: 16 octets, that of the task or of its product; `correlation`: what all of it carries, where X1 says so.

    `take`: the next sequence number of X2 or X3. `before`: what this follows, the task being another one now: what is
    known of sessions goes on. `following`: orders that are told of a session, by its number.
    """

    def __init__(
        self,
        place: Place,
        xid: bytes,
        orders: Mapping[str, Sought],
        take: Callable[[PduType], int],
        correlation: int | None = None,
        *,
        before: Products | None = None,
    ) -> None:
        self._xid, self._orders, self._take = xid, dict(orders), take
        self._correlation = correlation
        self._common = point_attributes(place.element, place.name)
        known: Mapping[str, Signalling] = before.signalling if before is not None else {}
        self.signalling: Mapping[str, Signalling] = {
            name: known.get(name) or Signalling(sought, place.here) for name, sought in self._orders.items()
        }
        self._templates: OrderedDict[tuple[str, int, ContentForm], Template] = OrderedDict()
        self._first: OrderedDict[Hashable, str] = OrderedDict()
        told = before.following if before is not None else {}
        self.following: OrderedDict[int, set[str]] = OrderedDict(
            (session, orders & self._orders.keys()) for session, orders in told.items()
        )

    def event(self, event: Event) -> list[bytes]:
        """X2 PDUs, in order."""
        signalling = self.signalling.get(event.reference)
        if signalling is None or self._told(event):
            return []
        at_ns = round(event.at * _US) * 1000  # finer than that a float has no time
        found = []
        try:
            payloads = list(signalling.payloads(event))
        except Exception:
            self._take(PduType.X2)  # it is missing
            raise
        for one in payloads:
            template = x2_template(self._xid, self._session(event.session), one.form, (*self._common, *one.attributes))
            found.append(template.encode(self._take(PduType.X2), at_ns, one.direction, one.octets))
        return found

    def content(self, content: Content) -> bytes | None:
        """An X3 PDU."""
        key = (content.reference, content.session, content.form)
        template = self._templates.get(key)
        if template is None:
            template = self._template(key)
            if template is None:
                return None
        if len(self._orders) > 1:
            packet = (content.session, content.at_ns, hash(content.octets))
            if self._repeated(packet, content.reference):
                return None
        number = self._take(PduType.X3)
        return template.encode(number, content.at_ns, DIRECTIONS[content.direction], content.octets)

    def _template(self, key: tuple[str, int, ContentForm]) -> Template | None:
        reference, session, form = key
        sought = self._orders.get(reference)
        if sought is None:
            return None
        attributes = (*self._common, *target_attributes(sought.target))
        made = self._templates[key] = x3_template(self._xid, self._session(session), FORMS[form], attributes)
        if len(self._templates) > TEMPLATES:
            self._templates.popitem(last=False)
        return made

    def _session(self, session: int) -> int:
        return session if self._correlation is None else self._correlation

    def _told(self, event: Event) -> bool:
        """By another order of this task already. That something is there may reach two orders in different words.

        A session that gives up a target's address is not over for those who have it by another identifier.
        """
        others = self._following(event)
        if len(self._orders) == 1:
            return False
        if event.kind in _THERE:
            if event.session:
                return bool(others)
            return self._repeated(json.dumps(event.details, sort_keys=True), event.reference)
        by_address = self._orders[event.reference].identity.kind is IdentityKind.UE_ADDRESS
        if event.kind is EventKind.SESSION_END and by_address and others:
            return True
        return self._repeated((event.kind, event.session, event.at, event.octets), event.reference)

    def _following(self, event: Event) -> set[str]:
        """The other orders that have been told of the session and not of its end."""
        following = self.following.setdefault(event.session, set()) if event.session else set()
        if event.kind in _THERE:
            if event.reference in following:  # without an end: the point tells anew what is there
                following.clear()
            following.add(event.reference)
        elif event.kind is EventKind.SESSION_END:
            following.discard(event.reference)
        if not following:
            self.following.pop(event.session, None)
        elif len(self.following) > REMEMBERED:
            self.following.popitem(last=False)
        return following - {event.reference}

    def _repeated(self, what: Hashable, reference: str) -> bool:
        first = self._first.setdefault(what, reference)
        if len(self._first) > REMEMBERED:
            self._first.popitem(last=False)
        return first != reference
