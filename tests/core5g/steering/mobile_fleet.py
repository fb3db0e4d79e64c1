"""A NOC and agents in one process, with a 5G core in their documents: two UPFs that steer, or one of them and the
classifier of another, are dictionaries."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

from core5g.steering.influence.service import TrafficInfluence
from core5g.steering.planner import SteeringPlanner
from nf.agent.daemon import AgentConfig
from nf.cli.profile import save_profile
from nf.contracts.driver import Checkpoint, Context
from nf.contracts.json import JsonObject
from nf.contracts.planner import Contribution
from nf.control.v1 import noc_pb2 as pb
from nf.documents.fleet import Fleet
from nf.documents.lineup import LineUp
from nf.documents.loader import load_fleet
from nf.errors import DriverError
from nf.noc.daemon import init_noc
from tests.core5g.steering.samples import breakout, cdn, central, classifier, core_data, upf
from tests.support.fleet import DOMAIN, SECTION, SMALL, InProcessFleet, TablePlanner, collect, fleet_text, lineup_text

UPFS = {"core": "edge2", "pop": "edge1"}
CLASSIFIED = {"core": "central", "pop": "edge1"}
UES = {"edge1": "10.45.0.2", "central": "10.45.0.3"}
"""UPF -> whose session it has."""


class SteeringTablePlanner(TablePlanner):
    """Rows as ever; the operations are those of steering, answered by the fake drivers."""

    def plan(self, lineup: LineUp, fleet: Fleet) -> Contribution:
        found = SteeringPlanner().plan(lineup, fleet)
        own = super().plan(lineup, fleet)
        return dataclasses.replace(own, operations=found.operations, problems=found.problems, warnings=found.warnings)


@dataclass
class Steering:
    """What steers on one appliance: the three operations of the contract, on a dictionary."""

    upf: str
    held: dict[str, JsonObject] = field(default_factory=dict)
    fault: str = ""
    shut: str = ""
    """Why its gate is."""
    asked: list[JsonObject] = field(default_factory=list)

    async def run(self, arguments: JsonObject, checkpoint: Checkpoint, context: Context) -> JsonObject:
        if self.fault:
            raise DriverError(self.fault)
        self.asked.append(arguments)
        if "action" in arguments:
            if arguments["action"] == "add":
                self.held[str(arguments["id"])] = arguments
            else:
                self.held.pop(str(arguments["id"]), None)
            return {"state": "active"}
        if "ue" in arguments:
            return self._explained(str(arguments["ue"]), str(arguments["destination"]))
        return {
            "mechanism": "n6",
            "upf": self.upf,
            "open": not self.shut,
            "why": self.shut or "the cache is well",
            "since": 1_700_000_000.0,
            "prefixes": 1,
            "names": [],
            "steered_packets": 7,
            "default_packets": 3,
            "influences": [{"id": identity} for identity in self.held],
        }

    def _explained(self, ue: str, destination: str) -> JsonObject:
        if ue != UES.get(self.upf):
            return {"exit": "unknown-ue", "why": "it has no session here", "rule": "", "cache": None}
        if destination.startswith("203.0.113."):
            return {"exit": "cache", "why": "the cache is well", "rule": "prefix 203.0.113.0/24", "cache": "10.9.9.1"}
        return {"exit": "default", "why": "no prefix of the CDN", "rule": "", "cache": None}


class MobileFleet(InProcessFleet):
    """`steering`: of each appliance with a UPF. `classified`: that of the core by a classifier on its appliance."""

    steering: dict[str, Steering]
    classified: bool

    async def init(self) -> None:
        data: dict[str, Any] = json.loads(fleet_text(self.places, self.optional))
        spec = data["spec"]
        for number, appliance in enumerate(spec["appliances"]):
            appliance["loopback"] = f"10.255.9.{number + 1}"
        spec["placement"].append({"function": "cdn-edge", "appliances": ["core", "pop"]})
        upfs, classifiers = [upf(1, appliance="pop"), upf(2, appliance="core")], []
        if self.classified:
            upfs[1] = central(appliance="core")
            address = next(one["loopback"] for one in spec["appliances"] if one["id"] == "core")
            classifiers = [classifier(appliance="core", address=address)]
        spec["equipment"] = {"core5g": core_data(upfs=upfs, classifiers=classifiers, equipment=[])}
        config = self.config
        await init_noc(
            config.state_dir, DOMAIN, "127.0.0.1:0", "127.0.0.1:0", config.names,
            load_fleet(json.dumps(data), file="fleet.yaml"), planners=(self.planner,),
        )  # fmt: skip

    def agent_config(self, appliance: str) -> AgentConfig:
        config = super().agent_config(appliance)
        found = self.steering.get(appliance)
        for driver in config.drivers or ():
            if found is not None:
                names = ("steer-list", "steer-explain", "influence")
                driver.operations = dict.fromkeys(names, found)  # type: ignore[misc]
        return config

    async def commit_breakout(self, **changes: Any) -> None:
        data = json.loads(lineup_text({"ch1": 1}, self.places[0].id))
        data["spec"]["channels"][0]["delivery"] = [
            cdn("feed", source="feed", sites=["edge", "core"]),
            breakout(**changes),
        ]
        text = json.dumps(data).encode()
        request = pb.CommitLineUpRequest(lineup=pb.DocumentText(file="lineup.yaml", text=text))
        async with self.client() as noc:
            await collect(noc.CommitLineUp(request))


@asynccontextmanager
async def mobile_fleet(directory: Path, *, classified: bool = False) -> AsyncIterator[MobileFleet]:
    """Enrolled, caught up, with one breakout path committed; the operator's profile is in `directory`/profile."""
    fleet = MobileFleet(directory, SMALL, ("edge",), SteeringTablePlanner())
    fleet.config = dataclasses.replace(fleet.config, services=(TrafficInfluence(),))
    fleet.classified = classified
    upfs = CLASSIFIED if classified else UPFS
    fleet.steering = {appliance: Steering(name) for appliance, name in upfs.items()}
    with (
        patch.multiple("core5g.steering.places", N6_DRIVER=SECTION, CLASSIFIER_DRIVER=SECTION),
        patch("core5g.steering.planner.N6_DRIVER", SECTION),
    ):
        try:
            await fleet.init()
            await fleet.start_noc()
            for place in SMALL:
                await fleet.enrol(place.id)
                await fleet.start_agent(place.id)
            await fleet.current()
            identity = await fleet.operator()
            save_profile(directory / "profile", f"127.0.0.1:{fleet._ports[0]}", identity)
            await fleet.commit_breakout(upfs=sorted(upfs.values()))
            yield fleet
        finally:
            await fleet.close()
