"""`Paths` over the wire: a real NOC and real agents; what operators see, approve and hold, and who may."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from nf.agent.daemon import AgentConfig
from nf.contracts.driver import Checkpoint, Context
from nf.contracts.json import JsonObject
from nf.contracts.planner import Contribution, FleetOperation
from nf.control.channel import noc_channel
from nf.control.errors import translated
from nf.control.v1 import noc_pb2
from nf.control.v1 import paths_pb2 as pb
from nf.control.v1.paths_pb2_grpc import PathsStub
from nf.documents.fleet import Fleet
from nf.documents.lineup import LineUp
from nf.errors import DeniedError, InputError, NotFoundError, RefusedError
from nf.noc.policy_view import FAILOVER, WAITS
from nf.policy.health import ON_FALLBACK
from nf.policy.names import FAILBACK, failback_object
from nf.telemetry.alarms import AlarmEvent, Severity
from nf.trust.roles import OperatorRole
from tests.support.fleet import SECTION, InProcessFleet, TablePlanner, collect, in_process_fleet, lineup_text

SITE = "edge"


class Planner(TablePlanner):
    """As its base, and the way back of ch1 can be approved at pop. Its hops are those of the path `path`."""

    def plan(self, lineup: LineUp, fleet: Fleet) -> Contribution:
        approvals = FleetOperation(FAILBACK, failback_object("ch1", SITE), ((("pop", SECTION),),))
        operations = (approvals,) if lineup.spec.channels else ()
        return dataclasses.replace(super().plan(lineup, fleet), operations=operations)


@dataclass
class Failback:
    refuse: str = ""
    given: list[JsonObject] = field(default_factory=list)

    async def run(self, arguments: JsonObject, checkpoint: Checkpoint, context: Context) -> JsonObject:
        self.given.append(arguments)
        if self.refuse:
            raise RefusedError(self.refuse)
        return {"text": "sat returns when it has been sound for 5 s"}


def text() -> str:
    document = json.loads(lineup_text({"ch1": 1}, "head"))
    origin = {"endpoint": "http://10.1.0.20:8333", "bucket": "media", "credentials": "secret:origin"}
    document["spec"]["channels"][0]["delivery"] = [
        {"id": "path", "type": "ssm", "group": "232.10.1.1", "rate": "1M", "sites": [SITE]},
        {"id": "ott", "type": "cdn", "host": "cdn.test", "source": "feed", "rate": "1M", "sites": [SITE]}
        | {"origin": origin},
    ]
    document["spec"]["policy"]["failover"] = {"hold_down": "2s", "failback": {"after": "500ms"}}
    return json.dumps(document)


@pytest.fixture
async def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[InProcessFleet, Failback]]:
    failback, plain = Failback(), InProcessFleet.agent_config

    def agent_config(fleet: InProcessFleet, appliance: str) -> AgentConfig:
        config = plain(fleet, appliance)
        for driver in config.drivers or ():
            monkeypatch.setattr(driver, "operations", {FAILBACK: failback}, raising=False)
        return config

    monkeypatch.setattr(InProcessFleet, "agent_config", agent_config)
    async with in_process_fleet(tmp_path, planner=Planner(probes=True)) as fleet:
        await fleet.operator()
        async with fleet.client() as noc:
            request = noc_pb2.CommitLineUpRequest(lineup=noc_pb2.DocumentText(file="l", text=text().encode()))
            events = await collect(noc.CommitLineUp(request))
            assert events[-1].outcome == noc_pb2.OUTCOME_CONFIRMED
        yield fleet, failback


async def ask(fleet: InProcessFleet, method: str, request: Any, *, name: str = "eve") -> Any:
    with translated():
        async with noc_channel(f"127.0.0.1:{fleet._ports[0]}", await fleet.operator(name)) as channel:
            return await getattr(PathsStub(channel), method)(request)


def active(fleet: InProcessFleet) -> str:
    return next((one.active for one in fleet.node.policy.rankings()), "?")


def verdict(fleet: InProcessFleet, path: str) -> str:
    return next((one.verdict.value for one in fleet.node.policy.health() if one.path == path), "?")


async def test_from_a_probe_that_fails_to_an_approved_return(served: tuple[InProcessFleet, Failback]) -> None:
    fleet, _ = served
    await fleet.until(lambda: verdict(fleet, "path") == "up")
    listed = await ask(fleet, "ListPaths", pb.ListPathsRequest())
    assert [(one.channel, one.site, one.active) for one in listed.channels] == [("ch1", SITE, "path")]
    assert [(one.path, one.verdict, one.preference) for one in listed.channels[0].paths] == [
        ("path", "up", 1),
        ("ott", "unknown", 2),
    ]
    fleet.daemons["recv"].lie = True
    await fleet.until(lambda: active(fleet) == "ott")
    assert (FAILOVER, "ch1/edge") in fleet.alarms()
    fleet.daemons["recv"].lie = False
    await fleet.until(lambda: (WAITS, "ch1/edge") in fleet.alarms())
    request = pb.ApproveFailbackRequest(channel="ch1", site=SITE)
    await fleet.until(lambda: verdict(fleet, "path") == "up")
    answer = await ask(fleet, "ApproveFailback", request)
    assert (answer.path, answer.appliance) == ("path", "")
    await fleet.until(lambda: active(fleet) == "path")
    history = await ask(fleet, "ListSwitches", pb.ListSwitchesRequest(channel="ch1"))
    assert [(one.source, one.target, one.kind) for one in history.switches] == [
        ("ott", "path", "failback"),
        ("path", "ott", "failover"),
    ]
    assert history.switches[0].author.endswith("/operator/eve")
    with pytest.raises(RefusedError, match="no path waits"):
        await ask(fleet, "ApproveFailback", request)
    request.path = "ott"
    with pytest.raises(RefusedError, match="ott is not preferred to path"):
        await ask(fleet, "ApproveFailback", request)


async def test_an_appliance_that_acts_by_itself_is_asked_itself(served: tuple[InProcessFleet, Failback]) -> None:
    fleet, failback = served
    await fleet.until(lambda: verdict(fleet, "path") == "up")
    subject = "ch1/path"
    for agent in ("recv",):
        alarm = AlarmEvent(ON_FALLBACK, subject, Severity.MINOR, fleet.node.clock.now(), "no lock")
        fleet.agents[agent].hub.alarm(alarm)
    await fleet.until(lambda: verdict(fleet, "path") == "down")
    request = pb.ApproveFailbackRequest(channel="ch1", site=SITE)
    answer = await ask(fleet, "ApproveFailback", request)
    assert (answer.path, answer.appliance) == ("path", "pop")
    assert answer.text == "sat returns when it has been sound for 5 s"
    assert [(given["channel"], given["path"]) for given in failback.given] == [("ch1", "path")]
    failback.refuse = "its input is not sound"
    with pytest.raises(RefusedError, match="not sound"):
        await ask(fleet, "ApproveFailback", request)


async def test_a_hold_is_seen_and_ended_and_needs_a_reason(served: tuple[InProcessFleet, Failback]) -> None:
    fleet, _ = served
    await fleet.until(lambda: verdict(fleet, "path") == "up")
    where = {"channel": "ch1", "site": SITE}
    with pytest.raises(InputError, match="reason"):
        await ask(fleet, "HoldPaths", pb.HoldPathsRequest(**where))
    held = await ask(fleet, "HoldPaths", pb.HoldPathsRequest(**where, for_s=60, reason="new cable"))
    assert held.hold.reason == "new cable"
    await fleet.stop_noc()
    await fleet.start_noc()
    await fleet.until(lambda: bool(fleet.node.policy.rankings()))
    (found,) = (await ask(fleet, "ListPaths", pb.ListPathsRequest(**where))).channels
    assert found.hold.reason == "new cable"
    assert not (await ask(fleet, "ReleasePaths", pb.ReleasePathsRequest(**where))).HasField("hold")
    with pytest.raises(RefusedError, match="nobody holds it"):
        await ask(fleet, "ReleasePaths", pb.ReleasePathsRequest(**where))
    actions = [record.action for record in await fleet.node.book.store.audit_records(20)]
    assert {"path.hold", "path.release"} <= set(actions)


async def test_what_is_not_there_and_who_may_not(served: tuple[InProcessFleet, Failback]) -> None:
    fleet, _ = served
    await fleet.until(lambda: bool(fleet.node.policy.rankings()))
    for request in (pb.ListPathsRequest(channel="ch9"), pb.ListPathsRequest(channel="ch1", site="nowhere")):
        with pytest.raises(NotFoundError):
            await ask(fleet, "ListPaths", request)
    await fleet.operator("vera", OperatorRole.VIEWER)
    await fleet.operator("olaf", OperatorRole.OPERATOR, ("north",))
    hold = pb.HoldPathsRequest(channel="ch1", site=SITE, reason="why")
    for name in ("vera", "olaf"):
        with pytest.raises(DeniedError):
            await ask(fleet, "HoldPaths", hold, name=name)
    assert (await ask(fleet, "ListPaths", pb.ListPathsRequest(), name="vera")).channels
