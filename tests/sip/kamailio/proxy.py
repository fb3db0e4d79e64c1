"""A proxy of the driver's, in a network namespace of its own with a supervisor, and what the tests want of it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nf.clock import RealClock
from nf.contracts.driver import Context, Step, Undo
from nf.contracts.json import Json
from nf.trust.secrets import SecretFiles
from sip.kamailio.documents import KamailioSection
from sip.kamailio.driver import KamailioDriver
from tests.headend.multicast.tree.network import Node

ADDRESS = "10.77.0.1"
DOMAIN = "voice.streamverse.test"
PASSWORD = "correct horse"


def account(user: str, password: str = PASSWORD, domain: str = DOMAIN) -> str:
    digest = hashlib.md5(f"{user}:{domain}:{password}".encode()).hexdigest()  # noqa: S324 - RFC 2617
    return f"{user}:{domain}:{digest}"


def section(**changed: Any) -> KamailioSection:
    """Two relays and two media servers that nobody runs, and a trunk. `changed`: keys of the section."""
    data: dict[str, Any] = {
        "proxy": {"id": "p1", "appliance": "k", "address": ADDRESS, "workers": 2},
        "domains": [DOMAIN],
        "accounts": "secret:voice-accounts",
        "relays": [
            {"id": "r1", "appliance": "k", "address": "10.77.0.2"},
            {"id": "r2", "appliance": "l", "address": "10.77.0.3"},
        ],
        "media_servers": [
            {"id": "m1", "appliance": "k", "address": "10.77.0.11", "password": "secret:esl"},
            {"id": "m2", "appliance": "l", "address": "10.77.0.12", "password": "secret:esl"},
        ],
        "services": [{"number": "9001", "kind": "echo"}],
        "trunks": [{"id": "carrier", "gateways": [{"address": "10.77.0.21"}]}],
        "plan": [{"prefix": "00", "trunks": ["carrier"], "strip": 2, "prepend": "+"}],
        "emergency": {"numbers": ["112"], "trunks": ["carrier"]},
        "subscribers": [{"user": "alice", "domain": DOMAIN, "numbers": ["+4930100"]}],
        "provides": ["k.voice.proxy"],
    }
    return KamailioSection.model_validate({**data, **changed})


class Bench:
    """What the engine does, on a node whose secrets are files of the test."""

    def __init__(self, node: Node, folder: Path) -> None:
        self.node = node
        self.secrets = folder / "secrets"
        self.secrets.mkdir(mode=0o700, exist_ok=True)
        self.keep("voice-accounts", "\n".join(map(account, ("alice", "bob"))) + "\n")
        self.driver = KamailioDriver(node.context(), self.secrets)

    def keep(self, name: str, text: str) -> None:
        path = self.secrets / name
        path.write_text(text)
        path.chmod(0o600)

    def context(self, seconds: float = 120.0) -> Context:
        clock = RealClock()
        return Context(clock, clock.monotonic() + seconds, resolve_secret=SecretFiles(self.secrets))

    async def commit(self, want: KamailioSection | None) -> tuple[tuple[Step, ...], list[Undo]]:
        steps = self.driver.plan(await self.driver.observe(), want)
        await self.driver.check(steps, want)
        undos = []
        for step in steps:
            undos.append(await self.driver.prepare(step))
            await self.driver.apply(step, self.context())
        assert (await self.driver.verify(want, self.context())).differences == ()
        assert self.driver.plan(await self.driver.observe(), want) == ()
        return steps, undos

    async def call(self, method: str, *parameters: str | int) -> Any:
        found: Json = await self.driver.rpc().call(method, *parameters, timeout_s=30.0)
        return found

    async def hash(self, name: str) -> dict[str, str | int]:
        found = await self.call("htable.dump", name)
        return {slot["name"]: slot["value"] for entry in found for slot in entry["slot"]}

    async def pid(self) -> int:
        status = await self.driver._units.status("kamailio")
        assert status is not None
        assert status.pid is not None
        return status.pid


@contextmanager
def bench(node: Node, folder: Path) -> Iterator[Bench]:
    made = Bench(node, folder)
    yield made
    node.call(made.commit, None)
    assert not made.driver.places.config.exists()
