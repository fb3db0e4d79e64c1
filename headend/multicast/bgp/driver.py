"""The driver of section `bgp`.

Facts: it requires `<appliance>.routing`, since bgpd's routes go into zebra. It provides `<appliance>.bgp` and, for each
prefix that it originates, `<appliance>.bgp.<prefix>`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from typing import Final

from headend.multicast.bgp.daemon import Bgpd, check_installed
from headend.multicast.bgp.documents import SECTION, BgpSection
from headend.multicast.bgp.render import DAEMON, canonical, deviations, parse, render
from headend.multicast.bgp.sessions import SessionAlarms, sessions_up
from headend.multicast.frr.check import check_candidate
from headend.multicast.frr.client import VtySocket, open_vty
from headend.multicast.frr.config import format_config, parse_config
from headend.multicast.frr.daemons import file_texts
from nf.contracts.driver import Context, Drift, DriverContext, Event, Operation, Ownership, State, Step, Undo
from nf.contracts.json import JsonObject
from nf.contracts.units import UnitState
from nf.documents.model import DocumentModel
from nf.errors import DriverError, NfError

CONFIGURE, REMOVE, RESTORE = "bgp.configure", "bgp.remove", "bgp.restore"
BUDGET_S: Final = 40.0
_POLL_S, _EVENTS_S = 0.2, 2.0
_ROUTE_PROTOCOL = 186
"""What zebra marks the routes of bgpd with."""


def fact(appliance: str, prefix: object = "") -> str:
    return f"{appliance}.bgp.{prefix}" if prefix else f"{appliance}.bgp"


class BgpDriver:
    name = SECTION
    section = SECTION

    def __init__(self, context: DriverContext) -> None:
        self._appliance = context.appliance
        self._clock = context.clock
        self._units = context.units
        self._daemon = Bgpd(context.run_dir, context.units)
        self.owns = Ownership(
            route_protocols=frozenset({_ROUTE_PROTOCOL}),
            paths=frozenset({self._daemon.directory}),
            units=frozenset({DAEMON}),
            ports=frozenset({"tcp/179"}),
        )
        self.operations: Mapping[str, Operation] = {}

    # -- reading ----------------------------------------------------------------------------------------------------

    async def observe(self) -> State:
        status = await self._units.status(DAEMON)
        if status is None:
            return State(None)
        if status.state is not UnitState.READY:
            return State({"unit": status.state.value})
        lines = (await self._daemon.running((DAEMON,)))[DAEMON]
        section = parse(lines)
        extra, missing = deviations(lines, section)
        value: JsonObject = section.to_json() if section is not None else {}
        value |= {"extra": [*extra]} if extra else {}
        value |= {"missing": [*missing]} if missing else {}
        holds = section is not None and not extra and not missing
        return State(value, self._facts(section) if section is not None and holds else frozenset())

    def _facts(self, section: BgpSection) -> frozenset[str]:
        return frozenset({fact(self._appliance), *(fact(self._appliance, p) for p in section.originates)})

    # -- planning ---------------------------------------------------------------------------------------------------

    def plan(self, have: State, want: DocumentModel | None) -> tuple[Step, ...]:
        section = _wanted(want)
        if section is None:
            return () if have.value is None else (_remove_step(),)
        target = section.to_json()
        if have.value == target:
            return ()
        standing = have.value or {}
        again = [key for key in ("as", "router_id", "rpki") if standing and standing.get(key) != target.get(key)]
        return (
            Step(
                id="bgp.configure",
                kind=CONFIGURE,
                arguments={"section": target},
                requires=frozenset({f"{self._appliance}.routing"}),
                provides=self._facts(section),
                budget_s=BUDGET_S,
                undo_budget_s=BUDGET_S,
                disruption=f"every BGP session restarts: other {', '.join(again)}" if again else "",
                summary=f"BGP in AS {section.as_number}, {len(section.neighbours)} neighbours",
            ),
        )

    async def check(self, steps: Sequence[Step], want: DocumentModel | None) -> None:
        section = _wanted(want)
        if section is None or not steps:
            return
        check_installed(rpki=section.rpki is not None)
        self._daemon.check_place()
        # vtysh knows the words of RPKI only from a daemon that has loaded them.
        lines = render(section.model_copy(update={"rpki": None}))
        await check_candidate("frr defaults traditional\n" + format_config(lines), None)

    # -- changing ---------------------------------------------------------------------------------------------------

    async def prepare(self, step: Step) -> Undo:  # noqa: ARG002 - the same for every step
        status = await self._units.status(DAEMON)
        ready = status is not None and status.state is UnitState.READY
        running = (await self._daemon.running_texts((DAEMON,)))[DAEMON] if ready else None
        argv = status.spec.argv if status is not None and status.spec is not None else ()
        file = self._daemon.read_file(DAEMON)
        return Undo(RESTORE, {"unit": status is not None, "running": running, "file": file, "rpki": "rpki" in argv})

    async def apply(self, step: Step, context: Context) -> None:  # noqa: ARG002 - units have their own time-outs
        if step.kind == REMOVE:
            await self._remove()
            return
        if step.kind != CONFIGURE:
            raise DriverError(f"unknown kind of step `{step.kind}`", where=step.id)
        section = canonical(BgpSection.model_validate(step.arguments["section"]))
        lines = render(section)
        self._daemon.make_directories()
        self._daemon.rpki = section.rpki is not None
        text = file_texts({DAEMON: lines})[DAEMON]
        status = await self._units.status(DAEMON)
        if status is None or status.state is not UnitState.READY:
            self._daemon.write_file(DAEMON, text)
            await self._daemon.start(DAEMON)
        elif status.spec != self._daemon.spec() or await self._another_router(section):
            self._daemon.write_file(DAEMON, text)
            await self._units.define(self._daemon.spec())
            await self._daemon.restart(DAEMON)
        else:
            complaints = await self._daemon.configure(DAEMON, lines)
            if complaints:
                raise DriverError(f"{DAEMON} did not take: {'; '.join(complaints)}", where=f"unit {DAEMON}")
            self._daemon.write_file(DAEMON, text)

    async def _another_router(self, section: BgpSection) -> bool:
        """A second `router bgp` is refused while the first is there, and it goes only with all that refers to it."""
        have = parse((await self._daemon.running((DAEMON,)))[DAEMON])
        return have is None or (have.as_number, have.rpki) != (section.as_number, section.rpki)

    async def undo(self, undo: Undo, context: Context) -> None:  # noqa: ARG002 - units have their own time-outs
        if undo.kind != RESTORE:
            raise DriverError(f"unknown kind of undo `{undo.kind}`", where=SECTION)
        if not undo.data["unit"]:
            await self._remove()
            return
        self._daemon.rpki = undo.data["rpki"] is True
        self._daemon.make_directories()
        file, running = undo.data["file"], undo.data["running"]
        self._daemon.write_file(DAEMON, None if file is None else str(file))
        await self._units.define(self._daemon.spec())
        if running is not None:
            await self._daemon.start(DAEMON)
            await self._daemon.restore(DAEMON, str(running))
        else:
            with suppress(DriverError):  # it did not run before either
                await self._daemon.restart(DAEMON)

    async def _remove(self) -> None:
        await self._daemon.remove(DAEMON)
        self._daemon.write_file(DAEMON, None)

    async def verify(self, want: DocumentModel | None, context: Context) -> Drift:
        while True:
            try:
                drift = Drift(differences((await self.observe()).value, _wanted(want)))
            except DriverError as error:  # it may be between two lives
                drift = Drift((str(error),))
            if not drift or not await context.again(_POLL_S):
                return drift

    # -- events -----------------------------------------------------------------------------------------------------

    async def events(self) -> AsyncIterator[Event]:
        """Alarm `bgp-session-down` on `<appliance>/bgp/<neighbour>`.

        What the RPKI cache says of the known prefixes is looked at too: bgpd 8.4 revalidates the routes that it holds,
        not those that it refused before, so that one that became valid would stay away until its session ends.
        """
        alarms = SessionAlarms(self._appliance)
        said = ""
        while True:
            with suppress(NfError):  # nobody can tell now; the supervisor's own alarms say why
                status = await self._units.status(DAEMON)
                peers: Mapping[str, bool] = {}
                if status is not None and status.state is UnitState.READY:
                    async with open_vty(self._daemon.vty_path(DAEMON)) as vty:
                        peers = sessions_up(await vty.show_json("show bgp ipv4 unicast summary json"))
                        before, said = said, await _roas(vty)
                        if said != before:
                            await vty.command("clear bgp ipv4 unicast * soft in")
                for event in alarms.take(peers, self._clock.now()):
                    yield event
            await self._clock.sleep(_EVENTS_S)


async def _roas(vty: VtySocket) -> str:
    """What bgpd knows of the known prefixes from its RPKI cache; empty when it asks none."""
    section = parse(parse_config(await vty.running_config()))
    if section is None or section.rpki is None:
        return ""
    return "\n".join([(await vty.command(f"show rpki prefix {prefix}")).text for prefix in section.known])


def create(context: DriverContext) -> BgpDriver:
    """Entry point of the group `nf.drivers`."""
    return BgpDriver(context)


def _wanted(want: DocumentModel | None) -> BgpSection | None:
    section = BgpSection.narrowed(want)
    return canonical(section) if section is not None else None


def _remove_step() -> Step:
    return Step(
        id="bgp.remove",
        kind=REMOVE,
        arguments={},
        budget_s=BUDGET_S,
        undo_budget_s=BUDGET_S,
        disruption="the router leaves BGP: what it originates goes to another place, what it passes on is lost",
        summary="stop BGP",
    )


def differences(have: JsonObject | None, want: BgpSection | None) -> tuple[str, ...]:
    """In an operator's words."""
    if want is None:
        return () if have is None else ("bgpd still runs",)
    target = want.to_json()
    if have == target:
        return ()
    if have is None:
        return ("bgpd does not run",)
    told = [f"bgpd is {have['unit']}"] if "unit" in have else []
    keys = sorted(target.keys() | (have.keys() - {"unit", "extra", "missing"}))
    other = [key for key in keys if have.get(key) != target.get(key)] if not told else []
    told += [f"{key} is {have.get(key)}, not {target.get(key)}" for key in other]
    for key in ("extra", "missing"):
        lines = have.get(key)
        told += [f"{key} line: {line}" for line in (lines if isinstance(lines, list) else [])]
    return tuple(told)
