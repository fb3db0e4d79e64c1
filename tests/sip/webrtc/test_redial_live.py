"""A browser's call when the appliance of its relay dies: the keys are gone with it, so it is ended and made anew.

Two relays with a store and keepalived, a proxy and a phone beside them, each with its driver; media is measured before
and afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, aclosing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from sip.kamailio.documents import KamailioSection
from sip.rtpengine.documents import RtpengineSection
from tests.headend.multicast.tree.network import Node, until
from tests.sip.kamailio import proxy as kamailio
from tests.sip.kamailio.proxy import DOMAIN, PASSWORD
from tests.sip.rtpengine.live import FIXED, MOVING, Bench, section, segment
from tests.sip.rtpengine.test_takeover import at_home, awake, die
from tests.sip.webrtc.programs import lab

pytestmark = [pytest.mark.root, pytest.mark.daemon]

PROXY = FIXED["e"]
ALICE, BOB = 440, 600


def of_proxy() -> KamailioSection:
    listeners = [{"transport": "udp", "port": 5060}, {"transport": "ws", "port": 8080}]
    made = {"id": "p1", "appliance": "e", "address": PROXY, "workers": 2, "listeners": listeners}
    relays = [{"id": f"r{name}", "appliance": name, "address": MOVING[name]} for name in ("a", "b")]
    return kamailio.section(proxy=made, relays=relays, askers=[FIXED["a"], FIXED["b"]], provides=[])


def of_relay(name: str) -> RtpengineSection:
    proxies = [{"id": "p1", "address": PROXY}]
    data = section(name, pair=True).model_dump(mode="json")
    return RtpengineSection.model_validate({**data, "proxies": proxies, "source": FIXED[name]})


@pytest.fixture(scope="module")
def net(require_root: Callable[[], None], require_programs: Callable[..., None]) -> Iterator[dict[str, Node]]:
    require_root()
    require_programs("ip", "nsenter", "nft", "kamailio", "rtpengine", "redis-server", "keepalived")
    with segment("a", "b", "e") as made:
        made["e"].supervise()
        yield made


@pytest.fixture
def relays(net: dict[str, Node]) -> Iterator[dict[str, Bench]]:
    made = {name: Bench(net[name]) for name in ("a", "b")}
    for name, bench in made.items():
        bench.commit(of_relay(name))
    for name, bench in made.items():
        bench.call(until, at_home(name))
    yield made
    for bench in made.values():
        awake(bench)
        bench.commit(None)


@contextmanager
def attended(node: Node, driver: Any) -> Iterator[None]:
    """Its events are read, as the agent does."""

    async def read() -> None:
        async with aclosing(driver.events()) as events:
            async for _ in events:
                pass

    reading = node.start(read)
    try:
        yield
        assert not reading.done()
    finally:
        reading.cancel()


def test_a_browser_calls_again_when_its_relay_has_died(
    net: dict[str, Node], relays: dict[str, Bench], tmp_path: Path
) -> None:
    node = net["e"]
    account = ("--domain", DOMAIN, "--password", PASSWORD)
    with ExitStack() as stack:
        proxy = stack.enter_context(kamailio.bench(node, tmp_path))
        node.call(proxy.commit, of_proxy())
        programs = stack.enter_context(lab(node, tmp_path))
        phone = ("--address", PROXY, "--proxy", f"{PROXY}:5060", "--register", *account)
        called = programs.python(
            "lab.voice.phone", *phone, "--user", "bob", "--tone", str(BOB), "answer", "--calls", "2", "--seconds", "0"
        )
        called.event("registered")
        browser = ("--proxy", f"ws://{PROXY}:8080", "--user", "alice", *account, "--tone", str(ALICE))
        caller = programs.python("lab.voice.browser", *browser, "call", "bob", "--packets", "60", "--redial")
        relay = relay_of(caller.event("answered")["sdp"])
        assert BOB in caller.event("measured")["hears"]
        alive = "b" if relay == "a" else "a"
        stack.enter_context(attended(node, proxy.driver))
        stack.enter_context(attended(net[alive], relays[alive].driver))
        die(relays[relay])
        over = caller.event("ended")
        assert over["reason"] == 'Q.850;cause=41;text="media relay has lost the call"'
        assert called.event("over")["by"] == "them"
        caller.event("redialling")
        assert relay_of(caller.event("answered")["sdp"]) == alive
        measured = caller.event("measured")
        assert measured["media"]["dtls"] == "connected"
        assert BOB in measured["hears"]


def relay_of(sdp: str) -> str:
    found = {line.split()[4] for line in sdp.splitlines() if line.startswith("a=candidate:")}
    return next(name for name, address in MOVING.items() if found == {address})
