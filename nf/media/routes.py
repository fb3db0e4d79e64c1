"""Where a path of type `cdn` goes: its packager, its edges, and the links that carry it from one to the next."""

from __future__ import annotations

from dataclasses import dataclass

from nf.documents.rules import unique, unknown
from nf.errors import Problem
from nf.media.documents import endpoint_address
from nf.media.network import Direction, Network
from nf.media.placement import PACKAGER, Caches
from nf.media.ways import Way


@dataclass(slots=True)
class Routes:
    """`problems`: what stands against a path is added to it."""

    network: Network
    caches: Caches
    sites: set[str]
    problems: list[Problem]

    def edges(self, way: Way) -> tuple[str, ...] | None:
        """The edges at the path's sites; None when a site has none."""
        found = list(
            unique(
                "the site is listed twice: {first}",
                "list it once",
                ((f"{way.key}.sites[{index}]", site, site) for index, site in enumerate(way.path.sites)),
            )
        )
        edges: list[str] = []
        for index, site in enumerate(way.path.sites):
            key = f"{way.key}.sites[{index}]"
            here = [name for name in self.caches.edges if self.network.appliances[name].site == site]
            edges += here
            if site not in self.sites:
                found.append(unknown("site in the fleet", key, site, self.sites))
            elif not here:
                remedy = "place cdn-edge on an appliance of the site in the fleet, or remove the site"
                found.append(Problem("the site has no edge cache", remedy, key=key, value=site))
        if not self.caches.shields:
            remedy = "place cdn-shield on an appliance of the fleet"
            found.append(Problem("the fleet has no shield cache", remedy, key=f"{way.key}.type", value="cdn"))
        self.problems += found
        return None if found else tuple(edges)

    def packager(self, way: Way) -> str | None:
        key, source = f"{way.key}.source", way.source
        if source is None:
            self.problems.append(Problem("no such source in spec.sources", "add it", key=key, value=way.path.source))
            return None
        if source.appliance not in self.network.appliances:
            return None
        if source.appliance not in self.caches.packagers:
            rule = f"the source arrives at {source.appliance}, which does not have the function {PACKAGER}"
            remedy = f"place {PACKAGER} there in the fleet, or take a source that arrives at one that has it: "
            known = ", ".join(sorted(self.caches.packagers)) or "none yet"
            self.problems.append(Problem(rule, remedy + known, key=key, value=source.id))
            return None
        return source.appliance

    def loads(self, way: Way, packager: str, edges: tuple[str, ...]) -> list[Direction] | None:
        """The directions that carry the path, one entry for each time; None when a way is missing."""
        endpoint = way.path.origin.endpoint
        at_origin = self.network.routers_at(endpoint_address(endpoint)[0])
        key = f"{way.key}.origin.endpoint"
        if not at_origin:
            remedy = "give a router of the fleet an interface in its subnet, or correct the address"
            self.problems.append(Problem("no router reaches the origin", remedy, key=key, value=endpoint))
            return None
        carried: list[Direction] = []
        gateways = self.network.gateways(packager)
        upload = self.network.ways(gateways, at_origin)
        found = [] if upload is not None else [f"{packager} has no path to the origin"]
        carried += sorted({way_out for way_out in gateways.values() if way_out is not None} | (upload or frozenset()))
        for shield in self.caches.shields:
            fill = self.network.ways(at_origin, self.network.gateways(shield))
            found += [] if fill is not None else [f"the shield {shield} has no path to the origin"]
            carried += sorted(fill or ())
        for edge in edges:
            fills = [
                self.network.ways(self.network.gateways(shield), self.network.gateways(edge))
                for shield in self.caches.shields
            ]
            found += [f"the edge {edge} has no path to a shield"] if None in fills else []
            carried += sorted({direction for fill in fills for direction in fill or ()})
        remedy = "add the missing link to the fleet"
        self.problems += [Problem(rule, remedy, key=key, value=endpoint) for rule in found]
        return None if found else carried

    def nearest_edge(self, appliance: str, edges: tuple[str, ...]) -> tuple[str, frozenset[Direction]] | None:
        """With the directions that carry what it serves; none at all from an edge of its own."""
        if appliance in edges:
            return appliance, frozenset()
        ways = {edge: self.network.ways([edge], [appliance]) for edge in sorted(edges)}
        reached = {edge: way for edge, way in ways.items() if way is not None}
        if not reached:
            return None
        nearest = min(reached, key=lambda edge: (len(reached[edge]), edge))
        return nearest, reached[nearest]
