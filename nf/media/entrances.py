"""How receivers get to an edge beside its own addresses: a front that speaks HTTP/3, and VIPs. Pure."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from collections.abc import Set as AbstractSet
from ipaddress import IPv4Address

from nf.documents.fleet import Fleet
from nf.documents.model import DocumentModel
from nf.documents.rules import unique, unknown
from nf.errors import Problem
from nf.media.anycast.documents import PART as ANYCAST
from nf.media.anycast.documents import SECTION as ANYCAST_SECTION
from nf.media.anycast.documents import AnycastEquipment, AnycastSection, Target, Vip
from nf.media.documents import PART as CDN
from nf.media.documents import CdnEquipment, EdgeSection, Parent
from nf.media.edge.render import CONFIG_HOST
from nf.media.front.documents import PART as FRONT
from nf.media.front.documents import FrontChannel, FrontEquipment, FrontSection
from nf.media.front.render import HEALTH_PATH

_EDGE = "cdn-edge"
_HTTP_PORT = EdgeSection.model_fields["port"].default
Sections = MutableMapping[str, dict[str, DocumentModel]]


def anycast_fact(appliance: str) -> str:
    """Holds while a cache may listen on its VIPs."""
    return f"{appliance}.anycast"


def front_fact(appliance: str) -> str:
    """Holds while the front runs."""
    return f"cdn.front={appliance}"


def add_entrances(fleet: Fleet, sections: Sections) -> None:
    """Fronts and VIPs beside the edges that there are; an edge with VIPs listens on them too."""
    anycast, front = fleet.spec.equipment.get(ANYCAST), fleet.spec.equipment.get(FRONT)
    fronts = frozenset(fleet.placed(FRONT))
    for name, own in sections.items():
        edge = own.get(_EDGE)
        if not isinstance(edge, EdgeSection):
            continue
        behind = edge
        vips = tuple(v for v in anycast.vips if name in v.appliances) if isinstance(anycast, AnycastEquipment) else ()
        if vips:
            edge = edge.model_copy(
                update={
                    "listen": (*edge.listen, *(vip.address for vip in vips)),
                    "requires": (*edge.requires, anycast_fact(name)),
                }
            )
            own[_EDGE] = edge
        fronted = _front(name, edge, front) if name in fronts and isinstance(front, FrontEquipment) else None
        if fronted is not None:
            own[FRONT] = fronted
        if vips and isinstance(anycast, AnycastEquipment):
            own[ANYCAST_SECTION] = AnycastSection(
                vips=tuple(Vip(address=vip.address, prefix=vip.prefix) for vip in vips),
                targets=_targets(behind, fronted),
                health=anycast.health,
                requires=tuple(f"{name}.bgp.{vip.announced}" for vip in vips),
                provides=(anycast_fact(name),),
            )


def _front(name: str, edge: EdgeSection, equipment: FrontEquipment) -> FrontSection:
    served = sorted({(one.channel, host) for one in edge.channels for host in (one.host, *one.aliases)})
    return FrontSection(
        listen=edge.listen,
        listen6=edge.listen6,
        port=equipment.port,
        certificates=equipment.certificates,
        upstream=Parent(address=edge.listen[0], port=edge.port),
        channels=tuple(FrontChannel(channel=channel, host=host) for channel, host in served),
        requires=edge.requires,
        provides=(front_fact(name),),
    )


def _targets(edge: EdgeSection, front: FrontSection | None) -> tuple[Target, ...]:
    """Each answers by itself, without asking a shield: a PoP whose shields are away still has what it keeps."""
    cache = Target(address=edge.listen[0], port=edge.port, host=CONFIG_HOST)
    if front is None or not front.channels:
        return (cache,)
    host = front.channels[0].host
    return (cache, Target(address=edge.listen[0], port=front.port, tls=True, host=host, path=HEALTH_PATH))


def entrance_problems(fleet: Fleet) -> Iterator[Problem]:
    edges = set(fleet.placed(_EDGE))
    placed = [(n, p) for n, p in enumerate(fleet.spec.placement) if p.function == FRONT]
    for number, placement in placed:
        key = f"spec.placement[{number}]"
        if FRONT not in fleet.spec.equipment:
            remedy = f"add it: equipment: {{{FRONT}: {{certificates: [secret:cdn-tls]}}}}"
            yield Problem(f"a front has certificates, and the equipment has no part {FRONT}", remedy, key=key)
        for index, name in enumerate(placement.appliances):
            if name not in edges:
                rule = f"{name} has no edge cache for a front to stand before"
                yield Problem(rule, f"place {_EDGE} there too", key=f"{key}.appliances[{index}]", value=name)
    yield from _port_problems(fleet, edges)
    anycast = fleet.spec.equipment.get(ANYCAST)
    if not isinstance(anycast, AnycastEquipment):
        return
    keyed = [(f"spec.equipment.{ANYCAST}.vips[{number}]", vip) for number, vip in enumerate(anycast.vips)]
    yield from unique(
        "the address stands there already: {first}",
        "list it once, with all its appliances",
        ((f"{key}.address", vip.address, str(vip.address)) for key, vip in keyed),
    )
    taken = _addresses(fleet)
    for key, vip in keyed:
        if vip.address in taken:
            rule = f"{vip.address} is {taken[vip.address]}'s own address"
            yield Problem(rule, "take one that no interface has", key=f"{key}.address", value=str(vip.address))
        for index, name in enumerate(vip.appliances):
            if name not in edges:
                yield unknown(f"appliance with {_EDGE}", f"{key}.appliances[{index}]", name, edges)


def _port_problems(fleet: Fleet, edges: AbstractSet[str]) -> Iterator[Problem]:
    """A front and the edge behind it listen on the same addresses."""
    front, cdn = fleet.spec.equipment.get(FRONT), fleet.spec.equipment.get(CDN)
    if not isinstance(front, FrontEquipment):
        return
    equipment = cdn if isinstance(cdn, CdnEquipment) else CdnEquipment()
    for name in sorted(edges & set(fleet.placed(FRONT))):
        tls = equipment.of(name).tls
        taken = {_HTTP_PORT: "http"} | ({tls.port: "https"} if tls is not None else {})
        if front.port in taken:
            rule = f"the edge on {name} has its {taken[front.port]} on port {front.port}"
            remedy = f"give the front another port, or the edge (equipment, {CDN})"
            yield Problem(rule, remedy, key=f"spec.equipment.{FRONT}.port", value=str(front.port))


def _addresses(fleet: Fleet) -> dict[IPv4Address, str]:
    found = {face.address.ip: a.id for a in fleet.spec.appliances for face in a.interfaces}
    return found | {a.loopback: a.id for a in fleet.spec.appliances if a.loopback is not None}
