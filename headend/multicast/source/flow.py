"""One (S, G) that a source stage sends to. Each has a socket of its own, so that what befalls one does not befall
another."""

from __future__ import annotations

import contextlib
import os
import socket
from dataclasses import dataclass
from ipaddress import IPv4Address

from headend.multicast.receive import bind_to_interface, open_sender

_SEARCH_INTERVAL_S = 0.5


@dataclass(frozen=True, slots=True)
class Target:
    source: IPv4Address
    group: IPv4Address
    port: int

    def __str__(self) -> str:
        return f"{self.source},{self.group}:{self.port}"

    @classmethod
    def of(cls, text: str) -> Target:
        """Of `10.1.0.12,232.138.1.1:5000`. Raises ValueError."""
        source, _, rest = text.partition(",")
        group, _, port = rest.partition(":")
        return cls(IPv4Address(source), IPv4Address(group), int(port))


class Flow:
    """`datagrams`: sent so far. A link may be down for a while, or an address not there yet: the flow begins, or goes
    on, by itself when it is back."""

    def __init__(self, target: Target, dscp: int) -> None:
        self.target = target
        self.datagrams = 0
        self.send_errors = 0
        self.last_error = ""
        self._to = (str(target.group), target.port)
        self._dscp = dscp
        self._socket: socket.socket | None = None
        self._searched_at: float | None = None

    def open(self) -> None:
        """Raises OSError when the source address is not here."""
        sock = open_sender(self.target.source)
        try:
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, self._dscp << 2)
        except OSError:
            sock.close()
            raise
        self._socket = sock

    def send(self, parts: tuple[bytes, ...], now: float) -> bool:
        """One datagram of these parts; whether it left."""
        try:
            if self._socket is None:
                self._search(now)
                return False
            self._socket.sendmsg(parts, (), 0, self._to)
        except OSError as error:
            self.send_errors += 1
            self.last_error = os.strerror(error.errno or 0)
            with contextlib.suppress(OSError):
                self._search(now)
            return False
        self.datagrams += 1
        return True

    def _search(self, now: float) -> None:
        if self._searched_at is not None and now - self._searched_at < _SEARCH_INTERVAL_S:
            return
        self._searched_at = now
        if self._socket is None:
            self.open()
        else:
            bind_to_interface(self._socket, self.target.source)

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def status(self) -> dict[str, object]:
        return {
            "target": str(self.target),
            "datagrams": self.datagrams,
            "send_errors": self.send_errors,
            "last_send_error": self.last_error,
        }
