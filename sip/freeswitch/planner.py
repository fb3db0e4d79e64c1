"""The media servers' share of a compilation. What the voice core may not say is told by the proxies' planner. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from nf.contracts.planner import Contribution, FleetOperation
from nf.documents.fleet import Appliance, Fleet
from nf.documents.lineup import LineUp
from nf.documents.model import DocumentModel
from nf.errors import Problem
from sip.documents import EQUIPMENT, MediaServer, Voice
from sip.freeswitch.documents import SECTION, FreeswitchSection, WayOut
from sip.freeswitch.operations import LIVE
from sip.freeswitch.settings import CALLS_AT_MOST
from sip.naming import DRAIN, interface_fact, media_server_fact

_KEY: Final = f"spec.equipment.{EQUIPMENT}"
_PREFERRED: Final = ("udp", "tcp")


class FreeswitchPlanner:
    """Planner of the fleet's equipment `voice`; the line-up says nothing to it."""

    @property
    def name(self) -> str:
        return SECTION

    def plan(self, lineup: LineUp, fleet: Fleet) -> Contribution:  # noqa: ARG002 - the same for every line-up
        voice = fleet.spec.equipment.get(EQUIPMENT)
        if not isinstance(voice, Voice):
            return Contribution()
        boxes = {one.id: one for one in fleet.spec.appliances}
        sections: dict[str, dict[str, DocumentModel]] = {}
        operations: list[FleetOperation] = []
        for server in sorted(voice.media_servers, key=lambda one: one.id):
            box = boxes.get(server.appliance)
            if box is None or server.appliance in sections:
                continue  # the proxies' planner says what is wrong
            sections[server.appliance] = {SECTION: freeswitch_section(voice, server, box)}
            stages = (((server.appliance, SECTION),),)
            operations += (FleetOperation(name, server.id, stages) for name in (DRAIN, LIVE))
        found = tuple(_problems(voice)) if sections else ()
        if found:
            return Contribution(problems=found)
        return Contribution(sections=sections, operations=tuple(operations))


def freeswitch_section(voice: Voice, server: MediaServer, box: Appliance) -> FreeswitchSection:
    """In an order of its own, so that the document's changes nothing."""
    boxes = any(one.kind == "voicemail" for one in voice.services)
    virtual = {one.address.ip for one in voice.virtual_addresses}
    return FreeswitchSection(
        server=server,
        domains=tuple(sorted(voice.domains)),
        callers=tuple(sorted({*(one.address for one in voice.proxies), *virtual})),
        ways_out=_ways_out(voice),
        services=tuple(sorted(voice.services, key=lambda one: one.number)),
        accounts=voice.accounts if boxes else None,
        rate=voice.limits.rate,
        requires=_requires(server, box),
        provides=(media_server_fact(server.appliance),),
    )


def _problems(voice: Voice) -> Iterator[Problem]:
    """Of media servers alone."""
    for number, server in enumerate(voice.media_servers):
        if server.sessions > CALLS_AT_MOST:
            rule = f"it has ports for {CALLS_AT_MOST:,} calls, two for each"
            key = f"{_KEY}.media_servers[{number}].sessions"
            yield Problem(rule, "take less, and have more media servers", key=key, value=str(server.sessions))
    own = {one.number for one in voice.services}
    for number, service in enumerate(voice.services):
        for key, led in service.options.items():
            if led not in own and not _ways_out(voice):
                rule = "no service has this number, and no proxy takes SIP by udp or tcp, by which a call could leave"
                place = f"{_KEY}.services[{number}].options.{key}"
                yield Problem(rule, "name a service, or give a proxy a listener of transport udp", key=place, value=led)


def _requires(server: MediaServer, box: Appliance) -> tuple[str, ...]:
    """The loopback's address comes with the section of interfaces too."""
    for one in box.interfaces:
        if one.address.ip == server.address:
            return (interface_fact(box.id, one.name),)
    return (interface_fact(box.id, "lo"),) if box.loopback == server.address else ()


def _ways_out(voice: Voice) -> tuple[WayOut, ...]:
    """By udp where a proxy has it, else by tcp."""
    found = []
    for proxy in sorted(voice.proxies, key=lambda one: one.id):
        ways = [one for one in proxy.listeners if one.transport in _PREFERRED]
        if ways:
            first = min(ways, key=lambda one: (_PREFERRED.index(one.transport), one.port))
            data = {"address": proxy.address, "port": first.port, "transport": first.transport}
            found.append(WayOut.model_validate(data))
    return tuple(found)
