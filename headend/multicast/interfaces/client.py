"""The kernel's links, addresses and `net.ipv4` switches, as this process's network namespace has them.

Of IPv6 only the addresses that were set here are read: the kernel has others of its own, and so have people.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from socket import AF_INET, AF_INET6
from typing import Any

from pyroute2 import AsyncIPRoute
from pyroute2.netlink.exceptions import NetlinkError

from nf.contracts.json import JsonObject
from nf.errors import DriverError

ADDRESS_PROTOCOL = 0x4E
"""IFA_PROTO of the addresses that the driver set: how it knows its own again (Linux 5.18)."""

NEAR_ALIAS, TAP_ALIAS = "streamverse-nf pair", "streamverse-nf tap"
"""IFLA_IFALIAS of the two ends of a veth pair that the driver made."""

_UNFINISHED = ("nf-new0", "nf-new1")
"""Names of a pair's ends until both are marked, since the kernel takes no alias with a new link."""
_IFF_UP = 0x1
_SYSCTL = Path("/proc/sys/net/ipv4")


@dataclass(frozen=True, slots=True)
class Address:
    """An IPv4 address with all that is needed to set it again. `prefix` as "10.1.0.1/24"."""

    prefix: str
    protocol: int = 0
    label: str = ""
    broadcast: str = ""
    scope: int = 0

    @property
    def ours(self) -> bool:
        return self.protocol == ADDRESS_PROTOCOL

    def to_json(self) -> JsonObject:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class LinkState:
    """`peer`: index of the other end, for an end of a veth pair that the driver made; `tap`: it is the far end.
    `own6`: the IPv6 prefixes that the driver set, sorted."""

    name: str
    index: int
    up: bool
    addresses: tuple[Address, ...] = ()
    peer: int | None = None
    tap: bool = False
    own6: tuple[str, ...] = ()


class Kernel:
    """An open netlink connection. Made by `open_kernel`; every failure is a DriverError naming the interface."""

    def __init__(self, route: AsyncIPRoute) -> None:
        self._route = route

    async def links(self) -> dict[str, LinkState]:
        addresses: dict[int, list[Address]] = {}
        async for message in await self._route.get_addr(family=AF_INET):
            addresses.setdefault(message["index"], []).append(_address(message))
        own6: dict[int, list[str]] = {}
        async for message in await self._route.get_addr(family=AF_INET6):
            if (found := _address(message)).ours:
                own6.setdefault(message["index"], []).append(found.prefix)
        links: dict[str, LinkState] = {}
        async for message in await self._route.get_links():
            name, index = str(message.get_attr("IFLA_IFNAME")), int(message["index"])
            up = bool(message["flags"] & _IFF_UP)
            alias = message.get_attr("IFLA_IFALIAS")
            peer = message.get_attr("IFLA_LINK") if alias in {NEAR_ALIAS, TAP_ALIAS} else None
            own, later = tuple(addresses.get(index, ())), tuple(sorted(own6.get(index, ())))
            links[name] = LinkState(name, index, up, own, peer, alias == TAP_ALIAS, later)
        return links

    async def make_pair(self, name: str, other: str) -> None:
        """Make a veth pair and mark both ends as the driver's own; they have their names once they are marked."""
        taken = [end for end in (name, other) if await self._route.link_lookup(ifname=end)]
        if taken:
            raise DriverError(f"{', '.join(taken)} exists already", where=f"interface {name}")
        try:
            await self._route.link("add", ifname=_UNFINISHED[0], kind="veth", peer={"ifname": _UNFINISHED[1]})
            indexes = [(await self._route.link_lookup(ifname=end))[0] for end in _UNFINISHED]
            for index, alias in zip(indexes, (NEAR_ALIAS, TAP_ALIAS), strict=True):
                await self._route.link("set", index=index, IFLA_IFALIAS=alias)
            for index, final in zip(indexes, (name, other), strict=True):
                await self._route.link("set", index=index, ifname=final)
        except (NetlinkError, ValueError, IndexError) as error:
            raise DriverError(f"cannot make the pair {name} - {other}: {error}", where=f"interface {name}") from error

    async def remove_unfinished(self) -> None:
        """What a crash within `make_pair` left."""
        for link in [link for name, link in (await self.links()).items() if name in _UNFINISHED]:
            await self.remove_pair(link)

    async def remove_pair(self, link: LinkState) -> None:
        """Both ends go, with their addresses."""
        try:
            await self._route.link("del", index=link.index)
        except NetlinkError as error:
            if error.code != 19:  # ENODEV
                raise DriverError(f"cannot remove the pair: {error}", where=f"interface {link.name}") from error

    async def set_address(self, link: LinkState, address: Address) -> None:
        """Add it, or give it these attributes if it is there."""
        host, _, length = address.prefix.partition("/")
        extra: dict[str, Any] = {key: value for key, value in _optional(address).items() if value}
        try:
            await self._route.addr(
                "replace",
                index=link.index,
                address=host,
                prefixlen=int(length),
                proto=address.protocol,
                scope=address.scope,
                **extra,
            )
        except NetlinkError as error:
            raise DriverError(f"cannot set {address.prefix}: {error}", where=f"interface {link.name}") from error

    async def remove_address(self, link: LinkState, address: Address) -> None:
        """Nothing happens when it is not there."""
        host, _, length = address.prefix.partition("/")
        try:
            await self._route.addr("del", index=link.index, address=host, prefixlen=int(length))
        except NetlinkError as error:
            if error.code not in {99, 19}:  # EADDRNOTAVAIL: a secondary went with its primary; ENODEV
                raise DriverError(f"cannot remove {address.prefix}: {error}", where=f"interface {link.name}") from error

    async def set_own6(self, link: LinkState, prefixes: Collection[str]) -> None:
        """Make these the IPv6 addresses of the link that were set here."""
        for prefix in sorted({*link.own6, *prefixes}):
            command = "replace" if prefix in prefixes else "del"
            host, _, length = prefix.partition("/")
            marks: dict[str, Any] = {"proto": ADDRESS_PROTOCOL} if command == "replace" else {}
            try:
                await self._route.addr(
                    command, index=link.index, address=host, prefixlen=int(length), family=AF_INET6, **marks
                )
            except NetlinkError as error:
                if command == "replace" or error.code not in {99, 19}:  # EADDRNOTAVAIL, ENODEV
                    where = f"interface {link.name}"
                    raise DriverError(f"cannot {command} {prefix}: {error}", where=where) from error

    async def set_up(self, link: LinkState, up: bool) -> None:
        try:
            await self._route.link("set", index=link.index, state="up" if up else "down")
        except NetlinkError as error:
            raise DriverError(f"cannot set the link: {error}", where=f"interface {link.name}") from error


@asynccontextmanager
async def open_kernel() -> AsyncIterator[Kernel]:
    async with AsyncIPRoute() as route:
        yield Kernel(route)


def _optional(address: Address) -> dict[str, str]:
    return {"label": address.label, "broadcast": address.broadcast}


def _address(message: Any) -> Address:
    host = message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")
    return Address(
        prefix=f"{host}/{message['prefixlen']}",
        protocol=int(message.get_attr("IFA_PROTO") or 0),
        label=str(message.get_attr("IFA_LABEL") or ""),
        broadcast=str(message.get_attr("IFA_BROADCAST") or ""),
        scope=int(message["scope"]),
    )


def read_sysctl(name: str) -> str:
    """`name` with slashes: "ip_forward", "conf/eth1/rp_filter". Raises DriverError."""
    try:
        return (_SYSCTL / name).read_text().strip()
    except OSError as error:
        raise DriverError(f"cannot be read: {error}", where=f"net/ipv4/{name}") from error


def write_sysctl(name: str, value: str) -> None:
    """Only when it differs: writing some switches again has effects of its own. Raises DriverError."""
    if read_sysctl(name) == value:
        return
    try:
        (_SYSCTL / name).write_text(value)
    except OSError as error:
        raise DriverError(f"cannot be set to {value}: {error}", where=f"net/ipv4/{name}") from error
