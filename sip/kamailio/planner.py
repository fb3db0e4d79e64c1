"""The proxies' share of a compilation, and the problems of the whole voice core: no other planner tells those. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from nf.contracts.planner import Contribution, FleetOperation
from nf.documents.fleet import Fleet
from nf.documents.lineup import LineUp
from nf.documents.model import DocumentModel
from sip.documents import EQUIPMENT, Proxy, Trunk, Voice
from sip.kamailio.documents import SECTION, VOICE_ADDRESS, Instance, KamailioSection, Sibling, VoiceAddressSection
from sip.naming import DRAIN, interface_fact, proxy_fact
from sip.placement import asking_address, plain_listener
from sip.rules import addresses, problems, warnings


class KamailioPlanner:
    """Planner of the fleet's equipment `voice`; the line-up says nothing to it."""

    @property
    def name(self) -> str:
        return SECTION

    def plan(self, lineup: LineUp, fleet: Fleet) -> Contribution:  # noqa: ARG002 - the same for every line-up
        voice = fleet.spec.equipment.get(EQUIPMENT)
        if not isinstance(voice, Voice):
            return Contribution()
        found = problems(voice, fleet)
        if found:
            return Contribution(problems=found)
        sections: dict[str, dict[str, DocumentModel]] = defaultdict(dict)
        for proxy in voice.proxies:
            sections[proxy.appliance][SECTION] = kamailio_section(voice, proxy, fleet)
            instances = _instances(voice, proxy)
            if instances:
                sections[proxy.appliance][VOICE_ADDRESS] = _voice_address(proxy, instances, fleet)
        drains = tuple(FleetOperation(DRAIN, one.id, (((one.appliance, SECTION),),)) for one in _by_id(voice.proxies))
        return Contribution(sections=dict(sections), warnings=warnings(voice), operations=drains)


def _by_id(proxies: tuple[Proxy, ...]) -> list[Proxy]:
    return sorted(proxies, key=lambda one: one.id)


def _requires(proxy: Proxy, fleet: Fleet) -> tuple[str, ...]:
    """The address of a loopback comes with a section too, that of `lo`."""
    names = addresses(fleet.appliance(proxy.appliance))
    return (interface_fact(proxy.appliance, names[proxy.address]),)


def kamailio_section(voice: Voice, proxy: Proxy, fleet: Fleet) -> KamailioSection:
    """In an order of its own, so that the document's changes nothing. Where an order means something, it stays."""
    emergency = voice.emergency
    if emergency is not None:
        emergency = emergency.model_copy(update={"numbers": tuple(sorted(emergency.numbers))})
    return KamailioSection(
        proxy=proxy.model_copy(
            update={"listeners": tuple(sorted(proxy.listeners, key=lambda one: (one.transport, one.port)))}
        ),
        virtual=tuple(sorted(one.address.ip for one in voice.virtual_addresses if proxy.id in one.proxies)),
        peers=_peers(voice, proxy),
        domains=tuple(sorted(voice.domains)),
        accounts=voice.accounts,
        relays=tuple(sorted(voice.relays, key=lambda one: one.id)),
        media_servers=tuple(sorted(voice.media_servers, key=lambda one: one.id)),
        services=tuple(sorted(voice.services, key=lambda one: one.number)),
        trunks=tuple(_ordered(one) for one in sorted(voice.trunks, key=lambda one: one.id)),
        plan=tuple(sorted(voice.plan, key=lambda one: one.prefix)),
        emergency=emergency,
        subscribers=tuple(sorted(voice.subscribers, key=lambda one: (one.domain, one.user))),
        limits=voice.limits,
        protection=voice.protection,
        topology_hiding=voice.topology_hiding,
        nat=voice.nat,
        stir=voice.stir,
        siblings=_siblings(voice, proxy),
        askers=tuple(sorted({asking_address(voice, fleet, one) for one in voice.relays})),
        requires=_requires(proxy, fleet),
        provides=(proxy_fact(proxy.appliance),),
    )


def _siblings(voice: Voice, proxy: Proxy) -> tuple[Sibling, ...]:
    """Not those that take calls by TLS or WebSocket alone: nothing that is encrypted goes between proxies."""
    found = []
    for one in sorted(voice.proxies, key=lambda one: one.address):
        first = plain_listener(one)
        if one.id != proxy.id and first is not None:
            found.append(Sibling.model_validate({**first.model_dump(), "address": one.address}))
    return tuple(found)


def _peers(voice: Voice, proxy: Proxy) -> tuple[Sibling, ...]:
    """Between two that take datagrams: what a phone registered by a connection is reached by that alone."""
    pairs = [{*one.proxies} for one in voice.virtual_addresses if proxy.id in one.proxies]
    names = {name for pair in pairs for name in pair} - {proxy.id}
    found = []
    for one in sorted(voice.proxies, key=lambda one: one.address):
        listeners = [plain_listener(each) for each in (proxy, one)]
        if one.id in names and all(each is not None and each.transport == "udp" for each in listeners):
            found.append(Sibling(address=one.address, port=listeners[1].port))  # type: ignore[union-attr]
    return tuple(found)


def _ordered(trunk: Trunk) -> Trunk:
    gateways = sorted(trunk.gateways, key=lambda one: (-one.priority, one.address, one.port))
    return trunk.model_copy(update={"gateways": tuple(gateways), "permitted": tuple(sorted(trunk.permitted))})


def _instances(voice: Voice, proxy: Proxy) -> tuple[Instance, ...]:
    known: Mapping[str, Proxy] = {one.id: one for one in voice.proxies}
    found = []
    for one in sorted(voice.virtual_addresses, key=lambda one: one.id):
        if proxy.id in one.proxies:
            (peer,) = (known[name] for name in one.proxies if name != proxy.id)
            found.append(
                Instance(
                    id=one.id,
                    address=one.address,
                    interface=one.interface,
                    vrid=one.vrid,
                    first=one.proxies[0] == proxy.id,
                    peer=peer.appliance,
                )
            )
    return tuple(found)


def _voice_address(proxy: Proxy, instances: tuple[Instance, ...], fleet: Fleet) -> VoiceAddressSection:
    """It asks the proxy where it takes datagrams, else where it takes connections."""
    first = min(proxy.listeners, key=lambda one: (one.transport != "udp", one.transport != "tcp", one.port))
    faces = {interface_fact(proxy.appliance, one.interface) for one in instances}
    return VoiceAddressSection(
        instances=instances,
        proxy=proxy.address,
        port=first.port,
        transport="udp" if first.transport == "udp" else "tcp",
        requires=tuple(sorted({*faces, *_requires(proxy, fleet)})),
    )
