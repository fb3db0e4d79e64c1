"""An agency's receiver on loopback, and who delivers to it: PDUs by the templates, over TLS."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import struct
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, Self

from lawful_intercept import pki
from lawful_intercept.configuration import Listen, TlsFiles
from lawful_intercept.handover import tri
from lawful_intercept.handover.decoder import PsPdu, Tri, decode
from lawful_intercept.handover.ps_pdu import CcTemplate, Header, IriTemplate
from lawful_intercept.handover.splitter import Splitter
from lawful_intercept.keys import store_key, write_key
from lawful_intercept.lemf.keyring import Keyring
from lawful_intercept.lemf.receiver import Place, Receiver
from lawful_intercept.lemf.sessions import Archive
from lawful_intercept.lemf.settings import LemfSettings, PayloadKey
from lawful_intercept.lemf.store import Store
from lawful_intercept.tls import client_context, server_context
from nf.clock import RealClock

AT_NS = 1_700_000_000_000_000_000
HEADER = Header(b"CASE-1", "NZ", b"svnf", b"pop1", "NZ")
LINK = Header(b"-", "NZ", b"svnf", b"pop1", "NZ")
TWENTY_MS = 20_000_000
INVITE = (
    b"INVITE sip:bob@example.org SIP/2.0\r\nCall-ID: 1@example.org\r\nCSeq: 1 INVITE\r\n"
    b"From: <sip:alice@example.org>;tag=1\r\nTo: <sip:bob@example.org>\r\n\r\n"
)
BYE = INVITE.replace(b"INVITE", b"BYE")


class Certificates:
    """Of an LI authority in a folder: the LEMF's, a deliverer's and an officer's."""

    def __init__(self, folder: Path, domain: str = "li.example") -> None:
        authority = pki.create(folder / f"{domain}-authority", domain, RealClock())
        into = folder / domain
        self.lemf = pki.issue(authority, pki.Who.ELEMENT, "lemf1", into, ip=["127.0.0.1"])
        self.mdf = pki.issue(authority, pki.Who.ELEMENT, "mdf1", into, ip=["127.0.0.1"])
        self.officer = pki.issue(authority, pki.Who.OFFICER, "anna", into)


def tls_files(issued: pki.Issued) -> TlsFiles:
    return TlsFiles(certificate=issued.certificate, key=issued.key, authority=issued.authority)


def settings(folder: Path, certificates: Certificates, **more: Any) -> LemfSettings:
    key = folder / "store-master.key"
    if not key.exists():
        write_key(key)
    free = Listen(address="127.0.0.1", port=0)
    return LemfSettings(
        name="lemf1",
        state=folder / "state",
        store_key=f"file:{key}",
        hi2=free,
        hi3=free,
        tls=tls_files(certificates.lemf),
        **more,
    )


def payload_key(folder: Path, liid: str, octets: bytes) -> PayloadKey:
    path = folder / f"payload-{len(octets)}.key"
    with contextlib.suppress(FileExistsError):
        descriptor = path.open("x")
        path.chmod(0o600)
        with descriptor:
            descriptor.write(octets.hex())
    return PayloadKey(liid=liid, key=f"file:{path}")


def open_store(chosen: LemfSettings) -> Store:
    chosen.state.mkdir(mode=0o700, exist_ok=True)
    with store_key(chosen.store_key, chosen.state, "journal") as key:
        return Store(chosen.state, key.aead(), Keyring.of(chosen), chosen.limit_mib << 20)


def open_archive(chosen: LemfSettings) -> Archive:
    with store_key(chosen.store_key, chosen.state, "journal") as key:
        return Archive(chosen.state, key.aead(), Keyring.of(chosen))


@contextlib.asynccontextmanager
async def receiving(chosen: LemfSettings, store: Store | None = None) -> AsyncIterator[Receiver]:
    own = store or open_store(chosen)
    receiver = Receiver(
        own,
        server_context(chosen.tls),
        [Place(2, "127.0.0.1", 0), Place(3, "127.0.0.1", 0)],
        domain="li.example",
        acknowledge=chosen.acknowledge,
        clock_ns=time.time_ns,
    )
    try:
        async with receiver:
            yield receiver
    finally:
        own.close()


class Delivery:
    """One connection to the receiver. `async with Delivery(...) as link`."""

    def __init__(self, port: int, issued: pki.Issued) -> None:
        self._port, self._context = port, client_context(tls_files(issued))
        self._splitter = Splitter()
        self._came: list[PsPdu] = []
        self._number = 0

    async def __aenter__(self) -> Self:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self._port, ssl=self._context)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()
        with contextlib.suppress(OSError, ssl.SSLError):
            await self.writer.wait_closed()

    async def send(self, *pdus: bytes) -> None:
        self.writer.write(b"".join(pdus))
        await self.writer.drain()

    async def answer(self) -> PsPdu:
        """Raises ConnectionError when the other side ended it."""
        while not self._came:
            octets = await self.reader.read(65_536)
            if not octets:
                raise ConnectionResetError
            self._came += [decode(one) for one in self._splitter.feed(octets)]
        return self._came.pop(0)

    async def negotiate(self) -> bool:
        """Whether acknowledgements are accepted."""
        await self.send(tri.option_request(LINK, self._next(), AT_NS))
        response = await self.answer()
        assert response.tri is Tri.OPTION_RESPONSE
        await self.send(tri.option_complete(LINK, self._next(), AT_NS))
        return tri.ACKNOWLEDGEMENT in tri.accepted_options(response)

    async def confirm(self) -> None:
        """All that was sent is stored when it returns."""
        number = self._next()
        await self.send(tri.acknowledgement_request(LINK, number, AT_NS))
        response = await self.answer()
        assert (response.tri, response.sequence) == (Tri.ACKNOWLEDGEMENT_RESPONSE, number)

    def _next(self) -> int:
        self._number += 1
        return self._number


def rtp(number: int, payload: bytes, kind: int = 8, ssrc: int = 1, step: int = 160) -> bytes:
    return struct.pack("!BBHII", 0x80, kind, number & 0xFFFF, number * step & 0xFFFF_FFFF, ssrc) + payload


def media(payloads: Sequence[bytes], header: Header = HEADER, cin: int = 7, **options: Any) -> list[bytes]:
    """CC of a call, one packet each 20 ms from the target."""
    template = CcTemplate(header, cin, **options)
    return [
        template.encode(number, AT_NS + number * TWENTY_MS, 0, rtp(number, payload))
        for number, payload in enumerate(payloads)
    ]


def messages(header: Header = HEADER, cin: int = 7) -> list[bytes]:
    """IRI of a call: begin and end."""
    template = IriTemplate(header, cin)
    ends = ("192.0.2.1", "192.0.2.2")
    return [
        template.sip(0, AT_NS, 1, *ends, INVITE),
        template.sip(1, AT_NS + 1_000_000_000, 2, *ends, BYE),
    ]
