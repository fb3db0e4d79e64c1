"""A browser-like client (aiortc) calls through Kamailio's WebSocket and rtpengine; what each hears is measured."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sip.kamailio.documents import KamailioSection
from sip.webrtc.coturn.server import TurnServer
from sip.webrtc.credentials import turn_credentials
from sip.webrtc.documents import TurnSection
from tests.headend.multicast.tree.network import Node, nodes
from tests.sip.kamailio import proxy as kamailio
from tests.sip.webrtc import bench as edge
from tests.sip.webrtc.bench import ADDRESS, DOMAIN, RELAY, SECRET
from tests.sip.webrtc.programs import Lab, Program, lab

pytestmark = [pytest.mark.root, pytest.mark.daemon]
PLAIN, SECURE = f"ws://{ADDRESS}:8080", f"wss://{ADDRESS}:8443"
PHONE = "10.77.0.5"
ALICE, BOB = 440, 600
PACKETS = 150


def section() -> KamailioSection:
    listeners = [
        {"transport": "udp", "port": 5060},
        {"transport": "tcp", "port": 5060},
        {"transport": "ws", "port": 8080},
        {"transport": "wss", "port": 8443},
    ]
    made = {"id": "p1", "appliance": "k", "address": ADDRESS, "workers": 2, "listeners": listeners}
    return kamailio.section(proxy=made, relays=[{"id": "r1", "appliance": "k", "address": RELAY}])


@pytest.fixture(scope="module")
def node(require_root: Callable[[], None], require_programs: Callable[..., None]) -> Iterator[Node]:
    require_root()
    require_programs("ip", "nsenter", "kamailio", "rtpengine", "turnserver")
    with nodes("b") as made:
        for address in (ADDRESS, RELAY, PHONE):
            made["b"].shell("ip", "address", "add", f"{address}/32", "dev", "lo")
        made["b"].supervise()
        yield made["b"]


@pytest.fixture(scope="module")
def core(node: Node, tmp_path_factory: pytest.TempPathFactory) -> Iterator[kamailio.Bench]:
    """A proxy as the driver starts it, and a relay."""
    folder = tmp_path_factory.mktemp("core")
    with lab(node, folder) as programs:
        ports = ("--port-min=30000", "--port-max=30999", f"--listen-ng={RELAY}:2223")
        programs.start("rtpengine", "-f", "-E", "-L", "6", "--table=-1", f"--interface={RELAY}", *ports)
        with kamailio.bench(node, folder) as made:
            node.call(made.commit, section())
            yield made


@pytest.fixture
def programs(core: kamailio.Bench, tmp_path: Path) -> Iterator[Lab]:
    with lab(core.node, tmp_path) as made:
        yield made


def browser(
    programs: Lab, user: str, tone: int, *words: str, proxy: str = PLAIN, more: tuple[str, ...] = ()
) -> Program:
    account = ("--user", user, "--domain", DOMAIN, "--password", kamailio.PASSWORD, "--tone", str(tone))
    return programs.python("lab.voice.browser", "--proxy", proxy, *account, *more, *words)


def phone(programs: Lab, user: str, tone: int, *words: str) -> Program:
    account = ("--user", user, "--domain", DOMAIN, "--password", kamailio.PASSWORD, "--tone", str(tone))
    place = ("--address", PHONE, "--proxy", f"{ADDRESS}:5060", "--register")
    return programs.python("lab.voice.phone", *place, *account, *words)


def talked(measured: dict[str, Any], *tones: int) -> None:
    """It heard the other side, and nobody else; hardly a packet was lost."""
    assert [one for one in measured["hears"] if one in (ALICE, BOB)] == [*tones]
    assert measured["media"]["received"] >= PACKETS * 2 / 3
    assert measured["media"]["lost"] <= 5
    assert measured["media"]["sent"] >= PACKETS * 2 / 3


def encrypted(measured: dict[str, Any], sdp: str) -> None:
    assert measured["media"]["dtls"] == "connected"
    assert "UDP/TLS/RTP/SAVPF" in sdp
    assert "a=fingerprint:" in sdp
    assert "a=ice-ufrag:" in sdp
    assert "a=crypto:" not in sdp
    candidates = [line.split() for line in sdp.splitlines() if line.startswith("a=candidate:")]
    assert {words[4] for words in candidates} == {RELAY}


@pytest.mark.parametrize("proxy", [PLAIN, SECURE], ids=["ws", "wss"])
def test_a_browser_calls_a_phone(core: kamailio.Bench, programs: Lab, proxy: str) -> None:
    called = phone(programs, "bob", BOB, "answer", "--seconds", "0")
    called.event("registered")
    caller = browser(programs, "alice", ALICE, "call", "bob", "--packets", str(PACKETS), proxy=proxy)
    sdp = caller.event("answered")["sdp"]
    measured = caller.event("measured")
    talked(measured, BOB)
    encrypted(measured, sdp)
    caller.event("over")
    found = called.event("measured")
    assert [one for one in found["hears"] if one in (ALICE, BOB)] == [ALICE]
    assert found["media"]["received"] >= PACKETS * 2 / 3
    assert found["media"]["lost"] <= 5
    assert called.event("over")["by"] == "them"
    assert core.node.call(core.call, "dlg.stats_active")["ongoing"] == 0


def test_a_phone_calls_a_browser(programs: Lab) -> None:
    called = browser(programs, "bob", BOB, "answer", "--stay", "--packets", str(PACKETS))
    called.event("registered")
    caller = phone(programs, "alice", ALICE, "call", "bob", "--seconds", "6")
    sdp = called.event("ringing")["sdp"]
    measured = called.event("measured")
    talked(measured, ALICE)
    encrypted(measured, sdp)
    found = caller.event("measured")
    assert [one for one in found["hears"] if one in (ALICE, BOB)] == [BOB]
    assert found["media"]["received"] >= PACKETS * 2 / 3
    called.event("ended")
    assert caller.event("over")["by"] == "us"


def test_a_browser_calls_a_browser(programs: Lab) -> None:
    called = browser(programs, "bob", BOB, "answer", "--stay", "--packets", str(PACKETS))
    called.event("registered")
    caller = browser(programs, "alice", ALICE, "call", "bob", "--packets", str(PACKETS))
    offered, answered = called.event("ringing")["sdp"], caller.event("answered")["sdp"]
    for one, tone, sdp in ((called, ALICE, offered), (caller, BOB, answered)):
        measured = one.event("measured")
        talked(measured, tone)
        encrypted(measured, sdp)
    caller.event("over")
    called.event("over")


def test_a_browser_that_nothing_reaches_calls_by_turn(
    node: Node, programs: Lab, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The TURN server relays to the media relay alone: that is enough."""
    server = edge.turn().model_copy(update={"provides": ()})
    assert isinstance(server, TurnSection)
    with edge.bench(node, tmp_path_factory.mktemp("turn"), TurnServer) as turn:
        turn.commit(server)
        known = turn_credentials(SECRET, "alice", time.time() + 600)
        words = ("--turn", f"turn:{ADDRESS}:3478", "--turn-user", known.username, "--turn-password", known.password)
        called = phone(programs, "bob", BOB, "answer", "--seconds", "0")
        called.event("registered")
        caller = browser(programs, "alice", ALICE, "call", "bob", "--packets", str(PACKETS), more=words)
        offered = caller.event("offered")["sdp"]
        candidates = [line for line in offered.splitlines() if line.startswith("a=candidate:")]
        assert candidates
        assert all(" typ relay" in line and f" {ADDRESS} " in line for line in candidates)
        measured = caller.event("measured")
        talked(measured, BOB)
        assert turn.node.call(turn.daemon.load, server) == 1
        caller.event("over")
        found = called.event("measured")
        assert [one for one in found["hears"] if one in (ALICE, BOB)] == [ALICE]
        called.event("over")


def test_who_has_no_account_calls_nobody(programs: Lab) -> None:
    stranger = browser(programs, "mallory", ALICE, "register")
    assert stranger.event("refused")["status"] in {401, 403}
