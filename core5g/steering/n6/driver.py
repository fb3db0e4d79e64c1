"""The driver of section `n6-steering`: the table of nftables, the policy route, the gate and the resolver.

What the live section is, is read in three places: the prefixes in the kernel's sets, the rest in the gate's unit, and
whether the kernel does what that says in its rules. Facts hold while it stands and the gate answers, be it open or
shut: a cache that is down is no fault of steering.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from core5g import nftables
from core5g.steering.destinations import network_of
from core5g.steering.n6 import reading, render, routes, units
from core5g.steering.n6.documents import SECTION, Influence, N6Section
from core5g.steering.n6.explain import explain, told, view_of
from core5g.steering.n6.influences import InfluenceStore, changed
from core5g.steering.n6.operations import EXPLAIN, INFLUENCE, LIST, MECHANISM, SteerOperation
from core5g.steering.n6.telemetry import SteeringWatch
from core5g.steering.n6.who import whereabouts
from nf.contracts.driver import Context, Drift, DriverContext, Event, Operation, Ownership, State, Step, Undo
from nf.contracts.json import Json, JsonObject
from nf.contracts.units import UnitSpec, UnitState, UnitStatus, bring_up
from nf.documents.model import DocumentModel
from nf.errors import DriverError, InputError, RefusedError

STEER, REMOVE, RESTORE = "n6.steer", "n6.remove", "n6.restore"
BUDGET_S = 30.0
_POLL_S, _EVENTS_S = 0.2, 1.0
_WHERE = f"table {render.FAMILY} {render.TABLE}"

Listed = tuple[JsonObject, ...] | None


class N6Driver:
    name = SECTION
    section = SECTION

    def __init__(self, context: DriverContext) -> None:
        self._appliance = context.appliance
        self._run_dir = context.run_dir
        self._state_dir = context.state_dir / SECTION
        self._units = context.units
        self._clock = context.clock
        self._store = InfluenceStore(self._state_dir)
        self._lock = asyncio.Lock()
        self.owns = Ownership(
            nft_tables=frozenset({f"{render.FAMILY} {render.TABLE}"}),
            route_protocols=frozenset({routes.PROTOCOL}),
            rule_priorities=frozenset({routes.PRIORITY}),
            paths=frozenset({units.directory(context.run_dir), self._state_dir}),
            units=frozenset({units.GATE, units.RESOLVER}),
        )
        self.operations: Mapping[str, Operation] = {
            LIST: SteerOperation(self._list),
            EXPLAIN: SteerOperation(self._explain),
            INFLUENCE: SteerOperation(self._influence),
        }

    # -- reading ----------------------------------------------------------------------------------------------------

    async def _unit(self, name: str) -> UnitStatus | None:
        status = await self._units.status(name)
        return status if status is not None and not status.state.gone else None

    async def _live(self) -> tuple[N6Section | None, Listed, UnitStatus | None]:
        """(the section but for its prefixes as they are in the kernel, the table, the gate's unit)."""
        gate = await self._unit(units.GATE)
        listed = await nftables.listed("table", render.FAMILY, render.TABLE)
        section = units.section_of(gate.spec) if gate is not None else None
        if section is not None and listed is not None:
            section = section.model_copy(update={"prefixes": reading.prefixes_of(listed)})
        return section, listed, gate

    async def observe(self) -> State:
        """Beside the section: what was `altered` by hand, or is left of one, or does not run."""
        section, listed, gate = await self._live()
        resolver = await self._unit(units.RESOLVER)
        async with routes.open_routes() as opened:
            policy, links = await opened.read(), await opened.links()
        if section is None and listed is None and gate is None and resolver is None and policy == routes.Policy():
            return State(None)
        if section is None:
            return State({"altered": ["the gate, which does not run"]})
        altered = ["the table, which is not there"] if listed is None else []
        altered += reading.damage(listed, section, self._store.read()) if listed is not None else []
        altered += routes.damage(policy, links, section)
        altered += _unit_damage(gate, units.gate_spec(section, self._run_dir, self._state_dir))
        wanted = units.resolver_spec(section, self._run_dir) if section.resolver is not None else None
        altered += _unit_damage(resolver, wanted)
        value: JsonObject = section.to_json()
        if altered:
            return State({**value, "altered": [*altered]})
        return State(value, frozenset(section.provides))

    # -- planning ---------------------------------------------------------------------------------------------------

    def plan(self, have: State, want: DocumentModel | None) -> tuple[Step, ...]:
        section = N6Section.narrowed(want)
        if section is None:
            return () if have.value is None else (_remove_step(),)
        target = section.to_json()
        if have.value == target:
            return ()
        moved = have.value is not None and _moved(have.value, target)
        return (
            Step(
                id="n6.steer",
                kind=STEER,
                arguments={"section": target},
                requires=frozenset(section.requires),
                provides=frozenset(section.provides),
                budget_s=BUDGET_S,
                undo_budget_s=BUDGET_S,
                disruption="players of UEs that are served by the old cache ask once more" if moved else "",
                summary=f"steer {len(section.prefixes)} prefixes and {len(section.names)} names of the CDN "
                f"to the cache {section.cache.address}{_and6(section)}",
            ),
        )

    async def check(self, steps: Sequence[Step], want: DocumentModel | None) -> None:
        """The kernel takes the table, and a cache's interface accepts answers from the CDN's addresses."""
        section = N6Section.narrowed(want)
        if section is None or not steps:
            return
        commands = [*render.delete_commands(), *render.table_commands(section, self._store.read())]
        await nftables.transact(commands, where=_WHERE, dry=True)
        interface = section.cache.interface
        if interface is None or section.requires:
            return
        async with routes.open_routes() as opened:
            links = await opened.links()
        where = f"{self._appliance}, {SECTION}"
        if interface not in links:
            raise RefusedError(
                f"interface {interface} does not exist", where=where, remedy="name the cache's interface"
            )
        strict = max(routes.reverse_path_filter(name) for name in ("all", interface)) == 1
        if strict:
            remedy = f"set net.ipv4.conf.{interface}.rp_filter to 2 (loose, RFC 3704)"
            text = f"answers of the cache are dropped: rp_filter of {interface} is strict"
            raise RefusedError(text, where=where, remedy=remedy)

    # -- changing ---------------------------------------------------------------------------------------------------

    async def prepare(self, step: Step) -> Undo:  # noqa: ARG002 - the same for every step
        section, listed, _ = await self._live()
        async with routes.open_routes() as opened:
            policy = await opened.read()
        table: Json = [*listed] if listed is not None else None
        before = section.to_json() if section is not None else None
        return Undo(RESTORE, {"section": before, "table": table, "policy": policy.to_json()})

    async def apply(self, step: Step, context: Context) -> None:  # noqa: ARG002 - a unit has a limit of its own
        """Raises DriverError when nftables, netlink or a unit refuses, InputError for a step of another version."""
        async with self._lock:
            if (step.kind, step.version) == (STEER, 1):
                await self._steer(N6Section.model_validate(step.arguments["section"]))
            elif (step.kind, step.version) == (REMOVE, 1):
                await self._remove()
            else:
                raise InputError(f"unknown step {step.kind} version {step.version}", where=SECTION)

    async def _steer(self, section: N6Section) -> None:
        before, listed, _ = await self._live()
        influences = self._store.read()
        fresh = listed is None or bool(reading.structure_damage(listed))
        strange = fresh or listed is None or reading.gate_of(listed, section) is None
        commands = (
            render.rebuild_commands(section, influences, listed)
            if fresh and listed is not None
            else render.table_commands(section, influences)
        )
        if strange:
            # As it was, until the gate has probed; a new table begins shut.
            is_open = listed is not None and bool(reading.interfaces_of(listed, render.OPEN))
            commands += render.gate_commands(section, is_open=is_open)
        await nftables.transact(commands, where=_WHERE)
        async with routes.open_routes() as opened:
            await opened.make(routes.wanted(section))
        self._state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        anew = strange or before is None
        await self._ensure(units.gate_spec(section, self._run_dir, self._state_dir), anew=anew)
        await self._ensure_resolver(section)

    async def _ensure_resolver(self, section: N6Section) -> None:
        if section.resolver is None:
            await self._units.remove(units.RESOLVER)
        else:
            await self._ensure(units.resolver_spec(section, self._run_dir), anew=False)

    async def _ensure(self, spec: UnitSpec, *, anew: bool) -> None:
        now = await self._units.status(spec.name)
        if not anew and now is not None and now.state is UnitState.READY and now.spec == spec:
            return
        units.directory(self._run_dir).mkdir(mode=0o700, parents=True, exist_ok=True)
        await bring_up(self._units, spec, now)

    async def _remove(self) -> None:
        """The gate first, which would put its route back. What was steered goes on by the default exit, and ends."""
        for name in (units.GATE, units.RESOLVER):
            await self._units.remove(name)
        await nftables.transact(render.delete_commands(), where=_WHERE)
        async with routes.open_routes() as opened:
            await opened.make(routes.Policy())

    async def undo(self, undo: Undo, context: Context) -> None:  # noqa: ARG002 - a unit has a limit of its own
        if undo.kind != RESTORE:
            raise InputError(f"unknown undo {undo.kind}", where=SECTION)
        before, table = undo.data.get("section"), undo.data.get("table")
        async with self._lock:
            if before is None:
                for name in (units.GATE, units.RESOLVER):
                    await self._units.remove(name)
            listed = [one for one in table if isinstance(one, dict)] if isinstance(table, list) else None
            await nftables.transact(render.restore_commands(listed), where=_WHERE)
            async with routes.open_routes() as opened:
                await opened.make(routes.Policy.from_json(undo.data["policy"]))
            if before is not None:
                section = N6Section.model_validate(before)
                await self._ensure(units.gate_spec(section, self._run_dir, self._state_dir), anew=True)
                await self._ensure_resolver(section)

    async def verify(self, want: DocumentModel | None, context: Context) -> Drift:
        section = N6Section.narrowed(want)
        while True:
            lines = differences((await self.observe()).value, section)
            if not lines and section is not None and await units.ask_gate(self._run_dir) is None:
                lines = ("the gate does not answer",)
            if not lines or not await context.again(_POLL_S):
                return Drift(lines)

    # -- operations -------------------------------------------------------------------------------------------------

    async def _standing(self) -> tuple[N6Section, tuple[JsonObject, ...]]:
        section, listed, _ = await self._live()
        if section is None or listed is None:
            remedy = "commit a line-up with a path of type upf-breakout"
            raise RefusedError("nothing is steered here", where=f"{self._appliance}, {SECTION}", remedy=remedy)
        return section, listed

    async def _list(self, arguments: JsonObject) -> JsonObject:  # noqa: ARG002 - none
        section, listed = await self._standing()
        gate = await units.ask_gate(self._run_dir)
        counters = reading.counters_of(listed)
        return {
            "mechanism": MECHANISM,
            "upf": section.upf,
            "open": bool(reading.interfaces_of(listed, render.OPEN)),
            "why": gate["why"] if gate is not None else "the gate does not answer; it stays as it was",
            "since": gate["since"] if gate is not None else None,
            "prefixes": len(section.prefixes),
            "names": [*section.names],
            "steered_packets": counters[render.STEERED],
            "default_packets": counters[render.DEFAULT],
            "influences": [one.to_json() for one in self._store.read()],
        }

    async def _explain(self, arguments: JsonObject) -> JsonObject:
        ue, destination = arguments.get("ue"), arguments.get("destination")
        if not isinstance(ue, str) or not isinstance(destination, str):
            raise InputError("this asks about a UE and a destination", where=EXPLAIN, remedy="give both, as text")
        section, listed = await self._standing()
        gate = await units.ask_gate(self._run_dir)
        target = network_of(destination)
        version = None if target is None else target.version
        addresses, absent = await whereabouts(ue, section, version)
        if not addresses:
            return told("unknown-ue", absent, "")
        address = next((one for one in addresses if one.version == version), addresses[0])
        if version is not None and address.version != version:
            return told("default", f"the UE has no IPv{version} address that is known here", "")
        async with routes.open_routes() as opened:
            behind = await opened.exit_of(address)
        why = str(gate["why"]) if gate is not None else "the gate does not answer; it stays as it was"
        return explain(view_of(section, self._store.read(), listed, why=why, behind=behind), str(address), destination)

    async def _influence(self, arguments: JsonObject) -> JsonObject:
        """In force when it returns, and again after every restart: kept first, since that is what is rendered."""
        async with self._lock:
            section, _ = await self._standing()
            before = self._store.read()
            after = changed(before, arguments)
            if after != before:
                await self._change_influences(section, before, after)
        return {"state": "active"}

    async def _change_influences(
        self, section: N6Section, before: tuple[Influence, ...], after: tuple[Influence, ...]
    ) -> None:
        self._store.write(after)
        try:
            await nftables.transact(render.influence_commands(section, after), where=_WHERE)
        except DriverError:
            self._store.write(before)
            raise

    # -- events -----------------------------------------------------------------------------------------------------

    async def events(self) -> AsyncIterator[Event]:
        watch = SteeringWatch(self._appliance)
        while True:
            gate = await self._unit(units.GATE)
            section = units.section_of(gate.spec) if gate is not None else None
            answers: list[Any] = [None, None]
            if section is not None:
                answers = [await units.ask_gate(self._run_dir), await units.ask_resolver(self._run_dir)]
            for event in watch.take(section, answers[0], answers[1], self._clock.now()):
                yield event
            await self._clock.sleep(_EVENTS_S)


def create(context: DriverContext) -> N6Driver:
    """Entry point of the group `nf.drivers`."""
    return N6Driver(context)


def differences(have: JsonObject | None, want: N6Section | None) -> tuple[str, ...]:
    """In an operator's words."""
    if want is None:
        return () if have is None else ("steering at N6 is still there",)
    target = want.to_json()
    if have == target:
        return ()
    if have is None:
        return ("steering at N6 is not there",)
    altered = have.get("altered")
    told = [str(line) for line in altered] if isinstance(altered, list) else []
    if "tuns" in have:
        keys = sorted((have.keys() | target.keys()) - {"altered"})
        told += [f"{key} is another one" for key in keys if have.get(key) != target.get(key)]
    return tuple(told)


def _unit_damage(status: UnitStatus | None, wanted: UnitSpec | None) -> list[str]:
    if wanted is None:
        return [f"{status.name} runs, though it should not"] if status is not None else []
    if status is None:
        return [f"{wanted.name} does not run"]
    if status.spec != wanted:
        return [f"{wanted.name} runs with other settings"]
    return [f"{wanted.name} is {status.state.value}"] if status.state is not UnitState.READY else []


def _and6(section: N6Section) -> str:
    return f" and {section.cache.address6}" if section.cache.address6 is not None else ""


def _moved(have: JsonObject, target: JsonObject) -> bool:
    """Whether those who are served now are served from elsewhere."""
    pairs = [have.get("cache"), target.get("cache")]
    places = [{k: v for k, v in one.items() if k != "health"} if isinstance(one, dict) else one for one in pairs]
    return places[0] is not None and places[0] != places[1]


def _remove_step() -> Step:
    return Step(
        id="n6.remove",
        kind=REMOVE,
        arguments={},
        budget_s=BUDGET_S,
        undo_budget_s=BUDGET_S,
        disruption="players of UEs that are served by the cache ask once more, by the default exit",
        summary="steer nothing at N6",
    )
