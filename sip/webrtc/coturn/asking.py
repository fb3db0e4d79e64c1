"""Asks a TURN server over UDP whether it does its work: binds, allocates, asks to whom it relays, lets go."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from types import TracebackType
from typing import Final, Self

from nf.errors import DeadlineError, UnavailableError
from sip.webrtc.credentials import TurnCredentials
from sip.webrtc.stun import Endpoint
from sip.webrtc.turning import Answered, Silent, TurnClient

_PORT: Final = 9
"""Of a peer that is asked about; nothing is sent to it."""
LIMIT_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Finding:
    """bound, allocated  answers; `allocated` None: it was not asked, for want of credentials
    refused             peers that it does not relay to, of those that were asked about
    """

    bound: Answered
    allocated: Answered | None = None
    refused: tuple[IPv4Address, ...] = ()


class TurnAsker:
    """A socket of one client. Raises UnavailableError and DeadlineError where the server does not answer."""

    def __init__(self, server: tuple[str, int], credentials: TurnCredentials | None, limit_s: float = LIMIT_S) -> None:
        self._server = server
        self._client = TurnClient(credentials)
        self._limit_s = limit_s
        self._socket = _Socket()
        self._transport: asyncio.DatagramTransport | None = None

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        try:
            self._transport, self._socket = await loop.create_datagram_endpoint(_Socket, remote_addr=self._server)
        except OSError as error:
            raise UnavailableError(f"no way to it: {error.strerror}", where=self._where) from error
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._transport is not None:
            self._transport.close()

    @property
    def _where(self) -> str:
        return f"{self._server[0]}:{self._server[1]}"

    async def bind(self) -> Answered:
        self._client.bind(self._now())
        return await self._answer()

    async def allocate(self) -> Answered:
        self._client.allocate(self._now())
        return await self._answer()

    async def permit(self, peer: Endpoint) -> Answered:
        self._client.permit((peer,), self._now())
        return await self._answer()

    async def release(self) -> Answered:
        self._client.release(self._now())
        return await self._answer()

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    async def _answer(self) -> Answered:
        if self._transport is None:
            raise RuntimeError("not open")
        ends = self._now() + self._limit_s
        while True:
            while (data := self._client.data_to_send(self._now())) is not None:
                self._transport.sendto(data)
            event = self._client.next_event()
            if isinstance(event, Answered):
                return event
            if isinstance(event, Silent) or self._now() >= ends:
                raise DeadlineError("it does not answer", where=self._where)
            due = min(self._client.next_timeout() or ends, ends)
            try:
                async with asyncio.timeout(max(0.0, due - self._now())):
                    data = await self._socket.heard.get()
            except TimeoutError:
                continue
            if data is None:
                raise UnavailableError("nothing listens there", where=self._where)
            self._client.receive(data, self._now())


async def ask(
    server: tuple[str, int],
    credentials: TurnCredentials | None,
    peers: Sequence[IPv4Address] = (),
    limit_s: float = LIMIT_S,
) -> Finding:
    """Everything that is allocated for it is let go. Raises UnavailableError and DeadlineError."""
    async with TurnAsker(server, credentials, limit_s) as asker:
        bound = await asker.bind()
        if credentials is None:
            return Finding(bound)
        allocated = await asker.allocate()
        if allocated.error:
            return Finding(bound, allocated)
        refused = [peer for peer in peers if (await asker.permit((peer, _PORT))).error]
        await asker.release()
        return Finding(bound, allocated, tuple(refused))


@dataclass
class _Socket(asyncio.DatagramProtocol):
    """None in `heard`: the other side has no such port."""

    heard: asyncio.Queue[bytes | None] = field(default_factory=asyncio.Queue)

    def datagram_received(self, data: bytes, addr: object) -> None:  # noqa: ARG002 - asyncio's name; it is connected
        self.heard.put_nowait(data)

    def error_received(self, exc: Exception) -> None:  # noqa: ARG002 - asyncio's name
        self.heard.put_nowait(None)
