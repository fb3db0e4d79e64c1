"""Addresses of the fleet: unique, usable in their subnet, one subnet for each link, management out-of-band."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Interface, IPv4Network

from nf.documents.fleet import Appliance, Fleet
from nf.documents.rules import unique
from nf.errors import Problem


def check_addresses(fleet: Fleet) -> tuple[Problem, ...]:
    appliances = [(f"spec.appliances[{i}]", appliance) for i, appliance in enumerate(fleet.spec.appliances)]
    return (
        *_unique_addresses(appliances),
        *_usable(appliances),
        *_one_subnet_per_link(fleet),
        *_out_of_band(appliances),
    )


def _interfaces(appliances: list[tuple[str, Appliance]]) -> Iterator[tuple[str, str, IPv4Interface]]:
    """Key of the address, endpoint name, address."""
    for key, appliance in appliances:
        for index, face in enumerate(appliance.interfaces):
            yield f"{key}.interfaces[{index}].address", f"{appliance.id}:{face.name}", face.address


def _unique_addresses(appliances: list[tuple[str, Appliance]]) -> Iterator[Problem]:
    management = [(f"{key}.management", a.management, str(a.management)) for key, a in appliances]
    loopbacks = [(f"{key}.loopback", a.loopback, str(a.loopback)) for key, a in appliances if a.loopback is not None]
    interfaces = [(key, address.ip, str(address)) for key, _, address in _interfaces(appliances)]
    later = [(f"{key}.loopback6", a.loopback6, str(a.loopback6)) for key, a in appliances if a.loopback6 is not None]
    for taken in ([*management, *loopbacks, *interfaces], later):
        yield from unique(
            "this address is taken by {first}",
            "give every interface, loopback and management port its own address",
            taken,
        )


def _usable(appliances: list[tuple[str, Appliance]]) -> Iterator[Problem]:
    for key, _, address in _interfaces(appliances):
        network = address.network
        ends = (network.network_address, network.broadcast_address)
        if network.prefixlen < 31 and address.ip in ends:
            rule = f"the {'network' if address.ip == ends[0] else 'broadcast'} address of {network} is no host's"
            yield Problem(rule, "choose an address between the first and the last one", key=key, value=str(address))


def _one_subnet_per_link(fleet: Fleet) -> Iterator[Problem]:
    addresses = {f"{a.id}:{face.name}": face.address for a in fleet.spec.appliances for face in a.interfaces}
    owner: dict[IPv4Network, str] = {}
    for number, link in enumerate(fleet.spec.links):
        networks = [addresses[name].network for name in link.endpoints if name in addresses]
        for index, name in enumerate(link.endpoints):
            if name in addresses and addresses[name].network != networks[0]:
                yield Problem(
                    f"{addresses[name]} is not in {networks[0]}, the subnet of the link's first interface",
                    "give all interfaces of a link addresses of one subnet",
                    key=f"spec.links[{number}].endpoints[{index}]",
                    value=name,
                )
        if networks and owner.setdefault(networks[0], link.id) != link.id:
            rule = f"{networks[0]} is the subnet of the link {owner[networks[0]]} already"
            yield Problem(rule, "give every link its own subnet", key=f"spec.links[{number}].id", value=link.id)


def _out_of_band(appliances: list[tuple[str, Appliance]]) -> Iterator[Problem]:
    networks = {address.network for _, _, address in _interfaces(appliances)}
    prefixes = {network.prefixlen for network in networks}
    for key, appliance in appliances:
        for prefix in sorted(prefixes):
            network = IPv4Network((appliance.management, prefix), strict=False)
            if network in networks:
                yield Problem(
                    f"management is out-of-band, but {network} is a subnet of the data plane",
                    "use an address of the management network",
                    key=f"{key}.management",
                    value=str(appliance.management),
                )
