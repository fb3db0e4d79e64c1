"""An ADMF, a mediation function's TLS server, and the process of the points between them: certificates and sockets."""

from __future__ import annotations

import asyncio
import signal
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from uuid import UUID

from lawful_intercept import pki
from lawful_intercept.identifiers import TargetIdentifier
from lawful_intercept.keys import write_key
from lawful_intercept.tls import client_context, server_context
from lawful_intercept.x1.client import X1Client
from lawful_intercept.x1.exchange import ReportDestinationIssue, ReportNEIssue, ReportTaskIssue
from lawful_intercept.x1.faults import Code, X1NoAnswer
from lawful_intercept.x1.messages import DeliveryType, DestinationDetails, Provisioning, SocketAddress, TaskDetails
from lawful_intercept.x1.server import X1Server
from lawful_intercept.x1.services import AdministrationService
from lawful_intercept.x2x3.codec import Decoder, Pdu, PduType, keepalive
from nf.clock import RealClock
from tests.lawful_intercept.wire import SEEN, Cut
from tests.support.ports import free_port

DID = UUID(int=100)
LIMIT_S = 90.0
MAIN = """
import asyncio, contextlib, signal, sys
from pathlib import Path
from lawful_intercept import configuration, isolation
from lawful_intercept.points.process import run
from lawful_intercept.points.settings import PointsSettings
from nf.clock import RealClock

async def serve():
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, asyncio.current_task().cancel)
    await run(settings, RealClock())

settings = configuration.load(Path(sys.argv[1]), PointsSettings)
isolation.unseen(settings.user)
with contextlib.suppress(asyncio.CancelledError):
    isolation.run(serve)
"""
"""What `nf-li run points --config FILE` does."""


async def until(true: Callable[[], Any], what: Callable[[], Any] = lambda: "") -> None:
    """Awaits what becomes true; a limit for what never does."""
    end = asyncio.get_running_loop().time() + LIMIT_S
    while not true():
        assert asyncio.get_running_loop().time() < end, what()
        await asyncio.sleep(0.02)


class Mediation:
    """Takes X2 and X3, keeps them and answers keepalives. What it has is by octets, as they came."""

    def __init__(self, tls: ssl.SSLContext) -> None:
        self._tls = tls
        self.pdus: list[Pdu] = []
        self.connections = 0
        self.port = 0
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            for writer in tuple(self._writers):
                writer.transport.abort()
            self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        decoder, cut = Decoder(), Cut()
        try:
            with suppress(OSError):
                while octets := await reader.read(1 << 16):
                    SEEN.intercepted += cut.feed(octets)
                    for pdu in decoder.feed(octets):
                        if pdu.kind is PduType.KEEPALIVE:
                            writer.write(keepalive(pdu.sequence or 0, PduType.KEEPALIVE_ACK))
                        else:
                            self.pdus.append(pdu)
        finally:
            self._writers.discard(writer)
            writer.close()

    def of(self, kind: PduType, xid: UUID | None = None) -> list[Pdu]:
        """Without what came again after a connection was lost, in order of their numbers."""
        found = [pdu for pdu in self.pdus if pdu.kind is kind and (xid is None or pdu.xid == xid.bytes)]
        by_number = {(pdu.xid, pdu.attribute(7), pdu.sequence): pdu for pdu in found}
        return sorted(by_number.values(), key=lambda pdu: (pdu.attribute(7) or b"", pdu.sequence or 0))


class Admf:
    """Hears reports, and tasks the points."""

    def __init__(self) -> None:
        self.reports: list[Any] = []
        self.client: X1Client

    async def task_issue(self, element: str, report: ReportTaskIssue) -> None:
        self.reports.append(report)

    async def destination_issue(self, element: str, report: ReportDestinationIssue) -> None:
        self.reports.append(report)

    async def element_issue(self, element: str, report: ReportNEIssue) -> None:
        self.reports.append(report)

    def cleared(self) -> int:
        """How often the points have said that they know nothing any more."""
        return sum(getattr(report, "code", None) == Code.DATABASE_CLEARED for report in self.reports)


class Process:
    """`nf-li run points`, with `settings` in the way of its file."""

    def __init__(self, folder: Path, text: str, run_under: tuple[str, ...] = ()) -> None:
        self._config = folder / "points.yaml"
        self._config.write_text(text)
        self._config.chmod(0o600)
        self._log = folder / "points.log"
        self._under = run_under
        self.running: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        argv = [*self._under, sys.executable, "-c", MAIN, str(self._config)]
        with self._log.open("ab") as log:
            self.running = subprocess.Popen(argv, stdout=log, stderr=log, cwd=Path.cwd())

    def kill(self) -> None:
        if self.running is not None:
            self.running.send_signal(signal.SIGKILL)
            self.running.wait(30)

    def stop(self) -> None:
        if self.running is not None:
            self.running.terminate()
            self.running.wait(LIMIT_S)
            self.running = None

    def written(self) -> bytes:
        return self._log.read_bytes()


class Network:
    def __init__(self, admf: Admf, mediation: Mediation, process: Process) -> None:
        self.admf, self.mediation, self.process = admf, mediation, process

    async def ready(self, cleared: int) -> None:
        """The process runs, has said so, and knows its destination."""
        await until(lambda: self.admf.cleared() >= cleared, self.process.written)
        await self.admf.client.create_destination(
            DestinationDetails(DID, DeliveryType.X2_AND_X3, SocketAddress(ip_address("127.0.0.1"), self.mediation.port))
        )

    async def activate(
        self,
        target: TargetIdentifier,
        xid: UUID,
        delivery: DeliveryType = DeliveryType.X2_AND_X3,
    ) -> None:
        await self.admf.client.activate_task(TaskDetails(xid, (target,), delivery, (DID,)))

    async def complete(self, *xids: UUID) -> None:
        """The observation points have the orders."""
        async with asyncio.timeout(LIMIT_S):
            for xid in xids:
                record = await self.admf.client.get_task_details(xid)
                while record.status.provisioning is not Provisioning.COMPLETE:
                    await asyncio.sleep(0.05)
                    record = await self.admf.client.get_task_details(xid)

    async def end(self, *xids: UUID) -> None:
        for xid in xids:
            await self.admf.client.deactivate_task(xid)


def certificates(folder: Path) -> dict[str, pki.Issued]:
    """Of all elements, and a store key beside them."""
    authority = pki.create(folder / "ca", "li.example", RealClock())
    write_key(folder / "store")
    return {name: pki.issue(authority, pki.Who.ELEMENT, name, folder) for name in ("admf1", "mdf1", "poi1")}


@asynccontextmanager
async def network(
    folder: Path, run_dir: Path, points: str, *, run_under: tuple[str, ...] = (), extra: str = ""
) -> AsyncIterator[Network]:
    """`points`: the YAML of the section."""
    made = certificates(folder)
    admf, mediation = Admf(), Mediation(server_context(made["mdf1"]))
    await mediation.start()
    port = free_port()
    server = X1Server(
        "admf1",
        AdministrationService(admf),
        server_context(made["admf1"]),
        address="127.0.0.1",
        port=0,
        peers={"poi1"},
    )
    async with server:
        files = f"{{certificate: {folder}/poi1.pem, key: {folder}/poi1.key, authority: {folder}/ca.pem}}"
        text = (
            f"name: poi1\nstate: {folder}/state\nstore_key: file:{folder}/store\nrun_dir: {run_dir}\n"
            f"clock: {{assumed: true}}\nlisten: {{address: 127.0.0.1, port: {port}}}\ntls: {files}\n"
            f'admf: {{name: admf1, url: "https://127.0.0.1:{server.port}/X1/ADMF"}}\n'
            f"delivery: {{tls: {files}, mediation: [mdf1], spool_mib: 64}}\npoints: {points}\n{extra}"
        )
        process = Process(folder, text, run_under)
        admf.client = X1Client(
            f"https://127.0.0.1:{port}/X1/NE", client_context(made["admf1"]), "admf1", "poi1", timeout_s=60.0
        )
        process.start()
        try:
            yield Network(admf, mediation, process)
            assert process.written() == b""
        finally:
            with suppress(X1NoAnswer):
                await admf.client.close()
            process.stop()
            await mediation.stop()
