"""The streams of a path: who emits it, from which address, to which group; one, or one for each leg."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from typing import Final

from headend.multicast.addresses import IpAddress
from headend.multicast.documents import Encapsulation, Leg, SsmPath
from headend.multicast.equipment import MulticastEquipment, SourcePair, multicast_equipment
from headend.multicast.planning.allocation import Use
from headend.multicast.planning.facts import SOURCE_FUNCTION, source_fact, tree_fact
from headend.multicast.planning.spt import Face, Topology
from headend.multicast.planning.ways import Contribution, Groups, Way, groups_of, ways_of
from nf.documents.fleet import Fleet
from nf.documents.lineup import LineUp, Source
from nf.documents.rules import unique, unknown
from nf.errors import Problem

_KEY: Final = "spec.equipment.multicast"


@dataclass(frozen=True, slots=True)
class Stream:
    """(S, G):port of a path, or of one leg of it. `face`: the interface of `appliance` in whose subnet S is."""

    leg: Leg | None
    appliance: str
    face: Face
    source: IpAddress
    group: IpAddress
    port: int
    encapsulation: Encapsulation
    contribution: Source

    @property
    def fact(self) -> str:
        return source_fact(self.source, self.group)

    def fact_at(self, router: str) -> str:
        return tree_fact(self.source, self.group, router)


@dataclass(slots=True)
class Streams:
    """What every path emits. `problems`: of those that cannot be emitted, which have no streams."""

    topology: Topology
    equipment: MulticastEquipment
    placed: frozenset[str]
    groups: Groups
    problems: list[Problem] = field(default_factory=list)

    @classmethod
    def of(cls, fleet: Fleet, topology: Topology, groups: Groups) -> Streams:
        return cls(topology, multicast_equipment(fleet), frozenset(fleet.placed(SOURCE_FUNCTION)), groups)

    def of_way(self, way: Way) -> tuple[Stream, ...]:
        """Leg a first. Empty with a problem, or where the line-up itself has one."""
        emitted = [(leg, one) for leg, one in _legs(way) if one.source is not None]
        found = [self._stream(way, leg, one) for leg, one in emitted]
        whole = len(found) == (2 if way.path.protected else 1)
        streams = tuple(stream for stream in found if stream is not None)
        return streams if whole and len(streams) == len(found) else ()

    def _stream(self, way: Way, leg: Leg | None, one: Contribution) -> Stream | None:
        source, group = one.source, self.groups.get((way.channel.id, way.path.id, leg or "a"))
        if source is None or group is None or source.appliance not in self.topology.appliances:
            return None
        face = self._first_face(source, one.key)
        if face is None:
            return None
        found = self._address(source.appliance, face, way) if leg is None else self._of_leg(source.appliance, leg, way)
        if found is None:
            return None
        encapsulation: Encapsulation = "rtp" if way.path.protection == "hot-hot" else "ts"
        return Stream(leg, source.appliance, *found, group, way.path.port, encapsulation, source)

    def _first_face(self, source: Source, key: str) -> Face | None:
        """The interface by which the appliance that takes the source in reaches the routers."""
        if source.appliance not in self.placed:
            rule = f"the source arrives at {source.appliance}, which does not have the function {SOURCE_FUNCTION}"
            remedy = f"place {SOURCE_FUNCTION} there in the fleet, or take a source that arrives at one that has it: "
            self._refuse(rule, remedy + (", ".join(sorted(self.placed)) or "none yet"), key, source.id)
            return None
        face = self.topology.shared_face(source.appliance, self.topology.transit)
        if face is None:
            rule = f"{source.appliance}, where the source arrives, is on no link with a router"
            self._refuse(rule, "add the link to the fleet", key, source.id)
        return face

    def _address(self, appliance: str, face: Face, way: Way) -> tuple[Face, IpAddress] | None:
        if way.path.family == "ipv4":
            return face, face.address.ip
        address = self._address_v6(appliance, face)
        if address is None:
            self._refuse_v6(appliance, f"add {appliance}:{face.name} to addresses_v6", way)
            return None
        return face, address

    def _address_v6(self, appliance: str, face: Face) -> IpAddress | None:
        endpoint = f"{appliance}:{face.name}"
        return next((one.address.ip for one in self.equipment.addresses_v6 if one.interface == endpoint), None)

    def _of_leg(self, appliance: str, leg: Leg, way: Way) -> tuple[Face, IpAddress] | None:
        pair = next((pair for pair in self.equipment.sources if pair.appliance == appliance), None)
        if pair is None:
            rule = f"{appliance} has no addresses for protected channels"
            add = f"add {{appliance: {appliance}, a: ..., b: ...}} to spec.equipment.multicast.sources of the fleet"
            self._refuse(rule, add, f"{way.key}.protection", way.path.protection)
            return None
        own = pair.a if leg == "a" else pair.b
        face = face_of(self.topology, appliance, own)
        if face is None:  # told with the fleet's own problems
            return None
        address: IpAddress | None = own if way.path.family == "ipv4" else _v6(pair, leg)
        if address is None:
            self._refuse_v6(appliance, f"add {leg}6 to its entry in sources", way)
            return None
        return face, address

    def _refuse_v6(self, appliance: str, remedy: str, way: Way) -> None:
        rule = f"{appliance} has no IPv6 address from which the path could be sent"
        self._refuse(rule, f"{remedy} in spec.equipment.multicast of the fleet", f"{way.key}.family", "ipv6")

    def _refuse(self, rule: str, remedy: str, key: str, value: str) -> None:
        self.problems.append(Problem(rule, remedy, key=key, value=value))


def _legs(way: Way) -> Iterator[tuple[Leg | None, Contribution]]:
    """Which contribution each leg takes: both the same one, where one stream is sent twice."""
    if not way.path.protected:
        yield None, way.contributions[0]
    else:
        yield "a", way.contributions[0]
        yield "b", way.contributions[-1]


def _v6(pair: SourcePair, leg: Leg) -> IpAddress | None:
    return pair.a6 if leg == "a" else pair.b6


def face_of(topology: Topology, appliance: str, address: IPv4Address) -> Face | None:
    """The interface whose subnet has the address, on a link with a router."""
    faces = topology.faces.get(appliance, ())
    return next((f for f in faces if address in f.address.network and topology.routers_on(f.link)), None)


def source_pair_problems(fleet: Fleet, topology: Topology) -> Iterator[Problem]:
    """Addresses of protected channels stand in subnets that routers know, and are nobody's else."""
    taken: dict[IPv4Address, str] = {
        face.address.ip: f"{name}:{face.name}" for name, faces in topology.faces.items() for face in faces
    }
    pairs, placed = multicast_equipment(fleet).sources, fleet.placed(SOURCE_FUNCTION)
    keys = [f"{_KEY}.sources[{number}]" for number in range(len(pairs))]
    yield from unique(
        "the appliance has a pair of addresses already: {first}",
        "write one pair for each appliance: all its protected channels leave from it",
        ((f"{key}.appliance", pair.appliance, pair.appliance) for key, pair in zip(keys, pairs, strict=True)),
    )
    for key, pair in zip(keys, pairs, strict=True):
        if pair.appliance not in topology.appliances:
            yield unknown("appliance in the fleet", f"{key}.appliance", pair.appliance, topology.appliances)
            continue
        if pair.appliance not in placed:
            rule = f"{pair.appliance} does not have the function {SOURCE_FUNCTION}: nothing leaves from these addresses"
            remedy = f"place {SOURCE_FUNCTION} there, or name one that has it: {', '.join(placed) or 'none yet'}"
            yield Problem(rule, remedy, key=f"{key}.appliance", value=pair.appliance)
        for leg, address in (("a", pair.a), ("b", pair.b)):
            if address in taken:
                rule = f"this address is taken by {taken[address]}"
                yield Problem(rule, "choose a free one", key=f"{key}.{leg}", value=str(address))
            elif (face := face_of(topology, pair.appliance, address)) is None:
                rule = f"the address is in no subnet that {pair.appliance} shares with a router"
                remedy = "choose one in the subnet of an interface that is on a link with routers"
                yield Problem(rule, remedy, key=f"{key}.{leg}", value=str(address))
            elif not is_host(address, face.address.network):
                rule = f"the first and the last address of {face.address.network} are no host's"
                yield Problem(rule, "choose one between them", key=f"{key}.{leg}", value=str(address))
            taken.setdefault(address, f"{pair.appliance}, leg {leg}")


def is_host(address: IPv4Address, network: IPv4Network) -> bool:
    """Of a /31 both are (RFC 3021)."""
    return network.prefixlen >= 31 or address not in (network.network_address, network.broadcast_address)


def addresses_v6_problems(fleet: Fleet, topology: Topology) -> Iterator[Problem]:
    """Each stands on an interface of the fleet, one on each."""
    known = {f"{name}:{face.name}" for name, faces in topology.faces.items() for face in faces}
    given = [
        (f"{_KEY}.addresses_v6[{n}].interface", v6) for n, v6 in enumerate(multicast_equipment(fleet).addresses_v6)
    ]
    yield from unique(
        "the interface has an IPv6 address already: {first}",
        "write one for each interface",
        ((key, one.interface, one.interface) for key, one in given),
    )
    for key, one in given:
        if one.interface not in known:
            yield unknown("interface of an appliance", key, one.interface, known)


# ---- for those who take a path as their fallback ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FirstFeed:
    """By which (source, group):port a PoP that asks for one feed of a path gets it: leg a of a protected one."""

    source: IPv4Address
    group: IPv4Address
    port: int
    encapsulation: Encapsulation


def first_feeds(lineup: LineUp, fleet: Fleet) -> Mapping[tuple[str, str], FirstFeed]:
    """(channel, path) -> its first feed; what cannot be emitted, or is IPv6, is absent. Pure."""
    ways = ways_of(lineup)
    groups, _ = groups_of(ways, multicast_equipment(fleet).pool, lineup)
    streams = Streams.of(fleet, Topology(fleet), groups)
    found: dict[tuple[str, str], FirstFeed] = {}
    for way in ways:
        for stream in streams.of_way(way)[:1]:
            if isinstance(stream.source, IPv4Address) and isinstance(stream.group, IPv4Address):
                found[way.channel.id, way.path.id] = FirstFeed(
                    stream.source, stream.group, stream.port, stream.encapsulation
                )
    return found


def output_of(way: Way, groups: Groups) -> tuple[IpAddress, int] | None:
    """(group, port) that receivers join at a PoP that gives the path out; None for one that is only forwarded."""
    use: Use = "output"
    group = groups.get((way.channel.id, way.path.id, use))
    if group is None:
        return None
    return group, _output_port(way.path)


def _output_port(path: SsmPath) -> int:
    return path.output.port if path.output is not None and path.output.port is not None else path.port
