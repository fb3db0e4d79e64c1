"""PoPs in which trees only end, as sections: behind an IGMP proxy (RFC 4605), or a tunnel from a relay (RFC 7450)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from ipaddress import IPv4Address

from headend.multicast.amt.documents import AmtFlow, AmtGateway, AmtRelay, AmtSection
from headend.multicast.amt.sections import Pair, gateway_part, relay_part
from headend.multicast.documents import ProxySection, TreeEntry
from headend.multicast.equipment import AmtRelayPlace
from headend.multicast.planning.facts import OUTPUT_INTERFACE, RELAY_TAP, relay_fact, tree_fact
from headend.multicast.planning.planned import Planned, PlannedWay


def proxy_section(
    plan: Planned, pop: str, entries: Iterable[TreeEntry], output_pops: AbstractSet[str]
) -> ProxySection | None:
    """None where the fleet has a problem with the PoP. Its output stage asks it as a receiver does."""
    leaf = plan.topology.leaves.get(pop)
    above = plan.topology.face_on(leaf.parent, leaf.link) if leaf is not None else None
    access = [face.name for face in plan.lans(pop)]
    access += [OUTPUT_INTERFACE] if pop in output_pops else []
    if leaf is None or above is None or not access or leaf.uplink in access:
        return None
    return ProxySection(
        uplink=leaf.uplink,
        access=tuple(access),
        gateway=above.address.ip,
        sources=tuple(sorted({entry.source for entry in entries})),
    )


@dataclass(slots=True)
class TunnelSections:
    """What tunnels carry, and their ends."""

    plan: Planned
    flows: dict[str, dict[Pair, AmtFlow]] = field(default_factory=lambda: defaultdict(dict))

    def add(self, planned: PlannedWay) -> None:
        for pop in planned.pops:
            for one in planned.streams if pop in self.plan.topology.gateways else ():
                source, group = one.stream.source, one.stream.group
                if isinstance(source, IPv4Address) and isinstance(group, IPv4Address):
                    channel, path = planned.way.channel.id, planned.way.path.id
                    self.flows[pop][source, group] = AmtFlow(source=source, group=group, channel=channel, path=path)

    def sections(self, output_pops: AbstractSet[str]) -> Iterator[tuple[str, AmtSection]]:
        """Those of every appliance at which a tunnel begins or ends."""
        relays = {relay.appliance: relay for relay in self.plan.equipment.amt.relays}
        for name in sorted(self.plan.topology.transit & relays.keys()):
            part = self._relay(relays[name])
            if part is not None:
                yield name, AmtSection(relay=part)
        for pop, relay in sorted(self.plan.topology.gateways.items()):
            made = self._gateway(pop, relays[relay], output_pops) if relay in relays else None
            if made is not None:
                yield pop, AmtSection(gateway=made)

    def _relay(self, place: AmtRelayPlace) -> AmtRelay | None:
        """It asks its router, so that the trees end there; its facts hold when the router lets all of them pass."""
        name, wanted = place.appliance, self._of(place.appliance)
        part = relay_part(place.address, RELAY_TAP, wanted, appliance=name)
        if part is None:
            return None
        pairs = sorted({pair for own in wanted.values() for pair in own})
        given = {"port": place.port, "max_gateways": place.max_gateways, "max_flows": place.max_flows}
        facts = {
            "requires": (*part.requires, *(tree_fact(source, group, name) for source, group in pairs)),
            "provides": tuple(relay_fact(source, group, name) for source, group in pairs),
        }
        return part.model_copy(update={**{k: v for k, v in given.items() if v is not None}, **facts})

    def _of(self, relay: str) -> Mapping[str, Iterable[Pair]]:
        gateways = self.plan.topology.gateways.items()
        return {pop: self.flows[pop] for pop, own in sorted(gateways) if own == relay and self.flows.get(pop)}

    def _gateway(self, pop: str, relay: AmtRelayPlace, output_pops: AbstractSet[str]) -> AmtGateway | None:
        """Into the output stage's tap where there is one; else to the receivers as it comes."""
        deliver = (OUTPUT_INTERFACE,) if pop in output_pops else tuple(face.name for face in self.plan.lans(pop))
        flows = self.flows.get(pop, {})
        pairs = sorted(flows)
        if not deliver:
            return None
        part = gateway_part(
            relay.address,
            pairs,
            deliver,
            appliance=pop,
            provides=(tree_fact(source, group, pop) for source, group in pairs),
        )
        if part is None:
            return None
        needs = (relay_fact(source, group, relay.appliance) for source, group in pairs)
        return part.model_copy(
            update={
                "port": relay.port,
                "flows": tuple(flows[pair] for pair in pairs),
                "requires": (*part.requires, *needs),
            }
        )
