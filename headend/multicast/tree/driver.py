"""The driver of section `multicast-tree`: only committed (S, G) cross this router, all other 232/8 is dropped.

What is pinned is kept in the kernel's table by a unit of its own, since the agent may be away when pimd restarts.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence

from headend.multicast.documents import TreeEntry, TreeSection
from headend.multicast.mfc.kernel import read_kernel
from headend.multicast.mfc.pins import Pin, missing
from headend.multicast.nft_generation import generation
from headend.multicast.trace.names import TRACE
from headend.multicast.trace.operation import TreeTrace
from headend.multicast.tree.client import list_table, run_transaction
from headend.multicast.tree.legs import LegAlarms
from headend.multicast.tree.pinning import UNIT, keep, kept, pins_of
from headend.multicast.tree.render import (
    FAMILY,
    MAX_FACT,
    TABLE,
    base_commands,
    canonical_section,
    delete_commands,
    entry_commands,
    parse_table,
    restore_commands,
    withdraw_commands,
)
from headend.multicast.tree.routes import dump_routes
from headend.multicast.tree.telemetry import TreeMeter
from nf.contracts.driver import Context, Drift, DriverContext, Event, Operation, Ownership, State, Step, Undo
from nf.contracts.json import Json, JsonObject
from nf.documents.model import DocumentModel
from nf.errors import DriverError, Problem, RefusedError

ADMIT, WITHDRAW, REMOVE, RESTORE = "tree.admit", "tree.withdraw", "tree.remove", "tree.restore"
PIN, RESTORE_PINS = "tree.pin", "tree.restore-pins"
POLL_S, EVENTS_S = 0.1, 1.0


class TreeDriver:
    name = "multicast-tree"
    section = "multicast-tree"
    owns = Ownership(nft_tables=frozenset({f"{FAMILY} {TABLE}"}), units=frozenset({UNIT}))

    def __init__(self, context: DriverContext) -> None:
        self.operations: Mapping[str, Operation] = {TRACE: TreeTrace(context, self.standing)}
        self._appliance = context.appliance
        self._clock = context.clock
        self._units = context.units

    async def observe(self) -> State:
        """The facts are what the standing entries provide. A damaged table shows under the key `damage`, and what is
        kept under `pins` where that is not what the entries say."""
        listed, pins = await list_table(), await kept(self._units)
        if listed is None:
            return State({"damage": ["there is no table"], "pins": _texts(pins)} if pins else None)
        entries, damage = parse_table(listed)
        value = TreeSection(entries=entries).to_json()
        if pins != pins_of(entries):
            value["pins"] = _texts(pins)
        if damage:
            value["damage"] = list(damage)
        return State(value, frozenset(fact for entry in entries for fact in entry.provides))

    async def standing(self) -> list[TreeEntry]:
        """The entries as they stand in the gate. Raises DriverError."""
        return list(parse_table(await list_table() or ())[0])

    def plan(self, have: State, want: DocumentModel | None) -> tuple[Step, ...]:
        if want is None:
            gate = () if have.value is None else (_remove_step(_entries(have.value)),)
            return (*gate, *([_pin_step(())] if _kept(have.value) else []))
        wanted = {_text(entry): entry for entry in _section(want).entries}
        live = {_text(entry): entry for entry in _entries(have.value)}
        added = [entry for text, entry in wanted.items() if text not in live]
        removed = [entry for text, entry in live.items() if text not in wanted]
        rebuild = have.value is None or "damage" in have.value
        steps: list[Step] = []
        if added or rebuild:
            keys = {_key(entry) for entry in added}  # an entry that changes is replaced by its admission
            removed = [entry for entry in removed if _key(entry) not in keys]
            steps.append(_admit_step(added))
        if removed:
            steps.append(_withdraw_step(removed))
        pins = _texts(pins_of(_section(want).entries))
        if pins != _kept(have.value):
            steps.append(_pin_step(pins))
        return tuple(steps)

    async def check(self, steps: Sequence[Step], want: DocumentModel | None) -> None:
        """Rules that nftables' comments impose, then `nft -c` on the very transactions."""
        problems = _problems(_section(want)) if want is not None else []
        if problems:
            raise RefusedError(
                "the tree cannot hold this", where=f"{self._appliance}, {self.section}", problems=problems
            )
        for step in steps:
            if step.kind != PIN:
                await run_transaction(await self._commands(step), check_only=True)

    async def prepare(self, step: Step) -> Undo:
        if step.kind == PIN:
            return Undo(RESTORE_PINS, {"pins": _texts(await kept(self._units))})
        listed = await list_table()
        return Undo(RESTORE, {"table": None if listed is None else list(listed)})

    async def apply(self, step: Step, context: Context) -> None:  # noqa: ARG002 - one transaction, done at once
        if step.kind == PIN:
            await keep(self._units, _pins(step.arguments["pins"]))
        else:
            await run_transaction(await self._commands(step))

    async def _commands(self, step: Step) -> list[JsonObject]:
        """The one transaction of a step, against the table as it is now: also right when it ran before."""
        listed = await list_table()
        entries = _entries(step.arguments)
        if step.kind == REMOVE:
            return delete_commands()
        if step.kind == WITHDRAW:
            return withdraw_commands(entries, listed or ())
        if step.kind != ADMIT:
            raise DriverError(f"unknown kind of step `{step.kind}`", where=step.id)
        if listed is None or parse_table(listed)[1]:
            standing, _ = parse_table(listed or ())
            keys = {_key(entry) for entry in entries}
            kept = [entry for entry in standing if _key(entry) not in keys]
            return [*delete_commands(), *base_commands(), *entry_commands([*kept, *entries])]
        return [*withdraw_commands(entries, listed), *entry_commands(entries)]

    async def undo(self, undo: Undo, context: Context) -> None:  # noqa: ARG002 - one transaction, done at once
        if undo.kind == RESTORE_PINS:
            await keep(self._units, _pins(undo.data["pins"]))
            return
        table = undo.data["table"]
        if undo.kind != RESTORE:
            raise DriverError(f"unknown kind of undo `{undo.kind}`", where=self.section)
        before = [entry for entry in table if isinstance(entry, dict)] if isinstance(table, list) else None
        await run_transaction(restore_commands(before))

    async def verify(self, want: DocumentModel | None, context: Context) -> Drift:
        while True:
            drift = Drift((*_differences((await self.observe()).value, want), *await _loose_pins(want)))
            if not drift or not await context.again(POLL_S):
                return drift

    async def events(self) -> AsyncIterator[Event]:
        """Every second a sample `path.hop` of each admitted (S, G), point `tree`. Alarm `legs-share-router` on
        `<appliance>/<channel>/<path>`."""
        meter, legs = TreeMeter(), LegAlarms(self._appliance)
        entries: list[TreeEntry] = []
        read_at: int | None = None
        while True:
            try:
                now = generation()
                if now is None or now != read_at:
                    entries, read_at = await self.standing(), now
                routes = dump_routes() if entries else {}
            except DriverError:
                entries, routes, read_at = [], {}, None  # the next observation for reconcile tells it as an error
            for sample in meter.take(entries, routes, self._clock.monotonic(), self._clock.now()):
                yield sample
            for alarm in legs.take(entries, routes, self._clock.now()):
                yield alarm
            await self._clock.sleep(EVENTS_S)


def create(context: DriverContext) -> TreeDriver:
    """Entry point of the group `nf.drivers`."""
    return TreeDriver(context)


def _section(want: DocumentModel) -> TreeSection:
    if not isinstance(want, TreeSection):
        raise TypeError(f"section `multicast-tree` holds a TreeSection, not {type(want).__name__}")
    return canonical_section(want)


def _key(entry: TreeEntry) -> tuple[str, str]:
    return (str(entry.source), str(entry.group))


def _text(entry: TreeEntry) -> str:
    return entry.model_dump_json()


def _entries(value: JsonObject | None) -> list[TreeEntry]:
    listed = (value or {}).get("entries")
    return [TreeEntry.model_validate(entry) for entry in listed] if isinstance(listed, list) else []


def _json(entries: Iterable[TreeEntry]) -> list[Json]:
    return [entry.to_json() for entry in entries]


def _names(entries: Iterable[TreeEntry]) -> str:
    return ", ".join(f"{entry.channel}/{entry.path}" for entry in entries) or "nothing"


def _texts(pins: Iterable[Pin]) -> list[Json]:
    return [str(pin) for pin in pins]


def _pins(value: Json) -> tuple[Pin, ...]:
    return tuple(Pin.parse(str(text)) for text in value) if isinstance(value, list) else ()


def _kept(value: JsonObject | None) -> list[Json]:
    """The pins that are kept, as `observe` tells it."""
    told = (value or {}).get("pins")
    return told if isinstance(told, list) else _texts(pins_of(_entries(value)))


async def _loose_pins(want: DocumentModel | None) -> tuple[str, ...]:
    """What the kernel's table lacks of the pins of `want`."""
    entries = [entry for entry in _section(want).entries if entry.pinned is not None] if want is not None else []
    if not entries:
        return ()
    kernel = await read_kernel(entry.source for entry in entries)
    pins = [(entry, pin) for entry in entries for pin in pins_of([entry])]
    return tuple(f"{_names([entry])}: {reason}" for entry, pin in pins if (reason := missing(pin, kernel)))


def _pin_step(pins: Sequence[Json]) -> Step:
    return Step(
        id="tree.pin",
        kind=PIN,
        arguments={"pins": list(pins)},
        budget_s=30.0,
        undo_budget_s=30.0,
        summary=f"pin {len(pins)} channels" if pins else "pin nothing",
    )


def _admit_step(added: Sequence[TreeEntry]) -> Step:
    return Step(
        id="tree.admit",
        kind=ADMIT,
        arguments={"entries": _json(added)},
        budget_s=30.0,
        undo_budget_s=30.0,
        requires=frozenset(fact for entry in added for fact in entry.requires),
        provides=frozenset(fact for entry in added for fact in entry.provides),
        summary=f"admit {_names(added)}",
    )


def _withdraw_step(removed: Sequence[TreeEntry]) -> Step:
    return Step(
        id="tree.withdraw",
        kind=WITHDRAW,
        arguments={"entries": _json(removed)},
        budget_s=30.0,
        undo_budget_s=30.0,
        disruption=f"{_names(removed)} stops crossing this router",
        summary=f"withdraw {_names(removed)}",
    )


def _remove_step(entries: Sequence[TreeEntry]) -> Step:
    return Step(
        id="tree.remove",
        kind=REMOVE,
        arguments={},
        budget_s=30.0,
        undo_budget_s=30.0,
        disruption=f"the gate opens to any multicast; it held {_names(entries)}",
        summary="remove the gate",
    )


def _problems(section: TreeSection) -> list[Problem]:
    problems: list[Problem] = []
    seen: dict[tuple[str, str], TreeEntry] = {}
    for entry in section.entries:
        key = f"{entry.channel}/{entry.path}"
        other = seen.setdefault(_key(entry), entry)
        if other is not entry:
            rule = f"({entry.source}, {entry.group}) is also {other.channel}/{other.path}"
            problems.append(Problem(rule=rule, remedy="give each channel a group of its own", key=key))
        unfit = [fact for fact in (*entry.requires, *entry.provides) if not _fits_comment(fact)]
        remedy = f"at most {MAX_FACT} printable characters without quotes"
        problems += [Problem(rule="nftables cannot keep it", remedy=remedy, key=key, value=fact) for fact in unfit]
    return problems


def _fits_comment(fact: str) -> bool:
    return 0 < len(fact.encode()) <= MAX_FACT and '"' not in fact and fact.isprintable()


def _differences(have: JsonObject | None, want: DocumentModel | None) -> tuple[str, ...]:
    if want is None:
        return () if have is None else (f"table {TABLE} still stands",)
    if have is None:
        return (f"table {TABLE} does not exist: any multicast may cross",)
    wanted = {_text(entry): entry for entry in _section(want).entries}
    live = {_text(entry): entry for entry in _entries(have)}
    damage = have.get("damage")
    pins = _texts(pins_of(_section(want).entries))
    return (
        *(() if _kept(have) == pins else (f"pinned is {_kept(have)}, wanted {pins}",)),
        *(f"{_names([entry])} is not admitted as wanted" for text, entry in wanted.items() if text not in live),
        *(f"{_names([entry])} is admitted but not wanted" for text, entry in live.items() if text not in wanted),
        *(str(text) for text in (damage if isinstance(damage, list) else [])),
    )
