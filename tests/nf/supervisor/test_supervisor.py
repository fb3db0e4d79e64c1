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
