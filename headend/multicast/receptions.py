"""How receivers take the paths of type `ssm` (entry point `nf.receptions`)."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address

from headend.multicast.planning.planned import Planned, PlannedWay, plan_ways
from nf.contracts.reception import Multicast, Reception
from nf.documents.fleet import Fleet
from nf.documents.lineup import LineUp


def receptions(lineup: LineUp, fleet: Fleet) -> Iterator[Reception]:
    """(S, G) of the feed, the same everywhere; of a path that PoPs give out, theirs on each of their LANs."""
    plan = plan_ways(lineup, fleet)
    for planned in plan.ways:
        way, stream = planned.way, planned.streams[0].stream
        group, port = planned.output or (stream.group, stream.port)
        rtp = stream.encapsulation == "rtp" and planned.output is None
        for site in way.path.sites:
            for source in _sources(plan, planned, site):
                found = Multicast(str(source), str(group), port, "rtp" if rtp else "udp", way.path.rate_bps)
                yield Reception(way.channel.id, way.path.id, site, found)


def _sources(plan: Planned, planned: PlannedWay, site: str) -> list[IPv4Address | IPv6Address]:
    if planned.output is None:
        return [planned.streams[0].stream.source]
    return [face.address.ip for pop in plan.pops.get(site, ()) for face in plan.lans(pop)]
