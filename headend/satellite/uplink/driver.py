"""Driver `satellite-uplink`: encoder, multiplexer and modem of each carrier, set together and kept on their ladder.

A carrier may stand at any rung of its ladder: the weather decides which, and none of them is a deviation. It is muted
before it becomes another carrier, when it comes and when it goes; going on the air is an act of two people
(operation `transmit`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Final

from headend.devices.model import Range
from headend.devices.opening import OpenDevices, ResolveSecret
from headend.satellite.documents import UplinkCarrier, UplinkSection
from headend.satellite.names import PLAN, STATUS, TRANSMIT, UPLINK
from headend.satellite.uplink.chain import Chain, ChainDevices, Standing
from headend.satellite.uplink.control import Control
from headend.satellite.uplink.memory import Memory
from headend.satellite.uplink.operations import LinkPlan, LinkStatus, Transmit
from headend.satellite.uplink.settings import RF_PARAMETERS, settings
from nf.contracts.driver import Context, Drift, DriverContext, Event, Operation, Ownership, State, Step, Undo
from nf.contracts.json import Json, JsonObject
from nf.documents.model import DocumentModel
from nf.errors import DriverError, InputError, NfError, Problem, RefusedError
from nf.trust.secrets import SecretFiles

CONFIGURE: Final = "uplink.configure"
REMOVE: Final = "uplink.remove"
RESTORE: Final = "uplink.restore"
_BUDGET_S: Final = 30.0
_PERIOD_S: Final = 0.5


def rf_of(carrier: UplinkCarrier) -> tuple[object, ...]:
    """What makes it this carrier and no other: a change of it happens muted."""
    modem = settings(carrier, carrier.ladder[0]).modem
    return (carrier.modem.id, carrier.carrier.transponder, *(modem[name] for name in sorted(RF_PARAMETERS)))


class SatelliteUplink:
    """`resolve`: the text of a secret; the agent's files unless a test gives another."""

    name = UPLINK
    section = UPLINK

    def __init__(self, context: DriverContext, resolve: ResolveSecret | None = None) -> None:
        self._clock = context.clock
        self._devices = OpenDevices(resolve or SecretFiles(), context.clock)
        self._memory = Memory.load(context.state_dir)
        self._locks: dict[str, asyncio.Lock] = {}
        self.controls: dict[str, Control] = {}

    @property
    def owns(self) -> Ownership:
        return Ownership(oids=frozenset({"satellite-uplink"}))

    @property
    def operations(self) -> Mapping[str, Operation]:
        return {TRANSMIT: Transmit(self), STATUS: LinkStatus(self), PLAN: LinkPlan(self)}

    # ---- what operations and the loop need ----

    @property
    def memory(self) -> Memory:
        return self._memory

    def carriers(self) -> tuple[UplinkCarrier, ...]:
        return self._memory.section.carriers if self._memory.section is not None else ()

    def lock(self, carrier: str) -> asyncio.Lock:
        """Held by whoever changes the carrier's chain."""
        return self._locks.setdefault(carrier, asyncio.Lock())

    async def chain(self, carrier: UplinkCarrier) -> Chain:
        """Raises NotFoundError, IntegrityError, InputError: model or credentials."""
        power = carrier.carrier.power
        limits = {"tx_level": Range(maximum=power.cap_dbm)}
        devices = ChainDevices(
            encoder=await self._devices.get(carrier.encoder),
            mux=await self._devices.get(carrier.mux),
            modem=await self._devices.get(carrier.modem, limits),
            standby=None if carrier.standby is None else await self._devices.get(carrier.standby),
        )
        return Chain(carrier, devices, self._clock)

    # ---- observing and planning ----

    async def observe(self) -> State:
        """What was applied, with what differs now. A device that does not answer differs in nothing: it is an alarm."""
        section = self._memory.section
        if section is None:
            return State(None)
        standings = await asyncio.gather(*(self._standing(carrier) for carrier in section.carriers))
        altered: list[Json] = [difference for standing in standings for difference in standing.deviations]
        facts = {
            fact
            for carrier, standing in zip(section.carriers, standings, strict=True)
            if not standing.deviations
            for fact in carrier.provides
        }
        value = section.to_json()
        return State({**value, "altered": altered} if altered else value, frozenset(facts))

    async def _standing(self, carrier: UplinkCarrier) -> Standing:
        async with self.lock(carrier.carrier.id):
            return await (await self.chain(carrier)).standing()

    def plan(self, have: State, want: DocumentModel | None) -> tuple[Step, ...]:
        section = UplinkSection.narrowed(want)
        before = _carriers(have.value)
        wanted = {one.carrier.id: one for one in section.carriers} if section is not None else {}
        altered = have.value is not None and "altered" in have.value
        steps = [self._remove(name, before[name]) for name in sorted(before.keys() - wanted.keys())]
        for name, carrier in sorted(wanted.items()):
            if altered or before.get(name) != carrier.to_json():
                steps.append(self._configure(carrier, before.get(name)))
        return tuple(steps)

    def _configure(self, carrier: UplinkCarrier, before: JsonObject | None) -> Step:
        name = carrier.carrier.id
        old = UplinkCarrier.model_validate(before) if before is not None else None
        if old is None:
            cost = f"carrier {name} comes, muted: `nf link transmit {name}` by two people puts it on the air"
        elif rf_of(old) != rf_of(carrier):
            cost = f"carrier {name} becomes another one: it is muted, and two people put it on the air again"
        elif old.ladder[0].modcod != carrier.ladder[0].modcod:
            cost = f"one receiver relock ({old.ladder[0].modcod} to {carrier.ladder[0].modcod})"
        else:
            rates = {(one.channel, one.path): one.rate_bps for one in old.ladder[0].services}
            restarted = [
                one.channel
                for one in carrier.ladder[0].services
                if rates.get((one.channel, one.path), one.rate_bps) != one.rate_bps
            ]
            cost = f"encoding restarts: {', '.join(restarted)}" if restarted else ""
        channels = ", ".join(service.channel for service in carrier.services) or "no service"
        return Step(
            id=f"uplink.{name}",
            kind=CONFIGURE,
            arguments={"carrier": carrier.to_json()},
            provides=frozenset(carrier.provides),
            budget_s=_BUDGET_S,
            undo_budget_s=_BUDGET_S,
            disruption=cost,
            summary=f"carrier {name} at {carrier.ladder[0].modcod}: {channels}",
        )

    @staticmethod
    def _remove(name: str, before: JsonObject) -> Step:
        return Step(
            id=f"uplink.{name}",
            kind=REMOVE,
            arguments={"carrier": before},
            budget_s=_BUDGET_S,
            undo_budget_s=_BUDGET_S,
            disruption=f"carrier {name} leaves the air",
            summary=f"mute and empty carrier {name}",
        )

    async def check(self, steps: Sequence[Step], want: DocumentModel | None) -> None:  # noqa: ARG002 - the contract's
        """Every device that a step touches answers, and is of the model that the fleet names. Raises RefusedError."""
        problems: list[Problem] = []
        for step in steps:
            carrier = UplinkCarrier.model_validate(step.arguments["carrier"])
            try:
                standing = await (await self.chain(carrier)).standing()
            except NfError as error:
                problems.append(Problem(str(error), error.remedy, key=step.id))
                continue
            for name in standing.silent:
                remedy = "see that it has power, and that its address and credentials are right, and commit again"
                problems.append(Problem(f"the device {name} does not answer", remedy, key=step.id, value=name))
        if problems:
            raise RefusedError("devices of the satellite link cannot be set", where=self.name, problems=problems)

    # ---- changing ----

    async def prepare(self, step: Step) -> Undo:
        name = UplinkCarrier.model_validate(step.arguments["carrier"]).carrier.id
        before = next((one for one in self.carriers() if one.carrier.id == name), None)
        rung = None
        if before is not None:
            rung = (await (await self.chain(before)).standing()).rung
        return Undo(
            RESTORE,
            {
                "carrier": before.to_json() if before is not None else None,
                "wanted": step.arguments["carrier"],
                "rung": rung,
                "transmission": self._memory.of(name).to_json(),
            },
        )

    async def apply(self, step: Step, context: Context) -> None:
        """Raises DriverError, UnavailableError when a device does not take it, InputError for a strange step."""
        carrier = UplinkCarrier.model_validate(step.arguments["carrier"])
        if (step.kind, step.version) == (CONFIGURE, 1):
            await self._become(carrier, context)
        elif (step.kind, step.version) == (REMOVE, 1):
            async with self.lock(carrier.carrier.id):
                await (await self.chain(carrier)).close_down()
            self._remember(carrier.carrier.id, None)
        else:
            raise InputError(f"unknown step {step.kind} version {step.version}", where=self.name)

    async def _become(self, carrier: UplinkCarrier, context: Context, rung: int | None = None) -> None:
        """Go to the rung whose MODCOD is active, or the first; mute what becomes another carrier."""
        name = carrier.carrier.id
        before = next((one for one in self.carriers() if one.carrier.id == name), None)
        async with self.lock(name):
            chain = await self.chain(carrier)
            if before is None or rf_of(before) != rf_of(carrier):
                context.progress(0.1, "muting")
                await chain.mute()
                self._memory.transmission.pop(name, None)
                await chain.modem.set({"tx_level": carrier.carrier.power.clear_dbm})
            if rung is None:
                rung = (await chain.standing()).rung
            context.progress(0.3, "services, multiplex and MODCOD")
            wanted = carrier.ladder[min(rung or 0, len(carrier.ladder) - 1)]
            await chain.go(wanted)
            await chain.set_other(wanted)
        self._remember(name, carrier)

    def _remember(self, name: str, carrier: UplinkCarrier | None) -> None:
        """Raises StorageError."""
        kept = [one for one in self.carriers() if one.carrier.id != name]
        if carrier is None:
            self._memory.transmission.pop(name, None)
        else:
            kept.append(carrier)
        ordered = tuple(sorted(kept, key=lambda one: one.carrier.id))
        self._memory.section = UplinkSection(carriers=ordered) if ordered else None
        self._memory.save()

    async def undo(self, undo: Undo, context: Context) -> None:
        """To what was before. A carrier that was another one, or none, is muted by it and stays muted."""
        before, rung = undo.data.get("carrier"), undo.data.get("rung")
        wanted = UplinkCarrier.model_validate(undo.data["wanted"])
        if undo.kind != RESTORE:
            raise InputError(f"unknown undo {undo.kind}", where=self.name)
        if before is None:
            async with self.lock(wanted.carrier.id):
                await (await self.chain(wanted)).close_down()
            self._remember(wanted.carrier.id, None)
            return
        await self._become(UplinkCarrier.model_validate(before), context, rung if isinstance(rung, int) else None)

    async def verify(self, want: DocumentModel | None, context: Context) -> Drift:
        """The chain holds what it was told, every service arrives at the multiplex, and nothing is dropped."""
        section = UplinkSection.narrowed(want)
        while True:
            wrong = [line for carrier in (section.carriers if section else ()) for line in await self._wrong(carrier)]
            if not wrong or not await context.again(0.3):
                return Drift(tuple(wrong))

    async def _wrong(self, carrier: UplinkCarrier) -> list[str]:
        chain = await self.chain(carrier)
        standing = await chain.standing()
        wrong = [f"{name} does not answer" for name in standing.silent] + list(standing.deviations)
        if wrong:
            return wrong
        rung = carrier.ladder[standing.rung or 0]
        carried = {(one.channel, one.path) for one in rung.services}
        rows = [one.row for one in carrier.services if (one.channel, one.path) in carried]
        mux = await chain.mux.read([f"service[{row}].input_state" for row in rows]) if rows else {}
        wrong += [
            f"{chain.mux.name}: {name} is {value.value}" for name, value in mux.items() if value.value != "locked"
        ]
        modem = await chain.modem.read(["input_lock", "net_bit_rate"])
        if modem["input_lock"].value != "locked":
            wrong.append(f"{chain.modem.name}: its input is {modem['input_lock'].value}")
        net = modem["net_bit_rate"].value
        if isinstance(net, int | float) and net < rung.ts_rate_bps:
            wrong.append(f"{chain.modem.name} carries {net} bit/s, less than the {rung.ts_rate_bps} it is sent")
        return wrong

    # ---- running ----

    async def events(self) -> AsyncIterator[Event]:
        """The control loop of every carrier; it runs as long as somebody iterates."""
        try:
            async for event in self._run():
                yield event
        finally:
            for control in self.controls.values():
                control.stop()

    async def _run(self) -> AsyncIterator[Event]:
        while True:
            for carrier in self.carriers():
                name = carrier.carrier.id
                try:
                    control = await self._control(carrier)
                    async for event in control.run_once():
                        yield event
                except DriverError:
                    if (failed := self.controls.pop(name, None)) is not None:
                        failed.stop()
            for gone in self.controls.keys() - {carrier.carrier.id for carrier in self.carriers()}:
                self.controls.pop(gone).stop()
            await self._clock.sleep(_PERIOD_S)

    async def _control(self, carrier: UplinkCarrier) -> Control:
        known = self.controls.get(carrier.carrier.id)
        if known is not None and known.chain.carrier == carrier:
            return known
        chain = await self.chain(carrier)
        if known is not None:
            known.stop()
        receivers = {one.site: await self._devices.get(one.device) for one in carrier.receivers}
        standing = await chain.standing()
        control = Control(
            chain,
            receivers,
            self.lock(carrier.carrier.id),
            self._clock,
            standing.rung or 0,
            current=lambda: carrier in self.carriers(),
        )
        self.controls[carrier.carrier.id] = control
        return control

    async def close(self) -> None:
        """Let go of the sessions with devices."""
        await self._devices.close()


def _carriers(value: JsonObject | None) -> dict[str, JsonObject]:
    """The carriers of an observed section by name."""
    found = value.get("carriers") if value is not None else None
    listed = [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
    return {str(one["carrier"]["id"]): one for one in listed if isinstance(one["carrier"], dict)}


def create(context: DriverContext) -> SatelliteUplink:
    return SatelliteUplink(context)
