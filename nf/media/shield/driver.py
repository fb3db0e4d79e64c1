"""The driver of section `cdn-shield`: Varnish between the origin and the edges.

Facts: each channel provides what its entry says while the live VCL has it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence

from nf.contracts.driver import Context, Drift, DriverContext, Event, Operation, Ownership, State, Step, Undo
from nf.contracts.json import Json, JsonObject
from nf.contracts.units import UnitState
from nf.documents.model import DocumentModel
from nf.errors import InputError
from nf.media.documents import ShieldSection
from nf.media.processes import check_user
from nf.media.purge.message import PURGE
from nf.media.shield.purge import ShieldPurge
from nf.media.shield.render import render, section_of
from nf.media.shield.telemetry import EVENTS_S, ShieldWatch
from nf.media.shield.varnish import UNIT, Varnish, check_candidate

CONFIGURE, REMOVE, RESTORE = "shield.configure", "shield.remove", "shield.restore"
BUDGET_S = 60.0
_POLL_S = 0.2


class ShieldDriver:
    name = "cdn-shield"
    section = "cdn-shield"

    def __init__(self, context: DriverContext) -> None:
        self._appliance = context.appliance
        self._clock = context.clock
        self._varnish = Varnish(context.run_dir, context.units)
        self.owns = Ownership(paths=frozenset({self._varnish.directory}), units=frozenset({UNIT}))
        self.operations: Mapping[str, Operation] = {PURGE: ShieldPurge(self._varnish)}

    # -- reading ----------------------------------------------------------------------------------------------------

    async def observe(self) -> State:
        """Beside the section of the live VCL: whether it was `altered`, and the `unit` that is not ready."""
        status = await self._varnish.status()
        file = self._varnish.read()
        if status is None and file is None:
            return State(None)
        live = await self._varnish.live() if status is not None and status.state is UnitState.READY else None
        section = section_of(live) if live is not None else section_of(file or "")
        value: JsonObject = section.to_json() if section is not None else {}
        told: dict[str, Json] = {}
        if section is None or (live is not None and live != render(section)):
            told["altered"] = ["the live VCL"]
        elif file != render(section):
            told["altered"] = [self._varnish.file.name]
        elif status is not None and status.spec is not None and status.spec != self._varnish.spec(section):
            told["altered"] = ["the unit"]
        if live is None:
            told["unit"] = status.state.value if status is not None else "absent"
        holds = section is not None and not told
        facts = {fact for channel in section.channels for fact in channel.provides} if section and holds else set()
        return State({**value, **told}, frozenset(facts))

    # -- planning ---------------------------------------------------------------------------------------------------

    def plan(self, have: State, want: DocumentModel | None) -> tuple[Step, ...]:
        section = _section(want)
        if section is None:
            return () if have.value is None else (_remove_step(),)
        target = section.to_json()
        if have.value == target:
            return ()
        standing = have.value or {}  # without a section, as after a boot, nobody loses anything
        moved = any(key in standing and standing[key] != target[key] for key in ("listen", "port"))
        return (
            Step(
                id="shield.configure",
                kind=CONFIGURE,
                arguments={"section": target},
                requires=frozenset(section.requires).union(*(channel.requires for channel in section.channels)),
                provides=frozenset(fact for channel in section.channels for fact in channel.provides),
                budget_s=BUDGET_S,
                undo_budget_s=BUDGET_S,
                disruption="the shield cache restarts empty: edges go to another shield" if moved else "",
                summary=f"shield cache: {', '.join(sorted({c.channel for c in section.channels})) or 'no channel'}",
            ),
        )

    async def check(self, steps: Sequence[Step], want: DocumentModel | None) -> None:
        section = _section(want)
        if section is None or not steps:
            return
        check_user("vcache", "varnish", self._varnish.directory)
        await check_candidate(render(section))

    # -- changing ---------------------------------------------------------------------------------------------------

    async def prepare(self, step: Step) -> Undo:  # noqa: ARG002 - the same for every step
        status = await self._varnish.status()
        live = await self._varnish.live() if status is not None and status.state is UnitState.READY else None
        return Undo(RESTORE, {"file": self._varnish.read(), "live": live, "unit": status is not None})

    async def apply(self, step: Step, context: Context) -> None:  # noqa: ARG002 - every call has its own time-out
        """Raises DriverError when Varnish does not take it, InputError for a step of another version."""
        if (step.kind, step.version) == (CONFIGURE, 1):
            section = ShieldSection.model_validate(step.arguments["section"])
            await self._varnish.activate(section, render(section))
        elif (step.kind, step.version) == (REMOVE, 1):
            await self._varnish.remove()
        else:
            raise InputError(f"unknown step {step.kind} version {step.version}", where=self.name)

    async def undo(self, undo: Undo, context: Context) -> None:  # noqa: ARG002 - every call has its own time-out
        if undo.kind != RESTORE:
            raise InputError(f"unknown undo {undo.kind}", where=self.name)
        file, live = undo.data.get("file"), undo.data.get("live")
        wanted = str(live if live is not None else file or "")
        section = section_of(wanted)
        if not undo.data.get("unit") or section is None:
            await self._varnish.remove()
        else:
            await self._varnish.activate(section, wanted)
        if file is not None:
            self._varnish.directory.mkdir(mode=0o755, parents=True, exist_ok=True)
            self._varnish.write(str(file))

    async def verify(self, want: DocumentModel | None, context: Context) -> Drift:
        while True:
            drift = Drift(differences((await self.observe()).value, _section(want)))
            if not drift or context.remaining() <= 0 or context.cancel.is_set():
                return drift
            await context.clock.sleep(min(_POLL_S, context.remaining()))

    # -- events -----------------------------------------------------------------------------------------------------

    async def events(self) -> AsyncIterator[Event]:
        """Samples of the point `shield` for each channel; alarm `shield-silent` while Varnish does not answer."""
        watch = ShieldWatch(self._appliance, self._clock)
        while True:
            section = section_of(self._varnish.read() or "")
            for event in await watch.take(section, self._varnish):
                yield event
            await self._clock.sleep(EVENTS_S)


def create(context: DriverContext) -> ShieldDriver:
    """Entry point of the group `nf.drivers`."""
    return ShieldDriver(context)


def differences(have: JsonObject | None, want: ShieldSection | None) -> tuple[str, ...]:
    """In an operator's words."""
    if want is None:
        return () if have is None else ("the shield cache is still there",)
    target = want.to_json()
    if have == target:
        return ()
    if have is None:
        return ("the shield cache is not there",)
    told = [
        f"{key} is {have.get(key)}, not {target[key]}" for key in ("listen", "port") if have.get(key) != target[key]
    ]
    told += ["other channels"] if have.get("channels") != target["channels"] else []
    altered = have.get("altered")
    told += [f"{what} was changed by hand" for what in (altered if isinstance(altered, list) else [])]
    told += [f"Varnish is {have['unit']}"] if "unit" in have else []
    return tuple(told) or ("other ordering facts",)


def _remove_step() -> Step:
    return Step(
        id="shield.remove",
        kind=REMOVE,
        arguments={},
        budget_s=BUDGET_S,
        undo_budget_s=BUDGET_S,
        disruption="the shield cache stops: edges go to another shield, or serve nothing new",
        summary="remove the shield cache",
    )


def _section(want: DocumentModel | None) -> ShieldSection | None:
    if want is not None and not isinstance(want, ShieldSection):
        raise InputError(f"not a cdn-shield section: {type(want).__name__}", where="cdn-shield")
    return want
