"""The driver of section `open5gs`: the functions as units of the supervisor, each with a file of its own.

Open5GS reads its file once, so a change is a restart of exactly the functions whose file changed. Files survive a boot,
so that functions start again without anybody's help. Facts: those that a function provides, while its unit is ready.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

from core5g.open5gs import gate, guard
from core5g.open5gs.documents import ManagedFunction, Open5gsSection
from core5g.open5gs.drain import DRAIN, Drain
from core5g.open5gs.lint import config_problems
from core5g.open5gs.naming import SBI_PORTS, START_ORDER, unit_name
from core5g.open5gs.plan import CONFIGURE, REMOVE, RESTORE, SESSIONS, UNGUARDED, UNITS, differences, plan
from core5g.open5gs.poller import InfoClient, session_count
from core5g.open5gs.render import from_text, to_text
from core5g.open5gs.telemetry import DETAIL_S, POLL_S, CoreWatch, read_all
from core5g.open5gs.units import config_path, curl_problem, info_address, program_problem, unit_spec
from nf.contracts.driver import Context, Drift, DriverContext, Event, Operation, Ownership, State, Step, Undo
from nf.contracts.json import Json, JsonObject
from nf.contracts.units import UnitSpec, UnitState, UnitStatus
from nf.documents.model import DocumentModel
from nf.errors import InputError, NfError, Problem, RefusedError, UnavailableError

_VERIFY_S = 0.25


class Open5gsDriver:
    name = "open5gs"
    section = "open5gs"

    def __init__(self, context: DriverContext) -> None:
        self._appliance = context.appliance
        self._state_dir = context.state_dir
        self._units = context.units
        self._clock = context.clock
        self.owns = Ownership(
            nft_tables=frozenset({f"{gate.FAMILY} {gate.TABLE}", f"{guard.FAMILY} {guard.TABLE}"}),
            paths=frozenset({config_path(self._state_dir, "nrf").parent}),
            units=frozenset(map(unit_name, START_ORDER)),
        )
        self.operations: Mapping[str, Operation] = {DRAIN: Drain(self._upf)}

    # -- reading ----------------------------------------------------------------------------------------------------

    def _file(self, kind: str) -> Path:
        return config_path(self._state_dir, kind)

    def _read(self, kind: str) -> str | None:
        try:
            return self._file(kind).read_text()
        except FileNotFoundError:
            return None

    async def functions(self) -> dict[str, tuple[ManagedFunction | None, UnitStatus | None]]:
        """Kind -> what its file says (None: it has none of ours) and its unit; only what is there at all."""
        found: dict[str, tuple[ManagedFunction | None, UnitStatus | None]] = {}
        units = {status.name: status for status in await self._units.list()}
        for kind in START_ORDER:
            status, text = units.get(unit_name(kind)), self._read(kind)
            if status is not None or text is not None:
                found[kind] = (from_text(text) if text is not None else None, status)
        return found

    async def observe(self) -> State:
        """Beside the section: `units` that are not as they should be, and `sessions` of those that count them."""
        found = await self.functions()
        if not found:
            return State(None)
        functions: list[Json] = []
        amiss: JsonObject = {}
        listed = [function for function, _ in found.values() if function is not None and function.peers]
        guarded = not listed or await guard.read() == guard.wanted(listed)
        facts: set[str] = set()
        counted: list[ManagedFunction] = []
        for kind, (function, status) in found.items():
            if function is not None:
                functions.append(function.to_json())
            told = self._amiss(function, status)
            if not told and function in listed and not guarded:
                told = UNGUARDED
            if told:
                amiss[kind] = told
            elif function is not None and status is not None and status.state is UnitState.READY:
                facts |= set(function.provides)
                counted.append(function)
        counts = await asyncio.gather(*map(_count, counted))
        sessions: JsonObject = {
            function.kind: count for function, count in zip(counted, counts, strict=True) if count is not None
        }
        value: JsonObject = {"functions": functions}
        value |= {UNITS: amiss} if amiss else {}
        value |= {SESSIONS: sessions} if sessions else {}
        return State(value, frozenset(facts))

    def _amiss(self, function: ManagedFunction | None, status: UnitStatus | None) -> str:
        """Why its unit needs a step; empty when it needs none, such as while the supervisor starts it again."""
        if function is None:
            return "without a file of ours"
        if status is None:
            return "without a unit"
        if status.state.gone:
            return f"{status.state.value} {status.last_exit}".rstrip()
        wanted = unit_spec(function, self._state_dir, self._appliance)
        return "" if status.spec is None or _same_program(status.spec, wanted) else "altered"

    async def _upf(self) -> ManagedFunction | None:
        function, status = (await self.functions()).get("upf", (None, None))
        return function if status is not None and not status.state.gone else None

    # -- planning ---------------------------------------------------------------------------------------------------

    def plan(self, have: State, want: DocumentModel | None) -> tuple[Step, ...]:
        return plan(have, Open5gsSection.narrowed(want))

    async def check(self, steps: Sequence[Step], want: DocumentModel | None) -> None:
        """The programs are here, their libcurl works, and no file has what makes Open5GS abort."""
        section = Open5gsSection.narrowed(want)
        started = {step.id for step in steps if step.kind == CONFIGURE}
        functions = [one for one in (section.functions if section else ()) if f"open5gs.{one.kind}" in started]
        problems: list[Problem] = []
        for function in functions:
            problems += config_problems(function.kind, function.config)
            absent = program_problem(function.kind)
            if absent is not None:
                problems.append(absent)
            elif function.kind in SBI_PORTS and (broken := await curl_problem(function.kind)) is not None:
                problems.append(broken)
        if problems:
            where = f"{self._appliance}, {self.section}"
            raise RefusedError("Open5GS cannot run like this here", where=where, problems=problems)

    # -- changing ---------------------------------------------------------------------------------------------------

    async def prepare(self, step: Step) -> Undo:
        kind = _kind(step)
        function, status = (await self.functions()).get(kind, (None, None))
        data: JsonObject = {
            "kind": kind,
            "function": function.to_json() if function is not None else None,
            "runs": status is not None and not status.state.gone,
        }
        return Undo(RESTORE, data)

    async def apply(self, step: Step, context: Context) -> None:
        """Raises DriverError with the log's tail when a function does not come up, InputError for a step of another
        version."""
        kind = _kind(step)
        if step.kind == CONFIGURE:
            await self._bring_up(ManagedFunction.model_validate(step.arguments["function"]), context)
        else:
            await self._remove(kind)
        if kind == "upf":
            await gate.open_again()  # it has no sessions any more that it could be drained of

    async def undo(self, undo: Undo, context: Context) -> None:
        if undo.kind != RESTORE:
            raise InputError(f"unknown undo {undo.kind}", where=self.name)
        function = undo.data.get("function")
        if function is None:
            await self._remove(str(undo.data["kind"]))
        elif undo.data.get("runs"):
            await self._bring_up(ManagedFunction.model_validate(function), context)
        else:
            before = ManagedFunction.model_validate(function)
            await self._units.remove(unit_name(before.kind))
            self._write(before.kind, to_text(before, context.resolve_secret))
            await self._guard()

    async def _bring_up(self, function: ManagedFunction, context: Context) -> None:
        """With this file, restarted when it ran with another or may have."""
        spec = unit_spec(function, self._state_dir, self._appliance)
        text, before = to_text(function, context.resolve_secret), self._read(function.kind)
        old = from_text(before) if before is not None else None
        status = await self._units.status(spec.name)
        fresh = (
            status is not None
            and status.state is UnitState.READY
            and status.spec is not None
            and _same_program(status.spec, spec)
            and old is not None
            and old.config == function.config
            and status.since >= self._file(function.kind).stat().st_mtime
        )
        if before != text:
            self._write(function.kind, text, keep_time=fresh)
        await self._guard()
        if status is None or status.spec != spec:
            await self._units.define(spec)
        if fresh:
            return
        if status is None or status.state.gone:
            await self._units.start(spec.name)
        else:
            await self._units.restart(spec.name)

    async def _remove(self, kind: str) -> None:
        await self._units.remove(unit_name(kind))
        self._file(kind).unlink(missing_ok=True)
        await self._guard()

    async def _guard(self) -> None:
        """As the files say: before a UPF listens, and until it is gone."""
        texts = [text for kind in START_ORDER if (text := self._read(kind)) is not None]
        found = [function for text in texts if (function := from_text(text)) is not None]
        await guard.make(guard.wanted(found))

    def _write(self, kind: str, text: str, *, keep_time: bool = False) -> None:
        """Whole or not at all. `keep_time`: what its unit read when it started is the same."""
        path = self._file(kind)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        before = path.stat() if keep_time else None
        candidate = path.with_suffix(".new")
        with open(candidate, "w", opener=_private) as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if before is not None:
            os.utime(candidate, ns=(before.st_atime_ns, before.st_mtime_ns))
        candidate.replace(path)

    async def verify(self, want: DocumentModel | None, context: Context) -> Drift:
        """A function that the supervisor is starting is waited for."""
        section = Open5gsSection.narrowed(want)
        while True:
            lines = await self._differences(section)
            if not lines or not await context.again(_VERIFY_S):
                return Drift(lines)

    async def _differences(self, section: Open5gsSection | None) -> tuple[str, ...]:
        state = await self.observe()
        lines = [*differences(state.value, section)]
        for function in section.functions if section is not None and not lines else ():
            if not set(function.provides) <= state.facts:
                status = await self._units.status(unit_name(function.kind))
                told = f"{status.state.value} {status.last_exit}".rstrip() if status is not None else "gone"
                lines.append(f"{function.kind.upper()} is {told}")
        return tuple(lines)

    # -- events -----------------------------------------------------------------------------------------------------

    async def events(self) -> AsyncIterator[Event]:
        """Samples `core5g.*` and alarms as they change; see `core5g.open5gs.telemetry`."""
        watch = CoreWatch(self._appliance)
        detailed_at = -DETAIL_S
        while True:
            detail = self._clock.monotonic() - detailed_at >= DETAIL_S
            detailed_at = self._clock.monotonic() if detail else detailed_at
            try:
                found = await self.functions()
            except NfError:
                found = {}  # no supervisor: its own alarm says so
            functions = [function for function, status in found.values() if function is not None and status is not None]
            for event in watch.take(functions, await read_all(functions, detail=detail), self._clock.now()):
                yield event
            await self._clock.sleep(POLL_S)


def create(context: DriverContext) -> Open5gsDriver:
    """Entry point of the group `nf.drivers`."""
    return Open5gsDriver(context)


async def _count(function: ManagedFunction) -> int | None:
    address = info_address(function)
    if not address:
        return None
    try:
        return session_count(function.kind, await InfoClient(address).metrics())
    except UnavailableError:
        return None


def _same_program(one: UnitSpec, other: UnitSpec) -> bool:
    return (one.argv, one.environment) == (other.argv, other.environment)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _kind(step: Step) -> str:
    arguments = step.arguments
    if (step.kind, step.version) == (REMOVE, 1):
        return str(arguments["kind"])
    if (step.kind, step.version) == (CONFIGURE, 1):
        function = arguments["function"]
        if isinstance(function, dict):
            return str(function["kind"])
    raise InputError(f"unknown step {step.kind} version {step.version}", where="open5gs")
