"""What a subscriber must be in this core: pure. Every broken rule is a Problem with its place in the file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address
from typing import Any, Final

from core5g.documents import Core5g, Network, Slice
from core5g.subscribers import columns
from core5g.subscribers.documents import SubscribedSession, Subscriber
from core5g.subscribers.keys import Keys, Opener, check
from core5g.subscribers.reading import Entry, File
from core5g.subscribers.scope import Scope
from core5g.subscribers.showing import REMOVED, like_a_key, shown
from core5g.ue import prefix_of
from nf.documents.keys import Loc
from nf.documents.rules import nearest
from nf.documents.validation import Violation, validate_part
from nf.errors import Problem

MAX_PROBLEMS: Final = 1000


@dataclass(frozen=True, slots=True)
class Judged:
    """A subscriber that breaks no rule. `keys` is None where none were written: a change keeps those that are there."""

    entry: Entry = field(repr=False)
    subscriber: Subscriber
    keys: Keys | None = field(repr=False)

    @property
    def imsi(self) -> str:
        return self.subscriber.imsi


def slice_text(one: Slice) -> str:
    return f"{one.sst}-{one.sd}" if one.sd else str(one.sst)


def complete(data: Mapping[str, Any], core: Core5g) -> dict[str, Any]:
    """What is not said is: the first DNN of the core, its first slice, and the addresses that the DNN has pools for."""
    sessions = data.get("sessions", [{}])
    if not isinstance(sessions, list):
        return dict(data)
    return {**data, "sessions": [_session(one, core) if isinstance(one, dict) else one for one in sessions]}


def _session(session: dict[str, Any], core: Core5g) -> dict[str, Any]:
    filled = {"dnn": core.networks[0].dnn, "slice": slice_text(core.slices[0]), **session}
    if "type" not in filled:
        versions = {pool.version for pool in _pools(core, filled["dnn"])}
        filled["type"] = {frozenset({4}): "ipv4", frozenset({6}): "ipv6"}.get(frozenset(versions), "ipv4v6")
    return filled


def _pools(core: Core5g, dnn: object) -> tuple[Network, ...]:
    return next((one.pools for one in core.networks if one.dnn == dnn), ())


def problem(file: str, entry: Entry, loc: Loc, rule: str, remedy: str, *, value: object = None) -> Problem:
    line, column, key = entry.places.find(loc)
    return Problem(rule, remedy, file, line, column, REMOVED if like_a_key(key) else key[:80], shown(value))


def judge(file: File, core: Core5g, scope: Scope, opener: Opener) -> tuple[list[Judged], list[Problem]]:
    """All entries by themselves and against each other."""
    judged: list[Judged] = []
    problems = list(file.problems)
    for entry in file.entries:
        one, found = judge_entry(file.name, entry, core, scope, opener)
        problems += found
        if one is not None:
            judged.append(one)
    return judged, [*problems, *_twice(file)]


def judge_entry(
    name: str, entry: Entry, core: Core5g, scope: Scope, opener: Opener
) -> tuple[Judged | None, list[Problem]]:
    """One subscriber, or what is wrong with it."""
    subscriber, violations = validate_part(Subscriber, complete(entry.data, core))
    found = [_violation(name, entry, violation) for violation in violations]
    keys, key_problems = check(entry.security, entry.imsi, opener)
    found += [problem(name, entry, ("security", one.name), one.rule, one.remedy) for one in key_problems]
    if subscriber is not None:
        found += [
            problem(name, entry, loc, rule, remedy, value=value)
            for loc, rule, remedy, value in _in_core(subscriber, core, scope)
        ]
    elif entry.imsi and not scope.covers(entry.imsi) and not any(one.key.startswith("imsi") for one in found):
        found.append(problem(name, entry, ("imsi",), *_strange(scope), value=entry.imsi))
    return (None if found or subscriber is None else Judged(entry, subscriber, keys)), found


def _violation(name: str, entry: Entry, violation: Violation) -> Problem:
    value = None if violation.at_key else _at(entry.data, violation.loc)
    remedy = violation.remedy
    if violation.at_key and len(violation.loc) == 1 and entry.cells is None:
        remedy = nearest(str(violation.loc[0]), (*columns.OWN, "security", "sessions"))  # keys stand apart
    return problem(name, entry, violation.loc, violation.rule, remedy, value=value)


def _at(data: object, loc: Loc) -> object:
    for part in loc:
        inside = part < len(data) if isinstance(data, list) and isinstance(part, int) else False
        if not inside and not (isinstance(data, dict) and part in data):
            return None
        data = data[part]  # type: ignore[index]  # one of the two, as was just asked
    return data


Broken = tuple[Loc, str, str, object]


def _strange(scope: Scope) -> tuple[str, str]:
    return f"the IMSI is not of PLMN {scope}", f"its IMSIs begin with {scope.prefix}; import others by themselves"


def _in_core(subscriber: Subscriber, core: Core5g, scope: Scope) -> Iterator[Broken]:
    if not scope.covers(subscriber.imsi):
        yield ("imsi",), *_strange(scope), subscriber.imsi
    slices = [slice_text(one) for one in core.slices]
    dnns = [one.dnn for one in core.networks]
    for number, session in enumerate(subscriber.sessions):
        loc: Loc = ("sessions", number)
        if session.slice not in slices:
            yield (*loc, "slice"), "the core has no such slice", nearest(session.slice, slices), session.slice
        if session.dnn not in dnns:
            yield (*loc, "dnn"), "the core has no such DNN", nearest(session.dnn, dnns), session.dnn
            continue
        for name, address in (("ipv4", session.ipv4), ("ipv6", session.ipv6)):
            if address is not None and (broken := _address(address, _pools(core, session.dnn))) is not None:
                yield (*loc, name), *broken, address


def _address(address: IPv4Address | IPv6Address, pools: Iterable[Network]) -> tuple[str, str] | None:
    """Rule and remedy of a static address that cannot be given."""
    of_version = [pool for pool in pools if pool.version == address.version]
    pool = next((one for one in of_version if address in one), None)
    if pool is None:
        known = ", ".join(map(str, of_version)) or "none of this kind"
        return "the address is in no pool of its DNN", f"take one of: {known}"
    if isinstance(pool, IPv4Network) and address in (pool.network_address, pool.broadcast_address):
        return "this is the address of the pool itself", "take another one of the pool"
    if int(address) == int(pool.network_address) + 1 or (
        isinstance(address, IPv6Address) and pool.network_address in prefix_of(address)
    ):
        return "the pool's first address is the UPF's own", "take another one of the pool"
    return None


def static_addresses(sessions: Iterable[SubscribedSession]) -> Iterator[tuple[int, str, str]]:
    """Number of the session, `ipv4` or `ipv6`, and what has to be unique: the address, or its /64."""
    for number, session in enumerate(sessions):
        if session.ipv4 is not None:
            yield number, "ipv4", str(session.ipv4)
        if session.ipv6 is not None:
            yield number, "ipv6", str(prefix_of(session.ipv6))


def _twice(file: File) -> Iterator[Problem]:
    """What stands twice in the file: IMSIs as they are written, so that it is found beside other problems."""
    first: dict[str, int] = {}
    for entry in file.entries:
        if not entry.imsi:
            continue
        if entry.imsi in first:
            rule = f"the IMSI stands in line {first[entry.imsi]} already"
            yield problem(file.name, entry, ("imsi",), rule, "remove one of the two", value=entry.imsi)
        first.setdefault(entry.imsi, entry.line)


def addresses_twice(file: str, judged: Iterable[Judged]) -> Iterator[Problem]:
    """Static addresses that several subscribers of the file have."""
    first: dict[str, int] = {}
    for one in judged:
        for number, name, identity in static_addresses(one.subscriber.sessions):
            if identity in first:
                rule = f"the address is given in line {first[identity]} already"
                yield problem(
                    file, one.entry, ("sessions", number, name), rule, "give every subscriber its own", value=identity
                )
            first.setdefault(identity, one.entry.line)


def bounded(problems: list[Problem]) -> list[Problem]:
    """In the order of the file, at most a thousand."""
    ordered = sorted(problems, key=lambda one: (one.line, one.column, one.key, one.rule))
    more = len(ordered) - MAX_PROBLEMS
    if more <= 0:
        return ordered
    return [*ordered[:MAX_PROBLEMS], Problem(f"and {more} more problems", "repair the first ones and check again")]
