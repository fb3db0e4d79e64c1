"""An event socket that says what a test's transcript says. It knows nothing of calls: `lab/voice` does.

What it says it says in pieces of `piece` octets, so that the client never sees a message whole.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Self

from tests.sip.freeswitch.events import framed

PASSWORD = "hunter2"
Handler = Callable[["Talk", str, dict[str, str]], Awaitable[bool]]
"""Of a command and its headers; True: it was answered."""


class Talk:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, piece: int) -> None:
        self.reader, self.writer, self._piece = reader, writer, piece

    async def say(self, octets: bytes) -> None:
        for at in range(0, len(octets), self._piece):
            self.writer.write(octets[at : at + self._piece])
            await self.writer.drain()

    async def reply(self, text: str, *headers: str) -> None:
        await self.say("\n".join(("Content-Type: command/reply", f"Reply-Text: {text}", *headers, "", "")).encode())

    async def respond(self, text: str) -> None:
        octets = text.encode()
        await self.say(f"Content-Type: api/response\nContent-Length: {len(octets)}\n\n".encode() + octets)

    async def event(self, name: str, body: str = "", form: str = "plain", **headers: str) -> None:
        from tests.sip.freeswitch import events

        found = {"Event-Name": name, **{key.replace("_", "-"): value for key, value in headers.items()}}
        await self.say(events.plain(found, body) if form == "plain" else events.as_json(found, body))

    def cut(self) -> None:
        self.writer.transport.abort()


class Switch:
    """`async with Switch(handler) as switch:` it listens at 127.0.0.1:`switch.port`. `said`: all that it was told."""

    def __init__(self, handler: Handler | None = None, *, piece: int = 7, rude: bool = False, port: int = 0) -> None:
        self._handler, self._piece, self._rude = handler, piece, rude
        self.port = port
        self.said: list[str] = []
        self.talks: list[Talk] = []

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for talk in self.talks:
            talk.cut()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talk = Talk(reader, writer, self._piece)
        self.talks.append(talk)
        try:
            if self._rude:
                await talk.say(framed("text/rude-rejection", b"Access Denied, go away.\n"))
                return
            await talk.say(b"Content-Type: auth/request\n\n")
            while await self._one(talk):
                pass
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _one(self, talk: Talk) -> bool:
        lines = (await talk.reader.readuntil(b"\n\n")).decode().strip().split("\n")
        command, headers = lines[0], dict(line.split(": ", 1) for line in lines[1:])
        self.said.append(command)
        if command.startswith(("auth ", "userauth ")):
            good = command in {f"auth {PASSWORD}", f"userauth alice@voice.test:{PASSWORD}"}
            await talk.reply("+OK accepted" if good else "-ERR invalid")
            return good
        if self._handler is not None and await self._handler(talk, command, headers):
            return True
        if command.startswith("api "):
            await talk.respond(f"-ERR {command[4:].split()[0]} Command not found!\n")
        elif command.startswith(("event ", "filter ", "nixevent ")):
            await talk.reply("+OK")
        else:
            await talk.reply("-ERR command not found")
        return True
