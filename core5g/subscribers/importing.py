"""Bulk import: everything is judged before anything is written; then batches, each as a whole or not at all.

The same file with the same choices goes on where it ended: the database keeps how many batches are in. Batches follow
the order of the IMSIs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from core5g.documents import Core5g
from core5g.open5gs.subscribers import Raw, SubscriberDatabase, difference, same_keys
from core5g.open5gs.subscribers_batches import Batch, Batches, Change
from core5g.open5gs.subscribers_shape import data_of, new_document
from core5g.subscribers.keys import NoSealer, Opener
from core5g.subscribers.reading import File
from core5g.subscribers.rules import Judged, addresses_twice, bounded, judge, judge_entry, problem, static_addresses
from core5g.subscribers.scope import Scope
from nf.contracts.json import JsonObject, canonical
from nf.errors import ConflictError, DocumentError, NfError, Problem, RefusedError

BATCH: Final = 500

Existing = Literal["refuse", "skip", "change"]
"""What becomes of lines whose subscriber is there already."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A file in which every line is right by itself. `key` names the import: file, PLMN and choices."""

    file: File
    core: Core5g = field(repr=False)
    scope: Scope
    existing: Existing
    size: int
    key: str
    subscribers: tuple[Judged, ...] = field(repr=False)

    def batches(self) -> Iterator[tuple[int, Sequence[Judged]]]:
        for number in range(self.count):
            yield number, self.subscribers[number * self.size : (number + 1) * self.size]

    @property
    def count(self) -> int:
        return -(-len(self.subscribers) // self.size)


@dataclass(slots=True)
class Outcome:
    """How many subscribers came to what; `resumed`: were in already from an earlier run of the same import."""

    added: int = 0
    changed: int = 0
    unchanged: int = 0
    skipped: int = 0
    resumed: int = 0

    def to_json(self) -> JsonObject:
        return {
            "added": self.added,
            "changed": self.changed,
            "unchanged": self.unchanged,
            "skipped": self.skipped,
            "resumed": self.resumed,
        }


Progress = Callable[[int], None]
"""Told how many subscribers are through."""


def prepare(
    data: bytes, file: File, core: Core5g, scope: Scope, opener: Opener, *, existing: Existing, size: int = BATCH
) -> Prepared:
    """Raises DocumentError with every problem of the file. Asks no database."""
    judged, problems = judge(file, core, scope, opener)
    problems += addresses_twice(file.name, judged)
    if existing != "change":
        problems += [_keyless(file.name, one) for one in judged if one.keys is None]
    if problems:
        raise DocumentError(bounded(problems), where=file.name)
    name = canonical([hashlib.sha256(data).hexdigest(), str(scope), existing, size])
    ordered = tuple(sorted(judged, key=lambda one: one.imsi))
    return Prepared(
        file, core, scope, existing, size, f"import-{hashlib.sha256(name.encode()).hexdigest()[:32]}", ordered
    )


def _keyless(file: str, one: Judged) -> Problem:
    return problem(
        file, one.entry, ("security", "k"), "a new subscriber has keys", "add the columns k and opc, or k and op"
    )


@dataclass(frozen=True, slots=True)
class _Resolved:
    """A subscriber as it is to be; `before`: as it is in the database, None for a new one."""

    judged: Judged
    before: Raw | None = field(default=None, repr=False)


def _resolve(
    prepared: Prepared, part: Sequence[Judged], database: SubscriberDatabase
) -> tuple[list[_Resolved], list[Problem]]:
    """Those of `part` that are to be written, and what stands against it."""
    first, last = part[0].imsi, part[-1].imsi
    if prepared.existing == "change":
        return _resolve_changes(prepared, part, database.whole(first, last))
    present = database.present(first, last)
    resolved = [_Resolved(one) for one in part if one.imsi not in present]
    if prepared.existing == "skip":
        return resolved, []
    rule, remedy = "there is such a subscriber already", "remove the line, or add --existing skip or change"
    return resolved, [
        problem(prepared.file.name, one.entry, ("imsi",), rule, remedy, value=one.imsi)
        for one in part
        if one.imsi in present
    ]


def _resolve_changes(
    prepared: Prepared, part: Sequence[Judged], there: Mapping[str, Raw]
) -> tuple[list[_Resolved], list[Problem]]:
    resolved: list[_Resolved] = []
    problems: list[Problem] = []
    name = prepared.file.name
    for one in part:
        before = there.get(one.imsi)
        if before is None:
            problems += [_keyless(name, one)] if one.keys is None else []
            resolved.append(_Resolved(one))
            continue
        entry = one.entry.over(data_of(before))
        judged, found = judge_entry(name, entry, prepared.core, prepared.scope, NoSealer())
        problems += found
        if one.keys is not None and not same_keys(before.get("security") or {}, one.keys):
            rule = "these are not the keys that the subscriber has"
            remedy = "leave the columns of the keys out; a new SIM is `nf subscriber set IMSI --keys FILE`"
            problems.append(problem(name, entry, ("security", "k"), rule, remedy))
        if judged is not None:
            resolved.append(_Resolved(judged, before))
    return resolved, problems


def _check(prepared: Prepared, database: SubscriberDatabase, done: int) -> None:
    """All that is left, against what is in the database. Raises DocumentError."""
    problems: list[Problem] = []
    wanted: list[Judged] = []
    for number, part in prepared.batches():
        if number >= done:
            resolved, found = _resolve(prepared, part, database)
            problems += found
            wanted += [one.judged for one in resolved]
    problems += addresses_twice(prepared.file.name, wanted)
    problems += taken_addresses(prepared.file.name, wanted, database)
    if problems:
        raise DocumentError(bounded(problems), where=prepared.file.name)


def taken_addresses(file: str, judged: Sequence[Judged], database: SubscriberDatabase) -> list[Problem]:
    """Static addresses that another subscriber has. Whose they are is said inside one's own PLMN only."""
    if not any(True for one in judged for _ in static_addresses(one.subscriber.sessions)):
        return []
    there = database.addresses()
    moving = {one.imsi for one in judged}
    found: list[Problem] = []
    for one in judged:
        for number, name, identity in static_addresses(one.subscriber.sessions):
            holder = there.get(identity)
            if holder is None or holder in moving:
                continue  # who is in the file gets what the file says, and there it is unique
            who = holder if database.scope.covers(holder) else "a subscriber of another PLMN"
            found.append(
                problem(
                    file,
                    one.entry,
                    ("sessions", number, name),
                    f"{who} has this address",
                    "take another one of the pool",
                    value=identity,
                )
            )
    return found


def run(prepared: Prepared, database: SubscriberDatabase, progress: Progress) -> Outcome:
    """Check against the database, then write. Raises DocumentError before the first batch, and nothing is written;
    later, whatever ends it, with how far it came.
    """
    outcome = Outcome()
    with Batches(database).writing() as batches:
        done = _standing(prepared, database, batches.done(prepared.key))
        _check(prepared, database, done)
        outcome.resumed = min(done * prepared.size, len(prepared.subscribers))
        progress(outcome.resumed)
        for number, part in prepared.batches():
            if number < done:
                continue
            try:
                resolved, problems = _resolve(prepared, part, database)
                if problems:
                    raise ConflictError("somebody else changed subscribers meanwhile", remedy="look again")
                batch = _batch(number, resolved)
                batches.apply(prepared.key, batch)
            except NfError as error:
                raise _ended(error, prepared, number, part) from None
            outcome.added += len(batch.new)
            outcome.changed += len(batch.changes)
            outcome.unchanged += len(resolved) - len(batch.new) - len(batch.changes)
            outcome.skipped += len(part) - len(resolved)
            progress(min((number + 1) * prepared.size, len(prepared.subscribers)))
        batches.forget(prepared.key)
    return outcome


def _standing(prepared: Prepared, database: SubscriberDatabase, done: int) -> int:
    """How many batches of an earlier run may be passed over: none when somebody removed subscribers of them since.

    Raises RefusedError where beginning anew would meet those that are left.
    """
    through = prepared.subscribers[: done * prepared.size]
    if not through:
        return 0
    gone = {one.imsi for one in through} - database.present(through[0].imsi, through[-1].imsi)
    if gone and prepared.existing == "refuse":
        raise RefusedError(
            f"subscribers that this import brought in before it was cut off were removed since: {len(gone)}, "
            f"{min(gone)} the first",
            where=prepared.file.name,
            remedy="add --existing skip: it brings in all that are missing",
        )
    return 0 if gone else done


def _batch(number: int, resolved: Sequence[_Resolved]) -> Batch:
    new = [
        new_document(one.judged.subscriber, one.judged.keys)
        for one in resolved
        if one.before is None and one.judged.keys is not None
    ]
    wanted = [
        Change(one.before, difference(one.before, one.judged.subscriber, None))
        for one in resolved
        if one.before is not None
    ]
    return Batch(number, new, [change for change in wanted if change.wanted])


def _ended(error: NfError, prepared: Prepared, number: int, part: Sequence[Judged]) -> NfError:
    """The same kind of error, with how far the import came."""
    again = f"then run the same command again: it goes on behind what is in, at batch {number + 1} or the next"
    return type(error)(
        f"{error.message}. Batch {number + 1} of {prepared.count} ({part[0].imsi} to {part[-1].imsi}) is in as a whole "
        f"or not at all; the {number * prepared.size} subscribers before it are in, and none behind it",
        where=error.where or prepared.file.name,
        remedy=f"{error.remedy}; {again}" if error.remedy else again,
    )
