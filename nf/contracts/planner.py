"""The planner contract: a domain's pure share of `compile(line-up, fleet)`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from nf.documents.appliance import ProbeTarget
from nf.documents.fleet import Fleet
from nf.documents.lineup import LineUp
from nf.documents.model import DocumentModel
from nf.errors import Problem


@dataclass(frozen=True, slots=True)
class LinkLoad:
    """Bit rate that one delivery puts on one direction of one link."""

    link: str  # the link's id in the fleet document
    sender: str  # the appliance at the sending end
    bitrate_bps: int
    channel: str
    path: str


@dataclass(frozen=True, slots=True)
class Hop:
    """A place in a channel's chain where it is measured: `nf channel show` prints one line for each."""

    channel: str
    path: str
    order: int
    appliance: str
    point: str  # what is measured there: "contribution", "source", "tree", "receiver"


@dataclass(frozen=True, slots=True)
class FleetOperation:
    """Long work on several appliances in order: a stage begins when all of the one before it have acknowledged.

    name    of the operation, the same at every driver; object: what it is done to, such as a channel's id
    stages  of (appliance, driver)

    Each driver gets the caller's arguments, `elapsed_s` (how long the operation has been going on elsewhere) and
    `author` (who asked: the SPIFFE id that the NOC has seen).
    `made_good`: an appliance that was away gets it when it returns, and all stages after its own get it again.
    `stream`: each time is an order with the next number of this stream, kept in the NOC's ledger and made good by
    number (`nf.contracts.admission`). The drivers get several at once: `orders`, each its `seq` and its arguments;
    `stream`; `after`, the last number that this driver has acknowledged; and `lost`, why some are left out, when so
    many or so old ones were missed that all of the object is better done anew. They answer with `orders`: seq -> state
    (done, failed), text, and what they found.
    `before`: steps, as (appliance, id), that cost less after it. `nf lineup commit --drain` does it before one of them
    that has a disruption, with `wait_s`, how long to wait at most; `hold_s`, how long what it does stands afterwards
    when nobody takes it back; and `keep` true: at the end of the wait it is done all the same. The answer has `before`
    and `left`, how many there were and are. `end` true alone takes it back, and ends one that still waits.
    """

    name: str
    object: str
    stages: tuple[tuple[tuple[str, str], ...], ...]
    made_good: bool = False
    stream: str = ""
    before: frozenset[tuple[str, str]] = frozenset()


@dataclass(frozen=True, slots=True)
class Contribution:
    """What a planner adds. Sections of the same name from two planners are an error.

    Nor do two fleet operations share name and object.
    `problems` refuse the line-up; `keys` in them are document paths, so that line and column can be filled in.
    `warnings` are told and refuse nothing.
    """

    sections: Mapping[str, Mapping[str, DocumentModel]] = field(default_factory=dict)  # appliance -> section -> value
    probes: Mapping[str, tuple[ProbeTarget, ...]] = field(default_factory=dict)  # appliance -> probes it runs
    loads: tuple[LinkLoad, ...] = ()
    hops: tuple[Hop, ...] = ()
    problems: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()
    operations: tuple[FleetOperation, ...] = ()


class Planner(Protocol):
    @property
    def name(self) -> str: ...

    def plan(self, lineup: LineUp, fleet: Fleet) -> Contribution:
        """Pure and deterministic; independent of the order in which the documents list things."""
