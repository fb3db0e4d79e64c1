"""Those who ask an observation point, one connection each: requests, answers, and what waits for them.

A caller that has said its word is kept when its connection ends, with its orders and what is delivered for them, until
it says the word again or `KEPT_S` is over: a process that was killed loses nothing of what happened while it was away.
One caller is kept at most, and its outbox is as bounded as ever. Nobody else learns that it is.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import itertools
from collections.abc import Callable, Iterable
from typing import Final, Protocol

from nf.clock import Clock
from nf.contracts.interception import Order
from nf.contracts.json import JsonObject
from nf.interception.frames import FrameError, Frames, Kind, encode_delivery, json_body, message, order_json
from nf.interception.outbox import Outbox

KEPT_S: Final = 30.0
"""For which orders outlive the connection of a caller that comes back: a process starts again in a third of it."""
_READ: Final = 1 << 16
_LONGEST: Final = 128


class Caller:
    """Copies of its orders are counted here, and what waits for it is in its outbox."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.outbox = Outbox()
        self.awake = asyncio.Event()
        self.sequence: dict[str, int] = {}
        self.answers: list[bytes] = []
        self.word = ""
        self.kept_until: float | None = None


class Host(Protocol):
    """An observation point, whose callers these are."""

    def hello(self) -> JsonObject: ...

    def orders_of(self, number: int) -> Iterable[Order]: ...

    async def answer(self, caller: Caller, request: JsonObject) -> JsonObject:
        """What is added to the answer. Raises ValueError with what is wrong with the request's form alone."""

    async def ended(self, number: int) -> None:
        """This caller is gone for good, and its orders with it."""


class Desk:
    def __init__(self, host: Host, clock: Clock, kept_s: float = KEPT_S) -> None:
        self._host, self._clock, self._kept_s = host, clock, kept_s
        self._callers: dict[int, Caller] = {}
        self._numbers = itertools.count(1)

    def put(self, number: int, put: Callable[[Caller], None]) -> None:
        """`put` gets the caller, if there still is one."""
        caller = self._callers.get(number)
        if caller is not None:
            put(caller)
            caller.awake.set()

    async def tick(self) -> None:
        """Who did not come back in time does not."""
        now = self._clock.monotonic()
        for caller in [one for one in self._callers.values() if one.kept_until is not None and one.kept_until <= now]:
            await self._end(caller)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, until it ends."""
        caller = Caller(next(self._numbers))
        self._callers[caller.number] = caller
        writer.write(message(Kind.ANSWER, self._host.hello()))
        sending = asyncio.create_task(_send(caller, writer))
        try:
            frames = Frames()
            while data := await reader.read(_READ):
                for kind, body in frames.receive(data):
                    if kind is not Kind.REQUEST:
                        return
                    request = json_body(body)
                    if request.get("do") == "resume" and (before := self._before(caller, request)) is not None:
                        sending.cancel()
                        caller = before
                        sending = asyncio.create_task(_send(caller, writer))
                    caller.answers.append(message(Kind.ANSWER, await self._answer(caller, request)))
                    caller.awake.set()
        except (OSError, FrameError):
            return
        finally:
            sending.cancel()
            writer.close()
            await self._gone(caller)

    def _before(self, caller: Caller, request: JsonObject) -> Caller | None:
        """Who has said this word and is away, in place of who has just come."""
        word = str(request.get("word")).encode()
        for one in self._callers.values():
            if one.kept_until is not None and hmac.compare_digest(one.word.encode(), word):
                del self._callers[caller.number]
                one.kept_until = None
                one.answers = caller.answers
                return one
        return None

    async def _gone(self, caller: Caller) -> None:
        if not caller.word:
            await self._end(caller)
            return
        for one in [one for one in self._callers.values() if one.kept_until is not None]:
            await self._end(one)
        caller.answers = []
        caller.kept_until = self._clock.monotonic() + self._kept_s

    async def _end(self, caller: Caller) -> None:
        self._callers.pop(caller.number, None)
        await self._host.ended(caller.number)

    async def _answer(self, caller: Caller, request: JsonObject) -> JsonObject:
        """Errors repeat nothing of the request."""
        answer: JsonObject = {"id": request.get("id")}
        try:
            match request.get("do"):
                case "resume":
                    caller.word = _word(request)
                    answer["orders"] = [order_json(one) for one in self._host.orders_of(caller.number)]
                case "leave":
                    caller.word = ""
                case _:
                    answer |= await self._host.answer(caller, request)
        except ValueError as error:
            answer["error"] = str(error)
        return answer


def _word(request: JsonObject) -> str:
    word = request.get("word")
    if not isinstance(word, str) or not 1 <= len(word) <= _LONGEST:
        raise ValueError("no word")
    return word


async def _send(caller: Caller, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        caller.awake.set()
        while True:
            await caller.awake.wait()
            caller.awake.clear()
            while True:
                while caller.answers:
                    writer.write(caller.answers.pop(0))
                delivery = caller.outbox.take()
                if delivery is None:
                    break
                writer.write(encode_delivery(delivery))
                await writer.drain()
