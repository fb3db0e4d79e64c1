"""The relays' share of a compilation: which appliance runs which, who may order it about, and pairs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from ipaddress import IPv4Address

from nf.contracts.planner import Contribution, FleetOperation
from nf.documents.fleet import Appliance, Fleet
from nf.documents.lineup import LineUp
from nf.documents.model import DocumentModel
from nf.errors import Problem
from sip.documents import EQUIPMENT, Relay, Voice
from sip.naming import interface_fact, relay_fact
from sip.placement import asking_address, plain_listener, segment
from sip.rtpengine.documents import SECTION, AskedProxy, Pair, RtpengineSection
from sip.rtpengine.naming import HTTP_PORT, STORE_PORT, VRRP_IDS
from sip.rtpengine.waiting import WAIT_EMPTY

KEY = f"spec.equipment.{EQUIPMENT}"


class RtpenginePlanner:
    """Planner of the relays of the fleet's equipment `voice`; the line-up says nothing to it."""

    @property
    def name(self) -> str:
        return "rtpengine"

    def plan(self, lineup: LineUp, fleet: Fleet) -> Contribution:  # noqa: ARG002 - the contract's
        voice = fleet.spec.equipment.get(EQUIPMENT)
        if not isinstance(voice, Voice):
            return Contribution()
        found = (*_problems(voice, fleet),)
        if found:
            return Contribution(problems=found)
        sections: dict[str, dict[str, DocumentModel]] = {
            relay.appliance: {SECTION: _section(voice, fleet, relay)} for relay in voice.relays
        }
        operations = (FleetOperation(WAIT_EMPTY, one.id, (((one.appliance, SECTION),),)) for one in voice.relays)
        return Contribution(sections=sections, operations=tuple(operations))


def _section(voice: Voice, fleet: Fleet, relay: Relay) -> RtpengineSection:
    appliance = fleet.appliance(relay.appliance)
    partner = next((one for one in voice.relays if one.id == relay.partner), None)
    pair = _pair(fleet, relay, partner) if partner is not None else None
    name = pair.interface if pair is not None else _names(appliance).get(relay.address)
    return RtpengineSection(
        # That it is drained is the proxies' matter: they send it no new call, and it stays as it is.
        relay=relay.model_copy(update={"drained": False, "weight": Relay.model_fields["weight"].default}),
        pair=pair,
        peers=_peers(voice, fleet),
        proxies=_proxies(voice),
        source=asking_address(voice, fleet, relay),
        requires=(interface_fact(relay.appliance, name),) if name is not None else (),
        provides=(relay_fact(relay.appliance),),
    )


def _pair(fleet: Fleet, relay: Relay, partner: Relay) -> Pair | None:
    here, there = (segment(fleet.appliance(one.appliance), relay.address) for one in (relay, partner))
    if here is None or there is None:
        return None
    return Pair(
        first=relay.id < partner.id,
        partner=partner.id,
        address=partner.address,
        interface=here.name,
        own=here.address,
        other=there.address.ip,
    )


def _proxies(voice: Voice) -> tuple[AskedProxy, ...]:
    found = []
    for one in sorted(voice.proxies, key=lambda one: one.id):
        first = plain_listener(one)
        more = {"port": first.port, "transport": first.transport} if first is not None else {"transport": None}
        found.append(AskedProxy.model_validate({"id": one.id, "address": one.address, **more}))
    return tuple(found)


def _peers(voice: Voice, fleet: Fleet) -> tuple[IPv4Address, ...]:
    """Every address from which a proxy may send: that which it listens on, and those of its appliance."""
    found = {one.address for one in voice.proxies} | {one.address.ip for one in voice.virtual_addresses}
    hosts = {proxy.appliance for proxy in voice.proxies}
    for appliance in fleet.spec.appliances:
        found |= _names(appliance).keys() if appliance.id in hosts else set()
    return tuple(sorted(found))


def _names(appliance: Appliance) -> dict[IPv4Address, str]:
    found = {interface.address.ip: interface.name for interface in appliance.interfaces}
    return {appliance.loopback: "lo", **found} if appliance.loopback is not None else found


def _problems(voice: Voice, fleet: Fleet) -> Iterator[Problem]:
    known = {appliance.id for appliance in fleet.spec.appliances}
    ids = Counter(relay.id for relay in voice.relays)
    placed = Counter(relay.appliance for relay in voice.relays)
    addresses = Counter(relay.address for relay in voice.relays)
    for number, relay in enumerate(voice.relays):
        key = f"{KEY}.relays[{number}]"
        if ids[relay.id] > 1:
            yield Problem("two relays have this name", "give each its own", key=f"{key}.id", value=relay.id)
        if relay.appliance not in known:
            remedy = "name one of the fleet"
            yield Problem("there is no such appliance", remedy, key=f"{key}.appliance", value=relay.appliance)
            continue
        if placed[relay.appliance] > 1:
            rule, remedy = "an appliance has one relay", "place it on another one"
            yield Problem(rule, remedy, key=f"{key}.appliance", value=relay.appliance)
        if addresses[relay.address] > 1:
            rule, remedy = "two relays have this address", "give each its own"
            yield Problem(rule, remedy, key=f"{key}.address", value=str(relay.address))
        first, last = relay.ports
        if any(first <= port <= last for port in (relay.control, HTTP_PORT, STORE_PORT)):
            rule = f"media ports hold a port of the relay itself: {relay.control}, {HTTP_PORT} or {STORE_PORT}"
            yield Problem(rule, "write ports: [30000, 39999]", key=f"{key}.ports", value=f"{first}-{last}")
        if relay.partner is None:
            if relay.address not in _names(fleet.appliance(relay.appliance)):
                rule = f"{relay.appliance} has no such address"
                remedy = "write that of one of its interfaces, or its loopback"
                yield Problem(rule, remedy, key=f"{key}.address", value=str(relay.address))
        else:
            yield from _pair_problems(voice, fleet, relay, key)


def _pair_problems(voice: Voice, fleet: Fleet, relay: Relay, key: str) -> Iterator[Problem]:
    named = str(relay.partner)
    partner = next((one for one in voice.relays if one.id == named), None)
    if partner is None or partner.id == relay.id:
        yield Problem("there is no other relay of this name", "name one", key=f"{key}.partner", value=named)
        return
    if partner.partner != relay.id:
        rule, remedy = "partners name each other", f"write partner: {relay.id} at {partner.id}"
        yield Problem(rule, remedy, key=f"{key}.partner", value=named)
    if partner.appliance not in {appliance.id for appliance in fleet.spec.appliances}:
        return  # told at the partner
    for what in ("ports", "control", "region"):
        if getattr(partner, what) != getattr(relay, what):
            rule, remedy = f"partners have the same {what}", f"write at both what {min(relay.id, partner.id)} has"
            yield Problem(rule, remedy, key=f"{key}.{what}", value=str(getattr(relay, what)))
    if (relay.advertised is None) != (partner.advertised is None):
        rule, remedy = "both partners are behind NAT, or none", "write advertised at both, or at none"
        yield Problem(rule, remedy, key=f"{key}.advertised", value=str(relay.advertised))
    for appliance in map(fleet.appliance, (relay.appliance, partner.appliance)):
        if relay.address in _names(appliance):
            rule = f"a relay with a partner has an address that moves, and this is {appliance.id}'s own"
            yield Problem(rule, "write a free one of the same subnet", key=f"{key}.address", value=str(relay.address))
        elif segment(appliance, relay.address) is None:
            rule = f"{appliance.id} has no interface in the subnet of this address, which moves between partners"
            remedy = "write one of the segment that both share"
            yield Problem(rule, remedy, key=f"{key}.address", value=str(relay.address))
    yield from _vrrp_problems(voice, {relay.appliance, partner.appliance})


def _vrrp_problems(voice: Voice, hosts: set[str]) -> Iterator[Problem]:
    of_proxies = {one.id: one.appliance for one in voice.proxies}
    for number, virtual in enumerate(voice.virtual_addresses):
        if virtual.vrid in VRRP_IDS and hosts & {of_proxies.get(one) for one in virtual.proxies}:
            rule, place = "254 and 255 are those of a pair of relays", f"{KEY}.virtual_addresses[{number}].vrid"
            yield Problem(rule, "write another number", key=place, value=str(virtual.vrid))
