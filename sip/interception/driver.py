"""The driver of section `sip-interception`: one unit that runs wherever the section is rendered.

It knows whether the process is there, and nothing else: it cannot connect to it, tells no samples, and its plan is the
same whatever the process is asked to do.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Mapping, Sequence

from nf.contracts.driver import Context, Drift, DriverContext, Event, Operation, Ownership, State, Step, Undo
from nf.contracts.units import UnitState, UnitStatus, bring_up
from nf.documents.model import DocumentModel
from nf.errors import DriverError, InputError
from sip.interception.documents import SECTION, InterceptionSection
from sip.interception.units import GROUP, UNIT, USER, directory, section_of, unit_spec

RUN, STOP, RESTORE = "sip-interception.run", "sip-interception.stop", "sip-interception.restore"
_POLL_S = 0.1


class InterceptionDriver:
    name = SECTION
    section = SECTION
    operations: Mapping[str, Operation] = {}

    def __init__(self, context: DriverContext) -> None:
        self._run_dir = context.run_dir
        self._units = context.units

    @property
    def owns(self) -> Ownership:
        return Ownership(paths=frozenset({directory(self._run_dir)}), units=frozenset({UNIT}))

    async def _running(self) -> tuple[InterceptionSection, UnitStatus] | None:
        status = await self._units.status(UNIT)
        if status is None or status.state.gone:
            return None
        section = section_of(status.spec)
        return (section, status) if section is not None else None

    async def observe(self) -> State:
        running = await self._running()
        if running is None:
            return State(None)
        section, status = running
        return State(section.to_json(), frozenset(section.provides if status.state is UnitState.READY else ()))

    def plan(self, have: State, want: DocumentModel | None) -> tuple[Step, ...]:
        wanted = InterceptionSection.narrowed(want)
        standing = InterceptionSection.model_validate(have.value) if have.value is not None else None
        if wanted == standing:
            return ()
        if wanted is None:
            return (Step(SECTION, STOP, {}, undo_budget_s=75.0, summary="stop the observation point"),)
        return (
            Step(
                id=SECTION,
                kind=RUN,
                arguments={"section": wanted.to_json()},
                requires=frozenset(wanted.requires),
                provides=frozenset(wanted.provides),
                budget_s=75.0,
                undo_budget_s=75.0,
                summary="observation point of the voice core",
            ),
        )

    async def check(self, steps: Sequence[Step], want: DocumentModel | None) -> None:
        """Nothing can stand against it: interfaces may come later, and functions may be away."""

    async def prepare(self, step: Step) -> Undo:  # noqa: ARG002 - one unit, however it changes
        running = await self._running()
        return Undo(RESTORE, {"section": running[0].to_json() if running is not None else None})

    async def apply(self, step: Step, context: Context) -> None:  # noqa: ARG002 - a unit has a limit of its own
        """Raises DriverError when the unit does not come up."""
        if step.kind == RUN:
            await self._ensure(InterceptionSection.model_validate(step.arguments["section"]))
        elif step.kind == STOP:
            await self._units.remove(UNIT)
        else:
            raise DriverError(f"unknown kind of step `{step.kind}`", where=step.id)

    async def _ensure(self, wanted: InterceptionSection) -> None:
        running = await self._running()
        if running is not None and running[0] == wanted and running[1].state is UnitState.READY:
            return
        await asyncio.to_thread(self._make_directory)
        await bring_up(self._units, unit_spec(wanted, self._run_dir), await self._units.status(UNIT))

    def _make_directory(self) -> None:
        """The socket in it is its caller's alone; the way there is open. Raises DriverError."""
        place = directory(self._run_dir)
        try:
            place.mkdir(mode=0o711, parents=True, exist_ok=True)
            place.chmod(0o711)
            shutil.chown(place, USER, GROUP)
        except LookupError:
            pass  # the lab, where units run as whoever runs the supervisor
        except OSError as error:
            raise DriverError(f"cannot prepare {place}: {error.strerror}", remedy="run the agent as root") from error

    async def undo(self, undo: Undo, context: Context) -> None:  # noqa: ARG002 - a unit has a limit of its own
        if undo.kind != RESTORE:
            raise InputError(f"unknown undo {undo.kind}", where=self.name)
        before = undo.data["section"]
        if before is None:
            await self._units.remove(UNIT)
        else:
            await self._ensure(InterceptionSection.model_validate(before))

    async def verify(self, want: DocumentModel | None, context: Context) -> Drift:
        wanted = InterceptionSection.narrowed(want)
        while True:
            differences = await self._differences(wanted)
            if not differences or not await context.again(_POLL_S):
                return Drift(differences)

    async def _differences(self, wanted: InterceptionSection | None) -> tuple[str, ...]:
        running = await self._running()
        if wanted is None:
            return () if running is None else ("the observation point runs, though it should not",)
        if running is None:
            return ("the observation point is not there",)
        if running[0] != wanted:
            return ("the observation point runs with other settings",)
        return () if running[1].state is UnitState.READY else ("the observation point is not ready",)

    async def events(self) -> AsyncIterator[Event]:
        """None ever: whatever it could say would be about somebody."""
        nothing: tuple[Event, ...] = ()
        for event in nothing:
            yield event
        await asyncio.Event().wait()


def create(context: DriverContext) -> InterceptionDriver:
    """Entry point of the group `nf.drivers`."""
    return InterceptionDriver(context)
