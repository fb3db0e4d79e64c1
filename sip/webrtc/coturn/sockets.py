"""Counts allocations by what each has: one bound UDP socket among the ports of relayed media."""

from __future__ import annotations

from collections.abc import Container, Iterator
from ipaddress import IPv4Address
from pathlib import Path

from nf.errors import DriverError

_TABLE = Path("/proc/thread-self/net/udp")


def bound(table: str) -> Iterator[tuple[IPv4Address, int]]:
    """Local addresses and ports of the kernel's table of sockets; the address is in this machine's order."""
    for line in table.splitlines()[1:]:
        address, _, port = line.split()[1].partition(":")
        yield IPv4Address(bytes.fromhex(address)[::-1]), int(port, 16)


def count_relayed(address: IPv4Address, ports: tuple[int, int], without: Container[int] = ()) -> int:
    """`without`: ports that are not counted. Raises DriverError."""
    try:
        table = _TABLE.read_text()
    except OSError as error:
        raise DriverError(f"cannot count sockets: {error.strerror}", where=str(_TABLE)) from error
    found = {port for at, port in bound(table) if at == address and ports[0] <= port <= ports[1]}
    return sum(1 for port in found if port not in without)
