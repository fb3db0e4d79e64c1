"""What the units contract promises, of each thing that implements it.

Over the supervisor anywhere; over systemd where a test machine's is (`NF_TEST_SYSTEMD`, see tests/support/pid1.py).
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from nf.contracts.units import Readiness, ReadyKind, UnitState, UnitStatus, bring_up
from nf.errors import DriverError, InputError, NotFoundError, RefusedError
from tests.nf.supervisor.conftest import Bench, UnitsBench, alive, gone, supervising, systemd_units

SLEEP = ("sleep", "1000")
IMPLEMENTATION = "systemd" if os.environ.get("NF_TEST_SYSTEMD") else "supervisor"


@pytest.fixture(name="bench", params=[IMPLEMENTATION])
async def bench_(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[UnitsBench]:
    if request.param == "supervisor":
        async with supervising(Bench(tmp_path / "run", tmp_path / "state")) as running:
            yield UnitsBench(running.client, tmp_path)
    else:
        async with systemd_units(tmp_path / "state") as units:
            yield UnitsBench(units, tmp_path)


def python(code: str) -> tuple[str, ...]:
    return (sys.executable, "-S", "-c", code)


def commands(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/cmdline").read_text().rstrip("\0").split("\0")


async def test_a_unit_starts_is_ready_and_stops(bench: UnitsBench) -> None:
    units = bench.units
    await units.define(bench.spec("sleeper", SLEEP))
    assert (await units.status("sleeper")).state is UnitState.STOPPED  # type: ignore[union-attr]
    started = await units.start("sleeper")
    assert started.state is UnitState.READY
    assert started.pid is not None
    assert (await units.start("sleeper")).pid == started.pid
    stopped = await units.stop("sleeper")
    assert (stopped.state, stopped.last_exit, stopped.pid) == (UnitState.STOPPED, "signal SIGTERM", None)
    assert not alive(started.pid)
    await units.stop("sleeper")
    await units.remove("sleeper")
    await units.remove("sleeper")
    assert await units.status("sleeper") is None


async def test_unknown_units_and_wrong_definitions_are_told_apart(bench: UnitsBench) -> None:
    units = bench.units
    with pytest.raises(NotFoundError):
        await units.start("nobody")
    with pytest.raises(InputError):
        await units.define(bench.spec("no program", SLEEP))
    with pytest.raises(InputError):
        await units.define(bench.spec("empty", ()))
    await units.define(bench.spec("later", SLEEP, after=("nobody",)))
    with pytest.raises(DriverError, match="nobody, which is not defined"):
        await units.start("later")


@pytest.mark.parametrize("kind", [ReadyKind.FILE, ReadyKind.UNIX_SOCKET, ReadyKind.TCP])
async def test_ready_means_what_the_definition_says(bench: UnitsBench, kind: ReadyKind) -> None:
    target = str(bench.place / "ready")
    family = "AF_UNIX"
    address = repr(target)
    if kind is ReadyKind.TCP:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        target, family, address = f"127.0.0.1:{port}", "AF_INET", f"('127.0.0.1', {port})"
    code = (
        f"open({target!r}, 'w').close()"
        if kind is ReadyKind.FILE
        else (f"import socket; s = socket.socket(socket.{family}); s.bind({address}); s.listen()")
    )
    await bench.units.define(
        bench.spec("late", python(f"import time; {code}; time.sleep(1000)"), ready=Readiness(kind, target, 10))
    )
    assert (await bench.units.start("late")).state is UnitState.READY


async def test_one_that_is_on_its_way_is_waited_for_by_who_is_patient(bench: UnitsBench) -> None:
    units, go = bench.units, bench.place / "go"
    code = f"import os, time\nwhile not os.path.exists({str(go)!r}): time.sleep(0.02)\nopen({str(go)!r} + '.on', 'w')"
    spec = bench.spec("slow", python(code + "; time.sleep(1000)"), ready=Readiness(ReadyKind.FILE, f"{go}.on", 30))
    await units.define(spec)
    first = asyncio.create_task(units.start("slow"))
    starting = await bench.until_state("slow", UnitState.STARTING)
    second = asyncio.create_task(bring_up(units, spec, starting, patient=True))
    go.touch()
    await asyncio.gather(first, second)
    status = await units.status("slow")
    assert status is not None
    assert (status.state, status.pid) == (UnitState.READY, starting.pid)


async def test_a_unit_that_dies_at_once_backs_off_and_its_words_reach_the_caller(bench: UnitsBench) -> None:
    spec = bench.spec(
        "bad",
        ("sh", "-c", "echo cannot read configuration >&2; exit 3"),
        ready=Readiness(ReadyKind.FILE, "/proc/nonexistent", 20),
        backoff_first_s=0.02,
    )
    await bench.units.define(spec)
    with pytest.raises(DriverError, match=r"died 4 times; last: exit 3.*cannot read configuration"):
        await bench.units.start("bad")
    status = await bench.until_state("bad", UnitState.BACKOFF)
    assert status.restarts >= 4
    assert "cannot read configuration" in await bench.units.log("bad", 1)
    assert (await bench.units.stop("bad")).state is UnitState.STOPPED


async def test_a_program_that_does_not_exist_is_said_to_be_so(bench: UnitsBench) -> None:
    await bench.units.define(bench.spec("ghost", ("/no/such/program",), restart=False))
    with pytest.raises(DriverError, match="No such file"):
        await bench.units.start("ghost")
    assert (await bench.units.status("ghost")).state is UnitState.FAILED  # type: ignore[union-attr]


async def test_a_unit_that_never_gets_ready_is_ended_and_tried_again(bench: UnitsBench) -> None:
    spec = bench.spec("mute", SLEEP, ready=Readiness(ReadyKind.FILE, "/proc/nonexistent", 0.2), backoff_first_s=0.05)
    await bench.units.define(spec)
    with pytest.raises(DriverError, match=r"not become ready within 0.2 s"):
        await bench.units.start("mute")
    status = await bench.until("mute", lambda status: status.restarts >= 1)
    assert "not ready within 0.2 s" in status.last_exit


async def test_a_one_shot_unit_completes(bench: UnitsBench) -> None:
    await bench.units.define(bench.spec("once", ("true",), restart=False))
    await bench.units.start("once")
    status = await bench.until_state("once", UnitState.STOPPED)
    assert status.last_exit == "exit 0"
    assert status.restarts == 0


async def test_a_killed_unit_is_started_again(bench: UnitsBench) -> None:
    await bench.units.define(bench.spec("sleeper", SLEEP, backoff_first_s=0.01))
    first = await bench.units.start("sleeper")
    assert first.pid is not None
    signal.pidfd_send_signal(pidfd := os.pidfd_open(first.pid), signal.SIGKILL)
    os.close(pidfd)
    again = await bench.until("sleeper", lambda s: s.state is UnitState.READY and s.pid != first.pid)
    assert (again.restarts, again.last_exit) == (1, "signal SIGKILL")


async def test_one_that_ignores_its_signal_is_killed_with_all_that_it_started(bench: UnitsBench) -> None:
    pids = bench.place / "pids"
    script = f"""
        trap '' TERM
        sleep 1000 & echo $! >> {pids}
        setsid sleep 1000 & echo $! >> {pids}
        touch {pids}.done
        while :; do sleep 1; done
    """
    await bench.units.define(
        bench.spec(
            "stubborn", ("sh", "-c", script), ready=Readiness(ReadyKind.FILE, f"{pids}.done"), stop_timeout_s=0.2
        )
    )
    await bench.units.start("stubborn")
    children = [int(line) for line in pids.read_text().split()]
    assert all(map(alive, children))
    stopped = await bench.units.stop("stubborn")
    assert stopped.last_exit == "signal SIGKILL"
    for pid in children:
        await gone(pid)


async def test_what_a_dead_unit_left_behind_is_swept_before_it_starts_again(bench: UnitsBench) -> None:
    pids = bench.place / "pids"
    script = f"sleep 1000 & echo $! >> {pids}; touch {pids}.done; exec sleep 1000"
    ready = Readiness(ReadyKind.FILE, f"{pids}.done")
    await bench.units.define(bench.spec("parent", ("sh", "-c", script), ready=ready, backoff_first_s=0.01))
    await bench.units.start("parent")
    child = int(pids.read_text().split()[0])
    status = await bench.units.status("parent")
    assert status is not None
    assert status.pid is not None
    os.kill(status.pid, signal.SIGKILL)
    await bench.until("parent", lambda s: s.restarts == 1)
    await gone(child)


async def test_units_start_in_order_and_wait_for_each_other(bench: UnitsBench) -> None:
    gate = bench.place / "gate"
    first = bench.spec("first", SLEEP, ready=Readiness(ReadyKind.FILE, str(gate), 10))
    await bench.units.define(first)
    await bench.units.define(bench.spec("second", SLEEP, after=("first",)))
    second = asyncio.create_task(bench.units.start("second"))
    await bench.until_state("second", UnitState.WAITING)
    starting = asyncio.create_task(bench.units.start("first"))
    await bench.until_state("first", UnitState.STARTING)
    assert (await bench.units.status("second")).state is UnitState.WAITING  # type: ignore[union-attr]
    gate.touch()
    assert (await starting).state is UnitState.READY
    assert (await second).state is UnitState.READY


async def test_a_new_definition_counts_from_the_next_start(bench: UnitsBench) -> None:
    units = bench.units
    old, new = bench.spec("unit", SLEEP), bench.spec("unit", ("sleep", "2000"))
    await units.define(old)
    before = await units.start("unit")
    await units.define(new)
    kept = await units.status("unit")
    assert kept is not None
    assert (kept.pid, kept.spec) == (before.pid, old)
    after = await units.restart("unit")
    assert after.spec == new
    assert after.pid != before.pid


async def test_stop_interrupts_a_start(bench: UnitsBench) -> None:
    await bench.units.define(bench.spec("slow", SLEEP, ready=Readiness(ReadyKind.FILE, "/proc/nonexistent", 60)))
    starting = asyncio.create_task(bench.units.start("slow"))
    await bench.until_state("slow", UnitState.STARTING)
    await bench.units.stop("slow")
    with pytest.raises(RefusedError, match="stopped while"):
        await starting


async def test_watch_tells_every_change(bench: UnitsBench) -> None:
    seen: list[UnitStatus] = []
    subscribed = asyncio.Event()

    async def watch() -> None:
        async for status in bench.units.watch():
            seen.append(status)
            subscribed.set()
            if status.state is UnitState.STOPPED and len(seen) > 2:
                return

    await bench.units.define(bench.spec("sleeper", SLEEP))
    task = asyncio.create_task(watch())
    async with asyncio.timeout(90):
        while not subscribed.is_set():  # until the watch is certainly there
            await bench.units.restart("sleeper")
        await bench.units.restart("sleeper")
        await bench.units.stop("sleeper")
        await task
    states = [status.state for status in seen]
    assert {UnitState.STARTING, UnitState.READY, UnitState.STOPPING, UnitState.STOPPED} <= set(states)


async def test_output_is_kept_in_the_order_it_was_written(bench: UnitsBench) -> None:
    script = f"echo one; echo two >&2; touch {bench.place}/ready; exec sleep 1000"
    ready = Readiness(ReadyKind.FILE, f"{bench.place}/ready")
    await bench.units.define(bench.spec("talker", ("sh", "-c", script), ready=ready))
    await bench.units.start("talker")
    assert await bench.units.log("talker") == ("one", "two")
    assert await bench.units.log("talker", 1) == ("two",)
    with pytest.raises(NotFoundError):
        await bench.units.log("nobody")


async def test_what_was_removed_and_defined_anew_is_the_new_one(bench: UnitsBench) -> None:
    for seconds in ("1000", "2000", "3000"):
        for name, after in (("lower", ()), ("upper", ("lower",))):
            await bench.units.define(bench.spec(name, ("sleep", seconds), after=after))
            status = await bench.units.start(name)
            assert status.pid is not None
            assert commands(status.pid) == ["sleep", seconds]
        await bench.units.remove("lower")
        await bench.units.remove("upper")
