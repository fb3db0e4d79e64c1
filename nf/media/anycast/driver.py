"""The driver of section `cdn-anycast`: what VIPs need of the kernel, and the gate that has them announced or not.

Facts: it requires what its section says, so that routing is there to announce, and provides that a cache may listen.
Whether a VIP is announced right now is no drift: that is the gate's to decide, and an alarm's to tell.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Final

from nf.contracts.driver import Context, Drift, DriverContext, Event, Operation, Ownership, State, Step, Undo
from nf.contracts.json import JsonObject
from nf.contracts.units import UnitState, bring_up
from nf.documents.model import DocumentModel
from nf.errors import DriverError, InputError
from nf.media.anycast import kernel, units
from nf.media.anycast.documents import SECTION, AnycastSection
from nf.media.anycast.machine import Effect
from nf.media.anycast.telemetry import AnycastWatch
from nf.media.processes import ask_program

CONFIGURE, REMOVE, RESTORE = "anycast.configure", "anycast.remove", "anycast.restore"
BUDGET_S: Final = 20.0
_POLL_S, _EVENTS_S = 0.2, 2.0
_GONE = Effect(own=False, announced=False)


class AnycastDriver:
    name = SECTION
    section = SECTION

    def __init__(self, context: DriverContext) -> None:
        self._appliance = context.appliance
        self._clock = context.clock
        self._units = context.units
        self._run_dir = context.run_dir
        self.owns = Ownership(
            nft_tables=frozenset({f"ip {kernel.TABLE}"}),
            route_protocols=frozenset({kernel.PROTOCOL}),
            paths=frozenset({units.directory(context.run_dir)}),
            units=frozenset({units.UNIT}),
        )
        self.operations: Mapping[str, Operation] = {}

    # -- reading ----------------------------------------------------------------------------------------------------

    async def observe(self) -> State:
        """Beside the section: the `unit` that is not ready, and what of the kernel is `missing` or `stray`."""
        status = await self._units.status(units.UNIT)
        held = await kernel.read()
        section = units.section_of(status.spec) if status is not None else None
        if status is None and held == kernel.Held():
            return State(None)
        vips = section.vips if section is not None else ()
        missing = [] if await kernel.has_table() else [f"table ip {kernel.TABLE}"]
        missing += [] if kernel.read_nonlocal() == "1" else ["ip_nonlocal_bind"]
        stray = sorted(map(str, held.announced - {vip.announced for vip in vips}))
        stray += sorted(map(str, held.own - {vip.address for vip in vips}))
        value: JsonObject = section.to_json() if section is not None else {}
        value |= {"missing": [*missing]} if missing else {}
        value |= {"stray": [*stray]} if stray else {}
        ready = status is not None and status.state is UnitState.READY
        value |= {} if ready else {"unit": status.state.value if status is not None else "absent"}
        holds = section is not None and ready and not missing
        return State(value, frozenset(section.provides) if section is not None and holds else frozenset())

    # -- planning ---------------------------------------------------------------------------------------------------

    def plan(self, have: State, want: DocumentModel | None) -> tuple[Step, ...]:
        section = AnycastSection.narrowed(want)
        if section is None:
            return () if have.value is None else (_remove_step(),)
        target = section.to_json()
        if have.value == target:
            return ()
        standing = have.value.get("vips") if have.value is not None else None
        listed = [one for one in (standing if isinstance(standing, list) else []) if one not in _listed(target)]
        return (
            Step(
                id="anycast.configure",
                kind=CONFIGURE,
                arguments={"section": target},
                requires=frozenset(section.requires),
                provides=frozenset(section.provides),
                budget_s=BUDGET_S,
                undo_budget_s=BUDGET_S,
                disruption="connections to VIPs that go are reset: players ask again" if listed else "",
                summary=f"anycast: {', '.join(str(vip.address) for vip in section.vips)}",
            ),
        )

    async def check(self, steps: Sequence[Step], want: DocumentModel | None) -> None:
        if want is not None and steps:
            await ask_program(("nft", "--version"), timeout_s=5.0)

    # -- changing ---------------------------------------------------------------------------------------------------

    async def prepare(self, step: Step) -> Undo:  # noqa: ARG002 - the same for every step
        status = await self._units.status(units.UNIT)
        section = units.section_of(status.spec) if status is not None else None
        return Undo(RESTORE, {"section": section.to_json() if section else None, "nonlocal": kernel.read_nonlocal()})

    async def apply(self, step: Step, context: Context) -> None:  # noqa: ARG002 - units have their own time-outs
        if (step.kind, step.version) == (CONFIGURE, 1):
            await self._configure(AnycastSection.model_validate(step.arguments["section"]))
        elif (step.kind, step.version) == (REMOVE, 1):
            await self._remove("0")
        else:
            raise InputError(f"unknown step {step.kind} version {step.version}", where=self.name)

    async def undo(self, undo: Undo, context: Context) -> None:  # noqa: ARG002 - units have their own time-outs
        if undo.kind != RESTORE:
            raise InputError(f"unknown undo {undo.kind}", where=self.name)
        before = undo.data.get("section")
        if before is None:
            await self._remove(str(undo.data.get("nonlocal", "0")))
        else:
            await self._configure(AnycastSection.model_validate(before))

    async def _configure(self, section: AnycastSection) -> None:
        """A gate that is started anew takes over what is announced."""
        kernel.write_nonlocal("1")
        await kernel.make_table()
        spec = units.spec(section, self._run_dir)
        status = await self._units.status(units.UNIT)
        if status is None or status.state is not UnitState.READY or status.spec != spec:
            units.directory(self._run_dir).mkdir(mode=0o700, parents=True, exist_ok=True)
            await bring_up(self._units, spec, status)
        await kernel.release(await kernel.read(), section.vips)

    async def _remove(self, nonlocal_bind: str) -> None:
        status = await self._units.status(units.UNIT)
        section = units.section_of(status.spec) if status is not None else None
        await self._units.remove(units.UNIT)
        if section is not None:
            await kernel.make_table()
            await kernel.apply(section.vips, _GONE)
        await kernel.release(await kernel.read())
        await kernel.remove_table()
        kernel.write_nonlocal(nonlocal_bind)

    async def verify(self, want: DocumentModel | None, context: Context) -> Drift:
        while True:
            try:
                drift = Drift(differences((await self.observe()).value, AnycastSection.narrowed(want)))
            except DriverError as error:
                drift = Drift((str(error),))
            if not drift or not await context.again(_POLL_S):
                return drift

    # -- events -----------------------------------------------------------------------------------------------------

    async def events(self) -> AsyncIterator[Event]:
        """Samples `anycast.vip`; alarms `anycast-withdrawn` and `anycast-gate-down`."""
        watch = AnycastWatch(self._appliance)
        while True:
            status = await self._units.status(units.UNIT)
            section = units.section_of(status.spec) if status is not None else None
            told = await units.ask_gate(self._run_dir) if section is not None else None
            for event in watch.take(section, told, self._clock.now()):
                yield event
            await self._clock.sleep(_EVENTS_S)


def create(context: DriverContext) -> AnycastDriver:
    """Entry point of the group `nf.drivers`."""
    return AnycastDriver(context)


def differences(have: JsonObject | None, want: AnycastSection | None) -> tuple[str, ...]:
    """In an operator's words."""
    if want is None:
        return () if have is None else ("VIPs are still there",)
    target = want.to_json()
    if have == target:
        return ()
    if have is None:
        return ("the gate of the VIPs is not there",)
    told = [f"the gate is {have['unit']}"] if "unit" in have else []
    told += [f"{one} is missing" for one in _strings(have.get("missing"))]
    told += [f"{one} is a route of ours, and no VIP" for one in _strings(have.get("stray"))]
    keys = sorted((have.keys() | target.keys()) - {"unit", "missing", "stray"})
    return (*told, *(f"{key} is another one" for key in keys if have.get(key) != target.get(key)))


def _strings(value: object) -> list[str]:
    return [str(one) for one in value] if isinstance(value, list) else []


def _listed(section: JsonObject) -> list[object]:
    vips = section["vips"]
    return list(vips) if isinstance(vips, list) else []


def _remove_step() -> Step:
    return Step(
        id="anycast.remove",
        kind=REMOVE,
        arguments={},
        budget_s=BUDGET_S,
        undo_budget_s=BUDGET_S,
        disruption="the cache's VIPs are withdrawn, and connections to them are reset: players ask another cache",
        summary="remove the VIPs",
    )
