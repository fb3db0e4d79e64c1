"""Who is observed cannot be told: neither from a call nor from what proxy and relay say to others."""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import sqlite3
import statistics
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from nf.contracts.interception import EventKind
from nf.errors import DeniedError, NfError
from sip.interception.client import connect
from sip.kamailio import rpc_gate
from sip.kamailio.rpc import RpcClient
from sip.kamailio.rpc_filter import READS, TABLES
from sip.naming import RPC_PORT, rpc_url
from tests.sip.interception.world import PROXY, Point, asking, core, order, phones, talk
from tests.sip.kamailio.daemon import DOMAIN, PASSWORD, Proxy, Relay, until
from tests.sip.kamailio.phones import Endpoint

pytestmark = [pytest.mark.root, pytest.mark.daemon]

CALLS = 24
HIDDEN = ("obt", "obc", "obs", "obq")


@pytest.fixture(scope="module")
def machine(
    require_root: Callable[[], None],
    require_programs: Callable[..., None],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Proxy, Relay, Point]]:
    require_root()
    require_programs("kamailio", "rtpengine")
    with core(tmp_path_factory.mktemp("u")) as made:
        yield made


def _http(body: bytes) -> str:
    asked = urllib.request.Request(rpc_url(RPC_PORT), body, {"Content-Type": "application/json"})  # noqa: S310
    try:
        with urllib.request.urlopen(asked, timeout=20) as answer:  # noqa: S310 - ours
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        return f"HTTP {error.code}"


async def _datagram(path: Path, folder: Path, request: dict[str, Any]) -> Any:
    def ask() -> Any:
        own = folder / f"k{time.monotonic_ns()}"
        with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as sock:
            sock.bind(str(own))
            sock.settimeout(20)
            sock.sendto(json.dumps(request).encode(), str(path))
            return json.loads(sock.recv(1 << 18))

    return await asyncio.to_thread(ask)


def test_nothing_that_others_may_ask_shows_it(machine: tuple[Proxy, Relay, Point], tmp_path: Path) -> None:
    proxy, relay, point = machine
    names = {"x1-secret", *HIDDEN}

    async def shown(rpc: RpcClient, gate: Path) -> dict[str, str]:
        """All that can be asked, by every way."""
        found: dict[str, str] = {}
        asked: list[tuple[str, tuple[str, ...]]] = [(method, ()) for method in sorted(READS)]
        asked += [("htable.dump", (name,)) for name in (*TABLES, *HIDDEN)]
        asked += [("htable.get", (name, f"alice@{DOMAIN}")) for name in HIDDEN]
        asked += [("stats.get_statistics", ("all",)), ("dlg.list", ()), ("rtpengine.show", ("all",))]
        asked += [("htable.listTables", ()), ("htable.stats", ()), ("mqueue.get_sizes", ()), ("mqueue.fetch", ("obq",))]
        for method, parameters in asked:
            key = f"{method} {parameters}"
            try:
                found[f"client {key}"] = json.dumps(await rpc.call(method, *parameters))
            except NfError as error:
                found[f"client {key}"] = str(error)
            request = {"jsonrpc": "2.0", "method": method, "params": [*parameters], "id": 1}
            found[f"gate {key}"] = json.dumps(await _datagram(gate, tmp_path, request))
            body = json.dumps(request, separators=(",", ":")).encode()
            found[f"http {key}"] = await asyncio.to_thread(_http, body)
            found[f"http spaced {key}"] = await asyncio.to_thread(_http, json.dumps(request).encode())
        found["metrics"] = await asyncio.to_thread(_metrics)
        return found

    async def run() -> None:
        rpc = RpcClient(proxy.paths.rpc_socket, proxy.paths.run / "people", rpc_url(RPC_PORT))
        gate = proxy.paths.run / "people.sock"
        async with rpc_gate.serving(rpc, gate), phones("alice", "bob") as (alice, bob):
            call, _ = await talk(alice, "bob", bob)
            without = await shown(rpc, gate)
            async with asking(point) as taker:
                await taker.point.activate(order(reference="x1-secret", content="media"))
                await taker.event(EventKind.SESSION_STANDING)
                assert "alice" in str(proxy.rpc("htable.dump", "obt"))  # whoever may ask the raw socket sees it
                found = await shown(rpc, gate)
            await call.hangup()
        rpc.close()
        assert found.keys() == without.keys()
        for key, text in found.items():
            assert not _named(names, text.replace(key.split()[-1], "")), (key, text[:300])
            if "htable" in key or "mqueue" in key:
                assert _plain(text) == _plain(without[key]), key
        assert "HTTP 404" in found["http mqueue.fetch ('obq',)"]

    asyncio.run(run())
    for text in (proxy.text(), (point.run_dir / "point.log").read_text()):
        assert not _named(names, text)
    for file in ("calls.db", "location.db", "settings.db"):
        with closing(sqlite3.connect(proxy.folder / file)) as database:
            dumped = "\n".join(database.iterdump())
        assert not _named(names, dumped)
    until(lambda: not relay.sessions(), 20.0)  # before it would by itself, of calls without media


def _named(names: set[str], text: str) -> list[str]:
    return [name for name in names if re.search(rf"\b{name}\b", text)]


def _metrics() -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{RPC_PORT}/metrics", timeout=20) as answer:
        return str(answer.read().decode())


def _plain(text: str) -> str:
    """Without what counts time and requests."""
    return re.sub(r"\d{4,}|\d+\.\d+", "N", text) if "'rate'" not in text else ""


def _normal(text: str) -> str:
    text = re.sub(r"(branch|tag|did|nonce|nc|cnonce|response|ftag|received|nf)=[^;,>\s]*", r"\1=", text)
    text = re.sub(r"(?m)^(Call-ID|Date|Content-Length): .*$", r"\1:", text)
    return re.sub(r"(?m)^(o=- )\d+ \d+|(?<=m=audio )\d+|(?<=a=rtcp:)\d+", r"\1", text)


def test_caller_and_called_hear_the_same_and_as_soon(machine: tuple[Proxy, Relay, Point]) -> None:
    point = machine[2]

    def one(caller: Endpoint) -> float:
        began = time.monotonic()
        call = caller.invite(f"alice@{DOMAIN}", f"sip:bob@{DOMAIN}", PASSWORD)
        took = time.monotonic() - began
        assert call.code == 200
        call.bye()
        return took

    async def run() -> tuple[dict[bool, list[list[str]]], dict[bool, list[float]]]:
        heard: dict[bool, list[list[str]]] = {True: [], False: []}
        times: dict[bool, list[float]] = {True: [], False: []}
        with Endpoint("127.0.0.5", 6100, (PROXY, 5060)) as caller, Endpoint("127.0.0.5", 6101, (PROXY, 5060)) as called:
            for phone, user in ((caller, "alice"), (called, "bob")):
                assert (await asyncio.to_thread(phone.register, user, DOMAIN, PASSWORD)).code == 200
            async with asking(point) as taker:
                for number in range(CALLS):
                    on = number % 2 == 1
                    if on:
                        await taker.point.activate(order(content="media"))
                    del caller.heard[:], called.heard[:]
                    times[on].append(await asyncio.to_thread(one, caller))
                    messages = [one for one in (*caller.heard, *called.heard) if one.method != "OPTIONS"]  # pings
                    heard[on].append(sorted(_normal(message.text) for message in messages))
                    if on:
                        await taker.event(EventKind.SESSION_END, number // 2 + 1)
                    await taker.point.deactivate("x1")
        return heard, times

    heard, times = asyncio.run(run())
    # Workers may pass one another, so that 180 is not always sent on: what is sent at all is the same.
    without, observed = ({text for one in heard[on] for text in one} for on in (False, True))
    assert without == observed
    assert {len(one) for one in heard[True]} <= {len(one) + by for one in heard[False] for by in (-1, 0, 1)}
    off, on = (statistics.median(times[key]) for key in (False, True))
    print(f"    from INVITE to the answer: {off * 1e3:.2f} ms, observed {on * 1e3:.2f} ms (median of {CALLS // 2})")
    assert on < off * 1.5 + 0.02


def test_another_user_is_shut_out_and_the_one_that_may_ask_is_not(machine: tuple[Proxy, Relay, Point]) -> None:
    point = machine[2]
    path = point.run_dir / "sip-interception" / "point.sock"
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o666)
    for folder in (point.run_dir, *point.run_dir.parents):
        if folder.stat().st_mode & 0o001 == 0:
            folder.chmod(folder.stat().st_mode | 0o011)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.setgid(65534)
            os.setuid(65534)
            asyncio.run(connect(point.run_dir))
        except DeniedError:
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    path.chmod(0o600)
