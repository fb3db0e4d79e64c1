"""The tasks and destinations that the ADMF has given, as they stand in the state. No I/O: `collect` says what to write.

They outlive the process: a mediation that starts again takes what points deliver at once, and lets nothing fall that
was ordered before.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final
from uuid import UUID

from lxml import etree

from lawful_intercept.mediation.products import Product, products_of, targets_of
from lawful_intercept.mediation.state import State
from lawful_intercept.x1 import details as xml_details
from lawful_intercept.x1 import xml
from lawful_intercept.x1.faults import Code, X1Fault
from lawful_intercept.x1.messages import DestinationDetails, TaskDetails

_NONE: Final[tuple[Product, ...]] = ()


@dataclass(frozen=True, slots=True, repr=False)
class Task:
    """`modified`: when it was activated or modified last."""

    details: TaskDetails
    products: tuple[Product, ...]
    modified: datetime
    modifications: int = 0


@dataclass(frozen=True, slots=True, repr=False)
class Destination:
    """`token`: names the directory of its spools, and says nothing else."""

    details: DestinationDetails
    token: str


class Tasks:
    """Raises X1Fault for whatever it refuses; nothing has changed then."""

    def __init__(self, state: State) -> None:
        self.tasks: dict[UUID, Task] = {}
        self.destinations: dict[UUID, Destination] = {}
        self._by_xid: dict[bytes, tuple[Product, ...]] = {}
        self._dirty: dict[str, bytes | None] = {}
        for _, value in state.rows("destination"):
            read = json.loads(value)
            details = xml_details.read_destination(_parse(read["xml"]))
            self.destinations[details.did] = Destination(details, read["token"])
        for _, value in state.rows("task"):
            read = json.loads(value)
            task = xml_details.read_task(_parse(read["xml"]))
            self.tasks[task.xid] = Task(
                task, self._products(task), datetime.fromisoformat(read["modified"]), read["modifications"]
            )
        self._index()

    def collect(self) -> dict[str, bytes | None]:
        """Rows that are others since the last time, for the next commit."""
        found, self._dirty = self._dirty, {}
        return found

    def products(self, xid: bytes) -> tuple[Product, ...]:
        """Of what comes under this XID (a task's, or that which its product carries instead)."""
        return self._by_xid.get(xid, _NONE)

    def activate(self, details: TaskDetails, now: datetime) -> Task:
        if details.xid in self.tasks:
            raise X1Fault(Code.XID_EXISTS)
        self._check_product(details)
        return self._put(Task(details, self._products(details), now))

    def modify(self, details: TaskDetails, now: datetime) -> Task:
        """`details` replace all that was known of the task; its sessions and their numbers go on."""
        before = self._task(details.xid)
        self._check_product(details)
        return self._put(Task(details, self._products(details), now, before.modifications + 1))

    def deactivate(self, xid: UUID) -> Task:
        task = self._task(xid)
        del self.tasks[xid]
        self._dirty[f"task/{xid}"] = None
        self._index()
        return task

    def task(self, xid: UUID) -> Task:
        return self._task(xid)

    def create(self, details: DestinationDetails) -> Destination:
        if details.did in self.destinations:
            raise X1Fault(Code.DID_EXISTS)
        targets_of(details)
        return self._store(Destination(details, secrets.token_hex(8)))

    def change(self, details: DestinationDetails) -> Destination:
        """Another address or settings. What is in the spools is delivered there."""
        before = self.destination(details.did)
        targets_of(details)
        changed = replace(before, details=details)
        known = {**self._details(), details.did: details}
        tasks = {xid: replace(task, products=products_of(task.details, known)) for xid, task in self.tasks.items()}
        self.tasks.update(tasks)
        self._index()
        return self._store(changed)

    def remove(self, did: UUID) -> Destination:
        found = self.destination(did)
        if any(product.did == did for task in self.tasks.values() for product in task.products):
            raise X1Fault(Code.DESTINATION_IN_USE)
        del self.destinations[did]
        self._dirty[f"destination/{did}"] = None
        return found

    def destination(self, did: UUID) -> Destination:
        if did not in self.destinations:
            raise X1Fault(Code.DID_UNKNOWN)
        return self.destinations[did]

    def _task(self, xid: UUID) -> Task:
        if xid not in self.tasks:
            raise X1Fault(Code.XID_UNKNOWN)
        return self.tasks[xid]

    def _check_product(self, details: TaskDetails) -> None:
        taken = {one for task in self.tasks.values() if task.details.xid != details.xid for one in _xids(task.details)}
        if taken & {*_xids(details)}:
            raise X1Fault(Code.COMBINATION, "another task's product carries this XID")

    def _products(self, details: TaskDetails) -> tuple[Product, ...]:
        return products_of(details, self._details())

    def _details(self) -> Mapping[UUID, DestinationDetails]:
        return {did: one.details for did, one in self.destinations.items()}

    def _put(self, task: Task) -> Task:
        xid = task.details.xid
        self.tasks[xid] = task
        root = etree.Element("task")
        xml_details.write_task(root, "taskDetails", task.details)
        self._dirty[f"task/{xid}"] = json.dumps(
            {"xml": _text(root), "modified": task.modified.isoformat(), "modifications": task.modifications}
        ).encode()
        self._index()
        return task

    def _store(self, destination: Destination) -> Destination:
        did = destination.details.did
        self.destinations[did] = destination
        root = etree.Element("destination")
        xml_details.write_destination(root, "destinationDetails", destination.details)
        self._dirty[f"destination/{did}"] = json.dumps({"xml": _text(root), "token": destination.token}).encode()
        return destination

    def _index(self) -> None:
        self._by_xid = {xid.bytes: task.products for task in self.tasks.values() for xid in _xids(task.details)}


def _xids(details: TaskDetails) -> tuple[UUID, ...]:
    return (details.xid,) if details.product in {None, details.xid} else (details.xid, details.product or details.xid)


def _text(root: etree._Element) -> str:
    return str(etree.tostring(root[0], encoding="unicode"))


def _parse(text: str) -> etree._Element:
    return xml.parse(text.encode(), xml.REQUEST_LIMIT)
