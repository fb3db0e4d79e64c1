"""Many calls at once: what the crowd tells of calls to a number, and of those that are refused or taken away."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from lab.voice.crowd import options, run
from tests.lab.voice.conftest import Model

Start = Callable[..., Awaitable[Model]]


def crowd(model: Model, folder: Path, number: str, *more: str) -> asyncio.Task[dict[str, object]]:
    argv = ["--domain", "voice.test", "--caller", "alice:secret-5", "--caller-address", "127.0.0.1"]
    argv += ["--caller-proxy", f"127.0.0.1:{model.sip}", "--number", number, "--calls", "5", "--talking", "2"]
    argv += ["--apart", "0", "--ready", str(folder / "ready"), "--until", str(folder / "until"), *more]
    return asyncio.create_task(run(options(argv)))


async def ready(folder: Path, told: asyncio.Task[dict[str, object]]) -> None:
    async with asyncio.timeout(90):
        while not (folder / "ready").exists() and not told.done():  # noqa: ASYNC110 - a file
            await asyncio.sleep(0.05)


async def test_calls_to_a_number_are_held_until_they_may_end(start: Start, tmp_path: Path) -> None:
    model = await start()
    esl = await model.connect()
    told = crowd(model, tmp_path, "9004")
    await ready(tmp_path, told)
    assert "5 total." in await esl.api("show channels")
    await asyncio.sleep(1.2)  # of what was heard in the last second it tells
    (tmp_path / "until").touch()
    found = await told
    assert (found["answered"], found["dropped"], found["silent"], found["refused"]) == (5, 0, 0, {})
    assert "0 total." in await esl.api("show channels")
    assert "alice" not in await esl.api("show registrations")


async def test_refused_calls_and_calls_that_others_end_are_told(start: Start, tmp_path: Path) -> None:
    model = await start(sessions=3)
    esl = await model.connect()
    told = crowd(model, tmp_path, "9004")
    await ready(tmp_path, told)
    await esl.api("hupall NORMAL_CLEARING")
    (tmp_path / "until").touch()
    found = await told
    assert (found["answered"], found["dropped"], found["refused"]) == (3, 3, {"503 Maximum Calls In Progress": 2})


def test_somebody_or_something_is_called() -> None:
    argv = ["--domain", "d", "--caller", "a:b", "--caller-address", "127.0.0.1", "--caller-proxy", "127.0.0.1:1"]
    for more in ([], ["--number", "1", "--called", "c:d"]):
        with pytest.raises(SystemExit):
            options([*argv, *more])
