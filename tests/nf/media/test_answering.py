"""A unit's status socket: who connects is told, and says something first where the unit hears."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from nf.errors import UnavailableError
from nf.media.answering import answering, ask, serve_unit
from tests.headend.multicast.tree.network import until


async def test_whoever_connects_is_told_what_holds_now(tmp_path: Path) -> None:
    place, told = tmp_path / "run" / "status.sock", {"version": 1, "runs": 0}
    assert await ask(place) is None
    async with answering(place, lambda: told):
        assert place.stat().st_mode & 0o777 == 0o600
        assert await ask(place) == {"version": 1, "runs": 0}
        told["runs"] = 1
        assert await ask(place) == {"version": 1, "runs": 1}
    assert not place.exists()


async def test_what_an_earlier_life_left_is_replaced(tmp_path: Path) -> None:
    place = tmp_path / "status.sock"
    place.touch()
    async with answering(place, dict):
        assert await ask(place) == {}


async def test_a_unit_that_hears_takes_a_line_before_it_answers(tmp_path: Path) -> None:
    place, heard = tmp_path / "status.sock", list[bytes]()
    async with answering(place, lambda: {"heard": len(heard)}, heard.append):
        assert await ask(place, b"failback\n") == {"heard": 1}
        assert await ask(place, b"status\n") == {"heard": 2}
    assert heard == [b"failback\n", b"status\n"]


async def test_a_client_that_says_nothing_does_not_keep_the_unit(tmp_path: Path) -> None:
    place = tmp_path / "status.sock"
    async with asyncio.timeout(10), answering(place, dict, lambda _line: None):
        reader, writer = await asyncio.open_unix_connection(str(place))
        assert await ask(place, b"status\n") == {}  # by now the first one is taken too
    assert not place.exists()
    writer.write_eof()
    assert await reader.read() == b"{}\n"
    writer.close()


def test_a_unit_ends_well_when_it_is_told_to(tmp_path: Path) -> None:
    place, told = tmp_path / "status.sock", list[object]()

    async def run() -> None:
        async def answers() -> bool:
            told.append(await ask(place))
            return told[-1] is not None

        await until(answers)
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.Event().wait()

    assert serve_unit("unit", run, lambda: {"version": 1}, place) == 0
    assert told[-1:] == [{"version": 1}]
    assert not place.exists()


def test_a_unit_that_cannot_go_on_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def run() -> None:
        raise UnavailableError("UDP port 6011 cannot be had", where="127.0.0.1")

    assert serve_unit("ingest", run, dict, tmp_path / "status.sock") == 1
    assert capsys.readouterr().err.startswith("ingest: ")
