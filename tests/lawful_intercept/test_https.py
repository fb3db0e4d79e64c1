"""HTTPS with certificates on both sides: what a peer may send, and what it is told."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from lawful_intercept import pki, tls
from lawful_intercept.https import HttpsServer, Limits, Message, peer_certificate
from lawful_intercept.https_client import HttpsClient, HttpsUnavailable
from lawful_intercept.x1.server import element_name
from nf.clock import RealClock
from nf.errors import IdentityError, InputError, UnavailableError

LIMITS = Limits(
    body_octets=100_000,
    connections=4,
    idle_s=0.4,
    header_s=0.4,
    body_s=0.4,
    write_s=2.0,
    handshake_s=0.4,
    grace_s=2.0,
    linger_s=0.1,
)


class Site:
    def __init__(self, directory: Path) -> None:
        authority = pki.create(directory / "ca", "li.example", RealClock())
        self.files = {
            name: pki.issue(authority, pki.Who.ELEMENT, name, directory, ip=["127.0.0.1"])
            for name in ("server", "client")
        }
        self.failed: list[Exception] = []
        self.release = asyncio.Event()
        self.reached = asyncio.Event()
        routes = [
            Route("/who", self._who),
            Route("/echo", self._echo, methods=["POST"]),
            Route("/wait", self._wait),
            Route("/fail", self._fail),
            Route("/stream", self._stream),
            Route("/endless", self._endless),
            Route("/unread", self._unread, methods=["POST"]),
        ]
        self.server = HttpsServer(
            Starlette(routes=routes),
            tls.server_context(self.files["server"]),
            address="127.0.0.1",
            port=0,
            limits=LIMITS,
            failed=self.failed.append,
        )

    async def _who(self, request: Request) -> Response:
        return PlainTextResponse(element_name(peer_certificate(request.scope)))

    async def _echo(self, request: Request) -> Response:
        return Response(await request.body())

    async def _wait(self, request: Request) -> Response:
        self.reached.set()
        await self.release.wait()
        return PlainTextResponse("done")

    async def _fail(self, request: Request) -> Response:
        raise RuntimeError("sip:alice@tv.example")

    async def _unread(self, request: Request) -> Response:
        return PlainTextResponse("no")

    async def _stream(self, request: Request) -> Response:
        async def parts() -> AsyncIterator[bytes]:
            for part in (b"a", b"b", b"c"):
                yield part

        return StreamingResponse(parts())

    async def _endless(self, request: Request) -> Response:
        async def parts() -> AsyncIterator[bytes]:
            try:
                while True:
                    yield b"tick\n"
                    self.reached.set()
                    await asyncio.sleep(0.01)
            finally:
                self.release.set()

        return StreamingResponse(parts())

    def client(self, **options: Any) -> HttpsClient:
        context = tls.client_context(self.files["client"])
        return HttpsClient(f"https://127.0.0.1:{self.server.port}/who", context, check=lambda _: None, **options)

    async def raw(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        context = tls.client_context(self.files["client"])
        return await asyncio.open_connection("127.0.0.1", self.server.port, ssl=context)

    async def say(self, octets: bytes) -> bytes:
        """All that is answered until the server ends the connection."""
        reader, writer = await self.raw()
        writer.write(octets)
        try:
            return await reader.read()
        except OSError:
            return b""
        finally:
            writer.transport.abort()


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    made = Site(tmp_path)
    async with made.server:
        yield made


async def test_an_application_knows_who_asks_and_a_connection_is_kept(site: Site) -> None:
    client = site.client()
    for _ in range(3):
        answer = await client.request("GET")
        assert (answer.status, answer.body) == (200, b"client")
    assert len(site.server._connections) == 1
    assert answer.header(b"server") == b""
    assert (await client.request("POST", b"x" * 90_000, path="/echo")).body == b"x" * 90_000
    assert (await client.request("GET", path="/stream")).body == b"abc"
    assert (await client.request("HEAD")).body == b""
    assert (await client.request("GET")).body == b"client"
    await client.close()


async def test_an_answer_without_end_ends_when_its_reader_goes(site: Site) -> None:
    _, writer = await site.raw()
    writer.write(b"GET /endless HTTP/1.1\r\nhost: a\r\n\r\n")
    await site.reached.wait()
    writer.transport.abort()
    await asyncio.wait_for(site.release.wait(), 10)
    assert site.failed == []


async def test_a_failing_application_shows_nothing_but_tells_its_owner(
    site: Site, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    client = site.client()
    answer = await client.request("GET", path="/fail")
    assert answer.status == 500
    assert b"alice" not in answer.body
    assert [str(error) for error in site.failed] == ["sip:alice@tv.example"]
    await client.close()
    assert caplog.text == ""
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /who HTTP/1.1\r\n\r\n",
        b"hello\r\n\r\n",
        b"GET /who HTTP/1.1\r\nhost: a\r\nhost : b\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        b"GET /who HTTP/1.1\r\nhost: a\r\nx: " + b"y" * 20_000,
        b"GET /" + b"y" * 20_000,
    ],
)
async def test_what_is_no_http_is_told_so_without_a_word(site: Site, request_: bytes) -> None:
    answer = await site.say(request_)
    assert answer.split(b"\r\n")[0] in {b"HTTP/1.1 400 ", b"HTTP/1.1 501 "}
    assert answer.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    "request_",
    [
        b"POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 100001\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 99999999999999999999\r\n\r\n",
    ],
)
async def test_a_body_that_is_too_large_is_refused_before_it_comes(site: Site, request_: bytes) -> None:
    assert (await site.say(request_)).startswith(b"HTTP/1.1 413 ")


async def test_a_chunked_body_that_grows_too_large_is_cut_off(site: Site) -> None:
    chunks = b"4000\r\n" + b"x" * 0x4000 + b"\r\n"
    answer = await site.say(b"POST /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n" + chunks * 10)
    assert not answer.startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    "request_",
    [
        b"",
        b"GET /wh",
        b"GET /who HTTP/1.1\r\nhost: a\r\n",
        b"POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nabc",
    ],
)
async def test_who_is_too_slow_is_cut_off(site: Site, request_: bytes) -> None:
    assert not (await site.say(request_)).startswith(b"HTTP/1.1 200")


async def test_a_tls_handshake_that_does_not_come_is_cut_off(site: Site) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", site.server.port)
    assert await reader.read() == b""
    writer.close()


async def test_an_answer_to_an_unread_body_ends_the_connection(site: Site) -> None:
    answer = await site.say(b"POST /unread HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nabc")
    assert answer.startswith(b"HTTP/1.1 200")


async def test_requests_in_one_go_are_answered_in_order(site: Site) -> None:
    one = b"POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\n"
    answer = await site.say(one + b"1" + one + b"2" + one.replace(b"host", b"connection: close\r\nhost") + b"3")
    assert [part[-1:] for part in answer.split(b"HTTP/1.1 200")[1:]] == [b"1", b"2", b"3"]


async def test_expect_continue(site: Site) -> None:
    reader, writer = await site.raw()
    writer.write(b"POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\nexpect: 100-continue\r\n\r\n")
    assert (await reader.readline()).startswith(b"HTTP/1.1 100")
    writer.write(b"x")
    assert (await reader.readuntil(b"x")).endswith(b"x")
    writer.transport.abort()


async def test_more_connections_than_allowed_are_shut_out(site: Site) -> None:
    held = [await site.raw() for _ in range(LIMITS.connections)]
    reader, writer = await site.raw()
    writer.write(b"GET /who HTTP/1.1\r\nhost: a\r\n\r\n")
    with pytest.raises((OSError, asyncio.IncompleteReadError)):
        await reader.readexactly(1)
    for _, other in [*held, (reader, writer)]:
        other.transport.abort()


async def test_what_is_being_answered_may_end_when_the_server_closes(site: Site) -> None:
    client = site.client(timeout_s=5.0)
    asking = asyncio.create_task(client.request("GET", path="/wait"))
    await site.reached.wait()
    idle = site.client()
    await idle.request("GET")
    closing = asyncio.create_task(site.server.close())
    await asyncio.sleep(0)
    site.release.set()
    assert (await asking).body == b"done"
    await closing
    with pytest.raises(HttpsUnavailable) as caught:
        await idle.request("GET")
    assert not caught.value.late


async def test_the_client_s_limits(site: Site) -> None:
    small = site.client(limit=2)
    with pytest.raises(HttpsUnavailable):
        await small.request("GET")
    quick = site.client(timeout_s=0.2)
    with pytest.raises(HttpsUnavailable) as caught:
        await quick.request("GET", path="/wait")
    assert (caught.value.late, caught.value.sent) == (True, True)
    site.release.set()


async def test_a_server_that_is_another_gets_no_request(site: Site) -> None:
    def refuse(certificate: object) -> None:
        raise IdentityError("another")

    client = HttpsClient(
        f"https://127.0.0.1:{site.server.port}/wait", tls.client_context(site.files["client"]), check=refuse
    )
    with pytest.raises(IdentityError):
        await client.request("GET")
    assert not site.reached.is_set()


async def test_a_connection_that_the_server_ended_is_opened_anew(site: Site) -> None:
    client = site.client()
    await client.request("GET")
    assert client._open is not None
    with contextlib.suppress(OSError):
        await client._open._reader.read()
    assert (await client.request("GET")).status == 200
    await client.close()


async def test_nobody_listens_and_nothing_was_sent(site: Site) -> None:
    client = site.client()
    await site.server.close()
    with pytest.raises(HttpsUnavailable) as caught:
        await client.request("GET")
    assert not caught.value.sent


async def test_an_address_that_is_taken(site: Site) -> None:
    async def nothing(
        scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
    ) -> None:
        """Never asked."""

    context = tls.server_context(site.files["server"])
    other = HttpsServer(nothing, context, address="127.0.0.1", port=site.server.port)
    with pytest.raises(UnavailableError, match="cannot listen"):
        await other.start()
    with pytest.raises(InputError):
        HttpsServer(nothing, ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), address="127.0.0.1", port=0)


@pytest.mark.parametrize("url", ["http://a/", "https:///x", "https://a:99999/", "https://u@a/", "https://a/?q", "a"])
async def test_addresses_that_are_none(site: Site, url: str) -> None:
    with pytest.raises(InputError):
        HttpsClient(url, tls.client_context(site.files["client"]), check=lambda _: None)
