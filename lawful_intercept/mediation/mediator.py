"""From X2 and X3 to HI2 and HI3: whose it is, what of it is new, which numbers; all of content, whose path is the hot
one. Which IRI: `signalling`. No I/O: it stages.

Whatever cannot be handed over is counted and told (`notices`). Nothing is dropped without a word but what came before.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, NamedTuple
from uuid import UUID

from lawful_intercept.handover.ps_pdu import CcKind, CcTemplate
from lawful_intercept.handover.values import DataType, Direction
from lawful_intercept.isolation import place_of
from lawful_intercept.mediation.alarms import Alarms
from lawful_intercept.mediation.correlation import Correlated, Source, Tables
from lawful_intercept.mediation.iri_rules import Patience
from lawful_intercept.mediation.lines import Line, Staging
from lawful_intercept.mediation.notices import Notices
from lawful_intercept.mediation.products import Product
from lawful_intercept.mediation.signalling import Signalling, qualifier_of
from lawful_intercept.mediation.streams import Streams
from lawful_intercept.x2x3.codec import Apart, PayloadFormat, Pdu, Pdus, PduType, Row, pdu_of
from lawful_intercept.x2x3.codec import Session as Delivered
from nf.clock import Clock

NS: Final = 1_000_000_000
_DIRECTIONS: Final = (
    Direction.NOT_APPLICABLE,
    Direction.INDETERMINATE,
    Direction.TO_TARGET,
    Direction.FROM_TARGET,
    Direction.COMBINED,
    Direction.NOT_APPLICABLE,
)
"""By payloadDirection of X2 and X3."""
_PACKETS: Final = frozenset(
    {PayloadFormat.IPV4, PayloadFormat.IPV6, PayloadFormat.ETHERNET, PayloadFormat.GTP_U, PayloadFormat.UNSTRUCTURED}
)
_IP: Final = frozenset({PayloadFormat.IPV4, PayloadFormat.IPV6})
_ENDED_KEPT_S: Final = 86_400.0
"""For which the CIN of a session that has ended is not given to another, and what comes late is still known as its."""
_FLOWS: Final = 65_536
_AWAY_NS: Final = 2 * NS
"""Without media for so long, a point is no longer the one whose media are handed over."""
_SWEEP_S: Final = 5.0
_U32: Final = 0xFFFFFFFF
_NOBODY: Final = "0.0.0.0"  # noqa: S104 - an address that is not known


@dataclass(slots=True, repr=False)
class Amount:
    """Of one task, since this process began. `last_ns`: when something of it came last, since the epoch."""

    x2_octets: int = 0
    x3_octets: int = 0
    last_ns: int = 0


class _Stream(NamedTuple):
    """One product of a flow."""

    line: Line
    template: CcTemplate


class _Flow:
    """What one point delivers of one session in one form, and where it goes. One object has all that is looked at for
    each packet: with many sessions, it is not in the processor's cache any more when the next one comes.

    template  None unless it goes to one product alone, and no integrity checks follow it; then that one's counter and
              time, and what takes its PS-PDUs
    """

    __slots__ = ("amount", "counter", "end_ns", "session", "source", "staged", "start_ns", "streams", "template")

    def __init__(self, source: Source, session: Correlated, amount: Amount, streams: tuple[_Stream, ...]) -> None:
        self.source, self.session, self.amount, self.streams = source, session, amount, streams
        self.template: CcTemplate | None = None
        if len(streams) == 1 and (staged := streams[0].line.staged) is not None:
            line, self.template = streams[0]
            self.counter, self.staged = line.counter, staged
            self.start_ns, self.end_ns = line.product.start_ns, line.product.end_ns


@dataclass(frozen=True, slots=True)
class Rules:
    """late_s  for which product that happened within its warrant's time is still taken after the warrant's end, by this
    machine's clock: it was on the way, or waited at its point
    """

    patience: Patience = field(default_factory=Patience)
    late_s: float = 300.0


class Mediator:
    """`products`: of an XID. `stage_of`: what takes PS-PDUs for the spool of a label."""

    def __init__(
        self,
        products: Callable[[bytes], tuple[Product, ...]],
        tables: Tables,
        stage_of: Callable[[str], Staging],
        *,
        alarms: Alarms,
        clock: Clock,
        rules: Rules | None = None,
    ) -> None:
        self._products = products
        self._tables = tables
        self._clock = clock
        self._rules = rules or Rules()
        self.streams = Streams(tables.sessions, tables.counters, stage_of)
        self._flows: dict[Delivered | Apart, _Flow] = {}
        self._swept = clock.monotonic()
        self.notices = Notices(tables.numbers, tables.counters, stage_of, self.streams.cipher, alarms)
        self.counted = self.notices.counted
        self._signalling = Signalling(tables.sessions, self.streams, self.notices, self._late_ns, self._drop)
        self.amounts: dict[bytes, Amount] = {}

    # -- what is tasked ---------------------------------------------------------------------------------------------

    def strip(self, xid: UUID, *, forget: bool) -> None:
        """A task's outlets are others now, or none: what was delivered is checked. `forget`: its sessions too."""
        self.streams.strip(xid, self._now_ns())
        self._flows.clear()
        if forget:
            tables = self._tables
            tables.sessions.forget(xid.bytes)
            tables.sources.forget(xid.bytes)
            self.amounts.pop(xid.bytes, None)

    # -- what is delivered ------------------------------------------------------------------------------------------

    def take(self, peer: str, pdus: Pdus) -> None:
        """Of one point, in its order. What it makes is staged when this returns."""
        now_ns = self._now_ns()
        now = self._clock.monotonic()
        counted, flow_of, overdue_ns = self.counted, self._flows.get, now_ns - self._late_ns
        changed = self._tables.counters.changed
        add, ways = changed.add, _DIRECTIONS
        others = 0
        for delivered, direction, octets, sequence, stamp_ns in pdus.rows():
            flow = flow_of(delivered)
            if flow is None:
                others += 1
                self._take(peer, (delivered, direction, octets, sequence, stamp_ns), now, now_ns)
                continue
            source, session = flow.source, flow.session
            if source.value == sequence + 1 and sequence != _U32:  # the next one, as almost all are
                source.value = sequence + 2
                if stamp_ns > source.extra:  # noqa: PLR1730 - no call in this path
                    source.extra = stamp_ns
                add(source)
            else:
                verdict = source.take(sequence, stamp_ns, changed)
                if not verdict.fresh:
                    others += 1
                    counted.duplicates += 1
                    continue
                if verdict.missing != 0 and session.giver is source:
                    self.notices.missing(PduType.X3, self._products(session.xid), verdict.missing, now_ns)
            if session.giver is not source and self._elsewhere(session, source, delivered.form, stamp_ns, now_ns):
                continue
            session.given_ns = stamp_ns
            template, way = flow.template, ways[direction]
            if template is not None and flow.start_ns <= stamp_ns < flow.end_ns and flow.end_ns >= overdue_ns:
                counter = flow.counter
                number = counter.value
                made = template.encode(number & _U32, stamp_ns, way, octets)
                counter.value = number + 1
                add(counter)
                flow.staged.append(made)
            else:
                for stream in flow.streams:
                    self._hand_over(stream, octets, way, (stamp_ns, now_ns))
            session.heard = now
            amount = flow.amount
            amount.x3_octets += len(octets)
            amount.last_ns = now_ns
        counted.taken += len(pdus) - others

    def _take(self, peer: str, row: Row, now: float, now_ns: int) -> None:
        """One of which nothing is known yet, or that is no content."""
        pdu = pdu_of(row)
        products = self._products(pdu.xid)
        if not products:
            self.notices.unknown()
            return
        at_ns = now_ns if pdu.timestamp_ns is None else pdu.timestamp_ns
        point = f"{peer}/{(pdu.attribute(6) or b'').hex()}/{(pdu.attribute(7) or b'').hex()}"
        source = self._tables.sources.of(products[0].xid.bytes, pdu.kind, point)
        verdict = source.take(pdu.sequence, at_ns, self._tables.counters.changed)
        if not verdict.fresh:
            self.counted.duplicates += 1
            return
        self.counted.taken += 1
        if verdict.missing != 0:
            self.notices.missing(pdu.kind, products, verdict.missing, now_ns)
        try:
            if pdu.kind is PduType.X3:
                self._content(pdu, products, (at_ns, now_ns), now, source, row[0])
            elif self._signalling.take(pdu, products, (at_ns, now_ns), now):
                self._amount(products[0].xid, now_ns).x2_octets += len(pdu.payload)
        except Exception as error:  # noqa: BLE001 - it counts as taken: that it is lost has to be told
            self.notices.unreadable(pdu.kind, products, f"what failed here: {place_of(error)}", now_ns)

    def _content(  # noqa: PLR0917 - what `_take` has found out
        self,
        pdu: Pdu,
        products: tuple[Product, ...],
        times: tuple[int, int],
        now: float,
        source: Source,
        delivered: Delivered | Apart,
    ) -> None:
        at_ns, now_ns = times
        session = self._tables.sessions.of(products[0].xid.bytes, pdu.correlation, now)
        if pdu.form is PayloadFormat.RTP:
            kind = CcKind.RTP
        elif pdu.form in _PACKETS:
            kind = CcKind.IP if session.kind == "sip" and pdu.form in _IP else CcKind.UPF
        else:
            self.notices.unreadable(pdu.kind, products, "content of a form that has no place in HI3", now_ns)
            return
        session.heard = now
        if not session.media:
            session.media = True
            self._tables.sessions.changed(session)
        streams = []
        for product in products:
            if product.kind is DataType.CC:
                line = self.streams.line(product, session)
                template = line.content(kind, qualifier_of(pdu))
                streams.append(_Stream(line, template))
        if session.giver is source or not self._elsewhere(session, source, pdu.form, at_ns, now_ns):
            session.given_ns = at_ns
            for stream in streams:
                self._hand_over(stream, pdu.payload, _DIRECTIONS[pdu.direction], times)
        amount = self._amount(products[0].xid, now_ns)
        amount.x3_octets += len(pdu.payload)
        if isinstance(delivered, Delivered):
            if len(self._flows) >= _FLOWS:
                self._flows.clear()
            self._flows[delivered] = _Flow(source, session, amount, tuple(streams))

    def _hand_over(self, stream: _Stream, octets: bytes, direction: Direction, times: tuple[int, int]) -> None:
        (at_ns, now_ns), (line, template) = times, stream
        if not line.product.covers(at_ns) or now_ns - line.product.end_ns > self._late_ns:
            self.notices.outside(line.product)
            return
        line.put(template.encode(line.sequence, at_ns, direction, octets), now_ns)
        self.streams.check(line)

    def _elsewhere(self, session: Correlated, source: Source, form: PayloadFormat, at_ns: int, now_ns: int) -> bool:
        """Whether these media are handed over already, as another point sees the same call: each relay that it passes
        copies all of it. When that one falls silent this one follows, and what was withheld since then is told."""
        if session.giver is not None and form is PayloadFormat.RTP and at_ns - session.given_ns < _AWAY_NS:
            if session.withheld_ns != session.given_ns:
                session.withheld, session.withheld_ns = 0, session.given_ns
            session.withheld += 1
            self.counted.elsewhere += 1
            return True
        if session.withheld and session.withheld_ns == session.given_ns:
            self.notices.missing(PduType.X3, self._products(session.xid), session.withheld, now_ns)
        session.giver, session.withheld = source, 0
        return False

    def _drop(self, *sessions: Correlated) -> None:
        gone = {id(session) for session in sessions}
        for session in sessions:
            self.streams.drop(session, self._now_ns())
        self._flows = {key: flow for key, flow in self._flows.items() if id(flow.session) not in gone}

    # -- what time brings -------------------------------------------------------------------------------------------

    def tick(self) -> None:
        """Integrity checks that are due, and sessions that have fallen silent; to be called about twice a second."""
        now_ns, now = self._now_ns(), self._clock.monotonic()
        self.streams.due(now_ns)
        if now - self._swept >= _SWEEP_S:
            self._swept = now
            self._sweep(now, now_ns)

    def _sweep(self, now: float, now_ns: int) -> None:
        for session in self._tables.sessions.all():
            patience = self._rules.patience.of(session.rules, media=session.media) if session.kind == "sip" else None
            if patience is not None and now - session.heard >= patience:
                self._signalling.fell_silent(session, self._products(session.xid), now_ns)
        retired = self._tables.sessions.retire(lambda one: now - one.heard < _ENDED_KEPT_S)
        if retired:
            self._drop(*retired)

    # -- within -----------------------------------------------------------------------------------------------------

    def _amount(self, xid: UUID, now_ns: int) -> Amount:
        found = self.amounts.get(xid.bytes)
        if found is None:
            found = self.amounts[xid.bytes] = Amount()
        found.last_ns = now_ns
        return found

    def _now_ns(self) -> int:
        return int(self._clock.now() * NS)

    @property
    def _late_ns(self) -> int:
        return int(self._rules.late_s * NS)
