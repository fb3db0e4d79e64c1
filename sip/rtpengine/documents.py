"""Section `rtpengine` of appliances that have a relay."""

from __future__ import annotations

from typing import Literal

from nf.documents.model import Address, DocumentModel, InterfaceAddress, InterfaceName, Name, Port
from nf.documents.registry import Extension
from sip.documents import Relay

SECTION = "rtpengine"


class Pair(DocumentModel):
    """Two relays that take each other's calls over. Their addresses move by VRRP between two fixed ones.

    first      whether this relay is the first of the two by name: its appliance has the store
    partner    id and media address of the other one
    interface  where both addresses are put, and which has `own`; `other`: the fixed address of the partner's appliance
    """

    first: bool
    partner: Name
    address: Address
    interface: InterfaceName
    own: InterfaceAddress
    other: Address


class AskedProxy(DocumentModel):
    """A proxy that may have the dialog of a call. `transport` None: it takes nothing that is not encrypted."""

    id: Name
    address: Address
    port: Port = 5060
    transport: Literal["udp", "tcp"] | None = "udp"


class RtpengineSection(DocumentModel):
    """The relay of this appliance.

    peers     who alone may speak the ng protocol with it, which asks for no password; loopback always may
    proxies   all of the voice core: a call that none of them knows is over
    source    address of this appliance by which they know that it may ask
    requires  ordering facts that hold before it starts; `provides`: those that hold while it runs with this
    """

    relay: Relay
    pair: Pair | None = None
    peers: tuple[Address, ...] = ()
    proxies: tuple[AskedProxy, ...] = ()
    source: Address | None = None
    requires: tuple[str, ...] = ()
    provides: tuple[str, ...] = ()


EXTENSION = Extension(sections={SECTION: RtpengineSection})
