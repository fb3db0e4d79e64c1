"""`nf lineup commit --drain` over a UPF with sessions: real NOC, agent, supervisor and N4; the SMF is the lab's model.

The UPF is the daemon of NF_OPEN5GS_BIN, else the lab's model.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import subprocess
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from core5g.open5gs import gate
from core5g.open5gs.documents import OPEN5GS, Open5gsSection
from core5g.open5gs.drain import DRAIN
from core5g.open5gs.driver import Open5gsDriver, create
from core5g.open5gs.naming import unit_name
from core5g.open5gs.plan import step_id
from nf.agent.daemon import AgentConfig
from nf.contracts.driver import DriverContext
from nf.contracts.json import JsonObject
from nf.contracts.planner import Contribution, FleetOperation
from nf.contracts.units import UnitState
from nf.control.v1 import noc_pb2 as pb
from nf.documents.appliance import ApplianceConfig
from nf.documents.fleet import Fleet
from nf.documents.lineup import LineUp
from nf.documents.loader import load_config
from nf.documents.registry import Extension, Registry
from nf.transaction.model import Timings
from tests.core5g.daemons import BIN, LIMIT_S, ROOT, SMF_MODEL, label
from tests.headend.multicast.tree.network import Node, nodes, until
from tests.support.fleet import SECTION, InProcessFleet, Place, Table, TablePlanner, in_process_fleet

pytestmark = [pytest.mark.root, pytest.mark.daemon, pytest.mark.timeout(900, func_only=True)]

CORE, UPF, SMF, GNB = "core", "127.0.0.7", "127.0.0.4", "127.0.0.2"
PLACES = (Place("head", "hub", "headend"), Place(CORE, CORE, "core"))
URL = f"http://{SMF}:9090"
SMF_YAML = f"""
smf:
  sbi: {{server: [{{address: {SMF}, port: 7777}}]}}
  pfcp: {{server: [{{address: {SMF}}}], client: {{upf: [{{address: {UPF}, dnn: internet}}]}}}}
  gtpu: {{server: [{{address: {SMF}}}]}}
  metrics: {{server: [{{address: {SMF}, port: 9090}}]}}
  session: [{{subnet: 10.45.0.0/16, gateway: 10.45.0.1, dnn: internet}}]
"""
_REGISTRY = Registry([Extension(sections={SECTION: Table, OPEN5GS: Open5gsSection})])
_TIMINGS = Timings(observe_s=30, check_s=30, prepare_s=30, verify_s=60, reconcile_s=600, retry_s=0.5)


def upf_of(lineup: LineUp) -> Open5gsSection:
    """Its file changes with the number of a channel."""
    noted = ",".join(str(channel.lcn) for channel in lineup.spec.channels)
    body: dict[str, Any] = {
        "pfcp": {"server": [{"address": UPF}]},
        "gtpu": {"server": [{"address": UPF}]},
        "session": [{"subnet": "10.45.0.0/16", "gateway": "10.45.0.1", "dnn": "internet", "dev": "ogstun"}],
        "metrics": {"server": [{"address": UPF, "port": 9090}]},
    }
    config = {"logger": {"level": "info" if noted == "1" else "debug"}, "upf": body}
    function = {"kind": "upf", "name": "edge1", "config": config, "requires": [], "provides": ["core.open5gs.upf"]}
    return Open5gsSection.model_validate({"functions": [function]})


class CorePlanner(TablePlanner):
    def plan(self, lineup: LineUp, fleet: Fleet) -> Contribution:
        made = super().plan(lineup, fleet)
        if not lineup.spec.channels:
            return made
        sections = {name: dict(own) for name, own in made.sections.items()}
        sections[CORE][OPEN5GS] = upf_of(lineup)
        before = frozenset({(CORE, step_id("upf"))})
        drain = FleetOperation(DRAIN, "edge1", (((CORE, OPEN5GS),),), before=before)
        return dataclasses.replace(made, sections=sections, operations=(drain,))


def _load(data: JsonObject) -> ApplianceConfig:
    return load_config(data, extensions=_REGISTRY)


async def ask(path: str, body: dict[str, Any] | None = None, method: str | None = None) -> Any:
    def asked() -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(URL + path, data, method=method)  # noqa: S310 - http alone
        with urllib.request.urlopen(request, timeout=LIMIT_S) as answer:  # noqa: S310
            text = answer.read()
        return json.loads(text) if text else None

    return await asyncio.to_thread(asked)


async def new_session(number: int) -> str:
    told = await ask(
        "/model/sessions", {"supi": f"imsi-{number}", "dnn": "internet", "gnb": {"address": GNB, "teid": 1}}
    )
    return str(told["id"])


@dataclasses.dataclass
class Core:
    fleet: InProcessFleet
    driver: Open5gsDriver
    context: DriverContext

    async def pid(self) -> int:
        """Of the UPF: it changes with a restart."""
        status = await self.context.units.status(unit_name("upf"))
        assert status is not None
        assert status.state is UnitState.READY
        return status.pid or 0

    async def sessions(self) -> int:
        state = await self.driver.observe()
        counted: Any = (state.value or {}).get("sessions")
        return int(counted["upf"])


@asynccontextmanager
async def core_of(node: Node, directory: Path) -> AsyncIterator[Core]:
    """On revision 2, its UPF runs, the SMF has found it."""
    context = node.context()
    driver = create(context)

    class CoreFleet(InProcessFleet):
        def agent_config(self, appliance: str) -> AgentConfig:
            config = super().agent_config(appliance)
            own = (driver,) if appliance == CORE else ()
            return dataclasses.replace(config, drivers=(*(config.drivers or ()), *own), load_config=_load)

    async with in_process_fleet(directory, PLACES, planner=CorePlanner(), timings=_TIMINGS, kind=CoreFleet) as fleet:
        assert (await fleet.commit({"ch1": 1}, deadline="400s")).outcome == pb.OUTCOME_CONFIRMED
        await until(_associated, LIMIT_S)
        yield Core(fleet, driver, context)


async def _associated() -> bool:
    with suppress(urllib.error.URLError, ConnectionError):
        return all(peer["associated"] for peer in await ask("/model/peers"))
    return False


@pytest.fixture
def node(
    require_root: Callable[[], None],
    require_programs: Callable[..., None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
) -> Iterator[Node]:
    require_root()
    require_programs("ip", "nft", "nsenter")
    record_property("conformance", label())
    monkeypatch.setenv("NF_OPEN5GS_BIN", str(BIN))
    file = tmp_path / "smf.yaml"
    file.write_text(SMF_YAML)
    with nodes("d") as made:
        node = made["d"]
        node.supervise()
        node.shell("ip", "tuntap", "add", "name", "ogstun", "mode", "tun")
        node.shell("ip", "address", "add", "10.45.0.1/16", "dev", "ogstun")
        node.shell("ip", "link", "set", "ogstun", "up")
        entering = ["nsenter", f"--net=/run/netns/{node.namespace}"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "NF_MODEL_HEARTBEAT_S": "1"}
        with (tmp_path / "smf.out").open("wb") as sink:
            smf = subprocess.Popen(
                [*entering, str(SMF_MODEL), "-c", str(file)], stdout=sink, stderr=sink, env=environment
            )
            try:
                yield node
            finally:
                smf.terminate()
                smf.wait(LIMIT_S)


def test_a_commit_that_restarts_a_upf_loses_no_session_when_it_drains_it_first(node: Node, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with core_of(node, tmp_path) as core:
            sessions = [await new_session(number) for number in (1, 2)]
            assert await core.sessions() == 2
            pid = await core.pid()
            running = asyncio.create_task(core.fleet.commit_events({"ch1": 2}, deadline="400s", drain_s=600))
            await until(gate.closed, LIMIT_S)
            with pytest.raises(urllib.error.HTTPError) as caught:
                await new_session(3)
            caught.value.close()
            assert await core.sessions() == 2  # they stand while new ones are kept off
            await ask(f"/model/sessions/{sessions[0]}", method="DELETE")
            assert await core.sessions() == 1
            assert (await core.pid(), running.done()) == (pid, False)
            await ask(f"/model/sessions/{sessions[1]}", method="DELETE")
            events = await running
            assert events[-1].outcome == pb.OUTCOME_CONFIRMED
            assert [(one.object, one.before, one.left) for one in events[-1].drained] == [("edge1", 2, 0)]
            assert any(event.text == "2 sessions left on edge1" for event in events if event.phase == "drain")
            assert await core.pid() != pid
            assert not await gate.closed()
            await until(_associated, LIMIT_S)
            await new_session(4)

    node.call(scenario, timeout_s=800)


def test_at_the_end_of_the_wait_it_is_refused_and_the_sessions_stand(node: Node, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with core_of(node, tmp_path) as core:
            await new_session(1)
            pid = await core.pid()
            last = await core.fleet.commit({"ch1": 2}, deadline="400s", drain_s=2)
            assert last.outcome == pb.OUTCOME_REFUSED
            (problem,) = last.error.problems
            assert problem.rule == "edge1 is not drained in time: 1 of 1 sessions left"
            assert (await core.pid(), await core.sessions(), await gate.closed()) == (pid, 1, False)
            await new_session(2)
            last = await core.fleet.commit({"ch1": 2}, deadline="400s", drain_s=2, drain_drops=True)
            assert last.outcome == pb.OUTCOME_CONFIRMED
            assert [(one.before, one.left) for one in last.drained] == [(2, 2)]
            assert (await core.pid() != pid, await gate.closed()) == (True, False)

    node.call(scenario, timeout_s=800)
