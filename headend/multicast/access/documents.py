"""What the edge towards subscribers adds to the documents."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from headend.multicast.addresses import SsmGroup
from nf.documents.model import DocumentModel, InterfaceName, Whole


class AccessPort(DocumentModel):
    """A port to subscribers. `max_channels`: joined at a time; `igmp_rate`: IGMP messages per second let in.

    `groups`: what the port may receive (entitlement); anything while it is None.
    """

    name: InterfaceName
    max_channels: Annotated[Whole, Field(ge=1, le=1000)] = 8
    igmp_rate: Annotated[Whole, Field(ge=1, le=10_000)] = 20
    fast_leave: bool = True
    groups: tuple[SsmGroup, ...] | None = None


class AccessLan(DocumentModel):
    """One access LAN. `bridge` None: its only port is the router's own interface; else a snooping bridge of `ports`
    is made, and the router's address stands on it."""

    bridge: InterfaceName | None = None
    ports: Annotated[tuple[AccessPort, ...], Field(min_length=1)]


class AccessSection(DocumentModel):
    """Section `multicast-access`: the edge towards subscribers."""

    lans: tuple[AccessLan, ...] = ()
