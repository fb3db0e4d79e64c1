"""What the live tests share: a proxy, a relay and the observation point between them, phones, and whoever asks it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

from lab.voice.phone import Phone
from nf.contracts.interception import Content, Event, EventKind, Identity, IdentityKind, InterceptionPoint, Order
from nf.errors import NfError
from sip.interception.client import connect
from sip.interception.documents import InterceptionSection
from sip.kamailio.documents import KamailioSection
from sip.kamailio.sets import relay_set
from tests.sip.kamailio.daemon import DOMAIN, PASSWORD, USERS, Proxy, Relay, section
from tests.sip.kamailio.daemon import until as wait_until

PROXY, RELAY, PHONES = "127.0.0.1", "127.0.0.2", "127.0.0.5"
NUMBER = "+493055501"
TARGET = f"sip:alice@{DOMAIN}"
LIMIT_S = 90.0


def wanted(**parts: Any) -> KamailioSection:
    return section(relays=[{"id": "r1", "appliance": "pop1", "address": RELAY}], **parts)


def observed(**parts: Any) -> InterceptionSection:
    relays = [{"group": relay_set("r1"), "address": RELAY, "control": 2223}]
    return InterceptionSection.model_validate({"address": PROXY, "relays": relays, **parts})


class Point:
    """The process, as its unit starts it. `as_user`: what starts it as another (setpriv); `caller`: its user's name."""

    as_user: tuple[str, ...] = ()
    caller = "nobody-here"

    def __init__(self, proxy: Proxy, wanted: InterceptionSection | None = None) -> None:
        self.run_dir, self.section = proxy.paths.run, wanted or observed()
        self.proxy = proxy
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        words = ("--section", self.section.model_dump_json(), "--run-dir", str(self.run_dir), "--caller", self.caller)
        argv = [*self.as_user, sys.executable, "-m", "sip.interception.process", *words]
        with (self.run_dir / "point.log").open("ab") as log:
            self.process = subprocess.Popen(argv, stdout=log, stderr=log, cwd=Path.cwd())
        wait_until(self.marked, what="the observation point does not come up")

    def marked(self) -> bool:
        try:
            return bool(self.proxy.rpc("htable.get", "ctl", "observed"))
        except (OSError, LookupError):
            return False

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(30)
            self.process = None


@contextmanager
def core(folder: Path, *options: str, **parts: Any) -> Iterator[tuple[Proxy, Relay, Point]]:
    """`options`: more of them for the relay."""
    proxy = Proxy(folder, wanted(**parts))
    relay = Relay(RELAY, folder, *options)
    point = Point(proxy)
    try:
        proxy.start()
        point.start()
        yield proxy, relay, point
    finally:
        point.stop()
        proxy.stop()
        relay.stop()


@asynccontextmanager
async def phones(*users: str) -> AsyncIterator[list[Phone]]:
    """Registered, each on a port of its own."""
    made = [
        Phone(
            PHONES,
            6000 + USERS.index(user),
            user,
            DOMAIN,
            PASSWORD,
            f"{PROXY}:5060",
            ports=(20000 + 200 * USERS.index(user), 20198 + 200 * USERS.index(user)),
        )
        for user in users
    ]
    try:
        for one in made:
            await one.register()
        yield made
    finally:
        for one in made:
            await one.close()


async def talk(caller: Phone, target: str, called: Phone) -> tuple[Any, Any]:
    """A call that is answered: (the caller's, the called's)."""
    call = await caller.call(target)
    other = await called.incoming()
    await other.answer()
    await call.answered()
    return call, other


def order(value: str = TARGET, reference: str = "x1", *, events: bool = True, content: str = "") -> Order:
    kind = IdentityKind.TEL_URI if value.startswith("tel:") else IdentityKind.SIP_URI
    return Order(reference, Identity(kind, value), events, content)


async def until(true: Callable[[], Awaitable[bool] | bool], what: Callable[[], Any] = lambda: "") -> None:
    """Awaits what becomes true; a limit for what never does."""
    end = asyncio.get_running_loop().time() + LIMIT_S
    while True:
        found = true()
        if found if isinstance(found, bool) else await found:
            return
        assert asyncio.get_running_loop().time() < end, what()
        await asyncio.sleep(0.02)


class Taker:
    """Takes all deliveries of a connection."""

    def __init__(self, point: InterceptionPoint) -> None:
        self.taken: list[Any] = []
        self.point = point
        self._task = asyncio.create_task(self._take(point))

    async def _take(self, point: InterceptionPoint) -> None:
        async for delivery in point.deliveries():
            self.taken.append(delivery)

    def of(self, kind: type[Any], reference: str = "") -> list[Any]:
        return [one for one in self.taken if isinstance(one, kind) and reference in {"", one.reference}]

    def events(self, kind: EventKind, reference: str = "") -> list[Event]:
        return [one for one in self.of(Event, reference) if one.kind is kind]

    async def event(self, kind: EventKind, count: int = 1, reference: str = "") -> Event:
        """The `count`-th of its kind, when it is there."""
        await until(lambda: len(self.events(kind, reference)) >= count, lambda: (kind, self.told()))
        return self.events(kind, reference)[count - 1]

    def told(self) -> list[tuple[str, Any]]:
        return [
            (one.kind.value, one.octets[:20] or one.details) if isinstance(one, Event) else (type(one).__name__, "")
            for one in self.taken
            if not isinstance(one, Content)
        ]

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


@asynccontextmanager
async def asking(point: Point, *, back: bool = False) -> AsyncIterator[Taker]:
    """`back`: it says that it comes back when it goes."""
    found: list[InterceptionPoint] = []

    async def there() -> bool:
        with suppress(NfError):
            found.append(await connect(point.run_dir))
        return bool(found)

    await until(there)
    taker = Taker(found[0])
    try:
        yield taker
    finally:
        await taker.stop()
        await taker.point.close(back=back)
