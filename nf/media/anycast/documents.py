"""Part `anycast` of a fleet's equipment, and the section `cdn-anycast` of an appliance."""

from __future__ import annotations

import re
from ipaddress import IPv4Network
from typing import Annotated, Final, Self

from pydantic import BeforeValidator, Field, PlainSerializer, model_validator

from nf.documents.model import Address, DocumentModel, Form, Name, RuleError, Whole
from nf.documents.quantities import format_duration, parse_duration_ms

PART: Final = "anycast"
SECTION: Final = "cdn-anycast"


def _milliseconds(value: object) -> object:
    return value if isinstance(value, int) and not isinstance(value, bool) else parse_duration_ms(value)


def _prefix(value: object) -> object:
    if isinstance(value, IPv4Network):
        return value
    try:
        if isinstance(value, str) and re.search(r"/\d+$", value):
            return IPv4Network(value)
    except ValueError:
        pass
    raise RuleError("must be an IPv4 prefix without host bits", "write it as 198.18.0.0/24")


_Json = PlainSerializer(format_duration, when_used="json")
Interval = Annotated[int, BeforeValidator(_milliseconds), Field(ge=50, le=10_000), _Json]
Hold = Annotated[int, BeforeValidator(_milliseconds), Field(ge=500, le=3_600_000), _Json]
Prefix = Annotated[IPv4Network, BeforeValidator(_prefix)]
HttpPath = Annotated[
    str, Form(r"/[A-Za-z0-9._~/-]{0,199}", "a path begins with / and has no spaces", "write it as /nf/health")
]


class Health(DocumentModel):
    """How the cache is asked: so often, for an answer within `timeout`. Two failures in a row withdraw the address; it
    is announced again after the cache has been well for `hold`."""

    interval_ms: Interval = Field(alias="interval", default=250)
    timeout_ms: Interval = Field(alias="timeout", default=200)
    hold_ms: Hold = Field(alias="hold", default=10_000)

    @model_validator(mode="after")
    def _answer_within_interval(self) -> Self:
        if self.timeout_ms > self.interval_ms:
            raise RuleError("an answer is waited for longer than until the next question", "shorten the timeout")
        return self


class Vip(DocumentModel):
    """`prefix`: what is announced for it, the address alone when not given; networks of others take no longer one than
    a /24. What says that its AS may originate it is the fleet's part `bgp`."""

    address: Address
    prefix: Prefix | None = None

    @property
    def announced(self) -> IPv4Network:
        return self.prefix or IPv4Network(self.address)

    @model_validator(mode="after")
    def _within(self) -> Self:
        if self.address not in self.announced:
            raise RuleError(f"{self.address} is not in {self.prefix}", "write the prefix that it is of")
        return self


class FleetVip(Vip):
    """`appliances`: whose edge caches have it."""

    appliances: Annotated[tuple[Name, ...], Field(min_length=1)]


class AnycastEquipment(DocumentModel):
    vips: Annotated[tuple[FleetVip, ...], Field(min_length=1)]
    health: Health = Health()


class Target(DocumentModel):
    """An HTTP server of the cache, at `address` and at every VIP. `tls`: over it, with `host` as the name asked for."""

    address: Address
    port: Annotated[Whole, Field(ge=1, le=65535)]
    tls: bool = False
    host: str
    path: HttpPath = "/"


class AnycastSection(DocumentModel):
    """Section `cdn-anycast`: addresses of the cache that are announced while all `targets` answer.

    `requires`: the ordering facts by which routing is ready to announce; `provides`: a cache may listen on the VIPs.
    """

    vips: Annotated[tuple[Vip, ...], Field(min_length=1)]
    targets: Annotated[tuple[Target, ...], Field(min_length=1)]
    health: Health = Health()
    requires: tuple[str, ...] = ()
    provides: tuple[str, ...] = ()
