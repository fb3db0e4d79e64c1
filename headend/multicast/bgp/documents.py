"""Part `bgp` of a fleet's equipment, and the section `bgp` of a router."""

from __future__ import annotations

import re
from ipaddress import IPv4Network
from typing import Annotated, Final, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from nf.documents.model import Address, DocumentModel, Name, RuleError, Whole

PART: Final = "bgp"
SECTION: Final = "bgp"
_RESERVED: Final = frozenset({23456, 65535})
"""AS_TRANS (RFC 6793) and the last ones (RFC 7300). 0 is below the range (RFC 7607)."""


def _prefix(value: object) -> object:
    if isinstance(value, IPv4Network):
        return value
    try:
        if isinstance(value, str) and re.search(r"/\d+$", value):
            return IPv4Network(value)
    except ValueError:
        pass
    raise RuleError("must be an IPv4 prefix without host bits", "write it as 198.18.0.0/24")


def _as_number(value: int) -> int:
    if value in _RESERVED:
        raise RuleError(f"AS {value} is reserved (RFC 6793, RFC 7300)", "write the number of an AS that is yours")
    return value


Prefix = Annotated[IPv4Network, BeforeValidator(_prefix)]
AsNumber = Annotated[Whole, Field(ge=1, le=2**32 - 2), AfterValidator(_as_number)]
TcpPort = Annotated[Whole, Field(ge=1, le=65535)]


class Neighbour(DocumentModel):
    """A router on a link of the speaker. `as` equal to the speaker's makes it an internal one."""

    address: Address
    as_number: AsNumber = Field(alias="as")


class Speaker(DocumentModel):
    """A router of the fleet that speaks BGP. `originates`: what it announces while its kernel has a route of its own
    for exactly that prefix, which is how whoever keeps the address says that it is well."""

    appliance: Name
    as_number: AsNumber = Field(alias="as")
    neighbours: Annotated[tuple[Neighbour, ...], Field(min_length=1)]
    originates: tuple[Prefix, ...] = ()


class Roa(DocumentModel):
    """What RPKI says of a prefix (RFC 9582): which AS may originate it, and how much of it at the longest."""

    prefix: Prefix
    as_number: Annotated[Whole, Field(ge=0, le=2**32 - 1)] = Field(alias="as")
    max_length: Annotated[Whole, Field(ge=0, le=32)] | None = None

    @property
    def longest(self) -> int:
        return self.prefix.prefixlen if self.max_length is None else self.max_length

    @model_validator(mode="after")
    def _not_shorter(self) -> Self:
        if self.longest < self.prefix.prefixlen:
            raise RuleError(f"max_length {self.longest} is shorter than {self.prefix}", "write the longest, or none")
        return self


class RpkiCache(DocumentModel):
    """A validator that speaks RTR (RFC 8210) over TCP, in a network that is trusted."""

    address: Address
    port: TcpPort = 323


class BgpEquipment(DocumentModel):
    """`roas`: against which a plan is checked. `rpki`: the cache that routers ask while they run."""

    speakers: Annotated[tuple[Speaker, ...], Field(min_length=1)]
    roas: tuple[Roa, ...] = ()
    rpki: RpkiCache | None = None


class BgpSection(DocumentModel):
    """Section `bgp`: what one router announces (`originates`) and what it takes and passes on (`known`)."""

    router_id: Address
    as_number: AsNumber = Field(alias="as")
    neighbours: tuple[Neighbour, ...]
    originates: tuple[Prefix, ...] = ()
    known: tuple[Prefix, ...] = ()
    rpki: RpkiCache | None = None
