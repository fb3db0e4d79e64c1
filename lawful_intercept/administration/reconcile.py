"""What an element holds against what it has to hold: the steps between them, in an order that X1 allows. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from enum import Enum
from uuid import UUID

from lawful_intercept.administration.tasking import Wanted
from lawful_intercept.x1.exchange import (
    ActivateTask,
    AllDetails,
    CreateDestination,
    DeactivateTask,
    ModifyDestination,
    ModifyTask,
    RemoveDestination,
)
from lawful_intercept.x1.faults import Code
from lawful_intercept.x1.messages import (
    DestinationDetails,
    DestinationRecord,
    DestinationStatus,
    Provisioning,
    TaskDetails,
    TaskRecord,
    TaskStatus,
)

Request = ActivateTask | ModifyTask | DeactivateTask | CreateDestination | ModifyDestination | RemoveDestination


class Why(Enum):
    """What a step is, to whom it may concern."""

    DUE = "due"  # a warrant began, changed or ended
    UNKNOWN = "unknown"  # the element holds what this ADMF never gave it
    LOST = "lost"  # the element no longer holds what it was given
    CHANGED = "changed"  # the element holds it otherwise than it was given


@dataclass(frozen=True, slots=True, repr=False)
class Step:
    request: Request
    why: Why

    @property
    def task(self) -> UUID | None:
        """The XID that it is about."""
        if isinstance(self.request, ActivateTask | ModifyTask):
            return self.request.details.xid
        return self.request.xid if isinstance(self.request, DeactivateTask) else None


@dataclass(frozen=True, slots=True, repr=False)
class Given:
    """What this ADMF gave the element and it confirmed; `known`: every XID and DID that it may ever have given."""

    tasks: frozenset[UUID]
    known: Collection[UUID]


def steps(held: AllDetails, wanted: Wanted, given: Given) -> tuple[Step, ...]:
    """From `held` to `wanted`. Tasks that should not be go first: nobody is intercepted longer than need be."""
    tasks = {record.details.xid: record for record in held.tasks}
    destinations = {record.details.did: record.details for record in held.destinations}
    return (
        *_gone(tasks, wanted, given),
        *_destinations(destinations, wanted),
        *_tasks(tasks, wanted, given),
        *(
            Step(RemoveDestination(did), Why.DUE if did in given.known else Why.UNKNOWN)
            for did in destinations
            if did not in wanted.destinations
        ),
    )


def _gone(tasks: dict[UUID, TaskRecord], wanted: Wanted, given: Given) -> Iterable[Step]:
    for xid in tasks.keys() - wanted.tasks.keys():
        yield Step(DeactivateTask(xid), Why.DUE if xid in given.known else Why.UNKNOWN)


def _destinations(held: dict[UUID, DestinationDetails], wanted: Wanted) -> Iterable[Step]:
    for did, details in wanted.destinations.items():
        if did not in held:
            yield Step(CreateDestination(details), Why.DUE)
        elif not same_destination(held[did], details):
            yield Step(ModifyDestination(details), Why.CHANGED)


def _tasks(held: dict[UUID, TaskRecord], wanted: Wanted, given: Given) -> Iterable[Step]:
    for xid, details in wanted.tasks.items():
        record = held.get(xid)
        if record is None:
            yield Step(ActivateTask(details), Why.LOST if xid in given.tasks else Why.DUE)
        elif not same_task(record.details, details) or record.status.provisioning is Provisioning.FAILED:
            yield Step(ModifyTask(details), Why.CHANGED)


def same_destination(held: DestinationDetails, wanted: DestinationDetails) -> bool:
    """The name is for people."""
    return replace(held, name="") == replace(wanted, name="")


def same_task(held: TaskDetails, wanted: TaskDetails) -> bool:
    """An order of targets, destinations or services is none."""
    return _plain(held) == _plain(wanted)


def _plain(task: TaskDetails) -> TaskDetails:
    return replace(
        task,
        targets=tuple(sorted(task.targets, key=lambda target: (target.form, target.value))),
        destinations=tuple(sorted(task.destinations)),
        services=tuple(sorted(task.services, key=lambda service: service.value)),
        implicit_deactivation=task.implicit_deactivation or None,
    )


def applied(held: AllDetails, request: Request) -> AllDetails:
    """What the element holds when it has done that."""
    tasks = {record.details.xid: record for record in held.tasks}
    destinations = {record.details.did: record for record in held.destinations}
    if isinstance(request, ActivateTask | ModifyTask):
        tasks[request.details.xid] = TaskRecord(request.details, TaskStatus())
    elif isinstance(request, DeactivateTask):
        tasks.pop(request.xid, None)
    elif isinstance(request, CreateDestination | ModifyDestination):
        destinations[request.details.did] = DestinationRecord(request.details, DestinationStatus())
    else:
        destinations.pop(request.did, None)
    return replace(held, tasks=tuple(tasks.values()), destinations=tuple(destinations.values()))


def done_already(request: Request, code: int) -> bool:
    """Whether a refusal says that what was asked for is so."""
    if isinstance(request, DeactivateTask):
        return code == Code.XID_UNKNOWN
    return isinstance(request, RemoveDestination) and code == Code.DID_UNKNOWN
