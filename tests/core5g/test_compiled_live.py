"""From a line-up to a UE's packets: what the planner compiles is committed by the drivers, between the lab's MODEL of
an SMF and two UPFs, models too unless `NF_OPEN5GS_BIN` has real ones, with files of the renderer.

c1 is the core, with the SMF, the UPF `central`, and the internet behind its N6. pop1 is the edge, with the UPF `edge1`,
the uplink classifier before `central`, and the cache. `far` is a UE that the SMF gives to `central`, `near` one of
`edge1`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from ipaddress import ip_network

import pytest

from core5g.documents import EQUIPMENT, Core5g
from core5g.open5gs.naming import METRICS_PORTS
from core5g.open5gs.render import function_tree, tree_of_upf
from core5g.steering.contract import INFLUENCE, STEER_EXPLAIN, STEER_LIST, InfluenceOrder, Listing
from nf.documents.fleet import Fleet
from tests.core5g.compiled_world import World
from tests.core5g.daemons import SMF_MODEL, program
from tests.core5g.steering.n6.network import WEB
from tests.core5g.steering.samples import (
    breakout,
    built,
    central,
    classifier,
    compiled,
    core_data,
    fleet_data,
    lineup_data,
    upf,
)
from tests.headend.multicast.tree.network import Node, commit, connect, ip, nodes, until

pytestmark = [pytest.mark.root, pytest.mark.daemon, pytest.mark.usefixtures("labelled")]

SMF, CENTRAL, EDGE = ("10.50.9.2",), ("10.50.9.3", "10.50.9.4"), ("10.50.1.3", "10.50.1.4")
PROXY, CACHE, GNBS = "10.50.1.9", "10.255.0.3", ("10.50.3.2", "10.50.3.3")
CDN, OTHER = "203.0.113.10", "198.51.100.10"
FAR, NEAR = "imsi-999700000000001", "imsi-999700000000002"
UES = {FAR: "10.45.0.2", NEAR: "10.45.0.3"}
CORE = core_data(
    functions=[
        {"kind": "nrf", "appliance": "c1", "address": "10.50.9.1"},
        {"kind": "smf", "appliance": "c1", "address": SMF[0]},
    ],
    upfs=[upf(1), central()],
    classifiers=[classifier()],
    equipment=[],
)
LINEUP = lineup_data(breakout(upfs=["edge1", "central"]))
_NETWORK = (
    ("c1", "eth1", "10.60.1.1/30", "pop1", "eth1", "10.60.1.2/30"),
    ("c1", "eth2", "10.60.2.1/30", "ran", "eth1", "10.60.2.2/30"),
    ("pop1", "eth2", "10.60.3.1/30", "ran", "eth2", "10.60.3.2/30"),
)
_OWN = {"c1": (*SMF, *CENTRAL, CDN, OTHER), "pop1": (*EDGE, PROXY, CACHE), "ran": GNBS}
_ROUTES = {
    "c1": (("10.50.1.0/24", "10.60.1.2"), ("10.50.3.0/24", "10.60.2.2")),
    "pop1": (("10.50.9.0/24", "10.60.1.1"), ("10.50.3.0/24", "10.60.3.2")),
    "ran": (("10.50.9.0/24", "10.60.2.1"), ("10.50.1.0/24", "10.60.3.1")),
}


@pytest.fixture(scope="module")
def world(require_programs: Callable[..., None], tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    require_programs("ip", "nft", "nsenter", str(program("upf")), str(SMF_MODEL))
    fleet = fleet_data(CORE)
    core = built(Fleet, fleet).spec.equipment[EQUIPMENT]
    assert isinstance(core, Core5g)
    sections = compiled(LINEUP, fleet).configs["pop1"].sections
    with ExitStack() as stack:
        made = stack.enter_context(nodes("c1", "pop1", "ran"))
        _wire(made)
        world = World(made, tmp_path_factory.mktemp("compiled"), UES)
        stack.callback(world.close)
        world.start(world.c1, sys.executable, str(WEB), "internet", "80")
        world.function(world.c1, "upf", tree_of_upf(core, core.upfs[1]))
        world.function(world.pop1, "upf", tree_of_upf(core, core.upfs[0]))
        world.pop1.supervise()
        for driver in (world.n6, world.proxy):
            world.pop1.call(commit, driver, sections[driver.section])
            stack.callback(world.pop1.call, commit, driver, None)
        smf = next(one for one in core.functions if one.kind == "smf")
        world.function(world.c1, "smf", function_tree(core, smf))
        world.holds(lambda proxy, _: proxy["peers"] == {SMF[0]: True} and proxy["edge"] == "up")
        for supi, tac, gnb, tun in ((FAR, "2", GNBS[0], "far"), (NEAR, "1", GNBS[1], "near")):
            _attach(world, supi, tac, gnb, tun)
        yield world


def _wire(made: dict[str, Node]) -> None:
    for left, left_face, left_address, right, right_face, right_address in _NETWORK:
        connect(made[left], left_face, made[right], right_face)
        for name, face, address in ((left, left_face, left_address), (right, right_face, right_address)):
            ip("-n", made[name].namespace, "address", "add", address, "dev", face)
            ip("-n", made[name].namespace, "link", "set", face, "up")
    for name, node in made.items():
        for address in _OWN[name]:
            ip("-n", node.namespace, "address", "add", f"{address}/32", "dev", "lo")
        for prefix, gateway in _ROUTES[name]:
            ip("-n", node.namespace, "route", "add", prefix, "via", gateway)
        node.shell("sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
        if name != "ran":
            ip("-n", node.namespace, "tuntap", "add", "ogstun", "mode", "tun")
            ip("-n", node.namespace, "address", "add", "10.45.0.1/16", "dev", "ogstun")
            ip("-n", node.namespace, "link", "set", "ogstun", "up")
    # The edge's N6 leads to the internet, which sends back by the edge what UEs of the edge asked.
    ip("-n", made["pop1"].namespace, "route", "add", "default", "via", "10.60.1.1")
    ip("-n", made["c1"].namespace, "route", "add", f"{UES[NEAR]}/32", "via", "10.60.1.2")


def _attach(world: World, supi: str, tac: str, gnb: str, tun: str) -> None:
    ready = world.folder / f"{tun}.ready"
    smf = f"http://{SMF[0]}:{METRICS_PORTS['smf']}"
    ran = ("--smf", smf, "--address", gnb, "--supi", supi, "--tac", tac, "--tun", tun)
    routes = ("--route", f"{CDN}/32", "--route", f"{OTHER}/32") if tun == "far" else ("--route", "192.0.2.0/24")
    world.start(world.ran, sys.executable, "-m", "lab.mobile.ran", *ran, *routes, "--ready", str(ready))

    async def attached() -> bool:
        return ready.exists()

    world.ran.call(until, attached)
    (told,) = json.loads(ready.read_text())
    assert told["ue_ips"] == [UES[supi]]
    ip("-n", world.ran.namespace, "rule", "add", "from", UES[supi], "lookup", str(100 + int(tac)))
    ip("-n", world.ran.namespace, "route", "add", "default", "dev", tun, "table", str(100 + int(tac)))


@pytest.fixture
def cache(world: World) -> Iterator[subprocess.Popen[bytes]]:
    process = world.start(world.pop1, sys.executable, str(WEB), "cache", "80")
    world.holds(lambda proxy, gate: gate["open"] is True and proxy["steered"] == 1)
    yield process
    process.kill()
    process.wait(90)
    world.holds(lambda proxy, gate: gate["open"] is False and proxy["steered"] == 0)


def test_the_cdn_is_the_cache_for_both_ues_and_the_rest_leaves_where_it_did(world: World, cache: object) -> None:
    for supi in (FAR, NEAR):
        assert (world.asked(supi, CDN), world.asked(supi, OTHER)) == ("cache", "internet")


def test_each_mechanism_explains_its_own_ue_by_supi_and_by_address(world: World, cache: object) -> None:
    for ue in (NEAR, UES[NEAR]):
        told = world.operation(world.n6, STEER_EXPLAIN, ue=ue, destination=CDN)
        assert (told["exit"], told["rule"], told["cache"]) == ("cache", "prefix 203.0.113.0/24", CACHE)
        assert world.operation(world.proxy, STEER_EXPLAIN, ue=ue, destination=CDN)["exit"] == "unknown-ue"
    for ue in (FAR, UES[FAR]):
        told = world.operation(world.proxy, STEER_EXPLAIN, ue=ue, destination=CDN)
        assert (told["exit"], told["cache"]) == ("cache", CACHE)
        told = world.operation(world.n6, STEER_EXPLAIN, ue=ue, destination=CDN)
        assert (told["exit"], told["why"]) == ("unknown-ue", f"its session is at the UPF with N3 {CENTRAL[0]}")


def test_without_its_cache_the_edge_is_left_and_found_again(world: World, cache: subprocess.Popen[bytes]) -> None:
    os.kill(cache.pid, signal.SIGSTOP)
    world.holds(lambda proxy, gate: gate["open"] is False and proxy["steered"] == 0)
    for supi in (FAR, NEAR):
        assert world.asked(supi, CDN) == "internet"
    assert world.operation(world.proxy, STEER_EXPLAIN, ue=FAR, destination=CDN)["exit"] == "default"
    os.kill(cache.pid, signal.SIGCONT)
    world.holds(lambda proxy, gate: gate["open"] is True and proxy["steered"] == 1)
    for supi in (FAR, NEAR):
        assert world.asked(supi, CDN) == "cache"


def test_one_influence_at_both_mechanisms(world: World, cache: object) -> None:
    order = InfluenceOrder("game", "add", (ip_network("198.51.100.0/24"),)).to_json()
    try:
        for driver in (world.n6, world.proxy):
            assert world.operation(driver, INFLUENCE, **order) == {"state": "active"}
            assert Listing.of(world.operation(driver, STEER_LIST)).influences == {"game"}

        for supi in UES:
            world.becomes(supi, OTHER, "cache")
    finally:
        for driver in (world.proxy, world.n6):
            world.operation(driver, INFLUENCE, id="game", action="remove")

    for supi in UES:
        world.becomes(supi, OTHER, "internet")
