"""Caddy before a Traffic Server, as it runs: judged by aioquic over HTTP/3 and by curl over HTTP/2 and 1.1."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from nf.contracts.driver import State
from nf.errors import DriverError, RefusedError
from nf.media.documents import EdgeSection, Parent
from nf.media.edge.driver import create as create_edge
from nf.media.front.documents import FrontChannel, FrontSection
from nf.media.front.driver import PROGRAM, FrontDriver
from nf.media.front.render import HEALTH_PATH
from nf.media.shield.driver import create as create_shield
from nf.telemetry.samples import Sample
from tests.headend.multicast.tree.network import Node, commit, context, nodes, take_back
from tests.nf.media.cdn import BODY, EDGE, EDGE_PORT, HOST, edge_section, origin, shield_section
from tests.nf.media.front.h3 import fetch_h3
from tests.nf.media.pems import pem

pytestmark = [pytest.mark.root, pytest.mark.daemon]

PORT, FRONT = 8443, "127.0.1.20"
WRITTEN = "%{http_version} %{http_code} %{size_download}"
REFERENCE = "secret:cdn-tls"


def write_secret(place: Path, text: str) -> None:
    place.mkdir(exist_ok=True)
    file = place / "cdn-tls"
    file.touch(mode=0o600)
    file.write_text(text)


def front(*channels: str, address: str = FRONT) -> FrontSection:
    return FrontSection(
        listen=(IPv4Address(address),),
        port=PORT,
        certificates=(REFERENCE,),
        upstream=Parent(address=IPv4Address(EDGE), port=EDGE_PORT),
        channels=tuple(FrontChannel(channel=channel, host=HOST) for channel in channels),
        provides=("front",),
    )


@pytest.fixture(scope="module")
def node(require_programs: Callable[..., None]) -> Iterator[Node]:
    require_programs("traffic_manager", "varnishd", "curl")
    with nodes("pop1") as made:
        pop = made["pop1"]
        pop.supervise()
        write_secret(pop.state_dir / "secrets", pem(HOST))
        pop.call(commit, create_shield(pop.context()), shield_section("ch1", "ch2"))
        edge: EdgeSection = edge_section("ch1", "ch2")
        pop.call(commit, create_edge(pop.context()), edge)
        yield pop


@pytest.fixture
def driver(node: Node) -> Iterator[FrontDriver]:
    made = FrontDriver(node.context(), node.state_dir / "secrets")
    yield made
    node.call(commit, made, None)


def curl(node: Node, path: str, *options: str, host: str = HOST) -> str:
    resolve = ("--resolve", f"{host}:{PORT}:{FRONT}")
    return node.shell("curl", "-sk", "--max-time", "20", *resolve, *options, f"https://{host}:{PORT}{path}")


def test_every_version_of_http_gets_the_object(node: Node, driver: FrontDriver) -> None:
    async def three() -> None:
        async with origin():
            await commit(driver, front("ch1"))
            (answer,) = await fetch_h3(FRONT, PORT, HOST, "/ch1/a.m4s")
            assert (answer.status, answer.body) == (200, BODY)
            assert "ATS" in answer.headers.get("via", "") or "ApacheTrafficServer" in answer.headers.get("via", "")
            assert (await fetch_h3(FRONT, PORT, HOST, HEALTH_PATH))[0].status == 200

            for option, version in (("--http1.1", "1.1"), ("--http2", "2")):
                told = await asyncio.to_thread(curl, node, "/ch1/a.m4s", option, "-o", "/dev/null", "-w", WRITTEN)
                assert told == f"{version} 200 {len(BODY)}"
            assert f'h3=":{PORT}"' in await asyncio.to_thread(curl, node, "/ch1/a.m4s", "-I")

    node.call(three)


def test_only_what_players_send_goes_through(node: Node, driver: FrontDriver) -> None:
    async def all_of_them() -> None:
        async with origin():
            await commit(driver, front("ch1"))
            for method, host, path in (
                ("PURGE", HOST, "/ch1/a.m4s"),
                ("POST", HOST, "/ch1/a.m4s"),
                ("GET", HOST, "/_stats"),
                ("GET", HOST, "/ch2/a.m4s"),
                ("GET", "config.nf.invalid", "/"),
                ("GET", HOST, "/ch1/../_stats"),
            ):
                (answer,) = await fetch_h3(FRONT, PORT, host, path, method=method)
                assert answer.status == 404, (method, host, path)

    node.call(all_of_them)


def test_a_reload_under_load_loses_nothing(node: Node, driver: FrontDriver) -> None:
    async def load() -> None:
        async with origin():
            await commit(driver, front("ch1"))
            stop = asyncio.Event()

            async def ask(path: str) -> list[int]:
                found: list[int] = []
                while not stop.is_set():
                    found += [answer.status for answer in await fetch_h3(FRONT, PORT, HOST, path, times=50)]
                return found

            asking = [asyncio.create_task(ask(f"/ch1/{number}.m4s")) for number in range(3)]
            for number in range(6):
                await commit(driver, front("ch1", "ch2") if number % 2 == 0 else front("ch1"))
            stop.set()
            statuses = [status for task in asking for status in await task]
            assert len(statuses) >= 150
            assert set(statuses) == {200}

    node.call(load)


def test_a_renewed_certificate_is_a_drift_and_is_served_without_a_restart(node: Node, driver: FrontDriver) -> None:
    secrets = node.state_dir / "secrets"

    async def renew() -> tuple[int | None, int | None]:
        await commit(driver, front("ch1"))
        before = await node.context().units.status("caddy")
        write_secret(secrets, pem(HOST, "*.streamverse.test"))
        (step,) = driver.plan(await driver.observe(), front("ch1"))
        assert step.disruption == ""
        await commit(driver, front("ch1"))
        after = await node.context().units.status("caddy")
        return before.pid if before else None, after.pid if after else None

    before, after = node.call(renew)
    assert before == after is not None
    connect, show = (
        f"openssl s_client -connect {FRONT}:{PORT} -servername {HOST}",
        "openssl x509 -noout -ext subjectAltName",
    )
    shown = node.shell(
        "sh",
        "-c",
        f"{connect} </dev/null 2>/dev/null | {show}",
    )
    assert "*.streamverse.test" in shown
    assert len(list((node.run_dir / "cdn-front/tls").iterdir())) == 1


def test_what_would_not_work_is_refused_and_changes_nothing(node: Node, driver: FrontDriver) -> None:
    secrets = node.state_dir / "secrets"
    good = (secrets / "cdn-tls").read_text()

    async def refuse(text: str, told: str) -> None:
        write_secret(secrets, text)
        steps = driver.plan(await driver.observe(), front("ch1"))
        with pytest.raises(RefusedError, match=told):
            await driver.check(steps, front("ch1"))

    node.call(refuse, pem("other.test"), "no certificate is for cdn.streamverse.test")
    node.call(refuse, pem(HOST, days=-1), "its time is over")
    node.call(
        refuse,
        good.partition("-----BEGIN PRIVATE KEY")[0] + pem(HOST).partition("-----END CERTIFICATE-----\n")[2],
        "the key is not",
    )
    node.call(refuse, "nothing", "not a certificate")
    assert node.call(driver.observe) == State(None)
    write_secret(secrets, good)


def test_a_foreign_configuration_is_seen_and_mended(node: Node, driver: FrontDriver) -> None:
    async def change() -> None:
        await commit(driver, front("ch1"))
        running = await driver._caddy.running()
        assert running is not None
        changed = json.loads(json.dumps(running).replace('"GET"', '"PURGE"'))
        await driver._caddy.load(changed)
        drift = await driver.verify(front("ch1"), context(1.0))
        assert drift.differences == ("Caddy runs another configuration",)
        await commit(driver, front("ch1"))
        with pytest.raises(DriverError, match="did not take"):
            await driver._caddy.load({"apps": {"nothing": {}}})
        await commit(driver, front("ch1"))  # it took the place from which it is administered with it
        assert await driver._caddy.running() == running
        async for event in driver.events():
            assert isinstance(event, Sample)
            assert event.kind == "cdn.front"
            break

    node.call(change)


def test_what_was_made_is_taken_back(node: Node, driver: FrontDriver) -> None:
    async def there_and_back() -> None:
        undos = await commit(driver, front("ch1"))
        second = await commit(driver, front("ch1", "ch2", address="127.0.1.21"))
        await take_back(driver, second)
        assert (await driver.observe()).value == front("ch1").to_json()
        await take_back(driver, undos)
        assert await driver.observe() == State(None)

    assert PROGRAM.exists()
    node.call(there_and_back)
