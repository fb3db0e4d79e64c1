"""What the kernel holds for the VIPs.

own        a route of type local: the address is this host's, without being on an interface, where routing would see it
announced  a route for the prefix, which bgpd redistributes; a black hole, since packets for the VIP go by the other one
refused    an element of a set of nftables: what still comes is answered with a reset
nonlocal   a cache may listen on an address that is not this host's at the moment (ip_nonlocal_bind)
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any, Final

from pyroute2 import AsyncIPRoute
from pyroute2.netlink.exceptions import NetlinkError

from nf.errors import DriverError
from nf.media.anycast.documents import Vip
from nf.media.anycast.machine import Effect
from nf.media.anycast.sockets import end_connections
from nf.media.processes import ask_program

PROTOCOL: Final = 0x4C
"""What our routes are marked with."""

TABLE: Final = "nf_anycast"
NONLOCAL: Final = Path("/proc/sys/net/ipv4/ip_nonlocal_bind")
_MAIN, _LOCAL = 254, 255
_BLACK_HOLE, _LOCAL_TYPE, _HOST_SCOPE = 6, 2, 254
_NFT_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Held:
    """The addresses and prefixes that routes of ours are for."""

    own: frozenset[IPv4Address] = frozenset()
    announced: frozenset[IPv4Network] = frozenset()


async def read() -> Held:
    """Raises DriverError."""
    own, announced = set(), set()
    try:
        async with AsyncIPRoute() as route:
            async for message in await route.get_routes(family=2, proto=PROTOCOL):
                if message["proto"] != PROTOCOL or message.get_attr("RTA_DST") is None:
                    continue
                network = IPv4Network((message.get_attr("RTA_DST"), message["dst_len"]))
                if message["type"] == _LOCAL_TYPE:
                    own.add(network.network_address)
                elif message.get_attr("RTA_TABLE") == _MAIN:
                    announced.add(network)
    except (NetlinkError, OSError) as error:
        raise DriverError(f"routes cannot be read: {error}", where=TABLE) from error
    return Held(frozenset(own), frozenset(announced))


async def apply(vips: Sequence[Vip], effect: Effect) -> int:
    """Bring the kernel to `effect`; how many connections were ended by it. Idempotent. Raises DriverError.

    What is shut is refused first, so that nothing new comes while the old ends; then the way here is withdrawn, so that
    the reset already finds another one; the address goes last, since resets are sent from it.
    """
    ended = 0
    async with AsyncIPRoute() as route:
        if not effect.own:
            await _refuse(vips)
        if not effect.announced:
            for vip in vips:
                await _change(route, "del", _announcement(vip))
        if not effect.own:
            for vip in vips:
                ended += await _end(vip.address)
                await _change(route, "del", _ownership(vip.address))
            return ended
        for vip in vips:
            await _change(route, "replace", _ownership(vip.address))
        await _nft(_flush())
        if effect.announced:
            for vip in vips:
                await _change(route, "replace", _announcement(vip))
    return ended


async def release(held: Held, keep: Iterable[Vip] = ()) -> None:
    """Take back what is held for others than `keep`. Raises DriverError."""
    kept = tuple(keep)
    addresses, prefixes = {vip.address for vip in kept}, {vip.announced for vip in kept}
    async with AsyncIPRoute() as route:
        for network in sorted(held.announced - prefixes):
            await _change(route, "del", {"dst": str(network), "type": _BLACK_HOLE, "table": _MAIN, "proto": PROTOCOL})
        for address in sorted(held.own - addresses):
            await _end(address)
            await _change(route, "del", _ownership(address))


async def _end(address: IPv4Address) -> int:
    try:
        return await asyncio.to_thread(end_connections, address)
    except OSError as error:
        raise DriverError(f"connections cannot be ended: {error}", where=str(address)) from error


def _announcement(vip: Vip) -> dict[str, Any]:
    return {"dst": str(vip.announced), "type": _BLACK_HOLE, "table": _MAIN, "proto": PROTOCOL}


def _ownership(address: IPv4Address) -> dict[str, Any]:
    ends = {"dst": f"{address}/32", "oif": 1, "scope": _HOST_SCOPE}  # the loopback is always the first interface
    return {**ends, "type": _LOCAL_TYPE, "table": _LOCAL, "proto": PROTOCOL}


async def _change(route: AsyncIPRoute, command: str, arguments: dict[str, Any]) -> None:
    try:
        await route.route(command, family=2, **arguments)
    except NetlinkError as error:
        if command != "del" or error.code not in {errno.ESRCH, errno.ENOENT}:
            raise DriverError(f"cannot {command} the route: {error}", where=str(arguments["dst"])) from error


# ---- nftables ----


async def make_table() -> None:
    """A table that refuses nothing yet; one that is there keeps what it refuses. Raises DriverError."""
    await _nft(
        f"add table ip {TABLE}; add set ip {TABLE} shut {{ type ipv4_addr; }}; "
        f"add chain ip {TABLE} input {{ type filter hook input priority -10; policy accept; }}; "
        f"flush chain ip {TABLE} input; "
        f"add rule ip {TABLE} input ip daddr @shut meta l4proto tcp counter reject with tcp reset; "
        f"add rule ip {TABLE} input ip daddr @shut counter reject"
    )


async def remove_table() -> None:
    await _nft(f"add table ip {TABLE}; delete table ip {TABLE}")


async def has_table() -> bool:
    status, _ = await ask_program(("nft", "list", "chain", "ip", TABLE, "input"), timeout_s=_NFT_TIMEOUT_S)
    return status == 0


def _flush() -> str:
    return f"flush set ip {TABLE} shut"


async def _refuse(vips: Sequence[Vip]) -> None:
    await _nft(f"{_flush()}; add element ip {TABLE} shut {{ {', '.join(str(vip.address) for vip in vips)} }}")


async def _nft(commands: str) -> None:
    status, output = await ask_program(("nft", commands), timeout_s=_NFT_TIMEOUT_S)
    if status != 0:
        raise DriverError(f"nftables refused: {output}", where=f"table ip {TABLE}", remedy="install nftables")


# ---- listening ----


def read_nonlocal() -> str:
    """Raises DriverError."""
    try:
        return NONLOCAL.read_text().strip()
    except OSError as error:
        raise DriverError(f"cannot be read: {error}", where=str(NONLOCAL)) from error


def write_nonlocal(value: str) -> None:
    """Raises DriverError."""
    try:
        NONLOCAL.write_text(value)
    except OSError as error:
        raise DriverError(f"cannot be written: {error}", where=str(NONLOCAL)) from error
