"""The kernel's TUN devices of a UPF, their addresses, and the switches that let packets through."""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from ipaddress import ip_interface
from pathlib import Path
from typing import Any, Final

from pyroute2 import AsyncIPRoute
from pyroute2.netlink.exceptions import NetlinkError

from nf.contracts.json import JsonObject
from nf.errors import DriverError

ALIAS: Final = "streamverse-nf tun"
"""IFLA_IFALIAS of a device that was made here: how it is known again."""
IPV6_ALL: Final = "ipv6/conf/all/forwarding"

_UNFINISHED: Final = "nf-tun-new"
"""Its name until it is marked, since the kernel takes no alias with a new device."""
_IFF_UP: Final = 0x1
_LINK_SCOPE: Final = 253
_SYSCTL: Final = Path("/proc/sys/net")
_GONE: Final = frozenset({errno.ENODEV, errno.EADDRNOTAVAIL})


@dataclass(frozen=True, slots=True)
class Tun:
    """A device as the kernel has it. `addresses` without link-local ones, which the kernel makes by itself.

    `rx_bytes` comes out of the UPF (uplink), `tx_bytes` goes into it (downlink).
    """

    name: str
    index: int
    ours: bool
    tun: bool
    up: bool
    mtu: int
    addresses: tuple[str, ...] = ()
    rx_bytes: int = 0
    tx_bytes: int = 0

    def to_json(self) -> JsonObject:
        return {**asdict(self), "addresses": [*self.addresses]}


class TunKernel:
    """An open netlink connection, made by `open_tuns`. Failures are DriverErrors naming the device."""

    def __init__(self, route: AsyncIPRoute) -> None:
        self._route = route

    async def links(self) -> dict[str, Tun]:
        """Every link, so that a name that somebody else took is seen."""
        addresses: dict[int, list[str]] = {}
        async for message in await self._route.get_addr():
            if int(message["scope"]) != _LINK_SCOPE:
                host = message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")
                addresses.setdefault(int(message["index"]), []).append(f"{host}/{message['prefixlen']}")
        found: dict[str, Tun] = {}
        async for message in await self._route.get_links():
            tun = _tun(message, addresses)
            found[tun.name] = tun
        return found

    async def make(self, name: str) -> None:
        """A persistent TUN device without packet information, as upfd opens it; marked as ours."""
        await self.remove_unfinished()
        try:
            await self._route.link("add", ifname=_UNFINISHED, kind="tun", tun_type=1)
            index = (await self._route.link_lookup(ifname=_UNFINISHED))[0]
            await self._route.link("set", index=index, IFLA_IFALIAS=ALIAS)
            await self._route.link("set", index=index, ifname=name)
        except (NetlinkError, OSError, IndexError) as error:
            remedy = "see that /dev/net/tun is there (module tun) and that nothing else has the name"
            raise DriverError(f"cannot be made: {error}", where=f"TUN {name}", remedy=remedy) from error

    async def remove_unfinished(self) -> None:
        """What a crash within `make` left."""
        left = (await self.links()).get(_UNFINISHED)
        if left is not None:
            await self.remove(left)

    async def remove(self, tun: Tun) -> None:
        try:
            await self._route.link("del", index=tun.index)
        except NetlinkError as error:
            if error.code not in _GONE:
                raise DriverError(f"cannot be removed: {error}", where=f"TUN {tun.name}") from error

    async def set_link(self, tun: Tun, *, up: bool, mtu: int) -> None:
        try:
            if tun.mtu != mtu:
                await self._route.link("set", index=tun.index, mtu=mtu)
            if tun.up is not up:
                await self._route.link("set", index=tun.index, state="up" if up else "down")
        except NetlinkError as error:
            raise DriverError(f"cannot be set: {error}", where=f"TUN {tun.name}") from error

    async def set_addresses(self, tun: Tun, wanted: tuple[str, ...]) -> None:
        """These and no others. Those that stay are not touched, so that flows through them go on."""
        for address in tun.addresses:
            if address not in wanted:
                await self._address("del", tun, address)
        for address in wanted:
            if address not in tun.addresses:
                await self._address("add", tun, address)

    async def _address(self, verb: str, tun: Tun, address: str) -> None:
        parsed = ip_interface(address)
        extra: dict[str, Any] = {"address": str(parsed.ip), "prefixlen": parsed.network.prefixlen}
        if parsed.version == 6 and verb == "add":
            extra["flags"] = 0x02  # IFA_F_NODAD: nobody else is on a TUN
        try:
            await self._route.addr(verb, index=tun.index, **extra)
        except NetlinkError as error:
            if error.code not in (_GONE if verb == "del" else {errno.EEXIST}):
                raise DriverError(f"{address}: {error}", where=f"TUN {tun.name}") from error


@asynccontextmanager
async def open_tuns() -> AsyncIterator[TunKernel]:
    async with AsyncIPRoute() as route:
        yield TunKernel(route)


def _tun(message: Any, addresses: dict[int, list[str]]) -> Tun:
    index = int(message["index"])
    information = message.get_attr("IFLA_LINKINFO")
    kind = information.get_attr("IFLA_INFO_KIND") if information is not None else None
    counters = message.get_attr("IFLA_STATS64") or message.get_attr("IFLA_STATS") or {}
    return Tun(
        name=str(message.get_attr("IFLA_IFNAME")),
        index=index,
        ours=message.get_attr("IFLA_IFALIAS") == ALIAS,
        tun=kind in {"tun", "tuntap"},
        up=bool(message["flags"] & _IFF_UP),
        mtu=int(message.get_attr("IFLA_MTU") or 0),
        addresses=tuple(addresses.get(index, ())),
        rx_bytes=int(counters.get("rx_bytes", 0)),
        tx_bytes=int(counters.get("tx_bytes", 0)),
    )


def forwarding(name: str) -> str:
    """The switch of one interface for IPv4: the kernel asks that of the one a packet came in by (ip-sysctl)."""
    return f"ipv4/conf/{name}/forwarding"


def read_switch(name: str) -> str | None:
    """`name` with slashes below /proc/sys/net; None when the kernel has no such switch."""
    try:
        return (_SYSCTL / name).read_text().strip()
    except OSError:
        return None


def write_switch(name: str, value: str) -> None:
    """Only when it differs. Raises DriverError."""
    if read_switch(name) == value:
        return
    try:
        (_SYSCTL / name).write_text(value)
    except OSError as error:
        raise DriverError(f"cannot be set to {value}: {error}", where=f"net/{name}") from error


def ipv6_switches() -> tuple[str, ...]:
    """Writing that of `all` sets every other one, so they are read, and put back, together; `all` stands first."""
    found = sorted(entry.name for entry in (_SYSCTL / "ipv6/conf").glob("*"))
    return tuple(f"ipv6/conf/{name}/forwarding" for name in ("all", *(name for name in found if name != "all")))
