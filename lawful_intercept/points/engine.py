"""What X1's tasks are at this appliance: orders at its observation points, and their product as X2 and X3.

Each task has its own orders and products, also where several have the same target.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Final, Protocol
from uuid import UUID

from lawful_intercept.points import losses
from lawful_intercept.points.identities import Sought, UnmatchableError, planned
from lawful_intercept.points.losses import CAUSES, Losses
from lawful_intercept.points.products import Place, Products
from lawful_intercept.points.watching import Watch
from lawful_intercept.spool.errors import SpoolFullError
from lawful_intercept.timesync import TimeSync
from lawful_intercept.x1.ending import ending_of
from lawful_intercept.x1.extensions import OWNER
from lawful_intercept.x1.faults import Code, X1Fault
from lawful_intercept.x1.messages import (
    DeliveryType,
    DestinationDetails,
    DestinationStatus,
    ElementCondition,
    ElementStatus,
    Provisioning,
    ServiceType,
    TaskDetails,
    TaskStatus,
    UnresolvedFault,
)
from lawful_intercept.x2x3.codec import PduType
from nf.clock import Clock
from nf.contracts.interception import Delivery, Event, Identity, Loss, LossPlace, Order
from nf.errors import InputError, RefusedError, StorageError

SERVICES: Final = {"sip": ServiceType.VOICE, "core5g": ServiceType.DATA}
"""Which service each point sees (TS 103 221-1, listOfServiceTypes)."""


class Destinations(Protocol):
    """Where X2 and X3 go, by DID."""

    async def put(self, details: DestinationDetails) -> None:
        """Raises X1Fault (address type)."""

    async def remove(self, did: UUID) -> None: ...

    async def send(self, did: UUID, kind: PduType, octets: bytes) -> None:
        """Accepted, in order. Raises SpoolFullError."""

    def status(self, did: UUID) -> DestinationStatus: ...


@dataclass(slots=True, repr=False)
class _Active:
    """A task here. `orders`: point -> reference -> order; `products`: point -> what becomes of them."""

    details: TaskDetails
    orders: dict[str, dict[str, Order]] = field(default_factory=dict)
    products: dict[str, Products] = field(default_factory=dict)
    destinations: dict[PduType, tuple[UUID, ...]] = field(default_factory=dict)
    octets: dict[PduType, int] = field(default_factory=lambda: dict.fromkeys((PduType.X2, PduType.X3), 0))
    last: float | None = None
    refused: set[str] = field(default_factory=set)


class Engine:
    """An `x1.element.TaskSink`. `content`: where each point copies packets, "" = nowhere here.

    take_number     of what is delivered for an XID at a point
    leave_out       so many numbers of what is lost: mediation has a gap
    expect_numbers  before any are taken: what of them is missing after a crash can be told then. Raises StorageError
    """

    def __init__(
        self,
        places: Mapping[str, Place],
        content: Mapping[str, str],
        destinations: Destinations,
        *,
        take_number: Callable[[UUID, str, PduType], int],
        leave_out: Callable[[UUID, str, PduType, int], None],
        expect_numbers: Callable[[UUID, Iterable[tuple[str, PduType]]], None],
        told: Losses,
        clock: Clock,
        timesync: TimeSync | None = None,
    ) -> None:
        self._places, self._content = places, content
        self._destinations, self._take_number, self._expect_numbers = destinations, take_number, expect_numbers
        self._leave_out = leave_out
        self._losses, self._clock, self._timesync = told, clock, timesync
        self._watches: dict[str, Watch] = {}
        self._up: set[str] = set()
        self._tasks: dict[UUID, _Active] = {}
        self._by_reference: dict[tuple[str, str], _Active] = {}
        self._details: dict[UUID, DestinationDetails] = {}

    def watch(self, watch: Watch) -> None:
        """Its point is asked from now on."""
        self._watches[watch.name] = watch

    # X1

    async def put_destination(self, details: DestinationDetails) -> None:
        await self._destinations.put(details)
        self._details[details.did] = details
        for active in self._tasks.values():
            active.destinations = self._routed(active.details)

    async def remove_destination(self, details: DestinationDetails) -> None:
        self._details.pop(details.did, None)
        await self._destinations.remove(details.did)

    async def activate(self, task: TaskDetails) -> None:
        """In force when this returns at all points that are there; at others when they come. Raises X1Fault."""
        if self._timesync is not None:
            try:
                await self._timesync.require()
            except RefusedError:  # product would carry wrong times
                raise X1Fault(Code.ACTIVATE_FAILED, "this element's clock is not known to be right") from None
        active = _Active(task)
        await self._change(active, task)
        self._tasks[task.xid] = active

    async def modify(self, before: TaskDetails, after: TaskDetails) -> None:
        """What stays the same of it goes on without a gap. Raises X1Fault."""
        active = self._tasks[before.xid]
        await self._change(active, after)
        active.details = after

    async def deactivate(self, task: TaskDetails) -> None:
        active = self._tasks.pop(task.xid, None)
        if active is None:
            return
        for point, orders in active.orders.items():
            for reference in orders:
                del self._by_reference[point, reference]
        self._losses.forget(task.xid)
        for point, orders in active.orders.items():
            for reference in orders:
                await self._watches[point].cancel(reference)

    async def _change(self, active: _Active, task: TaskDetails) -> None:
        """All of it or nothing. Raises X1Fault."""
        wanted = self._wanted(task)
        self._expect(task, wanted)
        before = {point: dict(orders) for point, orders in active.orders.items()}
        kept = (active.orders, active.products, active.destinations)
        added = _missing(wanted, active.orders)
        self._install(active, task, wanted)
        try:
            for point, order in added:
                await self._watches[point].order(order)
        except InputError:
            active.orders, active.products, active.destinations = kept
            self._index(active, wanted, before)
            for point, order in added:
                old = before.get(point, {}).get(order.reference)
                if old is None:
                    await self._watches[point].cancel(order.reference)
                else:
                    await self._watches[point].order(old)
            raise X1Fault(Code.TARGET_TYPE) from None
        for point, orders in before.items():
            for reference in orders:
                if reference not in wanted.get(point, {}):
                    await self._watches[point].cancel(reference)
        if not all(self._watches[point].up for point in wanted):
            self._losses.add(task.xid, losses.AWAY, copies=None)

    def _expect(self, task: TaskDetails, wanted: Mapping[str, Mapping[str, Order]]) -> None:
        found = {
            (point, kind): None
            for point, orders in wanted.items()
            for order in orders.values()
            for kind, there in ((PduType.X2, order.events), (PduType.X3, bool(order.content)))
            if there
        }
        try:
            self._expect_numbers(task.product or task.xid, found)
        except StorageError:
            raise X1Fault(Code.ACTIVATE_FAILED, "this element's disk takes nothing") from None

    def _install(self, active: _Active, task: TaskDetails, wanted: dict[str, dict[str, Order]]) -> None:
        before, active.orders = active.orders, {point: dict(orders) for point, orders in wanted.items()}
        active.destinations = self._routed(task)
        products, active.products = active.products, {}
        named = task.product if task.product is not None else task.xid
        for point, sought in self._sought(task).items():
            by_identity = {order.identity: reference for reference, order in wanted[point].items()}
            orders = {by_identity[one.identity]: one for one in sought}
            active.products[point] = Products(
                self._places[point],
                named.bytes,
                orders,
                lambda kind, point=point: self._take_number(named, point, kind),  # type: ignore[misc]
                task.correlation,
                before=products.get(point),
            )
        self._index(active, before, wanted)

    def _index(
        self, active: _Active, before: Mapping[str, Mapping[str, Order]], after: Mapping[str, Mapping[str, Order]]
    ) -> None:
        for point, orders in before.items():
            for reference in orders:
                self._by_reference.pop((point, reference), None)
        for point, orders in after.items():
            for reference in orders:
                self._by_reference[point, reference] = active

    def _sought(self, task: TaskDetails) -> dict[str, tuple[Sought, ...]]:
        """Raises X1Fault."""
        names = [name for name in self._watches if not task.services or SERVICES.get(name) in task.services]
        if any(service not in {SERVICES.get(name) for name in names} for service in task.services):
            raise X1Fault(Code.SERVICE_TYPE)
        try:
            return planned(task.targets, {name: self._watches[name].kinds for name in names})
        except UnmatchableError:
            raise X1Fault(Code.TARGET_TYPE) from None

    def _wanted(self, task: TaskDetails) -> dict[str, dict[str, Order]]:
        """What the task is at each point. Raises X1Fault."""
        if any(extension.owner != OWNER for extension in task.extensions):
            raise X1Fault(Code.COMBINATION, "the task has criteria that are not known here")
        end = ending_of(task.extensions)
        until = None if end is None else end.timestamp()
        events = task.delivery.covers(DeliveryType.X2_ONLY)
        copies = task.delivery.covers(DeliveryType.X3_ONLY)
        found: dict[str, dict[str, Order]] = {}
        for point, sought in self._sought(task).items():
            content = self._content.get(point, "") if copies else ""
            if not events and not content:
                continue
            found[point] = {}
            for one in sought:
                reference = _reference(task.xid, one.identity)
                found[point][reference] = Order(reference, one.identity, events, content, until)
        if copies and not any(order.content for orders in found.values() for order in orders.values()):
            raise X1Fault(Code.ACTIVATE_FAILED, "content is not copied at this element")
        return found

    def _routed(self, task: TaskDetails) -> dict[PduType, tuple[UUID, ...]]:
        found = {}
        for kind, part in ((PduType.X2, DeliveryType.X2_ONLY), (PduType.X3, DeliveryType.X3_ONLY)):
            there = (self._details[did] for did in task.destinations if did in self._details)
            found[kind] = tuple(one.did for one in there if one.delivery.covers(part))
        return found

    # What was observed

    async def take(self, point: str, delivery: Delivery) -> None:
        """Returns when all destinations have accepted it."""
        active = self._by_reference.get((point, delivery.reference))
        if active is None:
            return  # it was on the way when its task ended
        if isinstance(delivery, Loss):
            self._lose(active, point, delivery)
            return
        event = isinstance(delivery, Event)
        kind = PduType.X2 if event else PduType.X3
        try:
            if isinstance(delivery, Event):
                pdus = active.products[point].event(delivery)
                if "cut" in delivery.details:
                    self._losses.add(active.details.xid, losses.CUT, events=1)
            else:
                copy = active.products[point].content(delivery)
                pdus = [copy] if copy is not None else []
        except Exception:  # noqa: BLE001 - what cannot be written of one must not end the others' product
            self._lost(active, losses.UNWRITABLE, kind)
            return
        for octets in pdus:
            await self._send(active, kind, octets)

    def _lose(self, active: _Active, point: str, loss: Loss) -> None:
        """It is told to the ADMF with its number, and to mediation by the numbers that what is lost would have had."""
        cause, task = CAUSES[loss.place], active.details
        self._losses.add(task.xid, cause, events=loss.events, copies=loss.copies)
        for kind, count in ((PduType.X2, loss.events), (PduType.X3, loss.copies)):
            if count != 0:
                self._leave_out(task.product or task.xid, point, kind, count or 1)

    async def _send(self, active: _Active, kind: PduType, octets: bytes) -> None:
        active.octets[kind] += len(octets)
        active.last = self._clock.now()
        for did in active.destinations[kind]:
            try:
                await self._destinations.send(did, kind, octets)
            except SpoolFullError:
                self._lost(active, losses.SPOOL, kind)

    def _lost(self, active: _Active, cause: str, kind: PduType) -> None:
        of_x2 = kind is PduType.X2
        self._losses.add(active.details.xid, cause, events=int(of_x2), copies=int(not of_x2))

    def changed(self, point: str, up: bool) -> None:
        """A point came or went: what was on the way, and happened while it was away, nobody can count."""
        here = [active for active in self._tasks.values() if point in active.orders]
        for active in here:
            if up:
                self._losses.clear(active.details.xid, losses.AWAY)
            else:
                active.refused -= set(active.orders[point])
                self._losses.add(active.details.xid, losses.AWAY, copies=None)
                if point not in self._up:
                    continue
                orders = active.orders[point].values()
                events = None if any(order.events for order in orders) else 0
                copies = None if any(order.content for order in orders) else 0
                self._lose(active, point, Loss("", LossPlace.POINT, self._clock.now(), events, copies))
        if up:
            self._up.add(point)
            self._losses.clear(None, losses.AWAY)
        else:
            self._up.discard(point)
            self._losses.add(None, losses.AWAY, copies=None)

    def refused(self, point: str, reference: str) -> None:
        active = self._by_reference.get((point, reference))
        if active is not None:
            active.refused.add(reference)
            self._losses.add(active.details.xid, losses.REFUSED, copies=None)

    # How it stands

    def task_status(self, xid: UUID) -> TaskStatus:
        active = self._tasks[xid]
        faults = []
        for point, orders in active.orders.items():
            if active.refused & set(orders):
                faults.append(UnresolvedFault(Code.TARGET_TYPE, losses.REFUSED))
            elif not all(self._watches[point].given(reference) for reference in orders):
                faults.append(UnresolvedFault(Code.NON_TERMINATING_FAULT, losses.AWAY))
        return TaskStatus(
            provisioning=Provisioning.AWAITING if faults else Provisioning.COMPLETE,
            faults=tuple(faults),
            last_intercept=datetime.fromtimestamp(active.last, UTC) if active.last is not None else None,
            x2_octets=active.octets[PduType.X2],
            x3_octets=active.octets[PduType.X3],
        )

    def destination_status(self, did: UUID) -> DestinationStatus:
        return self._destinations.status(did)

    def status(self) -> ElementStatus:
        faults = [
            UnresolvedFault(Code.NON_TERMINATING_FAULT, losses.AWAY) for watch in self._watches.values() if not watch.up
        ]
        condition = ElementCondition.FAULTS if faults else ElementCondition.OK
        return ElementStatus(condition, tuple(faults))


def _reference(xid: UUID, identity: Identity) -> str:
    """The same after a restart: a point's orders may outlive this process by a little."""
    text = f"{xid} {identity.kind.value} {identity.value}"
    return blake2b(text.encode(), digest_size=16).hexdigest()


def _missing(
    wanted: Mapping[str, Mapping[str, Order]], have: Mapping[str, Mapping[str, Order]]
) -> Iterable[tuple[str, Order]]:
    """Orders that a point has to be given: new ones, and those that are another now."""
    return [
        (point, order)
        for point, orders in wanted.items()
        for reference, order in orders.items()
        if have.get(point, {}).get(reference) != order
    ]
