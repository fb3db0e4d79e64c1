"""The driver of section `frr`: OSPF, PIM-SSM, IGMPv3, BFD and static reverse paths of one router.

Facts: it requires `<appliance>.interface.<name>` for each of its interfaces (the interfaces driver provides them) and
provides `<appliance>.routing` while all daemons run.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress

from headend.multicast.documents import FrrSection
from headend.multicast.frr.adjacency import AdjacencyAlarms, expected, ospf_up, pim_up
from headend.multicast.frr.check import check_candidate, check_installed
from headend.multicast.frr.client import open_vty
from headend.multicast.frr.config import format_config, parse_config
from headend.multicast.frr.daemons import Daemons, file_texts
from headend.multicast.frr.render import DAEMONS, canonical, deviations, parse, render
from headend.multicast.interfaces.client import read_sysctl, write_sysctl
from nf.contracts.driver import Context, Drift, DriverContext, Event, Operation, Ownership, State, Step, Undo
from nf.contracts.json import Json, JsonObject
from nf.contracts.units import UnitState
from nf.documents.model import DocumentModel
from nf.errors import DriverError, NfError

CONFIGURE, REMOVE = "frr.configure", "frr.remove"
RESTORE = "frr.restore"
POLL_S, EVENTS_S = 0.2, 2.0
_MEMBERSHIPS = "igmp_max_memberships"
_BY_OSPF = "where OSPF says"
_SHOWS = {"ospf": ("ospfd", "show ip ospf neighbor json"), "pim": ("pimd", "show ip pim neighbor json")}


class FrrDriver:
    name = "frr"
    section = "frr"

    def __init__(self, context: DriverContext) -> None:
        self._appliance = context.appliance
        self._clock = context.clock
        self._daemons = Daemons(context.run_dir, context.units)
        self.owns = Ownership(
            route_protocols=frozenset({188, 196}),  # what zebra marks the routes of OSPF and staticd with
            paths=frozenset({self._daemons.directory}),
            units=frozenset(DAEMONS),
        )
        self.operations: Mapping[str, Operation] = {}

    # -- reading ----------------------------------------------------------------------------------------------------

    async def observe(self) -> State:
        states = await self._daemons.states()
        if not states:
            return State(None)
        ready = [daemon for daemon in DAEMONS if states.get(daemon) is UnitState.READY]
        running = await self._daemons.running(ready)
        section = parse(running)
        extra, missing = deviations(running, section)
        value: JsonObject = section.to_json() if section is not None else {}
        value[_MEMBERSHIPS] = int(read_sysctl(_MEMBERSHIPS))
        down = {d: (states[d].value if d in states else "absent") for d in DAEMONS if d not in ready}
        for key, found in (("extra", list(extra)), ("missing", list(missing)), ("units", down)):
            if found:
                value[key] = _json(found)
        return State(value, frozenset() if down else frozenset({f"{self._appliance}.routing"}))

    # -- planning ---------------------------------------------------------------------------------------------------

    def plan(self, have: State, want: DocumentModel | None) -> tuple[Step, ...]:
        if want is None:
            return () if have.value is None else (self._remove_step(),)
        section = _section(want)
        target = section.to_json()
        if have.value == target:
            return ()
        return (
            Step(
                id="frr.configure",
                kind=CONFIGURE,
                arguments={"section": target},
                requires=frozenset(f"{self._appliance}.interface.{i.name}" for i in section.interfaces),
                provides=frozenset({f"{self._appliance}.routing"}),
                budget_s=60.0,
                undo_budget_s=60.0,
                disruption=_disruption(have.value, section),
                summary=f"router {section.router_id}: OSPF, PIM and BFD on {len(section.interfaces)} interfaces",
            ),
        )

    def _remove_step(self) -> Step:
        return Step(
            id="frr.remove",
            kind=REMOVE,
            arguments={},
            budget_s=60.0,
            undo_budget_s=60.0,
            disruption="the router leaves OSPF and PIM: everything that it carries stops",
            summary="stop OSPF, PIM and BFD",
        )

    async def check(self, steps: Sequence[Step], want: DocumentModel | None) -> None:
        if want is None or not steps:
            return
        check_installed()
        self._daemons.check_place()
        text = "frr defaults traditional\n" + "".join(format_config(lines) for lines in render(_section(want)).values())
        states = await self._daemons.states()
        live = all(states.get(daemon) is UnitState.READY for daemon in DAEMONS)
        await check_candidate(text, self._daemons.vty_directory if live else None)

    # -- changing ---------------------------------------------------------------------------------------------------

    async def prepare(self, step: Step) -> Undo:  # noqa: ARG002 - the same for every step
        states = await self._daemons.states()
        ready = [daemon for daemon in DAEMONS if states.get(daemon) is UnitState.READY]
        texts = await self._daemons.running_texts(ready)
        daemons: JsonObject = {}
        for daemon in DAEMONS:
            file = self._daemons.read_file(daemon)
            daemons[daemon] = {"defined": daemon in states, "running": texts.get(daemon), "file": file}
        return Undo(RESTORE, {"daemons": daemons, _MEMBERSHIPS: read_sysctl(_MEMBERSHIPS)})

    async def apply(self, step: Step, context: Context) -> None:
        if step.kind == REMOVE:
            await self._stop(DAEMONS)
            return
        if step.kind != CONFIGURE:
            raise DriverError(f"unknown kind of step `{step.kind}`", where=step.id)
        section = FrrSection.model_validate(step.arguments["section"])
        self._daemons.make_directories()
        write_sysctl(_MEMBERSHIPS, str(section.igmp_max_memberships))
        configuration = render(section)
        files = file_texts(configuration)
        for number, daemon in enumerate(DAEMONS):
            context.progress(number / len(DAEMONS), daemon)
            states = await self._daemons.states()
            if states.get(daemon) is UnitState.READY:
                complaints = await self._daemons.configure(daemon, configuration[daemon])
                if complaints:
                    raise DriverError(f"{daemon} did not take: {'; '.join(complaints)}", where=f"unit {daemon}")
                self._daemons.write_file(daemon, files[daemon])
            else:
                self._daemons.write_file(daemon, files[daemon])
                await self._daemons.start(daemon)
        for daemon, state in (await self._daemons.states()).items():
            if state is not UnitState.READY:
                raise await self._daemons.died(daemon, DriverError("it is gone after all had taken theirs"))

    async def _stop(self, daemons: Sequence[str]) -> None:
        for daemon in reversed(daemons):
            await self._daemons.remove(daemon)
            self._daemons.write_file(daemon, None)

    async def undo(self, undo: Undo, context: Context) -> None:  # noqa: ARG002 - units have their own time-outs
        """The units that ran get the very configuration back that they ran; the others are stopped or forgotten."""
        before = undo.data["daemons"]
        if undo.kind != RESTORE or not isinstance(before, dict):
            raise DriverError(f"unknown kind of undo `{undo.kind}`", where="frr")
        absent: JsonObject = {"defined": False, "running": None, "file": None}
        records = {d: r for d in DAEMONS if isinstance(r := before.get(d, absent), dict)}
        for daemon in reversed(DAEMONS):
            if not records[daemon]["defined"]:
                await self._daemons.remove(daemon)
        for daemon in DAEMONS:
            file, running = records[daemon]["file"], records[daemon]["running"]
            if records[daemon]["defined"]:
                self._daemons.make_directories()
            self._daemons.write_file(daemon, None if file is None else str(file))
            if running is not None:
                await self._daemons.start(daemon)
                await self._daemons.restore(daemon, str(running))
            elif records[daemon]["defined"]:
                with suppress(DriverError):  # it did not run before either
                    await self._daemons.restart(daemon)
        if _MEMBERSHIPS in undo.data:
            write_sysctl(_MEMBERSHIPS, str(undo.data[_MEMBERSHIPS]))

    async def verify(self, want: DocumentModel | None, context: Context) -> Drift:
        while True:
            try:
                drift = Drift(_differences((await self.observe()).value, want))
            except DriverError as error:  # a daemon may be between two lives
                drift = Drift((str(error),))
            if not drift or not await context.again(POLL_S):
                return drift

    # -- events -----------------------------------------------------------------------------------------------------

    async def events(self) -> AsyncIterator[Event]:
        """Alarm `adjacency-down` on `<appliance>/<interface>/<ospf|pim>`, for interfaces that are not passive."""
        alarms = AdjacencyAlarms(self._appliance)
        while True:
            for event in await self._adjacencies(alarms):
                yield event
            await self._clock.sleep(EVENTS_S)

    async def _adjacencies(self, alarms: AdjacencyAlarms) -> tuple[Event, ...]:
        try:
            states = await self._daemons.states()
            configuration = {d: parse_config(self._daemons.read_file(d) or "") for d in DAEMONS if d in states}
        except NfError:
            return ()  # nobody can tell now; the supervisor's own alarms say why
        section = parse(configuration)
        up: frozenset[tuple[str, str]] = frozenset()
        reasons: dict[str, str] = {}
        for protocol, (daemon, show) in _SHOWS.items():
            if daemon not in states:
                continue
            try:
                async with open_vty(self._daemons.vty_path(daemon)) as vty:
                    neighbors = await vty.show_json(show)
                up |= ospf_up(neighbors) if protocol == "ospf" else pim_up(neighbors)
            except DriverError:
                reasons[protocol] = f"{daemon} does not answer"
        wanted = expected(section) if section is not None else frozenset()
        return alarms.take(wanted, up, self._clock.now(), reasons)


def create(context: DriverContext) -> FrrDriver:
    """Entry point of the group `nf.drivers`."""
    return FrrDriver(context)


def _section(want: DocumentModel) -> FrrSection:
    if not isinstance(want, FrrSection):
        raise TypeError(f"section `frr` holds an FrrSection, not {type(want).__name__}")
    return canonical(want)


def _json(value: list[str] | dict[str, str]) -> Json:
    return list(value) if isinstance(value, list) else dict(value)


def _interfaces(value: JsonObject | None) -> dict[str, Json]:
    interfaces = (value or {}).get("interfaces")
    entries = interfaces if isinstance(interfaces, list) else []
    return {str(entry["name"]): entry for entry in entries if isinstance(entry, dict)}


def _disruption(have: JsonObject | None, want: FrrSection) -> str:
    """What a change costs: neighbours are lost where an interface leaves or changes, everywhere by a new router id."""
    if not have or "router_id" not in have:
        return ""
    if have["router_id"] != str(want.router_id):
        return "all OSPF adjacencies restart: the router's id changes"
    after = _interfaces(want.to_json())
    hit = sorted(name for name, entry in _interfaces(have).items() if after.get(name) != entry)
    if have.get("timers", want.timers.to_json()) != want.timers.to_json():
        hit = sorted(_interfaces(have))
    told = [f"routing and multicast on {', '.join(hit)} may pause"] if hit else []
    moved = sorted(_paths(have).items() ^ _paths(want.to_json()).items())
    if moved:
        sources = ", ".join(sorted({source for source, _ in moved}))
        told.append(f"what comes from {sources} moves to another path, with a gap unless its other leg covers it")
    return "; ".join(told)


def _paths(value: JsonObject) -> dict[str, str]:
    """Source -> neighbour that its packets are taken from."""
    paths = value.get("reverse_paths")
    entries = paths if isinstance(paths, list) else []
    return {str(entry["source"]): str(entry["neighbour"]) for entry in entries if isinstance(entry, dict)}


def _differences(have: JsonObject | None, want: DocumentModel | None) -> tuple[str, ...]:
    if want is None:
        return () if have is None else ("FRR still runs",)
    target = _section(want).to_json()
    if have == target:
        return ()
    if have is None:
        return ("FRR does not run",)
    told = [f"router id is {have.get('router_id')}, not {target['router_id']}"]
    told = told if have.get("router_id") != target["router_id"] else []
    live, wanted = _interfaces(have), _interfaces(target)
    told += [f"interface {n} is not as wanted: {live.get(n)}" for n in sorted(wanted) if live.get(n) != wanted[n]]
    told += [f"interface {n} is not wanted" for n in sorted(live.keys() - wanted.keys())]
    paths, meant = _paths(have), _paths(target)
    told += [
        f"{source} is taken from {paths.get(source, _BY_OSPF)}, not from {meant.get(source, _BY_OSPF)}"
        for source in sorted(paths.keys() | meant.keys())
        if paths.get(source) != meant.get(source)
    ]
    told += [f"{k} is {have.get(k)}, not {target[k]}" for k in ("timers", _MEMBERSHIPS) if have.get(k) != target[k]]
    for key in ("extra", "missing"):
        lines = have.get(key)
        told += [f"{key} line in {line}" for line in (lines if isinstance(lines, list) else [])]
    units = have.get("units")
    told += [f"{daemon} is {state}" for daemon, state in (units.items() if isinstance(units, dict) else ())]
    return tuple(told)
