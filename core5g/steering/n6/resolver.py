"""The resolver of UEs as a process: `python -m core5g.steering.n6.resolver --section JSON --status SOCKET`.

It forwards what UEs ask, over UDP and TCP, and remembers nothing. What the CDN's names resolve to is in the sets of
nftables before the UE hears of it, for longer than the UE may use it. When that fails the UE gets its answer all the
same, and its traffic takes the default exit.

Its sockets are bound to the TUN devices: nobody else is served, whatever the firewall says. A device that was made anew
ends it, and the supervisor starts it on the new one.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import secrets
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from ipaddress import IPv4Address
from pathlib import Path

import dns.message
import dns.rcode

from core5g import nftables
from core5g.sockets import answering
from core5g.steering.n6 import forwarding, render
from core5g.steering.n6.documents import IpAddress, N6Resolver, N6Section
from nf.contracts.json import JsonObject
from nf.errors import NfError

GRACE_S = 300
"""An address stays steered for so long after its TTL: players keep connections' names longer than they should."""
_MEMO_S = 5.0
_UPSTREAM_S = 2.0
_CLIENT_S = 10.0
_MOST_AT_ONCE = 512
_IP_FREEBIND, _IPV6_FREEBIND = 15, 78
_TICK_S = 1.0

Learn = Callable[[Mapping[IpAddress, int]], Awaitable[None]]


async def to_kernel(addresses: Mapping[IpAddress, int]) -> None:
    """Raises DriverError."""
    await nftables.transact(render.name_commands(addresses), where="n6-resolver")


class Feed:
    """Steers what it is told, and asks the kernel no more than once in a few seconds for the same address."""

    def __init__(self, learn: Learn, now: Callable[[], float] = time.monotonic) -> None:
        self._learn = learn
        self._now = now
        self._known: dict[IpAddress, tuple[float, int]] = {}
        self.errors = 0
        self.last_error = ""

    @property
    def known(self) -> int:
        return len(self._known)

    async def take(self, addresses: Mapping[IpAddress, int]) -> None:
        """`addresses` with their TTL in seconds. A kernel that refuses is counted."""
        now = self._now()
        self._known = {one: told for one, told in self._known.items() if now - told[0] < _MEMO_S}
        fresh = {one: ttl for one, ttl in addresses.items() if ttl > self._known.get(one, (0.0, -1))[1]}
        if not fresh:
            return
        try:
            await self._learn({one: ttl + GRACE_S for one, ttl in fresh.items()})
        except NfError as error:
            self.errors += 1
            self.last_error = str(error)
            return
        self._known.update((one, (now, ttl)) for one, ttl in fresh.items())


class Forwarder:
    def __init__(self, resolver: N6Resolver, names: frozenset[str], feed: Feed) -> None:
        self._resolver = resolver
        self._names = names
        self.feed = feed
        self.counts: Counter[str] = Counter()
        self._running = 0

    async def answer(self, data: bytes, *, tcp: bool) -> bytes | None:
        """None: nothing is said to this."""
        if self._running >= _MOST_AT_ONCE:
            self.counts["too-many"] += 1
            return None
        self._running += 1
        try:
            query = forwarding.read_query(data)
            self.counts["queries"] += 1
            return await self._forward(data, query, tcp=tcp)
        except forwarding.QueryError as error:
            self.counts[error.reason] += 1
            return error.answer
        finally:
            self._running -= 1

    async def _forward(self, data: bytes, query: dns.message.Message, *, tcp: bool) -> bytes:
        ask = _ask_tcp if tcp else _ask_udp
        for upstream in self._resolver.upstreams:
            identity = secrets.randbits(16)
            sent = forwarding.with_identity(data, identity)
            with contextlib.suppress(OSError, TimeoutError, EOFError):
                async with asyncio.timeout(_UPSTREAM_S):
                    answer, got = await ask(upstream, self._resolver.upstream_port, sent, query, identity)
                await self.feed.take(forwarding.addresses_of(answer, self._names))
                return forwarding.with_identity(forwarding.capped(answer, got), query.id)
            self.counts["upstream-silent"] += 1
        return forwarding.failure(data, dns.rcode.SERVFAIL)


Told = tuple[dns.message.Message, bytes]


async def _ask_udp(upstream: IpAddress, port: int, data: bytes, query: dns.message.Message, identity: int) -> Told:
    """From a port of its own: an answer that somebody guessed has to guess that as well. Raises OSError."""
    loop = asyncio.get_running_loop()
    with socket.socket(_family(upstream), socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        await loop.sock_connect(sock, (str(upstream), port))
        await loop.sock_sendall(sock, data)
        while True:
            got = await loop.sock_recv(sock, 65_535)
            if (answer := forwarding.read_answer(got, query, identity)) is not None:
                return answer, got


async def _ask_tcp(upstream: IpAddress, port: int, data: bytes, query: dns.message.Message, identity: int) -> Told:
    """Raises OSError, EOFError."""
    reader, writer = await asyncio.open_connection(str(upstream), port)
    try:
        writer.write(len(data).to_bytes(2, "big") + data)
        got = await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
    finally:
        writer.transport.abort()
    answer = forwarding.read_answer(got, query, identity)
    if answer is None:
        raise OSError("an answer to something else")
    return answer, got


def _family(address: IpAddress) -> socket.AddressFamily:
    return socket.AF_INET if isinstance(address, IPv4Address) else socket.AF_INET6


def device_socket(device: str, address: IpAddress, port: int, kind: socket.SocketKind) -> socket.socket:
    """Bound to the device: what comes by another one never gets here. Raises OSError."""
    sock = socket.socket(_family(address), kind)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
        if isinstance(address, IPv4Address):
            sock.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_FREEBIND, 1)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((str(address), port))
    except OSError:
        sock.close()
        raise
    return sock


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, forwarder: Forwarder) -> None:
        self._forwarder = forwarder
        self._tasks: set[asyncio.Task[None]] = set()
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(data, addr))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, data: bytes, addr: tuple[str, int]) -> None:
        answer = await self._forwarder.answer(data, tcp=False)
        if answer is not None and self._transport is not None and not self._transport.is_closing():
            self._transport.sendto(answer, addr)


async def serve_stream(forwarder: Forwarder, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Queries one after the other (RFC 7766), until the client ends or says nothing for a while."""
    with contextlib.suppress(OSError, TimeoutError, EOFError):
        while True:
            async with asyncio.timeout(_CLIENT_S):
                data = await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
                answer = await forwarder.answer(data, tcp=True)
                if answer is None:
                    break
                writer.write(len(answer).to_bytes(2, "big") + answer)
                await writer.drain()
    writer.close()


async def run(section: N6Section, status: Path, learn: Learn = to_kernel) -> None:
    """Until SIGTERM or SIGINT. Raises OSError also when a TUN device was made anew."""
    resolver = section.resolver
    if resolver is None:
        raise OSError("the section has no resolver")
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    forwarder = Forwarder(resolver, frozenset(section.names), Feed(learn))
    indexes = {tun: socket.if_nametoindex(tun) for tun in section.tuns}

    async def stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await serve_stream(forwarder, reader, writer)

    async def told(_line: bytes) -> JsonObject:
        counts: JsonObject = {**forwarder.counts}
        feed = forwarder.feed
        return {
            "version": 1,
            "pid": os.getpid(),
            "counts": counts,
            "errors": feed.errors,
            "last_error": feed.last_error,
        }

    async with contextlib.AsyncExitStack() as stack:
        for tun in section.tuns:
            for address in resolver.listen:
                sock = device_socket(tun, address, resolver.port, socket.SOCK_DGRAM)
                transport, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(forwarder), sock=sock)
                stack.callback(transport.close)
                tcp = device_socket(tun, address, resolver.port, socket.SOCK_STREAM)
                await stack.enter_async_context(await asyncio.start_server(stream, sock=tcp))
        await stack.enter_async_context(answering(status, told))
        while not stop.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), _TICK_S)
            for tun, index in indexes.items():
                if socket.if_nametoindex(tun) != index:
                    raise OSError(f"{tun} was made anew")


def main() -> int:
    parser = argparse.ArgumentParser(prog="n6-resolver", description=__doc__)
    parser.add_argument("--section", required=True, help="JSON")
    parser.add_argument("--status", type=Path, required=True, help="unix socket")
    given = parser.parse_args()
    try:
        asyncio.run(run(N6Section.model_validate_json(given.section), given.status))
    except (OSError, ValueError, NfError) as error:
        sys.stderr.write(f"n6-resolver: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
