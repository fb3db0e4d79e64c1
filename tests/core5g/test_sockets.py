"""Unix sockets of units: asked and answered, and owned by whom they are for."""

from __future__ import annotations

import asyncio
import pwd
import stat
from pathlib import Path

import pytest

from core5g.sockets import answering, ask, bound
from nf.contracts.json import JsonObject
from nf.errors import UnavailableError


async def _echo(line: bytes) -> JsonObject:
    if line == b"fail\n":
        raise UnavailableError("not now", where="test")
    return {"line": line.decode(errors="replace").strip()}


async def test_a_line_is_answered_and_what_fails_is_said(tmp_path: Path) -> None:
    path = tmp_path / "there" / "a.sock"
    async with answering(path, _echo):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert await ask(path, "hello") == {"line": "hello"}
        assert await ask(path) == {"line": ""}
        assert "not now" in str((await ask(path, "fail") or {})["error"])
    assert not path.exists()
    assert await ask(path) is None


async def test_what_an_earlier_life_left_is_in_nobodys_way(tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    bound(path).close()
    assert await ask(path) is None
    async with answering(path, _echo):
        assert await ask(path, "x") == {"line": "x"}


@pytest.mark.parametrize("said", [b"", b"[1]\n", b"{\n", b"\xff\n"])
async def test_what_is_no_answer_is_none(tmp_path: Path, said: bytes) -> None:
    async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said)
        writer.close()

    async with await asyncio.start_unix_server(serve, sock=bound(tmp_path / "a.sock")):
        assert await ask(tmp_path / "a.sock") is None


@pytest.mark.root
def test_a_socket_is_given_to_whom_it_is_for(tmp_path: Path) -> None:
    owner = pwd.getpwnam("nobody").pw_uid
    with bound(tmp_path / "a.sock", owner):
        found = (tmp_path / "a.sock").stat()
    assert (found.st_uid, stat.S_IMODE(found.st_mode)) == (owner, 0o600)
