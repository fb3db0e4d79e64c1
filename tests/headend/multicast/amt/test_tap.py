"""The relay on the router itself, by a tap beside pimd; the gateway into the tap that an output stage listens on.

source s - router and relay a - PoP p
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from ipaddress import IPv4Address

import pytest

from headend.multicast.amt.documents import AmtSection
from headend.multicast.amt.driver import create
from headend.multicast.amt.sections import gateway_part, relay_part
from headend.multicast.documents import FrrInterface, FrrSection, InterfaceConfig, InterfacesSection
from headend.multicast.frr.driver import create as create_frr
from headend.multicast.interfaces.driver import create as create_interfaces
from tests.headend.multicast.tree.network import Node, commit, connect, ip, nodes, receive, send, take_back

pytestmark = [pytest.mark.root, pytest.mark.daemon]

SOURCE, RELAY, GROUP = "10.64.1.10", "10.64.2.1", "232.64.1.1"
NEAR, TAP = "169.254.255.0/31", "169.254.255.1/31"


def interfaces(loopback: str, **addresses: str) -> InterfacesSection:
    """A router's, with a pair whose far end is a tap."""
    given = [{"name": name, "address": address} for name, address in addresses.items()]
    pair = {"name": "nfout0", "address": NEAR, "pair": "nfout1", "pair_address": TAP}
    listed = tuple(InterfaceConfig.model_validate(one) for one in (*given, pair))
    return InterfacesSection(loopback=IPv4Address(loopback), forwarding=True, interfaces=listed)


@pytest.fixture
def network(require_programs: Callable[..., None]) -> Iterator[dict[str, Node]]:
    require_programs("ip", "nft", "zebra", "pimd", "nsenter")
    with nodes("s", "a", "p") as made:
        connect(made["s"], "eth1", made["a"], "eth1")
        connect(made["a"], "eth2", made["p"], "eth1")
        ip("-n", made["s"].namespace, "address", "add", f"{SOURCE}/24", "dev", "eth1")
        ip("-n", made["s"].namespace, "link", "set", "eth1", "up")
        for name in ("a", "p"):
            made[name].supervise()
        sections = {
            "a": interfaces("10.64.255.1", eth1="10.64.1.1/24", eth2=f"{RELAY}/24"),
            "p": interfaces("10.64.255.2", eth1="10.64.2.2/24"),
        }
        for name, section in sections.items():
            made[name].call(commit, create_interfaces(made[name].context()), section)
        faces = (FrrInterface(name="eth1", passive=True), FrrInterface(name="nfout0", passive=True, igmp=True))
        frr = FrrSection(router_id=IPv4Address("10.64.255.1"), interfaces=faces)
        made["a"].call(commit, create_frr(made["a"].context()), frr)
        yield made


def test_a_stream_goes_from_tap_to_tap(network: dict[str, Node]) -> None:
    router, pop = network["a"], network["p"]
    pair = (IPv4Address(SOURCE), IPv4Address(GROUP))
    relay = relay_part(IPv4Address(RELAY), "nfout1", {"p": [pair]}, appliance="a")
    gateway = gateway_part(IPv4Address(RELAY), [pair], ["nfout0"], appliance="p")
    undos = []
    for node, section in ((router, AmtSection(relay=relay)), (pop, AmtSection(gateway=gateway))):
        driver = create(node.context())
        (step,) = driver.plan(node.call(driver.observe), section)
        assert step.requires <= node.call(create_interfaces(node.context()).observe).facts
        undos.insert(0, (node, driver, node.call(commit, driver, section)))
    flow = network["s"].start(send, SOURCE, (GROUP,))
    try:
        # As the output stage does: it asks on the tap, where no router answers, and reads what comes.
        assert pop.call(receive, "169.254.255.1", SOURCE, GROUP, 20.0) == 5
        # The pair is deleted by hand and made anew by its driver: the relay takes the new one by itself.
        router.shell("ip", "link", "delete", "nfout0")
        section = interfaces("10.64.255.1", eth1="10.64.1.1/24", eth2=f"{RELAY}/24")
        router.call(commit, create_interfaces(router.context()), section)
        assert pop.call(receive, "169.254.255.1", SOURCE, GROUP, 30.0) == 5
    finally:
        flow.cancel()
        for node, driver, records in undos:
            node.call(take_back, driver, records)
            assert [*(node.run_dir / "amt").iterdir()] == []
