"""What is wrong with proxies and tunnels in the fleet's equipment, and what cannot be delivered by them."""

from __future__ import annotations

from collections.abc import Iterator

from headend.multicast.equipment import AmtRelayPlace
from headend.multicast.planning.facts import MONITOR_FUNCTION, OUTPUT_FUNCTION
from headend.multicast.planning.planned import Planned
from headend.multicast.planning.spt import Face
from nf.documents.fleet import Role
from nf.documents.rules import unique, unknown
from nf.errors import Problem

_KEY = "spec.equipment.multicast"
_MOST_ACCESS = 30


def leaf_problems(plan: Planned) -> Iterator[Problem]:
    equipment = plan.equipment
    kinds = (
        *((f"{_KEY}.proxies[{n}].appliance", one.appliance) for n, one in enumerate(equipment.proxies)),
        *((f"{_KEY}.amt.gateways[{n}].appliance", one.appliance) for n, one in enumerate(equipment.amt.gateways)),
    )
    yield from unique(
        "the PoP is listed already: {first}",
        "list it once: it has a proxy, or a tunnel",
        ((key, name, name) for key, name in kinds),
    )
    for key, name in kinds:
        yield from _not_a_pop(plan, key, name)
    for number, one in enumerate(equipment.proxies):
        if one.appliance in plan.topology.proxies:
            yield from _proxy_problems(plan, f"{_KEY}.proxies[{number}]", one.appliance, one.uplink)
    yield from unique(
        "the router is a relay already: {first}",
        "list it once",
        ((f"{_KEY}.amt.relays[{n}].appliance", r.appliance, r.appliance) for n, r in enumerate(equipment.amt.relays)),
    )
    for number, relay in enumerate(equipment.amt.relays):
        yield from _relay_problems(plan, f"{_KEY}.amt.relays[{number}]", relay)
    for number, gateway in enumerate(equipment.amt.gateways):
        if plan.topology.gateways.get(gateway.appliance) == gateway.relay:
            yield from _gateway_problems(plan, f"{_KEY}.amt.gateways[{number}]", gateway.appliance, gateway.relay)
    yield from _deliveries(plan)


def _not_a_pop(plan: Planned, key: str, name: str) -> Iterator[Problem]:
    appliance = plan.topology.appliances.get(name)
    if appliance is None:
        yield unknown("appliance in the fleet", key, name, plan.topology.appliances)
    elif appliance.role is not Role.POP:
        rule = f"{name} is no PoP but {appliance.role.value}: only a PoP can be where trees end"
        yield Problem(rule, "name a PoP", key=key, value=name)


def _uplinks(plan: Planned, pop: str) -> list[Face]:
    """On links with another router."""
    faces = plan.topology.faces[pop]
    members, routers = plan.topology.members, plan.topology.routers
    return [face for face in faces if any(n in routers and n != pop for n in members.get(face.link, ()))]


def _proxy_problems(plan: Planned, key: str, pop: str, uplink: str) -> Iterator[Problem]:
    topology = plan.topology
    face = next((face for face in topology.faces[pop] if face.name == uplink), None)
    if face is None:
        yield unknown(f"interface of {pop}", f"{key}.uplink", uplink, (f.name for f in topology.faces[pop]))
        return
    above = topology.routers_on(face.link)
    if len(above) != 1:
        found = ", ".join(above) or "none"
        rule = f"a proxy stands behind one router that runs PIM; on the link of {pop}:{uplink} there are: {found}"
        yield Problem(rule, "name the interface towards one", key=f"{key}.uplink", value=uplink)
    others = [other.name for other in _uplinks(plan, pop) if other.name != uplink]
    if others:
        rule = f"a proxy has one uplink, and {', '.join(others)} of {pop} is on a link with a router as well"
        remedy = "take that link out of the fleet, or take the PoP out of proxies: with two uplinks it has to run FRR"
        yield Problem(rule, remedy, key=f"{key}.uplink", value=uplink)
    access = [lan.name for lan in plan.lans(pop)]
    if uplink in access:
        rule = f"{uplink} is the uplink, and has receivers of {pop} on it as well"
        yield Problem(rule, "give the receivers a LAN of their own", key=f"{key}.uplink", value=uplink)
    if not access:
        rule = f"{pop} has no LAN with receivers, so that its proxy has nobody to ask for"
        remedy = "add the LAN to the fleet (spec.equipment.multicast.access, or a probe), or remove the proxy"
        yield Problem(rule, remedy, key=f"{key}.appliance", value=pop)
    if len(access) >= _MOST_ACCESS:
        rule = f"{pop} has {len(access)} LANs with receivers; the kernel's table has room for {_MOST_ACCESS - 1}"
        yield Problem(rule, "bridge some of them, or run FRR there", key=f"{key}.appliance", value=pop)


def _relay_problems(plan: Planned, key: str, relay: AmtRelayPlace) -> Iterator[Problem]:
    appliance = plan.topology.appliances.get(relay.appliance)
    if appliance is None:
        yield unknown("appliance in the fleet", f"{key}.appliance", relay.appliance, plan.topology.appliances)
        return
    if relay.appliance not in plan.topology.transit:
        rule = f"{relay.appliance} is no router that runs PIM: a relay asks its router for what gateways want"
        yield Problem(rule, "name such a router", key=f"{key}.appliance", value=relay.appliance)
        return
    own = {face.address.ip for face in plan.topology.faces[relay.appliance]} | {appliance.loopback}
    if relay.address not in own:
        rule = f"this is no address of {relay.appliance}"
        remedy = f"take one of its own, best its loopback {appliance.loopback}"
        yield Problem(rule, remedy, key=f"{key}.address", value=str(relay.address))
    behind = [pop for pop, name in plan.topology.gateways.items() if name == relay.appliance]
    if relay.max_gateways is not None and relay.max_gateways < len(behind):
        rule = f"{len(behind)} gateways are to take from {relay.appliance}"
        remedy = f"raise it to {2 * len(behind)}: one that restarts has two tunnels for a while"
        yield Problem(rule, remedy, key=f"{key}.max_gateways", value=str(relay.max_gateways))
    needed = max((_flows(plan, pop) for pop in behind), default=0)
    most = 1000 if relay.max_flows is None else relay.max_flows
    if needed > most:
        rule = f"a gateway of {relay.appliance} needs {needed} flows"
        yield Problem(rule, f"raise it to {needed}", key=f"{key}.max_flows", value=str(most))


def _flows(plan: Planned, pop: str) -> int:
    return sum(len(planned.streams) for planned in plan.ways if pop in planned.pops)


def _gateway_problems(plan: Planned, key: str, pop: str, relay: str) -> Iterator[Problem]:
    relays = sorted(one.appliance for one in plan.equipment.amt.relays)
    if relay not in relays:
        yield unknown(f"relay in {_KEY}.amt.relays", f"{key}.relay", relay, relays)
    faces = _uplinks(plan, pop)
    names = ", ".join(face.name for face in faces) or "none"
    if len(faces) != 1 or faces[0].link not in plan.topology.adjacencies:
        rule = f"a PoP behind a tunnel has one uplink, a link with one router; {pop} is with routers on: {names}"
        remedy = "leave it one: over a second one OSPF could lead what no tunnel carries"
        yield Problem(rule, remedy, key=f"{key}.appliance", value=pop)
    elif pop not in plan.topology.leaves and relay in plan.topology.transit:
        rule = f"{pop} has no path over the fleet's links to its relay {relay}"
        yield Problem(rule, "name a relay that it reaches", key=f"{key}.relay", value=relay)
    for number, placement in enumerate(plan.fleet.spec.placement):
        if placement.function == MONITOR_FUNCTION and pop in placement.appliances:
            rule = f"{pop} is behind a tunnel: {MONITOR_FUNCTION} would see no stream on its uplink"
            where = f"spec.placement[{number}].appliances[{placement.appliances.index(pop)}]"
            yield Problem(rule, "take it away there", key=where, value=pop)


def _deliveries(plan: Planned) -> Iterator[Problem]:
    """What flows through a tunnel flows unasked, to one place."""
    outputs = frozenset(plan.fleet.placed(OUTPUT_FUNCTION))
    for planned in plan.ways:
        path, key = planned.way.path, planned.way.key
        for index, site in enumerate(path.sites):
            for pop in plan.pops.get(site, ()):
                if pop not in plan.topology.gateways:
                    continue
                if pop in outputs and not path.given_out:
                    rule = f"{pop} is behind a tunnel, which ends in its output stage: it gives nothing out as it comes"
                    remedy = f"add output: {{}} to the path, or take {OUTPUT_FUNCTION} away from {pop}"
                    yield Problem(rule, remedy, key=f"{key}.sites[{index}]", value=site)
                elif pop not in outputs and not plan.lans(pop):
                    rule = f"{pop} is behind a tunnel and has no LAN with receivers to deliver to"
                    yield Problem(rule, "add the LAN to the fleet", key=f"{key}.sites[{index}]", value=site)
                if site in path.pinned:
                    rule = f"{pop} is behind a tunnel, through which everything flows unasked"
                    where = f"{key}.pinned[{path.pinned.index(site)}]"
                    yield Problem(rule, "remove the site from pinned", key=where, value=site)
