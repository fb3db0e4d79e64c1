"""What a fleet may not say of its voice core; each broken rule is a Problem with its document key. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from itertools import chain, combinations
from typing import Final

from nf.documents.fleet import Appliance, Fleet
from nf.documents.rules import unique, unknown
from nf.errors import Problem
from sip import numbers
from sip.documents import EQUIPMENT, Voice
from sip.naming import CONTROL_LOOPBACK, MEDIA_SERVER_PORTS, RPC_PORT, SHARING_PORT

KEY: Final = f"spec.equipment.{EQUIPMENT}"

_ONE_EACH: Final = {
    "proxies": "proxy",
    "relays": "relay",
    "media_servers": "media server",
    "gateways": "WebRTC gateway",
    "turns": "TURN server",
}
"""List -> what stands in it: one of a kind runs on an appliance."""


@dataclass(frozen=True, slots=True)
class Node:
    """Something of the voice core that runs on an appliance. `key`: of its entry."""

    key: str
    kind: str
    id: str
    appliance: str
    address: IPv4Address


@dataclass(frozen=True, slots=True)
class Ports:
    """That a node listens at, first and last. `key`: where they are written."""

    node: Node
    key: str
    address: IPv4Address
    protocol: str
    first: int
    last: int
    what: str


def nodes(voice: Voice) -> tuple[Node, ...]:
    return tuple(
        Node(f"{KEY}.{name}[{number}]", kind, one.id, one.appliance, one.address)
        for name, kind in _ONE_EACH.items()
        for number, one in enumerate(getattr(voice, name))
    )


def problems(voice: Voice, fleet: Fleet) -> tuple[Problem, ...]:
    """All of them. The planner of the section `kamailio` tells them; the others plan nothing while there is one."""
    found = chain(
        place_problems(voice, fleet),
        twin_problems(voice),
        port_problems(voice),
        loopback_problems(voice, fleet),
        relay_problems(voice),
        trunk_problems(voice),
        virtual_problems(voice, fleet),
        numbers.problems(voice, KEY),
    )
    return tuple(dict.fromkeys(found))


def addresses(appliance: Appliance) -> dict[IPv4Address, str]:
    """Address -> interface."""
    found = {interface.address.ip: interface.name for interface in appliance.interfaces}
    return {appliance.loopback: "lo", **found} if appliance.loopback is not None else found


def place_problems(voice: Voice, fleet: Fleet) -> Iterator[Problem]:
    """Unknown appliances, and addresses that the appliance has not. That of a relay with a partner moves between two:
    the planner of relays tells what is wrong with it."""
    known = {appliance.id: appliance for appliance in fleet.spec.appliances}
    moving = {one.id for one in voice.relays if one.partner is not None}
    for one in nodes(voice):
        if one.appliance not in known:
            yield unknown("appliance in the fleet", f"{one.key}.appliance", one.appliance, known)
            continue
        has = addresses(known[one.appliance])
        if one.address not in has and not (one.kind == "relay" and one.id in moving):
            owned = ", ".join(f"{address} ({name})" for address, name in has.items())
            remedy = f"it has {owned}" if owned else f"give {one.appliance} an interface or a loopback"
            rule = f"{one.appliance} does not have this address"
            yield Problem(rule, remedy, key=f"{one.key}.address", value=str(one.address))


def twin_problems(voice: Voice) -> Iterator[Problem]:
    everything = nodes(voice)
    yield from unique(
        "something of the voice core has this name already: {first}",
        "give it a name of its own: operators drain and ask by it",
        ((f"{one.key}.id", one.id, one.id) for one in everything),
    )
    for kind in _ONE_EACH.values():
        yield from unique(
            f"this appliance has a {kind} already: {{first}}",
            "place it on another appliance: each runs one of a kind",
            ((f"{one.key}.appliance", one.appliance, one.appliance) for one in everything if one.kind == kind),
        )


def _proxy_ports(voice: Voice, by_key: Mapping[str, Node]) -> Iterator[Ports]:
    loopback = IPv4Address(CONTROL_LOOPBACK)
    shared = {name for one in voice.virtual_addresses for name in one.proxies}
    for number, proxy in enumerate(voice.proxies):
        node = by_key[f"{KEY}.proxies[{number}]"]
        yield Ports(node, f"{node.key}.appliance", loopback, "tcp", RPC_PORT, RPC_PORT, "Kamailio's RPC")
        for index, one in enumerate(proxy.listeners):
            protocol = "udp" if one.transport == "udp" else "tcp"
            key = f"{node.key}.listeners[{index}].port"
            yield Ports(node, key, proxy.address, protocol, one.port, one.port, f"SIP over {one.transport}")
        if proxy.id in shared:
            port, what = SHARING_PORT, "registrations of a virtual address"
            yield Ports(node, f"{node.key}.address", proxy.address, "tcp", port, port, what)


def _listening(voice: Voice) -> Iterator[Ports]:
    by_key = {one.key: one for one in nodes(voice)}
    loopback = IPv4Address(CONTROL_LOOPBACK)
    yield from _proxy_ports(voice, by_key)
    for number, relay in enumerate(voice.relays):
        node = by_key[f"{KEY}.relays[{number}]"]
        yield Ports(node, f"{node.key}.control", relay.address, "udp", relay.control, relay.control, "control")
        yield Ports(node, f"{node.key}.ports", relay.address, "udp", *relay.ports, "media")
    for number, server in enumerate(voice.media_servers):
        node = by_key[f"{KEY}.media_servers[{number}]"]
        for protocol in ("udp", "tcp"):
            yield Ports(node, f"{node.key}.port", server.address, protocol, server.port, server.port, "SIP")
        yield Ports(node, f"{node.key}.control", loopback, "tcp", server.control, server.control, "control")
        yield Ports(node, f"{node.key}.address", server.address, "udp", *MEDIA_SERVER_PORTS, "media")
    for number, gateway in enumerate(voice.gateways):
        node = by_key[f"{KEY}.gateways[{number}]"]
        yield Ports(node, f"{node.key}.port", gateway.address, "tcp", gateway.port, gateway.port, "its API")
        yield Ports(node, f"{node.key}.admin", loopback, "tcp", gateway.admin, gateway.admin, "administration")
        yield Ports(node, f"{node.key}.ports", gateway.address, "udp", *gateway.ports, "media")
    for number, turn in enumerate(voice.turns):
        node = by_key[f"{KEY}.turns[{number}]"]
        for protocol in ("udp", "tcp"):
            yield Ports(node, f"{node.key}.port", turn.address, protocol, turn.port, turn.port, "TURN")
            if turn.certificate is not None:
                yield Ports(node, f"{node.key}.secure", turn.address, protocol, turn.secure, turn.secure, "TLS")
        yield Ports(node, f"{node.key}.ports", turn.address, "udp", *turn.ports, "relayed media")


def port_problems(voice: Voice) -> Iterator[Problem]:
    """Ranges that are none, and two that would listen on one port of one address."""
    groups: dict[tuple[str, IPv4Address, str], list[Ports]] = defaultdict(list)
    for one in _listening(voice):
        if one.first > one.last:
            rule, remedy = "the first port comes after the last", f"write [{one.last}, {one.first}]"
            yield Problem(rule, remedy, key=one.key, value=f"[{one.first}, {one.last}]")
        groups[one.node.appliance, one.address, one.protocol].append(one)
    for group in groups.values():
        for earlier, one in combinations(group, 2):
            if earlier.first <= one.last and one.first <= earlier.last and earlier.key != one.key:
                rule = (
                    f"{earlier.node.kind} {earlier.node.id} has {one.protocol} ports of {one.address} among these"
                    f" already, for {earlier.what}: {earlier.key}"
                )
                value = str(one.first) if one.first == one.last else f"[{one.first}, {one.last}]"
                yield Problem(rule, "give one of them other ports", key=one.key, value=value)


def loopback_problems(voice: Voice, fleet: Fleet) -> Iterator[Problem]:
    """Janus 1.1.2 listens at the first address of the interface that has the one it is told: 127.0.0.1 of lo."""
    loopbacks = {one.id: one.loopback for one in fleet.spec.appliances}
    for number, gateway in enumerate(voice.gateways):
        if loopbacks.get(gateway.appliance) == gateway.address:
            rule, remedy = "Janus cannot listen at a loopback's address", "give it the address of an interface"
            yield Problem(rule, remedy, key=f"{KEY}.gateways[{number}].address", value=str(gateway.address))


def relay_problems(voice: Voice) -> Iterator[Problem]:
    known = {one.id: one for one in voice.relays}
    for number, relay in enumerate(voice.relays):
        key = f"{KEY}.relays[{number}].partner"
        if relay.partner is None:
            continue
        partner = known.get(relay.partner)
        if partner is None:
            yield unknown(f"relay in {KEY}.relays", key, relay.partner, known.keys() - {relay.id})
        elif partner.id == relay.id:
            rule = "a relay cannot take over its own calls"
            yield Problem(rule, "name another relay", key=key, value=relay.partner)
        elif partner.partner != relay.id:
            owner_of = partner.partner or "none"
            rule = f"partners take over from one another, and the partner of {partner.id} is {owner_of}"
            yield Problem(rule, f"write partner: {relay.id} at {partner.id}", key=key, value=relay.partner)
        elif partner.ports != relay.ports:
            rule = f"{partner.id} has other ports for media: a call that it takes over keeps those that it has"
            yield Problem(rule, f"write ports: {[*partner.ports]}", key=key, value=relay.partner)


def trunk_problems(voice: Voice) -> Iterator[Problem]:
    """What comes from an address belongs to one trunk, or to a media server."""
    yield from unique(
        "a trunk has this name already: {first}",
        "give it a name of its own",
        ((f"{KEY}.trunks[{number}].id", one.id, one.id) for number, one in enumerate(voice.trunks)),
    )
    owner: dict[IPv4Address, tuple[str, str]] = {}
    for number, server in enumerate(voice.media_servers):
        owner.setdefault(server.address, (f"media server {server.id}", f"{KEY}.media_servers[{number}].address"))
    for number, trunk in enumerate(voice.trunks):
        seen: set[tuple[IPv4Address, int]] = set()
        for index, gateway in enumerate(trunk.gateways):
            key = f"{KEY}.trunks[{number}].gateways[{index}].address"
            who, where = owner.setdefault(gateway.address, (f"trunk {trunk.id}", key))
            if not where.startswith(f"{KEY}.trunks[{number}]."):
                rule = f"this is the address of {who} already: {where}"
                remedy = "give each trunk, and each media server, addresses of its own: calls are told apart by them"
                yield Problem(rule, remedy, key=key, value=str(gateway.address))
            elif (gateway.address, gateway.port) in seen:
                yield Problem("the trunk has this gateway twice", "remove one", key=key, value=str(gateway.address))
            seen.add((gateway.address, gateway.port))


def virtual_problems(voice: Voice, fleet: Fleet) -> Iterator[Problem]:
    known = {one.id: one for one in voice.proxies}
    boxes = {one.id: one for one in fleet.spec.appliances}
    owned = {address: box.id for box in fleet.spec.appliances for address in addresses(box)}
    yield from unique(
        "a virtual address has this name already: {first}",
        "give it a name of its own",
        ((f"{KEY}.virtual_addresses[{n}].id", one.id, one.id) for n, one in enumerate(voice.virtual_addresses)),
    )
    yield from unique(
        "this segment has the vrid already: {first}",
        "take another number from 1 to 255 (RFC 5798 section 5.2.3)",
        (
            (f"{KEY}.virtual_addresses[{n}].vrid", (one.address.network, one.vrid), str(one.vrid))
            for n, one in enumerate(voice.virtual_addresses)
        ),
    )
    yield from unique(
        "this address is a virtual one already: {first}",
        "take an address that is free",
        (
            (f"{KEY}.virtual_addresses[{n}].address", one.address.ip, str(one.address))
            for n, one in enumerate(voice.virtual_addresses)
        ),
    )
    for number, one in enumerate(voice.virtual_addresses):
        key = f"{KEY}.virtual_addresses[{number}]"
        if one.address.ip in owned:
            rule = f"{owned[one.address.ip]} has this address as its own"
            remedy = "take an address of the segment that no appliance has"
            yield Problem(rule, remedy, key=f"{key}.address", value=str(one.address))
        if len({*one.proxies}) != len(one.proxies):
            rule = "the two proxies of a virtual address are one"
            yield Problem(rule, "name two", key=f"{key}.proxies", value=one.proxies[0])
        for index, name in enumerate(one.proxies):
            proxy = known.get(name)
            if proxy is None:
                yield unknown(f"proxy in {KEY}.proxies", f"{key}.proxies[{index}]", name, known)
            elif proxy.appliance in boxes:
                yield from _segment_problems(boxes[proxy.appliance], one.interface, one.address.network, key)


def _segment_problems(box: Appliance, name: str, network: IPv4Network, key: str) -> Iterator[Problem]:
    """VRRP is heard on one segment."""
    face = next((one for one in box.interfaces if one.name == name), None)
    if face is None:
        yield unknown(f"interface of {box.id}", f"{key}.interface", name, [one.name for one in box.interfaces])
    elif face.address.network != network:
        rule = f"{box.id}:{name} is in {face.address.network}, the virtual address in {network}"
        remedy = "take an address of the segment that both proxies share, with its prefix length"
        yield Problem(rule, remedy, key=f"{key}.address", value=str(network))


def warnings(voice: Voice) -> tuple[Problem, ...]:
    """What may be meant, and seldom is."""
    return tuple(dict.fromkeys(chain(_certificate_warnings(voice), numbers.warnings(voice, KEY))))


def _certificate_warnings(voice: Voice) -> Iterator[Problem]:
    for number, proxy in enumerate(voice.proxies):
        secure = {one.transport for one in proxy.listeners} & {"tls", "wss"}
        if secure and proxy.certificate is None:
            rule = f"{proxy.id} makes a certificate for itself, which clients outside a lab refuse"
            remedy = "name one: certificate: secret:NAME"
            yield Problem(rule, remedy, key=f"{KEY}.proxies[{number}].certificate", value="none")
