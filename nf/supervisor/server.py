"""The supervisor's unix socket: JSON lines in, JSON lines out. Whatever comes in, it goes on serving."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import socket
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

from nf.contracts.json import Json, JsonObject
from nf.contracts.units import UnitStatus
from nf.errors import DriverError, InputError, NfError
from nf.supervisor.protocol import (
    MAX_LINE_BYTES,
    Request,
    decode_request,
    encode,
    error_to_json,
    spec_from_json,
    status_to_json,
    unit_name,
)
from nf.supervisor.supervisor import Supervisor

_log = logging.getLogger(__name__)

_MAX_PENDING = 1024
_TELL_S = 1.0
_READS = frozenset({"list", "status", "log"})


class _Changes:
    """States on their way to one watcher. A watcher that lags gets the latest of each unit."""

    def __init__(self) -> None:
        self._pending: list[UnitStatus] = []
        self._filled = asyncio.Event()

    def add(self, status: UnitStatus) -> None:
        if len(self._pending) >= _MAX_PENDING:
            self._pending = list({known.name: known for known in self._pending}.values())
        self._pending.append(status)
        self._filled.set()

    async def take(self) -> list[UnitStatus]:
        await self._filled.wait()
        self._filled.clear()
        taken, self._pending = self._pending, []
        return taken


def _name(request: Request) -> str:
    return unit_name(request.params.get("name"))


def _bound(path: Path) -> socket.socket:
    path.unlink(missing_ok=True)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(str(path))
        path.chmod(0o600)
    except OSError:
        sock.close()
        raise
    return sock


def _unlink(path: Path) -> None:
    path.unlink(missing_ok=True)


class Server:
    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._connections: set[asyncio.Task[None]] = set()
        life = uuid.uuid4().hex
        self._tags = (f"{life}.{number}" for number in itertools.count())
        self._tag, self._tagged = next(self._tags), supervisor.list()
        self._followers: dict[asyncio.StreamWriter, str] = {}  # who is to be told, and the tag that it knows

    @contextlib.asynccontextmanager
    async def serving(self, path: Path) -> AsyncIterator[None]:
        """Serve on `path` (mode 0600 before the first connection is taken) as long as the context lasts."""
        server = await asyncio.start_unix_server(self._connected, sock=_bound(path), limit=MAX_LINE_BYTES)
        stop = self._supervisor.listen(lambda _status: self._tell())
        telling = asyncio.create_task(self._keep_telling())
        try:
            yield
        finally:
            stop()
            telling.cancel()
            server.close()
            _unlink(path)
            connections = tuple(self._connections)
            for task in connections:
                task.cancel()
            await asyncio.gather(*connections, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._connections.add(task)
        try:
            await self._serve(reader, writer)
        except (ConnectionError, asyncio.CancelledError):
            pass  # the peer left, or the supervisor ends: nobody is there to be told
        finally:
            if task is not None:
                self._connections.discard(task)
            self._followers.pop(writer, None)
            writer.close()
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                line = await reader.readuntil(b"\n")
            except asyncio.IncompleteReadError:
                return
            except asyncio.LimitOverrunError:
                writer.write(encode({"id": None, "error": error_to_json(InputError("the line is too long"))}))
                await writer.drain()
                return
            if await self._answer(line, writer):
                return

    async def _answer(self, line: bytes, writer: asyncio.StreamWriter) -> bool:
        """True when the connection has become a watch and is over."""
        number: Json = None
        try:
            request = decode_request(line)
            number = request.id
            if request.method == "watch":
                await self._watch(request.id, writer)
                return True
            message: JsonObject = {"id": number, "result": await self._call(request)}
        except NfError as error:
            message = {"id": number, "error": error_to_json(error)}
        except (OSError, RuntimeError, ValueError, TypeError, KeyError) as error:
            # The boundary: a fault in here is answered and logged, since every unit depends on this process.
            _log.exception("a request failed")
            message = {"id": number, "error": error_to_json(DriverError(f"supervisor: {error}"))}
        writer.write(encode(message))
        result = message.get("result")
        if isinstance(result, dict) and "tag" in result:
            self._followers[writer] = str(result["tag"])
        else:
            self._tell()  # a definition changes without a state
        await writer.drain()
        return False

    async def _watch(self, number: int, writer: asyncio.StreamWriter) -> None:
        changes = _Changes()
        stop = self._supervisor.listen(changes.add)
        try:
            now: list[Json] = [status_to_json(status) for status in self._supervisor.list()]
            writer.write(encode({"id": number, "result": now}))
            await writer.drain()
            while True:
                for status in await changes.take():
                    writer.write(encode({"event": status_to_json(status)}))
                await writer.drain()
        finally:
            stop()

    async def _call(self, request: Request) -> Json:
        if request.method in _READS:
            return self._read(request)
        supervisor = self._supervisor
        match request.method:
            case "define":
                supervisor.define(spec_from_json(request.params.get("spec")))
                return None
            case "remove":
                await supervisor.remove(_name(request))
                return None
            case "start":
                return status_to_json(await supervisor.start(_name(request)))
            case "stop":
                return status_to_json(await supervisor.stop(_name(request)))
            case "restart":
                return status_to_json(await supervisor.restart(_name(request)))
        raise InputError(f"unknown method {request.method!r}", where="supervisor")

    def _read(self, request: Request) -> Json:
        if request.method == "list" and "known" in request.params:
            return self._unless_known(request.params["known"])
        if request.method == "list":
            return [status_to_json(status) for status in self._supervisor.list()]
        if request.method == "status":
            status = self._supervisor.status(_name(request))
            return None if status is None else status_to_json(status)
        lines = request.params.get("lines")
        if not isinstance(lines, int) or isinstance(lines, bool):
            raise InputError("`lines` is a whole number", where="supervisor")
        return list(self._supervisor.log(_name(request), lines))

    def _unless_known(self, known: Json) -> JsonObject:
        """Every unit's status with a tag; no `units` for who has them by that tag already."""
        tag = self._present()
        units: Json = None if known == tag else [status_to_json(status) for status in self._tagged]
        return {"tag": tag, "units": units}

    def _present(self) -> str:
        """The tag of what stands now."""
        now = self._supervisor.list()
        if now != self._tagged:
            self._tag, self._tagged = next(self._tags), now
        return self._tag

    def _tell(self) -> None:
        present = self._present() if self._followers else ""
        for writer in [writer for writer, tag in self._followers.items() if tag != present]:
            del self._followers[writer]
            writer.write(encode({"changed": True}))

    async def _keep_telling(self) -> None:
        """For what might change without anybody's word."""
        while True:
            await self._supervisor.clock.sleep(_TELL_S)
            self._tell()
