"""The process with its portal, by HTTPS as an officer's browser would: pages, audio, package; and who gets nothing."""

from __future__ import annotations

import asyncio
import contextlib
import io
import ssl
import wave
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from lawful_intercept import pki
from lawful_intercept.configuration import Listen
from lawful_intercept.handover import tri
from lawful_intercept.handover.ps_pdu import CcTemplate, IriTemplate
from lawful_intercept.lemf import process
from lawful_intercept.lemf.settings import LemfSettings, Portal
from lawful_intercept.tls import client_context
from nf.clock import RealClock
from nf.errors import IdentityError
from tests.lawful_intercept.lemf.parts import (
    AT_NS,
    HEADER,
    Certificates,
    Delivery,
    media,
    messages,
    rtp,
    settings,
    tls_files,
)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("li"))


def with_portal(tmp_path: Path, certificates: Certificates) -> LemfSettings:
    listen = Listen(address="127.0.0.1", port=0)
    return settings(tmp_path, certificates, portal=Portal(listen=listen, tls=tls_files(certificates.lemf)))


@contextlib.asynccontextmanager
async def running(chosen: LemfSettings) -> AsyncIterator[tuple[int, ...]]:
    ready: asyncio.Future[tuple[int, ...]] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(process.run(chosen, RealClock(), ready=ready.set_result))
    await asyncio.wait({ready, task}, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        task.result()
    try:
        yield ready.result()
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def got(port: int, issued: pki.Issued, path: str, head: str = "") -> tuple[int, dict[str, str], bytes]:
    """(status, headers, body) of a GET on a connection of its own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client_context(tls_files(issued)))
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{head}\r\n".encode())
        octets = await reader.read(-1)
    finally:
        writer.close()
        with contextlib.suppress(OSError, ssl.SSLError):
            await writer.wait_closed()
    text, _, body = octets.partition(b"\r\n\r\n")
    first, *lines = text.decode().split("\r\n")
    return int(first.split()[1]), {k.lower(): v for k, _, v in (one.partition(": ") for one in lines)}, body


async def test_the_portal(tmp_path: Path, certificates: Certificates) -> None:
    chosen = with_portal(tmp_path, certificates)
    async with running(chosen) as (hi2, hi3, portal):
        async with Delivery(hi2, certificates.mdf) as two, Delivery(hi3, certificates.mdf) as three:
            nasty = b"MESSAGE sip:x SIP/2.0\r\nSubject: <script>alert(1)</script>\r\n\r\n"
            iri = IriTemplate(HEADER, 7).sip(2, AT_NS, 4, "192.0.2.1", "192.0.2.2", nasty)
            message = tri.operator_message(HEADER, 7, 0, AT_NS, tri.Priority.ERROR, message="<b>lost</b>")
            await two.send(*messages(), iri, message)
            await three.send(*media([b"\x80" * 160] * 50))
            await asyncio.gather(two.confirm(), three.confirm())
        officer = certificates.officer
        status, headers, body = await got(portal, officer, "/")
        assert status == 200
        assert b"CASE-1" in body
        assert b"&lt;b&gt;lost&lt;/b&gt;" in body
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'")
        assert "script" not in policy
        assert "unsafe" not in policy
        assert (headers["cache-control"], headers["x-content-type-options"]) == ("no-store", "nosniff")
        status, _, body = await got(portal, officer, "/sessions/1")
        assert status == 200
        assert b"INVITE sip:bob@example.org" in body
        assert b"<script" not in body
        assert b"&lt;script&gt;" in body
        assert b'<audio controls preload="none" src="/sessions/1/audio/mixed.wav">' in body
        status, headers, body = await got(portal, officer, "/sessions/1/audio/mixed.wav")
        assert (status, headers["content-type"]) == (200, "audio/wav")
        with wave.open(io.BytesIO(body)) as sound:
            assert sound.getnframes() == 8000
        status, _, part = await got(portal, officer, "/sessions/1/audio/mixed.wav", "Range: bytes=44-143\r\n")
        assert (status, part) == (206, body[44:144])
        status, headers, body = await got(portal, officer, "/sessions/1/evidence.zip")
        assert status == 200
        assert "CASE" not in headers["content-disposition"]
        with zipfile.ZipFile(io.BytesIO(body)) as package:
            assert "manifest.sig" in package.namelist()
        for path in ("/sessions/2", "/sessions/1/audio/x.wav", "/sessions/1/audio/to-target.wav", "/nothing"):
            status, headers, _ = await got(portal, officer, path)
            assert status == 404
            assert "content-security-policy" in headers
        assert (await got(portal, officer, "/style.css"))[1]["content-type"].startswith("text/css")
    assert not list(chosen.state.glob(".portal-*"))


async def test_nothing_stays_when_the_officer_goes(tmp_path: Path, certificates: Certificates) -> None:
    chosen = with_portal(tmp_path, certificates)
    async with running(chosen) as (_, hi3, portal):
        async with Delivery(hi3, certificates.mdf) as three:
            half_an_hour = CcTemplate(HEADER, 7).encode(1, AT_NS + 1800 * 10**9, 0, rtp(1, b"\x80" * 160))
            await three.send(*media([b"\x80" * 160]), half_an_hour)
            await three.confirm()
        context = client_context(tls_files(certificates.officer))
        reader, writer = await asyncio.open_connection("127.0.0.1", portal, ssl=context, limit=1000)
        writer.write(b"GET /sessions/1/audio/mixed.wav HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await reader.read(100)).startswith(b"HTTP/1.1 200")
        assert list(chosen.state.glob(".portal-*"))
        writer.transport.abort()
        async with asyncio.timeout(20):
            while list(chosen.state.glob(".portal-*")):  # noqa: ASYNC110 - a file tells no event
                await asyncio.sleep(0.01)


async def test_who_gets_nothing(tmp_path: Path, certificates: Certificates) -> None:
    foreign = Certificates(tmp_path / "foreign", "other.example")
    async with running(with_portal(tmp_path, certificates)) as (_, _, portal):
        status, _, body = await got(portal, certificates.mdf, "/")
        assert status == 403
        assert b"Sessions" not in body
        with contextlib.suppress(OSError, IndexError):
            status, _, _ = await got(portal, foreign.officer, "/")
            pytest.fail("another authority's officer was let in")


async def test_a_certificate_of_another_name(tmp_path: Path, certificates: Certificates) -> None:
    chosen = settings(tmp_path, certificates).model_copy(update={"tls": tls_files(certificates.mdf)})
    with pytest.raises(IdentityError):
        await process.run(chosen, RealClock())
