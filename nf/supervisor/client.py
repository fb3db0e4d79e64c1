"""What drivers use: the units contract over the supervisor's socket.

States are asked for every second by many: these questions share a connection, on which the supervisor says when there
is something new to ask for. Every other call has a connection of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from pathlib import Path

from nf.contracts.json import Json, JsonObject
from nf.contracts.units import UnitSpec, UnitStatus
from nf.errors import InputError, UnavailableError
from nf.supervisor.protocol import (
    MAX_LINE_BYTES,
    decode_line,
    encode,
    error_from_json,
    spec_to_json,
    status_from_json,
    statuses_from_json,
    unit_name,
)
from nf.supervisor.standing import Standing, dial

_RETRY_FIRST_S, _RETRY_LAST_S = 0.05, 1.0


class SupervisorClient:
    """Implements `nf.contracts.units.Units`. It survives a restart of the supervisor.

    Every call raises UnavailableError when no supervisor answers.
    """

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self._standing = Standing(socket)

    async def define(self, spec: UnitSpec) -> None:
        await self._call("define", {"spec": spec_to_json(spec)})

    async def remove(self, name: str) -> None:
        await self._call("remove", {"name": name})

    async def start(self, name: str) -> UnitStatus:
        return status_from_json(await self._call("start", {"name": name}))

    async def stop(self, name: str) -> UnitStatus:
        return status_from_json(await self._call("stop", {"name": name}))

    async def restart(self, name: str) -> UnitStatus:
        return status_from_json(await self._call("restart", {"name": name}))

    async def status(self, name: str) -> UnitStatus | None:
        unit_name(name)
        return next((status for status in await self.list() if status.name == name), None)

    async def list(self) -> tuple[UnitStatus, ...]:
        return await self._standing.ask()

    async def log(self, name: str, lines: int = 50) -> tuple[str, ...]:
        result = await self._call("log", {"name": name, "lines": lines})
        return tuple(str(line) for line in result) if isinstance(result, list) else ()

    async def watch(self) -> AsyncIterator[UnitStatus]:
        """Every change of state from now on, for as long as the caller iterates.

        When the supervisor is restarted it connects anew and gives what differs from what was last seen.
        """
        known: dict[str, UnitStatus] | None = None
        pause = _RETRY_FIRST_S
        while True:
            with contextlib.suppress(UnavailableError):
                async with self._connected() as (reader, writer):
                    now = statuses_from_json(await self._exchange(reader, writer, "watch", {}))
                    changed = () if known is None else tuple(s for s in now if known.get(s.name) != s)
                    known = {status.name: status for status in now}
                    pause = _RETRY_FIRST_S
                    for status in changed:
                        yield status
                    async for status in _events(reader):
                        known[status.name] = status
                        yield status
            await asyncio.sleep(pause)
            pause = min(pause * 2, _RETRY_LAST_S)

    async def _call(self, method: str, params: JsonObject) -> Json:
        try:
            async with self._connected() as (reader, writer):
                return await self._exchange(reader, writer, method, params)
        finally:
            self._standing.doubt()

    async def _exchange(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, method: str, params: JsonObject
    ) -> Json:
        try:
            writer.write(encode({"id": next(self._numbers), "method": method, "params": params}))
            await writer.drain()
            line = await reader.readuntil(b"\n")
        except (OSError, asyncio.IncompleteReadError) as error:
            raise UnavailableError(
                f"the supervisor went away during {method}", where=str(self._socket), remedy="repeat it"
            ) from error
        except asyncio.LimitOverrunError as error:
            raise InputError("the supervisor's answer is too long", where=str(self._socket)) from error
        answer = decode_line(line)
        problem = answer.get("error")
        if isinstance(problem, dict):
            raise error_from_json(problem)
        return answer.get("result")

    @contextlib.asynccontextmanager
    async def _connected(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        reader, writer = await self._connect()
        try:
            yield reader, writer
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_unix_connection(sock=await dial(self._socket), limit=16 * MAX_LINE_BYTES)


async def _events(reader: asyncio.StreamReader) -> AsyncIterator[UnitStatus]:
    while True:
        try:
            line = await reader.readuntil(b"\n")
        except (OSError, asyncio.IncompleteReadError):
            return
        yield status_from_json(decode_line(line).get("event"))
