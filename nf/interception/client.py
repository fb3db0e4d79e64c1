"""The contract `nf.contracts.interception` over a point's socket, as `lawful_intercept` gets it: a connection."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections import deque
from collections.abc import AsyncIterator
from pathlib import Path

from nf.contracts.interception import Delivery, IdentityKind, InterceptionPoint, Order, PointStatus
from nf.contracts.json import JsonObject
from nf.errors import DeniedError, InputError, NfError, UnavailableError
from nf.interception.frames import FrameError, Frames, Kind, decode_delivery, json_body, message, order_json, read_order

_READ = 1 << 16
_MOST = 1024


class InterceptionClient:
    """An `InterceptionPoint`. It reads no further while `_MOST` deliveries are not taken: the process counts then."""

    def __init__(self, name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.name = name
        self._reader, self._writer = reader, writer
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[JsonObject]] = {}
        self._hello: asyncio.Future[JsonObject] = asyncio.get_running_loop().create_future()
        self._waiting: deque[Delivery] = deque()
        self._news, self._room = asyncio.Event(), asyncio.Event()
        self._reading = asyncio.create_task(self._read())
        self.identities: frozenset[IdentityKind] = frozenset()
        self.copies: frozenset[str] = frozenset()

    async def open(self) -> None:
        """Raises DeniedError."""
        try:
            hello = await self._hello
        except UnavailableError:
            await self.close()
            raise _denied(self.name) from None
        identities, copies = hello.get("identities"), hello.get("copies")
        self.identities = frozenset(map(IdentityKind, identities if isinstance(identities, list) else ()))
        self.copies = frozenset(map(str, copies if isinstance(copies, list) else ()))

    async def resume(self, word: str) -> tuple[Order, ...]:
        found = (await self._ask({"do": "resume", "word": word})).get("orders")
        try:
            return tuple(read_order(one) for one in (found if isinstance(found, list) else ()))
        except FrameError:
            raise _gone(self.name) from None

    async def copies_to(self, address: str) -> None:
        await self._ask({"do": "copies-to", "address": address})

    async def settle(self) -> None:
        await self._ask({"do": "settle"})

    async def activate(self, order: Order) -> None:
        await self._ask({"do": "activate", "order": order_json(order)})

    async def deactivate(self, reference: str) -> None:
        with contextlib.suppress(UnavailableError):  # its orders are gone with it
            await self._ask({"do": "deactivate", "reference": reference})

    async def status(self) -> PointStatus:
        answer = await self._ask({"do": "status"})
        sources, copies = answer.get("sources"), answer.get("copies")
        return PointStatus(
            {name: up is True for name, up in sources.items()} if isinstance(sources, dict) else {},
            {name: there is True for name, there in copies.items()} if isinstance(copies, dict) else {},
            int(str(answer.get("orders"))),
        )

    async def deliveries(self) -> AsyncIterator[Delivery]:
        while self._waiting or not self._reading.done():
            while self._waiting:
                delivery = self._waiting.popleft()
                self._room.set()
                yield delivery
            self._news.clear()
            if not self._reading.done():
                await self._news.wait()

    async def close(self, *, back: bool = False) -> None:
        if not back and not self._reading.done():
            with contextlib.suppress(OSError):
                self._writer.write(message(Kind.REQUEST, {"id": 0, "do": "leave"}))
        self._reading.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._reading
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    async def _ask(self, request: JsonObject) -> JsonObject:
        """Raises InputError with what is wrong, UnavailableError."""
        if self._reading.done():
            raise _gone(self.name)
        number = next(self._numbers)
        answer: asyncio.Future[JsonObject] = asyncio.get_running_loop().create_future()
        self._answers[number] = answer
        try:
            self._writer.write(message(Kind.REQUEST, {"id": number, **request}))
            await self._writer.drain()
            found = await answer
        except OSError:
            raise _gone(self.name) from None
        finally:
            self._answers.pop(number, None)
        if "error" in found:
            raise InputError(str(found["error"]), where=_where(self.name))
        return found

    async def _read(self) -> None:
        frames = Frames()
        try:
            while data := await self._reader.read(_READ):
                for kind, body in frames.receive(data):
                    if kind is Kind.ANSWER:
                        self._answered(json_body(body))
                    else:
                        await self._put(decode_delivery(kind, body))
        except (OSError, FrameError):
            pass  # it is over either way
        finally:
            for waiting in (self._hello, *self._answers.values()):
                if not waiting.done():
                    waiting.set_exception(_gone(self.name))
            self._hello.exception()  # told to whoever opened it, if anybody did
            # Whoever waits looks whether this is done, which it is a turn later.
            asyncio.get_running_loop().call_soon(self._news.set)

    async def _put(self, delivery: Delivery) -> None:
        while len(self._waiting) >= _MOST:
            self._room.clear()
            await self._room.wait()
        self._waiting.append(delivery)
        self._news.set()

    def _answered(self, answer: JsonObject) -> None:
        if not self._hello.done():
            self._hello.set_result(answer)
            return
        number = answer.get("id")
        waiting = self._answers.get(number) if isinstance(number, int) else None
        if waiting is not None and not waiting.done():
            waiting.set_result(answer)


def _where(name: str) -> str:
    return f"interception point {name}"


def _gone(name: str) -> NfError:
    return UnavailableError("the observation process is not there", where=_where(name), remedy="connect again")


def _denied(name: str) -> NfError:
    return DeniedError("another process may call it", where=_where(name), remedy="run as its user")


async def open_point(name: str, socket: Path) -> InterceptionPoint:
    """A connection to the point whose process listens at `socket`. Raises UnavailableError, DeniedError."""
    try:
        reader, writer = await asyncio.open_unix_connection(str(socket))
    except PermissionError:
        raise _denied(name) from None
    except OSError:
        raise _gone(name) from None
    client = InterceptionClient(name, reader, writer)
    await client.open()
    return client
