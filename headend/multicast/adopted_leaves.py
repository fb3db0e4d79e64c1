"""Proxies and tunnels, from what runs to the fleet's equipment."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address

from headend.multicast.amt.documents import AmtRelay
from headend.multicast.equipment import AmtGatewayPlace, AmtRelayPlace, AmtTunnels, MulticastEquipment, ProxyPop
from headend.multicast.planning.facts import RELAY_INTERFACE
from headend.multicast.reading import Reading


def proxies_of(reading: Reading) -> tuple[ProxyPop, ...]:
    return tuple(ProxyPop(appliance=name, uplink=own.uplink) for name, own in sorted(reading.proxies.items()))


def tunnels_of(reading: Reading) -> AmtTunnels:
    """A tunnel that carries nothing does not run, and is not seen."""
    relays = {name: section.relay for name, section in sorted(reading.tunnels.items()) if section.relay is not None}
    at = {relay.address: name for name, relay in relays.items()}
    asking = {name: section.gateway for name, section in sorted(reading.tunnels.items()) if section.gateway is not None}
    needs = {relay: [len(one.flows) for one in asking.values() if one.relay == relay] for relay in at}
    return AmtTunnels(
        relays=tuple(_place(name, relay, needs[relay.address]) for name, relay in relays.items()),
        gateways=tuple(
            AmtGatewayPlace(appliance=pop, relay=at[gateway.relay])
            for pop, gateway in asking.items()
            if gateway.relay in at
        ),
    )


def _place(name: str, relay: AmtRelay, needs: list[int]) -> AmtRelayPlace:
    """Limits that the plan would choose by itself are not written down."""
    return AmtRelayPlace(
        appliance=name,
        address=relay.address,
        port=relay.port,
        max_gateways=None if relay.max_gateways == 2 * len(needs) else relay.max_gateways,
        max_flows=None if relay.max_flows == max(needs, default=0) else relay.max_flows,
    )


def leaf_doubts(reading: Reading, equipment: MulticastEquipment) -> Iterator[str]:
    """What runs and the equipment does not say. `equipment`: the fleet's, or what was made of what runs."""
    known = {one.appliance: one.uplink for one in equipment.proxies}
    for name, proxy in sorted(reading.proxies.items()):
        if known.get(name) != proxy.uplink:
            yield f"{name} runs a proxy with the uplink {proxy.uplink}, which spec.equipment.multicast does not say"
    relays = {one.address: one.appliance for one in equipment.amt.relays}
    gateways = {one.appliance: one.relay for one in equipment.amt.gateways}
    for name, section in sorted(reading.tunnels.items()):
        if section.relay is not None and relays.get(section.relay.address) != name:
            yield f"{name} runs a relay at {section.relay.address}, which spec.equipment.multicast does not say"
        gateway = section.gateway
        if gateway is not None and (name not in gateways or relays.get(gateway.relay) != gateways[name]):
            yield f"{name} takes channels from a relay at {gateway.relay}, which spec.equipment.multicast does not say"
    for name, own in sorted(reading.interfaces.items()):
        if name not in relays.values() and any(face.name == RELAY_INTERFACE for face in own.interfaces):
            yield f"{name} has {RELAY_INTERFACE} of a relay, and no relay runs: nothing tells its address"
    for name, frr in sorted(reading.frr.items()):
        if name not in gateways and frr.interfaces and not any(face.pim for face in frr.interfaces):
            yield f"{name} routes without PIM, as behind a tunnel, and takes nothing: nothing tells from which relay"


def tunnelled(reading: Reading, source: IPv4Address, group: IPv4Address) -> set[str]:
    """PoPs to which (S, G) comes by tunnel."""
    return {
        name
        for name, section in reading.tunnels.items()
        if section.gateway is not None
        and any((flow.source, flow.group) == (source, group) for flow in section.gateway.flows)
    }
