"""The whole way: the NOC, an agent each for a real shield and a real edge, and `purge` from one end to the other."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Iterator, Mapping

import pytest

from nf.agent.daemon import AgentConfig
from nf.contracts.driver import Driver
from nf.contracts.json import JsonObject
from nf.contracts.planner import Contribution, FleetOperation
from nf.control.channel import noc_channel
from nf.control.v1 import operations_pb2 as pb
from nf.control.v1 import operations_pb2_grpc
from nf.documents.appliance import ApplianceConfig
from nf.documents.fleet import Fleet
from nf.documents.lineup import LineUp
from nf.documents.loader import load_config
from nf.documents.registry import Extension, Registry
from nf.media.documents import EXTENSION
from nf.media.edge.driver import create as create_edge
from nf.media.http import cache_status
from nf.media.shield.driver import create as create_shield
from nf.noc.owed import CAUSE
from nf.telemetry.alarms import Alarm
from tests.headend.multicast.tree.network import Node, commit, nodes
from tests.nf.media.cdn import edge_section, edge_stores, from_edge, from_shield, origin, shield_section
from tests.support.fleet import SECTION, InProcessFleet, Place, Table, TablePlanner, collect, in_process_fleet

pytestmark = [pytest.mark.root, pytest.mark.daemon]

PLACES = (Place("core", "middle", "core"), Place("pop", "edge"))
STAGES = ((("core", "cdn-shield"),), (("pop", "cdn-edge"),))
REGISTRY = Registry([EXTENSION, Extension(sections={SECTION: Table})])


class CachePlanner(TablePlanner):
    def plan(self, lineup: LineUp, fleet: Fleet) -> Contribution:
        base = super().plan(lineup, fleet)
        sections = {
            "core": {**base.sections["core"], "cdn-shield": shield_section("ch1", "ch2")},
            "pop": {**base.sections["pop"], "cdn-edge": edge_section("ch1", "ch2")},
        }
        purges = tuple(
            FleetOperation("purge", channel.id, STAGES, stream="cdn.streamverse.test")
            for channel in lineup.spec.channels
        )
        return dataclasses.replace(base, sections=sections, operations=purges)


def load_cache_config(data: JsonObject) -> ApplianceConfig:
    return load_config(data, extensions=REGISTRY)


@pytest.fixture
def node(require_programs: Callable[..., None]) -> Iterator[Node]:
    require_programs("varnishd", "traffic_manager", "gcc")
    with nodes("cache") as made:
        made["cache"].supervise()
        yield made["cache"]


async def purge(fleet: InProcessFleet) -> pb.OperationOutcome:
    request = pb.RunOperationRequest(name="purge", object="ch1", arguments_json=b'{"scope": "all", "match": "ch1"}')
    async with noc_channel(f"127.0.0.1:{fleet._ports[0]}", await fleet.operator()) as channel:
        events = await collect(operations_pb2_grpc.OperationsStub(channel).RunOperation(request))
    outcome: pb.OperationOutcome = events[-1].outcome
    return outcome


def owed(fleet: InProcessFleet) -> list[Alarm]:
    return [alarm for _, alarm in fleet.node.telemetry.alarms() if alarm.cause == CAUSE]


def test_every_cache_asks_anew_and_an_edge_that_was_away_when_it_returns(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    drivers: Mapping[str, Driver] = {"core": create_shield(node.context()), "pop": create_edge(node.context())}
    plain = InProcessFleet.agent_config

    def agent_config(fleet: InProcessFleet, appliance: str) -> AgentConfig:
        config = plain(fleet, appliance)
        own = (*(config.drivers or ()), drivers[appliance])
        return dataclasses.replace(config, drivers=own, load_config=load_cache_config)

    monkeypatch.setattr(InProcessFleet, "agent_config", agent_config)

    async def play() -> None:
        await commit(drivers["core"], shield_section("ch1", "ch2"))
        await commit(drivers["pop"], edge_section("ch1", "ch2"))
        async with in_process_fleet(node.state_dir, PLACES, planner=CachePlanner()) as fleet, origin() as source:
            await fleet.operator()
            await fleet.commit({"ch1": 1, "ch2": 2})
            for channel in ("ch1", "ch2"):
                await edge_stores(f"/{channel}/v0/1.m4s")
            source.asked.clear()
            begun = time.monotonic()
            outcome = await purge(fleet)
            assert outcome.complete, outcome
            results = {one.appliance: json.loads(one.result_json) for one in outcome.nodes}
            assert results["core"]["purged"] >= 1
            assert results["pop"]["refetched"] + results["pop"]["refilled"] == 4
            refilled = await from_edge("/ch1/v0/1.m4s")
            assert cache_status(refilled.headers) == "miss"
            assert int(refilled.headers["age"]) <= time.monotonic() - begun + 1  # whole seconds, and one may have begun
            assert "/media/ch1/v0/1.m4s" in source.asked
            assert cache_status((await from_edge("/ch2/v0/1.m4s")).headers) == "hit"
            assert (await from_shield("/media/ch2/v0/1.m4s")).headers["x-shield"] == "hit"

            await fleet.kill_agent("pop")
            await fleet.until(lambda: fleet.node.sessions.get("pop") is None)
            outcome = await purge(fleet)
            assert not outcome.complete
            assert [(one.appliance, one.state) for one in outcome.nodes] == [("core", "done"), ("pop", "offline")]
            assert cache_status((await from_edge("/ch1/v0/1.m4s")).headers) == "hit"  # as told: it has what it had
            assert [alarm.text for alarm in owed(fleet)] == ["purge of ch1 is still to be done at pop: pop is offline"]
            source.asked.clear()
            await fleet.start_agent("pop")
            await fleet.until(lambda: not owed(fleet))
            assert cache_status((await from_edge("/ch1/v0/1.m4s")).headers) == "miss"
            assert cache_status((await from_edge("/ch2/v0/1.m4s")).headers) == "hit"

    node.call(play)
