"""The supervisor as a process that is killed, terminated, started again."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

from nf.contracts.units import Readiness, ReadyKind, UnitSpec, UnitState
from nf.supervisor.process import OWNER_VARIABLE, UNIT_VARIABLE
from tests.nf.supervisor.conftest import Bench, alive, gone

SLEEP = ("sleep", "1000")


async def test_units_outlive_a_killed_supervisor_and_the_next_one_adopts_them(bench: Bench) -> None:
    await bench.launch()
    await bench.client.define(UnitSpec("sleeper", SLEEP, backoff_first_s=0.01))
    await bench.client.define(UnitSpec("idle", SLEEP))
    before = await bench.client.start("sleeper")
    assert before.pid is not None
    await bench.kill()
    assert alive(before.pid)

    await bench.launch()
    adopted = await bench.until_state("sleeper", UnitState.READY)
    assert adopted.pid == before.pid
    assert (await bench.client.status("idle")).state is UnitState.STOPPED  # type: ignore[union-attr]

    os.kill(before.pid, signal.SIGKILL)
    again = await bench.until("sleeper", lambda s: s.state is UnitState.READY and s.pid != before.pid)
    assert again.restarts == 1
    assert await bench.terminate() == 0
    assert again.pid is not None
    assert not alive(again.pid)


async def test_units_that_died_meanwhile_are_started_again(bench: Bench) -> None:
    await bench.launch()
    await bench.client.define(UnitSpec("sleeper", SLEEP))
    before = await bench.client.start("sleeper")
    await bench.kill()
    assert before.pid is not None
    os.kill(before.pid, signal.SIGKILL)
    await gone(before.pid)
    await bench.launch()
    after = await bench.until_state("sleeper", UnitState.READY)
    assert after.pid != before.pid


async def test_a_child_that_was_never_recorded_is_found_by_its_marks(bench: Bench) -> None:
    await bench.launch()
    await bench.client.define(UnitSpec("sleeper", SLEEP))
    before = await bench.client.start("sleeper")
    await bench.kill()
    records = bench.state_dir / "supervisor.json"
    data = json.loads(records.read_text())
    for unit in data["units"]:
        unit["process"] = unit["running"] = None
    records.write_text(json.dumps(data))
    await bench.launch()
    assert (await bench.until_state("sleeper", UnitState.READY)).pid == before.pid


async def test_a_pid_that_now_belongs_to_somebody_else_is_left_alone(bench: Bench) -> None:
    await bench.launch()
    await bench.client.define(UnitSpec("sleeper", SLEEP))
    before = await bench.client.start("sleeper")
    await bench.kill()
    assert before.pid is not None
    os.kill(before.pid, signal.SIGKILL)
    await gone(before.pid)
    stranger = await asyncio.create_subprocess_exec(*SLEEP)
    records = bench.state_dir / "supervisor.json"
    data = json.loads(records.read_text())
    data["units"][0]["process"]["pid"] = stranger.pid
    data["units"][0]["process"]["start_ticks"] -= 1  # both may have started within one tick of 10 ms
    records.write_text(json.dumps(data))
    await bench.launch()
    after = await bench.until_state("sleeper", UnitState.READY)
    assert after.pid != stranger.pid
    await bench.terminate()
    assert stranger.returncode is None
    assert alive(stranger.pid)
    stranger.kill()
    await stranger.wait()


async def test_damaged_records_are_set_aside_and_the_processes_they_named_are_ended(bench: Bench) -> None:
    await bench.launch()
    await bench.client.define(UnitSpec("sleeper", SLEEP))
    before = await bench.client.start("sleeper")
    await bench.kill()
    (bench.state_dir / "supervisor.json").write_text('{"version": 1, "units": [{"spec"')
    await bench.launch()
    assert await bench.client.list() == ()
    assert before.pid is not None
    await gone(before.pid)
    assert (bench.state_dir / "supervisor.damaged").exists()


async def test_no_orphan_after_sigterm_and_what_was_wanted_runs_again_after_the_next_start(
    bench: Bench, tmp_path: Path
) -> None:
    await bench.launch()
    order = tmp_path / "order"
    for name, after in (("base", ()), ("upper", ("base",))):
        script = f"trap 'echo {name} >> {order}; exit 0' TERM; touch {tmp_path}/{name}; while :; do sleep 0.05; done"
        await bench.client.define(
            UnitSpec(name, ("sh", "-c", script), after=after, ready=Readiness(ReadyKind.FILE, f"{tmp_path}/{name}"))
        )
        await bench.client.start(name)
    await bench.client.define(UnitSpec("stopped", SLEEP))
    await bench.client.start("stopped")
    await bench.client.stop("stopped")
    pids = [status.pid for status in await bench.client.list() if status.pid is not None]
    assert len(pids) == 2
    assert await bench.terminate() == 0
    assert not any(map(alive, pids))
    assert order.read_text().split() == ["upper", "base"]
    assert not (bench.run_dir / "supervisor.sock").exists()

    await bench.launch()
    await bench.until_state("upper", UnitState.READY)
    assert (await bench.client.status("stopped")).state is UnitState.STOPPED  # type: ignore[union-attr]


async def test_a_client_that_dies_leaves_its_units_alone(bench: Bench) -> None:
    await bench.launch()
    code = """
import asyncio, os, signal, sys
from pathlib import Path
from nf.contracts.units import UnitSpec
from nf.supervisor.client import SupervisorClient
async def main():
    client = SupervisorClient(Path(sys.argv[1]))
    await client.define(UnitSpec("sleeper", ("sleep", "1000")))
    await client.start("sleeper")
    os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(main())
"""
    agent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, str(bench.run_dir / "supervisor.sock"), cwd=Path(__file__).parents[3]
    )
    assert await agent.wait() == -signal.SIGKILL
    status = await bench.client.status("sleeper")
    assert status is not None
    assert status.state is UnitState.READY


async def test_a_stray_with_our_marks_and_no_definition_is_ended(bench: Bench) -> None:
    await bench.launch()
    await bench.terminate()
    stray = await asyncio.create_subprocess_exec(
        *SLEEP, env={**os.environ, OWNER_VARIABLE: bench.owner, UNIT_VARIABLE: "lost"}, start_new_session=True
    )
    await bench.launch()
    assert await stray.wait() == -signal.SIGKILL
