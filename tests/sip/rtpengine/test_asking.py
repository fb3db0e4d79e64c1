"""Proxies are asked whether they have a dialog: those that answer, and those that do not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from nf.errors import UnavailableError
from sip.calling.messages import Request, parse
from sip.rtpengine import asking
from sip.rtpengine.asking import ProxyAsker, options, status
from sip.rtpengine.documents import AskedProxy
from sip.rtpengine.reconcile import Call

CALL = Call("id@host", ("a", "b"), 400.0)


def proxy(name: str, port: int, transport: str | None = "udp") -> AskedProxy:
    return AskedProxy.model_validate({"id": name, "address": "127.0.0.1", "port": port, "transport": transport})


def answered(data: bytes, code: int) -> bytes:
    lines = data.split(b"\r\n")
    return b"\r\n".join([b"SIP/2.0 %d Told" % code, *lines[1:]])


class Proxy(asyncio.DatagramProtocol):
    """Answers with `code`, all but the first `deaf` questions."""

    def __init__(self, code: int, deaf: int) -> None:
        self.code, self.deaf = code, deaf

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str | object, int]) -> None:
        self.deaf -= 1
        if self.deaf < 0:
            self.transport.sendto(b"nonsense", addr)
            self.transport.sendto(answered(data, 100), addr)
            self.transport.sendto(answered(data, self.code), addr)


@asynccontextmanager
async def answering(code: int, deaf: int = 0) -> AsyncIterator[int]:
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: Proxy(code, deaf), ("127.0.0.1", 0))
    try:
        yield transport.get_extra_info("sockname")[1]
    finally:
        transport.close()


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "SENT_AGAIN_S", (0.1, 0.1))


async def know(*proxies: AskedProxy) -> bool:
    async with ProxyAsker(proxies, "127.0.0.1") as asker:
        return await asker.know(CALL)


def test_the_question_is_a_request_of_the_dialog() -> None:
    request = parse(options(proxy("p", 5060), CALL, "0123456789abcdef", "10.0.0.1"))
    assert isinstance(request, Request)
    assert request.method == "OPTIONS"
    assert {("Call-ID", "id@host"), ("CSeq", "1 OPTIONS")} <= {*request.headers}
    tags = {name: value.partition(";tag=")[2] for name, value in request.headers if name in {"From", "To"}}
    assert tags == {"From": "a", "To": "b"}


@pytest.mark.parametrize("name", ["a b", "a\r\nVia: x", "a" * 256, "\u00e9"])
def test_names_that_are_none_are_not_sent(name: str) -> None:
    with pytest.raises(UnavailableError):
        options(proxy("p", 5060), Call(name, ("a", "b"), 0.0), "0" * 16, "10.0.0.1")


async def test_one_that_has_it_is_enough_and_all_have_to_say_that_they_have_not() -> None:
    async with answering(410) as gone, answering(200, deaf=1) as has:
        assert not await know(proxy("p1", gone))
        assert await know(proxy("p1", gone), proxy("p2", has))


@pytest.mark.parametrize("code", [481, 403, 503])
async def test_what_is_no_answer_keeps_the_call(code: int) -> None:
    async with answering(410) as gone, answering(code) as other, answering(410, deaf=9) as dead:
        with pytest.raises(UnavailableError, match=f"p2: it answers {code}"):
            await know(proxy("p1", gone), proxy("p2", other))
        with pytest.raises(UnavailableError, match="p2: it does not answer"):
            await know(proxy("p1", gone), proxy("p2", dead))
        with pytest.raises(UnavailableError, match="encrypted"):
            await know(proxy("p1", gone), proxy("p2", 5061, None))
        with pytest.raises(UnavailableError, match="no proxy is known"):
            await know()


async def test_by_a_connection_where_there_are_no_datagrams() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answered(await reader.readuntil(b"\r\n\r\n"), 410))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        assert not await know(proxy("p1", port, "tcp"))
    with pytest.raises(UnavailableError):
        await know(proxy("p1", port, "tcp"))


@pytest.mark.parametrize("data", [b"", b"SIP/2.0", b"SIP/2.0 x OK\r\n\r\n", b"OPTIONS sip:x SIP/2.0\r\n\r\n"])
def test_anything_else_is_no_answer(data: bytes) -> None:
    assert status(data + b"z9hG4bK" + b"0" * 16, "0" * 16) is None
