"""Where each path can be taken, and by what it is measured there: from the line-up, the fleet and the compiled hops."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from nf.documents.fleet import Role
from nf.documents.lineup import Channel, DeliveryPath, Failover
from nf.noc.lineups import Current
from nf.noc.records import HopRecord
from nf.policy.documents import fallback_of, preferred

Pair = tuple[str, str]
"""Channel and site."""


@dataclass(frozen=True, slots=True)
class PathAt:
    """One path at one site.

    hops     its chain: the places of the site, and those that come before the site
    here     appliances of the site that are in the chain
    carrier  of a satellite path; "" of another
    """

    path: DeliveryPath
    hops: tuple[HopRecord, ...]
    here: frozenset[str]
    carrier: str

    @property
    def fallback(self) -> str:
        return fallback_of(self.path)


@dataclass(frozen=True, slots=True)
class Spot:
    """A channel at a site: the paths that come to it, the preferred first."""

    channel: str
    site: str
    failover: Failover
    paths: tuple[PathAt, ...]

    @property
    def key(self) -> Pair:
        return self.channel, self.site


@dataclass(frozen=True, slots=True)
class Places:
    """`spots` in the order of the line-up; `by_appliance`: which of them an appliance has a word in."""

    revision: int
    spots: Mapping[Pair, Spot]
    by_appliance: Mapping[str, frozenset[Pair]]
    site_of: Mapping[str, str]


def places(current: Current) -> Places:
    """Pure."""
    ground = _Ground.of(current)
    spots: dict[Pair, Spot] = {}
    concerned: dict[str, set[Pair]] = defaultdict(set)
    for channel in current.lineup.spec.channels:
        at: dict[str, list[DeliveryPath]] = defaultdict(list)
        for path in channel.delivery:
            for site in ground.sites(channel, path):
                at[site].append(path)
        failover = current.lineup.failover(channel)
        for site, paths in sorted(at.items()):
            found = tuple(ground.at(channel, path, site) for path in preferred(paths, failover))
            spot = Spot(channel.id, site, failover, found)
            spots[spot.key] = spot
            for name in _concerned(spot, ground.site_of):
                concerned[name].add(spot.key)
    by_appliance = {name: frozenset(keys) for name, keys in concerned.items()}
    return Places(current.record.revision, spots, by_appliance, ground.site_of)


@dataclass(frozen=True, slots=True)
class _Ground:
    """`edges`: PoPs and receivers."""

    hops: Mapping[Pair, tuple[HopRecord, ...]]
    site_of: Mapping[str, str]
    edges: frozenset[str]

    @classmethod
    def of(cls, current: Current) -> _Ground:
        hops: dict[Pair, list[HopRecord]] = defaultdict(list)
        for hop in current.record.hops:
            hops[hop.channel, hop.path].append(hop)
        appliances = current.fleet.spec.appliances
        return cls(
            {key: tuple(found) for key, found in hops.items()},
            {one.id: one.site for one in appliances},
            frozenset(one.id for one in appliances if one.role in {Role.POP, Role.PROBE}),
        )

    def chain(self, channel: Channel, path: DeliveryPath) -> tuple[HopRecord, ...]:
        return self.hops.get((channel.id, path.id), ())

    def sites(self, channel: Channel, path: DeliveryPath) -> frozenset[str]:
        """Those that the path names; else where it is measured at a PoP or a receiver."""
        named = _named(path)
        return named or frozenset(
            self.site_of[hop.appliance] for hop in self.chain(channel, path) if hop.appliance in self.edges
        )

    def at(self, channel: Channel, path: DeliveryPath, site: str) -> PathAt:
        """What comes before a site is of no other site that the path serves."""
        chain = self.chain(channel, path)
        mine = tuple(hop for hop in chain if self.site_of.get(hop.appliance) == site)
        last = max((hop.order for hop in mine), default=99)
        elsewhere = _named(path) | {site}
        before = tuple(
            hop for hop in chain if hop.order < last and self.site_of.get(hop.appliance, site) not in elsewhere
        )
        here = frozenset(hop.appliance for hop in mine)
        return PathAt(path, (*mine, *before), here, str(getattr(path, "carrier", "")))


def _named(path: DeliveryPath) -> frozenset[str]:
    return frozenset(getattr(path, "sites", None) or ())


def _concerned(spot: Spot, site_of: Mapping[str, str]) -> set[str]:
    """Appliances whose samples or alarms may change a verdict of the spot."""
    named = {hop.appliance for path in spot.paths for hop in path.hops}
    return named | {name for name, site in site_of.items() if site == spot.site}
