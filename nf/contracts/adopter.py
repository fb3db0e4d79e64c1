"""The adopter contract: a domain's share of the way back, from what its drivers observe to the documents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from typing import Protocol

from nf.contracts.json import JsonObject
from nf.documents.fleet import Fleet, Interface, Link, Placement
from nf.documents.lineup import DeliveryPath, Failover, Source
from nf.documents.model import DocumentModel

GROUP = "nf.adopters"

Observed = Mapping[str, Mapping[str, JsonObject]]
"""Appliance -> section -> its value as the driver observed it. Sections that are absent there are absent here."""


@dataclass(frozen=True, slots=True)
class AdoptedAppliance:
    """What an appliance was seen to have on the data plane."""

    loopback: IPv4Address | None = None
    loopback6: IPv6Address | None = None
    interfaces: tuple[Interface, ...] = ()


@dataclass(frozen=True, slots=True)
class AdoptedPath:
    """One delivery path of a channel, and where the channel was seen to come from.

    `source`: how the path's contribution enters, when that was seen; its id is the adopter's choice.
    `names_source`: it is the path's own, not the channel's: the path's field `source` is its id, whatever that becomes.
    `doubts`: fields of the path (`sites`) or of the source (`source.bitrate`) that could not be observed for certain.
    `other_source`: one more contribution, whose id stands in a field `source` inside the path.
    `unseen`: fields of the path that nothing on a box shows; what was written of them before is kept.
    `failover`: the channel's policy, as far as a box that acts alone by it shows; the rest is kept as it was written.
    """

    channel: str
    path: DeliveryPath
    source: Source | None = None
    doubts: tuple[str, ...] = ()
    names_source: bool = False
    other_source: Source | None = None
    unseen: tuple[str, ...] = ()
    failover: Failover | None = None


@dataclass(frozen=True, slots=True)
class Adopted:
    """What one adopter makes of the observation. `link_doubts`: link id -> fields that could not be observed.

    `equipment`: parts of the fleet's equipment; what the fleet says of them already is kept.
    `sources`: contributions as they were seen to come in, with their backups; those of the same port take the place of
    what a path's adopter saw there, and what is written of them gives their bit rate.
    `problems`: what runs and cannot be written into documents, one line each; nothing is adopted then.
    """

    appliances: Mapping[str, AdoptedAppliance] = field(default_factory=dict)
    links: tuple[Link, ...] = ()
    link_doubts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    placement: tuple[Placement, ...] = ()
    paths: tuple[AdoptedPath, ...] = ()
    problems: tuple[str, ...] = ()
    equipment: Mapping[str, DocumentModel] = field(default_factory=dict)
    sources: tuple[Source, ...] = ()


class Adopter(Protocol):
    @property
    def name(self) -> str:
        """Equals the name of its entry point (group `nf.adopters`)."""

    @property
    def sections(self) -> frozenset[str]:
        """The sections that it describes. What is observed elsewhere is told to the operator as not described."""

    def adopt(self, observed: Observed, known: Fleet) -> Adopted:
        """Pure and deterministic: the inverse of the domain's planner.

        `known`: who the appliances are (name, site, role, serial, management), which nothing on a box tells; its
        links may give names and capacities to what is found.
        """
