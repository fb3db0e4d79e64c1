"""VtySocket: one connection to one FRR daemon. A call costs about 0.04 ms; forking `vtysh` costs about 50 ms."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from headend.multicast.frr.vty import Reply, ReplyParser, encode_command
from nf.contracts.json import JsonObject
from nf.errors import DriverError

TIMEOUT_S = 5.0
_CHUNK = 1 << 16


class VtySocket:
    """Commands are answered in order. Made by `open_vty`; privileged ("enable") from the start."""

    def __init__(self, path: Path, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._path = path
        self._reader = reader
        self._writer = writer
        self._parser = ReplyParser()
        self._replies: deque[Reply] = deque()

    async def command(self, command: str) -> Reply:
        """Raises DriverError when the daemon does not answer; a refusal is a reply whose `ok` is false."""
        try:
            async with asyncio.timeout(TIMEOUT_S):
                self._writer.write(encode_command(command))
                await self._writer.drain()
                while not self._replies:
                    data = await self._reader.read(_CHUNK)
                    if not data:
                        raise DriverError(f"closed the connection on `{command}`", where=str(self._path))
                    self._replies.extend(self._parser.receive(data))
        except (TimeoutError, OSError) as error:
            raise DriverError(f"no answer to `{command}`: {error or 'time-out'}", where=str(self._path)) from error
        return self._replies.popleft()

    async def show(self, command: str) -> str:
        """The text of a `show` command. Raises DriverError when it is refused."""
        reply = await self.command(command)
        if not reply.ok:
            raise DriverError(f"`{command}` refused: {reply.text.strip()}", where=str(self._path))
        return reply.text

    async def show_json(self, command: str) -> JsonObject:
        """The object that a `show ... json` command prints; nothing printed is an empty object."""
        text = (await self.show(command)).strip()
        try:
            value = json.loads(text or "{}")
        except ValueError as error:
            raise DriverError(f"`{command}` did not print JSON: {error}", where=str(self._path)) from error
        if not isinstance(value, dict):
            raise DriverError(f"`{command}` printed no JSON object", where=str(self._path))
        return value

    async def running_config(self) -> str:
        return await self.show("show running-config")

    async def configure(self, parents: tuple[str, ...], command: str) -> Reply:
        """One line of configuration inside the blocks `parents`; back outside of them when it returns."""
        await self.show("configure terminal")
        try:
            for parent in parents:
                reply = await self.command(parent)
                if not reply.ok:
                    return reply
            return await self.command(command)
        finally:
            await self.command("end")


@asynccontextmanager
async def open_vty(path: Path) -> AsyncIterator[VtySocket]:
    """Connect to the daemon whose vty socket is `path`. Raises DriverError when it is not there."""
    try:
        async with asyncio.timeout(TIMEOUT_S):
            reader, writer = await asyncio.open_unix_connection(path)
    except (TimeoutError, OSError) as error:
        raise DriverError(f"the daemon cannot be reached: {error}", where=str(path)) from error
    try:
        vty = VtySocket(path, reader, writer)
        await vty.command("enable")
        yield vty
    finally:
        writer.close()
        # The daemon may have gone first; then there is nothing left to wait for.
        with suppress(OSError):
            await writer.wait_closed()
