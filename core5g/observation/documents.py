"""Section `core5g-observation`: what an appliance's observation process follows. It names no target and never will."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from nf.documents.model import Address, DocumentModel, InterfaceName, Whole
from nf.documents.registry import Extension

SECTION = "core5g-observation"


class InfoApi(DocumentModel):
    """The info API of an SMF or AMF: JSON over HTTP on its metrics port. `local`: it stands on this appliance."""

    address: Address
    port: Annotated[Whole, Field(ge=1, le=65535)] = 9090
    local: bool = False


class N3Point(DocumentModel):
    """Where GTP-U of the UPF whose N3 address is `address` can be seen."""

    address: Address
    interfaces: Annotated[tuple[InterfaceName, ...], Field(min_length=1)]


class ObservationSection(DocumentModel):
    """What is followed here.

    smfs, amfs  whose info APIs are asked; all SMFs, since an uplink classifier's edge carries sessions of another UPF
    n4          a PFCP proxy of this appliance tells of its sessions
    anchors     N3 addresses of UPFs whose sessions are told here: each is told at one appliance of the fleet
    elsewhere   those of UPFs whose sessions another appliance tells
    n6, n3      where packets are copied: TUN devices of the UPFs here, and their interfaces towards gNBs
    """

    smfs: tuple[InfoApi, ...] = ()
    amfs: tuple[InfoApi, ...] = ()
    n4: bool = False
    anchors: tuple[Address, ...] = ()
    elsewhere: tuple[Address, ...] = ()
    n6: tuple[InterfaceName, ...] = ()
    n3: tuple[N3Point, ...] = ()
    requires: tuple[str, ...] = ()
    provides: tuple[str, ...] = ()


EXTENSION = Extension(sections={SECTION: ObservationSection})
