"""Who is wanted, what they have, and what is to be told: sans-IO.

All sessions and registrations are followed alike. An event is made for an order only, so what is of no target makes
nothing at all: no event, no count, no text.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address
from typing import TypeVar

from core5g.observation.sessions import Fteid, PduSession, Registration, comparable
from core5g.ue import UeAddress
from nf.contracts.interception import Direction, Event, EventKind, Identity, IdentityKind, Order
from nf.contracts.json import JsonObject

T = TypeVar("T")

Token = tuple[int, str]
"""An order: the caller's connection and its reference."""

Addressed = tuple[Token, Event]
Key = tuple[str, str]
"""A session: the source that tells of it and its key there."""

N4 = "n4"


@dataclass(frozen=True, slots=True, repr=False)
class Wanted:
    """Whose packets are copied: for each order, under the session's number.

    n6  by UE address; n3: by tunnel end, with the direction of what is sent to it
    """

    n6: Mapping[UeAddress, tuple[tuple[Token, int], ...]] = field(default_factory=dict)
    n3: Mapping[Fteid, tuple[tuple[Token, int, Direction], ...]] = field(default_factory=dict)


@dataclass(slots=True, repr=False)
class _Standing:
    """A session that is there. `told`: its events are told here and not at another appliance."""

    source: str
    session: PduSession
    number: int
    since: float
    told: bool

    def details(self) -> JsonObject:
        """`source`: N4 tells as it happens, an SMF's info API when it is asked next."""
        return {**self.session.details(), "source": self.source.partition(":")[0].partition("-")[0]}


@dataclass(slots=True, repr=False)
class _Subject:
    sessions: set[Key] = field(default_factory=set)
    registration: Registration | None = None
    registered_at: float = 0.0
    gpsi: set[str] = field(default_factory=set)
    pei: str = ""
    matched: set[Token] = field(default_factory=set)


class Tracker:
    """`told`: whether events of a session of this source are told at this appliance.

    `version` changes whenever `wanted` may.
    """

    def __init__(self, told: Callable[[str, PduSession], bool]) -> None:
        self.version = 0
        self._told = told
        self._targets: set[str] = set()  # SUPIs that match an order
        self._orders: dict[Token, Order] = {}
        self._sequence: dict[Token, int] = {}
        self._by_identity: dict[tuple[IdentityKind, str], set[Token]] = defaultdict(set)
        self._sessions: dict[Key, _Standing] = {}
        self._subjects: dict[str, _Subject] = {}
        self._ends: dict[Fteid, Key] = {}

    # What is wanted

    def activate(self, token: Token, order: Order, now: float) -> list[Addressed]:
        """What stands already. An order of the same token is replaced, and told what stands again."""
        self.deactivate(token)
        self._orders[token] = order
        self._sequence[token] = 0
        self._by_identity[comparable(order.identity)].add(token)
        found: list[Addressed] = []
        for supi, subject in self._subjects.items():
            if token in self._matching(supi, subject):
                self._match(supi, subject, subject.matched | {token})
                found += self._standing(token, subject, now)
        return found

    def deactivate(self, token: Token) -> None:
        order = self._orders.pop(token, None)
        if order is None:
            return
        key = comparable(order.identity)
        self._by_identity[key].discard(token)
        if not self._by_identity[key]:
            del self._by_identity[key]
        self._sequence.pop(token, None)
        for supi in list(self._targets):
            self._match(supi, self._subjects[supi], self._subjects[supi].matched - {token})

    def orders(self) -> Mapping[Token, Order]:
        return self._orders

    # What happens

    def session(self, key: Key, session: PduSession, now: float) -> list[Addressed]:
        """It is there, as it is now: begun, changed, or nothing new."""
        key, session = self._merged(key, session)
        standing = self._sessions.get(key)
        if standing is not None and standing.session.supi != session.supi:
            return self.session_gone(key, now) + self.session(key, session, now)
        if standing is not None and standing.session == session:
            return []
        subject = self._subjects.setdefault(session.supi, _Subject())
        found = self._learn(session.supi, subject, session.gpsi, session.pei, now)
        told, was_told = self._told(key[0], session), standing is not None and standing.told
        if was_told and not told and standing is not None:
            found += self._tell(subject, EventKind.SESSION_END, standing, now)
        if standing is None:
            standing = self._sessions[key] = _Standing(key[0], session, _number(session), now, told)
            subject.sessions.add(key)
        else:
            self._forget_ends(key, standing.session)
            standing.session, standing.told = session, told
        self._ends.update(dict.fromkeys(session.upf, key))
        self.version += bool(subject.matched)
        if told:
            kind = EventKind.SESSION_CHANGE if was_told else EventKind.SESSION_BEGIN
            found += self._tell(subject, kind, standing, now)
        return found

    def _merged(self, key: Key, session: PduSession) -> tuple[Key, PduSession]:
        """One session that N4 and an SMF tell of is one: N4 is first and exact, the SMF knows its id."""
        other = next((self._ends[end] for end in session.upf if end in self._ends), key)
        if key[0] == N4:
            if other != key and other[0] != N4 and key not in self._sessions:
                self._move(other, key)
            known = self._sessions.get(key)
            if known is not None and known.session.supi == session.supi:
                session = replace(session, psi=known.session.psi, active=known.session.active)
        elif other[0] == N4:
            known = self._sessions[other]
            gnb = session.gnb if known.session.gnb is None else known.session.gnb
            return other, replace(known.session, psi=session.psi, gnb=gnb, active=session.active)
        return key, session

    def _move(self, old: Key, new: Key) -> None:
        standing = self._sessions[new] = self._sessions.pop(old)
        standing.source = new[0]
        sessions = self._subjects[standing.session.supi].sessions
        sessions.discard(old)
        sessions.add(new)
        self._ends.update(dict.fromkeys(standing.session.upf, new))

    def session_gone(self, key: Key, now: float) -> list[Addressed]:
        standing = self._sessions.pop(key, None)
        if standing is None:
            return []
        self._forget_ends(key, standing.session)
        subject = self._subjects[standing.session.supi]
        subject.sessions.discard(key)
        self.version += bool(subject.matched)
        found = self._tell(subject, EventKind.SESSION_END, standing, now) if standing.told else []
        self._release(standing.session.supi, subject)
        return found

    def sessions_of(self, source: str) -> set[str]:
        """Keys of those that a source has told of."""
        return {key for name, key in self._sessions if name == source}

    def registration(self, registration: Registration, now: float) -> list[Addressed]:
        subject = self._subjects.setdefault(registration.supi, _Subject())
        before = subject.registration
        if before == registration:
            return []
        fresh = self._learn(registration.supi, subject, registration.gpsi, registration.pei, now)
        subject.registration = registration
        if before is None:
            subject.registered_at = now
            return fresh + self._events(subject, subject.matched, EventKind.REGISTRATION, registration.details(), now)
        if before.location == registration.location and before.connected == registration.connected:
            return fresh
        return fresh + self._events(subject, subject.matched, EventKind.LOCATION, registration.details(), now)

    def deregistered(self, supi: str, now: float) -> list[Addressed]:
        subject = self._subjects.get(supi)
        if subject is None or subject.registration is None:
            return []
        details, subject.registration = subject.registration.details(), None
        found = self._events(subject, subject.matched, EventKind.DEREGISTRATION, details, now)
        self._release(supi, subject)
        return found

    def registered(self) -> set[str]:
        return {supi for supi, subject in self._subjects.items() if subject.registration is not None}

    def wanted(self, copies: Iterable[str] = ("n3", "n6")) -> Wanted:
        """Whose packets are to be copied now, at these points."""
        points = set(copies)
        n6: dict[UeAddress, list[tuple[Token, int]]] = defaultdict(list)
        n3: dict[Fteid, list[tuple[Token, int, Direction]]] = defaultdict(list)
        for subject in (self._subjects[supi] for supi in self._targets):
            for token in sorted(subject.matched):
                point = self._orders[token].content
                for standing in (self._sessions[key] for key in subject.sessions) if point in points else ():
                    if point == "n6":
                        for address in standing.session.ue:
                            _once(n6[address], (token, standing.number))
                        continue
                    for end in standing.session.upf:
                        _once(n3[end], (token, standing.number, Direction.FROM_TARGET))
                    if standing.session.gnb is not None:
                        _once(n3[standing.session.gnb], (token, standing.number, Direction.TO_TARGET))
        return Wanted({a: tuple(t) for a, t in n6.items()}, {e: tuple(t) for e, t in n3.items()})

    # Within

    def _forget_ends(self, key: Key, session: PduSession) -> None:
        for end in session.upf:
            if self._ends.get(end) == key:
                del self._ends[end]

    def _learn(self, supi: str, subject: _Subject, gpsi: Iterable[str], pei: str, now: float) -> list[Addressed]:
        """Whoever asks for an identity that is known only now is told what stands."""
        subject.gpsi |= set(gpsi)
        subject.pei = pei or subject.pei
        matching = self._matching(supi, subject)
        fresh = matching - subject.matched
        if matching != subject.matched:
            # Another device under the same SUPI: who asked for the one before is told nothing more.
            self._match(supi, subject, matching)
        return [one for token in sorted(fresh) for one in self._standing(token, subject, now)]

    def _match(self, supi: str, subject: _Subject, tokens: set[Token]) -> None:
        subject.matched = tokens
        self.version += 1
        (self._targets.add if tokens else self._targets.discard)(supi)

    def _matching(self, supi: str, subject: _Subject) -> set[Token]:
        return {
            token
            for identity in _identities(supi, subject)
            for token in self._by_identity.get(comparable(identity), ())
        }

    def _standing(self, token: Token, subject: _Subject, now: float) -> list[Addressed]:
        found: list[Addressed] = []
        if subject.registration is not None:
            details: JsonObject = {**subject.registration.details(), "since": subject.registered_at}
            found += self._events(subject, {token}, EventKind.REGISTRATION_STANDING, details, now)
        for standing in (self._sessions[key] for key in sorted(subject.sessions)):
            if standing.told:
                details = {**standing.details(), "since": standing.since}
                found += self._events(
                    subject, {token}, EventKind.SESSION_STANDING, details, now, session=standing.number
                )
        return found

    def _tell(self, subject: _Subject, kind: EventKind, standing: _Standing, now: float) -> list[Addressed]:
        return self._events(subject, subject.matched, kind, standing.details(), now, session=standing.number)

    def _events(
        self,
        subject: _Subject,
        tokens: Iterable[Token],
        kind: EventKind,
        details: JsonObject,
        now: float,
        *,
        session: int = 0,
    ) -> list[Addressed]:
        found: list[Addressed] = []
        for token in sorted(tokens):
            if not self._orders[token].events:
                continue
            identities = _identities(str(details["supi"]), subject)
            number = self._sequence[token]
            self._sequence[token] = number + 1
            found.append((token, Event(token[1], kind, now, number, session, identities, details)))
        return found

    def _release(self, supi: str, subject: _Subject) -> None:
        if not subject.sessions and subject.registration is None:
            del self._subjects[supi]
            self._targets.discard(supi)


def told_here(anchors: Iterable[IPv4Address], elsewhere: Iterable[IPv4Address]) -> Callable[[str, PduSession], bool]:
    """Each session is told at one appliance: where its UPF is an anchor, or where the SMF stands when it is nobody's.

    Sources of SMFs are named `smf-local:...` and `smf:...`.
    """
    ours, others = set(anchors), set(elsewhere)

    def told(source: str, session: PduSession) -> bool:
        ends = {end.address for end in session.upf}
        if source == N4 or ends & ours:
            return True
        return source.startswith("smf-local:") and bool(ends) and not ends & others

    return told


def _identities(supi: str, subject: _Subject) -> tuple[Identity, ...]:
    found = [Identity(IdentityKind.SUPI, supi)] if supi else []
    found += [Identity(IdentityKind.GPSI, gpsi) for gpsi in sorted(subject.gpsi)]
    return (*found, Identity(IdentityKind.PEI, subject.pei)) if subject.pei else tuple(found)


def _number(session: PduSession) -> int:
    """The same at every appliance that knows the session, so that copies of one match events of another."""
    text = "\0".join((session.supi, session.dnn, *sorted(map(str, session.ue))))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) or 1


def _once(items: list[T], item: T) -> None:
    if item not in items:
        items.append(item)
