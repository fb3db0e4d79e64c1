"""Links, bridges and addresses of a lab, made by netlink straight inside the nodes' namespaces.

No end of a link is ever in the host's own namespace, and none of its routes, rules or addresses changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Interface
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from lab.native.processes import Process, in_network_of
from lab.topology import MANAGEMENT_BRIDGE, MANAGEMENT_INTERFACE, End, Link, Topology
from nf.contracts.json import Json, JsonObject
from nf.errors import DriverError


@dataclass(frozen=True, slots=True)
class Port:
    """One end as it is made: in which process's namespace, under which name, on which bridge (of the fabric)."""

    init: Process
    name: str
    bridge: str = ""
    address: IPv4Interface | None = None
    mac: str | None = None


@dataclass(frozen=True, slots=True)
class Wire:
    a: Port
    b: Port
    mtu: int


def wires(topology: Topology, inits: Mapping[str, Process], fabric: Process) -> tuple[Wire, ...]:
    """Every veth pair of the lab, those of the management network included."""
    bridges = {node.name for node in topology.bridges()}

    def port(end: End) -> Port:
        if end.node in bridges:
            return Port(fabric, end.interface, bridge=end.node, mac=end.mac)
        return Port(inits[end.node], end.interface, address=end.ipv4, mac=end.mac)

    def wire(link: Link) -> Wire:
        return Wire(port(link.a), port(link.b), link.mtu)

    return (*map(wire, topology.links), *_management(topology, inits, fabric))


def _management(topology: Topology, inits: Mapping[str, Process], fabric: Process) -> Iterator[Wire]:
    taken = {end.interface for end in topology.ends()}
    names = (name for number in range(len(taken) + len(inits)) if (name := f"mgmt{number}") not in taken)
    for node in topology.linux():
        if node.management is not None:
            address = IPv4Interface(f"{node.management}/{topology.management_subnet.prefixlen}")
            near = Port(inits[node.name], MANAGEMENT_INTERFACE, address=address)
            yield Wire(near, Port(fabric, next(names), bridge=MANAGEMENT_BRIDGE), 1500)


def make_bridges(topology: Topology, fabric: Process) -> None:
    """Raises DriverError."""
    names = [MANAGEMENT_BRIDGE, *(node.name for node in topology.bridges())]
    _inside(fabric, lambda netlink: _make_bridges(netlink, names))


def _make_bridges(netlink: Any, names: list[str]) -> None:
    for name in names:
        # Version 3, else the snooping bridge would not understand the source-specific reports of the receivers.
        netlink.link("add", ifname=name, kind="bridge", br_mcast_snooping=1, br_mcast_igmp_version=3)
        netlink.link("set", index=_index(netlink, name), state="up")


def make_links(topology: Topology, inits: Mapping[str, Process], fabric: Process) -> None:
    """Make every link, put up all ends, set the addresses that the topology names. Raises DriverError."""
    made = wires(topology, inits, fabric)
    with IPRoute() as netlink:
        for wire in made:
            _make_wire(netlink, wire)
    ports: dict[Process, list[Port]] = {init: [] for init in (*inits.values(), fabric)}
    for port in (end for wire in made for end in (wire.a, wire.b)):
        ports[port.init].append(port)
    for init, own in ports.items():
        _inside(init, lambda netlink, own=own: _put_up(netlink, own))


def _make_wire(netlink: Any, wire: Wire) -> None:
    def attributes(port: Port) -> dict[str, Any]:
        mac = {"address": port.mac} if port.mac else {}
        return {"ifname": port.name, "net_ns_pid": port.init.pid, "mtu": wire.mtu, **mac}

    try:
        netlink.link("add", kind="veth", peer=attributes(wire.b), **attributes(wire.a))
    except NetlinkError as error:
        raise DriverError(f"link {wire.a.name} - {wire.b.name} cannot be made: {error}", where="lab") from None


def _put_up(netlink: Any, ports: list[Port]) -> None:
    netlink.link("set", index=1, state="up")  # lo
    for port in ports:
        index = _index(netlink, port.name)
        if port.bridge:
            netlink.link("set", index=index, master=_index(netlink, port.bridge))
        if port.address is not None:
            address, broadcast = str(port.address.ip), str(port.address.network.broadcast_address)
            wide = {"broadcast": broadcast} if port.address.network.prefixlen < 31 else {}
            netlink.addr("add", index=index, address=address, prefixlen=port.address.network.prefixlen, **wide)
        netlink.link("set", index=index, state="up")


def set_link(init: Process, interface: str, *, up: bool) -> None:
    """Raises DriverError, also when there is no such interface."""
    set_links(init, (interface,), up=up)


def set_links(init: Process, names: Iterable[str], *, up: bool) -> None:
    """All of them in one go. Raises DriverError."""

    def work(netlink: Any) -> None:
        for name in names:
            netlink.link("set", index=_index(netlink, name), state="up" if up else "down")

    _inside(init, work)


def interfaces(init: Process) -> tuple[JsonObject, ...]:
    """The node's interfaces: name, `up` (administratively), carrier, MTU, MAC, addresses. Raises DriverError."""
    result: tuple[JsonObject, ...] = _inside(init, _read)
    return result


def _read(netlink: Any) -> tuple[JsonObject, ...]:
    addresses: dict[int, list[Json]] = {}
    for message in netlink.get_addr():
        text = f"{message.get_attr('IFA_LOCAL') or message.get_attr('IFA_ADDRESS')}/{message['prefixlen']}"
        addresses.setdefault(message["index"], []).append(text)
    return tuple(
        {
            "name": link.get_attr("IFLA_IFNAME"),
            "up": bool(link["flags"] & 1),
            "carrier": bool(link.get_attr("IFLA_CARRIER")),
            "mtu": link.get_attr("IFLA_MTU"),
            "mac": link.get_attr("IFLA_ADDRESS"),
            "addresses": addresses.get(link["index"], []),
        }
        for link in netlink.get_links()
    )


def _index(netlink: Any, name: str) -> int:
    found = netlink.link_lookup(ifname=name)
    if not found:
        raise DriverError(f"no interface {name}", where="lab", remedy="`nf lab status` lists the interfaces")
    return int(found[0])


def _inside(init: Process, work: Any) -> Any:
    def run() -> Any:
        with IPRoute() as netlink:
            return work(netlink)

    try:
        return in_network_of(init, run)
    except (NetlinkError, OSError) as error:
        raise DriverError(f"the kernel refused: {error}", where="lab") from None
