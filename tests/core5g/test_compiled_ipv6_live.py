"""IPv6 from documents to packets: the fleet gives pop1 an IPv6 loopback, and its drivers make what was compiled.

These are of addresses, the network behind the UPF, Traffic Server, steering at N6 and the uplink classifier. Around
them are the lab's MODEL of an SMF and two UPFs, models too unless `NF_OPEN5GS_BIN` has real ones. c1 has the
shields and the internet, with an origin of the CDN. `near` is a UE of `edge1` at pop1, `far` one of `central` at c1,
whose classifier is at pop1; both have IPv4 and IPv6.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from ipaddress import IPv6Network
from pathlib import Path
from typing import Any

import pytest

from core5g.documents import EQUIPMENT, Core5g
from core5g.open5gs.n6.driver import create as create_network
from core5g.open5gs.naming import METRICS_PORTS
from core5g.open5gs.planner import Open5gsPlanner
from core5g.open5gs.render import function_tree, tree_of_upf
from core5g.steering.contract import STEER_EXPLAIN, STEER_LIST, Listing
from core5g.steering.planner import SteeringPlanner
from headend.multicast.interfaces.driver import create as create_interfaces
from headend.multicast.planner import MulticastPlanner
from nf.contracts.driver import Driver
from nf.documents.fleet import Fleet
from nf.documents.lineup import LineUp
from nf.documents.model import DocumentModel
from nf.media.edge.driver import EdgeDriver
from nf.media.edge.driver import create as create_edge
from nf.media.edge.server import UNIT
from nf.media.planner import MediaPlanner
from nf.planning.compiler import compile_lineup
from tests.core5g.compiled_world import World
from tests.core5g.daemons import SMF_MODEL, program
from tests.core5g.steering.n6.network import WEB
from tests.core5g.steering.samples import (
    HOST,
    breakout,
    built,
    central,
    classifier,
    core_data,
    fleet_data,
    lineup_data,
    upf,
)
from tests.headend.multicast.tree.network import Node, commit, connect, ip, nodes, until
from tests.nf.media.cdn import BODY, Origin

pytestmark = [pytest.mark.root, pytest.mark.daemon, pytest.mark.usefixtures("labelled")]

SMF, CENTRAL, EDGE, PROXY = "10.255.0.1", "10.50.9.3", "10.50.1.3", "10.50.1.9"
CACHE, CACHE6 = "10.255.0.3", "2001:db8:ff::3"
CDN, CDN6, OTHER, OTHER6 = "203.0.113.10", "2001:db8:cd::10", "198.51.100.10", "2001:db8:99::10"
FAR, NEAR = "imsi-999700000000001", "imsi-999700000000002"
POOLS = ("10.45.0.1/16", "2001:db8:45::1/48")
"""The first address of each is the UPFs' own."""
LINK6 = {"c1": "2001:db8:12::1", "pop1": "2001:db8:12::2"}
BEYOND = {"far": "192.0.2.0/25", "near": "192.0.2.128/25"}
"""What every program of ran reaches by a UE; the rest goes by the address that it asks from."""


def documents() -> tuple[LineUp, Fleet]:
    core = core_data(
        functions=[
            {"kind": "nrf", "appliance": "c1", "address": "10.2.0.2"},
            {"kind": "smf", "appliance": "c1", "address": SMF},
        ],
        upfs=[
            upf(1, n3=EDGE, n4=EDGE, gateway="10.2.0.2"),
            central(n3=CENTRAL, n4=CENTRAL),
        ],
        classifiers=[classifier(address=PROXY)],
        equipment=[],
    )
    fleet = fleet_data(core)
    for appliance in fleet["spec"]["appliances"]:
        address = {"c1": f"{CENTRAL}/29", "pop1": f"{EDGE}/29"}.get(appliance["id"])
        if address is not None:
            appliance["interfaces"].append({"name": "eth9", "address": address, "facing": "radio"})
        if appliance["id"] == "pop1":
            appliance["loopback6"] = CACHE6
    path = breakout(upfs=["edge1", "central"], prefixes=["203.0.113.0/24", "2001:db8:cd::/48"])
    return built(LineUp, lineup_data(path)), built(Fleet, fleet)


async def fetched(address: str, source: str, method: str = "GET") -> str:
    """What answers a UE for an object of the channel there, in a word; why nothing does."""
    try:
        async with asyncio.timeout(90):
            reader, writer = await asyncio.open_connection(address, 80, local_addr=(source, 0))
            try:
                writer.write(f"{method} /ch1/1.m4s HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode())
                head, _, body = (await reader.read()).partition(b"\r\n\r\n")
            finally:
                writer.transport.abort()
    except OSError as error:
        return type(error).__name__
    status = head.split(b" ")[1:2]
    if status != [b"200"]:
        return b"".join(status).decode()
    return "cache" if body == BODY else body.decode().strip()


class Six(World):
    """`versions`: SUPI -> the UE's addresses by their version of IP."""

    def __init__(self, made: dict[str, Node], folder: Path, sections: Mapping[str, DocumentModel]) -> None:
        super().__init__(made, folder, {})
        self.sections = sections
        self.interfaces = create_interfaces(self.pop1.context())
        self.edge: EdgeDriver = create_edge(self.pop1.context())
        self.versions: dict[str, dict[int, str]] = {}

    def apply(self, driver: Driver) -> None:
        """What was compiled for pop1."""
        self.pop1.call(commit, driver, self.sections[driver.name])

    def reaches(self, supi: str, address: str, who: str) -> None:
        """Who answers in the end: on a busy machine the gate may have been shut for a moment."""
        source = self.versions[supi][6 if ":" in address else 4]

        async def asked() -> bool:
            return await fetched(address, source) == who

        self.ran.call(until, asked)

    def logged(self, client: str) -> list[dict[str, Any]]:
        """What the access log has of a client, once it has something."""
        log = self.pop1.run_dir / "cdn-edge" / "log" / "access.log"

        def found() -> list[dict[str, Any]]:
            lines = log.read_text().splitlines() if log.exists() else []
            return [one for line in lines if (one := json.loads(line))["client"] == client]

        async def there() -> bool:
            return bool(found())

        self.pop1.call(until, there)
        return found()


@pytest.fixture(scope="module")
def world(require_programs: Callable[..., None], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Six]:
    require_programs("ip", "nft", "nsenter", "traffic_manager", str(program("upf")), str(SMF_MODEL))
    lineup, fleet = documents()
    core = fleet.spec.equipment[EQUIPMENT]
    assert isinstance(core, Core5g)
    planners = (MulticastPlanner(), MediaPlanner(), SteeringPlanner(), Open5gsPlanner())
    compiled = compile_lineup(lineup, fleet, planners)
    assert not [warning for warning in compiled.warnings if "leaves by the default exit" in warning.rule]
    with ExitStack() as stack:
        made = stack.enter_context(nodes("c1", "pop1", "ran"))
        _wire(made, {face.name for face in fleet.appliance("pop1").interfaces})
        world = Six(made, tmp_path_factory.mktemp("compiled"), compiled.configs["pop1"].sections)
        stack.callback(world.close)
        for shield in ("10.255.0.1", "10.255.0.2"):
            server = world.c1.call(Origin().serve, shield, 6081)
            stack.callback(world.c1.loop.call_soon_threadsafe, server.close)
        world.start(world.c1, sys.executable, str(WEB), "internet", "80")
        world.pop1.supervise()
        for driver in (world.interfaces, create_network(world.pop1.context())):
            world.apply(driver)
            stack.callback(world.pop1.call, commit, driver, None)
        _routes(world.pop1)
        world.function(world.c1, "upf", tree_of_upf(core, core.upfs[1]))
        world.function(world.pop1, "upf", tree_of_upf(core, core.upfs[0]))
        for later in (world.edge, world.n6, world.proxy):
            world.apply(later)
            stack.callback(world.pop1.call, commit, later, None)
        smf = next(one for one in core.functions if one.kind == "smf")
        world.function(world.c1, "smf", function_tree(core, smf))
        world.holds(lambda proxy, gate: proxy["edge"] == "up" and gate["open"] is True)
        _attach(world, FAR, "2", "10.50.9.4", "far")
        _attach(world, NEAR, "1", "10.50.1.4", "near")
        near = IPv6Network((world.versions[NEAR][6], 64), strict=False)
        ip("-n", world.c1.namespace, "route", "add", str(near), "via", LINK6["pop1"])
        world.holds(lambda proxy, _: proxy["steered"] == 1)
        yield world


def _wire(made: dict[str, Node], faces: set[str]) -> None:
    c1, pop1, ran = made["c1"], made["pop1"], made["ran"]
    wires = ((c1, "eth3", pop1, "eth1"), (c1, "eth9", ran, "eth2"), (pop1, "eth9", ran, "eth1"))
    for left, left_face, right, right_face in wires:
        connect(left, left_face, right, right_face)
    for face in faces - {"eth1", "eth9"}:
        ip("-n", pop1.namespace, "link", "add", face, "type", "bridge")
    ip("-n", c1.namespace, "tuntap", "add", "ogstun", "mode", "tun")
    given = {
        (c1, "eth3"): ("10.2.0.2/31", f"{LINK6['c1']}/64"),
        (c1, "eth9"): (f"{CENTRAL}/29",),
        (c1, "ogstun"): POOLS,
        (c1, "lo"): ("10.255.0.1/32", "10.255.0.2/32", f"{CDN}/32", f"{CDN6}/128", f"{OTHER}/32", f"{OTHER6}/128"),
        (ran, "eth1"): ("10.50.1.4/29",),
        (ran, "eth2"): ("10.50.9.4/29",),
    }
    for (node, face), addresses in given.items():
        for address in addresses:
            more = ("nodad",) if ":" in address else ()
            ip("-n", node.namespace, "address", "add", address, "dev", face, *more)
        ip("-n", node.namespace, "link", "set", face, "up")
    for switch in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
        c1.shell("sh", "-c", f"echo 1 > /proc/sys/net/{switch}")
    ip("-n", ran.namespace, "route", "add", f"{SMF}/32", "via", CENTRAL)
    ip("-n", c1.namespace, "route", "add", "10.50.1.0/28", "via", "10.2.0.3")


def _routes(pop1: Node) -> None:
    """What routing and the operator's IPv6 give pop1; documents have no IPv6 of links."""
    ip("-n", pop1.namespace, "address", "add", f"{LINK6['pop1']}/64", "dev", "eth1", "nodad")
    for prefix in ("10.255.0.1/32", "10.255.0.2/32", "10.50.9.0/29"):
        ip("-n", pop1.namespace, "route", "add", prefix, "via", "10.2.0.2")
    ip("-n", pop1.namespace, "-6", "route", "add", "default", "via", LINK6["c1"])


def _attach(world: Six, supi: str, tac: str, gnb: str, tun: str) -> None:
    ready = world.folder / f"{tun}.ready"
    options = ("--smf", f"http://{SMF}:{METRICS_PORTS['smf']}", "--address", gnb, "--supi", supi, "--tac", tac)
    ran = (*options, "--pdn-type", "ipv4v6", "--tun", tun, "--route", BEYOND[tun], "--ready", str(ready))
    world.start(world.ran, sys.executable, "-m", "lab.mobile.ran", *ran)

    async def attached() -> bool:
        return ready.exists()

    world.ran.call(until, attached)
    (told,) = json.loads(ready.read_text())
    world.versions[supi] = {6 if ":" in address else 4: address for address in told["ue_ips"]}
    for version, address in world.versions[supi].items():
        family, table = f"-{version}", str(100 + int(tac))
        ip("-n", world.ran.namespace, family, "rule", "add", "from", address, "lookup", table)
        ip("-n", world.ran.namespace, family, "route", "add", "default", "dev", tun, "table", table)


BOTH = pytest.mark.parametrize("supi", [NEAR, FAR], ids=["near", "far"])


@BOTH
def test_the_pops_traffic_server_answers_for_the_cdn_and_the_rest_leaves_by_the_default_exit(
    world: Six, supi: str
) -> None:
    for address in (CDN6, CDN):
        world.reaches(supi, address, "cache")
    for address in (OTHER6, OTHER):
        world.reaches(supi, address, "internet")
    for client in world.versions[supi].values():
        assert {one["url"] for one in world.logged(client)} == {f"http://{HOST}/ch1/1.m4s"}


def test_a_ue_may_not_purge_the_cache_by_ipv6(world: Six) -> None:
    world.reaches(NEAR, CDN6, "cache")
    assert world.ran.call(fetched, CDN6, world.versions[NEAR][6], "PURGE") == "403"


@BOTH
def test_it_is_told_by_which_rule_and_to_which_address_of_the_cache(world: Six, supi: str) -> None:
    driver = world.n6 if supi == NEAR else world.proxy
    for ue in (supi, *world.versions[supi].values()):
        for address, cache in ((CDN6, CACHE6), (CDN, CACHE)):
            told = world.operation(driver, STEER_EXPLAIN, ue=ue, destination=address)
            assert (told["exit"], told["cache"]) == ("cache", cache)
        assert world.operation(driver, STEER_EXPLAIN, ue=ue, destination=OTHER6)["exit"] == "default"
    assert Listing.of(world.operation(driver, STEER_LIST)).open


def test_without_the_cache_ipv6_leaves_by_the_default_exit_and_it_comes_back(world: Six) -> None:
    units = world.pop1.context().units
    world.pop1.call(units.stop, UNIT)
    world.holds(lambda proxy, gate: gate["open"] is False and proxy["steered"] == 0)
    for supi in (NEAR, FAR):
        for address in (CDN6, CDN):
            world.reaches(supi, address, "internet")
    assert world.operation(world.n6, STEER_EXPLAIN, ue=NEAR, destination=CDN6)["exit"] == "default"
    world.pop1.call(units.start, UNIT)
    world.holds(lambda proxy, gate: gate["open"] is True and proxy["steered"] == 1)
    for supi in (NEAR, FAR):
        world.reaches(supi, CDN6, "cache")


def test_a_cache_that_ipv6_does_not_reach_is_no_whole_cache(world: Six) -> None:
    """Its address is gone, by hand, until it is made good: no flow of a UE ends there meanwhile."""
    world.pop1.shell("ip", "address", "del", f"{CACHE6}/128", "dev", "lo")
    try:
        world.holds(lambda _, gate: gate["open"] is False and str(gate["why"]).startswith("by IPv6 "))
        for address in (CDN6, CDN):
            world.reaches(NEAR, address, "internet")
    finally:
        world.apply(world.interfaces)
    world.holds(lambda proxy, gate: gate["open"] is True and proxy["steered"] == 1)
    world.reaches(NEAR, CDN6, "cache")
