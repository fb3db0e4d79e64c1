"""What a PoP gives to its receivers: a group, sent to from its own address on each of their LANs."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from contextlib import suppress
from ipaddress import IPv4Address

from headend.multicast.receive import bind_to_interface, open_sender

OUTPUT_TTL = 4
"""Enough for a home gateway behind the LAN; the outputs are no part of the routed tree."""

_SEND_BUFFER_BYTES = 4 << 20
"""Room for what a merge held back and sends at once, where the interface is slower than this process."""
_SO_SNDBUFFORCE = 32  # asm-generic/socket.h


def error_text(error: OSError) -> str:
    return os.strerror(error.errno) if error.errno else str(error)


class Outputs:
    """A group, sent to out of every address in use. `dscp`: RFC 2474."""

    def __init__(self, group: IPv4Address, port: int, dscp: int = 0) -> None:
        self.send_errors = 0
        self.last_error = ""
        self._target = (str(group), port)
        self._dscp = dscp
        self._sockets: dict[IPv4Address, socket.socket | None] = {}
        self._failed: set[IPv4Address] = set()

    @property
    def addresses(self) -> tuple[IPv4Address, ...]:
        return tuple(sorted(self._sockets))

    @property
    def problems(self) -> tuple[str, ...]:
        return tuple(f"cannot send from {address}" for address, sock in sorted(self._sockets.items()) if sock is None)

    def use(self, addresses: Iterable[IPv4Address]) -> None:
        """Send from these from now on."""
        wanted = set(addresses)
        for address in self._sockets.keys() - wanted:
            sock = self._sockets.pop(address)
            if sock is not None:
                sock.close()
        for address in wanted - self._sockets.keys():
            self._sockets[address] = None
        self.check()

    def check(self) -> None:
        """Opens what could not be opened before, and finds interfaces again that were made anew."""
        for address, sock in self._sockets.items():
            try:
                if sock is None:
                    self._sockets[address] = self._open(address)
                elif address in self._failed:
                    bind_to_interface(sock, address)
            except OSError as error:
                self.last_error = f"{address}: {error_text(error)}"
        self._failed.clear()

    def _open(self, address: IPv4Address) -> socket.socket:
        sock = open_sender(address, OUTPUT_TTL)
        try:
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, self._dscp << 2)
            with suppress(PermissionError):
                sock.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, _SEND_BUFFER_BYTES)
        except OSError:
            sock.close()
            raise
        return sock

    def send(self, datagram: bytes) -> None:
        for address, sock in self._sockets.items():
            if sock is None:
                continue
            try:
                sock.sendto(datagram, self._target)
            except OSError as error:  # a link may be down for a while: the stream goes on when it is back
                self.send_errors += 1
                self.last_error = f"{address}: {error_text(error)}"
                self._failed.add(address)

    def close(self) -> None:
        self.use(())
