"""The driver of section `multicast-proxy`: the proxy as a unit, and the routes to the sources.

Facts: it requires `<appliance>.interface.<name>` for its interfaces and provides `<appliance>.routing`, as FRR does.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from ipaddress import IPv4Address
from pathlib import Path

from pyroute2 import AsyncIPRoute
from pyroute2.netlink.exceptions import NetlinkError

from headend.multicast.documents import ProxySection
from headend.multicast.mfc.kernel import read_vifs
from nf.contracts.driver import Context, Drift, DriverContext, Event, Operation, Ownership, State, Step, Undo
from nf.contracts.json import Json, JsonObject
from nf.contracts.units import Readiness, ReadyKind, Sandbox, Units, UnitSpec, UnitState
from nf.documents.model import DocumentModel
from nf.errors import DriverError

UNIT, MODULE = "multicast-proxy", "headend.multicast.kernel.process"
CONFIGURE, REMOVE, RESTORE = "proxy.configure", "proxy.remove", "proxy.restore"
ROUTE_PROTOCOL = 0x4F
"""RTPROT of the routes that the driver set: how it knows its own again."""

POLL_S = 0.1
Routes = dict[IPv4Address, IPv4Address]
"""Source -> gateway."""


class ProxyDriver:
    name = "multicast-proxy"
    section = "multicast-proxy"
    owns = Ownership(route_protocols=frozenset({ROUTE_PROTOCOL}), units=frozenset({UNIT}))
    operations: Mapping[str, Operation] = {}

    def __init__(self, context: DriverContext) -> None:
        self._appliance = context.appliance
        self._units: Units = context.units
        self._ready = context.run_dir / "multicast-proxy" / "ready"

    async def observe(self) -> State:
        """`sources` are those that have their route, since the process need not know them. `routes` shows where these
        do not lead to the running section's gateway, `unit` where it does not run."""
        status = await self._units.status(UNIT)
        started = section_of(status.spec) if status is not None and status.spec is not None else None
        routes = await read_routes()
        if started is None:
            return State({"routes": _told(routes)} if routes else None)
        section = started.model_copy(update={"sources": _led_to(started.gateway, routes)})
        value = section.to_json()
        if routes != wanted_routes(section):
            value["routes"] = _told(routes)
        standing = status is not None and status.state is UnitState.READY
        if not standing and status is not None:
            value["unit"] = status.state.value
        return State(value, frozenset({f"{self._appliance}.routing"}) if standing else frozenset())

    def plan(self, have: State, want: DocumentModel | None) -> tuple[Step, ...]:
        if want is None:
            if have.value is None:
                return ()
            told = "everything that the PoP carries stops"
            return (
                Step(
                    id="proxy.remove",
                    kind=REMOVE,
                    arguments={},
                    budget_s=40.0,
                    undo_budget_s=40.0,
                    disruption=told,
                    summary="stop the proxy",
                ),
            )
        target = _section(want).to_json()
        if have.value == target:
            return ()
        restarts = have.value is not None and any(have.value.get(k) != v for k, v in target.items() if k != "sources")
        return (
            Step(
                id="proxy.configure",
                kind=CONFIGURE,
                arguments={"section": target},
                requires=frozenset(
                    f"{self._appliance}.interface.{name}" for name in (_section(want).uplink, *_section(want).access)
                ),
                provides=frozenset({f"{self._appliance}.routing"}),
                budget_s=40.0,
                undo_budget_s=40.0,
                disruption="the proxy starts anew: channels pause until receivers answer it" if restarts else "",
                summary=f"IGMP proxy of {', '.join(_section(want).access)} towards {_section(want).uplink}",
            ),
        )

    async def check(self, steps: Sequence[Step], want: DocumentModel | None) -> None:
        """Nobody else owns the kernel's table."""
        if steps and want is not None and await self._units.status(UNIT) is None and read_vifs():
            raise DriverError(
                "another daemon routes multicast on this appliance",
                where=f"{self._appliance}, section {self.section}",
                remedy="take the section frr away first: it is either one or the other",
            )

    async def prepare(self, step: Step) -> Undo:  # noqa: ARG002 - the same for every step
        status = await self._units.status(UNIT)
        section = section_of(status.spec) if status is not None and status.spec is not None else None
        before = section.to_json() if section is not None else None
        return Undo(RESTORE, {"section": before, "routes": _told(await read_routes())})

    async def apply(self, step: Step, context: Context) -> None:  # noqa: ARG002 - units have their own time-outs
        if step.kind == REMOVE:
            await self._units.remove(UNIT)
            await set_routes({})
        elif step.kind == CONFIGURE:
            section = ProxySection.model_validate(step.arguments["section"])
            await set_routes(wanted_routes(section))
            await self._run(section)
        else:
            raise DriverError(f"unknown kind of step `{step.kind}`", where=step.id)

    async def _run(self, section: ProxySection) -> None:
        """A change of sources alone is one of routes: the process goes on."""
        spec, status = unit_spec(section, self._ready), await self._units.status(UNIT)
        running = section_of(status.spec) if status is not None and status.spec is not None else None
        if running == section and status is not None and status.state is UnitState.READY:
            return
        await self._units.define(spec)
        if running is not None and running.model_copy(update={"sources": section.sources}) == section:
            await self._units.start(UNIT)
        else:
            self._ready.unlink(missing_ok=True)
            await self._units.restart(UNIT)

    async def undo(self, undo: Undo, context: Context) -> None:  # noqa: ARG002 - units have their own time-outs
        if undo.kind != RESTORE:
            raise DriverError(f"unknown kind of undo `{undo.kind}`", where=self.section)
        before, routes = undo.data["section"], undo.data["routes"]
        await set_routes(_routes(routes))
        if before is None:
            await self._units.remove(UNIT)
        else:
            await self._run(ProxySection.model_validate(before))

    async def verify(self, want: DocumentModel | None, context: Context) -> Drift:
        while True:
            drift = Drift(_differences((await self.observe()).value, want))
            if not drift or not await context.again(POLL_S):
                return drift

    async def events(self) -> AsyncIterator[Event]:
        """None of its own: the supervisor tells of the unit, the tree of its counters."""
        return
        yield


def create(context: DriverContext) -> ProxyDriver:
    """Entry point of the group `nf.drivers`."""
    return ProxyDriver(context)


def unit_spec(section: ProxySection, ready: Path) -> UnitSpec:
    return UnitSpec(
        name=UNIT,
        argv=(sys.executable, "-m", MODULE, "--ready", str(ready), "--section", section.model_dump_json()),
        ready=Readiness(ReadyKind.FILE, str(ready)),
        backoff_last_s=2.0,
        sandbox=Sandbox(
            capabilities=("CAP_NET_ADMIN", "CAP_NET_RAW"),  # the kernel's multicast table is a raw IGMP socket's
            families=("AF_INET", "AF_NETLINK"),
            writable=(ready.parent,),
        ),
    )


def section_of(spec: UnitSpec) -> ProxySection | None:
    """What a unit was started for; None when it is none of ours."""
    if MODULE not in spec.argv:
        return None
    try:
        return ProxySection.model_validate_json(spec.argv[-1])
    except ValueError:
        return None


def wanted_routes(section: ProxySection) -> Routes:
    return dict.fromkeys(section.sources, section.gateway)


async def read_routes() -> Routes:
    """Those that the driver set."""
    async with AsyncIPRoute() as route:
        found = [m async for m in await route.get_routes(family=2, proto=ROUTE_PROTOCOL)]
    return {
        IPv4Address(m.get_attr("RTA_DST")): IPv4Address(m.get_attr("RTA_GATEWAY"))
        for m in found
        if m["proto"] == ROUTE_PROTOCOL and m.get_attr("RTA_GATEWAY")
    }


async def set_routes(wanted: Routes) -> None:
    """Exactly these. Raises DriverError."""
    standing = await read_routes()
    try:
        async with AsyncIPRoute() as route:
            for source in standing.keys() - wanted.keys():
                await route.route("del", dst=f"{source}/32", proto=ROUTE_PROTOCOL)
            for source, gateway in wanted.items():
                if standing.get(source) != gateway:
                    await route.route("replace", dst=f"{source}/32", gateway=str(gateway), proto=ROUTE_PROTOCOL)
    except NetlinkError as error:
        raise DriverError(f"cannot set the routes to the sources: {error}", remedy="check the gateway") from error


def _led_to(gateway: IPv4Address, routes: Routes) -> tuple[IPv4Address, ...]:
    return tuple(sorted(source for source, by in routes.items() if by == gateway))


def _told(routes: Routes) -> list[Json]:
    return [f"{source} via {gateway}" for source, gateway in sorted(routes.items())]


def _routes(told: Json) -> Routes:
    pairs = (str(text).split(" via ") for text in told) if isinstance(told, list) else ()
    return {IPv4Address(source): IPv4Address(gateway) for source, gateway in pairs}


def _section(want: DocumentModel) -> ProxySection:
    if not isinstance(want, ProxySection):
        raise TypeError(f"section `multicast-proxy` holds a ProxySection, not {type(want).__name__}")
    return want.model_copy(update={"sources": tuple(sorted(set(want.sources)))})


def _differences(have: JsonObject | None, want: DocumentModel | None) -> tuple[str, ...]:
    if want is None:
        return () if have is None else ("the proxy still runs",)
    if have is None:
        return ("the proxy does not run",)
    target = _section(want).to_json()
    keys = sorted(have.keys() | target.keys())
    return tuple(f"{k} is {have.get(k)}, wanted {target.get(k, 'none')}" for k in keys if have.get(k) != target.get(k))
