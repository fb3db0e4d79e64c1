"""What the agent tells those at the box."""

from __future__ import annotations

import asyncio
import json
import stat
from pathlib import Path

import pytest

from nf.agent.state_file import AgentState, StateFile
from nf.clock import VirtualClock
from tests.support.fleet import in_process_fleet


class Told:
    def __init__(self, place: Path) -> None:
        self.state = AgentState(0, connected=False, alarms=0)
        self.path = place / "agent.json"
        self.clock = VirtualClock()
        self.file = StateFile(place, lambda: self.state, self.clock)

    def read(self) -> object:
        return json.loads(self.path.read_bytes())

    def names(self) -> list[str]:
        return [one.name for one in self.path.parent.iterdir()]


async def test_it_says_what_changed_and_is_gone_at_the_end(tmp_path: Path) -> None:
    told = Told(tmp_path)
    running = asyncio.create_task(told.file.run())
    await asyncio.sleep(0)
    assert told.read() == {"revision": 0, "connected": False, "alarms": 0}
    assert stat.S_IMODE(told.path.stat().st_mode) == 0o644
    written = told.path.stat().st_ino
    await told.clock.advance(5)
    assert told.path.stat().st_ino == written, "what did not change is not written again"
    told.state = AgentState(7, connected=True, alarms=2)
    await told.clock.advance(1)
    assert told.read() == {"revision": 7, "connected": True, "alarms": 2}
    assert told.names() == ["agent.json"]
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert not told.path.exists()


def test_a_directory_that_takes_nothing_ends_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    told = Told(tmp_path / "missing")
    told.file.look()
    told.file.look()
    assert len(caplog.records) == 1


async def test_the_agent_says_where_it_stands(tmp_path: Path) -> None:
    async with in_process_fleet(tmp_path) as fleet:
        file = fleet.home("pop") / "run/agent.json"

        def says(**expected: object) -> bool:
            return file.exists() and json.loads(file.read_bytes()).items() >= expected.items()

        await fleet.commit({"ch1": 1})
        revision = fleet.agents["pop"].engine.standing.confirmed_revision
        assert revision > 0
        await fleet.until(lambda: says(revision=revision, connected=True))
        await fleet.stop_noc()
        await fleet.until(lambda: says(revision=revision, connected=False))
        await fleet.kill_agent("pop")
        assert not file.exists()
