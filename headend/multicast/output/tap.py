"""The tap: what is asked for there by IGMPv3, and who hears it."""

from __future__ import annotations

import selectors
import socket
from collections.abc import Callable, Iterable, Mapping
from ipaddress import IPv4Address

from headend.multicast.output.ring import Ring, Take, finder
from headend.multicast.outputs import error_text
from headend.multicast.route import join_source_by

_PER_SOCKET = 20
"""net.ipv4.igmp_max_memberships, unless somebody raised it."""

Flow = tuple[IPv4Address, IPv4Address, int]
"""Source, group, port."""
Channel = tuple[IPv4Address, IPv4Address]


class Memberships:
    """(source, group) asked for on one interface. Raises OSError from `want` when the kernel refuses."""

    def __init__(self, index: int) -> None:
        self._index = index
        self._sockets: list[tuple[socket.socket, set[Channel]]] = []

    def want(self, channels: Iterable[Channel]) -> None:
        """Exactly these from now on; the others are left, and those that stay are not touched."""
        wanted = set(channels)
        for entry in list(self._sockets):
            sock, held = entry
            for source, group in held - wanted:
                join_source_by(sock, group, source, self._index, leave=True)
                held.discard((source, group))
            if not held:
                sock.close()
                self._sockets.remove(entry)
        for channel in sorted(wanted - {channel for _, held in self._sockets for channel in held}):
            self._join(*channel)

    def _join(self, source: IPv4Address, group: IPv4Address) -> None:
        # A group is joined but once by a socket, whatever its sources count: so one with room and without the group.
        for sock, held in self._sockets:
            if len(held) < _PER_SOCKET and all(group != other for _, other in held):
                join_source_by(sock, group, source, self._index)
                held.add((source, group))
                return
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            join_source_by(sock, group, source, self._index)
        except OSError:
            sock.close()
            raise
        self._sockets.append((sock, {(source, group)}))

    def close(self) -> None:
        for sock, _ in self._sockets:
            sock.close()
        self._sockets = []


class Tap:
    """Opens when its interface is there, and anew when it was made anew."""

    def __init__(self, selector: selectors.BaseSelector, interface: str) -> None:
        self.interface = interface
        self.problem = ""
        self._selector = selector
        self._ring: Ring | None = None
        self._memberships: Memberships | None = None
        self._flows: Mapping[Flow, Take] = {}
        self._find: Callable[[bytes], Take | None] = finder({})
        self._packets = self._drops = 0
        self.check()

    @property
    def packets(self) -> int:
        return self._packets + (self._ring.packets if self._ring is not None else 0)

    def drops(self) -> int:
        """Packets that came faster than they were read, ever."""
        return self._drops + (self._ring.lost() if self._ring is not None else 0)

    def want(self, flows: Mapping[Flow, Take]) -> None:
        """Ask for these, and hand them to these."""
        self._flows = flows
        self._find = finder(
            {s.packed + g.packed + port.to_bytes(2, "big"): take for (s, g, port), take in flows.items()}
        )
        self._ask()

    def check(self) -> None:
        try:
            index = socket.if_nametoindex(self.interface)
        except OSError:
            self.close()
            self.problem = f"there is no interface {self.interface}"
            return
        if self._ring is None or self._ring.index != index:
            self.close()
            try:
                self._ring = Ring(self.interface)
            except OSError as error:
                self.problem = f"cannot listen on {self.interface}: {error_text(error)}"
                return
            self._memberships = Memberships(self._ring.index)
            self._selector.register(self._ring, selectors.EVENT_READ, self.read)
        self._ask()

    def _ask(self) -> None:
        if self._memberships is None:
            return
        try:
            self._memberships.want((source, group) for source, group, _ in self._flows)
        except OSError as error:
            self.problem = f"cannot join on {self.interface}: {error_text(error)}"
        else:
            self.problem = ""

    def read(self) -> None:
        if self._ring is not None:
            self._ring.read(self._find)

    def close(self) -> None:
        if self._ring is not None:
            self._packets, self._drops = self.packets, self.drops()
            self._selector.unregister(self._ring)
            self._ring.close()
            self._ring = None
        if self._memberships is not None:
            self._memberships.close()
            self._memberships = None
