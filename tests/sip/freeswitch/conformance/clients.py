"""Two clients that can do the same: ours, and `genesis` in the interpreter that has it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, Self

from sip.freeswitch.client import EslClient, Subscription
from sip.freeswitch.codec import Event
from sip.freeswitch.errors import CommandRefused
from tests.sip.freeswitch.daemons import LIMIT_S
from tests.sip.freeswitch.other_client import python

Heard = dict[str, str]
"""An event's headers, and its body as `_body`."""


class Client(Protocol):
    name: str
    forms: tuple[str, ...]
    """Formats of events that it hears."""

    async def api(self, command: str) -> str: ...

    async def at_once(self, commands: Sequence[str]) -> list[str]: ...

    async def job(self, command: str) -> str: ...

    async def hear(self, form: str, subclass: str, filters: Sequence[tuple[str, str]]) -> None:
        """From now on."""

    async def send(self, subclass: str, headers: dict[str, str], body: str) -> None: ...

    async def heard(self, count: int) -> list[Heard]:
        """So many of them, as they come."""


class Ours:
    name = "ours"
    forms = ("plain", "json")

    def __init__(self, host: str, port: int, password: str) -> None:
        self._client = EslClient(host, port, password, timeout_s=LIMIT_S)

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.__aexit__()

    async def api(self, command: str) -> str:
        try:
            return await self._client.api(command)
        except CommandRefused as error:
            return error.message.partition("was refused: ")[2]

    async def at_once(self, commands: Sequence[str]) -> list[str]:
        return [*await asyncio.gather(*map(self.api, commands))]

    async def job(self, command: str) -> str:
        try:
            return await self._client.bgapi(command)
        except CommandRefused as error:
            return error.message.partition("was refused: ")[2]

    async def hear(self, form: str, subclass: str, filters: Sequence[tuple[str, str]]) -> None:
        wanted = Subscription((f"CUSTOM {subclass}",), form, tuple(filters))  # type: ignore[arg-type]
        await self._client.subscribe(wanted)

    async def send(self, subclass: str, headers: dict[str, str], body: str) -> None:
        await self._client.command("sendevent CUSTOM", (("Event-Subclass", subclass), *headers.items()), body)

    async def heard(self, count: int) -> list[Heard]:
        found: list[Heard] = []
        async with asyncio.timeout(LIMIT_S):
            async for one in self._client.events():
                if isinstance(one, Event):
                    found.append({**one.headers, "_body": one.body})
                if len(found) == count:
                    break
        return found


class Genesis:
    """Drives `genesis_client.py`: one JSON array for each call, one JSON value for each answer."""

    name = "genesis"
    forms = ("plain",)

    def __init__(self, host: str, port: int, password: str) -> None:
        self._place = (host, str(port))
        self._password = password

    async def __aenter__(self) -> Self:
        script = Path(__file__).with_name("genesis_client.py")
        self._process = await asyncio.create_subprocess_exec(
            python(),
            str(script),
            *self._place,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=16 * 1024 * 1024,
        )
        await self._call("connect", self._password)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()
        async with asyncio.timeout(LIMIT_S):
            await self._process.wait()

    async def _call(self, *what: Any) -> Any:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(json.dumps(what).encode() + b"\n")
        async with asyncio.timeout(LIMIT_S):
            await stdin.drain()
            line = await stdout.readline()
        assert line, "genesis ended"
        return json.loads(line)

    async def api(self, command: str) -> str:
        return str(await self._call("api", command))

    async def at_once(self, commands: Sequence[str]) -> list[str]:
        found: list[str] = await self._call("at_once", [*commands])
        return found

    async def job(self, command: str) -> str:
        return str(await self._call("job", command))

    async def hear(self, form: str, subclass: str, filters: Sequence[tuple[str, str]]) -> None:
        await self._call("hear", form, subclass, [*filters])

    async def send(self, subclass: str, headers: dict[str, str], body: str) -> None:
        await self._call("send", subclass, headers, body)

    async def heard(self, count: int) -> list[Heard]:
        found: list[Heard] = await self._call("heard", count)
        return found
