"""Driver `ingest`: one receiver for each contribution that is not simply sent to its readers' port."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence

from nf.contracts.driver import (
    Checkpoint,
    Context,
    Drift,
    DriverContext,
    Event,
    Operation,
    Ownership,
    State,
    Step,
    Undo,
)
from nf.contracts.json import JsonObject
from nf.contracts.units import UnitState, UnitStatus
from nf.documents.model import DocumentModel
from nf.errors import DriverError, InputError, NfError, NotFoundError, Problem, RefusedError, UnavailableError
from nf.media.documents import IngestSection, IngestSource
from nf.media.ingest.client import IngestStatus, ask, fail_back
from nf.media.ingest.planner import FAILBACK, INGEST
from nf.media.ingest.receivers import program
from nf.media.ingest.switch import Role
from nf.media.ingest.telemetry import IngestWatch
from nf.media.ingest.units import (
    UNIT_PREFIX,
    directory,
    same_arguments,
    source_of,
    status_socket,
    unit_name,
    unit_spec,
)

START, STOP, REPLACE = "ingest.start", "ingest.stop", "ingest.replace"
_RESTORE = "ingest.restore"
_GONE = frozenset({UnitState.STOPPED, UnitState.FAILED})
_START_BUDGET_S, _STOP_BUDGET_S = 35.0, 10.0
_POLL_S = 0.25
_EVENT_INTERVAL_S = 1.0


def _section(want: DocumentModel | None) -> IngestSection | None:
    if want is not None and not isinstance(want, IngestSection):
        raise InputError(f"not an ingest section: {type(want).__name__}", where="ingest")
    return want


def _sources(section: IngestSection | None) -> dict[str, IngestSource]:
    return {} if section is None else {source.source: source for source in section.sources}


def plan(have: State, want: IngestSection | None) -> tuple[Step, ...]:
    """Pure. Those that end come first, since one of the others may take over their port."""
    running = _sources(None if have.value is None else IngestSection.model_validate(have.value))
    wanted = _sources(want)
    steps = [_step(STOP, running[name]) for name in sorted(running.keys() - wanted.keys())]
    for name, source in sorted(wanted.items()):
        if name not in running:
            steps.append(_step(START, source))
        elif running[name] != source:
            steps.append(_step(REPLACE, source))
    return tuple(steps)


def _step(kind: str, source: IngestSource) -> Step:
    verb = kind.partition(".")[2]
    costs = {STOP: f"whoever reads {source.source} at udp port {source.port} gets nothing more", START: ""}
    return Step(
        id=f"{verb} {source.source}",
        kind=kind,
        arguments={"source": source.to_json()},
        budget_s=_STOP_BUDGET_S if kind == STOP else _START_BUDGET_S,
        undo_budget_s=_START_BUDGET_S,
        disruption=costs.get(kind, f"{source.source} is interrupted for about a second"),
        summary=f"{verb} the receiver of {source.source}: {source.type} to udp port {source.port}",
    )


class Ingest:
    name = INGEST
    section = INGEST

    def __init__(self, context: DriverContext) -> None:
        self._units = context.units
        self._run_dir = context.run_dir
        self._clock = context.clock
        self.operations: Mapping[str, Operation] = {FAILBACK: Failback(self)}

    @property
    def owns(self) -> Ownership:
        return Ownership(paths=frozenset({directory(self._run_dir)}), units=frozenset({f"{UNIT_PREFIX}*"}))

    async def _defined(self) -> dict[str, tuple[IngestSource, UnitStatus]]:
        found = {}
        for status in await self._units.list():
            source = source_of(status.spec) if status.spec is not None else None
            if source is not None:
                found[source.source] = (source, status)
        return found

    async def _running(self) -> dict[str, tuple[IngestSource, UnitStatus]]:
        return {name: found for name, found in (await self._defined()).items() if found[1].state not in _GONE}

    async def status(self, source: IngestSource) -> IngestStatus | None:
        """What the receiver says; None when it is silent or is for something else than its unit."""
        status = await ask(status_socket(self._run_dir, source.source))
        return status if status is not None and same_arguments(source, status.arguments) else None

    async def observe(self) -> State:
        running = await self._running()
        if not running:
            return State(None)
        sources = tuple(source for _, (source, _) in sorted(running.items()))
        return State(IngestSection(sources=sources).to_json())

    def plan(self, have: State, want: DocumentModel | None) -> tuple[Step, ...]:
        return plan(have, _section(want))

    async def check(self, steps: Sequence[Step], want: DocumentModel | None) -> None:  # noqa: ARG002 - the contract's
        """Raises RefusedError when a receiver is not on this machine."""
        problems = []
        begun = [IngestSource.model_validate(step.arguments["source"]) for step in steps if step.kind != STOP]
        for kind in sorted({source.type for source in begun} - {"udp"}):
            try:
                program(kind)
            except UnavailableError as error:
                problems.append(Problem(error.message, error.remedy, key=error.where))
        if problems:
            raise RefusedError("a contribution cannot be received here", where=self.name, problems=problems)

    async def prepare(self, step: Step) -> Undo:
        source = IngestSource.model_validate(step.arguments["source"])
        before = (await self._running()).get(source.source)
        return Undo(_RESTORE, {"source": source.source, "before": before[0].to_json() if before else None})

    async def apply(self, step: Step, context: Context) -> None:  # noqa: ARG002 - the contract's
        """Raises DriverError when the receiver does not come up, InputError for a step of another version."""
        source = IngestSource.model_validate(step.arguments["source"])
        match (step.kind, step.version):
            case (("ingest.start" | "ingest.replace"), 1):
                await self._ensure(source)
            case ("ingest.stop", 1):
                await self._units.remove(unit_name(source.source))
            case _:
                raise InputError(f"unknown step {step.kind} version {step.version}", where=self.name)

    async def _ensure(self, source: IngestSource) -> None:
        spec = unit_spec(source, self._run_dir)
        now = await self._units.status(spec.name)
        if now is not None and now.state is UnitState.READY and now.spec is not None and source_of(now.spec) == source:
            return
        await self._units.define(spec)
        if now is None or now.state in _GONE:
            await self._units.start(spec.name)
        else:
            await self._units.restart(spec.name)

    async def undo(self, undo: Undo, context: Context) -> None:  # noqa: ARG002 - the contract's
        if undo.kind != _RESTORE:
            raise InputError(f"unknown undo {undo.kind}", where=self.name)
        before = undo.data["before"]
        if before is None:
            await self._units.remove(unit_name(str(undo.data["source"])))
        else:
            await self._ensure(IngestSource.model_validate(before))

    async def verify(self, want: DocumentModel | None, context: Context) -> Drift:
        """A silent contribution is no drift: it has an alarm."""
        wanted = _sources(_section(want))
        while True:
            differences = await self._differences(wanted)
            if not differences or context.remaining() <= 0 or context.cancel.is_set():
                return Drift(differences)
            await self._clock.sleep(_POLL_S)

    async def _differences(self, wanted: Mapping[str, IngestSource]) -> tuple[str, ...]:
        running = await self._running()
        lines = [f"{name}: still received, though no longer committed" for name in running.keys() - wanted.keys()]
        for name, source in wanted.items():
            found = running.get(name)
            if found is None:
                lines.append(f"{name}: its receiver is not there")
            elif found[0] != source:
                lines.append(f"{name}: its receiver runs with other settings")
            elif found[1].state is not UnitState.READY or await self.status(source) is None:
                lines.append(f"{name}: its receiver is {found[1].state.value} {found[1].last_exit}".rstrip())
        return tuple(sorted(lines))

    async def events(self) -> AsyncIterator[Event]:
        """Every second, for each contribution: a sample `ingest.source`; alarms as they change."""
        watches: dict[str, IngestWatch] = {}
        while True:
            now = self._clock.now()
            try:
                defined = await self._defined()
            except NfError:
                defined = {}  # no supervisor: its own alarm says so
            for name in [one for one in watches if one not in defined or defined[one][0] != watches[one].source]:
                for event in watches.pop(name).end(now):
                    yield event
            for name, (source, unit) in defined.items():
                watch = watches.setdefault(name, IngestWatch(source))
                for event in watch.take(await self.status(source), unit, now):
                    yield event
            await self._clock.sleep(_EVENT_INTERVAL_S)

    async def fail_back(self, name: str, context: Context) -> IngestStatus:
        """Take the primary back at its next random access point, and wait until it goes out.

        Raises NotFoundError (no such contribution here), RefusedError (its primary is silent), DriverError.
        """
        path = status_socket(self._run_dir, name)
        status = await fail_back(path)
        if status is None:
            raise NotFoundError("no such contribution is received here", where=name, remedy="see spec.sources")
        while status is None or status.active is not Role.PRIMARY:
            if status is not None and Role.PRIMARY not in status.alive:
                raise RefusedError("the primary is silent", where=name, remedy="let it be sent, and ask again")
            if context.remaining() <= 0 or context.cancel.is_set():
                raise DriverError("the primary never said where a decoder can begin", where=name)
            await asyncio.sleep(_POLL_S)
            status = await ask(path)
        return status


class Failback:
    """Operation `ingest.failback`, arguments `{"source": ID}`."""

    def __init__(self, driver: Ingest) -> None:
        self._driver = driver

    async def run(self, arguments: JsonObject, checkpoint: Checkpoint, context: Context) -> JsonObject:  # noqa: ARG002 - the contract's
        status = await self._driver.fail_back(str(arguments["source"]), context)
        return {"active": "primary", "switches": status.switches}


def create(context: DriverContext) -> Ingest:
    """Entry point of `nf.drivers`."""
    return Ingest(context)
