"""The kernel's bridges and their ports over netlink, as this process's network namespace has them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from pyroute2 import AsyncIPRoute
from pyroute2.netlink.exceptions import NetlinkError

from nf.contracts.json import JsonObject
from nf.errors import DriverError

ALIAS = "nf multicast-access"
"""IFLA_IFALIAS of the bridges that the driver made: how it knows its own again."""

_UNFINISHED = "nf-newbr"
"""Name of a bridge until it is marked, since the kernel takes no alias with a new link."""

BRIDGE_SETTINGS: Mapping[str, int] = MappingProxyType(
    {
        "mcast_snooping": 1,
        "mcast_igmp_version": 3,
        # pimd is the querier: it has the lower address, since the bridge asks from 0.0.0.0. The bridge's own querier
        # stands by, because a bridge without any querier floods.
        "mcast_querier": 1,
        "mcast_query_use_ifaddr": 0,
        "mcast_router": 2,
        "mcast_hash_max": 16384,  # beyond it the kernel turns snooping off
        # As pimd asks (headend.multicast.frr.render), in 1/100 s.
        "mcast_query_intvl": 1000,
        "mcast_query_response_intvl": 1000,
        "mcast_membership_intvl": 3000,
        "mcast_querier_intvl": 2500,
        "mcast_startup_query_cnt": 2,
        "mcast_startup_query_intvl": 250,
        "mcast_last_member_cnt": 2,
        "mcast_last_member_intvl": 10,
    }
)


def port_settings(*, fast_leave: bool) -> dict[str, int]:
    """Unknown multicast is not flooded, and nothing that a subscriber sends makes the port one to a router."""
    return {"fast_leave": int(fast_leave), "mcast_flood": 0, "multicast_router": 0}


@dataclass(frozen=True, slots=True)
class Link:
    """`master`: the bridge it is a port of. `bridge`, `port`: its settings as such; empty when it is none."""

    name: str
    index: int
    up: bool
    master: str | None = None
    kind: str = ""
    alias: str = ""
    mac: str = ""
    bridge: Mapping[str, int] = field(default_factory=dict)
    port: Mapping[str, int] = field(default_factory=dict)

    @property
    def ours(self) -> bool:
        return self.kind == "bridge" and self.alias == ALIAS

    def to_json(self) -> JsonObject:
        return {
            "up": self.up,
            "master": self.master,
            "mac": self.mac,
            "bridge": {**self.bridge},
            "port": {**self.port},
        }


class Bridges:
    """An open netlink connection. Made by `open_bridges`; every failure is a DriverError naming the interface."""

    def __init__(self, route: AsyncIPRoute) -> None:
        self._route = route

    async def links(self) -> dict[str, Link]:
        found = [message async for message in await self._route.get_links()]
        names = {int(message["index"]): str(message.get_attr("IFLA_IFNAME")) for message in found}
        return {names[int(message["index"])]: _link(message, names) for message in found}

    async def make(self, name: str, mac: str = "") -> Link:
        """A bridge of the driver's, down and without ports; it has its name once it is marked."""
        await self.remove_unfinished()
        extra = {"address": mac} if mac else {}
        await self._call(name, "add", ifname=_UNFINISHED, kind="bridge", **extra)
        index = (await self.links())[_UNFINISHED].index
        await self._call(name, "set", index=index, IFLA_IFALIAS=ALIAS)
        await self._call(name, "set", index=index, ifname=name)
        return (await self.links())[name]

    async def remove_unfinished(self) -> None:
        """What a crash within `make` left."""
        link = (await self.links()).get(_UNFINISHED)
        if link is not None:
            await self.delete(link)

    async def delete(self, link: Link) -> None:
        await self._call(link.name, "del", index=link.index)

    async def set_bridge(self, link: Link, settings: Mapping[str, int]) -> None:
        wrong = {f"br_{key}": value for key, value in settings.items() if link.bridge.get(key) != value}
        if wrong:
            await self._call(link.name, "set", index=link.index, kind="bridge", **wrong)

    async def set_port(self, link: Link, settings: Mapping[str, int]) -> None:
        wrong = {key: value for key, value in settings.items() if link.port.get(key) != value}
        if wrong:
            try:
                await self._route.brport("set", index=link.index, **wrong)
            except NetlinkError as error:
                raise _refused(link.name, error) from error

    async def set_master(self, link: Link, master: Link | None) -> None:
        await self._call(link.name, "set", index=link.index, master=master.index if master is not None else 0)

    async def set_up(self, link: Link, up: bool) -> None:
        if link.up is not up:
            await self._call(link.name, "set", index=link.index, state="up" if up else "down")

    async def _call(self, name: str, command: str, **arguments: Any) -> None:
        try:
            await self._route.link(command, **arguments)
        except NetlinkError as error:
            raise _refused(name, error) from error


@asynccontextmanager
async def open_bridges() -> AsyncIterator[Bridges]:
    async with AsyncIPRoute() as route:
        yield Bridges(route)


def _refused(name: str, error: NetlinkError) -> DriverError:
    return DriverError(f"the kernel refused: {error}", where=f"interface {name}")


def _link(message: Any, names: Mapping[int, str]) -> Link:
    information = message.get_attr("IFLA_LINKINFO")
    kind = str(information.get_attr("IFLA_INFO_KIND") or "") if information is not None else ""
    bridge = information.get_attr("IFLA_INFO_DATA") if kind == "bridge" else None
    slave = information.get_attr("IFLA_INFO_SLAVE_KIND") if information is not None else None
    port = information.get_attr("IFLA_INFO_SLAVE_DATA") if slave == "bridge" else None
    return Link(
        name=str(message.get_attr("IFLA_IFNAME")),
        index=int(message["index"]),
        up=bool(message["flags"] & 1),
        master=names.get(message.get_attr("IFLA_MASTER") or 0),
        kind=kind,
        alias=str(message.get_attr("IFLA_IFALIAS") or ""),
        mac=str(message.get_attr("IFLA_ADDRESS") or ""),
        bridge=_settings(bridge, "IFLA_BR_", BRIDGE_SETTINGS),
        port=_settings(port, "IFLA_BRPORT_", port_settings(fast_leave=True)),
    )


def _settings(data: Any, prefix: str, wanted: Mapping[str, int]) -> dict[str, int]:
    if data is None:
        return {}
    return {key: int(value) for key in wanted if (value := data.get_attr(prefix + key.upper())) is not None}
