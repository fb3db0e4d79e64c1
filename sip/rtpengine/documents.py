"""Section `rtpengine` of appliances that have a relay."""

from __future__ import annotations

from nf.documents.model import Address, DocumentModel, InterfaceAddress, InterfaceName, Name
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


class RtpengineSection(DocumentModel):
    """The relay of this appliance.

    peers     who alone may speak the ng protocol with it, which asks for no password; loopback always may
    requires  ordering facts that hold before it starts; `provides`: those that hold while it runs with this
    """

    relay: Relay
    pair: Pair | None = None
    peers: tuple[Address, ...] = ()
    requires: tuple[str, ...] = ()
    provides: tuple[str, ...] = ()


EXTENSION = Extension(sections={SECTION: RtpengineSection})
