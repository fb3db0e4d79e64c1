"""The default N6 of UEs: whatever routes the appliance has itself, what comes in by a TUN device goes to the gateway.

One policy rule for each TUN device leads to a table of our own. There the pools lead back to their devices, so that UEs
reach one another, all else to the gateway, and while the exit is down nowhere: no UE enters the operator's network.
The rule makes the reverse path filter (RFC 3704) accept answers too, since the kernel asks that as if by the device.
IPv4; what UEs send by IPv6 follows the appliance's routes.
"""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from socket import AF_INET
from typing import Any, Final

from pyroute2 import AsyncIPRoute
from pyroute2.netlink.exceptions import NetlinkError

from core5g.open5gs.documents import N6NetworkSection
from nf.contracts.json import Json, JsonObject
from nf.errors import DriverError

PRIORITY: Final = 5406
"""Of the rules: after those that steer (5306), before the appliance's own routes (32766)."""
ROUTE_TABLE: Final = 5406
PROTOCOL: Final = 0x51

_DEFAULT: Final = "0.0.0.0/0"
_LAST: Final = 0xFFFF
"""Metric of the route to nowhere."""
_UNREACHABLE: Final = 7
_WHOEVER: Final = {"proto": 0, "scope": 255}
"""Of a route that is deleted: by hand it was made with a protocol of its own."""
_GONE: Final = frozenset({errno.ESRCH, errno.ENOENT, errno.ENODEV})


@dataclass(frozen=True, slots=True, order=True)
class Route:
    """`gateway` is empty for what is on the link; `interface` too for what is unreachable."""

    destination: str
    gateway: str = ""
    interface: str = ""


@dataclass(frozen=True, slots=True)
class Policy:
    """What is ours among rules (the devices, by our priority) and routes (by our table)."""

    tuns: frozenset[str] = frozenset()
    routes: frozenset[Route] = frozenset()

    def to_json(self) -> JsonObject:
        routes: list[Json] = [[r.destination, r.gateway, r.interface] for r in sorted(self.routes)]
        return {"tuns": [*sorted(self.tuns)], "routes": routes}

    @classmethod
    def from_json(cls, data: Any) -> Policy:
        return cls(frozenset(map(str, data["tuns"])), frozenset(Route(*map(str, one)) for one in data["routes"]))


def wanted(section: N6NetworkSection | None) -> Policy:
    if section is None or section.gateway is None:
        return Policy()
    pools = {
        Route(str(gateway.network), interface=tun.name)
        for tun in section.tuns
        for gateway in tun.gateways
        if gateway.version == 4
    }
    onward = Route(_DEFAULT, str(section.gateway), section.exit)
    return Policy(frozenset(tun.name for tun in section.tuns), frozenset({onward, Route(_DEFAULT), *pools}))


def differences(have: Policy, section: N6NetworkSection) -> list[str]:
    """In an operator's words."""
    target = wanted(section)
    told = [f"what comes in by {name} does not go to {section.gateway}" for name in sorted(target.tuns - have.tuns)]
    told += [f"{name} has a way out that is not wanted" for name in sorted(have.tuns - target.tuns)]
    told += [f"{_told(route)} is not there" for route in sorted(target.routes - have.routes)]
    return [*told, *(f"{_told(route)} is not wanted" for route in sorted(have.routes - target.routes))]


def _told(route: Route) -> str:
    way = f"by {route.gateway or route.interface}" if route.interface else "to nowhere"
    return f"the UEs' route {way}"


class Policies:
    """An open netlink connection. Failures are DriverErrors."""

    def __init__(self, route: AsyncIPRoute) -> None:
        self._route = route

    async def read(self) -> Policy:
        names = {index: name for name, index in (await self._links()).items()}
        tuns, routes = set(), set()
        async for message in await self._route.get_rules(family=AF_INET):
            if message.get_attr("FRA_PRIORITY") == PRIORITY:
                tuns.add(str(message.get_attr("FRA_IIFNAME") or ""))
        async for message in await self._route.get_routes(family=AF_INET, table=ROUTE_TABLE):
            if message.get_attr("RTA_TABLE") == ROUTE_TABLE:
                network = message.get_attr("RTA_DST")
                destination = f"{network}/{message['dst_len']}" if network else _DEFAULT
                interface = "" if message["type"] == _UNREACHABLE else names.get(message.get_attr("RTA_OIF"), "?")
                routes.add(Route(destination, str(message.get_attr("RTA_GATEWAY") or ""), interface))
        return Policy(frozenset(tuns), frozenset(routes))

    async def make(self, target: Policy) -> None:
        """Ours become these. Routes stand before the rules that lead to them."""
        have, links = await self.read(), await self._links()
        for name in sorted(have.tuns - target.tuns):
            await self._change("rule", "del", _rule(name))
        for route in sorted(have.routes - target.routes):
            await self._change("route", "del", {**_arguments(route, links), **_WHOEVER})
        for route in sorted(target.routes - have.routes):
            await self._change("route", "add", _arguments(route, links))
        for name in sorted(target.tuns - have.tuns):
            await self._change("rule", "add", _rule(name))

    async def _links(self) -> dict[str, int]:
        links = await self._route.get_links()
        return {str(message.get_attr("IFLA_IFNAME")): int(message["index"]) async for message in links}

    async def _change(self, kind: str, command: str, arguments: dict[str, Any]) -> None:
        try:
            await getattr(self._route, kind)(command, **arguments)
        except NetlinkError as error:
            if command == "add" and error.code == errno.EEXIST:
                return
            if command == "del" and error.code in _GONE:
                return
            text = f"cannot {command} the {kind} of UEs: {error}"
            remedy = "see that the exit is up, and that the gateway is in its subnet"
            raise DriverError(text, where=f"table {ROUTE_TABLE}", remedy=remedy) from error


@asynccontextmanager
async def open_policies() -> AsyncIterator[Policies]:
    async with AsyncIPRoute() as route:
        yield Policies(route)


def _rule(name: str) -> dict[str, Any]:
    incoming = {"iifname": name} if name else {}
    return {"priority": PRIORITY, "table": ROUTE_TABLE, "family": AF_INET, **incoming}


def _arguments(route: Route, links: dict[str, int]) -> dict[str, Any]:
    common = {"dst": route.destination, "table": ROUTE_TABLE, "proto": PROTOCOL, "family": AF_INET}
    if not route.interface:
        return {**common, "type": "unreachable", "priority": _LAST}
    outgoing = {"oif": links[route.interface]} if route.interface in links else {}
    if not route.gateway:
        return {**common, **outgoing, "scope": 253}
    return {**common, **outgoing, "gateway": route.gateway}
