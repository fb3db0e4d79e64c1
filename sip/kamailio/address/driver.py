"""The driver of section `voice-address`: addresses that one of two proxies has at a time.

The address itself is keepalived's, not the driver's: which of the two has it is no matter of documents.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence

from pyroute2 import AsyncIPRoute
from pyroute2.netlink.exceptions import NetlinkError

from nf.contracts.driver import Context, Drift, DriverContext, Event, Operation, Ownership, State, Step, Undo
from nf.contracts.json import JsonObject, canonical
from nf.contracts.units import UnitSpec, UnitState, UnitStatus
from nf.documents.model import DocumentModel
from nf.errors import DriverError, InputError, RefusedError
from nf.telemetry.samples import Sample
from sip.kamailio.address.render import render
from sip.kamailio.address.units import AddressPlaces, alive_spec, program_problem, running_file, vrrp_spec
from sip.kamailio.documents import VOICE_ADDRESS, VoiceAddressSection
from sip.kamailio.places import write
from sip.naming import ALIVE_UNIT, VRRP_UNIT

RUN, REMOVE, RESTORE = "voice-address.run", "voice-address.remove", "voice-address.restore"
AMISS = "amiss"
"""Key beside the section's in what is observed: why it is not as it should be."""
_BUDGET_S = 40.0
_POLL_S = 0.2
_EVENTS_S = 5.0


class VoiceAddressDriver:
    name = VOICE_ADDRESS
    section = VOICE_ADDRESS
    operations: Mapping[str, Operation] = {}

    def __init__(self, context: DriverContext) -> None:
        self._appliance = context.appliance
        self._units = context.units
        self._clock = context.clock
        self._places = AddressPlaces(context.run_dir, context.state_dir)
        self.owns = Ownership(
            paths=frozenset({self._places.config, self._places.run, self._places.pids}),
            units=frozenset({ALIVE_UNIT, VRRP_UNIT}),
        )

    # -- reading ----------------------------------------------------------------------------------------------------

    def _standing(self) -> VoiceAddressSection | None:
        try:
            return VoiceAddressSection.model_validate_json(self._places.section.read_text())
        except (FileNotFoundError, ValueError):
            return None

    async def observe(self) -> State:
        vrrp, alive = await self._units.status(VRRP_UNIT), await self._units.status(ALIVE_UNIT)
        section = self._standing()
        if vrrp is None and alive is None and section is None:
            return State(None)
        if section is None:
            return State({AMISS: "what it was made of cannot be read"})
        told = self._amiss(section, vrrp, alive)
        ready = all(one is not None and one.state is UnitState.READY for one in (vrrp, alive))
        facts = frozenset(section.provides if ready and not told else ())
        return State(section.to_json() | ({AMISS: told} if told else {}), facts)

    def _amiss(self, section: VoiceAddressSection, vrrp: UnitStatus | None, alive: UnitStatus | None) -> str:
        text = render(section, self._appliance, self._places.health)
        file = self._places.file(text)
        if not file.exists() or file.read_text() != text:
            return "its file was changed by hand"
        for status, spec in ((vrrp, vrrp_spec(text, self._places)), (alive, alive_spec(section, self._places))):
            if status is None:
                return f"{spec.name} is absent"
            if status.state.gone:
                return f"{spec.name} is {status.state.value} {status.last_exit}".rstrip()
            if status.spec is not None and status.spec.argv != spec.argv:
                return f"{spec.name} runs with other settings"
        ready = vrrp is not None and vrrp.state is UnitState.READY
        if vrrp is not None and ready and running_file(vrrp.pid) != str(file):
            return "keepalived runs with another file"
        return ""

    # -- planning ---------------------------------------------------------------------------------------------------

    def plan(self, have: State, want: DocumentModel | None) -> tuple[Step, ...]:
        section = VoiceAddressSection.narrowed(want)
        if section is None:
            return () if have.value is None else (self._step(REMOVE, {}, have, "give the virtual addresses up"),)
        if have.value == section.to_json():
            return ()
        names = ", ".join(f"{one.address.ip} with {one.peer}" for one in section.instances)
        step = self._step(RUN, {"section": section.to_json()}, have, f"virtual addresses: {names}", section)
        return (step,)

    def _step(
        self, kind: str, arguments: JsonObject, have: State, summary: str, section: VoiceAddressSection | None = None
    ) -> Step:
        listed = (have.value or {}).get("instances")
        held = [str(one["address"]) for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
        moves = f"{', '.join(held)} moves to the other proxy" if held else ""
        return Step(
            id=VOICE_ADDRESS,
            kind=kind,
            arguments=arguments,
            requires=frozenset(section.requires if section is not None else ()),
            provides=frozenset(section.provides if section is not None else ()),
            budget_s=_BUDGET_S,
            undo_budget_s=_BUDGET_S,
            disruption=moves + (", and back within ~3 s" if moves and kind == RUN else ""),
            summary=summary,
        )

    async def check(self, steps: Sequence[Step], want: DocumentModel | None) -> None:
        absent = program_problem() if want is not None and steps else None
        if absent is not None:
            where = f"{self._appliance}, {self.section}"
            raise RefusedError("keepalived cannot run here", where=where, problems=[absent])

    # -- changing ---------------------------------------------------------------------------------------------------

    async def prepare(self, step: Step) -> Undo:  # noqa: ARG002 - the same for every step
        section = self._standing()
        return Undo(RESTORE, {"section": section.to_json() if section is not None else None})

    async def apply(self, step: Step, context: Context) -> None:  # noqa: ARG002 - a unit has a limit of its own
        """Raises DriverError when keepalived does not come up."""
        if (step.kind, step.version) == (RUN, 1):
            await self._make(VoiceAddressSection.model_validate(step.arguments["section"]))
        elif (step.kind, step.version) == (REMOVE, 1):
            await self._remove()
        else:
            raise InputError(f"unknown step {step.kind} version {step.version}", where=self.name)

    async def undo(self, undo: Undo, context: Context) -> None:  # noqa: ARG002 - a unit has a limit of its own
        if undo.kind != RESTORE:
            raise InputError(f"unknown undo {undo.kind}", where=self.name)
        before = undo.data.get("section")
        if before is None:
            await self._remove()
        else:
            await self._make(VoiceAddressSection.model_validate(before))

    async def _make(self, section: VoiceAddressSection) -> None:
        text = render(section, self._appliance, self._places.health)
        await asyncio.to_thread(self._write, section, text)
        alive, vrrp = alive_spec(section, self._places), vrrp_spec(text, self._places)
        await self._bring_up(alive, fresh=True)
        status = await self._units.status(VRRP_UNIT)
        file = str(self._places.file(text))
        await self._bring_up(vrrp, fresh=status is not None and running_file(status.pid) == file)

    def _write(self, section: VoiceAddressSection, text: str) -> None:
        self._places.make()
        file = self._places.file(text)
        write(file, text)
        for other in self._places.config.glob("keepalived-*.conf"):
            if other != file:
                other.unlink()
        if not self._places.health.exists():
            self._places.health.touch(0o644)
        write(self._places.section, canonical(section.to_json()))

    async def _bring_up(self, spec: UnitSpec, *, fresh: bool) -> None:
        """`fresh`: what runs has read what it should."""
        status = await self._units.status(spec.name)
        if status is not None and fresh and status.spec == spec and not status.state.gone:
            return
        await self._units.define(spec)
        await (self._units.start if status is None or status.state.gone else self._units.restart)(spec.name)

    async def _remove(self) -> None:
        await self._units.remove(VRRP_UNIT)
        await self._units.remove(ALIVE_UNIT)
        await asyncio.to_thread(self._places.remove)

    async def verify(self, want: DocumentModel | None, context: Context) -> Drift:
        section = VoiceAddressSection.narrowed(want)
        while True:
            lines = await self._differences(section)
            if not lines or not await context.again(_POLL_S):
                return Drift(lines)

    async def _differences(self, section: VoiceAddressSection | None) -> tuple[str, ...]:
        state = await self.observe()
        if section is None:
            return () if state.value is None else ("the virtual addresses are still asked for",)
        if state.value is None:
            return ("the virtual addresses are not there",)
        if AMISS in state.value:
            return (str(state.value[AMISS]),)
        if state.value != section.to_json():
            return ("other virtual addresses",)
        for name in (ALIVE_UNIT, VRRP_UNIT):
            status = await self._units.status(name)
            if status is None or status.state is not UnitState.READY:
                return (f"{name} is {status.state.value if status is not None else 'absent'}",)
        return ()

    # -- events -----------------------------------------------------------------------------------------------------

    async def events(self) -> AsyncIterator[Event]:
        """Samples `sip.address` for each virtual address: `held`, 1 where it is here."""
        while True:
            section = self._standing()
            here = await _addresses() if section is not None else frozenset()
            for one in section.instances if section is not None else ():
                labels = {"point": "address", "address": one.id}
                yield Sample("sip.address", self._clock.now(), labels, {"held": float(str(one.address.ip) in here)})
            await self._clock.sleep(_EVENTS_S)


async def _addresses() -> frozenset[str]:
    try:
        async with AsyncIPRoute() as kernel:
            return frozenset([str(one.get("address")) async for one in await kernel.get_addr()])
    except (NetlinkError, OSError, DriverError):
        return frozenset()


def create(context: DriverContext) -> VoiceAddressDriver:
    """Entry point of the group `nf.drivers`."""
    return VoiceAddressDriver(context)
