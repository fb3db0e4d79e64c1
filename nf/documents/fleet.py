"""Fleet: sites, appliances, links, and which appliance carries which function."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Annotated, Literal

from pydantic import Field, SerializeAsAny

from nf.documents.model import (
    Address,
    Document,
    DocumentModel,
    Form,
    HostAddress6,
    InterfaceAddress,
    InterfaceName,
    Name,
    Whole,
)
from nf.documents.quantities import BitRate

Endpoint = Annotated[
    str,
    Form(
        r"[a-z][a-z0-9-]{0,38}:[a-z][a-z0-9._-]{0,14}",
        "an endpoint is APPLIANCE:INTERFACE",
        "write it as pop1:eth1",
    ),
]


class Criticality(Enum):
    """`required`: a commit never goes on without the site. `optional`: `--without SITE` may leave it out."""

    REQUIRED = "required"
    OPTIONAL = "optional"


class Role(Enum):
    HEADEND = "headend"
    CORE = "core"
    POP = "pop"
    PROBE = "probe"  # a probe-only agent behind a PoP, where a receiver would be


class Site(DocumentModel):
    id: Name
    criticality: Criticality = Criticality.OPTIONAL
    description: str = ""


class Facing(Enum):
    """Who is behind an interface.

    `network`: the fleet's own: appliances, devices, receivers. `radio`: base stations; the network knows the way to
    them, and no router of ours is there. `internet`: strangers, who hear nothing of the network's routing.
    """

    NETWORK = "network"
    RADIO = "radio"
    INTERNET = "internet"


class Interface(DocumentModel):
    """A data-plane interface. The management interface is out-of-band and never listed here."""

    name: InterfaceName
    address: InterfaceAddress
    facing: Facing = Facing.NETWORK


class Appliance(DocumentModel):
    """`serial` binds the enrolment token to the hardware; `management` is its out-of-band address.

    loopback6   an IPv6 address of the loopback, at which its edge cache answers too
    """

    id: Name
    site: Name
    role: Role
    serial: Annotated[str, Field(min_length=1, max_length=64)]
    management: Address
    loopback: Address | None = None
    loopback6: HostAddress6 | None = None
    interfaces: tuple[Interface, ...] = ()


class Link(DocumentModel):
    """A layer-2 segment between two or more interfaces, each named `appliance:interface`.

    `capacity` holds for each direction; `cost` is the OSPF cost of every end.
    """

    id: Name
    endpoints: Annotated[tuple[Endpoint, ...], Field(min_length=2)]
    capacity_bps: BitRate = Field(alias="capacity")
    cost: Annotated[Whole, Field(ge=1, le=65535)] = 10


class Placement(DocumentModel):
    """A function (a word that a domain's planner knows, such as `ingest` or `multicast-source`) and who carries it."""

    function: Name
    appliances: Annotated[tuple[Name, ...], Field(min_length=1)]


class FleetSpec(DocumentModel):
    """`equipment`: what stands beside the appliances, such as a headend's devices; domains register its parts."""

    sites: tuple[Site, ...] = ()
    appliances: tuple[Appliance, ...] = ()
    links: tuple[Link, ...] = ()
    placement: tuple[Placement, ...] = ()
    equipment: Mapping[str, SerializeAsAny[DocumentModel]] = Field(default_factory=dict)


class Fleet(Document):
    kind: Literal["Fleet"]
    spec: FleetSpec

    def appliance(self, appliance_id: str) -> Appliance:
        """Raises KeyError."""
        for appliance in self.spec.appliances:
            if appliance.id == appliance_id:
                return appliance
        raise KeyError(appliance_id)

    def placed(self, function: str) -> tuple[str, ...]:
        """Ids of the appliances that carry `function`, sorted."""
        return tuple(sorted({a for p in self.spec.placement if p.function == function for a in p.appliances}))
