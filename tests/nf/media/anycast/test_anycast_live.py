"""Two PoPs with one VIP behind a router that knows RPKI: a cache that dies or hangs loses it, viewers find the other.

pop1 ---+
        router --- viewer
pop2 ---+
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from headend.multicast.bgp.documents import BgpSection, Neighbour, RpkiCache
from headend.multicast.bgp.driver import BgpDriver
from headend.multicast.bgp.driver import create as create_bgp
from headend.multicast.documents import FrrSection
from headend.multicast.frr.driver import create as create_frr
from lab.rtr import RtrServer
from nf.contracts.driver import State
from nf.media.anycast import kernel, units
from nf.media.anycast.documents import AnycastSection, Health, Target, Vip
from nf.media.anycast.driver import create as create_anycast
from nf.telemetry.alarms import AlarmEvent, Severity
from tests.headend.multicast.tree.network import Node, commit, connect, nodes, take_back, until

pytestmark = [pytest.mark.root, pytest.mark.daemon]

VIP, PREFIX, PORT = IPv4Address("198.18.0.53"), IPv4Network("198.18.0.0/24"), 8080
CACHE = Path(__file__).with_name("cache.py")
ORIGIN_AS, ROUTER_AS = 64500, 64510
LINKS = {"pop1": 1, "pop2": 2, "viewer": 3}


@dataclass
class Network:
    nodes: dict[str, Node]
    rtr: RtrServer
    caches: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def run_cache(self, pop: str) -> None:
        argv = [sys.executable, str(CACHE), pop, str(PORT), own_address(pop), str(VIP)]
        inside = ["nsenter", f"--net=/run/netns/{self.nodes[pop].namespace}"]
        self.caches[pop] = subprocess.Popen([*inside, *argv], stdout=subprocess.PIPE)
        output = self.caches[pop].stdout
        assert output is not None
        assert output.readline() == b"ready\n"

    def end_cache(self, pop: str) -> None:
        process = self.caches.pop(pop)
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()

    def way(self) -> str:
        """The PoP that the router sends the VIP's packets to."""
        routes = json.loads(self.nodes["router"].shell("ip", "-j", "route", "show", "match", str(VIP)))
        hops = [hop.get("gateway", "") for route in routes for hop in route.get("nexthops", [route])]
        return next((pop for pop in ("pop1", "pop2") if own_address(pop) in hops), "")

    async def on_way(self, pop: str) -> None:
        async def there() -> bool:
            return self.way() == pop

        await until(there)

    async def announced(self, pop: str, *, wanted: bool = True) -> None:
        async def there() -> bool:
            told = await units.ask_gate(self.nodes[pop].run_dir)
            return told is not None and told["announced"] is wanted

        await until(there)


def own_address(name: str) -> str:
    return f"10.9.{LINKS[name]}.1"


def router_address(name: str) -> str:
    return f"10.9.{LINKS[name]}.2"


def bgp(name: str) -> BgpSection:
    peers = [(router_address(name), ROUTER_AS)] if name != "router" else []
    peers = peers or [(own_address(pop), ORIGIN_AS) for pop in ("pop1", "pop2")]
    return BgpSection(
        router_id=IPv4Address(f"10.9.0.{LINKS.get(name, 9)}"),
        as_number=ORIGIN_AS if name != "router" else ROUTER_AS,
        neighbours=tuple(Neighbour(address=IPv4Address(a), as_number=n) for a, n in peers),
        originates=(PREFIX,) if name != "router" else (),
        known=(PREFIX,),
        rpki=RpkiCache(address=IPv4Address("127.0.0.1"), port=3323) if name == "router" else None,
    )


def anycast(pop: str) -> AnycastSection:
    return AnycastSection(
        vips=(Vip(address=VIP, prefix=PREFIX),),
        targets=(Target(address=IPv4Address(own_address(pop)), port=PORT, host="cdn.streamverse.test"),),
        health=Health(interval_ms=250, timeout_ms=200, hold_ms=1000),
        provides=(f"{pop}.anycast",),
    )


async def fetch(path: str = "/", timeout_s: float = 30.0) -> bytes:
    """What the viewer gets from the VIP, from its own namespace. Raises OSError, also when a reset ends it."""
    async with asyncio.timeout(timeout_s):
        reader, writer = await asyncio.open_connection(str(VIP), PORT)
        try:
            writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
            return (await reader.read()).rpartition(b"\r\n\r\n")[2]
        finally:
            writer.transport.abort()


async def fetch_again() -> bytes:
    """As a player: again until there is an answer."""
    while True:
        try:
            return await fetch(timeout_s=5.0)
        except (OSError, TimeoutError):
            await asyncio.sleep(0.02)


async def hold_open(told: list[float]) -> str:
    """A flow that says nothing and waits; how it ends."""
    reader, writer = await asyncio.open_connection(str(VIP), PORT)
    try:
        writer.write(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b"\r\n\r\nx")
        told.append(time.monotonic())
        await reader.read(100)
    except ConnectionResetError:
        return "reset"
    finally:
        writer.transport.abort()
    return "closed"


@pytest.fixture(scope="module")
def network(require_programs: Callable[..., None]) -> Iterator[Network]:
    require_programs("zebra", "bgpd", "nft")
    with nodes("pop1", "pop2", "router", "viewer") as made:
        for name in LINKS:
            connect(made[name], "eth1", made["router"], f"to-{name}")
            for node, face, address in (
                (name, "eth1", own_address(name)),
                ("router", f"to-{name}", router_address(name)),
            ):
                made[node].shell("ip", "addr", "add", f"{address}/30", "dev", face)
                made[node].shell("ip", "link", "set", face, "up")
            made[name].shell("ip", "route", "add", "default", "via", router_address(name))
        for node in made.values():
            node.shell("sysctl", "-qw", "net.ipv4.ip_forward=1")
        rtr = RtrServer([(IPv4Network("198.18.0.0/22"), 24, ORIGIN_AS)])
        made["router"].call(rtr.start, "127.0.0.1", 3323)
        for name in ("router", "pop1", "pop2"):
            node = made[name]
            node.supervise()
            node.drivers = {"frr": create_frr(node.context()), "bgp": create_bgp(node.context())}
            node.call(commit, node.drivers["frr"], FrrSection(router_id=bgp(name).router_id))
            node.call(commit, node.drivers["bgp"], bgp(name))
        network = Network(made, rtr)
        for pop in ("pop1", "pop2"):
            made[pop].drivers["anycast"] = create_anycast(made[pop].context())
        try:
            yield network
        finally:
            for pop in tuple(network.caches):
                network.end_cache(pop)
            made["router"].call(rtr.stop)


@pytest.fixture(scope="module")
def serving(network: Network) -> Network:
    """Both PoPs have the VIP, pop1 has had it for longer."""
    for pop in ("pop1", "pop2"):
        node = network.nodes[pop]
        node.call(commit, node.drivers["anycast"], anycast(pop))
        network.run_cache(pop)
        node.call(network.announced, pop)
        node.call(network.on_way, "pop1")
    return network


def test_who_is_well_is_found(serving: Network) -> None:
    assert serving.nodes["viewer"].call(fetch_again) == b"pop1"


@pytest.mark.parametrize("how", [signal.SIGSTOP, signal.SIGKILL])
def test_a_sick_cache_loses_the_vip_and_its_viewers_are_told(serving: Network, how: signal.Signals) -> None:
    viewer, pop1 = serving.nodes["viewer"], serving.nodes["pop1"]
    began: list[float] = []
    flow = viewer.start(hold_open, began)
    viewer.call(until, _true_when(lambda: bool(began)))
    os.kill(serving.caches["pop1"].pid, how)
    at = time.monotonic()
    assert flow.result(90) in ({"reset"} if how is signal.SIGSTOP else {"reset", "closed"})
    told_s = time.monotonic() - at
    assert viewer.call(fetch_again) == b"pop2"
    sys.stderr.write(f"\n{how.name}: told after {told_s:.3f} s, at another after {time.monotonic() - at:.3f} s\n")
    viewer.call(serving.on_way, "pop2")
    routes = pop1.shell("ip", "route", "show", "table", "all")
    assert f"local {VIP}" not in routes  # who is behind this PoP goes to the other as well
    pop1.call(until, _true_when(lambda: f"{PREFIX} " in pop1.shell("ip", "route", "show", "proto", "bgp")))
    if how is signal.SIGSTOP:
        os.kill(serving.caches["pop1"].pid, signal.SIGCONT)
    else:
        serving.end_cache("pop1")
        serving.run_cache("pop1")  # it may listen on the VIP before it is this host's again
    pop1.call(serving.announced, "pop1")
    # The other is known for longer now: it is preferred (RFC 4271 section 9.1.2.2 leaves it to age).
    serving.end_cache("pop2")
    viewer.call(serving.on_way, "pop1")
    serving.run_cache("pop2")
    serving.nodes["pop2"].call(serving.announced, "pop2")


def _true_when(condition: Callable[[], bool]) -> Callable[[], object]:
    async def check() -> bool:
        return condition()

    return check


def test_a_gate_that_died_takes_over_what_is_announced(serving: Network) -> None:
    pop1 = serving.nodes["pop1"]
    before = pop1.call(units.ask_gate, pop1.run_dir)
    assert before is not None
    os.kill(int(str(before["pid"])), signal.SIGKILL)
    assert pop1.call(kernel.read).announced == {PREFIX}

    async def anew() -> bool:
        told = await units.ask_gate(pop1.run_dir)
        return told is not None and told["pid"] != before["pid"] and told["probes"] != 0

    pop1.call(until, anew)
    after = pop1.call(units.ask_gate, pop1.run_dir)
    assert after is not None
    assert (after["announced"], after["withdrawals"]) == (True, 0)


def test_the_vip_is_told_as_withdrawn(serving: Network) -> None:
    pop2 = serving.nodes["pop2"]
    serving.end_cache("pop2")
    pop2.call(lambda: serving.announced("pop2", wanted=False))

    async def first_alarm() -> AlarmEvent:
        async for event in create_anycast(pop2.context()).events():
            if isinstance(event, AlarmEvent):
                return event
        raise AssertionError

    alarm = pop2.call(first_alarm)
    assert (alarm.cause, alarm.severity) == ("anycast-withdrawn", Severity.MAJOR)
    assert "refused" in alarm.text
    serving.run_cache("pop2")
    pop2.call(serving.announced, "pop2")


def test_what_rpki_does_not_know_is_not_taken(serving: Network) -> None:
    router, viewer = serving.nodes["router"], serving.nodes["viewer"]
    agent = router.start(_heed, router.drivers["bgp"])
    router.call(serving.rtr.change, [(IPv4Network("198.18.0.0/22"), 22, ORIGIN_AS)])
    viewer.call(serving.on_way, "")
    router.call(serving.rtr.change, [(IPv4Network("198.18.0.0/22"), 24, ORIGIN_AS)])
    viewer.call(until, _true_when(lambda: serving.way() != ""))
    agent.cancel()


async def _heed(driver: BgpDriver) -> None:
    async for _ in driver.events():
        pass


def test_what_was_made_is_taken_back(network: Network) -> None:
    pop2 = network.nodes["pop2"]
    driver = pop2.drivers["anycast"]
    pop2.call(commit, driver, None)
    others = _true_when(lambda: f"{PREFIX} " in pop2.shell("ip", "route", "show", "proto", "bgp"))
    pop2.call(until, others)  # by pop1, which it hears of as soon as it announces nothing itself
    before = pop2.snapshot()
    assert pop2.call(driver.observe) == State(None)
    undos = pop2.call(commit, driver, anycast("pop2"))
    pop2.call(take_back, driver, undos)
    assert pop2.call(driver.observe) == State(None)
    pop2.call(until, others)
    assert pop2.changes(before) == []
    for name in ("bgp",):
        pop2.call(commit, pop2.drivers[name], None)
        assert pop2.call(pop2.drivers[name].observe) == State(None)
