"""Driver `stream-intake`: one intake for each CDN path that is another path's fallback here, as units."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence

from nf.contracts.driver import Context, Drift, DriverContext, Event, Operation, Ownership, State, Step, Undo
from nf.contracts.json import JsonObject
from nf.contracts.units import UnitState, UnitStatus
from nf.documents.model import DocumentModel
from nf.errors import InputError, NfError, Problem, RefusedError, UnavailableError
from nf.media.documents import IntakeChannel, IntakeSection
from nf.media.intake import plan as planning
from nf.media.intake.client import IntakeStatus, ask
from nf.media.intake.remux import program
from nf.media.intake.telemetry import IntakeWatch
from nf.media.intake.units import (
    UNIT_PREFIX,
    channel_of,
    directory,
    key,
    outputs_of,
    status_socket,
    unit_name,
    unit_spec,
)

NAME = "stream-intake"
_GONE = frozenset({UnitState.STOPPED, UnitState.FAILED})
_POLL_S = 0.25
_EVENT_INTERVAL_S = 1.0
_RESTORE = "intake.restore"


def _section(want: DocumentModel | None) -> IntakeSection | None:
    if want is not None and not isinstance(want, IntakeSection):
        raise InputError(f"not a {NAME} section: {type(want).__name__}", where=NAME)
    return want


class StreamIntake:
    name = NAME
    section = NAME
    operations: Mapping[str, Operation] = {}

    def __init__(self, context: DriverContext) -> None:
        self._units = context.units
        self._run_dir = context.run_dir
        self._clock = context.clock
        self.owns = Ownership(paths=frozenset({directory(self._run_dir)}), units=frozenset({f"{UNIT_PREFIX}*"}))

    async def _running(self) -> dict[str, tuple[IntakeChannel, UnitStatus]]:
        return {name: found for name, found in (await self._defined()).items() if found[1].state not in _GONE}

    async def _defined(self) -> dict[str, tuple[IntakeChannel, UnitStatus]]:
        """Also those that stand still."""
        found = {}
        for status in await self._units.list():
            channel = channel_of(status.spec) if status.spec is not None else None
            if channel is not None:
                found[key(channel)] = (channel, status)
        return found

    async def _ask(self, channel: IntakeChannel) -> IntakeStatus | None:
        """What the intake says; None when it is silent or is for something else than its unit."""
        status = await ask(status_socket(self._run_dir, unit_name(channel)))
        meant = {
            "channel": channel.channel,
            "path": channel.path,
            "url": channel.url,
            "host": channel.host,
            "segment_ms": channel.segment_ms,
            "outputs": outputs_of(channel),
        }
        return status if status is not None and status.arguments == meant else None

    async def observe(self) -> State:
        running = await self._running()
        if not running:
            return State(None)
        return State(IntakeSection(channels=tuple(channel for _, (channel, _) in sorted(running.items()))).to_json())

    def plan(self, have: State, want: DocumentModel | None) -> tuple[Step, ...]:
        return planning.plan(have, _section(want))

    async def check(self, steps: Sequence[Step], want: DocumentModel | None) -> None:  # noqa: ARG002 - the contract's
        """Raises RefusedError when there is no ffmpeg on this machine."""
        if not any(step.kind == planning.START for step in steps):
            return
        try:
            program()
        except UnavailableError as error:
            problem = Problem(error.message, error.remedy, key=error.where)
            raise RefusedError("nothing can be taken in here", where=self.name, problems=[problem]) from None

    async def prepare(self, step: Step) -> Undo:
        """What the unit of this channel is before the step: an intake that runs, or nothing."""
        touched = IntakeChannel.model_validate(step.arguments["channel"])
        before = (await self._running()).get(key(touched))
        data: JsonObject = {"unit": unit_name(touched), "channel": before[0].to_json() if before else None}
        return Undo(_RESTORE, data)

    async def apply(self, step: Step, context: Context) -> None:  # noqa: ARG002 - the contract's
        """Raises DriverError when the intake does not come up, InputError for a step of another version."""
        channel = IntakeChannel.model_validate(step.arguments["channel"])
        match (step.kind, step.version):
            case (planning.START, 1):
                await self._ensure(channel)
            case (planning.STOP, 1):
                await self._units.remove(unit_name(channel))
            case _:
                raise InputError(f"unknown step {step.kind} version {step.version}", where=self.name)

    async def _ensure(self, channel: IntakeChannel) -> None:
        spec = unit_spec(channel, self._run_dir)
        now = await self._units.status(spec.name)
        known = channel_of(now.spec) if now is not None and now.spec is not None else None
        if now is not None and now.state is UnitState.READY and known == channel:
            return
        await self._units.define(spec)
        await (self._units.start if now is None or now.state in _GONE else self._units.restart)(spec.name)

    async def undo(self, undo: Undo, context: Context) -> None:  # noqa: ARG002 - the contract's
        if undo.kind != _RESTORE:
            raise InputError(f"unknown undo {undo.kind}", where=self.name)
        before = undo.data["channel"]
        if before is None:
            await self._units.remove(str(undo.data["unit"]))
        else:
            await self._ensure(IntakeChannel.model_validate(before))

    async def verify(self, want: DocumentModel | None, context: Context) -> Drift:
        """Every intake runs for what it is wanted for. That nothing comes in is no drift: it has an alarm."""
        wanted = planning.channels_of(_section(want))
        while True:
            differences = await self._differences(wanted)
            if not differences or context.remaining() <= 0 or context.cancel.is_set():
                return Drift(differences)
            await self._clock.sleep(_POLL_S)

    async def _differences(self, wanted: Mapping[str, IntakeChannel]) -> tuple[str, ...]:
        running = await self._running()
        lines = [f"{name}: still taken in, though no longer committed" for name in running.keys() - wanted.keys()]
        for name, channel in wanted.items():
            found = running.get(name)
            if found is None:
                lines.append(f"{name}: its intake is not there")
            elif found[0] != channel:
                lines.append(f"{name}: its intake runs with other settings")
            elif found[1].state is not UnitState.READY:
                lines.append(f"{name}: its intake is {found[1].state.value} {found[1].last_exit}".rstrip())
            elif await self._ask(channel) is None:
                lines.append(f"{name}: its intake does not answer")
        return tuple(sorted(lines))

    async def events(self) -> AsyncIterator[Event]:
        """Every second, for each channel: a sample of the point `intake`; alarms as they change."""
        watches: dict[str, IntakeWatch] = {}
        while True:
            now = self._clock.now()
            try:
                defined = await self._defined()
            except NfError:
                defined = {}  # no supervisor: its own alarm says so
            for name in [one for one in watches if one not in defined or defined[one][0] != watches[one].channel]:
                for event in watches.pop(name).end(now):
                    yield event
            answers = await asyncio.gather(*(self._ask(channel) for channel, _ in defined.values()))
            for (name, (channel, unit)), status in zip(defined.items(), answers, strict=True):
                for event in watches.setdefault(name, IntakeWatch(channel)).take(status, unit, now):
                    yield event
            await self._clock.sleep(_EVENT_INTERVAL_S)


def create(context: DriverContext) -> StreamIntake:
    """Entry point of `nf.drivers`."""
    return StreamIntake(context)
