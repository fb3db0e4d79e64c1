"""The WebRTC edge's share of a compilation. Pure; the planner `kamailio` tells the voice core's problems."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from ipaddress import IPv4Address

from nf.contracts.planner import Contribution, FleetOperation
from nf.documents.fleet import Fleet
from nf.documents.lineup import LineUp
from nf.documents.model import DocumentModel
from nf.errors import Problem
from sip.documents import EQUIPMENT, Turn, Voice, WebrtcGateway
from sip.naming import DRAIN, interface_fact, turn_fact, webrtc_fact
from sip.operations import TURN_CREDENTIALS
from sip.rules import KEY, addresses, problems
from sip.webrtc.documents import JANUS, TURN, JanusSection, TurnSection


class WebrtcPlanner:
    """Planner of the fleet's equipment `voice`; the line-up says nothing to it."""

    @property
    def name(self) -> str:
        return "webrtc"

    def plan(self, lineup: LineUp, fleet: Fleet) -> Contribution:  # noqa: ARG002 - the same for every line-up
        voice = fleet.spec.equipment.get(EQUIPMENT)
        if not isinstance(voice, Voice) or problems(voice, fleet):
            return Contribution()
        sections: dict[str, dict[str, DocumentModel]] = defaultdict(dict)
        made = []
        for gateway in voice.gateways:
            sections[gateway.appliance][JANUS] = janus_section(gateway, fleet)
            made.append(FleetOperation(DRAIN, gateway.id, (((gateway.appliance, JANUS),),)))
        for turn in voice.turns:
            sections[turn.appliance][TURN] = turn_section(voice, turn, fleet)
            made.append(FleetOperation(DRAIN, turn.id, (((turn.appliance, TURN),),)))
            made.append(FleetOperation(TURN_CREDENTIALS, turn.id, (((turn.appliance, TURN),),)))
        return Contribution(
            sections=dict(sections),
            warnings=tuple(_warnings(voice)),
            operations=tuple(sorted(made, key=lambda one: (one.object, one.name))),
        )


def janus_section(gateway: WebrtcGateway, fleet: Fleet) -> JanusSection:
    return JanusSection(
        gateway=gateway.model_copy(update={"plugins": tuple(sorted({*gateway.plugins}))}),
        requires=_requires(gateway, fleet),
        provides=(webrtc_fact(gateway.appliance),),
    )


def turn_section(voice: Voice, turn: Turn, fleet: Fleet) -> TurnSection:
    """A relay behind NAT is known to browsers by what it advertises, and that is whom they ask to be relayed to."""
    media = [one.advertised or one.address for one in voice.relays]
    media += [one.advertised or one.address for one in voice.gateways]
    own = {address for appliance in fleet.spec.appliances for address in addresses(appliance)} | {
        one.management for one in fleet.spec.appliances
    }
    return TurnSection(
        turn=turn,
        realm=voice.domains[0],
        peers=tuple(sorted(set(media))),
        own=tuple(sorted(own)) if turn.reach == "internet" else (),
        requires=_requires(turn, fleet),
        provides=(turn_fact(turn.appliance),),
    )


def _requires(node: WebrtcGateway | Turn, fleet: Fleet) -> tuple[str, ...]:
    name = addresses(fleet.appliance(node.appliance))[IPv4Address(node.address)]
    return (interface_fact(node.appliance, name),)


def _warnings(voice: Voice) -> Iterator[Problem]:
    for number, gateway in enumerate(voice.gateways):
        if gateway.certificate is None:
            rule = f"{gateway.id} takes WebSockets without TLS: pages that come by https may not call it"
            remedy = "name a certificate, or place an entrance before it that ends TLS"
            yield Problem(rule, remedy, key=f"{KEY}.gateways[{number}].certificate", value="none")
