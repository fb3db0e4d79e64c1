"""Where X2 and X3 go: for each destination that the ADMF has named, spools on disk and a connection to its MDF.

Spools are encrypted, and named by what tells nobody of which destination they are. What one holds is there after a
restart, and goes on when the ADMF has named the destination anew. Signalling goes before content; when content does not
fit its spool, the oldest goes, is counted and told.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self
from uuid import UUID

from lawful_intercept import tls
from lawful_intercept.keys import SecretKey
from lawful_intercept.points import losses
from lawful_intercept.points.losses import Losses
from lawful_intercept.points.settings import Delivery
from lawful_intercept.spool import Spool, SpoolFullError
from lawful_intercept.x1.exchange import ReportDestinationIssue
from lawful_intercept.x1.faults import Code, X1Fault
from lawful_intercept.x1.messages import (
    DeliveryStatus,
    DestinationDetails,
    DestinationStatus,
    ReportType,
    SocketAddress,
    UnresolvedFault,
)
from lawful_intercept.x2x3.client import Client, LinkState
from lawful_intercept.x2x3.codec import PduType
from nf.clock import Clock
from nf.errors import IdentityError, NfError, StorageError

SHARES: Final = {PduType.X2: 4, PduType.X3: 4 / 3}
"""By which the room on disk is divided: a quarter for signalling."""
TOGETHER: Final = 256
"""X3 PDUs that are written at once at most."""
RENEW_S: Final = 600.0
_MIB: Final = 1 << 20
_DAY_S: Final = 86_400
_TEXTS: Final = {
    LinkState.AWAY: "mediation cannot be reached",
    LinkState.REFUSED: "mediation and this element do not take each other's certificates",
}
_FAILED: Final = "the disk does not take what is to be delivered"

Report = Callable[[ReportDestinationIssue], None]


@dataclass(slots=True, repr=False)
class _Link:
    """`told`: the ADMF knows that it does not work. `copies`: X3 that goes to its spool with this turn of the loop."""

    details: DestinationDetails
    spools: Mapping[PduType, Spool]
    client: Client
    running: asyncio.Task[None]
    told: bool = False
    failed: bool = False
    copies: list[bytes] = field(default_factory=list)


class MediationLinks:
    """`engine.Destinations`. `report`: takes what the ADMF is to hear of a destination."""

    def __init__(
        self,
        settings: Delivery,
        domain: str,
        state: Path,
        key: SecretKey,
        *,
        told: Losses,
        report: Report,
        clock: Clock,
    ) -> None:
        """Raises NfError for TLS files that are not what they should be."""
        self._settings, self._domain, self._key = settings, domain, key
        self._losses, self._report, self._clock = told, report, clock
        self._folder = state / "spool"
        self._tls = tls.client_context(settings.tls)
        self._links: dict[UUID, _Link] = {}
        self._renewing: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self._forget_old)
        self._renewing = asyncio.create_task(self._renew())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._renewing is not None:
            self._renewing.cancel()
        for link in tuple(self._links.values()):
            await self._end(link)
        self._links.clear()

    async def put(self, details: DestinationDetails) -> None:
        if not isinstance(details.address, SocketAddress):
            raise X1Fault(Code.ADDRESS_TYPE)
        link = self._links.get(details.did)
        if link is not None and link.details.address == details.address:
            link.details = details
            return
        if link is not None:
            await self._end(link)
            del self._links[details.did]
        self._links[details.did] = self._begin(details, details.address)

    async def remove(self, did: UUID) -> None:
        """What is not delivered by now stays on disk for a while, for a destination of the same DID."""
        link = self._links.pop(did, None)
        if link is not None:
            empty = not link.client.waiting
            await self._end(link)
            if empty:
                await asyncio.to_thread(shutil.rmtree, self._place(did), ignore_errors=True)

    async def send(self, did: UUID, kind: PduType, octets: bytes) -> None:
        """Raises SpoolFullError for X2, and where there is none; of X3 the oldest goes."""
        link = self._links.get(did)
        if link is None or link.failed:
            raise SpoolFullError("there is none")
        if kind is PduType.X3:
            self._gather(link, octets)
            return
        try:
            link.client.put_many(kind, (octets,))
        except StorageError:
            raise SpoolFullError("it takes nothing") from None

    def _gather(self, link: _Link, octets: bytes) -> None:
        """Packets that came together are written together, which costs a tenth."""
        link.copies.append(octets)
        if len(link.copies) == 1:
            asyncio.get_running_loop().call_soon(self._flush, link)
        elif len(link.copies) >= TOGETHER:
            self._flush(link)

    def _flush(self, link: _Link) -> None:
        """For those that do not fit, the oldest go."""
        copies, link.copies = link.copies, []
        if not copies:
            return
        try:
            try:
                link.client.put_many(PduType.X3, copies)
            except SpoolFullError:
                self._losses.add(None, losses.SPOOL, copies=len(link.spools[PduType.X3].drop_oldest()))
                link.client.put_many(PduType.X3, copies)
        except StorageError:
            self._losses.add(None, losses.SPOOL, copies=len(copies))

    def status(self, did: UUID) -> DestinationStatus:
        link = self._links.get(did)
        if link is None or link.failed:
            fault = UnresolvedFault(Code.TERMINATING_FAULT, _FAILED)
        elif link.client.state is LinkState.UP:
            return DestinationStatus()
        else:
            fault = UnresolvedFault(Code.NON_TERMINATING_FAULT, _TEXTS[link.client.state])
        return DestinationStatus(DeliveryStatus.FAULT, (fault,))

    def _begin(self, details: DestinationDetails, address: SocketAddress) -> _Link:
        """Raises X1Fault."""
        place = self._place(details.did)
        spools: dict[PduType, Spool] = {}
        try:
            place.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._key.opened() as octets:
                for kind, share in SHARES.items():
                    spools[kind] = Spool(
                        place / kind.name.lower(),
                        bytes(octets),
                        f"{kind.name} {place.name}".encode(),
                        limit_octets=int(self._settings.spool_mib * _MIB / share),
                    )
        except (NfError, OSError):
            for spool in spools.values():
                spool.close()
            raise X1Fault(Code.CREATE_DESTINATION_FAILED, _FAILED) from None
        did = details.did
        client = Client(
            (str(address.address), address.port),
            self._tls,
            spools,
            check=self._check,
            lost=self._damaged,
            changed=lambda state: self._changed(did, state),
        )
        running = asyncio.create_task(client.run())
        running.add_done_callback(lambda _: self._over(did))
        return _Link(details, spools, client, running)

    async def _end(self, link: _Link) -> None:
        self._flush(link)
        link.running.cancel()
        await asyncio.gather(link.running, return_exceptions=True)
        for spool in link.spools.values():
            with contextlib.suppress(StorageError, OSError):
                await spool.sync()
            with contextlib.suppress(StorageError, OSError):
                spool.close()

    def _check(self, writer: asyncio.StreamWriter) -> None:
        """Raises IdentityError."""
        peer = tls.require(writer, self._domain, "element")
        if peer.name not in self._settings.mediation:
            raise IdentityError("the peer is no mediation function", remedy="see delivery.mediation")

    def _changed(self, did: UUID, state: LinkState) -> None:
        link = self._links.get(did)
        if link is None:
            return
        if state is LinkState.UP:
            if link.told:
                self._report(ReportDestinationIssue(did, ReportType.ALL_CLEAR, Code.FAULT_CLEARED))
            link.told = False
        elif not link.told:
            link.told = True
            code = Code.NON_TERMINATING_FAULT
            self._report(ReportDestinationIssue(did, ReportType.NON_TERMINATING_FAULT, code, _TEXTS[state]))

    def _over(self, did: UUID) -> None:
        """A client ended by itself: its disk has failed."""
        link = self._links.get(did)
        if link is not None and link.running.done() and not link.running.cancelled():
            link.running.exception()
            link.failed = True
            code = Code.TERMINATING_FAULT
            self._report(ReportDestinationIssue(did, ReportType.TERMINATING_FAULT, code, _FAILED))

    def _damaged(self, kind: PduType, count: int) -> None:
        of_x2 = kind is PduType.X2
        self._losses.add(None, losses.DAMAGED, events=count * of_x2, copies=count * (not of_x2))

    def _place(self, did: UUID) -> Path:
        with self._key.opened() as octets:
            name = hmac.new(bytes(octets), b"destination" + did.bytes, hashlib.sha256).hexdigest()
        return self._folder / name[:32]

    def _forget_old(self) -> None:
        """Spools that nobody has named for long."""
        latest = self._clock.now() - self._settings.remember_days * _DAY_S
        for place in self._folder.glob("*") if self._folder.is_dir() else ():
            newest = max((one.stat().st_mtime for one in place.rglob("*")), default=0.0)
            if newest < latest:
                shutil.rmtree(place, ignore_errors=True)

    async def _renew(self) -> None:
        """For ever: a certificate that was renewed, for connections that come from then on."""
        while True:
            await self._clock.sleep(RENEW_S)
            with contextlib.suppress(NfError):
                tls.reload(self._tls, self._settings.tls)
