"""The driver of section `n6-network`: TUN devices, their gateways, forwarding, the way to the default exit, and
masquerading there.

Forwarding of IPv4 is switched on for the TUN devices and the exit alone, so it leaves to the section `interfaces` what
the machine does otherwise; IPv6 has one switch for all. Fact of each device: `<appliance>.tun.<name>`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence

from core5g.open5gs.documents import N6NetworkSection
from core5g.open5gs.n6 import nft, policy
from core5g.open5gs.n6.maker import UNIT, TunMaker
from core5g.open5gs.n6.policy import Policy, open_policies
from core5g.open5gs.n6.state import Observed, differences, to_value, wanted_switches
from core5g.open5gs.n6.tun import (
    IPV6_ALL,
    TunKernel,
    ipv6_switches,
    open_tuns,
    read_switch,
    write_switch,
)
from core5g.open5gs.naming import tun_fact
from nf.contracts.driver import Context, Drift, DriverContext, Event, Operation, Ownership, State, Step, Undo
from nf.contracts.json import Json, JsonObject
from nf.documents.model import DocumentModel
from nf.errors import DriverError, InputError, Problem, RefusedError

CONFIGURE, RESTORE = "n6.configure", "n6.restore"
_POLL_S = 0.1


class N6NetworkDriver:
    name = "n6-network"
    section = "n6-network"
    operations: Mapping[str, Operation] = {}

    def __init__(self, context: DriverContext) -> None:
        self._appliance = context.appliance
        self._maker = TunMaker(context.run_dir, context.units)
        self.owns = Ownership(
            nft_tables=frozenset({f"{nft.FAMILY} {nft.TABLE}"}),
            route_protocols=frozenset({policy.PROTOCOL, policy.ROUTE_TABLE}),
            rule_priorities=frozenset({policy.PRIORITY}),
            paths=frozenset({self._maker.directory}),
            units=frozenset({UNIT}),
        )

    async def observe(self) -> State:
        async with open_tuns() as kernel:
            links = await kernel.links()
        rules, strange = nft.read_rules(await nft.listed())
        async with open_policies() as opened:
            observed = Observed(links, rules, strange, await opened.read())
        value = to_value(observed, read_switch)
        up = (tun.name for tun in observed.tuns if tun.up and tun.addresses)
        return State(value, frozenset(tun_fact(self._appliance, name) for name in up))

    def plan(self, have: State, want: DocumentModel | None) -> tuple[Step, ...]:
        section = N6NetworkSection.narrowed(want)
        if not differences(have.value, section):
            return ()
        return (
            Step(
                id="n6.network",
                kind=CONFIGURE,
                arguments={"section": section.to_json() if section is not None else None},
                requires=frozenset(section.requires) if section is not None else frozenset(),
                provides=frozenset(section.provides) if section is not None else frozenset(),
                budget_s=40.0,
                undo_budget_s=40.0,
                disruption=_disruption(have.value, section),
                summary=_summary(section),
            ),
        )

    async def check(self, steps: Sequence[Step], want: DocumentModel | None) -> None:
        """The exit is there, nobody else has a device's name, and the kernel takes the rules."""
        section = N6NetworkSection.narrowed(want)
        if not steps or section is None:
            return
        async with open_tuns() as kernel:
            links = await kernel.links()
        found = []
        if section.exit not in links and not section.requires:
            found.append(Problem("does not exist", "name an interface of this appliance", key=section.exit))
        for tun in section.tuns:
            taken = links.get(tun.name)
            if taken is not None and not taken.ours:
                remedy = "remove it, or stop what has made it: the packaged open5gs-upfd makes its own"
                found.append(Problem("exists and was not made here", remedy, key=tun.name))
        if found:
            where = f"{self._appliance}, {self.section}"
            raise RefusedError("the network behind the UPF cannot be this", where=where, problems=found)
        await nft.load(nft.rules_of(section.masquerade, section.exit), only_check=True)

    async def prepare(self, step: Step) -> Undo:
        section = _from_step(step)
        async with open_tuns() as kernel:
            links = await kernel.links()
        names = {*(tun.name for tun in section.tuns), section.exit} if section is not None else set()
        names |= {link.name for link in links.values() if link.ours}
        switches: JsonObject = {
            name: value
            for name in (*(f"ipv4/conf/{one}/forwarding" for one in sorted(names)), *ipv6_switches())
            if (value := read_switch(name)) is not None
        }
        tuns: list[Json] = [link.to_json() for link in links.values() if link.ours]
        async with open_policies() as opened:
            ways = (await opened.read()).to_json()
        return Undo(RESTORE, {"tuns": tuns, "switches": switches, "nft": await nft.listed_text(), "policy": ways})

    async def apply(self, step: Step, context: Context) -> None:  # noqa: ARG002 - every call has its own time-out
        section = _from_step(step)
        wanted = {tun.name: tun for tun in section.tuns} if section is not None else {}
        async with open_tuns() as kernel:
            links = await kernel.links()
            for link in links.values():
                if link.ours and link.name not in wanted:
                    await kernel.remove(link)
            for name in wanted:
                if name in links and not links[name].ours:
                    raise DriverError("exists and was not made here", where=f"TUN {name}", remedy="remove it")
            await self._maker.make(kernel, [name for name in wanted if name not in links])
            links = await kernel.links()
            for name, tun in wanted.items():
                await kernel.set_addresses(links[name], tuple(map(str, tun.gateways)))
                await kernel.set_link(links[name], up=True, mtu=section.mtu if section is not None else 0)
        async with open_policies() as opened:
            await opened.make(policy.wanted(section))
        await nft.load(nft.rules_of(section.masquerade, section.exit) if section is not None else ())
        # Last, so that nothing leaves before it is masqueraded.
        if section is not None:
            for switch in wanted_switches(section):
                write_switch(switch, "1")

    async def undo(self, undo: Undo, context: Context) -> None:  # noqa: ARG002 - every call has its own time-out
        tuns, switches = undo.data.get("tuns"), undo.data.get("switches")
        if undo.kind != RESTORE or not isinstance(tuns, list) or not isinstance(switches, dict):
            raise InputError(f"unknown undo {undo.kind}", where=self.name)
        # First that of `all`, which sets the others.
        if (value := switches.get(IPV6_ALL)) is not None:
            write_switch(IPV6_ALL, str(value))
        before = {str(one["name"]): one for one in tuns if isinstance(one, dict)}
        async with open_tuns() as kernel:
            await kernel.remove_unfinished()
            links = await kernel.links()
            for link in links.values():
                if link.ours and link.name not in before:
                    await kernel.remove(link)
            await self._maker.make(kernel, [name for name in before if name not in links])
            for name, one in before.items():
                await _restore(kernel, name, one)
        async with open_policies() as opened:
            await opened.make(Policy.from_json(undo.data["policy"]))
        await nft.restore(str(undo.data.get("nft", "")))
        for name, value in switches.items():
            if read_switch(name) is not None:
                write_switch(name, str(value))

    async def verify(self, want: DocumentModel | None, context: Context) -> Drift:
        section = N6NetworkSection.narrowed(want)
        while True:
            drift = Drift(differences((await self.observe()).value, section))
            if not drift or not await context.again(_POLL_S):
                return drift

    async def events(self) -> AsyncIterator[Event]:
        """None of its own: the driver `open5gs` tells what passes through the devices."""
        return
        yield


def create(context: DriverContext) -> N6NetworkDriver:
    """Entry point of the group `nf.drivers`."""
    return N6NetworkDriver(context)


async def _restore(kernel: TunKernel, name: str, before: JsonObject) -> None:
    found = before.get("addresses")
    addresses = tuple(map(str, found)) if isinstance(found, list) else ()
    tun = (await kernel.links())[name]
    if tun.addresses != addresses:
        # Their order decides which one is the primary: all anew.
        await kernel.set_addresses(tun, ())
        await kernel.set_addresses((await kernel.links())[name], addresses)
    await kernel.set_link(tun, up=bool(before.get("up")), mtu=int(str(before.get("mtu"))))


def _from_step(step: Step) -> N6NetworkSection | None:
    if (step.kind, step.version) != (CONFIGURE, 1):
        raise InputError(f"unknown step {step.kind} version {step.version}", where="n6-network")
    section = step.arguments["section"]
    return N6NetworkSection.model_validate(section) if section is not None else None


def _summary(section: N6NetworkSection | None) -> str:
    if section is None:
        return "remove the UPF's TUN devices"
    names = ", ".join(f"{tun.name} ({tun.dnn})" for tun in section.tuns)
    onward = f"{section.exit} to {section.gateway}" if section.gateway is not None else section.exit
    return f"{names}; default N6 by {onward}" + (" with its address" if section.masquerade else "")


def _disruption(have: JsonObject | None, section: N6NetworkSection | None) -> str:
    """What stands and does not stay takes the traffic of its UEs along."""
    standing = (have or {}).get("tuns")
    wanted = {tun.name: {*map(str, tun.gateways)} for tun in section.tuns} if section is not None else {}
    lost = [
        str(one["name"])
        for one in (standing if isinstance(standing, list) else ())
        if isinstance(one, dict)
        and isinstance(gateways := one.get("gateways"), list)
        and not {*map(str, gateways)} <= wanted.get(str(one["name"]), set())
    ]
    return f"UEs behind {', '.join(lost)} have no way out" if lost else ""
