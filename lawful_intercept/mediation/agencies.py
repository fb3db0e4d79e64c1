"""All destinations: their spools, their certificates, and who delivers to each. Nothing here waits for an agency."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import shutil
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from uuid import UUID

from lawful_intercept import tls
from lawful_intercept.handover.values import DataType
from lawful_intercept.keys import SecretKey
from lawful_intercept.mediation.alarms import Alarms, Code
from lawful_intercept.mediation.correlation import Numbers
from lawful_intercept.mediation.delivery import Delivery, Pace
from lawful_intercept.mediation.journal import Journal, Outbox
from lawful_intercept.mediation.link import Link, connect
from lawful_intercept.mediation.products import Target, targets_of
from lawful_intercept.mediation.settings import AgencyLink, SpoolSettings
from lawful_intercept.mediation.state import State
from lawful_intercept.spool import Spool
from lawful_intercept.x1.faults import Code as X1Code
from lawful_intercept.x1.faults import X1Fault
from lawful_intercept.x1.messages import DestinationDetails
from nf.clock import Clock
from nf.errors import NfError, UnavailableError

_DIRECTORY: Final = "spools"


@dataclass(slots=True, repr=False)
class _Running:
    delivery: Delivery
    task: asyncio.Task[None]


class Agencies:
    """By label (`products.Target.label`). Raises X1Fault for what the ADMF has to hear."""

    def __init__(
        self,
        directory: Path,
        key: SecretKey,
        state: State,
        *,
        journal: Journal,
        numbers: Numbers,
        alarms: Alarms,
        clock: Clock,
        links: tuple[AgencyLink, ...],
        spools: SpoolSettings,
        plain: bool = False,
        pace: Pace | None = None,
    ) -> None:
        """`links`: certificates, by address. `plain`: destinations without TLS are allowed (laboratories)."""
        self._directory = directory / _DIRECTORY
        self._key = key
        self._journal = journal
        self._numbers = numbers
        self._alarms = alarms
        self._clock = clock
        self._links = links
        self._spools = spools
        self._plain = plain
        self._pace = pace
        self._running: dict[str, _Running] = {}
        self._tokens: dict[str, str] = {name: json.loads(value) for name, value in state.rows("spool")}
        self._dirty: dict[str, bytes | None] = {}
        self.lost: Callable[[str, int], None] = lambda _label, _count: None

    def collect(self) -> dict[str, bytes | None]:
        """Rows that are others since the last time, for the next commit."""
        found, self._dirty = self._dirty, {}
        return found

    def check(self, details: DestinationDetails) -> tuple[Target, ...]:
        """That it can be delivered to."""
        targets = targets_of(details)
        for target in targets:
            if target.settings.tls:
                try:
                    self._context(target)
                except NfError:
                    raise X1Fault(
                        X1Code.CREATE_DESTINATION_FAILED, "no good certificates are configured for this address"
                    ) from None
            elif not self._plain:
                raise X1Fault(X1Code.CREATE_DESTINATION_FAILED, "handover without TLS is not allowed here")
        return targets

    async def put(self, details: DestinationDetails) -> None:
        """New, or in place of the one before: what waits is delivered to where it is now."""
        targets = self.check(details)
        wanted = {target.label for target in targets}
        labels = [f"{details.did}/{int(kind)}" for kind in DataType]
        for label in labels:
            if label not in wanted and self.waiting(label):
                raise X1Fault(
                    X1Code.MODIFY_DESTINATION_FAILED, "product waits for what would not be delivered any more"
                )
        for label in labels:
            await self._stop(label)
        first: Delivery | None = None
        for target in targets:
            outbox = self._journal.outboxes.get(target.label) or self._open(target.label)
            delivery = Delivery(
                target,
                outbox,
                self._connector(target),
                alarms=self._alarms,
                clock=self._clock,
                first=first,
                pace=self._pace,
                lost=self._lost,
            )
            self._running[target.label] = _Running(delivery, asyncio.create_task(delivery.run()))
            first = delivery

    async def remove(self, did: UUID) -> None:
        labels = [f"{did}/{int(kind)}" for kind in DataType]
        if any(self.waiting(label) for label in labels):
            raise X1Fault(X1Code.REMOVE_DESTINATION_FAILED, "product waits to be delivered to this destination")
        for label in labels:
            await self._stop(label)
            outbox = self._journal.close(label)
            token = self._tokens.pop(label, None)
            self._dirty |= {f"spool/{label}": None, f"void/{label}": None}
            if outbox is not None and token is not None:
                outbox.spool.close()
                await asyncio.to_thread(shutil.rmtree, self._directory / token, ignore_errors=True)
            self._numbers.forget(f"committed/{label}")
            self._numbers.forget(f"held/{label}")
        self._numbers.forget(f"message/{did}/")
        self._alarms.forget(str(did))

    def waiting(self, label: str) -> int:
        outbox = self._journal.outboxes.get(label)
        return 0 if outbox is None else outbox.waiting + len(outbox.staged)

    def away(self, did: UUID) -> bool:
        """Whether one of its connections is not there."""
        found = [one.delivery for one in self._running.values() if one.delivery.target.did == did]
        return not all(one.connected for one in found)

    async def close(self) -> None:
        for label in list(self._running):
            await self._stop(label)
        for outbox in self._journal.outboxes.values():
            outbox.spool.close()

    def _lost(self, label: str, count: int) -> None:
        self.lost(label, count)

    async def _stop(self, label: str) -> None:
        running = self._running.pop(label, None)
        if running is not None:
            running.task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running.task

    def _open(self, label: str) -> Outbox:
        token = self._tokens.get(label)
        if token is None:
            token = self._tokens[label] = secrets.token_hex(8)
            self._dirty[f"spool/{label}"] = json.dumps(token).encode()
        limit = self._spools.iri_octets if label.endswith(f"/{int(DataType.IRI)}") else self._spools.cc_octets
        with self._key.opened() as octets:
            spool = Spool(self._directory / token, bytes(octets), b"mediation " + token.encode(), limit_octets=limit)
        outbox = self._journal.open(label, spool, self._numbers)
        if outbox.missing or spool.recovery.damaged:
            count = outbox.missing + sum(map(len, spool.recovery.damaged))
            about = label.partition("/")[0]
            self._alarms.happened(Code.SPOOL, about, f"{count} PS-PDUs of a spool are changed or removed")
        return outbox

    def _connector(self, target: Target) -> Callable[[], Awaitable[Link]]:
        async def made() -> Link:
            link = self._link(target)
            try:
                context = self._context(target) if target.settings.tls else None
            except NfError as error:
                raise UnavailableError(error.message) from error

            def expected(session: ssl.SSLObject) -> None:
                if link is not None:  # without one there is no TLS
                    tls.require(session, link.domain, "element", link.peer)

            return await connect(target.host, target.port, context, expected)

        return made

    def _link(self, target: Target) -> AgencyLink | None:
        """The settings of its address and port, of its address, or of any address, in this order."""
        fitting = [one for one in self._links if one.fits(target.host, target.port)]
        return max(fitting, key=lambda one: one.exactness, default=None)

    def _context(self, target: Target) -> ssl.SSLContext:
        """Anew for each connection: certificates are renewed. Raises NfError."""
        link = self._link(target)
        if link is None:
            raise X1Fault(X1Code.CREATE_DESTINATION_FAILED)
        return tls.client_context(link.tls)
