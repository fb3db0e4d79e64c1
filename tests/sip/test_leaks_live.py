"""A proxy and a relay, each with its driver, and calls by phones: what only one of the two has is found and mended."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, closing
from typing import Any

import pytest

from lab.voice.phone import Call, Phone
from nf.clock import RealClock
from nf.contracts.driver import Checkpoint, Context
from nf.telemetry.samples import Sample
from sip.findings import DELETED, ENDED, NO_DIALOG, NO_RELAY
from sip.kamailio import unheard
from sip.kamailio.documents import KamailioSection
from sip.kamailio.paths import CALLS_DB
from sip.operations import RELAY_REPORT
from sip.rtpengine import leaks
from sip.rtpengine.client import NgClient
from sip.rtpengine.documents import RtpengineSection
from sip.rtpengine.driver import RtpengineDriver
from sip.rtpengine.messages import call_ids, delete, list_calls, query, subscribe_answer, subscribe_request
from tests.headend.multicast.tree.network import Node, nodes
from tests.sip.kamailio import proxy as kamailio
from tests.sip.kamailio.proxy import ADDRESS, DOMAIN, PASSWORD, Bench
from tests.sip.rtpengine.live import Bench as RelayBench
from tests.sip.rtpengine.media import Party, sdp

pytestmark = [pytest.mark.root, pytest.mark.daemon]

RELAY, PHONE = "10.77.0.2", "10.77.0.5"
PROXY = {"id": "p1", "address": ADDRESS}


def of_proxy(**changed: Any) -> KamailioSection:
    relays = [{"id": "r1", "appliance": "k", "address": RELAY}]
    return kamailio.section(**{"relays": relays, "askers": [RELAY], **changed})


def of_relay(*proxies: dict[str, Any]) -> RtpengineSection:
    relay = {"id": "r1", "appliance": "k", "address": RELAY, "ports": [30000, 30999]}
    data = {"relay": relay, "peers": [ADDRESS], "proxies": proxies or (PROXY,), "source": RELAY}
    return RtpengineSection.model_validate(data)


@pytest.fixture(scope="module")
def machine(require_root: Callable[[], None], require_programs: Callable[..., None]) -> Iterator[Node]:
    require_root()
    require_programs("ip", "nsenter", "nft", "kamailio", "rtpengine")
    with nodes("k") as made:
        for address in (ADDRESS, RELAY, PHONE):
            made["k"].shell("ip", "address", "add", f"{address}/32", "dev", "lo")
        made["k"].supervise()
        yield made["k"]


@pytest.fixture(scope="module")
def core(machine: Node, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Bench, RelayBench]]:
    relay = RelayBench(machine)
    relay.commit(of_relay())
    with kamailio.bench(machine, tmp_path_factory.mktemp("core")) as proxy:
        machine.call(proxy.commit, of_proxy())
        yield proxy, relay
    relay.commit(None)


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look each half second, at calls that are a second old."""
    monkeypatch.setattr(RtpengineDriver, "older_than_s", 1.0)
    monkeypatch.setattr(leaks, "PERIOD_S", 0.5)
    monkeypatch.setattr("sip.rtpengine.driver.POLL_S", 0.2)
    monkeypatch.setattr("sip.kamailio.driver.POLL_S", 0.2)
    for name, value in (("PERIOD_S", 0.5), ("AGAIN_S", 0.5), ("YOUNG_S", 1)):
        monkeypatch.setattr(unheard, name, value)


def phone(user: str) -> Phone:
    return Phone(PHONE, 0, user, DOMAIN, PASSWORD, f"{ADDRESS}:5060")


@contextlib.asynccontextmanager
async def talking(alice: Phone, bob: Phone) -> AsyncIterator[tuple[Call, Call]]:
    one = await alice.call("bob")
    two = await bob.incoming()
    await two.answer()
    await one.answered()
    one.media.tone(440)
    two.media.tone(600)
    await one.media.packets(20)
    yield one, two


async def reported(driver: Any, found: str, done: str, call: str) -> None:
    """Until the driver's report has it; its events are read meanwhile, as the agent does."""

    async def read() -> None:
        async with aclosing(driver.events()) as events:
            async for _ in events:
                pass

    async def rows() -> Any:
        report = driver.operations[RELAY_REPORT]
        return (await report.run({}, Checkpoint({}, lambda _: None), Context(RealClock(), float("inf"))))["rows"]

    reading = asyncio.create_task(read())
    try:
        async with asyncio.timeout(60):
            while (call, found, done) not in {(one["call"], one["found"], one["done"]) for one in await rows()}:
                assert not reading.done()
                await asyncio.sleep(0.1)
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


async def looks(driver: Any, count: int, name: str = "sessions") -> dict[str, float]:
    """The values of the sample after so many."""
    events: Any
    async with aclosing(driver.events()) as events:
        async for event in events:
            if isinstance(event, Sample) and name in event.values:
                count -= 1
                if count <= 0:
                    return dict(event.values)
    raise AssertionError


def with_phones(machine: Node, work: Callable[[Phone, Phone], Awaitable[None]]) -> None:
    async def run() -> None:
        async with asyncio.timeout(100), phone("alice") as alice, phone("bob") as bob:
            await bob.register()
            await work(alice, bob)

    machine.call(run)


def test_a_call_without_its_dialog_is_deleted_and_no_other(core: tuple[Bench, RelayBench], machine: Node) -> None:
    """One call's dialog is lost with the proxy's database; one is up and listened to, one rings, one was just begun."""
    proxy, relay = core

    async def work(alice: Phone, bob: Phone) -> None:
        async with talking(alice, bob) as (lost, _):
            with closing(sqlite3.connect(proxy.driver.places.data / CALLS_DB, timeout=20)) as database, database:
                database.execute("DELETE FROM dialog")
                database.execute("DELETE FROM dialog_vars")
            before = await proxy.pid()
            machine.shell("kill", "-9", str(before))
            await proxy.driver.verify(of_proxy(), proxy.context())
            assert await proxy.pid() != before
            await bob.register()  # written every few seconds: the last registration may have died with the proxy
            async with talking(alice, bob) as (kept, _), NgClient(RELAY, 2223) as ng:
                told = await ng.ask(subscribe_request(kept.call_id, "listener"))
                await ng.ask(subscribe_answer(kept.call_id, "listener", str(told["sdp"])))
                ringing = await alice.call("bob")
                second = await bob.incoming()
                await ng.ask({"command": "offer", "call-id": "begun", "from-tag": "f", "sdp": sdp(PHONE, 4000)})
                await reported(relay.driver, NO_DIALOG, DELETED, lost.call_id)
                values = await looks(relay.driver, 20)
                assert (values["without_dialog"], values["untold"]) == (0.0, 0.0)
                left = call_ids(await ng.ask(list_calls()))
                assert {kept.call_id, ringing.call_id} <= {*left}
                assert lost.call_id not in left
                tags = (await ng.ask(query(kept.call_id)))["tags"]
                assert isinstance(tags, dict)
                assert "listener" in tags
                await second.answer()
                await ringing.answered()
                await ringing.hangup()
                await kept.hangup()

    with_phones(machine, work)


def test_nothing_is_deleted_while_a_proxy_does_not_tell(core: tuple[Bench, RelayBench], machine: Node) -> None:
    proxy, relay = core
    silent = {"id": "p2", "address": PHONE, "port": 5999}
    relay.commit(of_relay(PROXY, silent))

    async def work(alice: Phone, bob: Phone) -> None:
        async with NgClient(RELAY, 2223) as ng:
            await leaked(ng, "leak")
            values = await looks(relay.driver, 1)
            driver: Any = relay.driver
            async with aclosing(driver.events()) as events, asyncio.timeout(60):
                async for event in events:
                    if isinstance(event, Sample) and event.values["untold"]:
                        break
            assert "leak" in call_ids(await ng.ask(list_calls()))
            assert values["leaks_deleted"] == 0.0

    with_phones(machine, work)
    relay.commit(of_relay())

    async def mended() -> None:
        await reported(relay.driver, NO_DIALOG, DELETED, "leak")

    machine.call(mended)
    assert proxy.node.call(proxy.call, "dlg.stats_active")["all"] == 0


async def leaked(ng: NgClient, call_id: str) -> None:
    """A call at the relay that no proxy has ever seen."""
    one, two = Party(PHONE, 4100, 1), Party(PHONE, 4102, 2)
    await ng.ask({"command": "offer", "call-id": call_id, "from-tag": "f", "sdp": sdp(one.address, one.port)})
    answer = {"command": "answer", "call-id": call_id, "from-tag": "f", "to-tag": "t"}
    await ng.ask({**answer, "sdp": sdp(two.address, two.port)})


def test_a_call_that_its_relay_has_lost_is_ended_with_a_reason(core: tuple[Bench, RelayBench], machine: Node) -> None:
    proxy, _ = core

    async def work(alice: Phone, bob: Phone) -> None:
        made = talking(alice, bob), talking(alice, bob)
        async with NgClient(RELAY, 2223) as ng, made[0] as (lost, answered), made[1] as (kept, _):
            await ng.ask(delete(lost.call_id))
            await reported(proxy.driver, NO_RELAY, ENDED, lost.call_id)
            for one in (await lost.ended(), await answered.ended()):
                assert not one.local
                assert one.reason == 'Q.850;cause=41;text="media relay has lost the call"'
            assert kept.over is None
            await kept.media.packets(20)
            await kept.hangup()

    with_phones(machine, work)
