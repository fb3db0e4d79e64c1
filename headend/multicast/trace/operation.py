"""Operation `tree.trace` of driver `multicast-tree`: what this appliance does with a channel's flows, right now.

Arguments:
    channel      its id
    interval_s   how long counters are compared; 0 (the default): routes only
    start_at     seconds since the epoch at which the interval begins, the same everywhere; late: at once
    flows        those to count, each with path, leg, role, source, group; absent: those that this appliance knows
    receiver     the appliance at whose interfaces arrivals are counted, though nothing goes on from there

The result is a `reading.NodeReading`.
"""

from __future__ import annotations

import asyncio
import re
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path
from typing import Final, Literal

from headend.multicast.documents import TreeEntry
from headend.multicast.frr.client import open_vty
from headend.multicast.interfaces.client import open_kernel
from headend.multicast.interfaces.state import MANAGEMENT
from headend.multicast.monitor.client import ask as ask_monitor
from headend.multicast.monitor.units import Places as MonitorPlaces
from headend.multicast.output.client import ask as ask_output
from headend.multicast.output.units import Places as OutputPlaces
from headend.multicast.output.units import section_of as output_section
from headend.multicast.trace.reading import FlowName, FlowReading, NodeReading, Passed, RouteReading, flow_name
from headend.multicast.trace.tap import Tap
from headend.multicast.tree.mroute import MulticastRoute
from headend.multicast.tree.routes import Routes, dump_routes
from nf.contracts.driver import Checkpoint, Context, DriverContext
from nf.contracts.json import JsonObject
from nf.errors import DriverError, InputError

LONGEST_S: Final = 60.0
_MOST_FLOWS: Final = 64
_NET_DEV = Path("/proc/thread-self/net/dev")  # of the thread, which may live in a network namespace of its own
_RPF = "show ip pim rpf json"
_ATTACHED: Final = "0.0.0.0"  # noqa: S104 - how pimd writes that there is no neighbour
_REGISTER: Final = "pimreg"
"""pimd's interface for PIM register messages, which no packet of a source-specific group leaves by."""


@dataclass(frozen=True, slots=True)
class _Known:
    """What an appliance knows of a channel by its own sections."""

    flow: FlowName
    meets: bool = False


class TreeTrace:
    """`entries`: reads the tree's entries that stand here. Raises DriverError."""

    def __init__(self, context: DriverContext, entries: Callable[[], Awaitable[Sequence[TreeEntry]]]) -> None:
        self._appliance = context.appliance
        self._run_dir, self._state_dir = context.run_dir, context.state_dir
        self._entries = entries

    async def run(self, arguments: JsonObject, checkpoint: Checkpoint, context: Context) -> JsonObject:  # noqa: ARG002
        """Raises InputError, DriverError."""
        channel = str(arguments.get("channel", ""))
        interval_s = arguments.get("interval_s", 0)
        if not isinstance(interval_s, int | float) or not 0 <= interval_s <= LONGEST_S:
            raise InputError(f"an interval is 0 to {LONGEST_S:.0f} s", where=f"interval_s {interval_s}")
        known = await self._known(channel)
        flows = _asked(arguments.get("flows"))
        if flows is None:
            flows = tuple(one.flow for one in known)
        meets = {(one.flow.source, one.flow.group) for one in known if one.meets}
        receiving = arguments.get("receiver") == self._appliance
        addresses = await _addresses()
        neighbours = await self._neighbours()
        start_at = arguments.get("start_at")
        window = (float(start_at) if isinstance(start_at, int | float) else 0.0, float(interval_s))
        measured = await _measure(flows, addresses, window, context, receiving=receiving)
        reading = NodeReading(
            appliance=self._appliance,
            addresses=addresses,
            flows=tuple(
                FlowReading(
                    flow,
                    (flow.source, flow.group) in meets,
                    _route(measured, flow, neighbours),
                    tuple(p for f, p in measured.passed if f == flow),
                )
                for flow in flows
            ),
            began_at=measured.began_at,
            seconds=measured.seconds,
            drops={name: count for name, count in measured.drops.items() if count},
            notes=await self._notes(channel),
        )
        return reading.to_json()

    async def _known(self, channel: str) -> tuple[_Known, ...]:
        entries = [entry for entry in await self._entries() if entry.channel == channel]
        known = [
            _Known(FlowName(one.path, one.leg or "", str(one.source), str(one.group)), one.meets) for one in entries
        ]
        text = OutputPlaces.of(self._run_dir, self._state_dir).read()
        section = output_section(text) if text is not None else None
        for output in section.outputs if section is not None else ():
            if output.channel == channel:
                names = (FlowName(output.path, "", str(a), str(output.group), "output") for a in output.addresses)
                known += [_Known(name) for name in names]
        return tuple(known)

    async def _neighbours(self) -> dict[tuple[str, str], tuple[str, str]]:
        """(source, group) -> (interface, neighbour) of the reverse path, as pimd has it; "" for an attached source.
        Empty without pimd."""
        path = self._run_dir / "frr" / "vty" / "pimd.vty"
        if not path.exists():
            return {}
        try:
            async with open_vty(path) as vty:
                return parse_rpf(await vty.show_json(_RPF))
        except DriverError:
            return {}  # it is being started anew; the way is then found by subnets

    async def _notes(self, channel: str) -> tuple[str, ...]:
        notes: list[str] = []
        stage = await ask_output(OutputPlaces.of(self._run_dir, self._state_dir).sockets)
        for output in stage.outputs if stage is not None else ():
            if output.channel == channel:
                legs = ", ".join(f"{leg.received} received, {leg.lost} lost" for leg in output.legs)
                notes.append(
                    f"output stage {output.key} ({output.mode}): {output.packets} sent, "
                    f"{output.continuity_errors} continuity errors; feeds: {legs}"
                )
        monitor = await ask_monitor(MonitorPlaces.of(self._run_dir, self._state_dir).directory)
        for flow in monitor.flows if monitor is not None else ():
            if flow.channel == channel:
                name = "/".join(filter(None, (flow.path, flow.leg)))
                notes.append(
                    f"monitor {name}: {flow.bitrate_bps / 1e6:.3f} Mbit/s, MDI {flow.delay_factor_ms:.1f}:"
                    f"{flow.media_loss_rate:.0f}, {flow.continuity_errors} continuity errors"
                )
        return tuple(notes)


@dataclass(slots=True)
class _Measured:
    before: Routes
    after: Routes
    names: dict[int, str]
    passed: tuple[tuple[FlowName, Passed], ...]
    drops: dict[str, int]
    began_at: float
    seconds: float


async def _measure(
    flows: Sequence[FlowName],
    addresses: dict[str, tuple[str, ...]],
    window: tuple[float, float],
    context: Context,
    *,
    receiving: bool,
) -> _Measured:
    """`window`: its begin on the wall clock, and its seconds."""
    start_at, interval_s = window
    names = {index: name for index, name in socket.if_nameindex() if not name.startswith(_REGISTER)}
    before = dump_routes()
    with ExitStack() as stack:
        taps: list[tuple[FlowName, Tap]] = []
        for flow in flows if interval_s else ():
            for interface, direction in _places(flow, before, names, addresses, receiving=receiving):
                try:
                    tap = Tap(interface, direction, IPv4Address(flow.source), IPv4Address(flow.group))
                except OSError:
                    continue  # it went this moment
                taps.append((flow, stack.enter_context(tap)))
        await _until(start_at, context)
        for _, tap in taps:
            tap.count()
        began_at, began = time.time(), time.monotonic()
        before, dropped = dump_routes(), _drops()
        await _wait(interval_s, context)
        passed = tuple((flow, Passed(tap.interface, tap.direction, tap.count())) for flow, tap in taps)
        seconds = time.monotonic() - began
        after = dump_routes() if interval_s else before
    moved = {name: count - dropped.get(name, count) for name, count in _drops().items()}
    return _Measured(before, after, names, passed, moved, began_at, seconds if interval_s else 0.0)


async def _until(start_at: float, context: Context) -> None:
    ahead_s = start_at - time.time()
    if 0 < ahead_s <= LONGEST_S:
        await _wait(ahead_s, context)


async def _wait(seconds: float, context: Context) -> None:
    """Ends early when the operation is cancelled."""
    if seconds > 0:
        try:
            async with asyncio.timeout(seconds):
                await context.cancel.wait()
        except TimeoutError:
            return


def _places(
    flow: FlowName,
    routes: Routes,
    names: dict[int, str],
    addresses: dict[str, tuple[str, ...]],
    *,
    receiving: bool,
) -> list[tuple[str, Literal["in", "out"]]]:
    """Where the flow is counted here: a route's input and outputs, where it begins, where it is received."""
    found: list[tuple[str, Literal["in", "out"]]] = []
    route = routes.get((flow.source, flow.group))
    if route is not None:
        if route.input in names:
            found.append((names[route.input], "in"))
        found += [(names[index], "out") for index in route.outputs if index in names]
    for interface, prefixes in addresses.items():
        if any(prefix.partition("/")[0] == flow.source for prefix in prefixes):
            found.append((interface, "out"))
        elif receiving and route is None:
            found.append((interface, "in"))
    return found


def _route(
    measured: _Measured, flow: FlowName, neighbours: dict[tuple[str, str], tuple[str, str]]
) -> RouteReading | None:
    key = (flow.source, flow.group)
    route = measured.after.get(key)
    if route is None:
        return None
    before = measured.before.get(key) or MulticastRoute(*key, 0, 0, 0, ())
    if before.packets > route.packets:
        before = MulticastRoute(*key, 0, 0, 0, ())  # it was made anew meanwhile
    interface, neighbour = neighbours.get(key, ("", None))
    return RouteReading(
        input=measured.names.get(route.input, ""),
        outputs=tuple(measured.names[index] for index in route.outputs if index in measured.names),
        neighbour=neighbour,
        rpf_interface=interface,
        packets=route.packets,
        wrong_if=route.wrong_if,
        forwarded=route.forwarded,
        forwarded_in_interval=route.forwarded - before.forwarded,
        wrong_if_in_interval=route.wrong_if - before.wrong_if,
    )


async def _addresses() -> dict[str, tuple[str, ...]]:
    """Of the data plane. On the management network everybody is everybody's neighbour, and the addresses of an output
    stage's tap are the same on every PoP: neither leads to a source."""
    async with open_kernel() as kernel:
        links = await kernel.links()
    found = {
        name: tuple(a.prefix for a in link.addresses if not IPv4Interface(a.prefix).is_link_local)
        for name, link in links.items()
        if name != MANAGEMENT
    }
    return {name: prefixes for name, prefixes in found.items() if prefixes}


def _drops() -> dict[str, int]:
    return parse_net_dev(_NET_DEV.read_text())


def parse_net_dev(text: str) -> dict[str, int]:
    """Interface -> packets dropped or damaged, either way: `/proc/net/dev` (Linux net/core/net-procfs.c)."""
    found: dict[str, int] = {}
    for name, numbers in re.findall(r"^\s*(\S+):((?:\s+\d{1,20}){16})\s*$", text, re.MULTILINE | re.ASCII):
        fields = [int(number) for number in numbers.split()]
        found[name] = fields[2] + fields[3] + fields[10] + fields[11]
    return found


def parse_rpf(told: JsonObject) -> dict[tuple[str, str], tuple[str, str]]:
    """Of `show ip pim rpf json`: (source, group) -> (interface, neighbour); "" for an attached source."""
    found: dict[tuple[str, str], tuple[str, str]] = {}
    for sources in told.values():
        for entry in sources.values() if isinstance(sources, dict) else ():
            if isinstance(entry, dict) and {"source", "group", "rpfInterface", "rpfAddress"} <= entry.keys():
                neighbour = str(entry["rpfAddress"])
                key = (str(entry["source"]), str(entry["group"]))
                found[key] = (str(entry["rpfInterface"]), "" if neighbour == _ATTACHED else neighbour)
    return found


def _asked(given: object) -> tuple[FlowName, ...] | None:
    """Raises InputError."""
    if given is None:
        return None
    try:
        if not isinstance(given, list) or len(given) > _MOST_FLOWS:
            raise ValueError("a list of at most 64 flows")  # noqa: TRY301 - bad data, told below
        return tuple(map(flow_name, given))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"no flows to trace: {error!r}", where="flows") from error
