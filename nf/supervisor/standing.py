"""How all units stand, asked again and again, on one connection: the supervisor says on it when that changed, so that
what is known is given without asking as long as nothing has come."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import weakref
from collections.abc import Callable
from pathlib import Path

from nf.contracts.json import JsonObject
from nf.contracts.units import UnitStatus
from nf.errors import UnavailableError
from nf.supervisor.protocol import decode_line, encode, error_from_json, statuses_from_json

_CHUNK = 1 << 16
_PATIENCE_S = 3.0  # a supervisor that is being restarted is back within this
_RETRY_FIRST_S, _RETRY_LAST_S = 0.05, 1.0


class Standing:
    """Every unit's status, as of now."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._loop: asyncio.AbstractEventLoop | None = None
        self._turn = asyncio.Lock()
        self._socket: socket.socket | None = None
        self._close: Callable[[], object] = lambda: None
        self._came = bytearray()
        self._tag = ""
        self._known: tuple[UnitStatus, ...] = ()
        self._holds = False

    async def ask(self) -> tuple[UnitStatus, ...]:
        """Raises UnavailableError."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._drop()
            self._loop, self._turn = loop, asyncio.Lock()
        async with self._turn:
            if self._still_holds():
                return self._known
            if self._socket is not None:
                with contextlib.suppress(OSError):  # it was restarted since
                    return await self._exchange(self._socket)
            try:
                return await self._exchange(await self._open())
            except OSError as error:
                raise UnavailableError(
                    "the supervisor went away during list", where=str(self._path), remedy="repeat it"
                ) from error

    def doubt(self) -> None:
        """This process has asked for a change: its own next question comes after that."""
        self._holds = False

    def _still_holds(self) -> bool:
        """Whether the supervisor is there and has said nothing since."""
        if self._socket is None or not self._holds:
            return False
        try:
            came = self._socket.recv(_CHUNK)
        except BlockingIOError:
            return True
        except OSError:
            came = b""
        self._came += came
        self._holds = False
        if not came:
            self._drop()
        return False

    async def _open(self) -> socket.socket:
        self._socket = opened = await dial(self._path)
        self._close = weakref.finalize(self, opened.close)
        return opened

    def _drop(self) -> None:
        self._close()
        self._socket, self._holds = None, False
        self._came.clear()

    async def _exchange(self, sock: socket.socket) -> tuple[UnitStatus, ...]:
        """Raises OSError when the connection is over."""
        loop = asyncio.get_running_loop()
        try:
            await loop.sock_sendall(sock, encode({"id": 0, "method": "list", "params": {"known": self._tag}}))
            while "id" not in (answer := decode_line(await self._line(loop, sock))):
                pass  # what was said before it had the question
        except BaseException:
            self._drop()  # what is still to come on it would be taken for the answer to another question
            raise
        return self._read(answer)

    async def _line(self, loop: asyncio.AbstractEventLoop, sock: socket.socket) -> bytes:
        while (end := self._came.find(b"\n")) < 0:
            self._came += await _more(loop, sock)
        line = bytes(self._came[:end])
        del self._came[: end + 1]
        return line

    def _read(self, answer: JsonObject) -> tuple[UnitStatus, ...]:
        problem, result = answer.get("error"), answer.get("result")
        if isinstance(problem, dict):
            raise error_from_json(problem)
        if not isinstance(result, dict):
            return statuses_from_json(result)  # a supervisor of older software
        if result.get("units") is not None:
            self._known, self._tag = statuses_from_json(result["units"]), str(result.get("tag", ""))
        self._holds = not self._came
        return self._known


async def _more(loop: asyncio.AbstractEventLoop, sock: socket.socket) -> bytes:
    piece = await loop.sock_recv(sock, _CHUNK)
    if not piece:
        raise ConnectionResetError("the supervisor closed the connection")
    return piece


async def dial(path: Path) -> socket.socket:
    """A connection to the supervisor whose socket is `path`. Raises UnavailableError when none answers."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _PATIENCE_S
    pause = _RETRY_FIRST_S
    while True:
        try:
            return await _connected(path)
        except OSError as error:
            if loop.time() + pause >= deadline:
                raise UnavailableError(
                    f"no supervisor answers: {error.strerror or error}",
                    where=str(path),
                    remedy="start it: nf supervisor run",
                ) from error
        await asyncio.sleep(pause)
        pause = min(pause * 2, _RETRY_LAST_S)


async def _connected(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, str(path))
    except BaseException:
        sock.close()
        raise
    return sock
