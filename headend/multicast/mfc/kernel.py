"""The kernel's multicast table of this network namespace: read from /proc and netlink, written by a raw socket."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address
from pathlib import Path
from types import TracebackType
from typing import Self

from pyroute2 import AsyncIPRoute
from pyroute2.netlink.exceptions import NetlinkError

from headend.multicast.mfc.codec import MRT_ADD_MFC, MRT_DEL_MFC, Entry, encode_entry, parse_vifs
from headend.multicast.mfc.pins import Change, Kernel, Key
from headend.multicast.tree.routes import dump_routes
from nf.errors import DriverError

# Of the thread, since a thread may live in a network namespace of its own.
_PROC = Path("/proc/thread-self/net")
_RTM_F_FIB_MATCH = 0x2000
_SOL_NETLINK, _ADD_MEMBERSHIP, _NO_ENOBUFS = 270, 1, 5
_GROUPS = (1, 6, 7, 24)
"""RTNLGRP_LINK, _IPV4_MROUTE, _IPV4_ROUTE and _IPV4_NETCONF, which tells of virtual interfaces."""


def read_vifs() -> dict[str, int]:
    """Interface name -> vif number; empty while no daemon routes multicast."""
    try:
        return parse_vifs((_PROC / "ip_mr_vif").read_text())
    except FileNotFoundError:
        return {}


def read_entries(vifs: Mapping[str, int]) -> dict[Key, Entry]:
    """The resolved entries, in numbers of virtual interfaces. Raises DriverError."""
    numbers = {index: vifs[name] for index, name in socket.if_nameindex() if name in vifs}
    found: dict[Key, Entry] = {}
    for route in dump_routes().values():
        if route.input in numbers:
            outputs = frozenset(numbers[index] for index in route.outputs if index in numbers)
            entry = Entry(IPv4Address(route.source), IPv4Address(route.group), numbers[route.input], outputs)
            found[entry.source, entry.group] = entry
    return found


async def read_inputs(sources: Iterable[IPv4Address]) -> dict[IPv4Address, tuple[str, ...]]:
    """Source -> interfaces of the best routes to it; all of those that cost the same."""
    found: dict[IPv4Address, tuple[str, ...]] = {}
    async with AsyncIPRoute() as route:
        links = {m["index"]: str(m.get_attr("IFLA_IFNAME")) async for m in await route.get_links()}
        for source in sorted(set(sources)):
            try:
                answer = await route.route("get", dst=str(source), flags=_RTM_F_FIB_MATCH)
            except NetlinkError:
                continue  # no route
            best = answer[0]
            hops = [hop["oif"] for hop in best.get_attr("RTA_MULTIPATH") or ()] or [best.get_attr("RTA_OIF")]
            found[source] = tuple(links[index] for index in hops if index in links)
    return found


async def read_kernel(sources: Iterable[IPv4Address]) -> Kernel:
    vifs = read_vifs()
    return Kernel(vifs, read_entries(vifs), await read_inputs(sources))


class MfcSocket:
    """Writes entries into the table of whichever daemon did MRT_INIT: it takes CAP_NET_ADMIN and no ownership."""

    def __init__(self) -> None:
        try:
            self._socket = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_IGMP)
        except OSError as error:
            raise DriverError(f"no raw IGMP socket: {error}", remedy="run as root") from error

    def write(self, change: Change) -> None:
        """Raises DriverError; an entry to delete that is not there is no error."""
        for entry in change.delete:
            self._set(MRT_DEL_MFC, entry)
        for entry in change.add:
            self._set(MRT_ADD_MFC, entry)

    def _set(self, option: int, entry: Entry) -> None:
        try:
            self._socket.setsockopt(socket.IPPROTO_IP, option, encode_entry(entry))
        except OSError as error:
            gone = {errno.ENOENT, errno.ENOPROTOOPT}
            if option == MRT_DEL_MFC and error.errno in gone:
                return
            raise DriverError(f"the kernel refused: {error}", where=f"({entry.source}, {entry.group})") from error

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_changes() -> socket.socket:
    """A netlink socket that becomes readable when links, routes, virtual interfaces or entries change."""
    changes = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE)
    changes.bind((0, 0))
    for group in _GROUPS:
        changes.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, group)
    # What is lost in a full buffer is no loss: everything is read anew after any change.
    changes.setsockopt(_SOL_NETLINK, _NO_ENOBUFS, 1)
    return changes


def drain(changes: socket.socket) -> None:
    try:
        while changes.recv(1 << 16):
            pass
    except BlockingIOError:
        return
