"""Asks proxies whether they have a dialog, by OPTIONS within it (RFC 3261 sections 11.2 and 12.2): 200 or 410.

Proxies know relays by their address, and answer nobody else so; any other answer, such as 481, says nothing. They are
asked from where the relay's appliance is known to them, by datagrams where they take any.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import secrets
from collections.abc import AsyncIterator
from typing import Final, Self

from nf.errors import UnavailableError
from sip.rtpengine.documents import AskedProxy
from sip.rtpengine.reconcile import Call

KNOWN: Final = 200
GONE: Final = 410
SENT_AGAIN_S: Final = (0.5, 1.0, 1.5)
"""Time until the next; after the last nobody is waited for. RFC 3261 section 17.1.2.1 has longer ones."""
_LONGEST: Final = 255
_BRANCH: Final = re.compile(rb"z9hG4bK([0-9a-f]{16})")


def options(proxy: AskedProxy, call: Call, branch: str, source: str) -> bytes:
    """Raises UnavailableError for names that cannot stand in a message."""
    names = (call.call_id, *call.tags)
    if not all(one.isascii() and one.isprintable() and " " not in one and len(one) <= _LONGEST for one in names):
        raise UnavailableError("its Call-ID or a tag cannot be asked for", where=proxy.id)
    caller, called = call.tags
    lines = (
        f"OPTIONS sip:{proxy.address}:{proxy.port} SIP/2.0",
        f"Via: SIP/2.0/{(proxy.transport or 'udp').upper()} {source};rport;branch=z9hG4bK{branch}",
        "Max-Forwards: 1",
        f"From: <sip:relay@{source}>;tag={caller}",
        f"To: <sip:relay@{source}>;tag={called}",
        f"Call-ID: {call.call_id}",
        "CSeq: 1 OPTIONS",
        "Content-Length: 0",
    )
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode()


def status(data: bytes, branch: str) -> int | None:
    """Of a final answer to our own question; None: it is none."""
    head = data.split(b"\r\n\r\n", 1)[0]
    words = head.split(b" ", 2)
    if f"z9hG4bK{branch}".encode() not in head or words[0] != b"SIP/2.0" or not words[1:2] or not words[1].isdigit():
        return None
    return int(words[1]) if int(words[1]) >= 200 else None


class _Answers(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.waiting: dict[str, asyncio.Future[int]] = {}

    def datagram_received(self, data: bytes, addr: tuple[str | object, int]) -> None:  # noqa: ARG002 - asyncio's
        found = _BRANCH.search(data)
        branch = found[1].decode() if found is not None else ""
        answered, code = self.waiting.get(branch), status(data, branch)
        if answered is not None and code is not None and not answered.done():
            answered.set_result(code)


class ProxyAsker:
    """`source`: address of this appliance by which proxies know it."""

    def __init__(self, proxies: tuple[AskedProxy, ...], source: str) -> None:
        self._proxies, self._source = proxies, source
        self._answers = _Answers()
        self._socket: asyncio.DatagramTransport | None = None

    async def __aenter__(self) -> Self:
        """Raises UnavailableError when this appliance has not its address."""
        loop = asyncio.get_running_loop()
        try:
            self._socket, _ = await loop.create_datagram_endpoint(lambda: self._answers, (self._source, 0))
        except OSError as error:
            raise UnavailableError(f"proxies cannot be asked: {error.strerror}", where=self._source) from error
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._socket is not None:
            self._socket.close()

    async def know(self, call: Call) -> bool:
        """Raises UnavailableError when none has it and not all have said so."""
        silent = [] if self._proxies else ["no proxy is known"]
        for proxy in self._proxies:
            try:
                code = await self._status(proxy, call)
            except UnavailableError as error:
                silent.append(f"{proxy.id}: {error.message}")
                continue
            if code == KNOWN:
                return True
            if code != GONE:
                silent.append(f"{proxy.id}: it answers {code}")
        if silent:
            raise UnavailableError("; ".join(silent), where=call.call_id)
        return False

    async def _status(self, proxy: AskedProxy, call: Call) -> int:
        branch = secrets.token_hex(8)
        question = options(proxy, call, branch, self._source)
        try:
            if proxy.transport is None:
                raise UnavailableError("it takes nothing that is not encrypted", where=proxy.id)
            if proxy.transport == "tcp":
                return await self._by_tcp(proxy, question, branch)
            return await self._by_udp(proxy, question, branch)
        except (OSError, EOFError, asyncio.LimitOverrunError) as error:  # TimeoutError is an OSError
            raise UnavailableError("it does not answer", where=proxy.id) from error

    async def _by_udp(self, proxy: AskedProxy, question: bytes, branch: str) -> int:
        if self._socket is None:
            raise UnavailableError("nobody listens for the answer", where=proxy.id)
        answered: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._answers.waiting[branch] = answered
        try:
            for wait_s in SENT_AGAIN_S:
                self._socket.sendto(question, (str(proxy.address), proxy.port))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait_s):
                        return await asyncio.shield(answered)
            raise TimeoutError
        finally:
            answered.cancel()
            del self._answers.waiting[branch]

    async def _by_tcp(self, proxy: AskedProxy, question: bytes, branch: str) -> int:
        async with asyncio.timeout(sum(SENT_AGAIN_S)), _connected(proxy, self._source) as (reader, writer):
            writer.write(question)
            while (code := status(await reader.readuntil(b"\r\n\r\n"), branch)) is None:
                pass
            return code


@contextlib.asynccontextmanager
async def _connected(
    proxy: AskedProxy, source: str
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(str(proxy.address), proxy.port, local_addr=(source, 0))
    try:
        yield reader, writer
    finally:
        writer.close()
