"""Network elements that are tasked by X1: points of interception, and mediation."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Address, IPv6Address
from types import MappingProxyType
from typing import Final
from urllib.parse import urlsplit
from uuid import UUID

from pydantic import with_config

from lawful_intercept.administration.records import CLOSED, Codec
from lawful_intercept.administration.warrants import Service
from lawful_intercept.identifiers import RULES
from lawful_intercept.x1.messages import DeliveryType, DestinationDetails, SocketAddress
from nf.errors import InputError
from nf.trust.spiffe import SpiffeId


class Kind(Enum):
    POINT = "point"
    MEDIATION = "mediation"


FORMS: Final[Mapping[Service, frozenset[str]]] = MappingProxyType(
    {
        Service.VOICE: frozenset({"sipUri", "telUri", "impu", "e164Number"}),
        Service.DATA: frozenset(
            {
                *("e164Number", "gpsiMsisdn", "gpsiNai", "imsi", "supiimsi", "supinai", "nai"),
                *("imei", "peiImei", "peiImeisv", "ipv4Address", "ipv6Address"),
            }
        ),
    }
)
"""The target identifiers that this product's points match, by service; `ElementSettings.forms` says it of others'."""


@with_config(CLOSED)
@dataclass(frozen=True, slots=True)
class ElementSettings:
    """What an LI administrator writes.

    name      its identifier at X1, and in its certificate (`element/NAME`)
    url       of its X1, such as https://10.0.0.1:8443/X1/NE
    services  of a point: what it intercepts
    forms     of a point: target identifiers that it can match (X1's names); empty = `FORMS` of its services
    content   of a point: whether it can copy content
    x2, x3    of mediation: where it takes X2 and X3 (the same address: one connection for both)

    Raises InputError.
    """

    name: str
    kind: Kind
    url: str
    services: frozenset[Service] = frozenset()
    forms: frozenset[str] = frozenset()
    content: bool = True
    address: IPv4Address | IPv6Address | None = None
    x2_port: int = 0
    x3_port: int = 0

    def __post_init__(self) -> None:
        SpiffeId("li.example", "element", self.name)
        parts = urlsplit(self.url)
        if parts.scheme != "https" or not parts.hostname or re.search(r"\s", self.url):
            raise InputError("not an address of X1", remedy="write https://HOST:PORT/X1/NE")
        if self.kind is Kind.POINT:
            if not self.services:
                raise InputError("a point intercepts something", remedy="name voice, data or both")
            if not self.forms <= RULES.keys():
                raise InputError("a form of target identifiers is not known", remedy=f"of {', '.join(RULES)}")
        else:
            if self.address is None:
                raise InputError("mediation listens somewhere", remedy="name the address and ports of X2 and X3")
            for port in (self.x2_port, self.x3_port):
                SocketAddress(self.address, port)

    def matches(self, services: Collection[Service]) -> frozenset[str]:
        """The target identifiers that this point can match when it is asked for these services."""
        asked = self.services.intersection(services)
        if self.forms:
            return self.forms if asked else frozenset()
        return frozenset(form for service in asked for form in FORMS[service])


@dataclass(frozen=True, slots=True)
class Element:
    """`x2_did`, `x3_did`: of this mediation element, as a destination of points; the same where both share a port."""

    settings: ElementSettings
    x2_did: UUID
    x3_did: UUID

    @property
    def destinations(self) -> tuple[DestinationDetails, ...]:
        """What points deliver to; none of a point."""
        settings = self.settings
        if settings.address is None:
            return ()
        x2, x3 = SocketAddress(settings.address, settings.x2_port), SocketAddress(settings.address, settings.x3_port)
        if self.x2_did == self.x3_did:
            return (DestinationDetails(self.x2_did, DeliveryType.X2_AND_X3, x2),)
        return (
            DestinationDetails(self.x2_did, DeliveryType.X2_ONLY, x2),
            DestinationDetails(self.x3_did, DeliveryType.X3_ONLY, x3),
        )


ELEMENT: Final = Codec(Element, "an element")
ELEMENT_SETTINGS: Final = Codec(ElementSettings, "an element")
