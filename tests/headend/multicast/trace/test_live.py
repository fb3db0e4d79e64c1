"""`nf tree trace` on live routers: source - a - b - receiver, with losses of our own making."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from headend.multicast.documents import MonitorSection, Watch
from headend.multicast.monitor.client import FlowStatus, ask
from headend.multicast.monitor.driver import create as create_monitor
from headend.multicast.tree.mroute import RouteChange
from headend.multicast.tree.routes import RouteEvents
from tests.headend.multicast.trace.noc import Noc, run
from tests.headend.multicast.tree.network import Node, commit, connect, joined, nodes, send, take_back, until
from tests.headend.multicast.tree.test_live import COMMITTED, CREATE, RECEIVER, SOURCE, WANTED, Network, neighbours_up

pytestmark = [pytest.mark.root, pytest.mark.daemon]

NAMES = ("s", "a", "b", "r")


@pytest.fixture(scope="module")
def network(require_programs: Callable[..., None]) -> Iterator[Network]:
    require_programs("ip", "nft", "zebra", "ospfd", "pimd", "bfdd", "nsenter")
    with nodes(*NAMES) as made:
        connect(made["s"], "eth1", made["a"], "eth1")
        connect(made["a"], "eth2", made["b"], "eth1")
        connect(made["b"], "eth2", made["r"], "eth1")
        for name in ("a", "b"):
            made[name].supervise()
        for name, sections in WANTED.items():
            for section, want in sections:
                made[name].drivers[section] = CREATE[section](made[name].context())
                made[name].call(commit, made[name].drivers[section], want)
        network = Network(made)
        neighbours_up(network, "b", "eth1")
        yield network


@contextmanager
def flowing(network: Network, *, interval_s: float = 0.002) -> Iterator[None]:
    """The stream, and a receiver that wants it."""
    flow = network.nodes["s"].start(send, SOURCE, (COMMITTED,), 10**6, interval_s)
    wanting = network.nodes["r"].start(_want)
    try:
        network.nodes["r"].call(_come)
        yield
    finally:
        wanting.cancel()
        flow.cancel()


async def _want() -> None:
    with joined(RECEIVER, SOURCE, COMMITTED):
        await asyncio.Event().wait()


async def _come() -> None:
    with joined(RECEIVER, SOURCE, COMMITTED) as receiver:
        async with asyncio.timeout(90):
            for _ in range(20):
                await asyncio.get_running_loop().sock_recv(receiver, 2048)


def trace(network: Network, *names: str) -> dict[str, Any]:
    noc = Noc({name: network.nodes[name] for name in names or NAMES})
    code = run(noc, "ch1", "r", "--interval", "2s", "--json")
    found: dict[str, Any] = json.loads(noc.printed[0])
    (way,) = found["ways"]
    assert code == (1 if way["vanished"] or way["problem"] else 0)
    return dict(way)


def test_the_live_tree_without_a_loss(network: Network) -> None:
    with flowing(network):
        way = trace(network)
        noc = Noc(network.nodes)
        assert run(noc, "ch1", "r", "--interval", "500ms") == 0
    assert [(hop["appliance"], hop["input"], hop["output"], hop["asks"]) for hop in way["hops"]] == [
        ("r", "eth1", "", ""),
        ("b", "eth1", "eth2", "a"),
        ("a", "eth1", "eth2", "s"),
        ("s", "", "eth1", ""),
    ]
    assert way["vanished"] == []
    assert all(hop["arrived"] for hop in way["hops"][:3])
    assert all(hop["sent"] for hop in way["hops"][1:])
    assert noc.printed[-1] == "no packets vanish"
    assert noc.printed[1].startswith("-\tr\teth1\t-\t-")


@contextmanager
def loss(node: Node, hook: str) -> Iterator[None]:
    """A fifth of the stream is dropped there."""
    family = "netdev" if "device" in hook else "ip"
    chain = f"add chain {family} lossy c {{ type filter hook {hook} priority 0; }}"
    rule = f"add rule {family} lossy c ip daddr {COMMITTED} numgen random mod 100 < 20 drop"
    node.shell("nft", f"add table {family} lossy; {chain}; {rule}")
    try:
        yield
    finally:
        node.shell("nft", "delete", "table", family, "lossy")


@pytest.mark.parametrize(
    ("where", "hook", "link", "part"),
    [
        ("a", "forward", "a:eth2 -> b:eth1", "leaving a"),
        ("a", "egress device eth2", "a:eth2 -> b:eth1", "leaving a"),
        ("b", "ingress device eth1", "a:eth2 -> b:eth1", "entering b"),
        ("a", "ingress device eth1", "s:eth1 -> a:eth1", "entering a"),
        ("b", "egress device eth2", "b:eth2 -> r:eth1", "leaving b"),
    ],
)
def test_a_loss_is_localised(network: Network, where: str, hook: str, link: str, part: str) -> None:
    with flowing(network), loss(network.nodes[where], hook):
        way = trace(network)
    (vanished,) = way["vanished"]
    assert (vanished["link"], vanished["part"]) == (link, part)
    assert 0.1 < vanished["share"] < 0.3


def test_a_router_that_does_not_answer(network: Network) -> None:
    with flowing(network):
        way = trace(network, "s", "b", "r")
    assert [hop["appliance"] for hop in way["hops"]] == ["r", "b"]
    assert way["problem"] == "10.61.2.0, whom b asks for it, has not answered"


def test_joins_are_heard_of_and_the_first_packet_is_timed(network: Network) -> None:
    """The monitor stands at b, where the stream comes when r asks for it."""
    pop = network.nodes["b"]
    watch = Watch.model_validate({"channel": "ch1", "path": "iptv", "source": SOURCE, "group": COMMITTED, "port": 5000,
                                  "rate": 6_000_000})  # fmt: skip
    driver = create_monitor(pop.context())
    undos = pop.call(commit, driver, MonitorSection(interfaces=("eth1",), flows=(watch,)))
    path = pop.run_dir / "monitor"

    async def flow() -> FlowStatus:
        status = await ask(path)
        assert status is not None
        return status.flows[0]

    async def unwanted() -> bool:
        return not (await flow()).wanted

    async def timed() -> bool:
        return (await flow()).first_packet_ms is not None

    async def heard() -> RouteChange:
        loop = asyncio.get_running_loop()
        with RouteEvents() as events:
            ready = asyncio.Event()
            loop.add_reader(events.fileno(), ready.set)
            try:
                async with asyncio.timeout(90):
                    while True:
                        await ready.wait()
                        ready.clear()
                        for change in events.take():
                            if change.route.group == COMMITTED and change.route.wanted and not change.gone:
                                return change
            finally:
                loop.remove_reader(events.fileno())

    pop.call(until, unwanted)  # an earlier test's receiver has left
    hearing = pop.start(heard)
    with flowing(network):
        change = hearing.result(180)
        pop.call(until, timed)
        measured = pop.call(flow)
    assert (change.route.source, change.route.group) == (SOURCE, COMMITTED)
    assert measured.wanted
    assert measured.first_packet_ms is not None
    assert measured.first_packet_ms >= 0
    pop.call(take_back, driver, undos)
