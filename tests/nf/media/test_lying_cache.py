"""A cache that answers 200 to a purge and keeps what it has is told of, by a request: no daemon needed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from nf.clock import RealClock
from nf.contracts.driver import Checkpoint, Context, Operation
from nf.contracts.units import UnitState
from nf.errors import DriverError
from nf.media.edge.purge import EdgePurge
from nf.media.edge.render import Places, render
from nf.media.edge.rules import Rules
from nf.media.edge.server import Server
from nf.media.purge.proof import ELAPSED
from nf.media.shield.purge import ShieldPurge
from nf.media.shield.render import render as render_shield
from nf.media.shield.varnish import Varnish
from tests.nf.media.cdn import HOST, edge_section, order, shield_section

LOOPBACK = IPv4Address("127.0.0.1")
OLD_S = 600


@dataclass
class Cache:
    """Answers 200 to every request, as both kinds of cache say it. `lies`: a purge takes nothing."""

    lies: bool
    purged: bool = False
    asked: list[str] = field(default_factory=list)
    clients: set[asyncio.Task[None] | None] = field(default_factory=set)

    async def client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.clients.add(asyncio.current_task())
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                method = (await reader.readuntil(b"\r\n\r\n")).decode().split(" ", 1)[0]
                self.asked.append(method)
                self.purged |= method != "GET" and not self.lies
                age, via, word = (0, "cMsSfW", "miss") if self.purged else (OLD_S, "cHs f ", "hit")
                lines = ["HTTP/1.1 200 OK", f"Age: {age}", f"Via: http/1.1 edge [{via}]", f"X-Shield: {word}"]
                writer.write("\r\n".join([*lines, "Content-Length: 1", "", "x"]).encode())
                await writer.drain()
        writer.close()
        await writer.wait_closed()


@contextlib.asynccontextmanager
async def serving(*, lies: bool) -> AsyncIterator[tuple[Cache, int]]:
    cache = Cache(lies)
    server = await asyncio.start_server(cache.client, str(LOOPBACK), 0)
    try:
        yield cache, server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await asyncio.gather(*(client for client in cache.clients if client is not None))


class NoRules:
    async def add(self, rules: Any) -> None:
        assert not [*rules]


def edge(port: int, directory: Path) -> Operation:
    section = edge_section("ch1").model_copy(update={"listen": (LOOPBACK,), "port": port})
    places = Places(directory / "edge", directory)
    server = SimpleNamespace(places=places, read_files=lambda: render(section, places))
    return EdgePurge(cast("Server", server), cast("Rules", NoRules()), cast("Any", None))


def shield(port: int, directory: Path) -> Operation:
    section = shield_section("ch1").model_copy(update={"listen": LOOPBACK, "port": port})

    async def status() -> Any:
        return SimpleNamespace(state=UnitState.READY)

    varnish = SimpleNamespace(directory=directory, read=lambda: render_shield(section), status=status)
    return ShieldPurge(cast("Varnish", varnish))


async def purge(operation: Operation, scope: str, match: str) -> Any:
    clock = RealClock()
    context = Context(clock, clock.monotonic() + 60.0)
    result: Any = await operation.run(
        order(scope, match, stream="cdn", **{ELAPSED: 0.0}), Checkpoint({}, lambda _data: None), context
    )
    return result["orders"]["1"]


PURGES = [("url", f"http://{HOST}/ch1/v0/1.m4s"), ("all", "ch1")]


@pytest.mark.parametrize(("scope", "match"), PURGES)
@pytest.mark.parametrize(("make", "unit"), [(edge, "trafficserver"), (shield, "varnishd")])
async def test_a_cache_that_lies_about_a_purge_is_named(
    make: Any, unit: str, scope: str, match: str, tmp_path: Path
) -> None:
    async with serving(lies=True) as (cache, port):
        with pytest.raises(DriverError) as failed:
            await purge(make(port, tmp_path), scope, match)
    assert set(cache.asked) > {"GET"}
    assert failed.value.where == f"unit {unit} on {LOOPBACK}"
    assert "still served from before the purge, which was acknowledged" in failed.value.message
    assert ("v0/1.m4s" if scope == "url" else "master.m3u8") in failed.value.message
    assert "purge all of the channel" in failed.value.remedy
    assert not (tmp_path / "purges.json").exists(), "it is not noted as done"


@pytest.mark.parametrize(("scope", "match"), PURGES)
@pytest.mark.parametrize("make", [edge, shield])
async def test_one_that_does_as_it_says_is_believed(make: Any, scope: str, match: str, tmp_path: Path) -> None:
    async with serving(lies=False) as (_, port):
        done = await purge(make(port, tmp_path), scope, match)
    assert done["refetched"] > 0
    assert (tmp_path / "purges.json").exists()
