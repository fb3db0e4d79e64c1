"""Driver `multicast-source`: one source stage for each committed channel, as units of the supervisor."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import AsyncIterator, Mapping, Sequence

from headend.multicast.documents import SourceSection, SourceStage
from headend.multicast.source import plan as planning
from headend.multicast.source.client import StageStatus, Stream, ask
from headend.multicast.source.telemetry import LOST_AFTER_S, StageWatch
from headend.multicast.source.units import UNIT_PREFIX, key, second_of, stage_of, status_socket, unit_name, unit_spec
from nf.contracts.driver import Context, Drift, DriverContext, Event, Operation, Ownership, State, Step, Undo
from nf.contracts.json import JsonObject
from nf.contracts.units import UnitState, UnitStatus, bring_up
from nf.documents.model import DocumentModel
from nf.errors import DriverError, InputError, NfError, Problem, RefusedError

_POLL_S = 0.1
_EVENT_INTERVAL_S = 1.0
_RESTORE = "source.restore"


def _stage(data: object) -> SourceStage:
    return SourceStage.model_validate(data)


class MulticastSource:
    """A stage is `there` as long as the supervisor keeps it alive; its facts hold once it answers."""

    name = "multicast-source"
    section = "multicast-source"

    def __init__(self, context: DriverContext) -> None:
        self._units = context.units
        self._run_dir = context.run_dir
        self._clock = context.clock

    @property
    def owns(self) -> Ownership:
        return Ownership(paths=frozenset({self._run_dir / "source"}), units=frozenset({f"{UNIT_PREFIX}*"}))

    @property
    def operations(self) -> Mapping[str, Operation]:
        return {}

    async def _running(self) -> dict[str, tuple[SourceStage, UnitStatus]]:
        found = {}
        for status in await self._units.list():
            stage = stage_of(status.spec) if status.spec is not None and not status.state.gone else None
            if stage is not None:
                found[key(stage)] = (stage, status)
        return found

    async def _ask(self, stage: SourceStage) -> StageStatus | None:
        """What the stage says; None when it is silent or does something else than its unit is for."""
        status = await ask(status_socket(self._run_dir, unit_name(stage)))
        meant = Stream(
            f"0.0.0.0:{stage.contribution_port}",
            str(stage.source),
            str(stage.group),
            stage.port,
            stage.rate_bps,
            stage.dscp,
            stage.encapsulation,
            second_of(stage),
        )
        return status if status is not None and status.stream == meant else None

    async def observe(self) -> State:
        running = await self._running()
        stages = [stage for _, (stage, _) in sorted(running.items())]
        answers = await asyncio.gather(*map(self._ask, stages))
        facts = {fact for stage, answer in zip(stages, answers, strict=True) if answer for fact in stage.provides}
        return State(SourceSection(stages=tuple(stages)).to_json(), frozenset(facts))

    def plan(self, have: State, want: DocumentModel | None) -> tuple[Step, ...]:
        return planning.plan(have, SourceSection.narrowed(want))

    async def check(self, steps: Sequence[Step], want: DocumentModel | None) -> None:  # noqa: ARG002 - the contract's
        """Raises RefusedError when another program holds a contribution port."""
        ours = {stage.contribution_port for stage, _ in (await self._running()).values()}
        problems = []
        for step in steps:
            new = step.arguments.get("stage" if step.kind == planning.START else "new")
            if step.kind == planning.STOP or new is None:
                continue
            port = _stage(new).contribution_port
            if port not in ours and not _port_is_free(port):
                problems.append(
                    Problem(
                        rule="the contribution port is held by another program",
                        remedy=f"stop that program (ss -ulpn 'sport = :{port}' names it) or use another port",
                        key=step.id,
                        value=f"udp/{port}",
                    )
                )
        if problems:
            raise RefusedError("a contribution port is not free", where=self.name, problems=problems)

    async def prepare(self, step: Step) -> Undo:
        """What the unit of this stage is before the step: a stage that runs, or nothing."""
        touched = _stage(step.arguments["old" if step.kind == planning.REPLACE else "stage"])
        before = (await self._running()).get(key(touched))
        data: JsonObject = {"unit": unit_name(touched), "stage": before[0].to_json() if before else None}
        return Undo(_RESTORE, data)

    async def apply(self, step: Step, context: Context) -> None:  # noqa: ARG002 - the contract's
        """Raises DriverError when the stage does not come up, InputError for a step of another version."""
        match (step.kind, step.version):
            case (planning.START, 1):
                await self._ensure(_stage(step.arguments["stage"]))
            case (planning.REPLACE, 1):
                await self._ensure(_stage(step.arguments["new"]))
            case (planning.STOP, 1):
                await self._units.remove(unit_name(_stage(step.arguments["stage"])))
            case _:
                raise InputError(f"unknown step {step.kind} version {step.version}", where=self.name)

    async def _ensure(self, stage: SourceStage) -> None:
        spec = unit_spec(stage, self._run_dir)
        now = await self._units.status(spec.name)
        if now is not None and now.state is UnitState.READY and now.spec is not None and stage_of(now.spec) == stage:
            return
        await bring_up(self._units, spec, now)

    async def undo(self, undo: Undo, context: Context) -> None:  # noqa: ARG002 - the contract's
        if undo.kind != _RESTORE:
            raise InputError(f"unknown undo {undo.kind}", where=self.name)
        before = undo.data["stage"]
        if before is None:
            await self._units.remove(str(undo.data["unit"]))
        else:
            await self._ensure(_stage(before))

    async def verify(self, want: DocumentModel | None, context: Context) -> Drift:
        """A silent contribution is no drift (it has an alarm); one that comes in and does not leave is."""
        wanted = planning.stages_of(SourceSection.narrowed(want))
        while True:
            differences = await self._differences(wanted)
            if not differences or not await context.again(_POLL_S):
                return Drift(differences)

    async def _differences(self, wanted: Mapping[str, SourceStage]) -> tuple[str, ...]:
        running = await self._running()
        lines = [f"{name}: still emitted, though no longer committed" for name in running.keys() - wanted.keys()]
        for name, stage in wanted.items():
            found = running.get(name)
            if found is None:
                lines.append(f"{name}: its source stage is not there")
            elif found[0] != stage:
                lines.append(f"{name}: its source stage runs with other settings")
            elif found[1].state is not UnitState.READY:
                lines.append(f"{name}: its source stage is {found[1].state.value} {found[1].last_exit}".rstrip())
            else:
                lines += _stream_differences(name, stage, await self._ask(stage))
        return tuple(sorted(lines))

    async def events(self) -> AsyncIterator[Event]:
        """Every second, for each stage: samples of the points `contribution` and `source`; alarms as they change."""
        watches: dict[str, StageWatch] = {}
        while True:
            now = self._clock.now()
            try:
                running = {name: stage for name, (stage, _) in (await self._running()).items()}
            except NfError:
                running = {}  # no supervisor: its own alarm says so
            for name in [known for known in watches if running.get(known) != watches[known].stage]:
                for event in watches.pop(name).end(now):
                    yield event
            for name, stage in running.items():
                watch = watches.setdefault(name, StageWatch(stage))
                for event in watch.take(await self._ask(stage), now):
                    yield event
            await self._clock.sleep(_EVENT_INTERVAL_S)


def _stream_differences(name: str, stage: SourceStage, status: StageStatus | None) -> list[str]:
    if status is None:
        return [f"{name}: its source stage does not answer"]
    arriving = status.contribution.age_s is not None and status.contribution.age_s < LOST_AFTER_S
    if arriving and (status.source.age_s is None or status.source.age_s >= LOST_AFTER_S):
        return [f"{name}: the contribution arrives and nothing leaves {status.last_send_error}".rstrip()]
    if arriving and stage.second is not None and (status.second is None or not status.second.datagrams):
        why = status.second.last_send_error if status.second is not None else ""
        return [f"{name}: nothing leaves from {stage.second.source} {why}".rstrip()]
    return []


def _port_is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.bind(("0.0.0.0", port))  # noqa: S104 - as the stage will bind it
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            raise DriverError(f"cannot try udp port {port}: {error}", where="multicast-source") from error
    return True


def create(context: DriverContext) -> MulticastSource:
    """The entry point of the group `nf.drivers`."""
    return MulticastSource(context)
