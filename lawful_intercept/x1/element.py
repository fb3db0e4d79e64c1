"""Tasks and destinations of a network element by X1's rules (ETSI TS 103 221-1 clauses 6.2, 6.3), for any of them.

The owner (points, mediation) is told what to do as a `TaskSink`; what X1 asks and answers stands here. When an ADMF is
not heard for too long, its tasks end: an element without administration does not go on intercepting.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final, Protocol
from uuid import UUID

from lawful_intercept.x1 import codec
from lawful_intercept.x1 import exchange as e
from lawful_intercept.x1.ending import ending_of
from lawful_intercept.x1.extensions import OWNER, handover_of
from lawful_intercept.x1.faults import TEXTS, Code, X1Fault
from lawful_intercept.x1.messages import (
    DeliveryType,
    DestinationDetails,
    DestinationRecord,
    DestinationStatus,
    ElementStatus,
    HandoverType,
    Header,
    IssueType,
    Outcome,
    ReportType,
    ServiceType,
    TaskDetails,
    TaskRecord,
    TaskStatus,
)
from lawful_intercept.x1.shelf import Shelf
from nf.clock import Clock
from nf.errors import NfError

_X2, _X3, _BOTH = DeliveryType.X2_ONLY, DeliveryType.X3_ONLY, DeliveryType.X2_AND_X3
_HANDED: Final = {HandoverType.HI2_ONLY: _X2, HandoverType.HI3_ONLY: _X3, HandoverType.HI2_AND_HI3: _BOTH}

STAMPS: Final = 6
"""How often within the time without keepalives it is kept when one came."""

Report = e.ReportTaskIssue | e.ReportDestinationIssue | e.ReportNEIssue


class TaskSink(Protocol):
    """What an element's owner does. Each call raises X1Fault, or another error, and has then changed nothing.

    They come one at a time. Destinations are there before the tasks that name them, and go after them.
    """

    async def put_destination(self, details: DestinationDetails) -> None:
        """New, or in place of the one with the same `did`."""

    async def remove_destination(self, details: DestinationDetails) -> None: ...

    async def activate(self, task: TaskDetails) -> None: ...

    async def modify(self, before: TaskDetails, after: TaskDetails) -> None: ...

    async def deactivate(self, task: TaskDetails) -> None: ...

    def task_status(self, xid: UUID) -> TaskStatus:
        """What is known of a task that is active. Modifications are counted by the element."""

    def destination_status(self, did: UUID) -> DestinationStatus: ...

    def status(self) -> ElementStatus: ...


@dataclass(slots=True)
class _Task:
    details: TaskDetails
    record: bytes
    modified: datetime | None = None
    modifications: int = 0


class Element:
    """A `services.NetworkElement`.

    mediation     tasks carry mediation details (an MDF); else none may
    shelf         where records survive a restart, with the time of the last Keepalive; None = in memory alone
    report        takes what the ADMF is to hear, and returns at once (`Reporter.put`)
    keepalive_s   without a Keepalive for so long the tasks end (fail-safe); None = never
    bulk          DeactivateAllTasks and RemoveAllDestinations are allowed
    services      service types that a task may name; None = the owner judges, and in mediation none may be named
    owners        of extensions to tasks that it understands, beside our points' own (`ending`); a task with another
                  one is refused
    """

    def __init__(
        self,
        sink: TaskSink,
        clock: Clock,
        *,
        mediation: bool,
        report: Callable[[Report], None],
        shelf: Shelf | None = None,
        keepalive_s: float | None = 180.0,
        bulk: bool = False,
        services: Collection[ServiceType] | None = None,
        owners: Collection[str] = (),
    ) -> None:
        self._sink = sink
        self._clock = clock
        self._mediation = mediation
        self._report = report
        self._shelf = shelf
        self._keepalive_s = keepalive_s
        self._bulk = bulk
        self._services = () if services is None and mediation else services
        self._owners = owners
        self._tasks: dict[UUID, _Task] = {}
        self._destinations: dict[UUID, tuple[DestinationDetails, bytes]] = {}
        self._heard = clock.monotonic()
        self._stamped = self._heard
        self._change = asyncio.Lock()

    async def start(self) -> None:
        """Takes up what was there before, and tells the ADMF where nothing is left (10000). Before requests come.

        The time without keepalives goes on; what was kept for longer than that is not taken up, nor a task that has
        ended meanwhile.
        """
        async with self._change:
            kept = await self._load()
            silent_s = self._silence(kept or ())
            self._heard = self._clock.monotonic() - (silent_s or 0.0)
            if silent_s is None:
                kept = None
            for record, request in kept or ():
                await self._restore(record, request.body)
            if kept is None:
                self._report(e.ReportNEIssue(IssueType.ALERT, TEXTS[Code.DATABASE_CLEARED], Code.DATABASE_CLEARED))
                await self._save()

    def _silence(self, kept: Iterable[tuple[bytes, e.Request]]) -> float | None:
        """For how long no keepalive has come, 0 where none has to; None: for too long."""
        if self._keepalive_s is None:
            return 0.0
        heard = [request.header.at.timestamp() for _, request in kept if request.body is e.Command.KEEPALIVE]
        silent_s = self._clock.now() - heard[0] if heard else None
        return max(silent_s, 0.0) if silent_s is not None and abs(silent_s) < self._keepalive_s else None

    async def watch(self) -> None:
        """Runs until cancelled: ends the tasks when keepalives stay away."""
        if self._keepalive_s is None:
            return
        while True:
            left = self._heard + self._keepalive_s - self._clock.monotonic()
            if left > 0:
                await self._clock.sleep(min(left, self._keepalive_s / STAMPS) if self._shelf is not None else left)
                await self._stamp()
                continue
            async with self._change:
                if self._tasks and self._heard + self._keepalive_s <= self._clock.monotonic():
                    await self._purge()
            await self._clock.sleep(self._keepalive_s / 10)

    async def _stamp(self) -> None:
        """A restart does not begin the time without keepalives anew."""
        if self._shelf is not None and self._stamped < self._heard:
            async with self._change:
                with contextlib.suppress(NfError):  # then it seems longer than it was
                    await self._save()

    def keepalive(self) -> None:
        self._heard = self._clock.monotonic()

    async def activate_task(self, details: TaskDetails) -> Outcome:
        async with self._change:
            if details.xid in self._tasks:
                raise X1Fault(Code.XID_EXISTS)
            self._check_task(details)
            await self._sink.activate(details)
            self._tasks[details.xid] = _Task(details, _record(e.ActivateTask(details)))
            try:
                await self._save()
            except NfError:
                del self._tasks[details.xid]
                await self._sink.deactivate(details)
                raise
        return Outcome.COMPLETED

    async def modify_task(self, details: TaskDetails) -> Outcome:
        async with self._change:
            task = self._task(details.xid)
            self._check_task(details)
            before = replace(task)
            await self._sink.modify(task.details, details)
            task.details, task.record = details, _record(e.ActivateTask(details))
            task.modified, task.modifications = datetime.fromtimestamp(self._clock.now(), UTC), task.modifications + 1
            try:
                await self._save()
            except NfError:
                self._tasks[details.xid] = before
                await self._sink.modify(details, before.details)
                raise
        return Outcome.COMPLETED

    async def deactivate_task(self, xid: UUID) -> Outcome:
        async with self._change:
            await self._end([self._task(xid)])
        return Outcome.COMPLETED

    async def deactivate_all_tasks(self) -> Outcome:
        if not self._bulk:
            raise X1Fault(Code.DEACTIVATE_ALL_DISABLED)
        async with self._change:
            await self._end(tuple(self._tasks.values()))
        return Outcome.COMPLETED

    async def create_destination(self, details: DestinationDetails) -> Outcome:
        async with self._change:
            if details.did in self._destinations:
                raise X1Fault(Code.DID_EXISTS)
            await self._put(details)
        return Outcome.COMPLETED

    async def modify_destination(self, details: DestinationDetails) -> Outcome:
        async with self._change:
            before = self._destination(details.did)
            self._destinations[details.did] = (details, b"")
            try:
                for task in self._tasks.values():
                    self._check_task(task.details)
            except X1Fault:
                raise X1Fault(Code.DELIVERY_TYPE, "a task needs this destination as it is") from None
            finally:
                self._destinations[details.did] = before
            await self._put(details)
        return Outcome.COMPLETED

    async def remove_destination(self, did: UUID) -> Outcome:
        async with self._change:
            details, _ = self._destination(did)
            if did in self._used():
                raise X1Fault(Code.DESTINATION_IN_USE)
            await self._remove([details])
        return Outcome.COMPLETED

    async def remove_all_destinations(self) -> Outcome:
        if not self._bulk:
            raise X1Fault(Code.REMOVE_ALL_DISABLED)
        async with self._change:
            if self._used():
                raise X1Fault(Code.REMOVE_ALL_IN_USE)
            await self._remove([details for details, _ in self._destinations.values()])
        return Outcome.COMPLETED

    def task(self, xid: UUID) -> TaskRecord:
        return self._task_record(self._task(xid))

    def tasks(self) -> Sequence[TaskRecord]:
        return [self._task_record(task) for task in self._tasks.values()]

    def destination(self, did: UUID) -> DestinationRecord:
        return DestinationRecord(self._destination(did)[0], self._sink.destination_status(did))

    def destinations(self) -> Sequence[DestinationRecord]:
        return [self.destination(did) for did in self._destinations]

    def status(self) -> ElementStatus:
        return self._sink.status()

    def _task(self, xid: UUID) -> _Task:
        if xid not in self._tasks:
            raise X1Fault(Code.XID_UNKNOWN)
        return self._tasks[xid]

    def _destination(self, did: UUID) -> tuple[DestinationDetails, bytes]:
        if did not in self._destinations:
            raise X1Fault(Code.DID_UNKNOWN)
        return self._destinations[did]

    def _task_record(self, task: _Task) -> TaskRecord:
        status = self._sink.task_status(task.details.xid)
        return TaskRecord(task.details, replace(status, last_modified=task.modified, modifications=task.modifications))

    def _used(self) -> set[UUID]:
        return {did for task in self._tasks.values() for did in _named(task.details)}

    def _check_task(self, task: TaskDetails) -> None:
        """What is not understood is refused: to pass over it would widen the interception or narrow it."""
        if self._services is not None and any(service not in self._services for service in task.services):
            raise X1Fault(Code.SERVICE_TYPE)
        owners = self._owners if self._mediation else {*self._owners, OWNER}
        if any(extension.owner not in owners for extension in task.extensions) or any(
            extension.owner != OWNER for mediation in task.mediation for extension in mediation.extensions
        ):
            raise X1Fault(Code.COMBINATION, "an extension is not known here")
        for mediation in task.mediation:
            handover_of(mediation.extensions)
        if not self._mediation:
            ending_of(task.extensions)
        if self._mediation is not bool(task.mediation):
            text = "mediation details are missing" if self._mediation else "mediation details are not for this element"
            raise X1Fault(Code.COMBINATION, text)
        if any(did not in self._destinations for did in _named(task)):
            raise X1Fault(Code.DID_UNKNOWN)
        for mediation in task.mediation:
            handed = _HANDED[mediation.delivery]
            if not task.delivery.covers(handed):
                raise X1Fault(Code.DELIVERY_TYPE, "more is handed over than the task delivers")
            self._check_delivery(handed, mediation.destinations or task.destinations)
        if not self._mediation or task.destinations:
            self._check_delivery(task.delivery, task.destinations)

    def _check_delivery(self, wanted: DeliveryType, dids: Iterable[UUID]) -> None:
        """Everything that is wanted has a destination."""
        there = [self._destinations[did][0].delivery for did in dids]
        for part in (_X2, _X3):
            if wanted.covers(part) and not any(delivery.covers(part) for delivery in there):
                raise X1Fault(Code.DELIVERY_TYPE)

    async def _put(self, details: DestinationDetails) -> None:
        handover_of(details.extensions)
        before = self._destinations.get(details.did)
        await self._sink.put_destination(details)
        self._destinations[details.did] = (details, _record(e.CreateDestination(details)))
        try:
            await self._save()
        except NfError:
            if before is None:
                del self._destinations[details.did]
                await self._sink.remove_destination(details)
            else:
                self._destinations[details.did] = before
                await self._sink.put_destination(before[0])
            raise

    async def _remove(self, destinations: Iterable[DestinationDetails]) -> None:
        for details in destinations:
            await self._sink.remove_destination(details)
            del self._destinations[details.did]
        await self._save_less()

    async def _end(self, tasks: Iterable[_Task]) -> None:
        """Interception ends first; the record follows."""
        failed = None
        for task in tasks:
            try:
                await self._sink.deactivate(task.details)
            except Exception as error:  # noqa: BLE001 - the others have to end all the same
                failed = error
            else:
                del self._tasks[task.details.xid]
        await self._save_less()
        if failed is not None:
            raise failed

    async def _purge(self) -> None:
        try:
            await self._end(tuple(self._tasks.values()))
        except Exception:  # noqa: BLE001 - it is tried again, and the ADMF hears of it
            self._report(
                e.ReportNEIssue(IssueType.FAULT_REPORT, TEXTS[Code.DEACTIVATE_ALL_FAILED], Code.DEACTIVATE_ALL_FAILED)
            )
        else:
            self._report(e.ReportNEIssue(IssueType.ALERT, TEXTS[Code.KEEPALIVES_MISSING], Code.KEEPALIVES_MISSING))

    async def _save(self) -> None:
        if self._shelf is not None:
            records = [record for _, record in self._destinations.values()]
            records += [task.record for task in self._tasks.values()]
            heard = self._heard
            if self._keepalive_s is not None:
                at = self._clock.now() - (self._clock.monotonic() - heard)
                records.insert(0, _record(e.Command.KEEPALIVE, at))
            await asyncio.to_thread(self._shelf.save, records)
            self._stamped = heard

    async def _save_less(self) -> None:
        """What has ended must not come back: where it cannot be written, nothing comes back."""
        try:
            await self._save()
        except NfError:
            if self._shelf is not None:
                await asyncio.to_thread(self._shelf.clear)

    async def _load(self) -> list[tuple[bytes, e.Request]] | None:
        """None: nothing was kept, or not as it was written."""
        if self._shelf is None:
            return None
        try:
            records = await asyncio.to_thread(self._shelf.load)
            return None if records is None else [(record, _request(record)) for record in records]
        except NfError:
            await asyncio.to_thread(self._shelf.clear)
            return None

    def _over(self, task: TaskDetails) -> bool:
        end = None if self._mediation else ending_of(task.extensions)
        return end is not None and end.timestamp() <= self._clock.now()

    async def _restore(self, record: bytes, body: e.RequestBody) -> None:
        try:
            if isinstance(body, e.CreateDestination):
                await self._sink.put_destination(body.details)
                self._destinations[body.details.did] = (body.details, record)
            elif isinstance(body, e.ActivateTask):
                self._check_task(body.details)
                if self._over(body.details):
                    return
                await self._sink.activate(body.details)
                self._tasks[body.details.xid] = _Task(body.details, record)
        except Exception:  # noqa: BLE001 - the ADMF hears of it, and provisions it anew
            self._report(_lost(body))


def _named(task: TaskDetails) -> set[UUID]:
    return {*task.destinations, *(did for mediation in task.mediation for did in mediation.destinations)}


def _record(body: e.RequestBody, at: float = 0.0) -> bytes:
    """As X1 writes it, so that what is kept is read by the same rules as what comes."""
    nobody = Header("-", "-", datetime.fromtimestamp(at, UTC), UUID(int=0))
    return codec.encode_requests([e.Request(nobody, body)])


def _request(record: bytes) -> e.Request:
    (request,) = codec.decode_requests(record)
    if isinstance(request, codec.Unreadable):
        raise request.fault
    return request


def _lost(body: e.RequestBody) -> Report:
    if isinstance(body, e.ActivateTask):
        code = Code.ACTIVATE_FAILED
        return e.ReportTaskIssue(body.details.xid, ReportType.TERMINATING_FAULT, code, TEXTS[code])
    code = Code.CREATE_DESTINATION_FAILED
    return e.ReportNEIssue(IssueType.FAULT_REPORT, TEXTS[code], code)
