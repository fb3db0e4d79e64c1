"""Sections and equipment of the caches: shields and edges."""

from __future__ import annotations

from enum import Enum
from ipaddress import IPv4Address, IPv6Address
from typing import Annotated, Self

from pydantic import Field, model_validator

from nf.documents.model import Address, Address6, DocumentModel, Form, Name, RuleError
from nf.media.documents.fields import (
    BucketName,
    Endpoint,
    HostName,
    HttpPort,
    Milliseconds,
    SecretRef,
)


class ShieldChannel(DocumentModel):
    """What a shield serves below `/BUCKET/CHANNEL/`, from which origin, and how long a manifest stays fresh there."""

    channel: Name
    path: Name
    bucket: BucketName
    endpoint: Endpoint
    segment_ms: Milliseconds = Field(alias="segment")
    requires: tuple[str, ...] = ()
    provides: tuple[str, ...] = ()


class ShieldSection(DocumentModel):
    """Section `cdn-shield`: the cache between origin and edges. `listen` is where the edges find it.

    `requires`: the ordering facts that must hold before it can listen there.
    """

    listen: Address
    port: HttpPort = 6081
    requires: tuple[str, ...] = ()
    channels: tuple[ShieldChannel, ...] = ()


class Parent(DocumentModel):
    address: Address
    port: HttpPort = 6081


class EdgeChannel(DocumentModel):
    """`http://HOST/CHANNEL/` as the edge maps it to `/BUCKET/CHANNEL/` at the shields.

    `aliases`: names of the same, such as the one of its site only.
    """

    channel: Name
    path: Name
    host: HostName
    aliases: tuple[HostName, ...] = ()
    bucket: BucketName
    requires: tuple[str, ...] = ()
    provides: tuple[str, ...] = ()


class CongestionControl(Enum):
    """Of the connections that receivers open. `auto`: BBR where the kernel has it; `kernel`: what the kernel uses."""

    AUTO = "auto"
    BBR = "bbr"
    KERNEL = "kernel"


class EdgeTls(DocumentModel):
    """The https listener beside http. A certificate is a secret: its chain and its key, in PEM, leaf first.

    Which one a client gets is what it asks for by name (SNI, RFC 6066 section 3); without a name, the first.
    """

    port: HttpPort = 443
    certificates: Annotated[tuple[SecretRef, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        if len(set(self.certificates)) != len(self.certificates):
            raise RuleError("a certificate is named twice", "name it once")
        return self


class Healing(DocumentModel):
    """How soon a shield that does not answer is left alone, and how soon it is asked again.

    path      what each shield is asked for; 500 and above, and what does not come in time, are failures
    interval  between two questions; timeout: for one. After a failure the next question is asked at once
    hold      how long a shield must have answered before it is asked for content again, and be on probation then
    """

    path: Annotated[
        str, Form(r"/[!-~]*", "the path of a request begins with a slash and has no space", "write it as /nf/health")
    ] = "/nf/health"
    interval_ms: Annotated[Milliseconds, Field(ge=50, le=60_000)] = Field(alias="interval", default=250)
    timeout_ms: Annotated[Milliseconds, Field(ge=20, le=10_000)] = Field(alias="timeout", default=200)
    hold_ms: Annotated[Milliseconds, Field(ge=500, le=3_600_000)] = Field(alias="hold", default=10_000)


class EdgeSection(DocumentModel):
    """Section `cdn-edge`: the cache that receivers ask. `shields` in the order in which they are preferred.

    `listen6`: where it listens by IPv6 too, such as for what a UPF sends it.
    `requires`: the ordering facts that must hold before it can listen there.
    """

    listen: Annotated[tuple[Address, ...], Field(min_length=1)]
    listen6: Address6 | None = None
    port: HttpPort = 80
    tls: EdgeTls | None = None
    congestion_control: CongestionControl = CongestionControl.AUTO
    healing: Healing = Healing()
    requires: tuple[str, ...] = ()
    shields: Annotated[tuple[Parent, ...], Field(min_length=1)]
    channels: tuple[EdgeChannel, ...] = ()

    @model_validator(mode="after")
    def _distinct_shields(self) -> Self:
        # Traffic Server knows a parent's state by its host, without the port.
        if len({shield.address for shield in self.shields}) != len(self.shields):
            raise RuleError("two shields share an address", "give every shield an address of its own")
        return self

    @property
    def addresses(self) -> tuple[IPv4Address | IPv6Address, ...]:
        """All that it listens on."""
        return self.listen if self.listen6 is None else (*self.listen, self.listen6)

    @model_validator(mode="after")
    def _distinct_ports(self) -> Self:
        if self.tls is not None and self.tls.port == self.port:
            raise RuleError("http and https share a port", "give each a port of its own")
        return self


class EdgeEquipment(DocumentModel):
    """What edges have beyond their place. `appliances`: which; none named: those that no other entry names."""

    appliances: tuple[Name, ...] = ()
    tls: EdgeTls | None = None
    congestion_control: CongestionControl = CongestionControl.AUTO
    healing: Healing = Healing()


class CdnEquipment(DocumentModel):
    """Part `cdn` of a fleet's equipment."""

    edges: tuple[EdgeEquipment, ...] = ()

    @model_validator(mode="after")
    def _one_each(self) -> Self:
        named = [name for entry in self.edges for name in entry.appliances or ("",)]
        if len(set(named)) != len(named):
            raise RuleError(
                "two entries are for the same edge, or two name none", "name every edge once, and leave one entry open"
            )
        return self

    def of(self, appliance: str) -> EdgeEquipment:
        """What the edge on `appliance` has."""
        named = next((entry for entry in self.edges if appliance in entry.appliances), None)
        return named or next((entry for entry in self.edges if not entry.appliances), EdgeEquipment())
