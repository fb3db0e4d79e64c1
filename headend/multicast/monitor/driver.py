"""Driver `multicast-monitor`: one process that measures what comes in of the section's flows.

It is set while the process runs with the configuration that was applied; what it measures is for samples and alarms.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence

from headend.multicast.documents import MonitorSection
from headend.multicast.monitor.client import MonitorStatus, ask
from headend.multicast.monitor.telemetry import MonitorWatch
from headend.multicast.monitor.units import UNIT, Places, digest, section_of, text_of
from nf.contracts.driver import Context, Drift, DriverContext, Event, Operation, Ownership, State, Step, Undo
from nf.contracts.units import UnitState, bring_up
from nf.documents.model import DocumentModel
from nf.errors import DriverError, InputError

CONFIGURE, REMOVE, RESTORE = "monitor.configure", "monitor.remove", "monitor.restore"
_POLL_S, _EVENTS_S, _ACTIVE_S = 0.1, 1.0, 10.0
_CONFIGURE_S, _REMOVE_S = 75.0, 40.0


class MonitorDriver:
    name = "multicast-monitor"
    section = "multicast-monitor"
    operations: Mapping[str, Operation] = {}

    def __init__(self, context: DriverContext) -> None:
        self._appliance = context.appliance
        self._units = context.units
        self._clock = context.clock
        self._places = Places.of(context.run_dir, context.state_dir)
        self.owns = Ownership(paths=frozenset({self._places.file, self._places.directory}), units=frozenset({UNIT}))

    async def observe(self) -> State:
        """What the file says; under `altered` what is not so."""
        text = self._places.read()
        unit = await self._units.status(UNIT)
        if text is None and unit is None:
            return State(None)
        section = section_of(text) if text is not None else None
        value = (section or MonitorSection()).to_json()
        wrong = await self._wrong(text)
        if section is None:
            wrong = "its file was changed by hand"
        return State({**value, "altered": wrong} if wrong else value)

    async def _wrong(self, text: str | None) -> str:
        unit = await self._units.status(UNIT)
        if unit is None or text is None:
            return "the monitor is not there"
        if unit.state is not UnitState.READY:
            return f"the monitor is {unit.state.value} {unit.last_exit}".rstrip()
        return _runs_other(await ask(self._places.directory), text)

    def plan(self, have: State, want: DocumentModel | None) -> tuple[Step, ...]:
        section = MonitorSection.narrowed(want)
        if section is None:
            return () if have.value is None else (_remove(),)
        return () if have.value == section.to_json() else (_configure(section),)

    async def check(self, steps: Sequence[Step], want: DocumentModel | None) -> None:
        """Nothing can refuse it: an interface that is not there yet is listened on when it comes."""

    async def prepare(self, step: Step) -> Undo:  # noqa: ARG002 - the file before is the undo of any step
        running = await self._units.status(UNIT) is not None
        return Undo(RESTORE, {"text": self._places.read(), "unit": running})

    async def apply(self, step: Step, context: Context) -> None:  # noqa: ARG002 - the contract's
        """Raises DriverError when the monitor does not run so, InputError for a strange step."""
        match (step.kind, step.version):
            case (kind, 1) if kind == CONFIGURE:
                await self._ensure(text_of(MonitorSection.model_validate(step.arguments["section"])))
            case (kind, 1) if kind == REMOVE:
                await self._units.remove(UNIT)
                self._places.write(None)
            case _:
                raise InputError(f"unknown step {step.kind} version {step.version}", where=self.name)

    async def _ensure(self, text: str) -> None:
        same = self._places.read() == text
        if same and not await self._wrong(text):
            return
        self._places.write(text)
        spec = self._places.unit()
        now = await self._units.status(UNIT)
        await bring_up(self._units, spec, now, patient=same)
        began = self._clock.monotonic()
        while wrong := _runs_other(await ask(self._places.directory), text):
            if self._clock.monotonic() - began >= _ACTIVE_S:
                raise DriverError(wrong, where=self.name, remedy=f"read the log of unit {UNIT}")
            await self._clock.sleep(_POLL_S)

    async def undo(self, undo: Undo, context: Context) -> None:  # noqa: ARG002 - the contract's
        if undo.kind != RESTORE:
            raise InputError(f"unknown undo {undo.kind}", where=self.name)
        text = undo.data["text"]
        if isinstance(text, str) and undo.data["unit"] and section_of(text) is not None:
            await self._ensure(text)
        else:  # as it was found, though nothing ran by it
            await self._units.remove(UNIT)
            self._places.write(text if isinstance(text, str) else None)

    async def verify(self, want: DocumentModel | None, context: Context) -> Drift:
        while True:
            lines = _differences(await self.observe(), MonitorSection.narrowed(want))
            if not lines or not await context.again(_POLL_S):
                return Drift(lines)

    async def events(self) -> AsyncIterator[Event]:
        """Every second a sample `path.mdi` of each flow; alarms as they change."""
        watch: MonitorWatch | None = None
        while True:
            if self._places.read() is None:
                for event in watch.end(self._clock.now()) if watch is not None else ():
                    yield event
                watch = None
            else:
                watch = watch or MonitorWatch(self._appliance)
                for event in watch.take(await ask(self._places.directory), self._clock.now()):
                    yield event
            await self._clock.sleep(_EVENTS_S)


def _runs_other(status: MonitorStatus | None, text: str) -> str:
    if status is None:
        return "the monitor does not answer"
    return "" if status.config == digest(text.encode()) else "the monitor runs with other settings"


def _configure(section: MonitorSection) -> Step:
    return Step(
        id="monitor.configure",
        kind=CONFIGURE,
        arguments={"section": section.to_json()},
        budget_s=_CONFIGURE_S,
        undo_budget_s=_CONFIGURE_S,
        summary=f"measure {len(section.flows)} flows on {', '.join(section.interfaces) or 'no interface'}",
    )


def _remove() -> Step:
    return Step(
        id="monitor.remove",
        kind=REMOVE,
        arguments={},
        budget_s=_REMOVE_S,
        undo_budget_s=_CONFIGURE_S,
        summary="stop measuring",
    )


def _differences(have: State, want: MonitorSection | None) -> tuple[str, ...]:
    if want is None:
        return () if have.value is None else ("the monitor is still there",)
    if have.value is None:
        return ("the monitor is not there",)
    altered = have.value.get("altered")
    if altered:
        return (str(altered),)
    return () if have.value == want.to_json() else ("the monitor measures other flows",)


def create(context: DriverContext) -> MonitorDriver:
    """The entry point of the group `nf.drivers`."""
    return MonitorDriver(context)
