"""Janus under a real supervisor: who may use it, what is told and what restarts, and what a drain leaves alone."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import signal
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect

from nf.contracts.json import JsonObject
from nf.errors import RefusedError
from nf.telemetry.alarms import AlarmEvent, Severity
from nf.telemetry.samples import Sample
from nf.trust.secrets import SecretFiles
from sip.kamailio.certificate import self_signed
from sip.webrtc.credentials import janus_token
from sip.webrtc.documents import JanusSection
from sip.webrtc.janus.admin import JanusAdmin
from sip.webrtc.janus.gateway import JanusGateway
from tests.headend.multicast.tree.network import Node
from tests.sip.webrtc.bench import GATEWAY, OTHER, SECRET, Bench, bench, janus

pytestmark = [pytest.mark.root, pytest.mark.daemon]
PLUGINS = ("audiobridge", "echotest", "sip", "videoroom")


@pytest.fixture(scope="module")
def running(
    machine: Node, tmp_path_factory: pytest.TempPathFactory, require_programs: Callable[..., None]
) -> Iterator[Bench[JanusSection]]:
    require_programs("janus")
    with bench(machine, tmp_path_factory.mktemp("janus"), JanusGateway) as made:
        yield made


@pytest.fixture
def gateway(running: Bench[JanusSection]) -> Iterator[Bench[JanusSection]]:
    running.commit(janus())
    yield running
    running.keep("webrtc", SECRET)
    with contextlib.suppress(RefusedError):
        running.drain({"end": True})


class Browser:
    """Janus' API over a WebSocket."""

    def __init__(self, connection: ClientConnection, token: str) -> None:
        self.connection, self.token = connection, token
        self.session: int | None = None

    async def ask(self, verb: str, **more: Any) -> dict[str, Any]:
        mark = secrets.token_hex(4)
        known = {"session_id": self.session} if self.session is not None else {}
        text = json.dumps({"janus": verb, "transaction": mark, "token": self.token, **known, **more})
        await self.connection.send(text)
        while True:
            answer: dict[str, Any] = json.loads(await self.connection.recv())
            if answer.get("transaction") == mark:
                return answer

    async def begin(self) -> dict[str, Any]:
        answer = await self.ask("create")
        if answer["janus"] == "success":
            self.session = answer["data"]["id"]
        return answer

    async def attach(self, plugin: str) -> dict[str, Any]:
        return await self.ask("attach", plugin=f"janus.plugin.{plugin}")


@asynccontextmanager
async def browser(
    secret: str = SECRET, plugins: tuple[str, ...] = PLUGINS, good_s: float = 600.0, scheme: str = "ws"
) -> AsyncIterator[Browser]:
    trust = None
    if scheme == "wss":
        trust = ssl.create_default_context()
        trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
    address = f"{scheme}://{GATEWAY}:8188"
    async with connect(address, subprotocols=["janus-protocol"], ssl=trust, proxy=None) as connection:  # type: ignore[list-item]
        yield Browser(connection, janus_token(secret, plugins, time.time() + good_s))


async def begun(**how: Any) -> str:
    async with browser(**how) as made:
        answer = await made.begin()
        return "success" if answer["janus"] == "success" else str(answer["error"]["reason"])


def test_it_comes_up_with_what_was_asked_for(gateway: Bench[JanusSection]) -> None:
    state = gateway.node.call(gateway.driver.observe)
    assert state.facts == {"w.voice.webrtc"}
    assert state.value == janus().to_json() | {"load": 0}
    told = gateway.node.call(JanusAdmin(7889, gateway.driver.places.own_secret()).ask, "info")
    assert {*told["plugins"]} == {f"janus.plugin.{name}" for name in PLUGINS}  # type: ignore[misc]
    assert {*told["transports"]} == {"janus.transport.http", "janus.transport.websockets"}  # type: ignore[misc]
    listening = gateway.node.shell("ss", "-Hlntu", "-p")
    places = [line.split()[4] for line in listening.splitlines() if '"janus"' in line]
    assert sorted(places) == [f"{GATEWAY}:8188", "127.0.0.1:7889"]
    with pytest.raises(RefusedError, match="Unauthorized"):
        gateway.node.call(JanusAdmin(7889, "a guess").ask, "list_sessions")


def test_a_session_wants_a_token_that_is_good(gateway: Bench[JanusSection]) -> None:
    assert gateway.node.call(begun) == "success"

    async def refused(**how: Any) -> str:
        return await begun(**how)

    async def cases() -> list[str]:
        return [await refused(secret=OTHER), await refused(good_s=-60.0)]

    assert all("Unauthorized" in reason for reason in gateway.node.call(cases))

    async def another_plugin() -> tuple[str, str]:
        async with browser(plugins=("echotest",)) as made:
            await made.begin()
            return (await made.attach("echotest"))["janus"], (await made.attach("videoroom"))["janus"]

    assert gateway.node.call(another_plugin) == ("success", "error")


def test_secrets_are_in_files_of_its_own_and_in_no_log(gateway: Bench[JanusSection]) -> None:
    for path in gateway.driver.places.config.iterdir():
        assert path.stat().st_mode & 0o007 == 0
        assert SECRET.encode() not in path.read_bytes() or path.name == "janus.jcfg"
    own = gateway.driver.places.own_secret()
    assert own not in json.dumps(gateway.observe())
    assert gateway.driver.places.run.stat().st_mode & 0o007 == 0
    assert SECRET not in "\n".join(gateway.node.call(gateway.driver._units.log, "janus", 1000))
    assert SECRET not in json.dumps(gateway.observe())


def test_a_secret_that_was_replaced_is_a_restart(gateway: Bench[JanusSection]) -> None:
    before = gateway.pid()
    gateway.keep("webrtc", OTHER)
    (step,), _ = gateway.commit(janus())
    assert step.kind == "webrtc.run"
    assert step.summary == "restart WebRTC gateway g1: secret:webrtc was replaced"
    assert gateway.pid() != before
    assert gateway.node.call(lambda: begun(secret=OTHER)) == "success"
    gateway.keep("webrtc", "too short")
    assert gateway.driver.plan(gateway.node.call(gateway.driver.observe), janus()) == ()


def test_plugins_and_tls_are_a_restart_and_undone_by_one(gateway: Bench[JanusSection]) -> None:
    gateway.keep("pem", self_signed([GATEWAY]))
    (step,), undos = gateway.commit(janus(plugins=["echotest"], certificate="secret:pem"))
    assert step.summary == "restart WebRTC gateway g1: other plugins, certificate"
    assert step.disruption == "0 sessions of WebRTC gateway end; whoever had them begins anew"
    assert gateway.node.call(lambda: begun(scheme="wss", plugins=("echotest",))) == "success"
    gateway.undo(undos)
    assert gateway.node.call(begun) == "success"
    assert gateway.driver.plan(gateway.node.call(gateway.driver.observe), janus()) == ()
    assert not (gateway.driver.places.config / "certificate.pem").exists()


def test_a_drain_leaves_sessions_alone_and_outlives_a_crash(gateway: Bench[JanusSection]) -> None:

    async def scene() -> JsonObject:
        saved: asyncio.Queue[JsonObject] = asyncio.Queue()
        async with browser() as talking:
            await talking.begin()
            draining = asyncio.create_task(gateway.draining({"wait_s": 90}, saved))
            await saved.get()
            assert await begun() != "success"
            assert (await talking.attach("echotest"))["janus"] == "success"
            assert not draining.done()
            await talking.ask("destroy")
            return await draining

    result = gateway.node.call(scene)
    assert (result["left"], result["before"]) == (0, 1)
    alarms = [one for one in gateway.happened() if isinstance(one, AlarmEvent)]
    assert [(one.cause, one.severity) for one in alarms] == [("webrtc-gateway-drained", Severity.WARNING)]
    before = gateway.pid()
    os.kill(before, signal.SIGKILL)
    gateway.until(lambda: (found := _pid(gateway)) is not None and found != before)
    # One that starts anew takes sessions: whoever watches it sees that it was to be drained.
    (step,), _ = gateway.commit(janus())
    assert step.summary == "WebRTC gateway g1, without a restart: drain"
    assert gateway.node.call(begun) != "success"
    gateway.drain({"end": True})
    assert gateway.node.call(begun) == "success"


def _pid(gateway: Bench[JanusSection]) -> int | None:
    status = gateway.node.call(gateway.driver._units.status, "janus")
    return status.pid if status is not None and status.state.value == "ready" else None


def test_what_the_document_drains_no_operation_ends(gateway: Bench[JanusSection]) -> None:
    (step,), undos = gateway.commit(janus(drained=True))
    assert (step.kind, step.disruption) == ("webrtc.tell", "")
    assert gateway.node.call(begun) != "success"
    with pytest.raises(RefusedError, match="drained by the fleet's document"):
        gateway.drain({"end": True})
    gateway.undo(undos)
    assert gateway.node.call(begun) == "success"


def stands_still(pid: int) -> bool:
    stats = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/stat")]
    return all(one.rpartition(")")[2].split()[0] == "T" for one in stats)


def test_one_that_hangs_is_silent(gateway: Bench[JanusSection]) -> None:
    gateway.happened()
    (sample,) = gateway.happened()
    assert isinstance(sample, Sample)
    assert (sample.kind, sample.values["up"], sample.values["sessions"]) == ("sip.webrtc", 1.0, 0.0)
    os.kill(gateway.pid(), signal.SIGSTOP)
    try:
        while not stands_still(gateway.pid()):
            pass
        sample, alarm = gateway.happened()
    finally:
        os.kill(gateway.pid(), signal.SIGCONT)
    assert isinstance(sample, Sample)
    assert sample.values["up"] == 0.0
    assert isinstance(alarm, AlarmEvent)
    assert (alarm.cause, alarm.severity) == ("webrtc-gateway-silent", Severity.CRITICAL)
    _, alarm = gateway.happened()
    assert isinstance(alarm, AlarmEvent)
    assert alarm.severity is Severity.CLEARED


def test_it_can_be_administered_after_each_of_many_starts(gateway: Bench[JanusSection]) -> None:
    async def starts() -> list[str]:
        found = []
        for _ in range(20):
            await gateway.driver._units.restart("janus")
            live = await gateway.daemon.read(janus(), SecretFiles(gateway.secrets), drained=False)
            found.append(live.fault)
        return found

    assert gateway.node.call(starts) == [""] * 20
