"""From X2 and X3 to HI2 and HI3: whose it is, what of it is new, which IRI, which numbers. No I/O: it stages.

Whatever cannot be handed over is counted and told (`notices`). Nothing is dropped without a word but what came before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple
from uuid import UUID

from lawful_intercept.handover import threegpp
from lawful_intercept.handover.ps_pdu import CcKind, CcTemplate
from lawful_intercept.handover.reading import PduError
from lawful_intercept.handover.values import DataType, Direction, IriType, Qualifier
from lawful_intercept.mediation import iri_rules, sip, told
from lawful_intercept.mediation.alarms import Alarms
from lawful_intercept.mediation.correlation import Correlated, Counters, Numbers, Sessions, Sources
from lawful_intercept.mediation.iri_rules import Patience, Signal
from lawful_intercept.mediation.lines import Line, Outlet
from lawful_intercept.mediation.notices import Notices
from lawful_intercept.mediation.products import Product
from lawful_intercept.x2x3.codec import Attribute, PayloadDirection, PayloadFormat, Pdu, PduType
from nf.clock import Clock

NS: Final = 1_000_000_000
_DIRECTIONS: Final = {
    PayloadDirection.UNKNOWN: Direction.INDETERMINATE,
    PayloadDirection.TO_TARGET: Direction.TO_TARGET,
    PayloadDirection.FROM_TARGET: Direction.FROM_TARGET,
    PayloadDirection.SEVERAL: Direction.COMBINED,
    PayloadDirection.NOT_APPLICABLE: Direction.NOT_APPLICABLE,
}
_PACKETS: Final = frozenset(
    {PayloadFormat.IPV4, PayloadFormat.IPV6, PayloadFormat.ETHERNET, PayloadFormat.GTP_U, PayloadFormat.UNSTRUCTURED}
)
_IP: Final = frozenset({PayloadFormat.IPV4, PayloadFormat.IPV6})
_ENDED_KEPT_S: Final = 7 * 86_400.0
"""For which the CIN of a session that has ended is not given to another, and what comes late is still known as its."""
_FEW: Final = 4096
_NOBODY: Final = "0.0.0.0"  # noqa: S104 - an address that is not known


@dataclass(slots=True, repr=False)
class Amount:
    """Of one task, since this process began. `last_s`: seconds since the epoch, 0 = none."""

    x2_octets: int = 0
    x3_octets: int = 0
    last_s: float = 0.0


class _Route(NamedTuple):
    session: Correlated
    lines: tuple[tuple[Line, CcTemplate, int, int], ...]


@dataclass(slots=True)
class Tables:
    """What is remembered (`correlation`)."""

    sessions: Sessions
    sources: Sources
    numbers: Numbers
    counters: Counters


@dataclass(frozen=True, slots=True)
class Rules:
    """late_s  for which product that happened within its warrant's time is still taken after the warrant's end, by this
    machine's clock: it was on the way, or waited at its point
    """

    patience: Patience = field(default_factory=Patience)
    late_s: float = 300.0


class Mediator:
    """`products`: of an XID. `stage`: takes a PS-PDU for the spool of a label, and returns its number there."""

    def __init__(
        self,
        products: Callable[[bytes], tuple[Product, ...]],
        tables: Tables,
        stage: Callable[[str, bytes], int],
        *,
        alarms: Alarms,
        clock: Clock,
        rules: Rules | None = None,
    ) -> None:
        self._products = products
        self._tables = tables
        self._stage = stage
        self._clock = clock
        self._rules = rules or Rules()
        self._outlets: dict[Product, Outlet] = {}
        self._lines: dict[tuple[int, Product], Line] = {}
        self._checked: set[Line] = set()
        self._routes: dict[tuple[bytes, int, PayloadFormat, bool], _Route] = {}
        self._points: dict[tuple[bytes, int, str, tuple[tuple[int, bytes], ...]], str] = {}
        self.notices = Notices(tables.numbers, tables.counters, stage, alarms)
        self.counted = self.notices.counted
        self.amounts: dict[bytes, Amount] = {}

    # -- what is tasked ---------------------------------------------------------------------------------------------

    def equip(self, outlets: Iterable[Outlet]) -> None:
        """Of a task's products, before any of it is taken."""
        self._outlets |= {outlet.product: outlet for outlet in outlets}

    def strip(self, xid: UUID, *, forget: bool) -> None:
        """A task's outlets are others now, or none: what was delivered is checked. `forget`: its sessions too."""
        now_ns = self._now_ns()
        for key in [key for key in self._lines if key[1].xid == xid]:
            line = self._lines.pop(key)
            line.close(now_ns)
            self._checked.discard(line)
        self._outlets = {product: one for product, one in self._outlets.items() if product.xid != xid}
        self._routes.clear()
        if forget:
            tables = self._tables
            tables.sessions.forget(xid.bytes)
            tables.sources.forget(xid.bytes)
            self.amounts.pop(xid.bytes, None)

    # -- what is delivered ------------------------------------------------------------------------------------------

    def take(self, peer: str, pdus: Sequence[Pdu]) -> None:
        """Of one point, in its order. What it makes is staged when this returns."""
        now, now_ns = self._clock.monotonic(), self._now_ns()
        counted, changed = self.counted, self._tables.counters.changed
        for pdu in pdus:
            products = self._products(pdu.xid)
            if not products:
                self.notices.unknown()
                continue
            stamp_ns = pdu.timestamp_ns
            at_ns = now_ns if stamp_ns is None else stamp_ns
            source = self._tables.sources.of(products[0].xid.bytes, pdu.kind, self._point(peer, pdu))
            verdict = source.take(pdu.sequence, at_ns, changed)
            if not verdict.fresh:
                counted.duplicates += 1
                continue
            counted.taken += 1
            if verdict.missing != 0:
                self.notices.missing(pdu.kind, products, verdict.missing, now_ns)
            if pdu.kind is PduType.X3:
                self._content(pdu, products, at_ns, now, now_ns, timed=stamp_ns is not None)
            else:
                self._signalling(pdu, products, at_ns, now, now_ns, timed=stamp_ns is not None)

    def _content(
        self, pdu: Pdu, products: tuple[Product, ...], at_ns: int, now: float, now_ns: int, *, timed: bool
    ) -> None:
        route = self._routes.get((pdu.xid, pdu.correlation, pdu.form, timed))
        if route is None:
            found = self._route(pdu, products, now, timed=timed)
            if found is None:
                return
            route = found
        session = route.session
        session.heard = now
        if not session.media:
            session.media = True
            self._tables.sessions.changed(session)
        octets, direction = pdu.payload, _DIRECTIONS[pdu.direction]
        for line, template, start_ns, end_ns in route.lines:
            if not start_ns <= at_ns < end_ns or now_ns - end_ns > self._late_ns:
                self.notices.outside(line.product)
                continue
            line.put(template.encode(line.sequence, at_ns, direction, octets), now_ns)
            if line.unhashed is not None:
                self._checked.add(line)
        self._amount(products[0].xid).x3_octets += len(octets)

    def _route(self, pdu: Pdu, products: tuple[Product, ...], now: float, *, timed: bool) -> _Route | None:
        session = self._tables.sessions.of(products[0].xid.bytes, pdu.correlation, now)
        if pdu.form is PayloadFormat.RTP:
            kind = CcKind.RTP
        elif pdu.form in _PACKETS:
            kind = CcKind.IP if session.kind == "sip" and pdu.form in _IP else CcKind.UPF
        else:
            self.notices.unreadable(pdu.kind, products, "content of a form that has no place in HI3", self._now_ns())
            return None
        qualifier = Qualifier.INTERCEPTION if timed else Qualifier.MEDIATION
        lines = [self._line(product, session) for product in products if product.kind is DataType.CC]
        route = _Route(
            session,
            tuple((one, one.content(kind, qualifier), one.product.start_ns, one.product.end_ns) for one in lines),
        )
        self._routes[pdu.xid, pdu.correlation, pdu.form, timed] = route
        return route

    def _signalling(
        self, pdu: Pdu, products: tuple[Product, ...], at_ns: int, now: float, now_ns: int, *, timed: bool
    ) -> None:
        session = self._tables.sessions.of(products[0].xid.bytes, pdu.correlation, now)
        xiri, message = b"", pdu.payload
        if pdu.form is PayloadFormat.SIP:
            session, kind = self._sip(session, pdu, now)
        elif pdu.form is PayloadFormat.PROPRIETARY and pdu.attribute(Attribute.PROPRIETARY) == told.OWNER:
            if not told.ends_call(pdu.payload):
                self.notices.inform(products, told.text(pdu.payload), now_ns)
                return
            kind, session.rules = iri_rules.step(session.rules, Signal.GONE)
            if kind is not IriType.END:
                return
            message = b""
        elif pdu.form is PayloadFormat.TS_33_128:
            try:
                kind = told.iri_type(pdu.payload)
            except PduError:
                self.notices.unreadable(pdu.kind, products, "an event of the 5G core that cannot be read", now_ns)
                return
            session, kind = self._event(session, kind, now, call=told.is_call(pdu.payload))
            xiri = pdu.payload
        else:
            self.notices.unreadable(pdu.kind, products, "signalling of a form that has no place in HI2", now_ns)
            return
        session.heard = now
        self._tables.sessions.changed(session)
        qualifier = Qualifier.INTERCEPTION if timed else Qualifier.MEDIATION
        self._iri(session, products, kind, (at_ns, now_ns), qualifier, message=message, xiri=xiri)
        self._amount(products[0].xid).x2_octets += len(pdu.payload)

    def _sip(self, session: Correlated, pdu: Pdu, now: float) -> tuple[Correlated, IriType]:
        addresses = pdu.addresses
        try:
            message = sip.read(pdu.payload)
        except sip.SipError:
            kind = IriType.REPORT
        else:
            if not pdu.correlation:
                kind = IriType.REPORT
            else:
                if iri_rules.begins_anew(session.rules, message):
                    session = self._anew(session, now)
                kind, session.rules = iri_rules.sip_step(session.rules, message)
        session.kind = "sip"
        session.addresses = str(addresses.source or _NOBODY), str(addresses.destination or _NOBODY)
        return session, kind

    def _event(self, session: Correlated, said: IriType, now: float, *, call: bool) -> tuple[Correlated, IriType]:
        if not session.correlation:
            return session, IriType.REPORT
        if iri_rules.event_begins_anew(session.rules, said):
            session = self._anew(session, now)
        kind, session.rules = iri_rules.event_step(session.rules, said)
        session.kind = "sip" if call else "5g"
        return session, kind

    def _anew(self, session: Correlated, now: float) -> Correlated:
        """Under the number of one that has ended."""
        self._drop_lines(session)
        return self._tables.sessions.anew(session.xid, session.correlation, now)

    def _drop_lines(self, session: Correlated) -> None:
        now_ns = self._now_ns()
        for key in [key for key in self._lines if key[0] == session.cin]:
            line = self._lines.pop(key)
            line.close(now_ns)
            self._checked.discard(line)
        for route in [key for key, one in self._routes.items() if one.session is session]:
            del self._routes[route]

    def _iri(
        self,
        session: Correlated,
        products: tuple[Product, ...],
        kind: IriType,
        times: tuple[int, int],
        qualifier: Qualifier,
        *,
        message: bytes = b"",
        xiri: bytes = b"",
    ) -> None:
        at_ns, now_ns = times
        source, destination = session.addresses
        for product in products:
            if product.kind is not DataType.IRI:
                continue
            if not product.covers(at_ns) or now_ns - product.end_ns > self._late_ns:
                self.notices.outside(product)
                continue
            line = self._line(product, session)
            template = line.signalling()
            if xiri:
                payload = threegpp.iri_from_xiri(xiri, product.targets)
                pdu = template.threegpp(line.sequence, at_ns, kind, payload, qualifier=qualifier)
            else:
                octets = sip.without_content(message) if product.iri_only else message
                pdu = template.sip(
                    line.sequence, at_ns, kind, source, destination, octets, product.iri_only, qualifier=qualifier
                )
            line.put(pdu, now_ns)
            if line.unhashed is not None:
                self._checked.add(line)

    def _line(self, product: Product, session: Correlated) -> Line:
        found = self._lines.get((session.cin, product))
        if found is None:
            tables = self._tables
            found = self._lines[session.cin, product] = Line(
                self._outlets[product], session, tables.sessions, tables.counters.changed, self._stage
            )
        return found

    def line_of(self, product: Product, cin: int) -> Line | None:
        """Of a session that is known: for PDUs of before a restart that no check covers."""
        session = next((one for one in self._tables.sessions.all() if one.cin == cin), None)
        return None if session is None else self._line(product, session)

    def covered_again(self, line: Line) -> None:
        if line.unhashed is not None:
            self._checked.add(line)

    # -- what time brings -------------------------------------------------------------------------------------------

    def tick(self) -> None:
        """Integrity checks that are due, and sessions that have fallen silent; to be called about twice a second."""
        now_ns, now = self._now_ns(), self._clock.monotonic()
        for line in [line for line in self._checked if (line.next_due_ns or now_ns + 1) <= now_ns]:
            line.due(now_ns)
        self._checked = {line for line in self._checked if line.next_due_ns is not None}
        for session in self._tables.sessions.all():
            patience = self._rules.patience.of(session.rules, media=session.media) if session.kind == "sip" else None
            if patience is not None and now - session.heard >= patience:
                self._fell_silent(session, now_ns)
        self._tables.sessions.retire(lambda one: now - one.heard < _ENDED_KEPT_S)

    def holds(self) -> Mapping[str, int]:
        """By label: the first record of a spool that no integrity check covers yet."""
        found: dict[str, int] = {}
        for line in self._checked:
            if line.unhashed is not None:
                found[line.label] = min(line.unhashed, found.get(line.label, line.unhashed))
        return found

    def _fell_silent(self, session: Correlated, now_ns: int) -> None:
        """No BYE, no media, no answer: it is told as ended, by an End that holds no message."""
        kind, session.rules = iri_rules.step(session.rules, Signal.GONE)
        self._tables.sessions.changed(session)
        self._iri(session, self._products(session.xid), kind, (now_ns, now_ns), Qualifier.MEDIATION)

    # -- within -----------------------------------------------------------------------------------------------------

    def _amount(self, xid: UUID) -> Amount:
        found = self.amounts.get(xid.bytes)
        if found is None:
            found = self.amounts[xid.bytes] = Amount()
        found.last_s = self._clock.now()
        return found

    def _point(self, peer: str, pdu: Pdu) -> str:
        """Who numbers this PDU: the element and, where it says so, its function and point."""
        key = (pdu.xid, pdu.kind, peer, pdu.others)
        found = self._points.get(key)
        if found is None:
            parts = (pdu.attribute(6) or b"", pdu.attribute(7) or b"")
            found = "/".join((peer, *(part.hex() for part in parts)))
            if len(self._points) >= _FEW:
                self._points.clear()
            self._points[key] = found
        return found

    def _now_ns(self) -> int:
        return int(self._clock.now() * NS)

    @property
    def _late_ns(self) -> int:
        return int(self._rules.late_s * NS)
