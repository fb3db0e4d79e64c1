"""What the ADMF tasks, carried out: a `TaskSink` of X1's element (TS 103 221-1), which keeps tasks over restarts.

Activation is refused while the clock is not known to be right, or a key cannot be had. Raises X1Fault.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from lawful_intercept.mediation.agencies import Agencies
from lawful_intercept.mediation.alarms import Alarms, Code
from lawful_intercept.mediation.journal import Journal
from lawful_intercept.mediation.lines import Outlet, Secrets
from lawful_intercept.mediation.mediator import NS, Mediator
from lawful_intercept.mediation.products import Product, products_of
from lawful_intercept.timesync import TimeSync
from lawful_intercept.x1.faults import Code as X1Code
from lawful_intercept.x1.faults import X1Fault
from lawful_intercept.x1.messages import (
    DeliveryStatus,
    DestinationDetails,
    DestinationStatus,
    ElementCondition,
    ElementStatus,
    TaskDetails,
    TaskStatus,
    UnresolvedFault,
)
from nf.clock import Clock
from nf.errors import NfError, RefusedError

_NONE: Final[tuple[Product, ...]] = ()
_STANDING: Final = (Code.FULL, Code.STATE, Code.CLOCK, Code.FAILED, Code.INTAKE)


class Products:
    """Of each XID that is tasked, or that a task's product carries."""

    def __init__(self) -> None:
        self._by_xid: dict[bytes, tuple[Product, ...]] = {}
        self.tasks: dict[UUID, TaskDetails] = {}

    def of(self, xid: bytes) -> tuple[Product, ...]:
        return self._by_xid.get(xid, _NONE)

    def put(self, task: TaskDetails, products: tuple[Product, ...]) -> None:
        """Raises X1Fault: another task's product carries the same XID."""
        if any({*_xids(task)} & {*_xids(other)} for xid, other in self.tasks.items() if xid != task.xid):
            raise X1Fault(X1Code.COMBINATION, "another task's product carries this XID")
        self.remove(task.xid)
        self.tasks[task.xid] = task
        self._by_xid |= dict.fromkeys(_xids(task), products)

    def remove(self, xid: UUID) -> None:
        task = self.tasks.pop(xid, None)
        for one in _xids(task) if task is not None else ():
            self._by_xid.pop(one, None)

    def at(self, label: str) -> list[Product]:
        """All that are delivered by that spool."""
        return [
            product
            for task in self.tasks.values()
            for product in self.of(task.xid.bytes)
            if f"{product.did}/{int(product.kind)}" == label
        ]


class Tasking:
    def __init__(
        self,
        products: Products,
        mediator: Mediator,
        agencies: Agencies,
        journal: Journal,
        *,
        alarms: Alarms,
        timesync: TimeSync,
        clock: Clock,
    ) -> None:
        self._products = products
        self._mediator = mediator
        self._agencies = agencies
        self._journal = journal
        self._alarms = alarms
        self._timesync = timesync
        self._clock = clock
        self._destinations: dict[UUID, DestinationDetails] = {}
        self._secrets: dict[UUID, list[Secrets]] = {}
        self.restoring = True
        """What was tasked before a restart goes on, whatever the clock says."""

    async def put_destination(self, details: DestinationDetails) -> None:
        """Settings of tasks that have none of their own are this destination's."""
        known = {**self._destinations, details.did: details}
        using = [
            task
            for task in self._products.tasks.values()
            if any(product.did == details.did for product in self._products.of(task.xid.bytes))
        ]
        made = [(task, *(await self._outlets(task, products_of(task, known)))) for task in using]
        await self._agencies.put(details)
        self._destinations[details.did] = details
        for task, outlets, secrets in made:
            self._equip(task, outlets, secrets)
        await self._journal.durable()

    async def remove_destination(self, details: DestinationDetails) -> None:
        await self._agencies.remove(details.did)
        self._destinations.pop(details.did, None)
        await self._journal.durable()

    async def activate(self, task: TaskDetails) -> None:
        await self._require_clock(X1Code.ACTIVATE_FAILED)
        outlets, secrets = await self._outlets(task, products_of(task, self._destinations))
        self._equip(task, outlets, secrets)
        await self._journal.durable()

    async def modify(self, before: TaskDetails, after: TaskDetails) -> None:
        """Whatever the clock says, a task can be made to end sooner."""
        products = products_of(after, self._destinations)
        if not _narrower(self._products.of(before.xid.bytes), products):
            await self._require_clock(X1Code.MODIFY_FAILED)
        outlets, secrets = await self._outlets(after, products)
        self._equip(after, outlets, secrets)
        await self._journal.durable()

    async def deactivate(self, task: TaskDetails) -> None:
        """What was staged is delivered; what comes from now on is nobody's."""
        self._products.remove(task.xid)
        self._mediator.strip(task.xid, forget=True)
        self._wipe(task.xid)
        self._alarms.forget(str(task.xid))
        await self._journal.durable()

    def task_status(self, xid: UUID) -> TaskStatus:
        amount = self._mediator.amounts.get(xid.bytes)
        faults = _faults(one.text for one in self._alarms.standing(about=str(xid)))
        if amount is None:
            return TaskStatus(faults=faults)
        last = datetime.fromtimestamp(amount.last_ns / NS, UTC)
        return TaskStatus(faults=faults, last_intercept=last, x2_octets=amount.x2_octets, x3_octets=amount.x3_octets)

    def destination_status(self, did: UUID) -> DestinationStatus:
        standing = self._alarms.standing(about=str(did))
        if not standing and not self._agencies.away(did):
            return DestinationStatus()
        return DestinationStatus(DeliveryStatus.FAULT, _faults(one.text for one in standing))

    def status(self) -> ElementStatus:
        standing = self._alarms.standing(*_STANDING)
        if not standing:
            return ElementStatus()
        return ElementStatus(ElementCondition.FAULTS, _faults(one.text for one in standing))

    def dropped(self, label: str, count: int) -> None:
        """A spool gave up PS-PDUs: those whose product may be among them hear of it."""
        now_ns = int(self._clock.now() * NS)
        for product in self._products.at(label):
            self._mediator.notices.message(
                product, f"up to {count} PDUs of your product were lost in mediation", now_ns
            )

    async def _require_clock(self, code: X1Code) -> None:
        if self.restoring:
            return
        try:
            await self._timesync.require()
        except RefusedError:
            self._alarms.stands(Code.CLOCK, "", "the clock is not known to be right: no task is activated")
            raise X1Fault(code, "this element's clock is not known to be right") from None
        self._alarms.over(Code.CLOCK, "")

    async def _outlets(self, task: TaskDetails, products: tuple[Product, ...]) -> tuple[list[Outlet], list[Secrets]]:
        """With the keys that they need. Raises X1Fault."""
        now_s = int(self._clock.now())
        shared: dict[tuple[str, UUID], Secrets] = {}
        try:
            for product in products:
                key = (product.liid, product.did)
                if key not in shared:
                    shared[key] = await asyncio.to_thread(Secrets, product.settings, now_s)
            return [Outlet(product, shared[product.liid, product.did]) for product in products], [*shared.values()]
        except NfError as error:
            for secrets in shared.values():
                secrets.close()
            code = X1Code.MODIFY_FAILED if task.xid in self._products.tasks else X1Code.ACTIVATE_FAILED
            raise X1Fault(code, f"keys or handover settings: {error.message}") from None

    def _equip(self, task: TaskDetails, outlets: list[Outlet], secrets: list[Secrets]) -> None:
        try:
            self._products.put(task, tuple(outlet.product for outlet in outlets))
        except X1Fault:
            for one in secrets:
                one.close()
            raise
        self._mediator.strip(task.xid, forget=False)
        self._mediator.streams.equip(outlets)
        self._wipe(task.xid)
        self._secrets[task.xid] = secrets

    def _wipe(self, xid: UUID) -> None:
        for secrets in self._secrets.pop(xid, ()):
            secrets.close()


def _xids(task: TaskDetails) -> tuple[bytes, ...]:
    carried = task.product or task.xid
    return tuple({task.xid.bytes, carried.bytes})


def _narrower(before: Iterable[Product], after: Iterable[Product]) -> bool:
    """Nothing more is handed over, to nobody else, and for no longer."""
    known = {product.stream: product for product in before}
    return all(
        (was := known.get(product.stream)) is not None
        and was.start_ns <= product.start_ns
        and product.end_ns <= was.end_ns
        and was.iri_only <= product.iri_only
        for product in after
    )


def _faults(texts: Iterable[str]) -> tuple[UnresolvedFault, ...]:
    return tuple(UnresolvedFault(X1Code.NON_TERMINATING_FAULT, text) for text in texts)
