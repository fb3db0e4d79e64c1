"""What one appliance tells of a channel's flows: the result of `tree.trace` as JSON and back. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from ipaddress import IPv4Address, IPv4Interface
from typing import Any, Literal

from nf.contracts.json import JsonObject
from nf.errors import IntegrityError

Role = Literal["tree", "output"]


@dataclass(frozen=True, slots=True, order=True)
class FlowName:
    """One (S, G) of a path. `role` output: what a PoP gives to its receivers, `source` being its own address."""

    path: str
    leg: str
    source: str
    group: str
    role: Role = "tree"

    def __str__(self) -> str:
        return f"({self.source}, {self.group})"


@dataclass(frozen=True, slots=True)
class Passed:
    """Packets of the flow that passed an interface within the interval, seen on the wire itself."""

    interface: str
    direction: Literal["in", "out"]
    packets: int


@dataclass(frozen=True, slots=True)
class RouteReading:
    """The router's entry. Counters: at the interval's end, and what they moved within it. `neighbour`: whom it asked
    for the flow (reverse path); "" where the source is attached, None where nobody can tell."""

    input: str
    outputs: tuple[str, ...]
    neighbour: str | None = None
    rpf_interface: str = ""
    packets: int = 0
    wrong_if: int = 0
    forwarded: int = 0
    forwarded_in_interval: int = 0
    wrong_if_in_interval: int = 0


@dataclass(frozen=True, slots=True)
class FlowReading:
    flow: FlowName
    meets: bool = False
    route: RouteReading | None = None
    passed: tuple[Passed, ...] = ()

    def passing(self, interface: str, direction: str) -> int | None:
        return next((p.packets for p in self.passed if (p.interface, p.direction) == (interface, direction)), None)


@dataclass(frozen=True, slots=True)
class NodeReading:
    """`addresses`: interface -> addresses with their prefix. `began_at`, `seconds`: of the interval, wall clock.
    `drops`: interface -> packets that it dropped within the interval, either way. `notes`: what output stage and
    monitor say, in words."""

    appliance: str
    addresses: dict[str, tuple[str, ...]] = field(default_factory=dict)
    flows: tuple[FlowReading, ...] = ()
    began_at: float = 0.0
    seconds: float = 0.0
    drops: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def of(self, flow: FlowName) -> FlowReading | None:
        key = (flow.source, flow.group)
        return next((one for one in self.flows if (one.flow.source, one.flow.group) == key), None)

    def interface_of(self, address: str) -> str | None:
        """The interface that has `address`."""
        for interface, prefixes in self.addresses.items():
            if any(prefix.partition("/")[0] == address for prefix in prefixes):
                return interface
        return None

    def interface_towards(self, address: str) -> str | None:
        """The interface whose subnet `address` is in."""
        wanted = IPv4Address(address)
        for interface, prefixes in self.addresses.items():
            if any(wanted in IPv4Interface(prefix).network for prefix in prefixes):
                return interface
        return None

    def to_json(self) -> JsonObject:
        return asdict(self)


def reading_of(data: Any) -> NodeReading:
    """Raises IntegrityError for what no appliance would tell."""
    try:
        addresses = {str(name): tuple(map(str, found)) for name, found in data["addresses"].items()}
        for prefix in (prefix for found in addresses.values() for prefix in found):
            IPv4Interface(prefix)
        return NodeReading(
            appliance=str(data["appliance"]),
            addresses=addresses,
            flows=tuple(map(_flow, data["flows"])),
            began_at=float(data["began_at"]),
            seconds=float(data["seconds"]),
            drops={str(name): int(count) for name, count in data["drops"].items()},
            notes=tuple(map(str, data["notes"])),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise IntegrityError(f"no reading of a multicast tree: {error!r}", where="tree.trace") from error


def _flow(data: Any) -> FlowReading:
    route = data["route"]
    return FlowReading(
        flow=flow_name(data["flow"]),
        meets=bool(data["meets"]),
        route=None if route is None else RouteReading(**{**route, "outputs": tuple(map(str, route["outputs"]))}),
        passed=tuple(Passed(str(p["interface"]), p["direction"], int(p["packets"])) for p in data["passed"]),
    )


def flow_name(data: Any) -> FlowName:
    """Raises KeyError, TypeError, ValueError."""
    role: Role = "output" if data.get("role") == "output" else "tree"
    source, group = (str(IPv4Address(data[name])) for name in ("source", "group"))
    return FlowName(str(data["path"]), str(data["leg"]), source, group, role)
