"""Section `freeswitch` of appliances that have a media server."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from nf.documents.model import Address, DocumentModel, Port, Whole
from nf.documents.registry import Extension
from sip.documents import DomainName, MediaServer, SecretRef, Service

SECTION = "freeswitch"


class WayOut(DocumentModel):
    """A proxy by which calls leave."""

    address: Address
    port: Port = 5060
    transport: Literal["udp", "tcp"] = "udp"


class FreeswitchSection(DocumentModel):
    """All that a media server knows.

    domains   of callers; each has boxes of its own
    callers   addresses of proxies: nobody else may call
    ways_out  tried in this order by a call that leaves, from a menu
    accounts  file of `user:domain:HA1` lines: who has a box; None: there is no voicemail
    rate      new calls of a second that are taken
    """

    server: MediaServer
    domains: Annotated[tuple[DomainName, ...], Field(min_length=1)]
    callers: Annotated[tuple[Address, ...], Field(min_length=1)]
    ways_out: tuple[WayOut, ...] = ()
    services: tuple[Service, ...] = ()
    accounts: SecretRef | None = None
    rate: Annotated[Whole, Field(ge=1)] = 500
    requires: tuple[str, ...] = ()
    provides: tuple[str, ...] = ()


EXTENSION = Extension(sections={SECTION: FreeswitchSection})
