"""mod_event_socket: connections, commands and their replies."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import uuid
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

from lab.voice.freeswitch import acl, api, control
from lab.voice.freeswitch.channel import Channel
from lab.voice.freeswitch.core import Switch
from lab.voice.freeswitch.esl_session import Session
from lab.voice.freeswitch.events import NAMES, Event
from lab.voice.freeswitch.journal import LEVELS, level_of
from lab.voice.freeswitch.xmlconf import params, true

FRAGMENT = "NF_VOICE_ESL_FRAGMENT"
"""Environment: N writes N bytes at a time, random[:SEED] as many as chance says. For tests of clients."""

GOODBYE = "Disconnected, goodbye.\nSee you at ClueCon! http://www.cluecon.com/\n"
REJECTED = "Access Denied, go away.\n"
_UNREAD = 16 << 20
"""Bytes that a client may leave unread; more, and its connection is closed."""


def pieces(data: bytes, how: str) -> Iterator[bytes]:
    """As the environment asks for it."""
    kind, _, seed = how.partition(":")
    chance = random.Random(seed or None)  # noqa: S311 - sizes of writes
    while data:
        size = chance.randint(1, 40) if kind == "random" else int(kind)
        yield data[:size]
        data = data[size:]


class Connection:
    """One client."""

    def __init__(self, switch: Switch, settings: dict[str, str], writer: asyncio.StreamWriter) -> None:
        self.switch, self.settings = switch, settings
        self.session = Session()
        self._writer = writer
        self._authorized = False
        self._running = True
        self._linger: float | None = None
        self._how = os.environ.get(FRAGMENT, "")
        self._out: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closing = asyncio.Event()

    async def run(self, reader: asyncio.StreamReader) -> None:
        """Until the client goes, or is sent away."""
        writing = asyncio.ensure_future(self._write())
        address = self._writer.get_extra_info("peername")[0]
        lists = self.settings.get("apply-inbound-acl", "loopback.auto").split(",")
        refused = next((one for one in lists if not acl.allowed(self.switch.registry, one, address)), None)
        try:
            if refused is not None:
                self.switch.journal.warning(f'IP {address} Rejected by acl "{refused}"')
                self.send({"Content-Type": "text/rude-rejection"}, REJECTED)
            else:
                self.send({"Content-Type": "auth/request"})
                await self._serve(reader)
            self._goodbye()
        finally:
            self.switch.listeners.discard(self._event)
            self.switch.journal.listeners.discard(self._log)
            self._out.put_nowait(None)
            with contextlib.suppress(OSError, TimeoutError):
                await asyncio.wait_for(writing, 5)
            self._writer.close()

    async def _serve(self, reader: asyncio.StreamReader) -> None:
        self.switch.listeners.add(self._event)
        closing = asyncio.ensure_future(self._closing.wait())
        try:
            while self._running:
                reading = asyncio.ensure_future(_packet(reader))
                await asyncio.wait({reading, closing}, return_when=asyncio.FIRST_COMPLETED)
                if not reading.done():
                    reading.cancel()
                    return
                packet = reading.result()
                if packet is None:
                    return
                await self._command(*packet)
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            return
        finally:
            closing.cancel()

    def close(self) -> None:
        self._closing.set()

    def _goodbye(self) -> None:
        head = {"Content-Type": "text/disconnect-notice"}
        if self.session.mine:
            head |= {"Controlled-Session-UUID": self.session.mine, "Content-Disposition": "disconnect"}
        self.send(head, GOODBYE)

    # Writing.

    def send(self, headers: dict[str, str], body: str = "") -> None:
        data = body.encode()
        made = headers | ({"Content-Length": str(len(data))} if body else {})
        self._out.put_nowait("".join(f"{name}: {value}\n" for name, value in made.items()).encode() + b"\n" + data)

    def reply(self, text: str, more: dict[str, str] | None = None) -> None:
        self.send({"Content-Type": "command/reply", "Reply-Text": text} | (more or {}))

    async def _write(self) -> None:
        try:
            while (data := await self._out.get()) is not None:
                if not self._how:
                    self._writer.write(data)
                    if self._writer.transport.get_write_buffer_size() > _UNREAD:
                        self.close()
                        return
                    continue
                for piece in pieces(data, self._how):
                    self._writer.write(piece)
                    await self._writer.drain()
                    await asyncio.sleep(0)
            await self._writer.drain()
        except OSError:
            self.close()

    def _event(self, event: Event, channel: Channel | None) -> None:
        if self._authorized and self.session.wants(event):
            self._out.put_nowait(event.envelope(self.session.form))
        ended = event.name == "CHANNEL_DESTROY" and channel is not None and channel.uuid == self.session.mine
        if ended and channel is not None:
            self._controlled_ended(channel)

    def _controlled_ended(self, channel: Channel) -> None:
        if self._linger is None:
            self.close()
            return
        head = {"Content-Type": "text/disconnect-notice", "Controlled-Session-UUID": channel.uuid}
        head |= {"Content-Disposition": "linger", "Channel-Name": channel.name, "Linger-Time": str(int(self._linger))}
        self.send(head | {"Content-Length": "0"})
        if self._linger >= 0:
            asyncio.get_running_loop().call_later(self._linger, self.close)

    def _log(self, level: int, line: str) -> None:
        if level <= self.session.log_level:
            head = {"Content-Type": "log/data", "Content-Length": str(len(line.encode())), "Log-Level": str(level)}
            head |= {"Text-Channel": "0", "Log-File": "model.py", "Log-Func": "write", "Log-Line": "1", "User-Data": ""}
            lines = "".join(f"{name}: {value}\n" for name, value in head.items())
            self._out.put_nowait(f"{lines}\n{line}".encode())

    # Commands.

    async def _command(self, command: str, headers: dict[str, str], body: str) -> None:
        lowered = command.lower()
        if lowered.startswith(("exit", "...")):
            self._running = False
            self.reply("+OK bye")
            return
        if not self._authorized:
            self._authorize(command)
            return
        word, _, rest = command.partition(" ")
        handler = _COMMANDS.get(word.lower())
        if handler is None:
            self.reply("-ERR command not found")
            return
        done = handler(self, rest.strip(), headers, body)
        text = await done if isinstance(done, Coroutine) else done
        if text is not None:
            self.reply(text)

    def _authorize(self, command: str) -> None:
        word, _, rest = command.partition(" ")
        if word.lower() == "auth" and rest:
            self._authorized = rest == self.settings.get("password", "ClueCon")
            self.reply("+OK accepted" if self._authorized else "-ERR invalid")
            self._running = self._authorized
        elif word.lower() == "userauth" and rest:
            self._user_authorize(rest)
        else:
            self.reply("-ERR command not found")

    def _user_authorize(self, text: str) -> None:
        """USER@DOMAIN:PASSWORD or USER:PASSWORD@DOMAIN."""
        user, _, domain = text.partition("@")
        domain, _, password = domain.partition(":")
        user, colon, before = user.partition(":")
        password = before if colon else password
        known = self.switch.registry.user(user, domain)
        given = known[0] if known is not None else {}
        if not password or given.get("esl-password") != password:
            self.reply("-ERR invalid")
            self._running = False
            return
        self._authorized = True
        events, apis = given.get("esl-allowed-events"), given.get("esl-allowed-api")
        self.session.log_allowed = true(given.get("esl-allowed-log", "true"))
        if events:
            self.session.allowed_events = frozenset(
                one.upper() if one.upper() in NAMES else one for one in events.replace(",", " ").split()
            )
        if apis:
            self.session.allowed_apis = frozenset(apis.replace(",", " ").split())
        more = {"Allowed-Events": events or "all", "Allowed-API": apis or "all"}
        self.reply("+OK accepted", more | {"Allowed-LOG": str(self.session.log_allowed).lower()})

    def permitted(self, text: str) -> bool:
        """Whether the API command is among those that a user of the directory may use."""
        name = text.partition(" ")[0]
        return not self.session.allowed_apis or bool({name, "all", "any"} & self.session.allowed_apis)

    async def api(self, text: str, _headers: dict[str, str], _body: str) -> str | None:
        if not self.permitted(text):
            return "-ERR permission denied"
        body = await api.run(self.switch, text)
        self.send({"Content-Type": "api/response"}, body or "-ERR no reply\n")
        return None

    def bgapi(self, text: str, headers: dict[str, str], _body: str) -> str | None:
        if not self.permitted(text):
            return "-ERR permission denied"
        job = headers.get("job-uuid") or str(uuid.uuid4())
        self.reply(f"+OK Job-UUID: {job}", {"Job-UUID": job})
        task = asyncio.ensure_future(self._job(job, text))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return None

    async def _job(self, job: str, text: str) -> None:
        body = await api.run(self.switch, text)
        name, _, arguments = text.partition(" ")
        headers = {"Job-UUID": job, "Job-Command": name}
        if arguments:
            headers["Job-Command-Arg"] = arguments
        self.switch.fire("BACKGROUND_JOB", headers, body or "-ERR no reply\n")

    def log(self, text: str, _headers: dict[str, str], _body: str) -> str:
        if not self.session.log_allowed:
            return "-ERR permission denied"
        level = level_of(text) if text else LEVELS["DEBUG"]
        if level is None:
            return "-ERR invalid log level"
        self.session.log_level = level
        self.switch.journal.listeners.add(self._log)
        return f"+OK log level {text} [{level}]"

    def nolog(self, _text: str, _headers: dict[str, str], _body: str) -> str:
        if self.session.log_level < 0:
            return "-ERR not loging"
        self.session.log_level = -1
        return "+OK no longer logging"

    def myevents(self, text: str, _headers: dict[str, str], _body: str) -> str:
        name, _, form = text.partition(" ")
        if not name:
            return "-ERR command not found"
        if self.switch.find(name) is None:
            return "-ERR invalid uuid"
        return self.session.myevents(name, form)

    def linger(self, text: str, _headers: dict[str, str], _body: str) -> str:
        if not self.session.mine:
            return "-ERR not controlling a session"
        self._linger = float(text) if text.isdecimal() else -1.0
        return f"+OK will linger {text} seconds" if text.isdecimal() else "+OK will linger"

    def nolinger(self, _text: str, _headers: dict[str, str], _body: str) -> str:
        if not self.session.mine:
            return "-ERR not controlling a session"
        self._linger = None
        return "+OK will not linger"

    def divert(self, text: str, _headers: dict[str, str], _body: str) -> str:
        channel = self.switch.find(self.session.mine)
        if channel is None:
            return "-ERR not controlling a session."
        if not text:
            return "-ERR missing value."
        channel.divert = text.lower() == "on"
        return "+OK events diverted" if channel.divert else "+OK events not diverted"

    def getvar(self, text: str, _headers: dict[str, str], _body: str) -> str:
        channel = self.switch.find(self.session.mine)
        return channel.value(text) if channel is not None else "-ERR command not found"

    def sendevent(self, text: str, headers: dict[str, str], body: str) -> str:
        name = str(uuid.uuid4())
        kind = text.upper() if text.upper() in NAMES else "CUSTOM"
        given = {"-".join(part.capitalize() for part in key.split("-")): value for key, value in headers.items()}
        self.switch.fire(kind, {**given, "Command": f"sendevent {text}", "Event-UUID": name}, body)
        return f"+OK {name}"

    def sendmsg(self, text: str, headers: dict[str, str], body: str) -> str:
        name = text or headers.get("session-id", "") or self.session.mine
        channel = self.switch.find(name)
        if channel is None:
            return f"-ERR invalid session id [{name}]"
        control.message(channel, headers, body)
        return "+OK"


Handler = Callable[[Connection, str, dict[str, str], str], str | Coroutine[Any, Any, str | None] | None]
_COMMANDS: dict[str, Handler] = {
    "api": Connection.api,
    "bgapi": Connection.bgapi,
    "event": lambda one, text, _headers, _body: one.session.event(text.split()),
    "nixevent": lambda one, text, _headers, _body: one.session.nixevent(text.split()),
    "noevents": lambda one, _text, _headers, _body: one.session.noevents(),
    "filter": lambda one, text, _headers, _body: one.session.filter(text),
    "log": Connection.log,
    "nolog": Connection.nolog,
    "myevents": Connection.myevents,
    "linger": Connection.linger,
    "nolinger": Connection.nolinger,
    "divert_events": Connection.divert,
    "getvar": Connection.getvar,
    "sendevent": Connection.sendevent,
    "sendmsg": Connection.sendmsg,
}


async def _packet(reader: asyncio.StreamReader) -> tuple[str, dict[str, str], str] | None:
    """A command with its headers (names in lower case) and body; None: the client has gone."""
    lines: list[str] = []
    while True:
        line = await reader.readline()
        if not line:
            return None
        text = line.decode("utf-8", "replace").rstrip("\r\n")
        if text:
            lines.append(text)
        elif lines:
            break
    headers = {}
    for text in lines[1:]:
        name, _, value = text.partition(":")
        headers[name.strip().lower()] = value.strip()
    length = headers.get("content-length", "")
    body = await reader.readexactly(int(length)) if length.isdecimal() else b""
    return lines[0].strip(), headers, body.decode("utf-8", "replace")


class Listener:
    """The server of event_socket.conf."""

    def __init__(self, switch: Switch) -> None:
        self.switch = switch
        self._server: asyncio.Server | None = None
        self._connections: set[Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        config = self.switch.registry.configuration("event_socket.conf")
        if config is None:
            self.switch.journal.error("Open of event_socket.conf failed")
        settings = params(config)
        host = settings.get("listen-ip") or "127.0.0.1"
        port = int(settings.get("listen-port") or 8021)
        while self._server is None:
            try:
                self._server = await asyncio.start_server(self._serve, host, port)
            except OSError:
                self.switch.journal.error(f"Socket Error! Could not listen on {host}:{port}")
                await asyncio.sleep(1)
        self.switch.journal.debug(f"Socket up listening on {host}:{port}")

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        settings = params(self.switch.registry.configuration("event_socket.conf"))
        connection = Connection(self.switch, settings, writer)
        task = asyncio.current_task()
        self._connections.add(connection)
        if task is not None:
            self._tasks.add(task)
        try:
            await connection.run(reader)
        finally:
            self._connections.discard(connection)
            self._tasks.discard(task) if task is not None else None

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for one in list(self._connections):
            one.close()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=6)
