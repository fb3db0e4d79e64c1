"""The line-up's paths, from what source stages emit, routers admit and PoPs give out.

A PoP that admits a channel which no router takes from it serves that channel; of one that others take it from as well,
nothing tells whether it does, unless it gives it out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from headend.multicast.adopted_leaves import proxies_of, tunnelled, tunnels_of
from headend.multicast.documents import (
    Flow,
    Leg,
    Output,
    OutputMode,
    SecondFeed,
    SourceStage,
    SsmOutput,
    SsmPath,
    TreeEntry,
)
from headend.multicast.equipment import PART, MulticastEquipment, SourcePair
from headend.multicast.planning.facts import tree_fact
from headend.multicast.reading import Reading
from nf.contracts.adopter import AdoptedPath
from nf.documents.fleet import Fleet, Role
from nf.documents.lineup import Source
from nf.documents.model import DocumentModel

_Key = tuple[str, str]
_UNSEEN = ("admission", "bundle")
"""They decide what may be committed, and leave no trace on a box."""


@dataclass(slots=True)
class _Seen:
    """Of one path. `stages`: with the appliance that has it, leg a first."""

    stages: list[tuple[str, SourceStage]] = field(default_factory=list)
    entries: dict[str, list[TreeEntry]] = field(default_factory=lambda: defaultdict(list))
    outputs: dict[str, Output] = field(default_factory=dict)

    def flow(self, leg: Leg | None) -> Flow | None:
        """What is emitted as that leg."""
        for _, stage in self.stages:
            if leg == "b" and stage.second is not None:
                return stage.second
            twice = stage.second is not None
            if stage.leg == leg or (twice and leg == "a"):
                return Flow(source=stage.source, group=stage.group, port=stage.port)
        return None

    @property
    def flows(self) -> list[Flow]:
        """One, or both legs."""
        found = (self.flow(leg) for leg in (None, "a", "b")) if not self.twice else (self.flow("a"), self.flow("b"))
        return [flow for flow in found if flow is not None]

    @property
    def twice(self) -> bool:
        return any(stage.second is not None for _, stage in self.stages)


def adopted_paths(reading: Reading, known: Fleet) -> tuple[AdoptedPath, ...]:
    seen: dict[_Key, _Seen] = defaultdict(_Seen)
    for router, tree in reading.trees.items():
        for entry in tree.entries:
            seen[entry.channel, entry.path].entries[router].append(entry)
    for appliance, section in reading.sources.items():
        for stage in section.stages:
            seen[stage.channel, stage.path].stages.append((appliance, stage))
    for pop, given in reading.outputs.items():
        for output in given.outputs:
            seen[output.channel, output.path].outputs[pop] = output
    shared = _channels_with_several(seen)
    found = []
    for (channel, path), one in sorted(seen.items()):
        one.stages.sort(key=lambda stage: (stage[1].leg or "", stage[0]))
        adopted = _path(channel, path, one, known, reading, names_source=channel in shared)
        found += [adopted] if adopted is not None else []
    return tuple(found)


def _channels_with_several(seen: Mapping[_Key, _Seen]) -> set[str]:
    """Channels whose paths take several contributions: each path names its own."""
    ports: dict[str, set[tuple[str, int]]] = defaultdict(set)
    for (channel, _), one in seen.items():
        ports[channel].update((appliance, stage.contribution_port) for appliance, stage in one.stages)
    return {channel for channel, found in ports.items() if len(found) > 1}


def _path(
    channel: str, path: str, seen: _Seen, known: Fleet, reading: Reading, *, names_source: bool
) -> AdoptedPath | None:
    name = f"{channel}/{path}"
    if not seen.stages:
        what = "admitted" if seen.entries else "given out"
        reading.problems.append(f"{name} is {what}, and nothing emits it")
        return None
    legs = [stage.leg for _, stage in seen.stages]
    if len(set(legs)) < len(legs) or (None in legs and len(legs) > 1):
        emitting = " and ".join(appliance for appliance, _ in seen.stages)
        reading.problems.append(f"{name} is emitted by {emitting}")
        return None
    reading.problems += _strays(name, seen)
    reading.problems += _unlike_outputs(name, seen)
    served, unsure = _sites(seen, known, reading)
    if not served:
        reading.problems.append(f"{name} is emitted, and no PoP admits it")
        return None
    stage = seen.stages[0][1]
    sources = [_source(*one) for one in seen.stages]
    other = sources[1] if len(sources) > 1 else None
    first, *rest = seen.flows
    protection: Literal["none", "hot-hot", "switch"] = "hot-hot" if seen.twice else "switch" if other else "none"
    output = next((seen.outputs[pop] for pop in sorted(seen.outputs)), None)
    made = SsmPath(
        id=path,
        type="ssm",
        group=first.group,
        port=first.port,
        rate_bps=stage.rate_bps,
        sites=tuple(sorted(served)),
        source=sources[0].id if names_source else None,
        protection=protection,
        second=SecondFeed(source=other.id if other else None, group=rest[0].group) if rest else None,
        output=None if output is None else SsmOutput(group=output.group, port=output.port),
        dscp=stage.dscp,
        pinned=tuple(sorted(_pinned(seen, known, reading) & served)),
    )
    doubts = (*(("sites",) if unsure else ()), "source.id", "source.bitrate")
    return AdoptedPath(channel, made, sources[0], doubts, names_source, other, _UNSEEN)


def _source(appliance: str, stage: SourceStage) -> Source:
    port = stage.contribution_port
    name = f"{appliance[:33].rstrip('-')}-{port}"
    return Source(id=name, appliance=appliance, port=port, bitrate_bps=stage.rate_bps)


def _strays(name: str, seen: _Seen) -> list[str]:
    """Entries for something else than what is emitted."""
    return [
        f"{router} admits ({entry.source}, {entry.group}):{entry.port} as {name}, not what is emitted"
        for router, entries in sorted(seen.entries.items())
        for entry in entries
        if seen.flow(entry.leg) != Flow(source=entry.source, group=entry.group, port=entry.port)
    ]


def _unlike_outputs(name: str, seen: _Seen) -> list[str]:
    """A path is given out by its PoPs in one way."""
    given = {(output.group, output.port, output.mode) for output in seen.outputs.values()}
    if len(given) > 1:
        return [f"{name} is given out in several ways ({', '.join(sorted(seen.outputs))}); a path has one"]
    modes = {mode for _, _, mode in given}
    wanted = OutputMode.MERGE if seen.twice else OutputMode.SWITCH if len(seen.stages) > 1 else OutputMode.SINGLE
    return [f"{name} is given out as {mode.value}, and is emitted for {wanted.value}" for mode in modes - {wanted}]


def _sites(seen: _Seen, known: Fleet, reading: Reading) -> tuple[set[str], bool]:
    """The sites that are served, and whether one of them may only pass the channel on."""
    pops: dict[str, list[str]] = defaultdict(list)
    for appliance in known.spec.appliances:
        if appliance.role is Role.POP:
            pops[appliance.site].append(appliance.id)
    if seen.outputs:
        return {site for site, names in pops.items() if set(names) & seen.outputs.keys()}, False
    flow = seen.flows[0]
    taken = {fact for entries in seen.entries.values() for entry in entries for fact in entry.requires}
    relays = (section.relay for section in reading.tunnels.values() if section.relay is not None)
    taken |= {fact for relay in relays for fact in relay.requires}
    ends = tunnelled(reading, flow.source, flow.group)
    sure, perhaps = set(), set()
    for site, names in pops.items():
        admitting = [name for name in names if name in seen.entries or name in ends]
        if any(tree_fact(flow.source, flow.group, name) not in taken for name in admitting):
            sure.add(site)
        elif admitting and len(admitting) == len(names):
            perhaps.add(site)
    return sure | perhaps, bool(perhaps)


def _pinned(seen: _Seen, known: Fleet, reading: Reading) -> set[str]:
    """Sites whose PoP has it flow to its receivers, or to its output stage, also unasked."""
    site = {appliance.id: appliance.site for appliance in known.spec.appliances if appliance.role is Role.POP}
    served = {name: {face.name for face in section.interfaces if face.igmp} for name, section in reading.frr.items()}
    served |= {name: set(proxy.access) for name, proxy in reading.proxies.items()}
    gateways = {proxy.gateway for proxy in reading.proxies.values()}
    for name, own in reading.interfaces.items():  # a proxy asks there, which is a PoP of its own
        served.get(name, set()).difference_update(i.name for i in own.interfaces if i.address.ip in gateways)
    return {
        site[router]
        for router, entries in seen.entries.items()
        for entry in entries
        if router in site and entry.pinned is not None and served.get(router, set()) & set(entry.pinned.outputs)
    }


def seen_equipment(reading: Reading) -> dict[str, DocumentModel]:
    """The addresses from which protected channels are sent, proxies and tunnels, as a part of the fleet's equipment."""
    legs: dict[str, dict[str, Flow]] = defaultdict(dict)
    for appliance, section in reading.sources.items():
        for stage in section.stages:
            own = Flow(source=stage.source, group=stage.group, port=stage.port)
            if stage.second is not None:
                legs[appliance] |= {"a": own, "b": stage.second}
            elif stage.leg is not None:
                legs[appliance][stage.leg] = own
    found = MulticastEquipment(sources=tuple(_whole(legs)), proxies=proxies_of(reading), amt=tunnels_of(reading))
    return {} if found == MulticastEquipment() else {PART: found}


def _whole(legs: Mapping[str, Mapping[str, Flow]]) -> Sequence[SourcePair]:
    return [
        SourcePair(appliance=appliance, a=found["a"].source, b=found["b"].source)
        for appliance, found in sorted(legs.items())
        if len(found) == 2
    ]
