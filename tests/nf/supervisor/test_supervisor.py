"""Real processes under a supervisor in this process."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from pathlib import Path

import pytest

from nf.contracts.units import Readiness, ReadyKind, UnitSpec, UnitState, UnitStatus
from nf.errors import DriverError, InputError, NotFoundError, RefusedError, UnavailableError
from nf.supervisor.client import SupervisorClient
from nf.supervisor.daemon import run_supervisor
from tests.nf.supervisor.conftest import Bench, alive, gone

SLEEP = ("sleep", "1000")


def python(code: str) -> tuple[str, ...]:
    return (sys.executable, "-S", "-c", code)


async def test_a_unit_starts_is_ready_and_stops(running: Bench) -> None:
    client = running.client
    await client.define(UnitSpec("sleeper", SLEEP))
    assert (await client.status("sleeper")).state is UnitState.STOPPED  # type: ignore[union-attr]
    started = await client.start("sleeper")
    assert started.state is UnitState.READY
    assert started.pid is not None
    assert (await client.start("sleeper")).pid == started.pid
    stopped = await client.stop("sleeper")
    assert (stopped.state, stopped.last_exit, stopped.pid) == (UnitState.STOPPED, "signal SIGTERM", None)
    assert not alive(started.pid)
    await client.stop("sleeper")
    await client.remove("sleeper")
    await client.remove("sleeper")
    assert await client.status("sleeper") is None


async def test_unknown_units_and_wrong_definitions_are_told_apart(running: Bench) -> None:
    client = running.client
    with pytest.raises(NotFoundError):
        await client.start("nobody")
    with pytest.raises(InputError):
        await client.define(UnitSpec("no program", SLEEP))
    with pytest.raises(InputError):
        await client.define(UnitSpec("empty", ()))
    await client.define(UnitSpec("later", SLEEP, after=("nobody",)))
    with pytest.raises(DriverError, match="nobody, which is not defined"):
        await client.start("later")


@pytest.mark.parametrize("kind", [ReadyKind.FILE, ReadyKind.UNIX_SOCKET, ReadyKind.TCP])
async def test_ready_means_what_the_definition_says(running: Bench, tmp_path: Path, kind: ReadyKind) -> None:
    target = str(tmp_path / "ready")
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
    await running.client.define(
        UnitSpec("late", python(f"import time; {code}; time.sleep(1000)"), ready=Readiness(kind, target, 10))
    )
    assert (await running.client.start("late")).state is UnitState.READY


async def test_a_unit_that_dies_at_once_backs_off_and_its_words_reach_the_caller(running: Bench) -> None:
    spec = UnitSpec(
        "bad",
        ("sh", "-c", "echo cannot read configuration >&2; exit 3"),
        ready=Readiness(ReadyKind.FILE, "/proc/nonexistent", 20),
        backoff_first_s=0.02,
    )
    await running.client.define(spec)
    with pytest.raises(DriverError, match=r"died 4 times; last: exit 3.*cannot read configuration"):
        await running.client.start("bad")
    status = await running.until_state("bad", UnitState.BACKOFF)
    assert status.restarts >= 4
    assert "cannot read configuration" in await running.client.log("bad", 1)
    assert (await running.client.stop("bad")).state is UnitState.STOPPED


async def test_a_program_that_does_not_exist_is_said_to_be_so(running: Bench) -> None:
    await running.client.define(UnitSpec("ghost", ("/no/such/program",), restart=False))
    with pytest.raises(DriverError, match="No such file"):
        await running.client.start("ghost")
    assert (await running.client.status("ghost")).state is UnitState.FAILED  # type: ignore[union-attr]


async def test_a_unit_that_never_gets_ready_is_ended_and_tried_again(running: Bench) -> None:
    spec = UnitSpec("mute", SLEEP, ready=Readiness(ReadyKind.FILE, "/proc/nonexistent", 0.2), backoff_first_s=0.05)
    await running.client.define(spec)
    with pytest.raises(DriverError, match=r"not become ready within 0.2 s"):
        await running.client.start("mute")
    status = await running.until("mute", lambda status: status.restarts >= 1)
    assert "not ready within 0.2 s" in status.last_exit


async def test_a_one_shot_unit_completes(running: Bench) -> None:
    await running.client.define(UnitSpec("once", ("true",), restart=False))
    await running.client.start("once")
    status = await running.until_state("once", UnitState.STOPPED)
    assert status.last_exit == "exit 0"
    assert status.restarts == 0


async def test_a_killed_unit_is_started_again(running: Bench) -> None:
    await running.client.define(UnitSpec("sleeper", SLEEP, backoff_first_s=0.01))
    first = await running.client.start("sleeper")
    assert first.pid is not None
    signal.pidfd_send_signal(pidfd := os.pidfd_open(first.pid), signal.SIGKILL)
    os.close(pidfd)
    again = await running.until("sleeper", lambda s: s.state is UnitState.READY and s.pid != first.pid)
    assert (again.restarts, again.last_exit) == (1, "signal SIGKILL")


async def test_one_that_ignores_its_signal_is_killed_with_all_that_it_started(running: Bench, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    script = f"""
        trap '' TERM
        sleep 1000 & echo $! >> {pids}
        setsid sleep 1000 & echo $! >> {pids}
        touch {pids}.done
        while :; do sleep 1; done
    """
    await running.client.define(
        UnitSpec("stubborn", ("sh", "-c", script), ready=Readiness(ReadyKind.FILE, f"{pids}.done"), stop_timeout_s=0.2)
    )
    await running.client.start("stubborn")
    children = [int(line) for line in pids.read_text().split()]
    assert all(map(alive, children))
    stopped = await running.client.stop("stubborn")
    assert stopped.last_exit == "signal SIGKILL"
    for pid in children:
        await gone(pid)


async def test_what_a_dead_unit_left_behind_is_swept_before_it_starts_again(running: Bench, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    script = f"sleep 1000 & echo $! >> {pids}; touch {pids}.done; exec sleep 1000"
    ready = Readiness(ReadyKind.FILE, f"{pids}.done")
    await running.client.define(UnitSpec("parent", ("sh", "-c", script), ready=ready, backoff_first_s=0.01))
    await running.client.start("parent")
    child = int(pids.read_text().split()[0])
    status = await running.client.status("parent")
    assert status is not None
    assert status.pid is not None
    os.kill(status.pid, signal.SIGKILL)
    await running.until("parent", lambda s: s.restarts == 1)
    await gone(child)


async def test_units_start_in_order_and_wait_for_each_other(running: Bench, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    first = UnitSpec("first", SLEEP, ready=Readiness(ReadyKind.FILE, str(gate), 10))
    await running.client.define(first)
    await running.client.define(UnitSpec("second", SLEEP, after=("first",)))
    second = asyncio.create_task(running.client.start("second"))
    await running.until_state("second", UnitState.WAITING)
    starting = asyncio.create_task(running.client.start("first"))
    await running.until_state("first", UnitState.STARTING)
    assert (await running.client.status("second")).state is UnitState.WAITING  # type: ignore[union-attr]
    gate.touch()
    assert (await starting).state is UnitState.READY
    assert (await second).state is UnitState.READY


async def test_a_new_definition_counts_from_the_next_start(running: Bench) -> None:
    client = running.client
    old, new = UnitSpec("unit", SLEEP), UnitSpec("unit", ("sleep", "2000"))
    await client.define(old)
    before = await client.start("unit")
    await client.define(new)
    kept = await client.status("unit")
    assert kept is not None
    assert (kept.pid, kept.spec) == (before.pid, old)
    after = await client.restart("unit")
    assert after.spec == new
    assert after.pid != before.pid


async def test_stop_interrupts_a_start(running: Bench) -> None:
    await running.client.define(UnitSpec("slow", SLEEP, ready=Readiness(ReadyKind.FILE, "/proc/nonexistent", 60)))
    starting = asyncio.create_task(running.client.start("slow"))
    await running.until_state("slow", UnitState.STARTING)
    await running.client.stop("slow")
    with pytest.raises(RefusedError, match="stopped while"):
        await starting


async def test_watch_tells_every_change(running: Bench) -> None:
    seen: list[UnitStatus] = []
    subscribed = asyncio.Event()

    async def watch() -> None:
        async for status in running.client.watch():
            seen.append(status)
            subscribed.set()
            if status.state is UnitState.STOPPED and len(seen) > 2:
                return

    await running.client.define(UnitSpec("sleeper", SLEEP))
    task = asyncio.create_task(watch())
    async with asyncio.timeout(90):
        while not subscribed.is_set():  # until the watch is certainly there
            await running.client.restart("sleeper")
        await running.client.restart("sleeper")
        await running.client.stop("sleeper")
        await task
    states = [status.state for status in seen]
    assert {UnitState.STARTING, UnitState.READY, UnitState.STOPPING, UnitState.STOPPED} <= set(states)


async def test_output_is_kept_in_the_order_it_was_written(running: Bench, tmp_path: Path) -> None:
    script = f"echo one; echo two >&2; touch {tmp_path}/ready; exec sleep 1000"
    ready = Readiness(ReadyKind.FILE, f"{tmp_path}/ready")
    await running.client.define(UnitSpec("talker", ("sh", "-c", script), ready=ready))
    await running.client.start("talker")
    assert await running.client.log("talker") == ("one", "two")
    assert await running.client.log("talker", 1) == ("two",)
    with pytest.raises(NotFoundError):
        await running.client.log("nobody")


async def test_only_one_supervisor_and_its_socket_is_private(running: Bench) -> None:
    await running.client.define(UnitSpec("unit", SLEEP))
    for private in (running.run_dir / "supervisor.sock", running.state_dir / "supervisor.json"):
        assert private.stat().st_mode & 0o777 == 0o600
    with pytest.raises(RefusedError, match="already runs"):
        await run_supervisor(running.run_dir, running.state_dir)
    await running.client.list()


async def test_without_a_supervisor_the_client_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="nf supervisor run"):
        await SupervisorClient(tmp_path / "none.sock").list()


async def test_garbage_on_the_socket_is_answered_and_survived(running: Bench) -> None:
    lines = [
        b"\n",
        b"{}\n",
        b"\xff\xfe\n",
        b"[" * 50_000 + b"\n",
        b'{"id":1,"method":"start","params":{"name":"../x"}}\n',
    ]
    lines += [b'{"id":1,"method":"define","params":{"spec":{}}}\n', b'{"id":1,"method":"explode"}\n']
    for line in lines:
        reader, writer = await asyncio.open_unix_connection(str(running.run_dir / "supervisor.sock"))
        writer.write(line)
        answer = await reader.readline()
        assert b'"error"' in answer
        writer.close()
        await writer.wait_closed()
    reader, writer = await asyncio.open_unix_connection(str(running.run_dir / "supervisor.sock"))
    writer.write(b"x" * 3_000_000)
    assert b"too long" in await reader.readline()
    writer.close()
    assert await running.client.list() == ()
