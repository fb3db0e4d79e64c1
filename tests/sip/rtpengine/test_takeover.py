"""Two real relays on one segment, with a real store and real keepalived: one dies in the middle of a call."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, aclosing
from itertools import chain
from typing import Any

import pytest

from nf.contracts.driver import Checkpoint
from nf.telemetry.samples import Sample
from sip.findings import DELETED, NO_KEYS
from sip.operations import RELAY_REPORT
from sip.rtpengine.client import NgClient
from sip.rtpengine.flags import Kind, Side, offer_flags
from sip.rtpengine.messages import UnknownCallError, answer, delete, offer, query
from sip.rtpengine.telemetry import is_here
from tests.headend.multicast.tree.network import Node, until
from tests.sip.rtpengine.live import MOVING, Bench, context, parties, section, segment, set_up, set_up_sdes, understood
from tests.sip.rtpengine.media import Party, heard, sdp

pytestmark = [pytest.mark.root, pytest.mark.daemon]

UNITS = ("rtpengine-vrrp", "rtpengine", "rtpengine-store")


@pytest.fixture(scope="module")
def net(require_root: Callable[[], None], require_programs: Callable[..., None]) -> Iterator[dict[str, Node]]:
    require_root()
    require_programs("rtpengine", "redis-server", "keepalived", "nft", "ip", "nsenter")
    with segment("a", "b", "e") as made:
        yield made


@pytest.fixture
def pair(net: dict[str, Node]) -> Iterator[dict[str, Bench]]:
    """Both run, and each has its own address."""
    made = {name: Bench(net[name]) for name in ("a", "b")}
    for name, bench in made.items():
        bench.commit(section(name, pair=True))
    for name, bench in made.items():
        bench.call(until, at_home(name))
    yield made
    for bench in made.values():
        awake(bench)
        bench.commit(None)


def of_a_browser(address: str, port: int) -> str:
    """As it answers (RFC 8827): with the fingerprint of a certificate, which nobody shows."""
    fingerprint = ":".join(["AB"] * 32)
    keys = f"a=setup:active\r\na=fingerprint:sha-256 {fingerprint}\r\na=rtcp-mux\r\n"
    return sdp(address, port, protocol="UDP/TLS/RTP/SAVPF", more=keys)


def at_home(name: str) -> Callable[[], object]:
    async def here() -> bool:
        other = "b" if name == "a" else "a"
        return is_here(MOVING[name]) and not is_here(MOVING[other])

    return here


def die(bench: Bench) -> None:
    """As an appliance does whose power is cut: nothing of it says goodbye, and nothing comes back."""
    pids = [bench.pid(unit) for unit in UNITS if bench.call(bench.driver._units.status, unit) is not None]
    bench.node.shell("ip", "link", "set", "eth1", "down")
    supervisor = bench.node._supervisor
    assert supervisor is not None
    os.kill(supervisor.pid, signal.SIGSTOP)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


def revive(bench: Bench) -> None:
    """It boots: its address is put there anew by its own keepalived, when its relay answers."""
    bench.node.shell("ip", "address", "flush", "dev", "eth1", "scope", "global", "to", f"{MOVING['a']}/32")
    bench.node.shell("ip", "address", "flush", "dev", "eth1", "scope", "global", "to", f"{MOVING['b']}/32")
    awake(bench)


def awake(bench: Bench) -> None:
    bench.node.shell("ip", "link", "set", "eth1", "up")
    supervisor = bench.node._supervisor
    assert supervisor is not None
    os.kill(supervisor.pid, signal.SIGCONT)


async def longest(*parties: Party) -> float:
    """Seconds of the longest silence from now until each has heard enough."""
    for party in parties:
        party.again()
    await heard(*parties, packets=100)
    return max(party.longest_s for party in parties)


def test_a_killed_relay_restores_its_calls(pair: dict[str, Bench], net: dict[str, Node]) -> None:
    async def talk() -> float:
        (one, two), (plain, secret) = everybody = parties(), parties()
        async with NgClient(MOVING["a"], 2223) as ng, AsyncExitStack() as stack:
            for party in chain(*everybody):
                await stack.enter_async_context(party)
            await set_up(ng, "killed", one, two)
            await set_up_sdes(ng, "killed-sdes", plain, secret)
            await heard(one, two, plain, secret)
            os.kill(pid, signal.SIGKILL)
            await heard(one, two, plain, secret, packets=100)
            assert understood(plain, secret)
            await ng.ask(delete("killed"))
            await ng.ask(delete("killed-sdes"))
            return max(party.longest_s for party in chain(*everybody))

    pid = pair["a"].pid()
    gap = net["e"].call(talk)
    print(f"a relay that was killed: silence of {gap * 1000:.0f} ms")
    assert gap < 10.0


@pytest.mark.parametrize("dead", ["a", "b"])
def test_the_partner_takes_the_calls_of_a_dead_appliance_over(
    pair: dict[str, Bench], net: dict[str, Node], dead: str
) -> None:
    """Also with the store, which is on a: what b has to know it knows by then."""
    other = "b" if dead == "a" else "a"
    alive = pair[other]

    async def talk() -> tuple[float, object, object, float]:
        (one, two), (plain, secret) = everybody = parties(), parties()
        loop = asyncio.get_running_loop()
        async with NgClient(MOVING[dead], 2223) as ng, AsyncExitStack() as stack:
            for party in chain(*everybody):
                await stack.enter_async_context(party)
            await set_up(ng, "call", one, two)
            await set_up_sdes(ng, "sdes", plain, secret)
            browser = offer_flags(Side(), Side(Kind.WEBRTC))
            await ng.ask(offer("browser", "one", sdp(one.address, 5998), browser))
            await ng.ask(answer("browser", "one", "two", of_a_browser(one.address, 5996)))
            await heard(one, two, plain, secret, packets=50)
            await loop.run_in_executor(None, die, pair[dead])
            moved = await longest(*chain(*everybody))
            assert understood(plain, secret)
            # Its proxy goes on speaking to the address that it knows.
            known = await ng.ask(query("call"))
            told = await asyncio.wrap_future(alive.node.start(without_keys))
            await loop.run_in_executor(None, revive, pair[dead])
            await asyncio.wrap_future(pair[dead].node.start(answers))
            kept = await longest(*chain(*everybody))
            assert understood(plain, secret)
            # Whoever returns may know none of these calls: the address stays until they are over.
            assert not await asyncio.wrap_future(pair[dead].node.start(at_home(dead)))
            await ng.ask(delete("call"))
            await ng.ask(delete("sdes"))
            with pytest.raises(UnknownCallError):
                await ng.ask(query("browser"))
            await asyncio.wrap_future(pair[dead].node.start(until, at_home(dead)))
            return moved, known["totals"], told, kept

    async def without_keys() -> Any:
        """What the agent tells once it has seen the takeover."""
        driver: Any = alive.driver
        async with asyncio.timeout(60), aclosing(driver.events()) as events:
            async for event in events:
                if isinstance(event, Sample) and event.values["without_keys"]:
                    break
        report = driver.operations[RELAY_REPORT]
        return (await report.run({}, Checkpoint({}, lambda _: None), context()))["rows"]

    async def answers() -> None:
        await pair[dead].driver.verify(section(dead, pair=True), context())

    gap, totals, told, kept = net["e"].call(talk)
    print(f"a dead appliance: silence of {gap * 1000:.0f} ms; when it is back {kept * 1000:.0f} ms")
    assert isinstance(totals, dict)
    assert gap < 20.0
    assert kept < 2.0
    assert isinstance(told, list)
    assert [(one["call"], one["found"], one["done"]) for one in told] == [("browser", NO_KEYS, DELETED)]


def test_what_a_restart_costs_a_pair(pair: dict[str, Bench], net: dict[str, Node]) -> None:
    async def talk() -> str:
        one, two = parties()
        async with NgClient(MOVING["a"], 2223) as ng, one, two:
            await set_up(ng, "cost", one, two)
            state = await asyncio.wrap_future(net["a"].start(pair["a"].driver.observe))
            (step,) = pair["a"].driver.plan(state, section("a", pair=True, ports=[30000, 31999]))
            await ng.ask(delete("cost"))
            return step.disruption

    assert net["e"].call(talk) == (
        "restarting the relay: 1 call is silent for a moment and restored; those with DTLS begin anew"
    )


def test_strangers_do_not_reach_the_store(pair: dict[str, Bench], net: dict[str, Node]) -> None:
    async def reach() -> bool:
        try:
            async with asyncio.timeout(1.0):
                _, writer = await asyncio.open_connection("10.77.0.1", 6379)
        except (TimeoutError, OSError):
            return False
        writer.close()
        return True

    assert not net["e"].call(reach)
    assert net["b"].call(reach)


def test_the_mover_alone_is_made_anew_when_its_file_is_changed(pair: dict[str, Bench]) -> None:
    bench, want = pair["b"], section("b", pair=True)
    before = bench.pid()
    path = bench.node.state_dir / "rtpengine" / "keepalived.conf"
    path.write_text(path.read_text().replace("priority 150", "priority 50"))
    assert "keepalived.conf" in bench.call(bench.driver.verify, want, context(0.0)).differences[0]
    bench.commit(want)
    assert bench.pid() == before
