"""gufo-snmp's socket on our event loop, watched for as long as it lives.

gufo-snmp's own asyncio session adds and removes its socket for every answer and waits by `wait_for`: half of the cost
of a poll, and before Python 3.12 a cancellation that meets the answer is lost there.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable
from typing import TypeVar

from gufo.snmp.aio import SnmpSession
from gufo.snmp.protocol import SnmpClientSocketProtocol

_Answer = TypeVar("_Answer")


class Wire:
    """One request at a time over a socket that gufo-snmp has made. Belongs to the event loop it is made in."""

    def __init__(self, session: SnmpSession, timeout_s: float) -> None:
        self._socket: SnmpClientSocketProtocol = session._sock  # noqa: SLF001 - see above
        self._timeout_s = timeout_s
        self._loop = asyncio.get_running_loop()
        self._receive: Callable[[], object] = self._socket.recv_get_many
        self._answer: asyncio.Future[object] | None = None
        descriptor = self._socket.get_fd()
        self._loop.add_reader(descriptor, _readable, weakref.ref(self))
        # The socket is an argument: it must be closed after the loop has let go of its number.
        self._finish = weakref.finalize(self, _let_go, self._loop, descriptor, self._socket)

    def close(self) -> None:
        """Whoever waits gets ConnectionError."""
        self._finish()
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionAbortedError("closed"))

    async def get_many(self, oids: list[str]) -> dict[str, object]:
        """What gufo-snmp's `get_many` returns and raises, TimeoutError too."""
        self._socket.send_get_many(oids)
        return dict(await self._answered(self._socket.recv_get_many))

    async def get(self, oid: str) -> object:
        """What gufo-snmp's `get` returns and raises, TimeoutError too."""
        self._socket.send_get(oid)
        return await self._answered(self._socket.recv_get)

    async def _answered(self, receive: Callable[[], _Answer]) -> _Answer:
        self._receive = receive
        answer: asyncio.Future[_Answer] = self._loop.create_future()
        self._answer = answer  # type: ignore[assignment]  # `receive` makes what it is of
        timer = self._loop.call_later(self._timeout_s, _expire, answer)
        try:
            return await answer
        finally:
            timer.cancel()
            self._answer = None

    def readable(self) -> None:
        """Take the answer; a late one to a question that nobody asks any more goes the same way, to nobody."""
        answer = self._answer
        try:
            value = self._receive()
        except BlockingIOError:  # it was about another question: gufo-snmp goes by the request-id
            return
        except Exception as error:  # noqa: BLE001  # whatever it is, it belongs to whoever waits
            if answer is not None and not answer.done():
                answer.set_exception(error)
            return
        if answer is not None and not answer.done():
            answer.set_result(value)


def _readable(reference: weakref.ref[Wire]) -> None:
    wire = reference()
    if wire is not None:
        wire.readable()


def _expire(answer: asyncio.Future[_Answer]) -> None:
    if not answer.done():
        answer.set_exception(TimeoutError())


def _let_go(loop: asyncio.AbstractEventLoop, descriptor: int, _socket: SnmpClientSocketProtocol) -> None:
    if not loop.is_closed():
        loop.remove_reader(descriptor)
