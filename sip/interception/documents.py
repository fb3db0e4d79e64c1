"""Section `sip-interception`: what stands around a proxy's observation point. It names no target and never will."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from nf.documents.model import Address, DocumentModel, Port, RuleError, Whole
from nf.documents.registry import Extension

SECTION = "sip-interception"


class RelayPoint(DocumentModel):
    """A relay that may have the media of the proxy's calls. `group`: the proxy's number for it alone."""

    group: Annotated[Whole, Field(ge=1)]
    address: Address
    control: Port


class InterceptionSection(DocumentModel):
    """What is around it.

    address   the proxy's: copies of media are sent there, to a pair of `ports` for each stream
    rpc_port  TCP on loopback, of the proxy's RPC
    """

    address: Address
    ports: tuple[Port, Port] = (26000, 29999)
    relays: tuple[RelayPoint, ...] = ()
    rpc_port: Port = 8090
    requires: tuple[str, ...] = ()
    provides: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _some_ports(self) -> Self:
        first, last = self.ports
        if first % 2 or last - first < 3:
            raise RuleError("copies need two pairs of ports or more", "write ports: [26000, 29999], the first even")
        return self


EXTENSION = Extension(sections={SECTION: InterceptionSection})
