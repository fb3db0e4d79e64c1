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

from core5g.observation.sessions import Fteid, PduSession, Registration, at_address, comparable, target_address
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
    """A session that is there.

    told     its events are told here and not at another appliance
    matched  orders for an address that it has; those that match its subscriber are the subject's
    """

    source: str
    session: PduSession
    number: int
    since: float
    told: bool
    matched: set[Token] = field(default_factory=set)

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
        self._addressed: dict[Token, UeAddress] = {}  # orders for an address
        self._by_identity: dict[tuple[IdentityKind, str], set[Token]] = defaultdict(set)
        self._sessions: dict[Key, _Standing] = {}
        self._subjects: dict[str, _Subject] = {}
        self._ends: dict[Fteid, Key] = {}
        self._claims: dict[UeAddress, list[Key]] = {}  # sessions that are said to have it, the latest last

    # What is wanted

    def activate(self, token: Token, order: Order, now: float) -> list[Addressed]:
        """What stands already. An order of the same token is replaced, and told what stands again."""
        self.deactivate(token)
        self._orders[token] = order
        self._sequence[token] = 0
        self._by_identity[comparable(order.identity)].add(token)
        found: list[Addressed] = []
        if order.identity.kind is IdentityKind.UE_ADDRESS:
            address = target_address(order.identity.value)
            if address is None:
                return []
            self._addressed[token] = address
            return self._settle(address, now, EventKind.SESSION_STANDING)
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
        if (address := self._addressed.pop(token, None)) is not None:
            for claimant in self._claims.get(address, ()):
                self._sessions[claimant].matched.discard(token)
            self.version += 1
            return
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
        before = standing.session.ue if standing is not None else ()
        if standing is not None:
            found += self._give_up(key, standing, set(before) - set(session.ue), now)
        if was_told and not told and standing is not None:
            found += self._tell(subject, EventKind.SESSION_END, standing, now)
        if standing is None:
            standing = self._sessions[key] = _Standing(key[0], session, _number(session), now, told)
            subject.sessions.add(key)
        else:
            self._forget_ends(key, standing.session)
            standing.session, standing.told = session, told
        self._ends.update(dict.fromkeys(session.upf, key))
        for address in session.ue:
            if address not in before:
                self._claims.setdefault(address, []).append(key)
        self.version += bool(subject.matched or standing.matched)
        if told:
            kind = EventKind.SESSION_CHANGE if was_told else EventKind.SESSION_BEGIN
            found += self._tell(subject, kind, standing, now)
        for address in dict.fromkeys((*before, *session.ue)):
            found += self._settle(address, now)
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
        for address in standing.session.ue:
            self._claims[address] = [new if key == old else key for key in self._claims[address]]

    def session_gone(self, key: Key, now: float) -> list[Addressed]:
        standing = self._sessions.pop(key, None)
        if standing is None:
            return []
        self._forget_ends(key, standing.session)
        subject = self._subjects[standing.session.supi]
        subject.sessions.discard(key)
        self.version += bool(subject.matched or standing.matched)
        found = self._tell(subject, EventKind.SESSION_END, standing, now) if standing.told else []
        self._release(standing.session.supi, subject)
        for address in standing.session.ue:
            self._unclaim(address, key)
            found += self._settle(address, now)
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
        for key, tokens in self._targeted().items():
            standing = self._sessions[key]
            for token in sorted(tokens):
                point = self._orders[token].content
                if point not in points:
                    continue
                if point == "n6":
                    for address in standing.session.ue:
                        if key in self._having(address):
                            _once(n6[address], (token, standing.number))
                    continue
                for end in standing.session.upf:
                    _once(n3[end], (token, standing.number, Direction.FROM_TARGET))
                if standing.session.gnb is not None:
                    _once(n3[standing.session.gnb], (token, standing.number, Direction.TO_TARGET))
        return Wanted({a: tuple(t) for a, t in n6.items()}, {e: tuple(t) for e, t in n3.items()})

    def _targeted(self) -> dict[Key, set[Token]]:
        """Sessions that an order matches, by their subscriber or by an address."""
        found: dict[Key, set[Token]] = defaultdict(set)
        for subject in (self._subjects[supi] for supi in self._targets):
            for key in sorted(subject.sessions):
                found[key] |= subject.matched
        for token, address in self._addressed.items():
            for key in self._claims.get(address, ()):
                if token in self._sessions[key].matched:
                    found[key].add(token)
        return found

    # Who has which address

    def _having(self, address: UeAddress) -> list[Key]:
        """Its sessions: no two subscribers have it at once. Who took it last has it, since one that has lost it may be
        told of for a while; N4, which tells as it happens, is believed before an info API."""
        claims = self._claims.get(address)
        if not claims:
            return []
        _, last = max(enumerate(claims), key=lambda one: (one[1][0] == N4, one[0]))
        supi = self._sessions[last].session.supi
        return [key for key in claims if key == last or (supi and self._sessions[key].session.supi == supi)]

    def _give_up(self, key: Key, standing: _Standing, addresses: Iterable[UeAddress], now: float) -> list[Addressed]:
        """Who asked for one of these is told the end of the session, as it was with it."""
        found: list[Addressed] = []
        for address in sorted(addresses, key=str):
            self._unclaim(address, key)
            found += self._unmatch(standing, standing.matched & self._asking(address), now)
        return found

    def _settle(self, address: UeAddress, now: float, fresh: EventKind = EventKind.SESSION_BEGIN) -> list[Addressed]:
        """Who asked for it is told who has it no longer, and then who has it."""
        tokens, having = self._asking(address), self._having(address)
        claims = {key: self._sessions[key] for key in self._claims.get(address, ())}
        self.version += any(one.matched or self._subjects[one.session.supi].matched for one in claims.values())
        found: list[Addressed] = []
        for key, standing in claims.items():
            if key not in having:
                found += self._unmatch(standing, standing.matched & tokens, now)
        for key in having:
            standing = claims[key]
            new = tokens - standing.matched
            standing.matched |= new
            self.version += bool(new)
            if new and standing.told:
                subject, details = self._subjects[standing.session.supi], standing.details()
                if fresh is EventKind.SESSION_STANDING:
                    details["since"] = standing.since
                found += self._events(subject, new, fresh, details, now, session=standing.number)
        return found

    def _unmatch(self, standing: _Standing, tokens: set[Token], now: float) -> list[Addressed]:
        if not tokens:
            return []
        standing.matched -= tokens
        self.version += 1
        if not standing.told:
            return []
        subject = self._subjects[standing.session.supi]
        return self._events(subject, tokens, EventKind.SESSION_END, standing.details(), now, session=standing.number)

    def _asking(self, address: UeAddress) -> set[Token]:
        return self._by_identity.get(at_address(address), set())

    def _unclaim(self, address: UeAddress, key: Key) -> None:
        claims = self._claims[address]
        claims.remove(key)
        if not claims:
            del self._claims[address]

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
        tokens = subject.matched | standing.matched
        return self._events(subject, tokens, kind, standing.details(), now, session=standing.number)

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
            asked = self._orders[token].identity
            identities = _identities(str(details["supi"]), subject)
            if asked.kind is IdentityKind.UE_ADDRESS:
                identities += (asked,)
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
