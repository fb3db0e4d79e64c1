"""What stands in a service list, without its version numbers: from the documents and what is known of the paths. Pure.

The instances of a service come in the order in which they should be tried: that of the policy, which knows what is
well now; `priority` 1 is the first.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from nf.contracts.json import digest
from nf.contracts.paths import Ranking
from nf.contracts.reception import Adaptive, Broadcast, Multicast, Reception, Way
from nf.documents.fleet import Fleet
from nf.documents.lineup import Channel, LineUp


@dataclass(frozen=True, slots=True)
class Instance:
    """`id`: the path's; of several ways of a path also where it holds, such as `sat.pop1`."""

    id: str
    priority: int
    way: Way


@dataclass(frozen=True, slots=True)
class Service:
    """`regions`: the sites to which it comes; empty = everywhere in the list."""

    uid: str
    name: str
    lcn: int
    instances: tuple[Instance, ...]
    regions: tuple[str, ...]

    @property
    def digest(self) -> str:
        return digest(_plain(self))


@dataclass(frozen=True, slots=True)
class Region:
    id: str
    name: str


@dataclass(frozen=True, slots=True)
class Content:
    """`region`: of which site it is; empty: of all."""

    region: str
    regions: tuple[Region, ...]
    services: tuple[Service, ...]

    @property
    def digest(self) -> str:
        return digest(_plain(self))

    @property
    def regions_digest(self) -> str:
        return digest([_plain(region) for region in self.regions])


def _plain(value: Service | Content | Region) -> dict[str, Any]:
    found = asdict(value)
    for service, made in zip(getattr(value, "services", ()), found.get("services", ()), strict=True):
        _name_ways(service.instances, made)
    if isinstance(value, Service):
        _name_ways(value.instances, found)
    return found


def _name_ways(instances: Sequence[Instance], made: dict[str, Any]) -> None:
    for instance, one in zip(instances, made["instances"], strict=True):
        one["kind"] = type(instance.way).__name__


def content_of(
    lineup: LineUp, fleet: Fleet, receptions: Iterable[Reception], rankings: Iterable[Ranking], region: str = ""
) -> Content:
    """Of the channels that can be received by a way that DVB-I has. A region has those that come to its site only."""
    by_path: dict[tuple[str, str], list[Reception]] = defaultdict(list)
    for reception in receptions:
        if _has_form(reception.way):
            by_path[reception.channel, reception.path].append(reception)
    ranked = {(one.channel, one.site): one for one in rankings}
    sites = [site.id for site in fleet.spec.sites]
    services, reached = [], set[str]()
    for channel in lineup.spec.channels:
        comes_to = _comes_to(channel, by_path, sites)
        reached.update(comes_to)
        if comes_to and region and region not in comes_to:
            continue
        order = _order(channel, ranked, region)
        instances = _instances(channel, order, by_path, region)
        if instances:
            services.append(Service(channel.uid, channel.name, channel.lcn, instances, tuple(comes_to)))
    named = [Region(site.id, site.description or site.id) for site in fleet.spec.sites if site.id in reached]
    kept = [one for one in named if region in {"", one.id}]
    listed = tuple(
        Service(
            one.uid, one.name, one.lcn, one.instances, () if region or len(one.regions) == len(named) else one.regions
        )
        for one in services
    )
    return Content(region, tuple(kept), listed)


def _has_form(way: Way) -> bool:
    """The schema's form of an IPv6 address matches none."""
    return not isinstance(way, Multicast) or ":" not in way.group


def _comes_to(
    channel: Channel, by_path: Mapping[tuple[str, str], Sequence[Reception]], sites: Sequence[str]
) -> list[str]:
    """Sites that its paths name, in the fleet's order; what holds wherever it reaches names none."""
    own = {str(site) for path in channel.delivery for site in getattr(path, "sites", ())}
    own |= {one.site for path in channel.delivery for one in by_path.get((channel.id, path.id), ()) if one.site}
    return [site for site in sites if site in own]


def _order(channel: Channel, ranked: Mapping[tuple[str, str], Ranking], region: str) -> list[str]:
    """The channel's paths: as ranked at the region's site, or by their mean place at all sites; else as in the
    line-up."""
    written = sorted(range(len(channel.delivery)), key=lambda number: (channel.delivery[number].priority, number))
    usual = {channel.delivery[number].id: place for place, number in enumerate(written)}
    rankings = [one for (name, site), one in ranked.items() if name == channel.id and region in {"", site}]
    places: dict[str, list[int]] = defaultdict(list)
    for ranking in rankings:
        first = [ranking.active] if ranking.active in ranking.paths else []
        for place, path in enumerate([*first, *(path for path in ranking.paths if path not in first)]):
            places[path].append(place)
    last = len(usual)

    def key(path: str) -> tuple[float, int]:
        own = places.get(path)
        return (sum(own) / len(own) if own else (last if rankings else 0), usual[path])

    return sorted(usual, key=key)


def _instances(
    channel: Channel,
    order: Sequence[str],
    by_path: Mapping[tuple[str, str], Sequence[Reception]],
    region: str,
) -> tuple[Instance, ...]:
    found: list[Instance] = []
    for priority, path in enumerate(order, 1):
        here = [one for one in by_path.get((channel.id, path), ()) if not region or one.site in {"", region}]
        ways: dict[Way, list[str]] = defaultdict(list)
        for one in here:
            ways[one.way].append(one.site)
        taken: set[str] = set()
        for way, sites in ways.items():
            name = _name(path, way, sites, taken, alone=len(ways) == 1)
            taken.add(name)
            found.append(Instance(name, priority, way))
    return tuple(found)


def _name(path: str, way: Way, sites: Sequence[str], taken: set[str], *, alone: bool) -> str:
    if alone or isinstance(way, Broadcast | Adaptive):
        return path
    stem = f"{path}.{sites[0]}" if len(sites) == 1 and sites[0] else f"{path}.multicast"
    return next(
        name for number in range(1, len(taken) + 2) if (name := stem + (f".{number}" * (number > 1))) not in taken
    )
