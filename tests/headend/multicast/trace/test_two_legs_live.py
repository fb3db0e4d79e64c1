"""The trace of a protected channel: the PoP's output stage, and both legs behind it."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from headend.multicast.documents import TreeEntry, TreeSection
from headend.multicast.tree.driver import create as create_tree
from headend.multicast.tree.routes import dump_routes
from tests.headend.multicast.output import network as lab
from tests.headend.multicast.output.network import Network
from tests.headend.multicast.trace.noc import Noc, run
from tests.headend.multicast.tree.network import commit, ip, until

pytestmark = [pytest.mark.root, pytest.mark.daemon]


def entry(leg: str, *, meets: bool) -> TreeEntry:
    source, group = {"a": (lab.LEG_A, lab.GROUP_A), "b": (lab.LEG_B, lab.GROUP_B)}[leg]
    given = {"channel": "ch1", "path": "iptv", "source": source, "group": group, "port": lab.PORT}
    return TreeEntry.model_validate({**given, "leg": leg, "meets": meets})


@pytest.fixture(scope="module")
def network(require_programs: Callable[..., None]) -> Iterator[Network]:
    require_programs("ip", "nft", "zebra", "ospfd", "pimd", "bfdd", "nsenter")
    with lab.network() as found:
        for name in ("a", "b", "p"):
            node = found.nodes[name]
            section = TreeSection(entries=(entry("a", meets=name == "p"), entry("b", meets=name == "p")))
            node.call(commit, create_tree(node.context()), section)
        found.commit(lab.output("merge", *lab.legs()))
        yield found


@contextmanager
def playing(network: Network) -> Iterator[None]:
    async def both() -> bool:
        status = await network.status()
        return status is not None and all(leg.received > 50 for leg in status.outputs[0].legs)

    with lab.playing(network, *lab.PROTECTED), lab.watching(network, lab.GROUP_OUT):
        network.pop.call(until, both)
        yield


def trace(network: Network) -> tuple[int, dict[str, Any], dict[str, Any]]:
    """Exit code, what was told, and in it the way of each leg, "" being that from the PoP to the receiver."""
    noc = Noc(network.nodes)
    code = run(noc, "ch1", "r", "--interval", "2s", "--json")
    told: dict[str, Any] = json.loads(noc.printed[0])
    return code, told, {way["leg"]: way for way in told["ways"]}


def passed(way: dict[str, Any]) -> list[tuple[str, bool]]:
    return [(hop["appliance"], hop["shared"]) for hop in way["hops"]]


def test_both_legs_and_what_the_pop_gives_out(network: Network) -> None:
    with playing(network):
        code, told, ways = trace(network)
    assert code == 0
    assert passed(ways[""]) == [("r", False), ("p", False)]
    assert passed(ways["a"]) == [("p", False), ("a", False), ("h", False)]
    assert passed(ways["b"]) == [("p", False), ("b", False), ("h", False)]
    assert [way["vanished"] for way in told["ways"]] == [[], [], []]
    assert any(note.startswith("p: output stage ch1/iptv (merge)") for note in told["notes"])


def test_the_leg_that_loses_is_named_and_the_other_is_not(network: Network) -> None:
    with playing(network):
        network.silence("b", "numgen random mod 100 < 20 drop")
        code, _, ways = trace(network)
        network.heal("b")
    assert code == 1
    (vanished,) = ways["b"]["vanished"]
    assert (vanished["link"], vanished["part"]) == ("b:eth2 -> p:eth2", "leaving b")
    assert ways["a"]["vanished"] == ways[""]["vanished"] == []


def test_a_router_that_both_legs_pass_is_marked(network: Network) -> None:
    pop = network.pop

    def route(router: str) -> None:
        ip("-n", pop.namespace, "route", "replace", f"{lab.LEG_B}/32", "via", lab.NEIGHBOURS[router])

    async def by_a() -> bool:
        route = dump_routes().get((lab.LEG_B, lab.GROUP_B))
        return route is not None and route.wanted and socket.if_indextoname(route.input) == "eth1"

    with playing(network):
        route("a")
        pop.call(until, by_a)
        _, _, ways = trace(network)
        route("b")
    assert passed(ways["a"]) == passed(ways["b"]) == [("p", False), ("a", True), ("h", False)]
