"""The sockets of a feed: the receiver's multiplex, fallbacks as (S, G). Each opens when it can."""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Callable, Iterable
from ipaddress import IPv4Address

from headend.multicast.outputs import error_text
from headend.multicast.receive import IP_MULTICAST_ALL, drain, join_source, open_receiver
from headend.multicast.route import interfaces_towards, join_source_by
from headend.multicast.rtp import payload_of
from headend.satellite.feed.config import Fallback, Handed
from headend.satellite.feed.programme import SILENCE_S, Multiplex

Selector = selectors.BaseSelector


class _Reader:
    """A socket that is drained into `take` whenever it can be read."""

    def __init__(self, selector: Selector, sock: socket.socket, take: Callable[[bytes, float], None]) -> None:
        self._selector = selector
        self._socket = sock
        self._take = take
        selector.register(sock, selectors.EVENT_READ, self.drain)

    def drain(self) -> None:
        if self._socket.fileno() >= 0:  # closed by what was read a moment before
            drain(self._socket, time.monotonic(), self._take)

    def close(self) -> None:
        self._selector.unregister(self._socket)
        self._socket.close()


class CarrierInput:
    """Where the receiver's transport stream arrives."""

    def __init__(self, selector: Selector, address: IPv4Address, port: int, multiplex: Multiplex) -> None:
        self.place = (address, port)
        self.problem = ""
        self._selector = selector
        self._multiplex = multiplex
        self._reader: _Reader | None = None
        self.check()

    def check(self) -> None:
        """Opens it, unless it is open."""
        if self._reader is not None:
            return
        address, port = self.place
        try:
            sock = open_receiver(str(address), port)
        except OSError as error:
            self.problem = f"cannot listen on {address}:{port}: {error_text(error)}"
            return
        self._reader, self.problem = _Reader(self._selector, sock, self._multiplex.receive), ""

    def drain(self) -> None:
        if self._reader is not None:
            self._reader.drain()

    def close(self) -> None:
        if self._reader is not None:
            self._reader.close()


class FallbackInput:
    """An (S, G), asked for by IGMPv3 on every interface by which S is reached.

    One socket an interface, each of which hears that interface alone: where two of them bring the stream, one is
    taken for as long as it comes, since both together would show every packet twice.

    A PoP is a router: the kernel hands it the stream by that membership, but its PIM fetches the stream only for who
    asks on a LAN with IGMP (measured with FRR's pimd, which hears the reports of its own host; the first packet came
    7 ms later). So `fetch` asks there too, and for good: a leave by the PoP itself costs the LAN's other receivers of
    the same stream a packet or two (measured), and the plan has reserved the rate of the fallback there anyway.
    """

    def __init__(self, selector: Selector, fallback: Fallback) -> None:
        self.multiplex = Multiplex()
        self.problem = ""
        self._selector = selector
        self._fallback = fallback
        self._readers: dict[int, _Reader] = {}
        self._heard: int | None = None
        self._asking: socket.socket | None = None
        self.check()

    def fetch(self, lans: Iterable[IPv4Address]) -> None:
        """Ask on the first of these own addresses' LANs that can be had. Nothing is read there."""
        for address in lans if self._asking is None else ():
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            try:
                join_source(sock, self._fallback.group, self._fallback.source, address)
            except OSError:
                sock.close()  # an address that is not there; the outputs say so
                continue
            self._asking = sock
            return

    def check(self) -> None:
        """Follows the route to the source."""
        try:
            wanted = interfaces_towards(self._fallback.source)
        except OSError as error:
            self.problem = f"no route to {self._fallback.source} can be read: {error_text(error)}"
            return
        self.problem = "" if wanted else f"no route to {self._fallback.source}"
        for number in self._readers.keys() - wanted:
            self._readers.pop(number).close()
        for number in wanted - self._readers.keys():
            self._join(number)

    def _join(self, number: int) -> None:
        given = self._fallback
        try:
            sock = open_receiver(str(given.group), given.port, shared=True)
        except OSError as error:
            self.problem = f"cannot listen on {given.group}:{given.port}: {error_text(error)}"
            return
        try:
            sock.setsockopt(socket.IPPROTO_IP, IP_MULTICAST_ALL, 0)
            join_source_by(sock, given.group, given.source, number)
        except OSError as error:
            sock.close()
            self.problem = f"cannot join {given}: {error_text(error)}"
            return

        def take(datagram: bytes, arrival: float) -> None:
            if given.rtp:
                payload = payload_of(datagram)
                if payload is None:
                    return
                datagram = payload
            if number != self._heard:
                last = self.multiplex.last_at
                if last is not None and arrival - last <= SILENCE_S:
                    return
                self._heard = number
            self.multiplex.receive(datagram, arrival)

        self._readers[number] = _Reader(self._selector, sock, take)

    def drain(self) -> None:
        for reader in self._readers.values():
            reader.drain()

    def close(self) -> None:
        if self._asking is not None:
            self._asking.close()
            self._asking = None
        for reader in self._readers.values():
            reader.close()
        self._readers = {}


class HandedInput:
    """What another process of this machine hands over at an own address, which nothing else than it sends to."""

    def __init__(self, selector: Selector, handed: Handed) -> None:
        self.multiplex = Multiplex()
        self.problem = ""
        self._selector = selector
        self._handed = handed
        self._reader: _Reader | None = None
        self.check()

    def fetch(self, lans: Iterable[IPv4Address]) -> None:
        """It comes by itself."""

    def check(self) -> None:
        """Opens it, unless it is open."""
        if self._reader is not None:
            return
        try:
            sock = open_receiver(str(self._handed.address), self._handed.port)
        except OSError as error:
            self.problem = f"cannot listen on {self._handed}: {error_text(error)}"
            return
        self._reader, self.problem = _Reader(self._selector, sock, self.multiplex.receive), ""

    def drain(self) -> None:
        if self._reader is not None:
            self._reader.drain()

    def close(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None
