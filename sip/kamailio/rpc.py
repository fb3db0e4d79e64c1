"""Kamailio's JSON-RPC: by datagrams of a UNIX socket, and by HTTP on loopback where an answer may not fit one.

Kamailio answers a datagram at the address that it came from, by its path: the client binds one of its own, absolute, in
a directory that Kamailio's user may pass. An answer that does not fit a datagram is never sent, and Kamailio does not
say so: a question of which that can be feared goes by HTTP, and another that stays without an answer does so too.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import itertools
import os
import secrets
import shutil
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from nf.contracts.json import Json
from nf.errors import DeadlineError, UnavailableError
from sip.kamailio import jsonrpc, rpc_filter
from sip.kamailio.jsonrpc import Answer, Parameter, RpcRefused

TIMEOUT_S: Final = 5.0
AT_ONCE: Final = 8
"""Questions under way: Kamailio throws an answer away that the queue of the asking socket, of ten, has no room for."""
USER: Final = "kamailio"

BIG: Final = frozenset(
    {
        "dlg.list",
        "dlg.list_ctx",
        "htable.dump",
        "tls.list",
        "tm.list",
        "core.tcp_list",
        "stats.get_statistics",
        "ul.dump",
        "ul.db_users",
    }
)
"""What these answer grows with calls, callers and tables."""
_READS: Final = frozenset({"list", "dump", "show", "get", "lookup", "stats", "info", "uptime", "stats_active"})
"""Last words of methods that change nothing: they may be asked twice."""
_WHERE: Final = "kamailio"
_FULL: Final = frozenset({errno.EAGAIN, errno.EWOULDBLOCK, errno.ENOBUFS})
_PAUSE_S: Final = 0.02
_STARTING_CODE, _STARTING = 500, "Initializing"
"""What module rtpengine answers until it has read its relays."""


def reads(method: str) -> bool:
    return method.rpartition(".")[2] in _READS


def passable(directory: Path) -> None:
    """Makes the directory of clients' sockets: root's, and Kamailio's user may pass. Raises OSError."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        shutil.chown(directory, group=USER)
    except (LookupError, PermissionError):
        return  # the lab, where Kamailio runs as whoever runs this
    directory.chmod(0o710)


@dataclass(slots=True)
class RpcClient:
    """Several may ask at once. Raises UnavailableError (nothing listens), DeadlineError (it does not answer in time, as
    when it hangs) and RpcRefused (it answered that it did not).

    path     of Kamailio's socket; `url` of its RPC by HTTP, empty: it has none
    clients  directory for this client's own socket
    whole    it asks for what `sip.kamailio.rpc_filter` keeps from all others
    """

    path: Path
    clients: Path
    url: str = ""
    timeout_s: float = TIMEOUT_S
    whole: bool = False
    _socket: socket.socket | None = None
    _bound: Path | None = None
    _waiting: dict[int, asyncio.Future[Answer]] = field(default_factory=dict)
    _numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))
    _room: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))

    async def call(self, method: str, *parameters: Parameter, timeout_s: float | None = None) -> Json:
        refused = None if self.whole else rpc_filter.refusal(method, parameters)
        if refused is not None:
            return self._result(method, refused)
        limit = self.timeout_s if timeout_s is None else timeout_s
        loop = asyncio.get_running_loop()
        until = loop.time() + limit
        if method in BIG and self.url:
            return self._result(method, await self._by_http(method, parameters, limit))
        twice = self.url and reads(method)
        try:
            found = await self._by_datagram(method, parameters, limit * 0.6 if twice else limit)
        except DeadlineError:
            if not twice:
                raise
            found = await self._by_http(method, parameters, max(0.0, until - loop.time()))
        return self._result(method, found)

    def _result(self, method: str, found: Answer) -> Json:
        if found.code == _STARTING_CODE and found.message.startswith(_STARTING):
            raise UnavailableError(f"{method}: it is just starting", where=_WHERE)
        if found.code:
            raise RpcRefused(method, found.code, found.message)
        return found.result if self.whole else rpc_filter.cut(method, found.result)

    # -- datagrams --------------------------------------------------------------------------------------------------

    async def _by_datagram(self, method: str, parameters: tuple[Parameter, ...], limit_s: float) -> Answer:
        own = self._open()
        number = next(self._numbers)
        answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answered
        try:
            async with asyncio.timeout(limit_s), self._room:
                await self._send(own, jsonrpc.request(method, parameters, number))
                return await answered
        except TimeoutError:
            raise _late(method, limit_s) from None
        finally:
            del self._waiting[number]

    async def _send(self, own: socket.socket, data: bytes) -> None:
        """A daemon that hangs lets the queue of its socket fill: it is waited for until the caller's time is over."""
        while True:
            try:
                own.sendto(data, str(self.path))
            except OSError as error:
                if error.errno not in _FULL:
                    raise _absent(str(self.path), error) from None
                await asyncio.sleep(_PAUSE_S)
            else:
                return

    def _open(self) -> socket.socket:
        """Raises UnavailableError when no socket can be bound."""
        if self._socket is not None and self._bound is not None and self._bound.exists():
            return self._socket
        self.close()
        own = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            passable(self.clients)
            # A name of its own: an answer to an earlier client is none to this one.
            place = self.clients.absolute() / f"{os.getpid()}-{secrets.token_hex(6)}"
            own.bind(str(place))
            place.chmod(0o666)
        except OSError as error:
            own.close()
            raise UnavailableError(f"no socket for answers: {error.strerror}", where=str(self.clients)) from error
        self._socket, self._bound = own, place
        asyncio.get_running_loop().add_reader(own.fileno(), self._receive, own)
        return own

    def _receive(self, own: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := own.recv(0x100000):
                found = jsonrpc.answer(data)
                asked = self._waiting.get(found.id) if found is not None else None
                if found is not None and asked is not None and not asked.done():
                    asked.set_result(found)

    def close(self) -> None:
        own, self._socket = self._socket, None
        if own is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed, and with it what it watched
                asyncio.get_running_loop().remove_reader(own.fileno())
            own.close()
        if self._bound is not None:
            self._bound.unlink(missing_ok=True)
            self._bound = None

    # -- HTTP -------------------------------------------------------------------------------------------------------

    async def _by_http(self, method: str, parameters: tuple[Parameter, ...], limit_s: float) -> Answer:
        number = next(self._numbers)
        try:
            async with asyncio.timeout(limit_s):
                body = await _post(self.url, jsonrpc.request(method, parameters, number))
        except TimeoutError:
            raise _late(method, limit_s) from None
        except (OSError, EOFError, ValueError) as error:
            raise _absent(self.url, error) from None
        found = jsonrpc.answer(body)
        if found is None or found.id != number:
            raise UnavailableError("what answers is no Kamailio", where=self.url)
        return found


@contextlib.asynccontextmanager
async def open_rpc(path: Path, clients: Path, url: str = "", *, whole: bool = False) -> AsyncIterator[RpcClient]:
    client = RpcClient(path, clients, url, whole=whole)
    try:
        yield client
    finally:
        client.close()


async def _post(url: str, body: bytes) -> bytes:
    """RFC 9112, as far as xhttp speaks it: one answer with a Content-Length. Raises OSError, EOFError, ValueError."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port, limit=0x40000)
    try:
        head = f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: application/json\r\n"
        writer.write(f"{head}Connection: close\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        await writer.drain()
        lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        fields = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        if "content-length" not in fields:
            raise ValueError("an answer without its length")
        length = int(fields["content-length"])
        if not 0 <= length <= jsonrpc.LONGEST:
            raise ValueError(f"an answer of {length:,} octets")
        return await reader.readexactly(length)
    except asyncio.LimitOverrunError:
        raise ValueError("the head of the answer is too long") from None
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def _late(method: str, limit_s: float) -> DeadlineError:
    text = f"{method} was not answered within {limit_s:.1f} s"
    return DeadlineError(text, where=_WHERE, remedy="see whether the unit kamailio hangs: nf supervisor log kamailio")


def _absent(where: str, error: Exception) -> UnavailableError:
    told = error.strerror if isinstance(error, OSError) and error.strerror else str(error) or type(error).__name__
    return UnavailableError(f"Kamailio does not answer: {told}", where=where)
