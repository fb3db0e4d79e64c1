"""What the planner writes for PoPs in which trees end, on live daemons.

source s - router a - router b - PoP p (proxy) - receiver r
                              \\- PoP t (tunnel from a) - receiver q
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from headend.multicast.amt.driver import create as create_amt
from headend.multicast.documents import TreeSection
from headend.multicast.frr.driver import create as create_frr
from headend.multicast.interfaces.driver import create as create_interfaces
from headend.multicast.kernel.driver import create as create_proxy
from headend.multicast.tree.driver import create as create_tree
from nf.documents.appliance import ApplianceConfig
from nf.documents.fleet import Fleet
from nf.planning.compiler import compile_lineup
from tests.headend.multicast.networks import lineup
from tests.headend.multicast.tree.network import Node, commit, connect, nodes, receive, send, take_back, until
from tests.nf.planning.samples import PLANNERS, built

pytestmark = [pytest.mark.root, pytest.mark.daemon]

SOURCE, GROUP, RELAY = "10.66.1.10", "232.66.1.1", "10.66.255.1"
LINKS = {
    "lan": ("headend:eth1", "a:eth1"),
    "core": ("a:eth2", "b:eth1"),
    "small": ("b:eth2", "p:eth1"),
    "off-net": ("b:eth3", "t:eth1"),
    "lan-p": ("p:eth2", "r:eth1"),
    "lan-t": ("t:eth2", "q:eth1"),
}
ROLES = {"headend": "headend", "a": "core", "b": "core", "p": "pop", "t": "pop", "r": "probe", "q": "probe"}
SITES = {"p": "p", "r": "p", "t": "t", "q": "t"}
DRIVERS = (
    ("interfaces", create_interfaces),
    ("frr", create_frr),
    ("multicast-proxy", create_proxy),
    ("multicast-tree", create_tree),
    ("multicast-amt", create_amt),
)


def fleet() -> Fleet:
    faces: dict[str, list[dict[str, str]]] = {name: [] for name in ROLES}
    for number, ends in enumerate(LINKS.values(), start=1):
        for host, end in zip((10 if number == 1 else 1, 2), ends, strict=True):
            name, _, face = end.partition(":")
            faces[name].append({"name": face, "address": f"10.66.{number}.{host}/24"})
    appliances = []
    for number, (name, role) in enumerate(ROLES.items()):
        one: dict[str, Any] = {"id": name, "role": role, "serial": name, "interfaces": faces[name]}
        one |= {"site": SITES.get(name, "hub"), "management": f"172.20.20.{number + 1}"}
        if name in ("a", "b", "t"):
            one["loopback"] = f"10.66.255.{number}"
        appliances.append(one)
    multicast = {
        "proxies": [{"appliance": "p", "uplink": "eth1"}],
        "amt": {"relays": [{"appliance": "a", "address": RELAY}], "gateways": [{"appliance": "t", "relay": "a"}]},
    }
    spec = {
        "sites": [{"id": name} for name in ("hub", "p", "t")],
        "appliances": appliances,
        "links": [{"id": name, "endpoints": list(ends), "capacity": "100M"} for name, ends in LINKS.items()],
        "placement": [
            {"function": "ingest", "appliances": ["headend"]},
            {"function": "multicast-source", "appliances": ["headend"]},
            {"function": "multicast-output", "appliances": ["p"]},
        ],
        "equipment": {"multicast": multicast},
    }
    head = {"apiVersion": "streamverse.nf/v1", "kind": "Fleet", "metadata": {"name": "leaves"}}
    return built(Fleet, {**head, "spec": spec})


@pytest.fixture
def network(require_programs: Callable[..., None]) -> Iterator[tuple[dict[str, Node], dict[str, ApplianceConfig]]]:
    require_programs("ip", "nft", "zebra", "staticd", "ospfd", "pimd", "bfdd", "vtysh", "nsenter")
    with nodes(*ROLES) as made:
        for one, other in LINKS.values():
            (left, _, eth), (right, _, face) = one.partition(":"), other.partition(":")
            connect(made[left], eth, made[right], face)
        for name in ("a", "b", "p", "t"):
            made[name].supervise()
        found = compile_lineup(lineup({"sites": ["p", "t"], "group": GROUP}), fleet(), PLANNERS)
        yield made, dict(found.configs)


def test_channels_reach_receivers_behind_a_proxy_and_behind_a_tunnel(
    network: tuple[dict[str, Node], dict[str, ApplianceConfig]],
) -> None:
    made, configs = network
    undos = []
    for section, create in DRIVERS:
        if section == "multicast-amt":  # the relay's address comes by OSPF

            async def reached() -> bool:
                return RELAY in made["t"].shell("ip", "route")

            made["t"].call(until, reached)
        for name in ROLES:
            want = configs[name].sections.get(section)
            if want is not None:
                driver = create(made[name].context())
                undos.insert(0, (made[name], driver, made[name].call(commit, driver, want)))
    assert "frr" not in configs["p"].sections
    assert configs["t"].sections["multicast-tree"] == TreeSection()
    flow = made["headend"].start(send, SOURCE, (GROUP,))
    try:
        assert made["q"].call(receive, "10.66.6.2", SOURCE, GROUP, 20.0) == 5
        assert made["r"].call(receive, "10.66.5.2", SOURCE, GROUP, 20.0) == 5
        assert made["p"].call(receive, "169.254.255.1", SOURCE, GROUP, 20.0) == 5  # as its output stage asks
    finally:
        flow.cancel()
        for node, driver, records in undos:
            node.call(take_back, driver, records)
