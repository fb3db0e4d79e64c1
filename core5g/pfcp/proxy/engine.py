"""The PFCP proxy as a whole, sans-IO: datagrams and time in; datagrams, session events and what is to be kept out.

Who sent a datagram says what it may be: an SMF of the list, the UPF, the edge UPF, or nobody whom it concerns.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

from core5g.documents import Network
from core5g.pfcp.ies import Cause, NodeId
from core5g.pfcp.proxy.documents import ProxySection
from core5g.pfcp.proxy.exchanges import FIRST_OWN, Outgoing
from core5g.pfcp.proxy.relay import ANSWERS, Relay
from core5g.pfcp.proxy.sessions import Session, SessionTable
from core5g.pfcp.proxy.stamps import Stamps
from core5g.pfcp.proxy.steerer import Steerer
from core5g.pfcp.transactions import Peer
from core5g.pfcp.wire import (
    Header,
    Ie,
    IeType,
    Message,
    MessageType,
    PfcpError,
    encode,
    find,
    group,
    grouped,
    header,
)
from core5g.steering.classifier.bearer import bearer_of
from core5g.steering.classifier.filters import Traffic
from core5g.steering.classifier.steering import forget_at_upf
from core5g.steering.destinations import covering, network_of, shown
from nf.contracts.json import JsonObject

_FOLLOW_ON = 0x04
_MAX_EVENTS = 100_000


class Proxy:
    """`wall`: seconds since the epoch, for time stamps and events; `first_seq`: see `Steerer`.

    events  what observers are told, in order; taken by `take_events`
    since   when steering last began or ended; unsaved: influences changed since they were kept
    observed  somebody takes the events
    unkept  why a restart would forget what is known now, "" while it is on disk
    """

    def __init__(
        self,
        section: ProxySection,
        wall: Callable[[], float],
        *,
        stamps: Stamps | None = None,
        sessions: Iterable[Session] = (),
        influences: Iterable[Traffic] = (),
        first_seq: int = 0,
    ) -> None:
        self.section = section
        self._wall = wall
        self.counters: Counter[str] = Counter()
        self.stamps = stamps or Stamps.begun(wall())
        self.table = SessionTable(sessions)
        self._events: list[JsonObject] = []
        self._dirty: dict[int, None] = {}
        self.last_error = ""
        self.last_refused = ""
        self._smfs = frozenset(map(str, section.smfs))
        self._upf = str(section.upf.address)
        self._edge = str(section.edge.n4) if section.edge is not None else None
        self._peers = {*self._smfs, self._upf, self._edge}
        self.relay = Relay(section, self.stamps, self.table, self, self.counters)
        self.steerer = Steerer(section, self.stamps, self.table, self.counters, self, first=first_seq)
        self.steerer.influences = {traffic.rule: traffic for traffic in influences}
        self.steerer.allow_again()
        self._nudge: list[str] = []
        self._was_open = self.steerer.open
        self.since = wall()
        self.unsaved = False
        self.observed = False
        self.unkept = ""

    # -- datagrams and time -----------------------------------------------------------------------------------------

    def receive(self, data: bytes, peer: Peer, now: float) -> list[Outgoing]:
        """A datagram, of one message or several (TS 29.244 7.2.2.2). Raises nothing, whatever the octets."""
        sending: list[Outgoing] = []
        while data:
            try:
                head = header(data)
            except PfcpError as error:
                self.counters[f"malformed-{error.reason}"] += 1
                break
            one, data = data[: head.length], data[head.length :]
            if one[0] & _FOLLOW_ON:
                one = bytes((one[0] & ~_FOLLOW_ON,)) + one[1:]
            sending += self._message(one, head, peer, now)
        return sending + self._run(now)

    def _message(self, data: bytes, head: Header, peer: Peer, now: float) -> list[Outgoing]:
        host = peer.address
        if host in self._peers:
            self.counters["messages"] += 1
        if head.type in ANSWERS and head.seq >= FIRST_OWN:
            return self._own_answer(data, peer, now)
        if host in self._smfs:
            return self.relay.from_smf(data, head, peer, now)
        if host == self._upf:
            return self.relay.from_upf(data, head, peer, now)
        if host == self._edge:
            return self._of_edge(data, head, now)
        return self._refused(head, peer)

    def _of_edge(self, data: bytes, head: Header, now: float) -> list[Outgoing]:
        try:
            return self.steerer.edge_message(data, head, now)
        except PfcpError as error:
            self.counters[f"malformed-{error.reason}"] += 1
        except Exception as error:  # noqa: BLE001 - fails open: the edge's messages are no SMF's business
            self.failed(None, error)
        return []

    def _own_answer(self, data: bytes, peer: Peer, now: float) -> list[Outgoing]:
        try:
            session = self.steerer.answer(data, peer, now)
        except Exception as error:  # noqa: BLE001 - fails open: what others sent goes on
            self.failed(None, error)
            return []
        return self._released(session, now) if session is not None else []

    def _released(self, session: Session, now: float) -> list[Outgoing]:
        """What the SMF sent meanwhile, once our rules make room."""
        sending: list[Outgoing] = []
        if session.held and not session.own.pdrs:
            held, session.held = session.held, None
            for data, peer in held:
                sending += self.relay.from_smf(data, header(data), peer, now)
        return sending

    def _refused(self, head: Header, peer: Peer) -> list[Outgoing]:
        """Whoever is not listed: a stock UPF would let it change any session."""
        self.counters["refused-peer"] += 1
        self.last_refused = peer.address
        if head.type != MessageType.ASSOCIATION_SETUP_REQUEST:
            return []
        ies = (
            Ie(IeType.NODE_ID, NodeId(self.section.listen).encode()),
            Ie(IeType.CAUSE, bytes((Cause.REJECTED,))),
            Ie(IeType.RECOVERY_TIME_STAMP, self.stamps.to_smf.to_bytes(4, "big")),
        )
        return [Outgoing(encode(Message(MessageType.ASSOCIATION_SETUP_RESPONSE, head.seq, None, ies)), peer)]

    def tick(self, now: float) -> list[Outgoing]:
        try:
            self.steerer.tick(now)
        except Exception as error:  # noqa: BLE001 - fails open: the relay goes on
            self.failed(None, error)
        self.relay.tick(now)
        return self._run(now)

    def next_timeout(self) -> float | None:
        """When `tick` has something to do."""
        return self.steerer.next_timeout()

    def _run(self, now: float) -> list[Outgoing]:
        nudge, self._nudge = self._nudge, []
        try:
            for host in nudge:
                self.steerer.tell_restart(self.relay.where[host], self.stamps.to_smf, now)
            sending = self.steerer.run(now)
        except Exception as error:  # noqa: BLE001 - fails open: what was received is sent all the same
            self.failed(None, error)
            return []
        if self.steerer.open is not self._was_open:
            self._was_open, self.since = self.steerer.open, self._wall()
        return sending

    # -- what the relay tells ---------------------------------------------------------------------------------------

    def established(self, session: Session) -> None:
        self.changed(session)
        self._tell("session-begin", session)
        self.steerer.touch(session)

    def modified(self, session: Session, ies: tuple[Ie, ...]) -> None:
        self.changed(session)
        self._tell("session-modify", session)
        for ie in ies:
            if ie.type == IeType.UPDATE_FAR:
                given = find(grouped(ie.value), IeType.UPDATE_FORWARDING_PARAMETERS)
                flags = find(grouped(given), IeType.PFCPSMREQ_FLAGS) if given is not None else None
                session.flags = flags or session.flags
        self.steerer.touch(session)

    def wiped(self, session: Session) -> None:
        self.counters["rejected-by-upf"] += 1
        forget_at_upf(session.own)
        session.own.broken = True
        self.changed(session)
        self.steerer.touch(session)

    def ended(self, session: Session, why: str) -> None:
        self.changed(session)
        self._tell("session-end", session, why)
        self.steerer.touch(session)

    def ended_at_upf(self, session: Session, why: str) -> None:
        self.counters["sessions-lost"] += 1
        self.ended(session, why)

    def has_room(self, session: Session, ies: tuple[Ie, ...]) -> bool:
        return self.steerer.has_room(session, ies)

    def report(self, session: Session, message: Message) -> bytes | None:
        """Data for an idle UE that came by the edge: the SMF knows its own PDR, not ours."""
        value = message.find(IeType.DOWNLINK_DATA_REPORT)
        ids = session.own.ids
        if value is None or ids is None:
            return None
        ours = ids.back.to_bytes(2, "big")
        members = grouped(value)
        if not any(ie.type == IeType.PDR_ID and ie.value[:2] == ours for ie in members):
            return None
        bearer = bearer_of(session.opened())
        if bearer is None:
            return None
        told: dict[Ie, None] = {}
        for ie in members:
            mine = ie.type == IeType.PDR_ID and ie.value[:2] == ours
            told[Ie(IeType.PDR_ID, bearer.downlink_pdr) if mine else ie] = None
        return group(IeType.DOWNLINK_DATA_REPORT, told).value

    def unread(self, session: Session) -> None:
        session.own.refused = "a malformed message may have changed its rules at the UPF"
        self.changed(session)
        self.steerer.touch(session)

    def failed(self, session: Session | None, error: Exception) -> None:
        """An error of ours: the message went on, the session is left as the SMF has it."""
        self.counters["failed-open"] += 1
        self.last_error = f"{type(error).__name__}: {error}"
        if session is not None:
            session.own.refused = f"an internal error: {self.last_error}"
            self.changed(session)
            self.steerer.touch(session)

    def restarted(self, smf: str | None) -> None:
        """Sessions of an SMF that restarted end at the UPF, all of them when the UPF itself did. It is passed on by the
        time stamp to the other side, but for an SMF beside which others have sessions: that would end theirs too."""
        concerned = [one for one in self.table if not one.ended and smf in {None, one.smf}]
        others = smf is not None and any(one.smf != smf and not one.ended for one in self.table)
        for session in concerned:
            self.table.end(session)
            session.expelled = others
            forget_at_upf(session.own)
            self.ended(session, "the UPF restarted" if smf is None else "the SMF restarted")
        if smf is None:
            self.stamps.pass_on_to_smf(self._wall())
            self._nudge += [host for host in sorted(self._smfs) if host in self.relay.where]
        elif not others:
            self.stamps.pass_on_to_upf(self._wall())

    # -- what the process takes -------------------------------------------------------------------------------------

    def take_events(self) -> list[JsonObject]:
        events, self._events = self._events, []
        return events

    def take_changed(self) -> list[tuple[int, Session | None]]:
        """Sessions by key, None for those that are no more."""
        changed, self._dirty = self._dirty, {}
        return [(key, self.table.by_key(key)) for key in changed]

    def standing(self) -> list[JsonObject]:
        """What an observer that comes late is told first."""
        return [
            self._event("session-begin", session) | {"standing": True} for session in self.table if not session.ended
        ]

    def influence(self, traffic: Traffic | None, name: str) -> None:
        """Traffic of its own that is steered beside the rules, or (None) no longer."""
        if traffic is None:
            self.steerer.influences.pop(name, None)
        else:
            self.steerer.influences[name] = traffic
        self.unsaved = True
        self.steerer.allow_again()

    def explain(self, ue: str, destination: str) -> JsonObject:
        """`ue`: an address or `imsi-...`; `destination`: an address, a prefix, or a name of a rule."""
        session = self.table.by_name(ue)
        if session is None:
            return {
                "exit": "unknown-ue",
                "why": f"no session of {ue} goes through this proxy",
                "rule": "",
                "cache": None,
            }
        target = network_of(destination)
        rules, part = self._named(destination) if target is None else self._about(session, target)
        rule = shown(rules)
        if not rules:
            return {"exit": "default", "why": "no rule is about this destination", "rule": "", "cache": None}
        if (why := self._not_steered(session, target)) is not None:
            return {"exit": "default", "why": why, "rule": rule, "cache": None}
        cache = self.section.answering(
            target.version if target is not None else min(session.whose.versions(), default=4)
        )
        if target is not None and part == (target,):
            return {"exit": "cache", "why": f"rule {rule} sends it to the edge UPF", "rule": rule, "cache": cache}
        of = "of it" if target is not None else f"a classifier goes by prefix: of what {destination} resolves to"
        why = f"{of} {shown(part)} is sent to the edge UPF by rule {rule}, the rest leaves by the default exit"
        return {"exit": "partly", "why": why, "rule": rule, "cache": cache}

    def _not_steered(self, session: Session, target: Network | None) -> str | None:
        """Why what a rule is about leaves by the default exit all the same."""
        if target is not None and target.version not in session.whose.versions():
            return f"its session has no IPv{target.version} address"
        if target is not None and target.version not in self.section.versions:
            return f"the cache has no IPv{target.version} address"
        if session.steered:
            return None
        return session.own.refused or self.steerer.reason or "the UPF has not taken the rules yet"

    def _named(self, name: str) -> tuple[tuple[str, ...], tuple[Network, ...]]:
        """Rules that are for the name, and the prefixes that they go by."""
        found = [rule for rule in self.section.rules if name in rule.names]
        return tuple(rule.id for rule in found), tuple(prefix for rule in found for prefix in rule.prefixes)

    def _about(self, session: Session, target: Network) -> tuple[tuple[str, ...], tuple[Network, ...]]:
        names = session.whose.names()
        return covering(target, ((one.rule, one.networks) for one in self.steerer.traffic if one.concerns(names)))

    def status(self) -> JsonObject:
        refused: Counter[str] = Counter(session.own.refused for session in self.table if session.own.refused)
        sessions = [session for session in self.table if not session.ended]
        return {
            "sessions": len(sessions),
            "steered": sum(session.steered for session in sessions),
            "open": self.steerer.open,
            "why": self.steerer.reason,
            "edge": self.steerer.link.state.value,
            "peers": {smf: smf in self.stamps.seen for smf in sorted(self._smfs)},
            "upf": self._upf in self.stamps.seen,
            "refused": {**refused},
            "influences": [*sorted(self.steerer.influences)],
            "counters": {**self.counters},
            "last_error": self.last_error,
            "last_refused": self.last_refused,
            "unkept": self.unkept,
        }

    # -- inside -----------------------------------------------------------------------------------------------------

    def changed(self, session: Session) -> None:
        self._dirty[session.key] = None

    def _tell(self, event: str, session: Session, why: str = "") -> None:
        if self.observed and len(self._events) < _MAX_EVENTS:
            self._events.append(self._event(event, session) | ({"why": why} if why else {}))

    def _event(self, event: str, session: Session) -> JsonObject:
        whose = session.whose
        return {
            "event": event,
            "supi": whose.supi,
            "ue_ip": whose.ipv4 or whose.ipv6,
            "ue_ipv6": whose.ipv6,
            "dnn": whose.dnn,
            "s_nssai": whose.s_nssai,
            "gpsi": whose.gpsi,
            "pei": whose.pei,
            "fteids": [*_fteids(session)],
            "seid": session.up_seid,
            "at": self._wall(),
        }


def _fteids(session: Session) -> list[JsonObject]:
    try:
        return session.fteids()
    except PfcpError:
        return []
