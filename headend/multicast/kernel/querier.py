"""The router's part of IGMPv3 on one access interface (RFC 3376 section 6), for source-specific groups. Sans-IO.

In 232.0.0.0/8 only INCLUDE mode exists (RFC 4604 section 2.2.1): records that exclude are ignored there, and so is
whatever concerns other groups. Times are monotonic seconds, given by the caller.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum, auto
from ipaddress import IPv4Address

from headend.multicast.kernel.igmp import GENERAL, MAX_SOURCES, Message, Query, Record, RecordType, Report

MAX_MEMBERSHIPS = 4096
"""Of one interface; a flood of reports takes no more memory than these."""

Key = tuple[IPv4Address, IPv4Address]
"""(source, group)."""


class Membership(Enum):
    """Of one (S, G)."""

    ABSENT = auto()
    MEMBER = auto()
    DOUBTED = auto()  # somebody left; whoever still wants it has the last member query time to say so


class Input(Enum):
    WANTED = auto()  # a report asks for it
    LEFT = auto()  # a report says that it is no longer wanted, or the querier asks about it
    REPEAT = auto()  # time to ask again
    TIMEOUT = auto()


class Effect(Enum):
    NONE = auto()
    KEEP = auto()  # for the group membership interval
    ASK = auto()  # a first time
    ASK_AGAIN = auto()
    FORGET = auto()


TRANSITIONS: dict[tuple[Membership, Input], tuple[Effect, Membership]] = {
    (Membership.ABSENT, Input.WANTED): (Effect.KEEP, Membership.MEMBER),
    (Membership.ABSENT, Input.LEFT): (Effect.NONE, Membership.ABSENT),
    (Membership.MEMBER, Input.WANTED): (Effect.KEEP, Membership.MEMBER),
    (Membership.MEMBER, Input.LEFT): (Effect.ASK, Membership.DOUBTED),
    (Membership.MEMBER, Input.TIMEOUT): (Effect.FORGET, Membership.ABSENT),
    (Membership.DOUBTED, Input.WANTED): (Effect.KEEP, Membership.MEMBER),
    (Membership.DOUBTED, Input.LEFT): (Effect.NONE, Membership.DOUBTED),
    (Membership.DOUBTED, Input.REPEAT): (Effect.ASK_AGAIN, Membership.DOUBTED),
    (Membership.DOUBTED, Input.TIMEOUT): (Effect.FORGET, Membership.ABSENT),
}


@dataclass(frozen=True, slots=True)
class Intervals:
    """Seconds (RFC 3376 section 8). Half of the query interval is left for responses."""

    query_s: float = 10.0
    last_member_query_s: float = 0.1
    last_member_query_count: int = 1
    robustness: int = 2

    @property
    def response_s(self) -> float:
        return min(10.0, self.query_s / 2)

    @property
    def membership_s(self) -> float:
        return self.robustness * self.query_s + self.response_s

    @property
    def last_member_s(self) -> float:
        return self.last_member_query_s * self.last_member_query_count

    @property
    def other_querier_s(self) -> float:
        return self.robustness * self.query_s + self.response_s / 2


@dataclass(slots=True)
class _Source:
    state: Membership
    expires: float
    repeats: int = 0
    repeat_at: float = 0.0


class Querier:
    """`address`: of the interface; the lowest address on the LAN is its querier (section 6.6.2)."""

    def __init__(self, address: IPv4Address, intervals: Intervals, now: float) -> None:
        self._address = address
        self._intervals = intervals
        self._sources: dict[Key, _Source] = {}
        self._asked: dict[IPv4Address, list[IPv4Address]] = defaultdict(list)
        self._general_at = now
        self._startup_left = intervals.robustness
        self._other_until = 0.0

    @property
    def wanted(self) -> frozenset[Key]:
        return frozenset(self._sources)

    def is_querier(self, now: float) -> bool:
        return now >= self._other_until

    def receive(self, message: Message, sender: IPv4Address, now: float) -> None:
        """A message that came in on the interface; what it is answered with comes from `due`."""
        if isinstance(message, Report):
            for record in message.records:
                self._record(record, now)
        elif int(sender) and sender < self._address:
            self._other_until = now + self._intervals.other_querier_s
            if not message.suppress:
                for source in message.sources:
                    self._feed((source, message.group), Input.LEFT, now)

    def _record(self, record: Record, now: float) -> None:
        if int(record.group) >> 24 != 232:
            return
        match record.type:
            case RecordType.MODE_IS_INCLUDE | RecordType.ALLOW_NEW_SOURCES:
                self._want(record, now)
            case RecordType.CHANGE_TO_INCLUDE:
                self._want(record, now)
                gone = [key for key in self._sources if key[1] == record.group and key[0] not in record.sources]
                self._leave(gone, now)
            case RecordType.BLOCK_OLD_SOURCES:
                self._leave([(source, record.group) for source in record.sources], now)
            case RecordType.MODE_IS_EXCLUDE | RecordType.CHANGE_TO_EXCLUDE:
                pass

    def _want(self, record: Record, now: float) -> None:
        for source in record.sources:
            self._feed((source, record.group), Input.WANTED, now)

    def _leave(self, keys: Iterable[Key], now: float) -> None:
        if self.is_querier(now):  # another querier asks, and its query is what counts
            for key in keys:
                self._feed(key, Input.LEFT, now)

    def _feed(self, key: Key, given: Input, now: float) -> None:
        entry = self._sources.get(key)
        state = entry.state if entry is not None else Membership.ABSENT
        effect, after = TRANSITIONS[state, given]
        times = self._intervals
        match effect:
            case Effect.KEEP if entry is not None or len(self._sources) < MAX_MEMBERSHIPS:
                self._sources[key] = _Source(after, now + times.membership_s)
            case Effect.ASK:
                repeats = times.last_member_query_count - 1
                until = min(now + times.last_member_s, entry.expires if entry is not None else now)
                self._sources[key] = _Source(after, until, repeats, now + times.last_member_query_s)
                self._ask(key)
            case Effect.ASK_AGAIN if entry is not None:
                entry.repeats -= 1
                entry.repeat_at += times.last_member_query_s
                self._ask(key)
            case Effect.FORGET:
                del self._sources[key]
            case _:
                pass

    def _ask(self, key: Key) -> None:
        source, group = key
        if source not in self._asked[group]:
            self._asked[group].append(source)

    def due(self, now: float) -> tuple[Query, ...]:
        """Let the time pass until `now`; the queries to send."""
        for key, entry in list(self._sources.items()):
            if entry.expires <= now:
                self._feed(key, Input.TIMEOUT, now)
            else:
                while entry.repeats and entry.repeat_at <= now:
                    self._feed(key, Input.REPEAT, now)
        asked, self._asked = self._asked, defaultdict(list)
        if not self.is_querier(now):
            return ()
        return (*self._general(now), *self._specific(asked))

    def _general(self, now: float) -> Iterator[Query]:
        if now < self._general_at:
            return
        times = self._intervals
        # Startup queries come four times as often (sections 8.6, 8.7).
        self._startup_left = max(0, self._startup_left - 1)
        self._general_at = now + (times.query_s / 4 if self._startup_left else times.query_s)
        yield self._query(round(times.response_s * 10))

    def _specific(self, asked: dict[IPv4Address, list[IPv4Address]]) -> Iterator[Query]:
        response = max(1, round(self._intervals.last_member_query_s * 10))
        for group, sources in asked.items():
            for start in range(0, len(sources), MAX_SOURCES):
                yield self._query(response, group, tuple(sources[start : start + MAX_SOURCES]))

    def _query(self, response_ds: int, group: IPv4Address = GENERAL, sources: tuple[IPv4Address, ...] = ()) -> Query:
        times = self._intervals
        return Query(group, sources, response_ds, robustness=times.robustness, interval_s=round(times.query_s))

    def next_timeout(self, now: float) -> float:
        """When `due` has something to do again."""
        times = [self._general_at if self.is_querier(now) else self._other_until]
        for entry in self._sources.values():
            times.append(entry.expires)
            if entry.repeats:
                times.append(entry.repeat_at)
        return min(times)
