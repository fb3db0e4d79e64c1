"""What the live tests share: a proxy of the driver's and a relay in a namespace, phones, and whoever asks the point."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from lab.voice.phone import Phone
from nf.contracts.interception import Identity, IdentityKind, InterceptionPoint, Order
from sip.interception.documents import InterceptionSection
from sip.kamailio.documents import KamailioSection
from tests.headend.multicast.tree.network import Node
from tests.sip.kamailio.proxy import ADDRESS, DOMAIN, PASSWORD, Bench, account, section

RELAY = "10.77.0.2"
ADDRESSES = (ADDRESS, RELAY, "10.77.0.3", "10.77.0.11", "10.77.0.12", "10.77.0.21")
USERS = ("alice", "bob", "carol", "dave")
HOME = "10.77.0.{}"
NUMBER = "+4930100"
LIMIT_S = 90.0


def voice() -> KamailioSection:
    """One relay, no media server; alice has a number."""
    return section(
        relays=[{"id": "r1", "appliance": "k", "address": RELAY, "ports": [30000, 31999]}],
        media_servers=[],
        services=[],
        topology_hiding=False,
        protection={"density": 60000, "failures": 1000},
    )


def observed(**changed: Any) -> InterceptionSection:
    data: dict[str, Any] = {
        "address": ADDRESS,
        "numbers": {NUMBER: f"alice@{DOMAIN}"},
        "relays": [{"group": 1000, "address": RELAY, "control": 2223}],
    }
    return InterceptionSection.model_validate({**data, **changed})


@contextmanager
def relay(node: Node, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    argv = (
        "nsenter", f"--net=/run/netns/{node.namespace}", "rtpengine", "-f", "-E", "-L", "5", "--table=-1",
        f"--interface={RELAY}", f"--listen-ng={RELAY}:2223", "--listen-http=127.0.0.1:9901",
        "--port-min=30000", "--port-max=31999", "--delete-delay=0",
    )  # fmt: skip
    with log.open("wb") as file:
        process = subprocess.Popen(argv, stdout=file, stderr=file)
        try:
            yield process
        finally:
            process.terminate()
            process.wait(20)


def accounts(bench: Bench) -> None:
    bench.keep("voice-accounts", "\n".join(map(account, USERS)) + "\n")


@asynccontextmanager
async def phones(*users: str) -> AsyncIterator[list[Phone]]:
    """Registered, each on a port of its own."""
    made = [
        Phone(HOME.format(11), 6000 + USERS.index(user), user, DOMAIN, PASSWORD, f"{ADDRESS}:5060", ports=ports)
        for user, ports in zip(users, ((20000 + 200 * at, 20198 + 200 * at) for at in range(9)), strict=False)
    ]
    try:
        for one in made:
            await one.register()
        yield made
    finally:
        for one in made:
            await one.close()


def order(
    value: str = f"sip:alice@{DOMAIN}", reference: str = "x1", *, events: bool = True, content: str = ""
) -> Order:
    kind = IdentityKind.TEL_URI if value.startswith("tel:") else IdentityKind.SIP_URI
    return Order(reference, Identity(kind, value), events, content)


async def until(true: Callable[[], Awaitable[bool] | bool]) -> None:
    """Awaits what becomes true; a limit for what never does."""
    async with asyncio.timeout(LIMIT_S):
        while True:
            found = true()
            if found if isinstance(found, bool) else await found:
                return
            await asyncio.sleep(0.02)


class Taker:
    """Takes all deliveries of a connection."""

    def __init__(self, point: InterceptionPoint) -> None:
        self.taken: list[Any] = []
        self._task = asyncio.create_task(self._take(point))

    async def _take(self, point: InterceptionPoint) -> None:
        async for delivery in point.deliveries():
            self.taken.append(delivery)

    def of(self, kind: type[Any]) -> list[Any]:
        return [one for one in self.taken if isinstance(one, kind)]

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
