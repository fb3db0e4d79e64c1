"""Sections `kamailio` and `voice-address` of appliances that have a proxy."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from nf.documents.model import Address, DocumentModel, InterfaceAddress, InterfaceName, Name, Port, Whole
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
VOICE_ADDRESS = "voice-address"


class Sibling(DocumentModel):
    """Another proxy of the same domains: who is not registered here may be there."""

    address: Address
    port: Port
    transport: Literal["udp", "tcp"] = "udp"


class KamailioSection(DocumentModel):
    """All that a proxy knows: itself, and of the rest of the voice core what calls need.

    askers    addresses from which relays may ask whether a dialog is here
    virtual   addresses that it listens at too, whether or not it has them at the moment (VRRP)
    peers     who has those addresses at other times: it has the same registrations
    requires  ordering facts that hold before it starts; `provides`: those that hold while it runs with this
    """

    proxy: Proxy
    virtual: tuple[Address, ...] = ()
    peers: tuple[Sibling, ...] = ()
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
    siblings: tuple[Sibling, ...] = ()
    askers: tuple[Address, ...] = ()
    requires: tuple[str, ...] = ()
    provides: tuple[str, ...] = ()


class Instance(DocumentModel):
    """One virtual address, as one of its two proxies sees it.

    first  it has the address while both are well
    peer   the other appliance
    """

    id: Name
    address: InterfaceAddress
    interface: InterfaceName
    vrid: Annotated[Whole, Field(ge=1, le=255)]
    first: bool
    peer: Name


class VoiceAddressSection(DocumentModel):
    """Addresses that the proxy of this appliance shares with that of another, by VRRP.

    proxy, port, transport  where this appliance's own proxy is asked whether it is well, by OPTIONS
    """

    instances: tuple[Instance, ...]
    proxy: Address
    port: Port
    transport: Literal["udp", "tcp"] = "udp"
    requires: tuple[str, ...] = ()
    provides: tuple[str, ...] = ()


EXTENSION = Extension(sections={SECTION: KamailioSection, VOICE_ADDRESS: VoiceAddressSection})
