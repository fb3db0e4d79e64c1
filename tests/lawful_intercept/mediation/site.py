"""One MDF with an ADMF that tasks it, a point that delivers, and agencies: real TLS on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from pathlib import Path
from typing import Self
from uuid import UUID

import yaml

from lawful_intercept import tls
from lawful_intercept.keys import write_key
from lawful_intercept.mediation.process import Mediation
from lawful_intercept.mediation.settings import MediationSettings
from lawful_intercept.spool import Spool
from lawful_intercept.x1 import exchange as x1
from lawful_intercept.x1.client import X1Client
from lawful_intercept.x1.messages import DestinationDetails, TaskDetails
from lawful_intercept.x1.server import X1Server
from lawful_intercept.x1.services import AdministrationService
from lawful_intercept.x2x3.client import Client
from lawful_intercept.x2x3.codec import PduType
from lawful_intercept.x2x3.delivery import Timing
from nf.clock import Clock, RealClock
from nf.documents.loader import load_model
from tests.lawful_intercept.mediation.agency import Agency, Certificates, agency_context
from tests.lawful_intercept.mediation.world import KEY, Point

PROGRAM = Path(__file__).with_name("mdf.py")


class Admf:
    """Hears reports."""

    def __init__(self) -> None:
        self.reports: list[x1.ReportTaskIssue | x1.ReportDestinationIssue | x1.ReportNEIssue] = []
        self._changed = asyncio.Condition()

    async def task_issue(self, element: str, report: x1.ReportTaskIssue) -> None:
        await self._heard(report)

    async def destination_issue(self, element: str, report: x1.ReportDestinationIssue) -> None:
        await self._heard(report)

    async def element_issue(self, element: str, report: x1.ReportNEIssue) -> None:
        await self._heard(report)

    async def _heard(self, report: x1.ReportTaskIssue | x1.ReportDestinationIssue | x1.ReportNEIssue) -> None:
        async with self._changed:
            self.reports.append(report)
            self._changed.notify_all()

    async def hears(self, text: str) -> x1.ReportTaskIssue | x1.ReportDestinationIssue | x1.ReportNEIssue:
        """The first report whose text begins so."""
        async with asyncio.timeout(30), self._changed:
            await self._changed.wait_for(lambda: any((one.text or "").startswith(text) for one in self.reports))
        return next(one for one in self.reports if (one.text or "").startswith(text))


class Site:
    def __init__(self, path: Path, **settings: object) -> None:
        self.path = path
        self.li = Certificates(path / "li", "li.example")
        self.state = path / "state"
        self._extra = settings
        self.admf = Admf()
        self.agencies: list[Agency] = []
        self.points = ["pop1"]
        self.links: list[dict[str, object]] = []
        self.mediation: Mediation | None = None
        self.process: asyncio.subprocess.Process | None = None
        self.ports = (0, 0)
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        self.reporting = X1Server(
            "admf",
            AdministrationService(self.admf),
            tls.server_context(self.li.issue("admf")),
            address="127.0.0.1",
            port=0,
            peers={"mdf"},
        )
        await self._stack.enter_async_context(self.reporting)
        write_key(self.path / "key")
        self._own = self.li.issue("mdf")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()

    async def agency(self, name: str = "lemf", *, acknowledges: bool = False) -> Agency:
        """With an authority of its own."""
        certificates = Certificates(self.path / f"agency-{name}", f"li.{name}.example")
        made = Agency(agency_context(certificates, name), acknowledges=acknowledges)
        await made.start()
        self._stack.push_async_callback(made.stop)
        own = certificates.issue("mdf")
        files = {"certificate": str(own.certificate), "key": str(own.key), "authority": str(own.authority)}
        self.links.append(
            {"address": "127.0.0.1", "port": made.port, "domain": certificates.domain, "peer": name, "tls": files}
        )
        self.agencies.append(made)
        return made

    def settings(self) -> MediationSettings:
        return load_model(MediationSettings, self.configuration().encode(), file="mdf.yaml")

    def configuration(self) -> str:
        own = self._own
        files = {"certificate": str(own.certificate), "key": str(own.key), "authority": str(own.authority)}
        anywhere = {"address": "127.0.0.1", "port": 0}
        return yaml.safe_dump(
            {
                "name": "mdf",
                "state": str(self.state),
                "store_key": f"file:{self.path / 'key'}",
                "clock": {"assumed": True},
                "listen": {**anywhere, "port": self.ports[0]},
                "tls": files,
                "admf": {"name": "admf", "url": f"https://127.0.0.1:{self.reporting.port}/X1/ADMF"},
                "x2x3": {"listen": {**anywhere, "port": self.ports[1]}, "tls": files, "points": self.points},
                "agencies": self.links,
                **self._extra,
            }
        )

    async def start(self, clock: Clock | None = None, **options: object) -> Mediation:
        """In this process."""
        self.mediation = Mediation(self.settings(), clock or RealClock(), **options)  # type: ignore[arg-type]
        await self._stack.enter_async_context(self.mediation)
        self.ports = (self.mediation.x1.port, self.mediation.x2x3.port)
        return self.mediation

    async def launch(self) -> None:
        """As a process, on the ports that it had before."""
        config = self.path / "mdf.yaml"
        config.write_text(self.configuration())
        config.chmod(0o600)
        self.process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(PROGRAM),
            str(config),
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
        )
        assert self.process.stdout is not None
        line = await self.process.stdout.readline()
        x1_port, x2x3_port = map(int, line.split())
        self.ports = (x1_port, x2x3_port)

    async def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        await self.process.wait()

    async def tasks(self) -> X1Client:
        client = X1Client(
            f"https://127.0.0.1:{self.ports[0]}/X1/NE", tls.client_context(self.li.issue_again("admf")), "admf", "mdf"
        )
        self._stack.push_async_callback(client.close)
        return client

    async def task(self, details: TaskDetails, *destinations: DestinationDetails) -> X1Client:
        client = await self.tasks()
        for one in destinations:
            await client.create_destination(one)
        await client.activate_task(details)
        return client

    async def point(self, xid: UUID, name: str = "pop1") -> DeliveringPoint:
        made = DeliveringPoint(self, xid, name)
        await self._stack.enter_async_context(made)
        return made


class DeliveringPoint(Point):
    """With spools and the real client of X2 and X3."""

    def __init__(self, site: Site, xid: UUID, name: str) -> None:
        super().__init__(xid, at=RealClock().now())
        self._site = site
        spools = site.path / f"point-{name}"
        self.spools = {kind: Spool(spools / kind.name, KEY, kind.name.encode()) for kind in (PduType.X2, PduType.X3)}
        self.client = Client(
            ("127.0.0.1", site.ports[1]),
            tls.client_context(site.li.issue(name)),
            self.spools,
            check=lambda writer: tls.require(writer, "li.example", "element", "mdf"),
            timing=Timing(answer=5.0, again=0.2),
        )

    async def __aenter__(self) -> Self:
        self._running = asyncio.create_task(self.client.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)
        for spool in self.spools.values():
            spool.close()

    async def deliver(self, *octets: bytes) -> None:
        for one in octets:
            kind = PduType(one[3])
            await self.client.put(kind, one)

    async def delivered(self) -> None:
        """All is durable at the MDF."""
        async with asyncio.timeout(30):
            await self.client.drained()
