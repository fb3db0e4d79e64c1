"""A point and an MDF on loopback with certificates of a real authority, and what each of them has."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from uuid import UUID

from lawful_intercept import pki, tls
from lawful_intercept.spool import Spool
from lawful_intercept.x2x3.client import Client, LinkState
from lawful_intercept.x2x3.codec import PayloadDirection, PayloadFormat, Pdu, PduType, x2_template, x3_template
from lawful_intercept.x2x3.delivery import Timing
from lawful_intercept.x2x3.server import Limits, Server
from nf.clock import RealClock

DOMAIN = "li.example"
XID = UUID("29f28e1c-f230-486a-a860-f5a784ab9172").bytes
QUICK = Timing(keepalive=0.3, answer=2.0, again=0.1, sync=0.02)
AT = 1_700_000_000_000_000_000
TEMPLATES = {
    PduType.X2: x2_template(XID, 1, PayloadFormat.SIP),
    PduType.X3: x3_template(XID, 1, PayloadFormat.RTP),
}


def files(folder: Path, name: str, domain: str = DOMAIN) -> pki.Issued:
    place, clock = folder / domain, RealClock()
    authority = pki.Authority.open(place, clock) if place.exists() else pki.create(place, domain, clock)
    issued = folder / "issued" / domain
    if (issued / f"{name}.pem").exists():
        return pki.Issued(issued / f"{name}.pem", issued / f"{name}.key", issued / "ca.pem")
    return pki.issue(authority, pki.Who.ELEMENT, name, issued, ip=["127.0.0.1"])


def numbered(kind: PduType, number: int, size: int = 40) -> bytes:
    """A PDU whose sequence number and payload tell which it is."""
    payload = b"%08d" % number + bytes(size)
    return TEMPLATES[kind].encode(number, AT + number, PayloadDirection.TO_TARGET, payload)


class Mediation:
    """What an MDF has durably, by kind, in the order in which it came: `fresh` without what came before."""

    def __init__(self) -> None:
        self.came: dict[PduType, list[int]] = {PduType.X2: [], PduType.X3: []}
        self.fresh: dict[PduType, list[int]] = {PduType.X2: [], PduType.X3: []}
        self.order: list[PduType] = []
        self.peers: set[str] = set()
        self.gate = asyncio.Event()
        self.gate.set()
        self.fails: list[Exception] = []
        self.arrived = asyncio.Condition()

    async def take(self, peer: str, pdus: Sequence[Pdu]) -> None:
        await self.gate.wait()
        if self.fails:
            raise self.fails.pop()
        self.peers.add(peer)
        for pdu in pdus:
            number = pdu.sequence
            assert number is not None
            assert pdu.payload.startswith(b"%08d" % number)
            self.came[pdu.kind].append(number)
            self.order.append(pdu.kind)
            fresh = self.fresh[pdu.kind]
            if not fresh or number > fresh[-1]:
                fresh.append(number)
        async with self.arrived:
            self.arrived.notify_all()

    async def until(self, kind: PduType, number: int) -> None:
        async with self.arrived:
            await self.arrived.wait_for(lambda: bool(self.fresh[kind]) and self.fresh[kind][-1] >= number)

    def gaps(self, kind: PduType) -> list[tuple[int, int]]:
        """(before, after) of what is missing."""
        fresh = [-1, *self.fresh[kind]]
        return [(before, after) for before, after in pairwise(fresh) if after != before + 1]


class World:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.mediation = Mediation()
        self.states: list[LinkState] = []
        self.lost: list[tuple[PduType, int]] = []
        self.port = 0
        self.allowed = ""
        self.failed: list[Exception] = []

    def server_tls(self, name: str = "mdf1", domain: str = DOMAIN) -> ssl.SSLContext:
        return tls.server_context(files(self.folder, name, domain))

    def client_tls(self, name: str = "poi1", domain: str = DOMAIN) -> ssl.SSLContext:
        return tls.client_context(files(self.folder, name, domain))

    def server(self, context: ssl.SSLContext | None = None, limits: Limits | None = None) -> Server:
        """At the port that it had before, if there was one before."""
        return Server(
            ("127.0.0.1", self.port),
            context or self.server_tls(),
            self.mediation.take,
            peer=lambda writer: tls.require(writer, DOMAIN, "element", self.allowed).name,
            limits=limits,
            failed=self.failed.append,
        )

    @asynccontextmanager
    async def mdf(self, context: ssl.SSLContext | None = None, limits: Limits | None = None) -> AsyncIterator[Server]:
        async with self.server(context, limits) as server:
            self.port = server.port
            yield server

    def spools(self, limit: int = 1 << 24) -> dict[PduType, Spool]:
        return {
            kind: Spool(self.folder / kind.name, bytes(32), kind.name.encode(), limit_octets=limit)
            for kind in (PduType.X2, PduType.X3)
        }

    def client(
        self,
        spools: dict[PduType, Spool],
        context: ssl.SSLContext | None = None,
        *,
        answers: bool = True,
        timing: Timing = QUICK,
        mdf: str = "mdf1",
    ) -> Client:
        return Client(
            ("127.0.0.1", self.port),
            context or self.client_tls(),
            spools,
            check=lambda writer: tls.require(writer, DOMAIN, "element", mdf),
            answers=answers,
            timing=timing,
            lost=lambda kind, count: self.lost.append((kind, count)),
            changed=self.states.append,
        )

    @asynccontextmanager
    async def point(
        self,
        context: ssl.SSLContext | None = None,
        *,
        answers: bool = True,
        limit: int = 1 << 24,
        timing: Timing = QUICK,
        mdf: str = "mdf1",
        before: Callable[[dict[PduType, Spool]], None] = lambda _: None,
    ) -> AsyncIterator[Client]:
        spools = self.spools(limit)
        before(spools)
        client = self.client(spools, context, answers=answers, timing=timing, mdf=mdf)
        running = asyncio.ensure_future(client.run())
        try:
            yield client
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            for spool in spools.values():
                spool.close()
