"""Section `bgp` of every speaker, and what the fleet may not say. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from headend.multicast.bgp.documents import PART, SECTION, BgpEquipment, BgpSection, Speaker
from headend.multicast.bgp.validity import Validity, validity
from nf.documents.fleet import Appliance, Fleet, Role
from nf.documents.model import DocumentModel
from nf.documents.rules import unique, unknown
from nf.errors import Problem

_KEY = f"spec.equipment.{PART}"


def bgp_equipment(fleet: Fleet) -> BgpEquipment | None:
    found = fleet.spec.equipment.get(PART)
    return found if isinstance(found, BgpEquipment) else None


def bgp_sections(fleet: Fleet) -> Mapping[str, Mapping[str, DocumentModel]]:
    """Appliance -> its section; one with a problem has none."""
    equipment = bgp_equipment(fleet)
    if equipment is None:
        return {}
    known = tuple(sorted({prefix for speaker in equipment.speakers for prefix in speaker.originates}))
    routers = {a.id: a.loopback for a in fleet.spec.appliances if a.role in (Role.CORE, Role.POP)}
    sections: dict[str, dict[str, DocumentModel]] = {}
    for speaker in equipment.speakers:
        router_id = routers.get(speaker.appliance)
        if router_id is not None:
            sections[speaker.appliance] = {
                SECTION: BgpSection(
                    router_id=router_id,
                    as_number=speaker.as_number,
                    neighbours=tuple(sorted(speaker.neighbours, key=lambda n: n.address)),
                    originates=tuple(sorted(set(speaker.originates))),
                    known=known,
                    rpki=equipment.rpki,
                )
            }
    return sections


def bgp_problems(fleet: Fleet) -> Iterator[Problem]:
    equipment = bgp_equipment(fleet)
    if equipment is None:
        return
    keyed = [(f"{_KEY}.speakers[{number}]", one) for number, one in enumerate(equipment.speakers)]
    yield from unique(
        "a router has one AS: {first} is listed already",
        "list its neighbours and prefixes once",
        ((f"{key}.appliance", one.appliance, one.appliance) for key, one in keyed),
    )
    appliances = {appliance.id: appliance for appliance in fleet.spec.appliances}
    routers = {n for n, a in appliances.items() if a.role in (Role.CORE, Role.POP) and a.loopback is not None}
    for key, speaker in keyed:
        if speaker.appliance not in routers:
            yield unknown("router with a loopback in the fleet", f"{key}.appliance", speaker.appliance, routers)
            continue
        yield from _neighbour_problems(key, speaker, appliances, equipment)
        yield from _origin_problems(key, speaker, appliances, equipment)


def _neighbour_problems(
    key: str, speaker: Speaker, appliances: Mapping[str, Appliance], equipment: BgpEquipment
) -> Iterator[Problem]:
    own = appliances[speaker.appliance]
    speakers = {one.appliance: one for one in equipment.speakers}
    holder = {face.address.ip: name for name, a in appliances.items() for face in a.interfaces}
    for index, neighbour in enumerate(speaker.neighbours):
        where = f"{key}.neighbours[{index}]"
        value = str(neighbour.address)
        if not any(neighbour.address in face.address.network for face in own.interfaces):
            rule = f"{own.id} has no link with {value}: a neighbour is one hop away"
            yield Problem(rule, "write its address on a link that both are on", key=f"{where}.address", value=value)
        name = holder.get(neighbour.address)
        if name == own.id:
            yield Problem(f"it is {own.id} itself", "write the other end", key=f"{where}.address", value=value)
        elif name is not None and name not in speakers:
            rule = f"{value} is {name}, which is no speaker"
            yield Problem(rule, f"add {name} to the speakers", key=f"{where}.address", value=value)
        elif name is not None and speakers[name].as_number != neighbour.as_number:
            rule = f"{name} is in AS {speakers[name].as_number}: the session would be refused (RFC 4271 section 6.2)"
            yield Problem(rule, "write its AS", key=f"{where}.as", value=str(neighbour.as_number))


def _origin_problems(
    key: str, speaker: Speaker, appliances: Mapping[str, Appliance], equipment: BgpEquipment
) -> Iterator[Problem]:
    """RFC 7115 section 3: who originates what RPKI calls invalid is dropped by those who validate."""
    for index, prefix in enumerate(speaker.originates):
        where, value = f"{key}.originates[{index}]", str(prefix)
        state = validity(prefix, speaker.as_number, equipment.roas)
        if state is not Validity.VALID:
            rule = f"{value} from AS {speaker.as_number} is {state.value} by the ROAs (RFC 6811)"
            remedy = f"have a ROA issued for it with that AS, and write it into {_KEY}.roas; or correct the AS"
            yield Problem(rule, remedy, key=where, value=value)
        taken = sorted(
            name
            for name, appliance in appliances.items()
            if (appliance.loopback is not None and appliance.loopback in prefix)
            or any(f.address.network.overlaps(prefix) for f in appliance.interfaces)
        )
        if taken:
            rule = f"{value} has addresses of {taken[0]} in it, which would be announced with it"
            yield Problem(rule, "announce a prefix of its own", key=where, value=value)
