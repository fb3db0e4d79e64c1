"""One connection to FreeSWITCH's event socket, by asyncio.

It answers commands strictly in order, so a reply belongs to the oldest command that has none. One that was given up
keeps its place: its reply is thrown away when it comes. Replies never wait behind events: what nobody takes stops the
reading, as long as no command waits; while one does, the oldest events are dropped and counted.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final, Self

from sip.freeswitch.codec import (
    AuthRequest,
    Decoder,
    Disconnect,
    Event,
    Message,
    Rejection,
    Reply,
    Response,
    encode,
)
from sip.freeswitch.errors import (
    AddressRefused,
    CommandRefused,
    CommandTimeout,
    ConnectionLost,
    FrameError,
    LoginRefused,
)

TIMEOUT_S: Final = 10.0
MOST_EVENTS: Final = 4096
MOST_PENDING: Final = 256
MOST_ABANDONED: Final = 16
"""Commands without a reply in time: with more of them it is not listening, and the connection is closed."""

Answer = Reply | Response
Taker = Callable[[Event], bool]


class EslConnection(asyncio.Protocol):
    """Made by `open`. `lost`: events that were dropped; `closed`: set when the connection is over.

    taker    is shown every event at once; those that it takes come out nowhere else
    awaited  how many events somebody waits for: while there is one, reading never stops
    """

    def __init__(self, where: str, most_events: int = MOST_EVENTS, taker: Taker | None = None) -> None:
        self.where = where
        self.lost = 0
        self.awaited = 0
        self._taker = taker
        self._most = most_events
        self._decoder = Decoder()
        self._transport: asyncio.Transport | None = None
        self._pending: deque[asyncio.Future[Answer]] = deque()
        self._events: deque[Event] = deque()
        self._news = asyncio.Event()
        self._greeted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._writable = asyncio.Event()
        self._writable.set()
        self._room = asyncio.Semaphore(MOST_PENDING)
        self._paused = False
        self._over: Exception | None = None
        self.closed = asyncio.Event()

    @classmethod
    async def open(
        cls,
        host: str,
        port: int,
        password: str,
        *,
        user: str = "",
        timeout_s: float = TIMEOUT_S,
        most_events: int = MOST_EVENTS,
        taker: Taker | None = None,
    ) -> Self:
        """Connects and logs in; `user`: NAME@DOMAIN of the directory, with its own password.

        Raises ConnectionLost, CommandTimeout, LoginRefused, AddressRefused, FrameError.
        """
        where = f"{host}:{port}"
        made: Self | None = None
        try:
            async with asyncio.timeout(timeout_s):
                loop = asyncio.get_running_loop()
                _, made = await loop.create_connection(lambda: cls(where, most_events, taker), host, port)
                await made.login(password, user, timeout_s)
        except TimeoutError:
            text = f"no greeting in {timeout_s:g} s" if made is not None else f"no connection in {timeout_s:g} s"
            error: Exception = CommandTimeout(text, where=where, remedy="see whether FreeSWITCH is well")
        except OSError as failed:
            text = f"nobody takes connections: {failed.strerror or failed}"
            error = ConnectionLost(text, where=where, remedy="see whether FreeSWITCH runs, and its event_socket.conf")
        except BaseException:
            if made is not None:
                made.close()
            raise
        else:
            return made
        if made is not None:
            made.close()
        raise error from None

    async def login(self, password: str, user: str, timeout_s: float) -> None:
        """Once it has greeted; `open` does it."""
        await self._greeted
        command = f"userauth {user}:{password}" if user else f"auth {password}"
        answer = await self._send(encode(command), timeout_s, "auth")
        if not isinstance(answer, Reply) or not answer.text.startswith("+OK"):
            raise LoginRefused("the password is not its own", where=self.where, remedy="see the secret that is named")

    # -- commands -----------------------------------------------------------------------------------------------------

    async def api(self, command: str, timeout_s: float = TIMEOUT_S) -> str:
        """What the command prints. Raises CommandRefused for -ERR and -USAGE, CommandTimeout, ConnectionLost."""
        answer = await self._send(encode(f"api {command}"), timeout_s, command)
        return accepted(answer.text, command, self.where)

    async def command(
        self,
        command: str,
        headers: Iterable[tuple[str, str]] = (),
        body: str = "",
        *,
        timeout_s: float = TIMEOUT_S,
    ) -> Reply:
        """Anything but `api`. Raises as `api` does."""
        answer = await self._send(encode(command, headers, body), timeout_s, command.partition(" ")[0])
        accepted(answer.text, command.partition(" ")[0], self.where)
        return answer if isinstance(answer, Reply) else Reply(answer.text, {})

    async def _send(self, octets: bytes, timeout_s: float, what: str) -> Answer:
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(timeout_s), self._room:
                await self._writable.wait()
                if self._over is not None or self._transport is None:
                    raise self._lost_error()
                self._pending.append(answer)
                self._transport.write(octets)
                self._flow()
                return await answer
        except TimeoutError:
            self._too_many_abandoned()
            text = f"no answer to `{what}` in {timeout_s:g} s"
            raise CommandTimeout(
                text, where=self.where, remedy="it may yet be done: see before it is repeated"
            ) from None

    def _too_many_abandoned(self) -> None:
        if sum(one.cancelled() for one in self._pending) > MOST_ABANDONED:
            self._end(ConnectionLost(f"{MOST_ABANDONED} commands had no answer", where=self.where))

    # -- events -------------------------------------------------------------------------------------------------------

    async def next_event(self) -> Event:
        """Raises ConnectionLost when the connection is over and all that came was taken."""
        while not self._events:
            if self._over is not None:
                raise self._lost_error()
            self._news.clear()
            await self._news.wait()
        event = self._events.popleft()
        self._flow()
        return event

    @property
    def _busy(self) -> bool:
        return bool(self._pending) or self.awaited > 0

    def _flow(self) -> None:
        """Reading stops at full, and goes on at half or when somebody waits for an answer."""
        if self._transport is None or self._over is not None:
            return
        if self._paused and (self._busy or len(self._events) <= self._most // 2):
            self._paused = False
            self._transport.resume_reading()
        elif not self._paused and not self._busy and len(self._events) >= self._most:
            self._paused = True
            self._transport.pause_reading()

    # -- asyncio.Protocol ---------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if isinstance(transport, asyncio.Transport):
            self._transport = transport

    def data_received(self, data: bytes) -> None:
        try:
            messages: Iterable[Message] = self._decoder.receive(data)
        except FrameError as error:
            for message in self._decoder.rest:
                self._take(message)
            self._end(FrameError(error.message, where=self.where, remedy="see what listens there"))
            return
        for message in messages:
            self._take(message)
        self._flow()

    def _take(self, message: Message) -> None:
        if isinstance(message, Event):
            self._take_event(message)
        elif isinstance(message, Reply | Response):
            self._take_answer(message)
        elif isinstance(message, AuthRequest):
            if not self._greeted.done():
                self._greeted.set_result(None)
        elif isinstance(message, Rejection):
            remedy = "put the address into the list of its apply-inbound-acl"
            self._end(AddressRefused("its access list does not have this address", where=self.where, remedy=remedy))
        elif isinstance(message, Disconnect) and message.linger_s is None:
            self._end(ConnectionLost("it disconnected", where=self.where))

    def _take_event(self, event: Event) -> None:
        if self._taker is not None and self._taker(event):
            return
        if len(self._events) >= self._most and self._busy:
            self._events.popleft()
            self.lost += 1
        self._events.append(event)
        self._news.set()

    def _take_answer(self, answer: Answer) -> None:
        if not self._pending:
            self._end(FrameError("an answer that nobody asked for", where=self.where))
            return
        waiting = self._pending.popleft()
        if not waiting.done():
            waiting.set_result(answer)

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        told = f": {exc}" if exc is not None else ""
        self._end(ConnectionLost(f"the connection broke{told}", where=self.where))

    # -- its end ------------------------------------------------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        return self._over is None

    def close(self) -> None:
        """At once; who waits for an answer gets ConnectionLost."""
        self._end(ConnectionLost("it was closed here", where=self.where))

    def _end(self, error: Exception) -> None:
        if self._over is not None:
            return
        self._over = error
        if self._transport is not None:
            self._transport.abort()
        for answer in self._pending:
            if not answer.done():
                answer.set_exception(self._lost_error())
        if not self._greeted.done():
            self._greeted.set_exception(self._lost_error())
            self._greeted.exception()  # nobody may wait for it
        self._pending.clear()
        self._writable.set()
        self._news.set()
        self.closed.set()

    def _lost_error(self) -> Exception:
        """What ended it, said anew: an exception is raised once."""
        over = self._over
        if over is None:
            return ConnectionLost("it is not connected", where=self.where)
        if isinstance(over, FrameError | AddressRefused | ConnectionLost):
            return type(over)(over.message, where=over.where, remedy=over.remedy)
        return over


def accepted(text: str, command: str, where: str) -> str:
    """What a command printed. Raises CommandRefused when that is its refusal."""
    if text.startswith(("-ERR", "-USAGE")):
        told = text.partition("\n")[0][:300]
        name = " ".join(command.split()[:2])
        raise CommandRefused(f"`{name}` was refused: {told}", where=where, remedy="see the log of FreeSWITCH")
    return text
