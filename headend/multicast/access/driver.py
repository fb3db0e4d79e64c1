"""The driver of section `multicast-access`: snooping bridges, and what each subscriber port may receive and ask for.

Fact provided for each bridge that is up as it should be: `<appliance>.bridge.<name>`. The bridge's address is set by
the section `interfaces`, whose step waits for that fact.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence

from headend.multicast import nft
from headend.multicast.access import client
from headend.multicast.access.bridge import BRIDGE_SETTINGS, Bridges, open_bridges, port_settings
from headend.multicast.access.documents import AccessSection
from headend.multicast.access.limiter import pair
from headend.multicast.access.render import (
    FAMILY,
    TABLE,
    delete_commands,
    parse_devices,
    passing,
    restore_commands,
    table_commands,
)
from headend.multicast.access.state import (
    Observed,
    all_ports,
    bridges,
    canonical,
    damage_of,
    differences,
    problems,
    section_of,
    to_value,
)
from headend.multicast.access.telemetry import AccessWatch
from headend.multicast.interfaces.client import open_kernel
from headend.multicast.interfaces.driver import address_of
from headend.multicast.nft_generation import generation
from nf.contracts.driver import Context, Drift, DriverContext, Event, Operation, Ownership, State, Step, Undo
from nf.contracts.json import Json, JsonObject
from nf.documents.model import DocumentModel
from nf.errors import DriverError, NfError, RefusedError

CONFIGURE, RESTORE = "access.configure", "access.restore"
POLL_S, EVENTS_S = 0.1, 1.0
LEARNING_S = 10.0
"""At most: it takes the follower 2.5 s, and longer on a busy machine."""
_WHERE = f"table {FAMILY} {TABLE}"


class AccessDriver:
    name = "multicast-access"
    section = "multicast-access"
    operations: Mapping[str, Operation] = {}

    def __init__(self, context: DriverContext) -> None:
        self._appliance = context.appliance
        self._run_dir = context.run_dir
        self._units = context.units
        self._clock = context.clock

    @property
    def owns(self) -> Ownership:
        return Ownership(
            nft_tables=frozenset({f"{FAMILY} {TABLE}"}),
            paths=frozenset({self._run_dir / "access"}),
            units=frozenset({client.UNIT}),
        )

    def _fact(self, bridge: str) -> str:
        return f"{self._appliance}.bridge.{bridge}"

    # -- reading ----------------------------------------------------------------------------------------------------

    async def _observe(self) -> Observed:
        async with open_bridges() as kernel:
            links = await kernel.links()
        table = await nft.list_table(FAMILY, TABLE)
        devices = parse_devices(await nft.print_ruleset(FAMILY)) if table is not None else {}
        return Observed(links, table, devices, await client.ask(self._run_dir))

    async def observe(self) -> State:
        observed = await self._observe()
        value = to_value(observed)
        out_of_order = {line.partition(":")[0].removeprefix("bridge ").split()[0] for line in damage_of(value)}
        sound = [name for name, link in observed.links.items() if link.ours and name not in out_of_order]
        return State(value, frozenset(map(self._fact, sound)))

    def plan(self, have: State, want: DocumentModel | None) -> tuple[Step, ...]:
        section = _section(want)
        if not differences(have.value, section):
            return ()
        before = section_of(have.value)
        lost = sorted({port.name for port in all_ports(before)} - {port.name for port in all_ports(section)})
        return (
            Step(
                id="access.configure",
                kind=CONFIGURE,
                arguments={"section": section.to_json() if section is not None else None},
                provides=frozenset(map(self._fact, bridges(section))),
                budget_s=40.0,
                undo_budget_s=40.0,
                disruption=f"multicast on {', '.join(lost)} has no limits any more" if lost else "",
                summary=f"access ports {', '.join(port.name for port in all_ports(section)) or 'none'}",
            ),
        )

    async def check(self, steps: Sequence[Step], want: DocumentModel | None) -> None:
        section = _section(want)
        if not steps or section is None:
            return
        async with open_bridges() as kernel:
            found = list(problems(section, await kernel.links()))
        if found:
            raise RefusedError(
                "the access edge cannot be this", where=f"{self._appliance}, {self.section}", problems=found
            )
        await nft.run_transaction(table_commands(all_ports(section), {}), where=_WHERE, check_only=True)

    async def prepare(self, step: Step) -> Undo:
        observed = await self._observe()
        section = _from_step(step)
        own = {name for name, link in observed.links.items() if link.ours}
        touched = {port.name for port in all_ports(section)} | {
            link.name for link in observed.links.values() if link.master in own
        }
        async with open_kernel() as kernel:
            addressed = await kernel.links()
        path = client.section_path(self._run_dir)
        addresses: JsonObject = {name: [a.to_json() for a in addressed[name].addresses] for name in sorted(own)}
        return Undo(
            RESTORE,
            {
                "links": {
                    name: observed.links[name].to_json() for name in sorted((touched | own) & observed.links.keys())
                },
                "bridges": [*sorted(own)],
                "made": [*sorted(bridges(section).keys() - own)],
                "addresses": addresses,
                "table": None if observed.table is None else [*observed.table],
                "devices": {**observed.devices},
                "followed": path.read_text() if path.exists() else None,
            },
        )

    # -- changing ---------------------------------------------------------------------------------------------------

    async def apply(self, step: Step, context: Context) -> None:  # noqa: ARG002 - each part has a limit of its own
        section = _from_step(step)
        async with open_bridges() as kernel:
            await _make_bridges(kernel, section)
            await self._follow(section.model_dump_json() if section is not None else None)
            await self._set_table(section)
            await _drop_bridges(kernel, frozenset(bridges(section)))

    async def _set_table(self, section: AccessSection | None) -> None:
        if section is None:
            await nft.run_transaction(delete_commands(), where=_WHERE)
            return
        follower = await self._learned()
        standing = passing(await nft.list_table(FAMILY, TABLE) or ())
        if follower is not None:
            standing |= {name: tuple(map(pair, port.passing)) for name, port in follower.ports.items()}
        await nft.run_transaction(table_commands(all_ports(section), standing), where=_WHERE)
        await client.ask(self._run_dir, "sync")

    async def _learned(self) -> client.FollowerStatus | None:
        """What the follower knows once every host has had the time to say what it watches, so that nobody's channel
        is dropped who has it already. None: no follower answers."""
        deadline = self._clock.monotonic() + LEARNING_S
        while True:
            status = await client.ask(self._run_dir)
            if (status is not None and not status.learning) or self._clock.monotonic() >= deadline:
                return status
            await self._clock.sleep(POLL_S)

    async def _follow(self, text: str | None) -> None:
        """The follower follows the section that is `text`, and has compared everything; None: there is none."""
        path = client.section_path(self._run_dir)
        if text is None:
            await self._units.remove(client.UNIT)
            path.unlink(missing_ok=True)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_suffix(".new")
        new.write_text(text)
        new.replace(path)
        status = await self._units.status(client.UNIT)
        if status is None or status.state.gone:
            await self._units.define(client.unit_spec(self._run_dir))
            await self._units.start(client.UNIT)
        if await client.ask(self._run_dir, "reload") is None:
            await self._units.restart(client.UNIT)

    async def undo(self, undo: Undo, context: Context) -> None:  # noqa: ARG002 - each part has a limit of its own
        data = undo.data
        links, table, devices = data["links"], data["table"], data["devices"]
        if undo.kind != RESTORE or not isinstance(links, dict) or not isinstance(devices, dict):
            raise DriverError(f"unknown kind of undo `{undo.kind}`", where=self.section)
        followed = data["followed"]
        if followed is None:
            await self._follow(None)
        async with open_bridges() as kernel:
            await _restore_links(kernel, links, _names(data["bridges"]), _names(data["made"]))
        await _restore_addresses(data["addresses"])
        before = [entry for entry in table if isinstance(entry, dict)] if isinstance(table, list) else None
        bound = {chain: str(device) for chain, device in devices.items()}
        await nft.run_transaction(restore_commands(before, bound), where=_WHERE)
        if followed is not None:
            await self._follow(str(followed))

    async def verify(self, want: DocumentModel | None, context: Context) -> Drift:
        while True:
            drift = Drift(differences((await self.observe()).value, _section(want)))
            if not drift or not await context.again(POLL_S):
                return drift

    async def events(self) -> AsyncIterator[Event]:
        """Every second a sample `access.port` of each port, and alarms as they change."""
        watch = AccessWatch(self._appliance)
        absent_at: int | None = None
        while True:
            try:
                now, table = generation(), None
                if now is None or now != absent_at:
                    table = await nft.list_table(FAMILY, TABLE)
                absent_at = now if table is None else None
                follower = await client.ask(self._run_dir) if table is not None else None
            except NfError:
                table, follower, absent_at = None, None, None  # the next observation for reconcile tells it as an error
            for event in watch.take(table, follower, self._clock.monotonic(), self._clock.now()):
                yield event
            await self._clock.sleep(EVENTS_S)


def create(context: DriverContext) -> AccessDriver:
    """Entry point of the group `nf.drivers`."""
    return AccessDriver(context)


async def _make_bridges(kernel: Bridges, section: AccessSection | None) -> None:
    await kernel.remove_unfinished()
    for name, lan in bridges(section).items():
        links = await kernel.links()
        bridge = links.get(name) or await kernel.make(name)
        if not bridge.ours and name in links:
            raise DriverError("there is such an interface, and it is not ours", where=f"interface {name}")
        await kernel.set_bridge(bridge, BRIDGE_SETTINGS)
        for port in lan.ports:
            if port.name not in links:
                raise DriverError("does not exist", where=f"interface {port.name}")
            if links[port.name].master != name:
                await kernel.set_master(links[port.name], bridge)
            await kernel.set_port((await kernel.links())[port.name], port_settings(fast_leave=port.fast_leave))
            await kernel.set_up(links[port.name], True)
        await kernel.set_up(bridge, True)
    # Ports that belong to no bridge of the section any more.
    wanted = {port.name: lan.bridge for lan in (section.lans if section is not None else ()) for port in lan.ports}
    links = await kernel.links()
    own = {name for name, link in links.items() if link.ours}
    for link in links.values():
        if link.master in own and wanted.get(link.name) != link.master:
            await kernel.set_master(link, None)
    for port in all_ports(section):
        if port.name not in links:
            raise DriverError("does not exist", where=f"interface {port.name}")
        await kernel.set_up(links[port.name], True)


async def _drop_bridges(kernel: Bridges, wanted: frozenset[str]) -> None:
    for name, link in (await kernel.links()).items():
        if link.ours and name not in wanted:
            await kernel.delete(link)


async def _restore_links(
    kernel: Bridges, recorded: Mapping[str, Json], before: frozenset[str], made: frozenset[str]
) -> None:
    await kernel.remove_unfinished()
    links = await kernel.links()
    for name in sorted(made & links.keys()):
        if links[name].ours:
            await kernel.delete(links[name])
    for name in sorted(before):
        record = recorded[name]
        if isinstance(record, dict):
            bridge = links.get(name) or await kernel.make(name, str(record["mac"]))
            await kernel.set_bridge(bridge, _numbers(record["bridge"]))
            await kernel.set_up(bridge, bool(record["up"]))
    for name, record in recorded.items():
        links = await kernel.links()
        if name in before or name not in links or not isinstance(record, dict):
            continue
        master = record["master"]
        if links[name].master != master:
            await kernel.set_master(links[name], links.get(str(master)) if master is not None else None)
        await kernel.set_port((await kernel.links())[name], _numbers(record["port"]))
        await kernel.set_up(links[name], bool(record["up"]))


async def _restore_addresses(recorded: Json) -> None:
    """Of bridges that were deleted and made anew."""
    async with open_kernel() as kernel:
        links = await kernel.links()
        for name, entries in recorded.items() if isinstance(recorded, dict) else ():
            wanted = [
                address_of(entry) for entry in (entries if isinstance(entries, list) else []) if isinstance(entry, dict)
            ]
            if name in links and not links[name].addresses:
                for address in wanted:
                    await kernel.set_address(links[name], address)


def _names(data: Json) -> frozenset[str]:
    return frozenset(map(str, data if isinstance(data, list) else ()))


def _numbers(data: Json) -> dict[str, int]:
    return {key: int(str(value)) for key, value in data.items()} if isinstance(data, dict) else {}


def _section(want: DocumentModel | None) -> AccessSection | None:
    if want is not None and not isinstance(want, AccessSection):
        raise TypeError(f"section `multicast-access` holds an AccessSection, not {type(want).__name__}")
    return None if want is None or not want.lans else canonical(want)


def _from_step(step: Step) -> AccessSection | None:
    section = step.arguments["section"]
    if step.kind != CONFIGURE:
        raise DriverError(f"unknown kind of step `{step.kind}`", where=step.id)
    return None if section is None else AccessSection.model_validate(section)
