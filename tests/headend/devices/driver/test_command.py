"""`nf device` as a person calls it: a live NOC, an agent with the real operations, the lab's multiplexer behind it."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from headend.devices.commands import devices, settable
from headend.devices.names import ALL, GROUP_OPERATIONS, LIST, OPERATIONS
from lab.devices.control import DeviceFault
from nf.agent.daemon import AgentConfig
from nf.cli.main import main
from nf.cli.profile import given, save_profile
from nf.contracts.driver import Context
from nf.contracts.noc_client import CLIENT
from nf.contracts.planner import Contribution, FleetOperation
from nf.documents.fleet import Fleet
from nf.documents.lineup import LineUp
from tests.headend.devices.driver.conftest import Lab, Make
from tests.headend.devices.driver.sections import commit, device, running, section
from tests.headend.devices.driver.test_groups_live import ready, receivers
from tests.support.fleet import SECTION, InProcessFleet, TablePlanner, in_process_fleet

pytestmark = [pytest.mark.daemon]
Within = Callable[[float], Context]
Nf = Callable[..., int]


class DevicesOfTheTest(TablePlanner):
    def plan(self, lineup: LineUp, fleet: Fleet) -> Contribution:
        stages = ((("core", SECTION),),)
        found = [FleetOperation(name, "mux1", stages) for name in OPERATIONS]
        found += [FleetOperation(name, "receivers", stages) for name in GROUP_OPERATIONS]
        found.append(FleetOperation(LIST, ALL, ((("core", SECTION), ("pop", SECTION)),)))
        return dataclasses.replace(super().plan(lineup, fleet), operations=tuple(found))


@pytest.fixture
async def fleet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lab: Lab, make: Make, within: Within
) -> AsyncIterator[InProcessFleet]:
    """`core` looks after the multiplexer and two receivers; `pop` after nothing."""
    driver, plain = make("core"), InProcessFleet.agent_config
    listed = [device(name, lab.port(name)) for name in ("rx1", "rx2")]
    mux = device("mux1", lab.port("mux1"), parameters={"original_network_id": 41})
    lab.running["mux1"].put("SvcInputPort", "u", 6001, row=1)
    lab.running["mux1"].put("SvcProvider", "s", "first", row=1)
    await commit(driver, section(mux, *listed, groups=[receivers(mode="manual")]), within(20))

    def agent_config(self: InProcessFleet, appliance: str) -> AgentConfig:
        config = plain(self, appliance)
        for table in config.drivers or ():
            found = driver.operations if appliance == "core" else {LIST: make("pop").operations[LIST]}
            monkeypatch.setattr(table, "operations", found, raising=False)
        return config

    monkeypatch.setattr(InProcessFleet, "agent_config", agent_config)
    async with running(driver), in_process_fleet(tmp_path / "fleet", planner=DevicesOfTheTest()) as started:
        identity = await started.operator()
        save_profile(tmp_path / "profile", f"127.0.0.1:{started._ports[0]}", identity)
        monkeypatch.setenv("NF_PROFILE", str(tmp_path / "profile"))
        await started.commit({"ch1": 1})
        await ready(driver, within(5))
        yield started


async def nf(*arguments: str) -> int:
    given.set(None)
    return await asyncio.to_thread(main, arguments)


async def test_an_operators_day(fleet: InProcessFleet, lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    assert await nf("device", "list") == 0
    told = capsys.readouterr().out
    assert "nf-lab-mux" in told
    assert "answers" in told

    assert await nf("device", "show", "mux1", "network_name", "original_network_id") == 0
    told = capsys.readouterr().out
    assert "which is no real device" in told
    assert "the fleet document" in told
    assert "nf device set" in told

    assert await nf("device", "set", "mux1", "network_name=By command", "--reason", "the audit") == 0
    assert "1 set and read back" in capsys.readouterr().out
    assert lab.running["mux1"].subject.value("MuxNetworkName").strip('"') == "By command"
    assert await nf("device", "set", "mux1", "original_network_id=7", "--reason", "no") == 1
    assert "change `parameters` of mux1 in the fleet and commit" in capsys.readouterr().err

    assert await nf("device", "snapshot", "mux1", "--json") == 0
    kept = json.loads(capsys.readouterr().out)["name"]
    lab.running["mux1"].put("MuxNetworkName", "s", "Somebody")
    assert await nf("device", "snapshot", "mux1", "--diff", kept) == 0
    assert "Somebody" in capsys.readouterr().out
    assert await nf("device", "snapshot", "mux1", "--list") == 0
    assert kept in capsys.readouterr().out
    assert await nf("device", "restore", "mux1", kept, "--reason", "back to the audit") == 0
    assert "Somebody -> By command" in capsys.readouterr().out

    assert await nf("device", "history", "mux1") == 0
    told = capsys.readouterr().out
    assert "the audit" in told
    assert f"restore of {kept}" in told
    assert await nf("device", "accept", "mux1") == 1
    assert "nothing to accept" in capsys.readouterr().err


async def test_the_redundancy_of_a_service(fleet: InProcessFleet, lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    assert await nf("device", "lock", "receivers", "--reason", "works on the dish") == 0
    assert "works on the dish" in capsys.readouterr().out
    assert await nf("device", "switch", "receivers", "feed", "rx2", "--reason", "works on the dish") == 0
    told = capsys.readouterr().out
    assert "on-backup" in told
    assert "receiver-unlocked" in told
    assert lab.running["mux1"].number("SvcInputPort", 1) == 6002
    assert await nf("device", "switch", "receivers", "feed", "rx1", "--reason", "done") == 0
    assert "on-main" in capsys.readouterr().out
    assert await nf("device", "lock", "receivers", "--release", "--json") == 0
    assert json.loads(capsys.readouterr().out)["locked"] is None


async def test_what_is_wrong_is_told_with_what_to_do(
    fleet: InProcessFleet, lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await nf("device", "show", "mux9") == 7
    assert "mux1" in capsys.readouterr().err
    assert await nf("device", "set", "mux1", "network_name", "--reason", "x") == 2
    assert "PARAMETER=VALUE" in capsys.readouterr().err
    assert await nf("device", "set", "mux1", "network_name=x") == 2
    assert "--reason" in capsys.readouterr().err
    assert await nf("device", "show", "mux1", "network_nam") == 1
    assert "did you mean network_name?" in capsys.readouterr().err
    lab.running["mux1"].disturb(DeviceFault.IGNORED_SET)
    try:
        assert await nf("device", "set", "mux1", "network_name=x", "--reason", "y") == 1
        assert "was set to x and reads" in capsys.readouterr().err
    finally:
        lab.running["mux1"].mend(DeviceFault.IGNORED_SET)
    await fleet.kill_agent("core")
    await fleet.until(lambda: fleet.node.sessions.get("core") is None)
    assert await nf("device", "list", "--json") == 1
    told = capsys.readouterr()
    assert json.loads(told.out)["devices"] == []
    assert json.loads(told.out)["unknown"].keys() == {"core"}
    assert "nothing is known of the devices of: core" in told.err


async def test_completion_knows_devices_and_what_can_be_set(fleet: InProcessFleet) -> None:
    await nf("version")
    from nf.cli.operations import FleetClient

    CLIENT.set(FleetClient())
    assert await asyncio.to_thread(devices, "m") == ["mux1"]
    assert "network_name=" in settable("net")
    assert settable("service[1].pid") == ["service[1].pid_base="]
