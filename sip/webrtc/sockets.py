"""What the kernel's tables of sockets say: allocations of a TURN server, and where a port is listened at."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Final

from nf.errors import DriverError

# Not /proc/net, which is the network namespace of the process: this thread's may be another.
_FOLDER: Final = Path("/proc/thread-self/net")
_LISTENS: Final = "0A"


@dataclass(frozen=True, slots=True)
class Bound:
    """One that is bound. `inode`: no two sockets have the same, at any time, also where they have one port."""

    address: IPv4Address | IPv6Address
    port: int
    inode: int
    listens: bool


def parse(table: str) -> Iterator[Bound]:
    """Addresses stand there as words of 32 bits in the order of this machine, which is little-endian."""
    for line in table.splitlines()[1:]:
        words = line.split()
        address, _, port = words[1].partition(":")
        raw = bytes.fromhex(address)
        packed = b"".join(raw[at : at + 4][::-1] for at in range(0, len(raw), 4))
        yield Bound(ipaddress.ip_address(packed), int(port, 16), int(words[9]), words[3] == _LISTENS)


def _read(*names: str) -> Iterator[Bound]:
    for name in names:
        try:
            text = (_FOLDER / name).read_text()
        except FileNotFoundError:  # a kernel without IPv6
            continue
        except OSError as error:
            raise DriverError(f"cannot read sockets: {error.strerror}", where=str(_FOLDER / name)) from error
        yield from parse(text)


def relayed(address: IPv4Address, ports: tuple[int, int]) -> dict[int, int]:
    """Port -> inode of what is bound there: an allocation is one UDP socket. Raises DriverError."""
    return {one.port: one.inode for one in _read("udp") if one.address == address and ports[0] <= one.port <= ports[1]}


def listeners(port: int) -> frozenset[str]:
    """Addresses at which somebody listens by TCP; `::` and `0.0.0.0` are all of them. Raises DriverError."""
    return frozenset(str(one.address) for one in _read("tcp", "tcp6") if one.listens and one.port == port)
