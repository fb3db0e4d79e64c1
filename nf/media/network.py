"""The fleet's routers as unicast sees them: which link directions lie on the shortest paths between two places."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from ipaddress import IPv4Address

from nf.documents.fleet import Appliance, Fleet, Interface, Role

ROUTERS = frozenset({Role.CORE, Role.POP})

Direction = tuple[str, str]
"""(id of the link, appliance that sends onto it)."""


class Network:
    """References that do not resolve are left out: they are problems elsewhere."""

    def __init__(self, fleet: Fleet) -> None:
        self.appliances: Mapping[str, Appliance] = {appliance.id: appliance for appliance in fleet.spec.appliances}
        self._link_of = {endpoint: link.id for link in fleet.spec.links for endpoint in link.endpoints}
        self._members = {
            link.id: frozenset(endpoint.partition(":")[0] for endpoint in link.endpoints) & self.appliances.keys()
            for link in fleet.spec.links
        }
        self._neighbours: dict[str, list[tuple[str, str, int]]] = defaultdict(list)
        for link in fleet.spec.links:
            routers = sorted(name for name in self._members[link.id] if self.appliances[name].role in ROUTERS)
            if len(routers) == 2 and len(link.endpoints) == 2:
                for here, there in (routers, reversed(routers)):
                    self._neighbours[here].append((there, link.id, link.cost))

    def shared_interface(self, appliance: str, others: Collection[str]) -> Interface | None:
        """The first interface of `appliance`, in the fleet's order, on a link with one of `others`."""
        wanted = set(others) - {appliance}
        for interface in self.appliances[appliance].interfaces:
            if wanted & self._members.get(self._link(appliance, interface), frozenset()):
                return interface
        return None

    def access_interfaces(self, appliance: str) -> tuple[Interface, ...]:
        """The interfaces of `appliance` on whose links no other router is: receivers are there."""
        return tuple(
            interface
            for interface in self.appliances[appliance].interfaces
            if (link := self._link(appliance, interface))
            and not any(self.appliances[name].role in ROUTERS for name in self._members[link] - {appliance})
        )

    def gateways(self, appliance: str) -> dict[str, Direction | None]:
        """Routers by which `appliance` is reached, each with the direction of a host's way out; itself if a router."""
        if self.appliances[appliance].role in ROUTERS:
            return {appliance: None}
        found: dict[str, Direction | None] = {}
        for interface in self.appliances[appliance].interfaces:
            link = self._link(appliance, interface)
            for name in sorted(self._members.get(link, frozenset()) - {appliance}):
                if self.appliances[name].role in ROUTERS:
                    found.setdefault(name, (link, appliance))
        return found

    def routers_at(self, address: IPv4Address) -> frozenset[str]:
        """The routers with an interface in the subnet of `address`."""
        return frozenset(
            appliance.id
            for appliance in self.appliances.values()
            if appliance.role in ROUTERS
            and any(address in interface.address.network for interface in appliance.interfaces)
        )

    def ways(self, start: Iterable[str], end: Collection[str]) -> frozenset[Direction] | None:
        """Every direction on any shortest path from `start` to the nearest router of `end`; None: there is none."""
        distance = self._distances(start)
        reached = [router for router in end if router in distance]
        if not reached:
            return None
        nearest = min(distance[router] for router in reached)
        pending = [router for router in reached if distance[router] == nearest]
        found: set[Direction] = set()
        seen: set[str] = set()
        while pending:
            router = pending.pop()
            if router in seen:
                continue
            seen.add(router)
            for before, link, cost in self._neighbours[router]:
                if before in distance and distance[before] + cost == distance[router]:
                    found.add((link, before))
                    pending.append(before)
        return frozenset(found)

    def _distances(self, start: Iterable[str]) -> dict[str, int]:
        distance = dict.fromkeys(start, 0)
        queue = [(0, router) for router in sorted(distance)]
        while queue:
            cost, router = heapq.heappop(queue)
            if cost > distance[router]:
                continue
            for other, _, step in self._neighbours[router]:
                if cost + step < distance.get(other, cost + step + 1):
                    distance[other] = cost + step
                    heapq.heappush(queue, (cost + step, other))
        return distance

    def _link(self, appliance: str, interface: Interface) -> str:
        return self._link_of.get(f"{appliance}:{interface.name}", "")
