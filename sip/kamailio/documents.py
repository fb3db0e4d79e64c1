"""Section `kamailio` of appliances that have a proxy."""

from __future__ import annotations

from nf.documents.model import Address, DocumentModel
from nf.documents.registry import Extension
from sip.documents import (
    DomainName,
    Emergency,
    Limits,
    MediaServer,
    Protection,
    Proxy,
    Relay,
    Route,
    SecretRef,
    Service,
    Stir,
    Subscriber,
    Trunk,
)

SECTION = "kamailio"


class KamailioSection(DocumentModel):
    """All that a proxy knows: itself, and of the rest of the voice core what calls need.

    virtual   addresses that it listens at too, whether or not it has them at the moment (VRRP)
    requires  ordering facts that hold before it starts; `provides`: those that hold while it runs with this
    """

    proxy: Proxy
    virtual: tuple[Address, ...] = ()
    domains: tuple[DomainName, ...]
    accounts: SecretRef
    relays: tuple[Relay, ...]
    media_servers: tuple[MediaServer, ...] = ()
    services: tuple[Service, ...] = ()
    trunks: tuple[Trunk, ...] = ()
    plan: tuple[Route, ...] = ()
    emergency: Emergency | None = None
    subscribers: tuple[Subscriber, ...] = ()
    limits: Limits = Limits()
    protection: Protection = Protection()
    topology_hiding: bool = True
    nat: bool = True
    stir: Stir | None = None
    peers: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()
    provides: tuple[str, ...] = ()


EXTENSION = Extension(sections={SECTION: KamailioSection})
