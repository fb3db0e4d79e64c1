"""Numbers that mediation gives and reads: CINs, sequence numbers, and those of the points that deliver.

A CIN comes from a table, one for each session of a task: drawn at random, so that no agency learns from it how many
sessions there are, never 0, and never one that is still in the table. Sequence numbers are counters whose values are
written together with what was numbered by them (`State.commit`): none is repeated, none is left out.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import chain
from operator import attrgetter
from typing import Final, NamedTuple, TypeVar

from lawful_intercept.mediation.iri_rules import Phase, Session
from lawful_intercept.mediation.state import State
from nf.errors import IntegrityError

C = TypeVar("C", bound="Counter")
_KEPT: Final = attrgetter("slot", "value", "extra")

_U32: Final = 0xFFFFFFFF
_HALF: Final = 1 << 31


class Counter:
    """A number that outlives the process, and another beside it. Its text shows nothing."""

    __slots__ = ("extra", "slot", "value")

    def __init__(self, slot: int, value: int = 0, extra: int = 0) -> None:
        self.slot = slot
        self.value = value
        self.extra = extra


class Counters:
    """Those of one state. Whoever changes a counter adds it to `changed`."""

    def __init__(self, state: State, used: Iterable[int]) -> None:
        """`used`: slots that rows name."""
        self._state = state
        kept = {*used}
        state.forget_counters({*state.counters} - kept)
        self._next = max(kept, default=0) + 1
        self.changed: set[Counter] = set()

    def new(self) -> Counter:
        return self._added(Counter(self._next))

    def new_source(self) -> Source:
        return self._added(Source(self._next))

    def _added(self, counter: C) -> C:
        self._next += 1
        self.changed.add(counter)
        return counter

    def known(self, slot: int, kind: type[C]) -> C:
        """Raises IntegrityError."""
        if slot not in self._state.counters:
            raise IntegrityError("a counter is missing", where="state", remedy="restore the directory from a backup")
        return kind(slot, *self._state.counters[slot])

    def take(self) -> list[int]:
        """What changed since the last time, as the next commit takes it."""
        found = list(chain.from_iterable(map(_KEPT, self.changed)))
        self.changed.clear()
        return found


class Verdict(NamedTuple):
    """Of what a point delivers. `missing`: how many before it never came; None: it counts anew, so nobody can say."""

    fresh: bool
    missing: int | None = 0


_FRESH: Final = Verdict(fresh=True)
_KNOWN: Final = Verdict(fresh=False)


class Source(Counter):
    """What one point numbers: one task's X2 or X3 (TS 103 221-2 attribute 8).

    value  one above the number that is next; 0: none came yet
    extra  when the latest happened, in nanoseconds since the epoch

    What is behind the last number was delivered before, unless it happened later than all that was: then the point has
    begun to count anew.
    """

    __slots__ = ()

    def take(self, sequence: int | None, at_ns: int, changed: set[Counter]) -> Verdict:
        if sequence is None:
            return _FRESH
        verdict = _FRESH
        if self.value == 0:
            verdict = Verdict(fresh=True, missing=sequence) if sequence > 1 else _FRESH
        elif sequence != self.value - 1:
            ahead = (sequence - (self.value - 1)) & _U32
            if ahead < _HALF:
                verdict = Verdict(fresh=True, missing=ahead)
            elif at_ns <= self.extra:
                return _KNOWN
            else:
                verdict = Verdict(fresh=True, missing=None)
        self.value = ((sequence + 1) & _U32) + 1
        self.extra = max(self.extra, at_ns)
        changed.add(self)
        return verdict


class Sources:
    """By (task, X2 or X3, point)."""

    def __init__(self, state: State, counters: Counters) -> None:
        self._counters = counters
        self._known: dict[str, Source] = {}
        for name, value in state.rows("source"):
            self._known[name] = counters.known(json.loads(value)[0], Source)
        self._dirty: dict[str, bytes | None] = {}

    def collect(self) -> dict[str, bytes | None]:
        found, self._dirty = self._dirty, {}
        return found

    def of(self, xid: bytes, kind: int, point: str) -> Source:
        """`point`: whatever names it; two points never have the same."""
        name = f"{xid.hex()}/{kind}/{point}"
        found = self._known.get(name)
        if found is None:
            found = self._known[name] = self._counters.new_source()
            self._dirty[f"source/{name}"] = json.dumps([found.slot]).encode()
        return found

    def forget(self, xid: bytes) -> None:
        start = f"{xid.hex()}/"
        for name in [name for name in self._known if name.startswith(start)]:
            del self._known[name]
            self._dirty[f"source/{name}"] = None


@dataclass(slots=True, repr=False, eq=False)
class Correlated:
    """A session of a task, and the numbers of what is handed over of it.

    kind       what its IRI are: "sip", "5g", "" = none came yet
    addresses  of its last SIP message
    heard      when anything of it came, on the monotonic clock
    numbers    by (LIID, destination, IRI or CC)
    giver      whose media are handed over, where several points see the call; `given_ns`: when the latest happened
    withheld   how many of another's came since then, at `withheld_ns`
    """

    xid: bytes
    correlation: int
    cin: int
    rules: Session = field(default_factory=Session)
    kind: str = ""
    addresses: tuple[str, str] = ("0.0.0.0", "0.0.0.0")  # noqa: S104 - of nobody
    media: bool = False
    heard: float = 0.0
    numbers: dict[tuple[str, str, int], Counter] = field(default_factory=dict)
    giver: Source | None = None
    given_ns: int = 0
    withheld: int = 0
    withheld_ns: int = 0

    @property
    def name(self) -> str:
        return f"session/{self.xid.hex()}/{self.correlation:016x}"

    def packed(self) -> bytes:
        return json.dumps(
            {
                "cin": self.cin,
                "phase": self.rules.phase.value,
                "invite": self.rules.invite,
                "dialogs": self.rules.dialogs,
                "ringing": self.rules.ringing,
                "kind": self.kind,
                "addresses": self.addresses,
                "media": self.media,
                "numbers": [[*key, counter.slot] for key, counter in self.numbers.items()],
            }
        ).encode()


class Sessions:
    """The table of CINs: by (task, correlation). Correlation 0, of no session, has one too."""

    def __init__(self, state: State, counters: Counters, now: float) -> None:
        """`now`: on the monotonic clock."""
        self._counters = counters
        self._sessions: dict[tuple[bytes, int], Correlated] = {}
        self._cins: set[int] = set()
        self._dirty: dict[str, Correlated | None] = {}
        for name, value in state.rows("session"):
            xid, _, correlation = name.partition("/")
            read = json.loads(value)
            session = Correlated(
                xid=bytes.fromhex(xid),
                correlation=int(correlation, 16),
                cin=read["cin"],
                rules=Session(Phase(read["phase"]), read["invite"], tuple(read["dialogs"]), tuple(read["ringing"])),
                kind=read["kind"],
                addresses=(read["addresses"][0], read["addresses"][1]),
                media=read["media"],
                heard=now,
            )
            session.numbers = {
                (liid, did, kind): counters.known(slot, Counter) for liid, did, kind, slot in read["numbers"]
            }
            self._sessions[session.xid, session.correlation] = session
            self._cins.add(session.cin)

    def of(self, xid: bytes, correlation: int, now: float) -> Correlated:
        found = self._sessions.get((xid, correlation))
        return found if found is not None else self.anew(xid, correlation, now)

    def anew(self, xid: bytes, correlation: int, now: float) -> Correlated:
        """Another session under this number, with a CIN of its own; the one before is over."""
        self._drop((xid, correlation))
        cin = self._draw()
        session = self._sessions[xid, correlation] = Correlated(xid, correlation, cin, heard=now)
        self._cins.add(cin)
        self.changed(session)
        return session

    def changed(self, session: Correlated) -> None:
        """Whatever of it is written has changed: it is part of the next commit."""
        self._dirty[session.name] = session

    def number(self, session: Correlated, liid: str, did: str, kind: int) -> Counter:
        """The counter of one stream of it: its value is the next sequence number."""
        found = session.numbers.get((liid, did, kind))
        if found is None:
            found = session.numbers[liid, did, kind] = self._counters.new()
            self.changed(session)
        return found

    def collect(self) -> dict[str, bytes | None]:
        """Rows that are others since the last time, for the next commit."""
        found = {name: None if one is None else one.packed() for name, one in self._dirty.items()}
        self._dirty.clear()
        return found

    def all(self) -> list[Correlated]:
        return list(self._sessions.values())

    def forget(self, xid: bytes) -> None:
        for key in [key for key in self._sessions if key[0] == xid]:
            self._drop(key)

    def retire(self, wanted: Callable[[Correlated], bool]) -> list[Correlated]:
        """Forgets sessions that have ended, or of which only content ever came, and are not `wanted` any more."""
        found = [one for key, one in self._sessions.items() if key[1] and not one.rules.open and not wanted(one)]
        for session in found:
            self._drop((session.xid, session.correlation))
        return found

    def _drop(self, key: tuple[bytes, int]) -> None:
        session = self._sessions.pop(key, None)
        if session is not None:
            self._cins.discard(session.cin)
            self._dirty[session.name] = None

    def _draw(self) -> int:
        while True:
            cin = secrets.randbelow(_U32) + 1
            if cin not in self._cins:
                return cin


def slots_of(state: State) -> set[int]:
    """Counters that rows name."""
    found = {slot for _, value in state.rows("source") for slot in json.loads(value)}
    found |= {slot for _, value in state.rows("number") for slot in json.loads(value)}
    return found | {entry[3] for _, value in state.rows("session") for entry in json.loads(value)["numbers"]}


class Numbers:
    """Counters of what is of no session: messages to an agency, keep-alives, integrity checks."""

    def __init__(self, state: State, counters: Counters) -> None:
        self._counters = counters
        self._known = {name: counters.known(json.loads(value)[0], Counter) for name, value in state.rows("number")}
        self._dirty: dict[str, bytes | None] = {}

    def collect(self) -> dict[str, bytes | None]:
        found, self._dirty = self._dirty, {}
        return found

    def of(self, name: str) -> Counter:
        found = self._known.get(name)
        if found is None:
            found = self._known[name] = self._counters.new()
            self._dirty[f"number/{name}"] = json.dumps([found.slot]).encode()
        return found

    def forget(self, start: str) -> None:
        for name in [name for name in self._known if name.startswith(start)]:
            del self._known[name]
            self._dirty[f"number/{name}"] = None


@dataclass(slots=True)
class Tables:
    """All that is remembered."""

    sessions: Sessions
    sources: Sources
    numbers: Numbers
    counters: Counters
