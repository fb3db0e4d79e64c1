"""Fronts and VIPs, from what runs back to the fleet's equipment. The inverse of `nf.media.entrances`. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address

from nf.documents.model import DocumentModel
from nf.media.anycast.documents import PART as ANYCAST
from nf.media.anycast.documents import AnycastEquipment, AnycastSection, FleetVip, Vip
from nf.media.front.documents import PART as FRONT
from nf.media.front.documents import FrontEquipment, FrontSection


def entrances(
    fronts: Mapping[str, FrontSection], anycast: Mapping[str, AnycastSection], problems: list[str]
) -> dict[str, DocumentModel]:
    """Part -> what it says; `problems`: where appliances differ in what the part says once for all."""
    found: dict[str, DocumentModel] = {}
    kinds = {(front.certificates, front.port) for front in fronts.values()}
    if len(kinds) > 1:
        problems.append(
            f"the fronts of {', '.join(sorted(fronts))} differ in certificates or port; a fleet has one kind"
        )
    elif kinds:
        ((certificates, port),) = kinds
        found[FRONT] = FrontEquipment(certificates=certificates, port=port)
    healths = {section.health.model_dump_json(): section.health for section in anycast.values()}
    having: dict[IPv4Address, tuple[Vip, list[str]]] = {}
    for name, section in sorted(anycast.items()):
        for vip in section.vips:
            seen, names = having.setdefault(vip.address, (vip, []))
            names.append(name)
            if seen != vip:
                problems.append(f"{vip.address} is announced as {seen.announced} and, by {name}, as {vip.announced}")
    if len(healths) > 1:
        problems.append(f"the caches of {', '.join(sorted(anycast))} are asked for their health in different ways")
    elif healths:
        vips = [FleetVip(**dict(vip), appliances=tuple(names)) for vip, names in having.values()]
        found[ANYCAST] = AnycastEquipment(vips=tuple(vips), health=next(iter(healths.values())))
    return found
