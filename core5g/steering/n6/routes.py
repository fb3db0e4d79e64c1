"""The policy rule and the route by which marked packets go to a cache on another host."""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from socket import AF_INET, AF_INET6
from typing import Any, Literal

from pyroute2 import AsyncIPRoute
from pyroute2.netlink.exceptions import NetlinkError

from core5g.steering.n6.documents import IpAddress, N6Section
from core5g.steering.n6.render import STEER_BIT
from nf.contracts.json import Json, JsonObject
from nf.errors import DriverError

PRIORITY, ROUTE_TABLE, PROTOCOL = 5306, 5306, 0x4D
_FAMILIES = {4: AF_INET, 6: AF_INET6}
Version = Literal[4, 6]
_IFF_UP, _IFF_RUNNING = 0x1, 0x40


@dataclass(frozen=True, slots=True, order=True)
class Rule:
    version: int
    mark: int
    mask: int
    table: int


@dataclass(frozen=True, slots=True, order=True)
class Route:
    version: int
    gateway: str
    interface: str


@dataclass(frozen=True, slots=True)
class Policy:
    """What is ours among rules (by priority) and routes (by table)."""

    rules: frozenset[Rule] = frozenset()
    routes: frozenset[Route] = frozenset()

    def to_json(self) -> JsonObject:
        rules: list[Json] = [[r.version, r.mark, r.mask, r.table] for r in sorted(self.rules)]
        routes: list[Json] = [[r.version, r.gateway, r.interface] for r in sorted(self.routes)]
        return {"rules": rules, "routes": routes}

    @classmethod
    def from_json(cls, data: Any) -> Policy:
        return cls(frozenset(Rule(*one) for one in data["rules"]), frozenset(Route(*one) for one in data["routes"]))


def wanted(section: N6Section | None) -> Policy:
    if section is None or section.cache.local or section.cache.interface is None:
        return Policy()
    cache = section.cache
    gateways: list[IpAddress | None] = [cache.via or cache.address, cache.via6 or cache.address6]
    if cache.address6 is None:
        gateways.pop()
    found = [gateway for gateway in gateways if gateway is not None]
    return Policy(
        frozenset(Rule(gateway.version, STEER_BIT, STEER_BIT, ROUTE_TABLE) for gateway in found),
        frozenset(Route(gateway.version, str(gateway), str(cache.interface)) for gateway in found),
    )


class Routes:
    """An open netlink connection. Failures are DriverErrors."""

    def __init__(self, route: AsyncIPRoute) -> None:
        self._route = route

    async def read(self) -> Policy:
        rules, routes = set(), set()
        names = {index: name for name, (index, _) in (await self.links()).items()}
        for version, family in _FAMILIES.items():
            async for message in await self._route.get_rules(family=family):
                if message.get_attr("FRA_PRIORITY") == PRIORITY:
                    values = [message.get_attr(f"FRA_{name}") for name in ("FWMARK", "FWMASK", "TABLE")]
                    rules.add(Rule(version, *(int(value or 0) for value in values)))
            async for message in await self._route.get_routes(family=family, table=ROUTE_TABLE):
                interface = names.get(message.get_attr("RTA_OIF"), "")
                if message.get_attr("RTA_TABLE") == ROUTE_TABLE:
                    routes.add(Route(version, str(message.get_attr("RTA_GATEWAY")), interface))
        return Policy(frozenset(rules), frozenset(routes))

    async def links(self) -> dict[str, tuple[int, bool]]:
        """Name -> index, and whether it is up with a carrier."""
        found: dict[str, tuple[int, bool]] = {}
        async for message in await self._route.get_links():
            up = bool(message["flags"] & _IFF_UP and message["flags"] & _IFF_RUNNING)
            found[str(message.get_attr("IFLA_IFNAME"))] = (int(message["index"]), up)
        return found

    async def exit_of(self, address: IpAddress) -> str:
        """The interface by which this host sends to it; empty when there is no route."""
        try:
            found = await self._route.route("get", dst=str(address), family=_FAMILIES[address.version])
        except NetlinkError:
            return ""
        names = {index: name for name, (index, _) in (await self.links()).items()}
        return next((names.get(message.get_attr("RTA_OIF"), "") for message in found), "")

    async def make(self, target: Policy) -> None:
        """Rules and routes of ours become these. A route whose link is down is left to the gate."""
        have, links = await self.read(), await self.links()
        for route in sorted(have.routes - target.routes):
            await self._change("route", "del", self._route_arguments(route, links))
        for rule in sorted(have.rules - target.rules):
            await self._change("rule", "del", self._rule_arguments(rule))
        for route in sorted(target.routes - have.routes):
            if links.get(route.interface, (0, False))[1]:
                await self._change("route", "replace", self._route_arguments(route, links))
        for rule in sorted(target.rules - have.rules):
            await self._change("rule", "add", self._rule_arguments(rule))

    def _route_arguments(self, route: Route, links: dict[str, tuple[int, bool]]) -> dict[str, Any]:
        index = links.get(route.interface, (0, False))[0]
        gateway = {} if route.gateway == "None" else {"gateway": route.gateway}
        outgoing = {"oif": index} if index else {}
        family = _FAMILIES[route.version]
        return {"dst": "default", "table": ROUTE_TABLE, "proto": PROTOCOL, "family": family, **gateway, **outgoing}

    def _rule_arguments(self, rule: Rule) -> dict[str, Any]:
        mark = {"fwmark": rule.mark, "fwmask": rule.mask} if rule.mark else {}
        return {"priority": PRIORITY, "table": rule.table, "family": _FAMILIES[rule.version], **mark}

    async def _change(self, kind: str, command: str, arguments: dict[str, Any]) -> None:
        try:
            await getattr(self._route, kind)(command, **arguments)
        except NetlinkError as error:
            gone = command == "del" and error.code in {errno.ESRCH, errno.ENOENT, errno.ENODEV}
            if not gone and not (command == "add" and error.code == errno.EEXIST):
                text = f"cannot {command} the {kind} to the cache: {error}"
                raise DriverError(text, where=f"table {ROUTE_TABLE}") from error


def reverse_path_filter(interface: str) -> int:
    """net.ipv4.conf.INTERFACE.rp_filter: 0 off, 1 strict, 2 loose (RFC 3704). Raises DriverError."""
    path = Path("/proc/sys/net/ipv4/conf") / interface / "rp_filter"
    try:
        return int(path.read_text())
    except (OSError, ValueError) as error:
        raise DriverError(f"cannot be read: {error}", where=str(path)) from error


@asynccontextmanager
async def open_routes() -> AsyncIterator[Routes]:
    async with AsyncIPRoute() as route:
        yield Routes(route)


def damage(have: Policy, links: dict[str, tuple[int, bool]], section: N6Section | None) -> list[str]:
    """What differs from what the section says, in an operator's words."""
    target = wanted(section)
    lines = [f"the policy rule of IPv{rule.version} is not there" for rule in sorted(target.rules - have.rules)]
    lines += [f"the policy rule of IPv{rule.version} is another one" for rule in sorted(have.rules - target.rules)]
    for route in sorted(target.routes - have.routes):
        if links.get(route.interface, (0, False))[1]:
            lines.append(f"the route to the cache by {route.interface} is not there (IPv{route.version})")
    return [*lines, *(f"a route by {route.gateway} is not wanted" for route in sorted(have.routes - target.routes))]
