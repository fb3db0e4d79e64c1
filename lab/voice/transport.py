"""SIP over UDP and TCP: RFC 3261 section 18."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import Callable
from typing import NamedTuple

from lab.voice.message import Message, SipError, Stream, parameters, parse

BUFFER = 4 << 20
"""Of the UDP socket, in bytes: a burst of calls waits there while the loop is busy."""


class Peer(NamedTuple):
    """Where a message came from, or goes to. transport: udp or tcp."""

    transport: str
    host: str
    port: int


def resolve(transport: str, host: str, port: int) -> Peer:
    """Raises SipError where the name has no address."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        try:
            host = socket.gethostbyname(host)
        except OSError as error:
            raise SipError(f"{host} has no address: {error.strerror}") from error
    return Peer("tcp" if transport == "tcp" else "udp", host, port or 5060)


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._endpoint.taken(data, Peer("udp", addr[0], addr[1]))

    def error_received(self, exc: Exception) -> None:
        """Of an earlier datagram: the transaction's timer tells."""


class Endpoint:
    """One address and port of ours. `received` gets every message; what is no SIP is counted in `malformed`."""

    def __init__(self, address: str, port: int, received: Callable[[Message, Peer], None], *, tcp: bool = True) -> None:
        self.address, self.port = address, port
        self.malformed = 0
        self._received, self._tcp = received, tcp
        self._udp: asyncio.DatagramTransport | None = None
        self._server: asyncio.Server | None = None
        self._writers: dict[tuple[str, int], asyncio.StreamWriter] = {}
        self._waiting: dict[tuple[str, int], list[bytes]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Raises OSError. Port 0 is whichever is free."""
        udp, tcp = self._bound()
        self.port = udp.getsockname()[1]
        loop = asyncio.get_running_loop()
        self._udp, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(self), sock=udp)
        if tcp is not None:
            self._server = await asyncio.start_server(self._serve, sock=tcp)

    def _bound(self) -> tuple[socket.socket, socket.socket | None]:
        """One port for both: that it is free for one of them says nothing of the other."""
        while True:
            udp = self._socket(socket.SOCK_DGRAM, self.port)
            if not self._tcp:
                return udp, None
            try:
                return udp, self._socket(socket.SOCK_STREAM, udp.getsockname()[1])
            except OSError:
                udp.close()
                if self.port:
                    raise

    def _socket(self, kind: socket.SocketKind, port: int) -> socket.socket:
        sock = socket.socket(socket.AF_INET6 if ":" in self.address else socket.AF_INET, kind)
        try:
            sock.setblocking(False)
            if kind is socket.SOCK_DGRAM:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
            else:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((self.address, port))
        except OSError:
            sock.close()
            raise
        return sock

    async def close(self) -> None:
        if self._udp is not None:
            self._udp.close()
        for writer in list(self._writers.values()):
            writer.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._server is not None:
            self._server.close()

    def taken(self, data: bytes, peer: Peer) -> None:
        """One whole message; keep-alives (RFC 5626 section 4.4.1) are nothing."""
        if not data.strip(b"\r\n\0"):
            return
        try:
            message = parse(data)
        except SipError:
            self.malformed += 1
            return
        if message.method:
            _mark(message, peer)
        self._received(message, peer)

    def send(self, message: Message, peer: Peer) -> None:
        """Never raises: what cannot be sent is lost, as on a network."""
        data = message.encode()
        if peer.transport == "udp":
            if self._udp is not None and not self._udp.is_closing():
                self._udp.sendto(data, (peer.host, peer.port))
            return
        key = (peer.host, peer.port)
        writer = self._writers.get(key)
        if writer is not None and not writer.is_closing():
            writer.write(data)
        elif key in self._waiting:
            self._waiting[key].append(data)
        else:
            self._waiting[key] = [data]
            self._spawn(self._connect(key))

    def _spawn(self, work: object) -> None:
        task: asyncio.Task[None] = asyncio.ensure_future(work)  # type: ignore[call-overload]
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self, key: tuple[str, int]) -> None:
        try:
            local = None if self.address in ("0.0.0.0", "::") else (self.address, 0)  # noqa: S104 - asked, not bound
            reader, writer = await asyncio.open_connection(*key, local_addr=local)
        except OSError:
            self._waiting.pop(key, None)
            return
        for data in self._waiting.pop(key, []):
            writer.write(data)
        await self._read(reader, writer, key)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = writer.get_extra_info("peername")
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        with contextlib.suppress(asyncio.CancelledError):
            await self._read(reader, writer, (peer[0], peer[1]))

    async def _read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, key: tuple[str, int]) -> None:
        self._writers[key] = writer
        stream = Stream()
        try:
            while data := await reader.read(65536):
                for whole in stream.feed(data):
                    self.taken(whole, Peer("tcp", *key))
        except (OSError, SipError):
            self.malformed += 1
        finally:
            if self._writers.get(key) is writer:
                del self._writers[key]
            writer.close()


def _mark(message: Message, peer: Peer) -> None:
    """Via says where the request really came from: RFC 3581 section 4."""
    index = next(at for at, (name, _) in enumerate(message.headers) if name == "via")
    via = message.headers[index][1]
    sent_by, _, params = via.partition(";")
    found = parameters(params)
    if "rport" in found:
        found["rport"] = str(peer.port)
    found["received"] = peer.host
    text = "".join(f";{name}={value}" if value else f";{name}" for name, value in found.items())
    message.headers[index] = ("via", sent_by + text)


def reply_peer(request: Message, peer: Peer) -> Peer:
    """Where a response goes: RFC 3261 section 18.2.2, RFC 3581 section 4."""
    if peer.transport == "tcp":
        return peer
    sent_by, _, params = request.get("via").partition(";")
    found = parameters(params)
    port = found.get("rport") or sent_by.split()[-1].rpartition("]")[2].partition(":")[2] or "5060"
    return Peer("udp", peer.host, int(port) if port.isdecimal() else peer.port)
