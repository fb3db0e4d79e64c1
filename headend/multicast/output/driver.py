"""Driver `multicast-output`: the output stage of a PoP, one process for all outputs.

An output is set while the process runs with the configuration that was applied and can send from every address;
whether a feed comes is no part of that, it has alarms.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress

from headend.datapath import tell
from headend.multicast.documents import Output, OutputSection
from headend.multicast.output import hostroute
from headend.multicast.output import plan as planning
from headend.multicast.output.client import StageStatus, ask
from headend.multicast.output.config import digest
from headend.multicast.output.telemetry import OutputWatch
from headend.multicast.output.units import UNIT, Places, key, section_of, text_of
from nf.contracts.driver import Context, Drift, DriverContext, Event, Operation, Ownership, State, Step, Undo
from nf.contracts.json import Json, JsonObject
from nf.contracts.units import UnitState, bring_up
from nf.documents.model import DocumentModel
from nf.errors import DriverError, InputError, NfError

NAME = "multicast-output"
_POLL_S = 0.05
_EVENTS_S = 1.0
_ACTIVE_S = 5.0
_RETRIED_S = 1.5
"""The process tries every second to open what it could not."""


class MulticastOutput:
    name = NAME
    section = NAME
    operations: Mapping[str, Operation] = {}

    def __init__(self, context: DriverContext) -> None:
        self._appliance = context.appliance
        self._units = context.units
        self._clock = context.clock
        self._places = Places.of(context.run_dir, context.state_dir)
        self.owns = Ownership(
            paths=frozenset({self._places.files, self._places.sockets}),
            units=frozenset({UNIT}),
            route_protocols=frozenset({hostroute.PROTOCOL}),
        )

    # -- observing and planning -------------------------------------------------------------------------------------

    async def observe(self) -> State:
        """What the file says; under `altered`, by output, what is not so. A feed that does not come is none of that."""
        text = self._places.read()
        if text is None:
            return State(None)
        section = section_of(text)
        if section is None:
            return State({"altered": {planning.STAGE: "its file was changed by hand"}})
        altered: dict[str, Json] = {**await self._altered(text)}
        provided = {fact for output in section.outputs if key(output) not in altered for fact in output.provides}
        facts = frozenset() if planning.STAGE in altered else frozenset(provided)
        value: JsonObject = section.to_json()
        return State({**value, "altered": altered} if altered else value, facts)

    async def _altered(self, text: str) -> dict[str, str]:
        unit = await self._units.status(UNIT)
        if unit is None:
            return {planning.STAGE: "it is not there"}
        if unit.state is not UnitState.READY:
            return {planning.STAGE: f"it is {unit.state.value} {unit.last_exit}".rstrip()}
        return _wrong(await ask(self._places.sockets), text)

    def plan(self, have: State, want: DocumentModel | None) -> tuple[Step, ...]:
        return planning.plan(have, OutputSection.narrowed(want))

    async def check(self, steps: Sequence[Step], want: DocumentModel | None) -> None:
        """Nothing can be asked beforehand: the tap and the addresses may come with the same commit."""

    # -- changing ---------------------------------------------------------------------------------------------------

    async def prepare(self, step: Step) -> Undo:
        """The file as it is, as far as it concerns this output; whether anything runs by it."""
        text = self._places.read()
        section = section_of(text) if text is not None else None
        name = _name(step)
        before = next((output for output in section.outputs if key(output) == name), None) if section else None
        data: JsonObject = {
            "output": name,
            "before": before.to_json() if before is not None else None,
            "tap": section.tap if section is not None else None,
            "text": text if section is None else None,
        }
        return Undo(planning.RESTORE, data)

    async def apply(self, step: Step, context: Context) -> None:  # noqa: ARG002 - the contract's
        """Raises DriverError when the stage does not send so, InputError for a strange step."""
        match (step.kind, step.version):
            case (planning.SET, 1):
                output = Output.model_validate(step.arguments["output"])
                await self._set(key(output), output, str(step.arguments["tap"]))
            case (planning.REMOVE, 1):
                await self._set(_name(step), None, None)
            case (planning.CLEAR, 1):
                await self._stop()
            case _:
                raise InputError(f"unknown step {step.kind} version {step.version}", where=self.name)

    async def _set(self, name: str, output: Output | None, tap: str | None) -> None:
        """The same outputs, but for this one; without any the process ends. Raises DriverError."""
        text = self._places.read()
        section = section_of(text) if text is not None else None
        others = [other for other in section.outputs if key(other) != name] if section is not None else []
        outputs = [*others, output] if output is not None else others
        place = tap or (section.tap if section is not None else None)
        if not outputs or place is None:
            await self._stop()
            return
        await self._ensure(OutputSection(tap=place, outputs=tuple(outputs)), name if output is not None else None)

    async def _ensure(self, section: OutputSection, name: str | None) -> None:
        """A process that runs takes a new file without a break for what stays; else it is started."""
        text = text_of(section)
        same = self._places.read() == text
        self._places.write(text)
        spec = self._places.unit()
        now = await self._units.status(UNIT)
        if now is not None and now.state is UnitState.READY and now.spec == spec:
            tell(self._places.sockets, reload=True)
        else:
            await bring_up(self._units, spec, now, patient=same)
        began = self._clock.monotonic()
        while line := _hindrance(wrong := _wrong(await ask(self._places.sockets), text), name):
            patience_s = _ACTIVE_S if planning.STAGE in wrong else _RETRIED_S
            if self._clock.monotonic() - began >= patience_s:
                raise DriverError(line, where=self.name, remedy=f"read the log of unit {UNIT}")
            await self._clock.sleep(_POLL_S)

    async def _stop(self) -> None:
        """The process takes its routes with it; those of one that was killed are taken here."""
        await self._units.remove(UNIT)
        self._places.remove()
        with suppress(OSError):
            hostroute.release_all()

    async def undo(self, undo: Undo, context: Context) -> None:  # noqa: ARG002 - the contract's
        if undo.kind != planning.RESTORE:
            raise InputError(f"unknown undo {undo.kind}", where=self.name)
        name, before, tap, text = (undo.data[part] for part in ("output", "before", "tap", "text"))
        if text is not None:  # as it was found, though nothing runs by it
            await self._units.remove(UNIT)
            self._places.write(str(text))
            return
        output = Output.model_validate(before) if before is not None else None
        await self._set(str(name), output, str(tap) if tap is not None else None)

    async def verify(self, want: DocumentModel | None, context: Context) -> Drift:
        """Every output can be sent as it should; that something is received is for the probes to say."""
        section = OutputSection.narrowed(want)
        while True:
            lines = planning.differences(await self.observe(), section)
            if not lines or not await context.again(_POLL_S):
                return Drift(lines)

    # -- events -----------------------------------------------------------------------------------------------------

    async def events(self) -> AsyncIterator[Event]:
        """Every second, for each output: a sample `path.hop` of the point `output`; alarms as they change."""
        watch = OutputWatch(self._appliance)
        while True:
            text = self._places.read()
            section = section_of(text) if text is not None else None
            status = None
            with suppress(NfError):
                status = await ask(self._places.sockets) if section is not None and section.outputs else None
            for event in watch.take(section, status, self._clock.now()):
                yield event
            await self._clock.sleep(_EVENTS_S)


def _name(step: Step) -> str:
    output = step.arguments.get("output", "")
    return key(Output.model_validate(output)) if isinstance(output, dict) else str(output)


def _wrong(status: StageStatus | None, text: str) -> dict[str, str]:
    """Output -> what is wrong with it; under `STAGE`, what is wrong with all of them."""
    if status is None:
        return {planning.STAGE: "it does not answer"}
    if status.problems:
        return {planning.STAGE: "; ".join(status.problems)}
    if status.config != digest(text.encode()):
        return {planning.STAGE: "it runs with other settings"}
    return {output.key: "; ".join(output.problems) for output in status.outputs if output.problems}


def _hindrance(wrong: Mapping[str, str], name: str | None) -> str:
    """What stands against this output, or against all; "" when nothing does."""
    if planning.STAGE in wrong:
        return f"the output stage: {wrong[planning.STAGE]}"
    return f"output {name}: {wrong[name]}" if name is not None and name in wrong else ""


def create(context: DriverContext) -> MulticastOutput:
    """The entry point of the group `nf.drivers`."""
    return MulticastOutput(context)
