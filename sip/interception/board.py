"""Who is sought, the calls that are theirs, and what follows of what the proxy tells. Pure but for its own memory.

The proxy finds keys (accounts, numbers), each by a number that it is given here; of which orders they are is known here
alone. What it should know at any time is `tables`.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Final, NamedTuple

from nf.contracts.interception import Direction, Event, EventKind, Loss, LossPlace, Order
from nf.contracts.json import JsonObject
from sip.interception import messages
from sip.interception.identities import known
from sip.interception.items import Item, Told
from sip.interception.standing import Contact, Dialog

Token = tuple[int, str]
"""Caller and its reference: one order."""
CallKey = tuple[str, str]
"""Call-ID and From tag of the INVITE."""

LATE_S: Final = 1.0
"""After which what was skipped in a count is missing: workers of the proxy may pass one another."""
LINGER_S: Final = 40.0
"""For which a call that has ended is still known, for the answer to its BYE."""
ON: Final = "on"
_DIRECTIONS: Final = {frozenset("c"): Direction.FROM_TARGET, frozenset("d"): Direction.TO_TARGET}


class Addressed(NamedTuple):
    token: Token
    told: Event | Loss


class Party(NamedTuple):
    """Of one call, for one order that wants its media. `role`: c calls, d is called, empty: both or unknown."""

    token: Token
    session: int
    role: str


class Media(NamedTuple):
    """A call whose media is wanted: where it is, and by whom. `whole`: it began after somebody had ordered it."""

    relay: int | None
    parties: tuple[Party, ...]
    whole: bool = False


@dataclass(slots=True, repr=False)
class _Sought:
    """`expected`: the next count; 0: whatever comes first, as of what an earlier process had asked for."""

    key: str
    tokens: set[Token] = field(default_factory=set)
    expected: int = 1
    missing: dict[int, float] = field(default_factory=dict)


@dataclass(slots=True, repr=False)
class _Call:
    session: int
    roles: dict[int, str] = field(default_factory=dict)
    relay: int | None = None
    media: bool = False
    whole: bool = False
    answered: bool = False
    began: float = 0.0
    ended: float | None = None
    begun: set[Token] = field(default_factory=set)
    details: JsonObject = field(default_factory=dict)


class Board:
    def __init__(self) -> None:
        self._keys: dict[Token, tuple[str, ...]] = {}
        self._orders: dict[Token, Order] = {}
        self._sought: dict[int, _Sought] = {}
        self._numbers: dict[str, int] = {}
        self._next = itertools.count(1)
        self._calls: dict[CallKey, _Call] = {}
        self._sequence: dict[Token, int] = {}
        self._since: dict[Token, float] = {}
        self._left: dict[str, int] = {}
        self._left_calls: dict[str, str] = {}
        self._claimed: set[int] = set()
        self.dropped: set[str] = set()
        """Calls that the proxy follows and nobody wants any more, as it writes them; whoever tells it empties this."""
        self.version = 0
        """Another one when `media` may be another."""
        self.answered: set[CallKey] = set()
        """Calls of which a reply came, so that another party may have come; whoever looks empties this."""

    # -- orders -----------------------------------------------------------------------------------------------------

    def orders(self) -> Mapping[Token, Order]:
        return self._orders

    def keys_of(self, token: Token) -> tuple[str, ...]:
        return self._keys.get(token, ())

    def activate(self, token: Token, order: Order, keys: tuple[str, ...], since: float = 0.0) -> None:
        """`since`: what the proxy saw before that, for others, is not told to this one, though it comes later."""
        self.deactivate(token)
        self._orders[token] = order
        self._sequence[token] = 0
        taken_up = any(key in self._left or self._numbers.get(key) in self._claimed for key in keys)
        self._since[token] = 0.0 if taken_up else since
        self.known_by(token, keys)

    def known_by(self, token: Token, keys: tuple[str, ...]) -> None:
        """By which keys the proxy finds an order's target: a number may pass to another account."""
        self.version += 1
        before, self._keys[token] = self._keys.get(token, ()), keys
        self._drop(token, {*before} - {*keys})
        for key in keys:
            number = self._numbers.get(key)
            if number is None and key in self._left:
                number = self._numbers[key] = self._left.pop(key)
                self._sought[number] = _Sought(key, expected=0)
                self._claimed.add(number)
            elif number is None:
                number = self._numbers[key] = next(self._next)
                self._sought[number] = _Sought(key)
            self._sought[number].tokens.add(token)

    def deactivate(self, token: Token) -> None:
        if self._orders.pop(token, None) is None:
            return
        self.version += 1
        self._sequence.pop(token, None)
        self._since.pop(token, None)
        self._drop(token, {*self._keys.pop(token, ())})

    def _drop(self, token: Token, keys: set[str]) -> None:
        if not keys:
            return
        for number, sought in list(self._sought.items()):
            if sought.key in keys:
                sought.tokens.discard(token)
                if not sought.tokens:
                    del self._sought[number], self._numbers[sought.key]
        for key, call in list(self._calls.items()):
            call.roles = {number: role for number, role in call.roles.items() if number in self._sought}
            if not call.roles:
                del self._calls[key]
                self.dropped.add("|".join(key))

    # -- what an earlier process has left ---------------------------------------------------------------------------

    def inherit(self, sought: Mapping[str, str], calls: Mapping[str, str], counted: Iterable[str]) -> bool:
        """What the proxy was told to look for by another process: orders that come take up its numbers, so that what
        was told since is theirs. `counted`: numbers that have a count there. False: it looks for nobody."""
        self._left = {key: int(number) for key, number in sought.items() if key != ON and number.isdecimal()}
        self._left_calls = dict(calls)
        known = [*self._left.values(), *(int(one) for one in counted if one.isdecimal())]
        self._next = itertools.count(max(known, default=0) + 1)
        return bool(self._left)

    def settle(self, now: float) -> tuple[list[Addressed], dict[CallKey, dict[int, str]]]:
        """No order comes that takes up any of it. What the process had under way when it ended nobody can count; and
        the roles by which the proxy follows calls."""
        tokens = {token for number in self._claimed if number in self._sought for token in self._sought[number].tokens}
        calls = {}
        for name, written in self._left_calls.items():
            call_id, _, tag = name.rpartition("|")
            parts = [one for one in written.split("|") if one[1:].isdecimal()]
            calls[call_id, tag] = {int(one[1:]): one[0] for one in parts}
        self._left, self._left_calls, self._claimed = {}, {}, set()
        return self._uncounted(tokens, now), calls

    # -- what the proxy and the relays should know ------------------------------------------------------------------

    def sought(self) -> dict[str, str]:
        found = {key: str(number) for key, number in {**self._left, **self._numbers}.items()}
        return {**found, ON: "1"} if found else {}

    def calls(self) -> dict[str, str]:
        """Those that are up, as the proxy writes them."""
        return self._left_calls | {
            "|".join(key): "".join(f"{role}{number}|" for number, role in call.roles.items())
            for key, call in self._calls.items()
            if call.ended is None
        }

    def media(self) -> dict[CallKey, Media]:
        found = {}
        for key, call in self._calls.items():
            if call.media and call.ended is None:
                parties = [
                    Party(token, call.session, "".join(roles) if len(roles) == 1 else "")
                    for token, roles in self._of(call.roles).items()
                    if self._orders[token].content
                ]
                if parties:
                    found[key] = Media(call.relay, tuple(parties), call.whole)
        return found

    def _of(self, roles: Mapping[int, str]) -> dict[Token, set[str]]:
        found: dict[Token, set[str]] = defaultdict(set)
        for number, role in roles.items():
            for token in self._sought[number].tokens if number in self._sought else ():
                found[token].add(role)
        return found

    # -- what is told -----------------------------------------------------------------------------------------------

    def take(self, item: Item) -> list[Addressed]:
        for told in item.told:
            self._count(told, item.at)
        roles = {told.number: told.role for told in item.told if told.number in self._sought}
        if not roles:
            return []
        if item.what in {"register", "expired"}:
            return self._registration(item, roles)
        return self._call(item, roles)

    def _count(self, told: Told, at: float) -> None:
        sought = self._sought.get(told.number)
        if sought is None:
            return
        if sought.expected == 0:
            sought.expected = told.count + 1
        elif told.count >= sought.expected:
            sought.missing |= dict.fromkeys(range(sought.expected, told.count), at)
            sought.expected = told.count + 1
        else:
            sought.missing.pop(told.count, None)

    def overdue(self, now: float) -> list[Addressed]:
        """What was told and never came; and calls whose end is long told are forgotten."""
        for key in [key for key, one in self._calls.items() if one.ended is not None and now - one.ended > LINGER_S]:
            del self._calls[key]
        found = []
        for sought in self._sought.values():
            late = [count for count, since in sought.missing.items() if now - since > LATE_S]
            for count in late:
                del sought.missing[count]
            if late:
                found += [
                    Addressed(token, Loss(token[1], LossPlace.POINT, now, events=len(late)))
                    for token in sought.tokens
                    if self._orders[token].events
                ]
        return found

    def anew(self, now: float) -> list[Addressed]:
        """The proxy has started again, and counts from the beginning: what was in its queue nobody can count."""
        for sought in self._sought.values():
            sought.expected = 1
            sought.missing.clear()
        return self._uncounted(self._orders, now)

    def _uncounted(self, tokens: Iterable[Token], now: float) -> list[Addressed]:
        return [
            Addressed(token, Loss(token[1], LossPlace.POINT, now, events=None))
            for token in tokens
            if self._orders[token].events
        ]

    def _event(
        self, token: Token, kind: EventKind, at: float, details: JsonObject, *, session: int = 0, octets: bytes = b""
    ) -> list[Addressed]:
        order = self._orders[token]
        if not order.events or order.over(at):
            return []
        count = self._sequence[token]
        self._sequence[token] = count + 1
        about = known(order.identity, self._keys[token])
        return [Addressed(token, Event(token[1], kind, at, count, session, about, details, octets))]

    def _registration(self, item: Item, roles: Mapping[int, str]) -> list[Addressed]:
        details: JsonObject = {"contact": item.from_tag, "reason": "expired"}
        kind, octets = EventKind.DEREGISTRATION, messages.stripped(item.octets)
        if item.what == "register":
            expires = messages.header(octets, "expires")
            details = {"contact": messages.header(octets, "contact", "m"), "source": item.source, "expires": expires}
            kind = EventKind.REGISTRATION if item.code in {1, 2} else EventKind.DEREGISTRATION
        found: list[Addressed] = []
        for token in self._of(roles):
            if item.at < self._since[token]:
                continue
            if octets:
                found += self._event(token, EventKind.MESSAGE, item.at, _on_the_wire(item, octets), octets=octets)
            if item.what == "expired" or item.code in {1, 2, 3}:
                found += self._event(token, kind, item.at, details)
        return found

    def _call(self, item: Item, roles: Mapping[int, str]) -> list[Addressed]:
        key = (item.call_id, item.from_tag)
        call = self._calls.get(key)
        begins = item.what == "invite" and (call is None or call.ended is not None)
        if call is None or begins:
            call = self._calls[key] = _Call(session_number(key), began=item.at, whole=begins)
        call.roles |= roles
        call.relay = item.relay if item.relay is not None else call.relay
        octets = messages.stripped(item.octets)
        self.version += item.what != "request"
        if item.what == "reply":
            self.answered.add(key)
        if begins:
            call.details = _of_invite(item, octets)
        kind, told = self._step(call, item, octets, begins=begins)
        found: list[Addressed] = []
        for token, parts in self._of(call.roles).items():
            if item.at < self._since[token]:
                continue
            if kind is EventKind.SESSION_BEGIN:
                call.begun.add(token)
                way = _DIRECTIONS.get(frozenset(parts), Direction.UNKNOWN).value
                found += self._event(token, kind, item.at, {**told, "direction": way}, session=call.session)
            if octets:
                wire = {**_on_the_wire(item, octets), "caller_tag": item.from_tag, "target": "".join(sorted(parts))}
                found += self._event(token, EventKind.MESSAGE, item.at, wire, session=call.session, octets=octets)
            if kind is not None and kind is not EventKind.SESSION_BEGIN:
                found += self._event(token, kind, item.at, told, session=call.session)
        return found

    @staticmethod
    def _step(  # noqa: PLR0911 - a kind of item each
        call: _Call, item: Item, octets: bytes, *, begins: bool
    ) -> tuple[EventKind | None, JsonObject]:
        """What the item means for the session, beside the message that it is."""
        if begins:
            return EventKind.SESSION_BEGIN, call.details
        if item.what in {"failed", "end"}:
            if call.ended is not None:
                return None, {}
            call.ended = item.at
            how: JsonObject = {"code": item.code} if item.what == "failed" else {"seconds": item.code}
            return EventKind.SESSION_END, {**call.details, **how}
        if item.what != "reply" or item.code >= 300:
            return None, {}
        call.media = call.media or messages.describes_media(octets)
        if messages.method(octets) not in {"INVITE", "UPDATE"}:
            return None, {}
        if item.code < 200:
            return EventKind.SESSION_CHANGE, {**call.details, "state": "ringing", "code": item.code}
        state = "changed" if call.answered else "answered"
        call.answered = True
        return EventKind.SESSION_CHANGE, {**call.details, "state": state, "code": item.code}

    # -- what was there already -------------------------------------------------------------------------------------

    def standing(
        self,
        token: Token,
        dialogs: Iterable[Dialog],
        contacts: Iterable[Contact],
        now: float,
        followed: Mapping[CallKey, Mapping[int, str]] | None = None,
    ) -> list[Addressed]:
        """For an order that is new: calls that are up become known, and are told. `followed`: calls that the proxy
        follows, and the roles in which it has found sought ones."""
        wanted = {key: self._numbers[key] for key in self.keys_of(token)}
        found: list[Addressed] = []
        for contact in contacts:
            found += self._event(token, EventKind.REGISTRATION_STANDING, now, contact.details())
        for dialog in dialogs:
            roles = {wanted[key]: role for key, role in dialog.parties if key in wanted}
            if followed is not None:
                there = followed.get(dialog.key, {})
                roles |= {number: role for number, role in there.items() if number in wanted.values()}
            if not roles:
                continue
            call = self._calls.get(dialog.key)
            if call is None:
                call = _Call(session_number(dialog.key), began=dialog.began, details=dialog.details())
                self._calls[dialog.key] = call
            self.version += 1
            call.roles |= roles
            call.relay = dialog.relay if dialog.relay is not None else call.relay
            call.media, call.answered = True, call.answered or dialog.answered
            if token not in call.begun:  # else it began after the order had come
                call.begun.add(token)
                told: JsonObject = {**call.details, "state": "answered" if dialog.answered else "ringing"}
                found += self._event(token, EventKind.SESSION_STANDING, now, told, session=call.session)
        return found

    def gone(self, dialogs: Iterable[CallKey], asked_at: float, now: float) -> list[Addressed]:
        """Calls that were up, and of which the proxy knew nothing when it was asked: their end was not told."""
        there = {*dialogs}
        found: list[Addressed] = []
        for key, call in self._calls.items():
            if call.ended is None and key not in there and call.began < asked_at - LATE_S:
                call.ended = now
                self.version += 1
                told: JsonObject = {**call.details, "reason": "it was not there any more"}
                for token in self._of(call.roles):
                    found += self._event(token, EventKind.SESSION_END, now, told, session=call.session)
        return found


def session_number(key: CallKey) -> int:
    """Never 0."""
    text = "|".join(key).encode(errors="surrogateescape")
    return int.from_bytes(blake2b(text, digest_size=8).digest()) or 1


def _of_invite(item: Item, octets: bytes) -> JsonObject:
    return {
        "caller": messages.uri_of(messages.header(octets, "from", "f")),
        "called": messages.uri_of(messages.header(octets, "to", "t")),
        "dialled": messages.request_uri(octets),
        "call_id": item.call_id.encode(errors="surrogateescape").decode(errors="replace"),
        "source": item.source,
    }


def _on_the_wire(item: Item, octets: bytes) -> JsonObject:
    """`cut`: how many octets the message had, where not all of them are here."""
    told: JsonObject = {"source": item.source}
    return {**told, "cut": item.length} if item.length > len(item.octets) and octets else told
