"""The driver of section `multicast-amt`: relay and gateway as units of the supervisor.

A relay's facts hold while it runs, a gateway's while its relay has taken the memberships. Whether the stream flows is
no part of it: a source that is silent is no fault of the tunnel.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence

from headend.multicast.amt.documents import AmtGateway, AmtRelay, AmtSection
from headend.multicast.amt.telemetry import AmtWatch, hop_samples
from headend.multicast.amt.units import ROLES, Part, ask, part, part_of, read_part, unit_name, unit_spec
from headend.multicast.interfaces.client import open_kernel
from nf.contracts.driver import Context, Drift, DriverContext, Event, Operation, Ownership, State, Step, Undo
from nf.contracts.json import JsonObject
from nf.contracts.units import UnitState, UnitStatus, bring_up
from nf.documents.model import DocumentModel
from nf.errors import DriverError, InputError, NfError, Problem, RefusedError

RUN, STOP, RESTORE = "amt.run", "amt.stop", "amt.restore"
_POLL_S, _EVENTS_S = 0.1, 1.0


class AmtDriver:
    name = "multicast-amt"
    section = "multicast-amt"
    operations: Mapping[str, Operation] = {}

    def __init__(self, context: DriverContext) -> None:
        self._appliance = context.appliance
        self._run_dir = context.run_dir
        self._units = context.units
        self._clock = context.clock

    @property
    def owns(self) -> Ownership:
        return Ownership(paths=frozenset({self._run_dir / "amt"}), units=frozenset(map(unit_name, ROLES)))

    async def _running(self) -> dict[str, tuple[Part, UnitStatus]]:
        found: dict[str, tuple[Part, UnitStatus]] = {}
        for role in ROLES:
            status = await self._units.status(unit_name(role))
            if status is not None and not status.state.gone:
                own = part_of(role, status.spec)
                if own is not None:
                    found[role] = (own, status)
        return found

    async def observe(self) -> State:
        running = await self._running()
        if not running:
            return State(None)
        parts = {role: own for role, (own, _) in running.items()}
        relay, gateway = parts.get("relay"), parts.get("gateway")
        section = AmtSection(
            relay=relay if isinstance(relay, AmtRelay) else None,
            gateway=gateway if isinstance(gateway, AmtGateway) else None,
        )
        member = section.gateway is not None and await self._member()
        facts = {
            *(section.relay.provides if section.relay else ()),
            *(section.gateway.provides if section.gateway and member else ()),
        }
        return State(section.to_json(), frozenset(facts))

    async def _member(self) -> bool:
        answer = await ask(self._run_dir, "gateway")
        # While it asks again it is still a member at the relay: that is what the first answer was for.
        return answer is not None and (answer["phase"] == "member" or bool(_delivered(answer)))

    def plan(self, have: State, want: DocumentModel | None) -> tuple[Step, ...]:
        section = AmtSection.narrowed(want)
        standing = AmtSection.model_validate(have.value) if have.value is not None else None
        steps: list[Step] = []
        for role in ROLES:
            old, new = part(standing, role), part(section, role)
            if old != new:
                steps.append(_run_step(role, old, new) if new is not None else _stop_step(role))
        return tuple(steps)

    async def check(self, steps: Sequence[Step], want: DocumentModel | None) -> None:
        """Every interface is there, unless the part waits for one."""
        section = AmtSection.narrowed(want)
        if not steps or section is None:
            return
        async with open_kernel() as kernel:
            links = await kernel.links()
        relay, gateway = section.relay, section.gateway
        named = [relay.upstream] if relay is not None and not relay.requires else []
        named += gateway.deliver if gateway is not None and not gateway.requires else ()
        remedy = "name an interface of this appliance"
        problems = [Problem("does not exist", remedy, key=name) for name in named if name not in links]
        if problems:
            where = f"{self._appliance}, {self.section}"
            raise RefusedError("the tunnel cannot be this", where=where, problems=problems)

    async def prepare(self, step: Step) -> Undo:
        role = str(step.arguments["role"])
        before = (await self._running()).get(role)
        return Undo(RESTORE, {"role": role, "part": before[0].to_json() if before is not None else None})

    async def apply(self, step: Step, context: Context) -> None:  # noqa: ARG002 - a unit has a limit of its own
        """Raises DriverError with the log's tail when a unit does not come up."""
        role = str(step.arguments["role"])
        if step.kind == RUN:
            await self._ensure(role, read_part(role, step.arguments["part"]))
        elif step.kind == STOP:
            await self._units.remove(unit_name(role))
        else:
            raise DriverError(f"unknown kind of step `{step.kind}`", where=step.id)

    async def _ensure(self, role: str, wanted: Part) -> None:
        spec = unit_spec(role, wanted, self._run_dir)
        now = await self._units.status(spec.name)
        if now is not None and now.state is UnitState.READY and part_of(role, now.spec) == wanted:
            return
        await bring_up(self._units, spec, now)

    async def undo(self, undo: Undo, context: Context) -> None:  # noqa: ARG002 - a unit has a limit of its own
        if undo.kind != RESTORE:
            raise InputError(f"unknown undo {undo.kind}", where=self.name)
        role, before = str(undo.data["role"]), undo.data["part"]
        if before is None:
            await self._units.remove(unit_name(role))
        else:
            await self._ensure(role, read_part(role, before))

    async def verify(self, want: DocumentModel | None, context: Context) -> Drift:
        section = AmtSection.narrowed(want)
        while True:
            differences = await self._differences(section)
            if not differences or not await context.again(_POLL_S):
                return Drift(differences)

    async def _differences(self, section: AmtSection | None) -> tuple[str, ...]:
        running = await self._running()
        lines: list[str] = []
        for role in ROLES:
            wanted, found = part(section, role), running.get(role)
            if wanted is None:
                lines += [f"the {role} runs, though it should not"] if found is not None else []
            elif found is None:
                lines.append(f"the {role} is not there")
            elif found[0] != wanted:
                lines.append(f"the {role} runs with other settings")
            elif found[1].state is not UnitState.READY or await ask(self._run_dir, role) is None:
                lines.append(f"the {role} does not answer ({found[1].state.value} {found[1].last_exit})".rstrip())
            elif role == "gateway" and not await self._member():
                lines.append("the relay does not answer the gateway")
        return tuple(lines)

    async def events(self) -> AsyncIterator[Event]:
        """Every second samples `amt.relay` or `amt.gateway`, and alarms as they change."""
        watch = AmtWatch(self._appliance)
        while True:
            try:
                running = await self._running()
            except NfError:
                running = {}  # no supervisor: its own alarm says so
            answers = {role: await ask(self._run_dir, role) for role in running}
            now = self._clock.now()
            for event in watch.take(answers, now):
                yield event
            gateway, answer = running.get("gateway"), answers.get("gateway")
            if gateway is not None and answer is not None and isinstance(gateway[0], AmtGateway):
                for sample in hop_samples(gateway[0].flows, answer, now):
                    yield sample
            await self._clock.sleep(_EVENTS_S)


def create(context: DriverContext) -> AmtDriver:
    """Entry point of the group `nf.drivers`."""
    return AmtDriver(context)


def _delivered(answer: JsonObject) -> list[str]:
    """Flows of which something came lately."""
    flows = answer.get("flows")
    found = flows.items() if isinstance(flows, dict) else ()
    ages = {name: flow.get("age_s") for name, flow in found if isinstance(flow, dict)}
    return [name for name, age in ages.items() if isinstance(age, int | float) and age < 2.0]


def _run_step(role: str, old: Part | None, new: Part) -> Step:
    return Step(
        id=f"amt.{role}",
        kind=RUN,
        arguments={"role": role, "part": new.to_json()},
        requires=frozenset(new.requires),
        provides=frozenset(new.provides),
        budget_s=40.0,
        undo_budget_s=40.0,
        disruption=f"what comes by the {role} stops for about a second" if old is not None else "",
        summary=f"AMT {role}" + (f": {len(new.flows)} flows from {new.relay}" if isinstance(new, AmtGateway) else ""),
    )


def _stop_step(role: str) -> Step:
    return Step(
        id=f"amt.{role}",
        kind=STOP,
        arguments={"role": role},
        budget_s=15.0,
        undo_budget_s=40.0,
        disruption=f"what comes by the {role} stops",
        summary=f"stop the AMT {role}",
    )
