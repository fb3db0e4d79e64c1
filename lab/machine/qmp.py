"""qemu's machine protocol (QMP): one JSON object a line. The codec is sans-IO, the client small."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from lab.machine.sockets import end
from nf.errors import DeadlineError, DriverError, IntegrityError, UnavailableError

MAX_LINE = 1 << 20
_ANSWER_S = 30.0


@dataclass(frozen=True, slots=True)
class Greeting:
    version: str


@dataclass(frozen=True, slots=True)
class Answer:
    """`error` is empty when the command succeeded."""

    id: int | None
    value: Any = None
    error: str = ""


@dataclass(frozen=True, slots=True)
class Event:
    """`at`: seconds since the epoch, by the host."""

    name: str
    at: float
    data: Mapping[str, Any] = field(default_factory=dict)


Message = Greeting | Answer | Event


class Decoder:
    """Octets in, messages out."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[Message]:
        """Raises IntegrityError for what is no QMP; what came before it in `data` is lost then."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if max(map(len, (*lines, self._rest))) > MAX_LINE:
            raise _broken("a line without an end")
        return [message for line in lines if line.strip() if (message := decode(line))]


def decode(line: bytes) -> Message | None:
    """One line; None for a kind of message that this client does not know. Raises IntegrityError."""
    try:
        told = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise _broken(str(error)) from None
    if not isinstance(told, dict):
        raise _broken("no object")
    try:
        return _message(told)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise _broken(repr(error)) from None


def _message(told: dict[str, Any]) -> Message | None:
    if "QMP" in told:
        number = told["QMP"]["version"]["qemu"]
        return Greeting(".".join(str(int(number[part])) for part in ("major", "minor", "micro")))
    if "event" in told:
        stamp = told["timestamp"]
        at = int(stamp["seconds"]) + int(stamp["microseconds"]) / 1e6
        return Event(str(told["event"]), at, dict(told.get("data") or {}))
    number = told.get("id")
    if number is not None and (isinstance(number, bool) or not isinstance(number, int)):
        raise ValueError(number)
    if "error" in told:
        return Answer(number, error=str(told["error"]["desc"]) or "no reason given")
    return Answer(number, value=told["return"]) if "return" in told else None


def encode(command: str, number: int, arguments: Mapping[str, Any]) -> bytes:
    request = {"execute": command, "id": number} | ({"arguments": dict(arguments)} if arguments else {})
    return json.dumps(request).encode() + b"\n"


def _broken(why: str) -> IntegrityError:
    return IntegrityError(f"this is no QMP: {why[:200]}", where="qemu", remedy="is it qemu that answers?")


class Monitor:
    """The end of the protocol at which qemu arrives: it connects when it starts. `events`: of earlier ones."""

    def __init__(self, socket: Path, events: Sequence[Event] = ()) -> None:
        self._socket = socket
        self._server: asyncio.Server | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._waiting: dict[int, asyncio.Future[Answer]] = {}
        self._numbers = itertools.count(1)
        self._there = asyncio.Event()
        self._gone = asyncio.Event()
        self._changed = asyncio.Condition()
        self.events: list[Event] = list(events)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_unix_server(self._serve, self._socket, limit=MAX_LINE)
        return self

    async def __aexit__(self, *_: object) -> None:
        await end(self._server, self._writer)
        self._socket.unlink(missing_ok=True)

    async def execute(self, command: str, **arguments: Any) -> Any:
        """What qemu returned. Raises DriverError when it refuses, UnavailableError when it is gone, DeadlineError."""
        try:
            async with asyncio.timeout(_ANSWER_S):
                await self._there.wait()
                answer = await self._ask(command, arguments)
        except TimeoutError:
            raise DeadlineError(f"qemu does not answer {command}", where="qemu", remedy="kill it") from None
        if answer.error:
            raise DriverError(f"{command}: {answer.error}", where="qemu")
        return answer.value

    async def await_event(self, name: str, *, after: int = 0) -> Event:
        """The first event of that name among `events[after:]` and those to come. Raises UnavailableError."""
        async with self._changed:
            while True:
                found = next((event for event in self.events[after:] if event.name == name), None)
                if found is not None:
                    return found
                if self._gone.is_set():
                    raise _unavailable()
                await self._changed.wait()

    async def gone(self) -> None:
        """When qemu is, and all that it said was heard."""
        await self._gone.wait()

    async def _ask(self, command: str, arguments: Mapping[str, Any]) -> Answer:
        if self._writer is None or self._gone.is_set():
            raise _unavailable()
        number = next(self._numbers)
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        try:
            self._writer.write(encode(command, number, arguments))
            await self._writer.drain()
            return await future
        except OSError:
            raise _unavailable() from None
        finally:
            del self._waiting[number]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._writer is not None:
            writer.close()
            return
        self._writer = writer
        decoder = Decoder()
        try:
            while data := await reader.read(65536):
                for message in decoder.feed(data):
                    await self._receive(message)
        except (OSError, IntegrityError):
            pass  # whoever waits is told below
        finally:
            writer.close()
            self._gone.set()
            self._there.set()
            for future in self._waiting.values():
                if not future.done():
                    future.set_exception(_unavailable())
            async with self._changed:
                self._changed.notify_all()

    async def _receive(self, message: Message) -> None:
        match message:
            case Greeting():
                assert self._writer is not None  # noqa: S101  # set before anything is read
                self._writer.write(encode("qmp_capabilities", 0, {}))
            case Answer(id=0):
                self._there.set()
            case Answer(id=int(number)) if number in self._waiting and not self._waiting[number].done():
                self._waiting[number].set_result(message)
            case Event():
                self.events.append(message)
                async with self._changed:
                    self._changed.notify_all()
            case _:
                pass


def _unavailable() -> UnavailableError:
    return UnavailableError("qemu is gone", where="qemu", remedy="see the machine's qemu.log")
