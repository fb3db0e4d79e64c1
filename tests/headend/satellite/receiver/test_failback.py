"""The operation `failback`: what an operator's word does at a PoP, and when there is nothing to say."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path

import pytest

from headend.satellite.receiver.failback import FailbackOperation
from headend.satellite.receiver.units import Places, text_of
from nf.clock import RealClock
from nf.contracts.driver import Checkpoint, Context
from nf.contracts.json import JsonObject
from nf.errors import InputError, RefusedError, UnavailableError
from tests.headend.satellite.receiver.samples import carrier, status


@asynccontextmanager
async def feed(place: Path, *, taken: str, age_ms: float | None = 5.0) -> AsyncIterator[socket.socket]:
    """Answers as a feed does; what it is told arrives at the socket."""
    text = json.dumps(asdict(status(9, taken=taken, age_ms=age_ms))).encode() + b"\n"

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(text)
        writer.close()

    server = await asyncio.start_unix_server(answer, path=str(place / "status.sock"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as control:
        control.bind(str(place / "control.sock"))
        control.setblocking(False)
        async with server:
            yield control


@pytest.fixture
def places(tmp_path: Path) -> Places:
    found = Places.of(tmp_path / "run", tmp_path / "state")
    found.write("c1", text_of(carrier()))
    found.directory("c1").mkdir(parents=True)
    return found


async def run(places: Places, **arguments: str) -> JsonObject:
    clock = RealClock()
    given: JsonObject = dict(arguments)
    context = Context(clock, clock.monotonic() + 10)
    return await FailbackOperation(places).run(given, Checkpoint({}, lambda _: None), context)


async def test_the_feed_is_told(places: Places) -> None:
    async with feed(places.directory("c1"), taken="fallback") as control:
        answer = await run(places, channel="ch1", path="")
        assert answer == {"text": "ch1/satellite may return to the satellite"}
        assert json.loads(control.recv(4096)) == {"failback": "ch1/satellite"}


@pytest.mark.parametrize(
    ("taken", "age_ms", "path", "why"),
    [
        ("satellite", 5.0, "", "ch1 comes by satellite"),
        ("fallback", None, "", "ch1 does not come by the carrier"),
        ("fallback", 5.0, "other", "ch1 does not come by satellite here"),
    ],
)
async def test_there_is_nothing_to_approve(
    places: Places, taken: str, age_ms: float | None, path: str, why: str
) -> None:
    async with feed(places.directory("c1"), taken=taken, age_ms=age_ms):
        with pytest.raises(RefusedError, match=why):
            await run(places, channel="ch1", path=path)


async def test_no_channel_and_no_feed(places: Places) -> None:
    with pytest.raises(InputError):
        await run(places)
    with pytest.raises(RefusedError):
        await run(places, channel="ch1")
    async with feed(places.directory("c1"), taken="fallback") as control:
        control.close()
        (places.directory("c1") / "control.sock").unlink()
        with pytest.raises(UnavailableError):
            await run(places, channel="ch1")
