"""What tunnels for multicast add to the documents."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from headend.multicast.addresses import SsmGroup
from nf.documents.model import Address, DocumentModel, InterfaceName, Name, Port, Whole


class AmtRelay(DocumentModel):
    """Gives what arrives on `upstream` to gateways that ask for it at `address` (RFC 7450).

    `groups`: what may be asked for; anything source-specific while it is None. `requires`: ordering facts, such as that
    of an interface that is made in the same commit; `provides`: those that hold while it runs.
    """

    address: Address
    port: Port = 2268
    upstream: InterfaceName
    max_gateways: Annotated[Whole, Field(ge=1, le=10_000)] = 100
    max_flows: Annotated[Whole, Field(ge=1, le=1000)] = 64
    groups: tuple[SsmGroup, ...] | None = None
    requires: tuple[str, ...] = ()
    provides: tuple[str, ...] = ()


class AmtFlow(DocumentModel):
    """(source, group) that a gateway asks for; `channel` and `path` name what it is for."""

    source: Address
    group: SsmGroup
    channel: Name | None = None
    path: Name | None = None


class AmtGateway(DocumentModel):
    """Asks the relay at `relay` for `flows` and puts them, as they were sent, on the interfaces `deliver`.

    `requires`: ordering facts as in a relay; `provides`: those that hold while the relay has taken the memberships.
    """

    relay: Address
    port: Port = 2268
    flows: Annotated[tuple[AmtFlow, ...], Field(min_length=1)]
    deliver: Annotated[tuple[InterfaceName, ...], Field(min_length=1)]
    requires: tuple[str, ...] = ()
    provides: tuple[str, ...] = ()


class AmtSection(DocumentModel):
    """Section `multicast-amt`: multicast over unicast, for a PoP whose transit has no multicast."""

    relay: AmtRelay | None = None
    gateway: AmtGateway | None = None
