"""A supervisor in this process: its socket and its directories. What it does for units: test_contract.py."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from nf.contracts.units import UnitSpec
from nf.errors import RefusedError, UnavailableError
from nf.supervisor.client import SupervisorClient
from nf.supervisor.daemon import run_supervisor
from tests.nf.supervisor.conftest import Bench

SLEEP = ("sleep", "1000")


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


async def test_what_is_known_is_not_read_again_and_what_changes_is_seen_at_once(running: Bench) -> None:
    client, other = running.client, running.client
    await client.define(UnitSpec("unit", SLEEP))
    first = await client.list()
    assert await client.list() is first
    assert await client.status("unit") is first[0]
    await other.start("unit")
    started = await client.status("unit")
    assert started is not None
    assert started.pid is not None
    await client.stop("unit")
    stopped = await client.status("unit")
    assert stopped is not None
    assert stopped.pid is None
    await other.remove("unit")
    assert await client.list() == ()


async def test_many_may_ask_at_once_and_one_may_give_up(running: Bench) -> None:
    client = running.client
    await client.define(UnitSpec("unit", SLEEP))
    asked = [asyncio.create_task(client.status("unit")) for _ in range(20)]
    await asyncio.sleep(0)
    asked[0].cancel()
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert isinstance(answers[0], asyncio.CancelledError)
    assert {status.name for status in answers[1:] if not isinstance(status, BaseException | None)} == {"unit"}
    assert None not in answers


async def test_the_next_supervisor_is_asked_by_the_same_client(bench: Bench) -> None:
    await bench.launch()
    client = bench.client
    await client.define(UnitSpec("unit", SLEEP))
    await client.start("unit")
    before = await client.list()
    await bench.kill()
    await bench.launch()
    assert [(status.name, status.pid) for status in await client.list()] == [("unit", before[0].pid)]


async def test_who_knows_nothing_of_tags_is_told_everything(running: Bench) -> None:
    await running.client.define(UnitSpec("unit", SLEEP))
    reader, writer = await asyncio.open_unix_connection(str(running.run_dir / "supervisor.sock"))
    writer.write(b'{"id":1,"method":"list"}\n')
    assert b'"result":[{' in await reader.readline()
    writer.close()
    await writer.wait_closed()
