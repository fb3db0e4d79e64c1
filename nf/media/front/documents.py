"""Part `cdn-front` of a fleet's equipment, and the section of that name of an appliance."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

from nf.documents.model import Address, Address6, DocumentModel, Name
from nf.documents.registry import Extension
from nf.media.anycast.documents import PART as ANYCAST_PART
from nf.media.anycast.documents import SECTION as ANYCAST_SECTION
from nf.media.anycast.documents import AnycastEquipment, AnycastSection
from nf.media.documents import HostName, HttpPort, Parent, SecretRef

PART: Final = "cdn-front"
SECTION: Final = "cdn-front"

Certificates = Annotated[tuple[SecretRef, ...], Field(min_length=1)]


class FrontEquipment(DocumentModel):
    """What the fronts have (placement: `cdn-front`). `certificates`: secrets of the appliance, each with a chain, leaf
    first, and its key, in PEM. `port` is that of TCP and of UDP."""

    certificates: Certificates
    port: HttpPort = 443


class FrontChannel(DocumentModel):
    channel: Name
    host: HostName


class FrontSection(DocumentModel):
    """Section `cdn-front`: `https://HOST/CHANNEL/` on `listen` and `listen6`, from the cache at `upstream`."""

    listen: Annotated[tuple[Address, ...], Field(min_length=1)]
    listen6: Address6 | None = None
    port: HttpPort = 443
    certificates: Certificates
    upstream: Parent
    channels: tuple[FrontChannel, ...] = ()
    requires: tuple[str, ...] = ()
    provides: tuple[str, ...] = ()


EXTENSION = Extension(
    sections={SECTION: FrontSection, ANYCAST_SECTION: AnycastSection},
    equipment={PART: FrontEquipment, ANYCAST_PART: AnycastEquipment},
)
