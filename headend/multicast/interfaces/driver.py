"""The driver of section `interfaces`: addresses of the data plane, links up, forwarding and reverse-path filters.

Its own addresses carry a protocol mark in the kernel (IFA_PROTO) and its veth pairs an alias, so what it owns is read
and not remembered. Both ends of a pair are of this machine, so they accept what comes from its own addresses.
Fact provided for each interface that is up with its address: `<appliance>.interface.<name>`. Facts required:
`<appliance>.bridge.<name>` for each interface that is a bridge of the section `multicast-access`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence

from headend.multicast.documents import InterfacesSection
from headend.multicast.interfaces.client import (
    Address,
    Kernel,
    LinkState,
    open_kernel,
    read_sysctl,
    write_sysctl,
)
from headend.multicast.interfaces.state import (
    LOOPBACK,
    MANAGEMENT,
    Observed,
    bridges_of,
    canonical,
    differences,
    foreign_addresses,
    is_empty,
    marked,
    owned_names,
    pairs_of,
    rp_filter_for,
    to_value,
    wanted_addresses,
    wanted_loopback6,
    wanted_pairs,
)
from nf.contracts.driver import Context, Drift, DriverContext, Event, Operation, Ownership, State, Step, Undo
from nf.contracts.json import JsonObject
from nf.documents.model import DocumentModel
from nf.errors import DriverError, Problem, RefusedError

CONFIGURE = "interfaces.configure"
RESTORE = "interfaces.restore"
POLL_S = 0.1
_FORWARD, _ALL_RP_FILTER = "ip_forward", "conf/all/rp_filter"


class InterfacesDriver:
    name = "interfaces"
    section = "interfaces"
    owns = Ownership()
    operations: Mapping[str, Operation] = {}

    def __init__(self, context: DriverContext) -> None:
        self._appliance = context.appliance

    async def observe(self) -> State:
        async with open_kernel() as kernel:
            links = await kernel.links()
        owned = owned_names(links)
        general = int(read_sysctl(_ALL_RP_FILTER)) if owned else 0
        rp_filter = {name: max(general, int(read_sysctl(_rp_filter(name)))) for name in owned - {LOOPBACK}}
        deaf = frozenset(name for pair in pairs_of(links).items() for name in pair if _is_deaf(name))
        value = to_value(Observed(links, read_sysctl(_FORWARD) == "1", rp_filter, deaf))
        return State(value, frozenset(self._fact(name) for name in owned if links[name].up))

    def _fact(self, name: str) -> str:
        return f"{self._appliance}.interface.{name}"

    def plan(self, have: State, want: DocumentModel | None) -> tuple[Step, ...]:
        section = _section(want)
        if not differences(have.value, section):
            return ()
        target = section.to_json() if section is not None else None
        names = wanted_addresses(section) if section is not None else {}
        return (
            Step(
                id="interfaces.configure",
                kind=CONFIGURE,
                arguments={"section": target},
                requires=frozenset(f"{self._appliance}.bridge.{name}" for name in bridges_of(section)),
                provides=frozenset(self._fact(name) for name in names),
                budget_s=20.0,
                undo_budget_s=20.0,
                disruption=_disruption(have.value, names),
                summary=f"addresses on {', '.join(sorted(names))}" if names else "no addresses",
            ),
        )

    async def check(self, steps: Sequence[Step], want: DocumentModel | None) -> None:
        """Every interface exists or will be made, and none is the management interface."""
        section = _section(want)
        if not steps or section is None:
            return
        names = [interface.name for interface in section.interfaces]
        reserved = sorted({MANAGEMENT, LOOPBACK}.intersection(names))
        if reserved:
            raise RefusedError(
                f"{', '.join(reserved)} is not part of the data plane",
                where=f"{self._appliance}, section interfaces",
                problems=[Problem(rule="reserved", remedy="leave it out", key=name) for name in reserved],
            )
        async with open_kernel() as kernel:
            links = await kernel.links()
        pairs, ours = wanted_pairs(section), pairs_of(links)
        taken = sorted(end for pair in pairs.items() if ours.get(pair[0]) != pair[1] for end in pair if end in links)
        taken = [end for end in taken if links[end].peer is None]
        if taken:
            raise DriverError(
                f"interface {', '.join(taken)} exists and is not the pair that is asked for",
                where=f"{self._appliance}, section interfaces",
                remedy="give the pair other names, or remove that interface",
            )
        missing = sorted(set(names) - links.keys() - pairs.keys() - bridges_of(section))
        if missing:
            raise DriverError(
                f"interface {', '.join(missing)} does not exist",
                where=f"{self._appliance}, section interfaces",
                remedy="check the name in the fleet document, and that the card is there",
            )

    async def prepare(self, step: Step) -> Undo:
        section = _from_step(step)
        async with open_kernel() as kernel:
            links = await kernel.links()
        names = owned_names(links) | (wanted_addresses(section).keys() if section is not None else frozenset())
        recorded: JsonObject = {}
        for name in sorted(names & links.keys()):
            link = links[name]
            recorded[name] = {
                "up": link.up,
                "rp_filter": read_sysctl(_rp_filter(name)),
                "addresses": [address.to_json() for address in link.addresses],
                **({"own6": [*link.own6]} if name == LOOPBACK else {}),
            }
        switches: JsonObject = {name: read_sysctl(name) for name in (_FORWARD, _ALL_RP_FILTER)}
        pairs: JsonObject = dict(pairs_of(links))
        return Undo(RESTORE, {"links": recorded, "switches": switches, "pairs": pairs})

    async def apply(self, step: Step, context: Context) -> None:  # noqa: ARG002 - netlink answers at once
        section = _from_step(step)
        wanted = wanted_addresses(section) if section is not None else {}
        pairs = wanted_pairs(section)
        async with open_kernel() as kernel:
            links = await _make_pairs(kernel, pairs)
            missing = sorted(wanted.keys() - links.keys())
            if missing or MANAGEMENT in wanted:
                raise DriverError(f"interface {', '.join(missing) or MANAGEMENT} cannot be used", where=step.id)
            for name in sorted(owned_names(links) | wanted.keys()):
                await _set_only(kernel, links[name], wanted.get(name, ()))
            await kernel.set_own6(links[LOOPBACK], wanted_loopback6(section))
            if section is not None and section.loopback6 is not None:
                await kernel.set_up(links[LOOPBACK], True)
        forwarding = section is not None and section.forwarding
        # Last, so that a router never forwards by half of its addresses.
        for name in sorted(wanted.keys() - {LOOPBACK}):
            write_sysctl(_rp_filter(name), str(rp_filter_for(forwarding, tap=name in pairs.values())))
        if pairs or (wanted and not forwarding):
            write_sysctl(_ALL_RP_FILTER, "0")
        write_sysctl(_FORWARD, "1" if forwarding else "0")

    async def undo(self, undo: Undo, context: Context) -> None:  # noqa: ARG002 - netlink answers at once
        recorded, switches = undo.data["links"], undo.data["switches"]
        if undo.kind != RESTORE or not isinstance(recorded, dict) or not isinstance(switches, dict):
            raise DriverError(f"unknown kind of undo `{undo.kind}`", where="interfaces")
        write_sysctl(_FORWARD, str(switches[_FORWARD]))
        async with open_kernel() as kernel:
            pairs = undo.data.get("pairs")
            links = await _make_pairs(kernel, {n: str(o) for n, o in pairs.items()} if isinstance(pairs, dict) else {})
            for name, record in recorded.items():
                if name in links and isinstance(record, dict):
                    await _restore(kernel, links[name], record)
        write_sysctl(_ALL_RP_FILTER, str(switches[_ALL_RP_FILTER]))

    async def verify(self, want: DocumentModel | None, context: Context) -> Drift:
        while True:
            drift = Drift(differences((await self.observe()).value, _section(want)))
            if not drift or not await context.again(POLL_S):
                return drift

    async def events(self) -> AsyncIterator[Event]:
        """None of its own: a lost link shows as a lost adjacency and as drift."""
        return
        yield


def create(context: DriverContext) -> InterfacesDriver:
    """Entry point of the group `nf.drivers`."""
    return InterfacesDriver(context)


async def _make_pairs(kernel: Kernel, wanted: Mapping[str, str]) -> dict[str, LinkState]:
    """Make the pairs `wanted`, and no others, stand, near end -> far end; the links as they are then."""
    await kernel.remove_unfinished()
    links = await kernel.links()
    standing = pairs_of(links)
    for near, link in links.items():
        # An end whose other end cannot be told is what a crash in between left.
        if link.peer is not None and not link.tap and wanted.get(near, "") != standing.get(near):
            await kernel.remove_pair(link)
    for near, far in wanted.items():
        if standing.get(near) != far:
            await kernel.make_pair(near, far)
        for end in (near, far):
            write_sysctl(_accept_local(end), "1")
    return await kernel.links()


async def _set_only(kernel: Kernel, link: LinkState, prefixes: Sequence[str]) -> None:
    """Make `prefixes` the link's only addresses and the link up; none takes away what the driver set."""
    foreign = foreign_addresses(link, prefixes)
    for prefix in prefixes:
        await kernel.set_address(link, marked(prefix))
    for address in foreign:
        await kernel.remove_address(link, address)
    if not prefixes:
        return
    for prefix in prefixes:
        await kernel.set_address(link, marked(prefix))  # again: it goes with its primary in the same subnet
    now = [address for address in (await kernel.links())[link.name].addresses if address.ours]
    if now[0].prefix != prefixes[0]:
        for address in reversed(now):
            await kernel.remove_address(link, address)
        for prefix in prefixes:
            await kernel.set_address(link, marked(prefix))
    await kernel.set_up(link, True)


async def _restore(kernel: Kernel, link: LinkState, record: JsonObject) -> None:
    recorded = record["addresses"]
    entries = recorded if isinstance(recorded, list) else []
    before = tuple(address_of(entry) for entry in entries if isinstance(entry, dict))
    prefixes = {address.prefix for address in before}
    for address in link.addresses:
        if address.prefix not in prefixes:
            await kernel.remove_address(link, address)
    # A removed primary took its secondaries along, so what is there now is read again.
    now = (await kernel.links())[link.name].addresses
    for address in before:
        if address not in now:
            await kernel.set_address(link, address)
    now = (await kernel.links())[link.name].addresses
    if now != before:
        # Their order decides which is primary: all anew, in the order of before.
        for address in reversed(now):
            await kernel.remove_address(link, address)
        for address in before:
            await kernel.set_address(link, address)
    own6 = record.get("own6")
    if isinstance(own6, list):
        await kernel.set_own6(link, [str(prefix) for prefix in own6])
    if link.up is not record["up"]:
        await kernel.set_up(link, bool(record["up"]))
    write_sysctl(_rp_filter(link.name), str(record["rp_filter"]))


def address_of(entry: JsonObject) -> Address:
    return Address(
        prefix=str(entry["prefix"]),
        protocol=int(str(entry["protocol"])),
        label=str(entry["label"]),
        broadcast=str(entry["broadcast"]),
        scope=int(str(entry["scope"])),
    )


def _rp_filter(name: str) -> str:
    return f"conf/{name}/rp_filter"


def _accept_local(name: str) -> str:
    return f"conf/{name}/accept_local"


def _is_deaf(name: str) -> bool:
    return read_sysctl(_accept_local(name)) == "0"


def _section(want: DocumentModel | None) -> InterfacesSection | None:
    if want is not None and not isinstance(want, InterfacesSection):
        raise TypeError(f"section `interfaces` holds an InterfacesSection, not {type(want).__name__}")
    return None if want is None or is_empty(want) else canonical(want)


def _from_step(step: Step) -> InterfacesSection | None:
    section = step.arguments["section"]
    if step.kind != CONFIGURE:
        raise DriverError(f"unknown kind of step `{step.kind}`", where=step.id)
    return None if section is None else InterfacesSection.model_validate(section)


def _disruption(have: JsonObject | None, wanted: Mapping[str, Sequence[str]]) -> str:
    """An address that stands and goes, or that is no longer the main one, takes its traffic along."""
    entries = (have or {}).get("interfaces")
    lost: list[str] = []
    for entry in entries if isinstance(entries, list) else []:
        if isinstance(entry, dict):
            prefixes, secondary = wanted.get(str(entry["name"]), ()), entry.get("secondary")
            moved = entry.get("address") not in prefixes[:1]
            gone = isinstance(secondary, list) and not {str(s) for s in secondary} <= set(prefixes)
            lost += [str(entry["name"])] if moved or gone else []
    return f"addresses change on {', '.join(sorted(lost))}: traffic there stops" if lost else ""
