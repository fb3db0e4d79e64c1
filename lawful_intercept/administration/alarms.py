"""Alarms to LI officers, and to nobody else: of elements and opaque numbers, never of a target or an agency."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final
from uuid import UUID

from lawful_intercept.administration.records import Codec, Moment


class Code(Enum):
    """What stands until it is over, or, the last five, until an officer clears it."""

    CLOCK = "clock-not-synchronised"
    SILENT = "element-silent"
    REFUSES = "element-refuses"
    NOT_TASKED = "warrant-not-tasked"
    STORE = "store-not-written"
    REPLICA = "replica-not-written"
    DELIVERY = "delivery-fault"
    UNKNOWN_TASK = "unknown-task-removed"
    LOST_TASK = "task-was-lost"
    LOST = "product-lost"
    TASK = "task-fault"
    ELEMENT = "element-fault"


REMEDIES: Final = {
    Code.CLOCK: "warrants are not activated until this machine's clock is synchronised: chronyc tracking",
    Code.SILENT: "see the element's process and the way to it; it is asked again by itself",
    Code.REFUSES: "see the X1 error; it is tried again by itself",
    Code.NOT_TASKED: "its agency, elements or their abilities have changed: nf-li element list",
    Code.STORE: "free space on the disk of the ADMF's state directory; what was due is done all the same",
    Code.REPLICA: "see the disk and the way to the second place (`replica` in the ADMF's configuration)",
    Code.DELIVERY: "see the receiver and the way to it; numbers of agencies: nf-li agency list",
    Code.UNKNOWN_TASK: "find out who gave it: the element held a task or destination that is not of this ADMF",
    Code.LOST_TASK: "see why the element lost it; it was given again",
    Code.LOST: "see the element's load and the way to it; of which calls or sessions, gaps at the receiver tell",
    Code.TASK: "see the element",
    Code.ELEMENT: "see the element",
}


@dataclass(frozen=True, slots=True)
class Alarm:
    """`object`: "element/NAME", "warrant/NUMBER", "clock", "store", or what an element reports of a warrant or agency:
    "warrant/NUMBER/ELEMENT", "agency/NUMBER/ELEMENT". `count`: how often, since it was raised. `iri`, `cc`: units that
    an element tells as lost since then, at most so many; `uncounted`: others that nobody can count."""

    number: UUID
    code: Code
    object: str
    text: str
    raised_at: Moment
    count: int = 1
    iri: int = 0
    cc: int = 0
    uncounted: bool = False


ALARM: Final = Codec(Alarm, "an alarm")
