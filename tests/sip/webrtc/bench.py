"""A driver of the WebRTC edge in a network namespace of its own with a supervisor, and what its tests want of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Generic, TypeVar

from nf.clock import RealClock
from nf.contracts.driver import Checkpoint, Context, DriverContext, Event, Step, Undo
from nf.contracts.json import JsonObject
from nf.trust.secrets import SecretFiles
from sip.webrtc.daemon import Daemon
from sip.webrtc.documents import EdgeSection, JanusSection, TurnSection
from sip.webrtc.driver import WebrtcDriver
from tests.headend.multicast.tree.network import Node

ADDRESS, RELAY, ELSEWHERE, GATEWAY = "10.77.0.1", "10.77.0.2", "10.77.0.9", "10.77.1.1"
DOMAIN = "voice.streamverse.test"
SECRET, OTHER = "only-for-these-tests-0123456789", "another-one-for-tests-987654321"
S = TypeVar("S", bound=EdgeSection)


def janus(**changed: Any) -> JanusSection:
    gateway = {"id": "g1", "appliance": "w", "address": GATEWAY, "secret": "secret:webrtc", "ports": [21000, 21999]}
    return JanusSection.model_validate({"gateway": {**gateway, **changed}, "provides": ["w.voice.webrtc"]})


def turn(peers: tuple[str, ...] = (RELAY,), **changed: Any) -> TurnSection:
    server = {
        "id": "t1",
        "appliance": "w",
        "address": ADDRESS,
        "secret": "secret:turn",
        "ports": [49200, 49299],
        "allocations": 90,
    }
    section = {"turn": {**server, **changed}, "realm": DOMAIN, "peers": peers, "provides": ["w.voice.turn"]}
    return TurnSection.model_validate(section)


class Bench(Generic[S]):
    """What the engine does."""

    def __init__(self, node: Node, folder: Path, make: Callable[[DriverContext], Daemon[S]]) -> None:
        self.node = node
        self.secrets = folder / "secrets"
        self.secrets.mkdir(mode=0o700, exist_ok=True)
        self.keep("webrtc", SECRET)
        self.keep("turn", SECRET)
        self.daemon = make(node.context())
        self.driver = WebrtcDriver(node.context(), self.daemon, self.secrets)

    def keep(self, name: str, text: str) -> None:
        path = self.secrets / name
        path.write_text(text)
        path.chmod(0o600)

    def context(self, seconds: float = 120.0) -> Context:
        clock = RealClock()
        return Context(clock, clock.monotonic() + seconds, resolve_secret=SecretFiles(self.secrets))

    def commit(self, want: S | None) -> tuple[tuple[Step, ...], list[Undo]]:
        return self.node.call(self._commit, want)

    async def _commit(self, want: S | None) -> tuple[tuple[Step, ...], list[Undo]]:
        steps = self.driver.plan(await self.driver.observe(), want)
        await self.driver.check(steps, want)
        undos = []
        for step in steps:
            undos.append(await self.driver.prepare(step))
            await self.driver.apply(step, self.context())
        assert (await self.driver.verify(want, self.context())).differences == ()
        assert self.driver.plan(await self.driver.observe(), want) == ()
        return steps, undos

    def undo(self, undos: list[Undo]) -> None:
        for one in undos:
            self.node.call(self.driver.undo, one, self.context())

    def observe(self) -> JsonObject | None:
        return self.node.call(self.driver.observe).value

    def pid(self) -> int:
        status = self.node.call(self.driver._units.status, self.daemon.unit)
        assert status is not None
        assert status.pid is not None
        return status.pid

    def until(self, true: Callable[[], Any], seconds: float = 90.0) -> Any:
        ends = time.monotonic() + seconds
        while not (found := true()):
            assert time.monotonic() < ends, "it did not come to be"
            time.sleep(0.1)
        return found

    def drain(self, arguments: JsonObject) -> JsonObject:
        return self.node.call(self.draining, arguments)

    async def draining(self, arguments: JsonObject, saved: asyncio.Queue[JsonObject] | None = None) -> JsonObject:
        kept = saved or asyncio.Queue()
        return await self.driver.operations["voice-drain"].run(
            arguments, Checkpoint({}, kept.put_nowait), self.context()
        )

    def happened(self) -> list[Event]:
        """Samples and alarms of one round."""

        async def round_() -> list[Event]:
            section = self.driver.standing()
            drained = section is not None and self.driver._is_drained(section)
            secrets = SecretFiles(self.secrets)
            return [*await self.daemon.events(section, secrets, RealClock().now(), drained=drained)]

        return self.node.call(round_)


@contextmanager
def bench(node: Node, folder: Path, make: Callable[[DriverContext], Daemon[S]]) -> Iterator[Bench[S]]:
    made = Bench(node, folder, make)
    yield made
    made.commit(None)
    assert not made.driver.places.config.exists()
