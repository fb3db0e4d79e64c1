"""An agency for tests: takes HI2 or HI3 over TLS, or plain, and can be slow, silent, choosy or gone."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

from lawful_intercept import pki, tls
from lawful_intercept.handover import tri
from lawful_intercept.handover.decoder import PsPdu, Tri, decode
from lawful_intercept.handover.integrity import CheckType, read_check
from lawful_intercept.handover.splitter import Splitter
from lawful_intercept.handover.values import DataType
from nf.clock import RealClock
from tests.lawful_intercept.wire import SEEN


class Certificates:
    """Of one link: an authority, and a certificate for each end."""

    def __init__(self, path: Path, domain: str = "li.agency.example") -> None:
        self.domain = domain
        self.authority = pki.create(path / "authority", domain, RealClock())
        self.path = path

    def issue(self, name: str) -> pki.Issued:
        return pki.issue(self.authority, pki.Who.ELEMENT, name, self.path / name, replace=True)

    def issue_again(self, name: str) -> pki.Issued:
        return pki.issue(self.authority, pki.Who.ELEMENT, name, self.path / f"{name}-again", replace=True)


class Agency:
    """`pdus`: all that came, transport information left out; `connections`: the same for each connection, whole.

    `holds`: octets that wait in its sockets before it reads them; 0: as many as the kernel thinks fit.
    """

    def __init__(self, context: ssl.SSLContext | None, *, acknowledges: bool = False, holds: int = 0) -> None:
        self.context = context
        self.holds = holds
        self.acknowledges = acknowledges
        self.answers = True
        self.reading = asyncio.Event()
        self.reading.set()
        self.pdus: list[bytes] = []
        self.connections: list[list[PsPdu]] = []
        self.streams: dict[tuple[bytes, int | None, str], dict[int, PsPdu]] = {}
        """By LIID, CIN and IRI or CC, then by number: what came twice is there once."""
        self.covered = 0
        """CC that hashes name; one that comes twice counts once."""
        self._checks: set[bytes] = set()
        self.port = 0
        self._server: asyncio.Server | None = None
        self._writers: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._changed = asyncio.Condition()

    async def start(self) -> None:
        """On the port that it had before."""
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if self.holds:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.holds)
        sock.bind(("127.0.0.1", self.port))
        self._server = await asyncio.start_server(self._serve, sock=sock, ssl=self.context, limit=1 << 16)
        self.port = sock.getsockname()[1]

    async def stop(self) -> None:
        """Without a word, as when it is killed: what was not read is lost."""
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        while self._writers or server._active_count:  # type: ignore[attr-defined]
            # Those whose handshake is under way become connections first.
            for task, writer in list(self._writers.items()):
                writer.transport.abort()
                task.cancel()
            await asyncio.sleep(0.005)

    async def until(self, good: Callable[[], bool]) -> None:
        async with asyncio.timeout(30), self._changed:
            await self._changed.wait_for(good)

    async def has(self, count: int) -> None:
        await self.until(lambda: len(self.pdus) >= count)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._writers[task] = writer
        splitter, mine = Splitter(), list[PsPdu]()
        self.connections.append(mine)
        try:
            while True:
                await self.reading.wait()
                octets = await reader.read(1 << 16)
                if not octets:
                    return
                for one in splitter.feed(octets):
                    await self._take(one, mine, writer)
                async with self._changed:
                    self._changed.notify_all()
        except (OSError, ssl.SSLError):
            pass
        finally:
            self._writers.pop(task)
            with contextlib.suppress(OSError, ssl.SSLError):
                writer.close()
            async with self._changed:
                self._changed.notify_all()

    async def _take(self, octets: bytes, mine: list[PsPdu], writer: asyncio.StreamWriter) -> None:
        SEEN.handed_over.append(octets)
        pdu = decode(octets)
        mine.append(pdu)
        if pdu.iri or pdu.cc or pdu.encrypted:
            self.pdus.append(octets)
            stream = (pdu.liid, pdu.cin, "iri" if pdu.iri else "cc")
            self.streams.setdefault(stream, {}).setdefault(pdu.sequence, pdu)
        if pdu.tri is Tri.INTEGRITY_CHECK and octets not in self._checks:
            self._checks.add(octets)
            check = read_check(pdu)
            if check.check_type is CheckType.HASH and check.data_type is DataType.CC:
                self.covered += len(check.numbers)
        if not self.answers:
            return
        if pdu.tri is Tri.KEEP_ALIVE:
            writer.write(tri.answer(pdu, Tri.KEEP_ALIVE_RESPONSE))
        elif pdu.tri is Tri.OPTION_REQUEST:
            writer.write(tri.option_response(pdu, [tri.ACKNOWLEDGEMENT] if self.acknowledges else []))
        elif pdu.tri is Tri.ACKNOWLEDGEMENT_REQUEST:
            writer.write(tri.acknowledgement_response(pdu))


def agency_context(certificates: Certificates, name: str = "lemf") -> ssl.SSLContext:
    return tls.server_context(certificates.issue(name))
