"""Asks a relay by the ng protocol: one socket, any number of requests in flight, each known by its cookie.

A request is sent again with the same cookie, so that rtpengine, which keeps its answers by cookie, does it once.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count, islice
from typing import Final, Self

from nf.errors import BusyError, InputError, NfError, UnavailableError
from sip.rtpengine.messages import Members, pack, read, unpack

RESEND_S: Final = (0.2, 0.4, 0.8, 1.6)
"""How long it is waited before a request is sent again, each time; after the last of them it has failed."""
MAX_IN_FLIGHT: Final = 10_000
WINDOW: Final = 128
"""Requests that are on their way at once; more than fit rtpengine's socket would only be lost."""
_BUFFER: Final = 65_536
_ROOM: Final = 4 << 20
_AT_ONCE: Final = 64
_PORTION: Final = 2048
"""Of `ask_many`: others find room beside them."""
_suppressed: Final = suppress(OSError)


Answer = bytes | NfError
"""What came, not yet decoded, or why nothing did."""


@dataclass(slots=True, eq=False)
class _Batch:
    """Requests that are waited for together: a future and a task for each of thousands would cost more than they do."""

    over: asyncio.Future[None]
    answers: list[Answer | None]
    left: int


@dataclass(slots=True, eq=False)
class _Request:
    cookie: bytes
    datagram: bytes
    batch: _Batch
    place: int
    due: float = 0.0
    sent: int = 0
    under_way: bool = False
    over: bool = False


class NgClient:
    """Of the relay at `host`:`port`. Belongs to the event loop that opened it; closed by `close` or `async with`."""

    def __init__(self, host: str, port: int, *, resend_s: tuple[float, ...] = RESEND_S) -> None:
        if not resend_s or min(resend_s) <= 0:
            raise InputError("a request is waited for", where="resend_s", remedy="write seconds, one or more")
        self._where = f"rtpengine {host}:{port}"
        self._address = (host, port)
        self._resend_s = resend_s
        self._waiting: dict[bytes, _Request] = {}
        # What waits equally long is due in the order in which it was sent: no heap is needed.
        self._queues: tuple[deque[_Request], ...] = tuple(deque() for _ in resend_s)
        self._backlog: deque[_Request] = deque()
        self._under_way = 0
        self._timer: asyncio.TimerHandle | None = None
        self._socket: socket.socket | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._prefix = secrets.token_hex(6).encode()
        self._numbers = count()
        self.resent = 0
        self.strays = 0

    async def __aenter__(self) -> Self:
        self._open()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    @property
    def in_flight(self) -> int:
        return len(self._waiting)

    async def ask(self, members: Members) -> Members:
        """Raises UnavailableError when no answer comes in time, BusyError, and what `messages.read` raises."""
        (found,) = await self._answers((members,))
        if isinstance(found, NfError):
            raise found
        return read(found, self._where)

    async def ask_many(self, asked: Iterable[Members]) -> list[Members | NfError]:
        """As `ask`, each in its place; what that would raise stands there as a value. Any number of them: so many are
        under way at once as the relay's socket takes."""
        found: list[Members | NfError] = []
        listed = iter(asked)
        while portion := tuple(islice(listed, _PORTION)):
            for one in await self._answers(portion):
                try:
                    found.append(one if isinstance(one, NfError) else read(one, self._where))
                except NfError as error:
                    found.append(error)
        return found

    async def _answers(self, asked: Sequence[Members]) -> Sequence[Answer]:
        """Raises BusyError, InputError."""
        loop = self._open()
        if len(self._waiting) + len(asked) > MAX_IN_FLIGHT:
            raise BusyError(f"{MAX_IN_FLIGHT:,} requests are in flight", where=self._where, remedy="ask less at once")
        batch = _Batch(loop.create_future(), [None] * len(asked), len(asked))
        requests = []
        for place, members in enumerate(asked):
            cookie = b"%b_%d" % (self._prefix, next(self._numbers))
            request = _Request(cookie, pack(cookie, members), batch, place)
            if len(request.datagram) > 65_507:
                raise InputError("a request does not fit a datagram", where=self._where, remedy="shorten the SDP")
            requests.append(request)
        try:
            for request in requests:
                self._waiting[request.cookie] = request
                self._begin(request, loop)
            await batch.over
        finally:
            for request in requests if batch.left else ():
                self._settle(request, UnavailableError("nobody waits for it", where=self._where))
        return [one for one in batch.answers if one is not None]

    def close(self) -> None:
        """What is in flight fails with UnavailableError."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._socket is not None and self._loop is not None:
            self._loop.remove_reader(self._socket)
            self._socket.close()
            self._socket = None
        for queue in (self._backlog, *self._queues):
            queue.clear()
        for request in tuple(self._waiting.values()):
            self._fail(request, "the connection was closed")

    def _open(self) -> asyncio.AbstractEventLoop:
        loop = asyncio.get_running_loop()
        if self._socket is None:
            family = socket.AF_INET6 if ":" in self._address[0] else socket.AF_INET
            made = socket.socket(family, socket.SOCK_DGRAM)
            try:
                made.setblocking(False)
                for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
                    made.setsockopt(socket.SOL_SOCKET, option, _ROOM)
                made.connect(self._address)
            except OSError as error:
                made.close()
                raise UnavailableError(f"there is no way to it: {error.strerror}", where=self._where) from error
            self._socket, self._loop = made, loop
            loop.add_reader(made, self._readable)
        elif self._loop is not loop:
            raise InputError("it belongs to another event loop", where=self._where, remedy="make one for each loop")
        return loop

    # -- sending ----------------------------------------------------------------------------------------------------

    def _begin(self, request: _Request, loop: asyncio.AbstractEventLoop) -> None:
        if self._under_way < WINDOW:
            self._under_way += 1
            request.under_way = True
            self._send(request, loop)
            return
        request.due = loop.time() + sum(self._resend_s)
        self._backlog.append(request)

    def _settle(self, request: _Request, answer: Answer) -> None:
        """It is over, and its place is free for the next that waits."""
        if request.over:
            return
        request.over = True
        del self._waiting[request.cookie]
        batch = request.batch
        batch.answers[request.place] = answer
        batch.left -= 1
        if not batch.left and not batch.over.done():
            batch.over.set_result(None)
        if request.under_way:
            self._under_way -= 1
            while self._backlog and self._loop is not None:
                following = self._backlog.popleft()
                if not following.over:
                    self._begin(following, self._loop)
                    return

    def _send(self, request: _Request, loop: asyncio.AbstractEventLoop) -> None:
        if self._socket is not None:
            # A full socket, or nobody there now: it is sent again when it is due.
            with _suppressed:
                self._socket.send(request.datagram)
        request.due = loop.time() + self._resend_s[request.sent]
        self._queues[request.sent].append(request)
        request.sent += 1
        if self._timer is None:
            self._timer = loop.call_at(request.due, self._overdue)

    def _overdue(self) -> None:
        loop = self._loop
        self._timer = None
        if loop is None:
            return
        now = loop.time()
        for queue in self._queues:
            while queue and (queue[0].over or queue[0].due <= now):
                request = queue.popleft()
                if request.over:
                    continue
                if request.sent < len(self._resend_s):
                    self.resent += 1
                    self._send(request, loop)
                else:
                    self._fail(request, f"no answer to {request.sent} times the same request")
        while self._backlog and (self._backlog[0].over or self._backlog[0].due <= now):
            self._fail(self._backlog.popleft(), "it answers nothing that was asked before")
        due = [queue[0].due for queue in (self._backlog, *self._queues) if queue]
        if due:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = loop.call_at(min(due), self._overdue)

    def _fail(self, request: _Request, text: str) -> None:
        self._settle(request, UnavailableError(text, where=self._where, remedy="see whether the unit rtpengine runs"))

    # -- receiving --------------------------------------------------------------------------------------------------

    def _readable(self) -> None:
        """A few at once, so that nothing else of the loop waits for a relay that answers much."""
        for _ in range(_AT_ONCE):
            if self._socket is None:
                return
            try:
                datagram = self._socket.recv(_BUFFER)
            except BlockingIOError:
                return
            except OSError:
                continue  # port unreachable: it is sent again when it is due
            try:
                cookie, body = unpack(datagram)
            except InputError:
                self.strays += 1
                continue
            request = self._waiting.get(cookie)
            if request is None:
                self.strays += 1  # a second answer, to what was sent again
            else:
                self._settle(request, body)
