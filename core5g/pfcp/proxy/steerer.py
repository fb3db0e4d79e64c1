"""Runs the classifier over all sessions: which session is looked at when, what was asked of which UPF, and the edge's
association. No I/O; what a session needs is decided in `core5g.steering.classifier.steering`.
"""

from __future__ import annotations

import heapq
import itertools
from collections import Counter
from collections.abc import Iterable
from typing import Protocol

from core5g.pfcp.association import Association, Event, Outcome, State
from core5g.pfcp.ies import Cause, FSeid, NodeId, RecoveryTimeStamp
from core5g.pfcp.proxy.documents import ProxySection
from core5g.pfcp.proxy.exchanges import FIRST_OWN, Outgoing
from core5g.pfcp.proxy.sessions import Session, SessionTable
from core5g.pfcp.proxy.stamps import Stamps
from core5g.pfcp.transactions import Answered, Peer, TimedOut, Transactions
from core5g.pfcp.wire import Header, Ie, IeType, Message, MessageType, PfcpError, decode, encode, find, grouped
from core5g.steering.classifier import steering
from core5g.steering.classifier.filters import Traffic, descriptions
from core5g.steering.classifier.rules import MAX_FARS, MAX_PDRS
from core5g.steering.classifier.steering import Effect, Operation, Wish, conclude, next_wish, sent
from nf.errors import RefusedError

WINDOW = 64
"""Requests of ours that are out at a time: thousands of sessions must not drown the SMF's own."""

T1_S, N1 = 1.0, 3
HEARTBEAT_S = 2.0
"""Shorter than the standard's: while a dead edge goes unnoticed, what goes there is lost."""

_ACCEPTED = frozenset({bytes((Cause.ACCEPTED,)), bytes((Cause.PARTIALLY_ACCEPTED,))})
_GONE = bytes((Cause.SESSION_CONTEXT_NOT_FOUND,))
_NO_ASSOCIATION = bytes((Cause.NO_ESTABLISHED_ASSOCIATION,))
_OF_ASSOCIATIONS = frozenset(
    {
        MessageType.HEARTBEAT_REQUEST,
        MessageType.ASSOCIATION_SETUP_REQUEST,
        MessageType.ASSOCIATION_RELEASE_REQUEST,
    }
)


class Owner(Protocol):
    """Whose sessions these are."""

    def changed(self, session: Session) -> None:
        """It has to be kept anew."""

    def ended_at_upf(self, session: Session, why: str) -> None:
        """The UPF no longer has it."""


class Steerer:
    """`first`: where the numbers of our requests begin; receivers remember those of an earlier life."""

    def __init__(
        self,
        section: ProxySection,
        stamps: Stamps,
        table: SessionTable,
        counters: Counter[str],
        owner: Owner,
        *,
        first: int = 0,
    ) -> None:
        self._upf = Peer(str(section.upf.address), section.port)
        self._edge = Peer(str(section.edge.n4), section.port) if section.edge is not None else None
        self._node_id = Ie(IeType.NODE_ID, NodeId(section.listen).encode())
        self._listen = section.listen
        self._versions = section.versions
        self._rules = tuple(Traffic(rule.id, rule.prefixes, rule.ports) for rule in section.rules)
        self._stamps, self._table, self._counters, self._owner = stamps, table, counters, owner
        self._transactions = Transactions(T1_S, N1, FIRST_OWN + first % 0x8_0000, counters)
        self._asked: dict[int, tuple[Session, Wish]] = {}
        self._queue: dict[Session, None] = {}
        self._later: list[tuple[float, int, Session]] = []
        self._order = itertools.count()
        features = (Ie(IeType.CP_FUNCTION_FEATURES, b"\0"),)
        self.link = Association(
            NodeId(section.listen),
            RecoveryTimeStamp(stamps.to_edge),
            features,
            heartbeat_s=HEARTBEAT_S,
        )
        if self._edge is not None and (seen := stamps.seen.get(self._edge.address)) is not None:
            self.link.peer_recovery = RecoveryTimeStamp(seen)
        self._started = self._judged = False
        self._edge_why = "not associated yet"
        self.healthy = True
        self.why = ""
        self.influences: dict[str, Traffic] = {}

    # -- what is wanted ---------------------------------------------------------------------------------------------

    @property
    def traffic(self) -> tuple[Traffic, ...]:
        return (*self._rules, *(traffic for _, traffic in sorted(self.influences.items())))

    @property
    def edge_up(self) -> bool:
        return self._edge is not None and self.link.state is State.UP

    @property
    def open(self) -> bool:
        return self.edge_up and self.healthy

    @property
    def reason(self) -> str:
        """Why nothing is steered, "" while it is."""
        if self._edge is None:
            return "no edge UPF is configured"
        if not self.edge_up:
            return f"the edge UPF is not associated ({self._edge_why})"
        return "" if self.healthy else (self.why or "the edge is not well")

    @property
    def _undecided(self) -> bool:
        """Until the edge has answered, or not, what an earlier life steered stays steered."""
        return self._edge is not None and not self._judged and self.healthy

    def wanted(self, session: Session) -> tuple[str, ...]:
        if self._undecided:
            return session.own.filters
        if not self.open:
            return ()
        names = session.whose.names()
        concerned = tuple(one for one in self.traffic if one.concerns(names))
        return descriptions(concerned, session.whose.versions() & self._versions)

    def touch(self, session: Session) -> None:
        """Have a look at it with the next `run`."""
        self._queue[session] = None

    def touch_all(self) -> None:
        self._queue.update(dict.fromkeys(self._table))

    def set_healthy(self, why: str, *, healthy: bool) -> None:
        if (self.healthy, self.why) != (healthy, why):
            was, self.healthy, self.why = self.open, healthy, why
            if self.open != was:
                self.touch_all()

    def allow_again(self) -> None:
        """Rules changed: what was refused before may do now."""
        for session in self._table:
            session.own.refused = ""
        self.touch_all()

    def has_room(self, session: Session, ies: Iterable[Ie]) -> bool:
        """Whether what the SMF creates fits beside our rules. If not, ours go away, for good."""
        own = session.own
        if not own.pdrs:
            return True
        limits = (
            (IeType.CREATE_PDR, IeType.PDR_ID, own.pdrs, MAX_PDRS),
            (IeType.CREATE_FAR, IeType.FAR_ID, own.fars, MAX_FARS),
        )
        made = {ie.type for ie in ies} & {IeType.CREATE_PDR, IeType.CREATE_FAR}
        if not made:
            return True
        book = session.opened()
        for create, name, ours, limit in limits:
            theirs = {int.from_bytes(find(grouped(ie.value), name) or b"", "big") for ie in ies if ie.type == create}
            kept = len(ours) if create == IeType.CREATE_PDR else 2
            if theirs & set(ours) or len(book.ids(create) | theirs) + kept > limit:
                own.refused = "the SMF's own rules take the room"
                self._counters["gave-way"] += 1
                self.touch(session)
                return False
        return True

    # -- doing it ---------------------------------------------------------------------------------------------------

    def run(self, now: float) -> list[Outgoing]:
        """Everything that is to be sent now."""
        if self._edge is not None:
            self._edge_says(self.link.tick(now) if self._started else self.link.start(now), now)
            self._started = True
        while self._later and self._later[0][0] <= now:
            self.touch(heapq.heappop(self._later)[2])
        while self._queue and len(self._asked) < WINDOW:
            session = next(iter(self._queue))
            del self._queue[session]
            if session.busy:
                continue
            if session.retry_at > now:
                heapq.heappush(self._later, (session.retry_at, next(self._order), session))
                continue
            if not self._advance(session, now) and session.ended and not session.own.edge and not session.expelled:
                self._over(session)
        return [Outgoing(data, peer) for data, peer in self._transactions.data_to_send()]

    def _advance(self, session: Session, now: float) -> bool:
        """Whether something was asked."""
        try:
            wish = next_wish(session, self.wanted(session), edge_up=self.edge_up or self._undecided)
            if wish is not None:
                self._send(session, wish, now)
                return True
        except RefusedError as error:
            self._refuse(session, error.message)
        except PfcpError as error:
            self._malformed(error)
            self._refuse(session, error.message)
        except Exception as error:  # noqa: BLE001 - fails open: the session goes on without steering
            self._counters["failed-open"] += 1
            self._refuse(session, f"{type(error).__name__}: {error}")
        return False

    def _refuse(self, session: Session, why: str) -> None:
        session.own.refused = why
        self._owner.changed(session)
        if session.own.pdrs or session.own.edge:
            self.touch(session)

    def _send(self, session: Session, wish: Wish, now: float) -> None:
        ies, seid = wish.ies, session.own.edge if wish.edge else session.up_seid
        if wish.operation is Operation.EDGE:
            seid = 0
            ies = (self._node_id, Ie(IeType.F_SEID, FSeid(session.key, self._listen).encode()), *wish.ies)
        to = self._edge if wish.edge and self._edge is not None else self._upf
        request = self._transactions.send(Message(wish.kind, 0, seid, ies), to, now)
        self._asked[request.seq] = (session, wish)
        sent(session, wish)
        self._owner.changed(session)
        self._counters["own-requests"] += 1

    def tell_restart(self, peer: Peer, stamp: int, now: float) -> None:
        """A heartbeat, so that the peer need not wait for one of its own to learn of a restart behind the proxy."""
        ies = (Ie(IeType.RECOVERY_TIME_STAMP, stamp.to_bytes(4, "big")),)
        self._transactions.send(Message(MessageType.HEARTBEAT_REQUEST, 0, None, ies), peer, now)

    # -- what comes of it -------------------------------------------------------------------------------------------

    def answer(self, data: bytes, peer: Peer, now: float) -> Session | None:
        """An answer to a request of ours; the session that it was about. Raises nothing."""
        answered = self._transactions.receive(data, peer)
        return self._answered(answered, now) if answered is not None else None

    def tick(self, now: float) -> None:
        for lost in self._transactions.tick(now):
            self._timed_out(lost, now)

    def _answered(self, event: Answered, now: float) -> Session | None:
        asked = self._asked.pop(event.request.seq, None)
        if asked is not None:
            session, wish = asked
            cause = event.response.find(IeType.CAUSE) or b""
            self._conclude(session, wish, _outcome(wish, cause), event.response.ies, now)
            return session
        if event.peer == self._edge:
            try:
                self._edge_says(self.link.answered(event.request, event.response, now), now)
            except PfcpError as error:
                self._malformed(error)
                self._edge_says(self.link.timed_out(event.request, now), now)
        return None

    def _timed_out(self, lost: TimedOut, now: float) -> None:
        asked = self._asked.pop(lost.request.seq, None)
        if asked is not None:
            session, wish = asked
            self._counters["unanswered-own"] += 1
            session.held = None
            self._conclude(session, wish, steering.Outcome.SILENT, (), now)
        elif lost.peer == self._edge:
            if not self._judged:
                self._judged = True
                self.touch_all()
            self._edge_says(self.link.timed_out(lost.request, now), now)

    def _conclude(
        self, session: Session, wish: Wish, outcome: steering.Outcome, ies: tuple[Ie, ...], now: float
    ) -> None:
        try:
            effect = conclude(session, wish, outcome, ies, now)
        except PfcpError as error:
            self._malformed(error)
            self._refuse(session, error.message)
            effect = Effect()
        if effect.alarm is not None:
            self._counters[effect.alarm[0]] += 1
        self._owner.changed(session)
        if effect.lost:
            self._table.end(session)
            self._owner.ended_at_upf(session, "the UPF does not know it")
        if effect.over:
            self._over(session)
            return
        self.touch(session)

    def _malformed(self, error: PfcpError) -> None:
        self._counters[f"malformed-{error.reason}"] += 1

    def _over(self, session: Session) -> None:
        self._table.drop(session)
        self._owner.changed(session)

    # -- the edge ---------------------------------------------------------------------------------------------------

    def edge_message(self, data: bytes, head: Header, now: float) -> list[Outgoing]:
        """A request of the edge UPF. Raises PfcpError."""
        if self._edge is None:
            return []
        message = decode(data)
        if message.type in _OF_ASSOCIATIONS:
            outcome = self.link.request(message, now)
            self._edge_says(outcome, now)
            return [Outgoing(encode(outcome.response), self._edge)] if outcome.response is not None else []
        if message.type is MessageType.SESSION_REPORT_REQUEST:
            session = self._table.by_key(head.seid or 0)
            ies = (Ie(IeType.CAUSE, bytes((Cause.ACCEPTED,)) if session is not None else _GONE),)
            seid = session.own.edge if session is not None else 0
            return [Outgoing(encode(Message(MessageType.SESSION_REPORT_RESPONSE, head.seq, seid, ies)), self._edge)]
        self._counters["unexpected-request"] += 1
        return []

    def _edge_says(self, outcome: Outcome, now: float) -> None:
        if self._edge is None:
            return
        for request in outcome.requests:
            self._transactions.send(request, self._edge, now)
        if self.link.peer_recovery is not None:
            self._stamps.seen[self._edge.address] = int(self.link.peer_recovery)
        if outcome.event is None:
            return
        self._judged = True
        refused = self.link.refused_with
        self._edge_why = outcome.event.value + (f" with {refused.name}" if refused is not None else "")
        if outcome.event is Event.RESTARTED:
            self._counters["edge-restarts"] += 1
            for session in self._table:
                if session.own.edge:
                    session.own.edge, session.own.out = 0, None
                    self._owner.changed(session)
        self.touch_all()

    def next_timeout(self) -> float | None:
        times = [self._transactions.next_timeout(), self.link.next_timeout() if self._edge is not None else None]
        times.append(self._later[0][0] if self._later else None)
        return min((time for time in times if time is not None), default=None)


def _outcome(wish: Wish, cause: bytes) -> steering.Outcome:
    if cause in _ACCEPTED:
        return steering.Outcome.ACCEPTED
    if cause == _GONE:
        return steering.Outcome.GONE
    if wish.edge and cause == _NO_ASSOCIATION:
        return steering.Outcome.SILENT  # it is asked again when the association stands
    return steering.Outcome.REJECTED
