"""The chapters of the demo that are about the voice core: a call, a conference, a menu, and what a drain costs.

Callers are programs of the lab (lab/voice), each at the place of a receiver; what they heard of each other is measured
where they are.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from lab.scenarios import bootstrap
from lab.scenarios.console import Console, ScenarioError
from lab.scenarios.verdicts import Verdicts

UNVERIFIED = "UNVERIFIED ON REAL FREESWITCH"
ROOM, ECHO, MENU = "9001", "9002", "9003"
TOGETHER_S = "16"
"""They do not come at once: who came first waits so long for the last, and stays so long for what it hears."""
MEDIA_SERVER = "ms1"
NODES = ("proxy1", "relay1", "proxy2", "relay2", MEDIA_SERVER)
CHANNEL = "voice"
"""Under which test calls are told of."""
LOSS, GAP_MS = 0.01, 500
_PATIENCE_S = 60.0


@dataclass(frozen=True, slots=True)
class Place:
    """A receiver's node with a caller's address, and the proxy on its own segment."""

    node: str
    address: str
    proxy: str


ONE = Place("r1", "10.3.1.10", "10.3.1.1:5060")
TWO = Place("r2", "10.3.2.10", "10.3.2.1:5060")
WEBSOCKET = "ws://10.3.2.1:5066"


def whose_media_server(console: Console) -> str:
    """`UNVERIFIED` for the lab's model, else what the program says that it is."""
    told = console.sh("c1", "sh", "-c", '"${NF_FREESWITCH_BIN:-/usr/bin}/freeswitch" -version')
    return UNVERIFIED if told.code != 0 or "MODEL" in told.text().upper() else told.stdout.strip()


class Caller:
    """A program of the lab that goes on by itself inside a node, and what it tells."""

    def __init__(self, console: Console, node: str, name: str, *argv: str) -> None:
        self._console, self._node = console, node
        self._told = f"/tmp/{name}.jsonl"  # noqa: S108 - inside a node of the lab
        self.name = name
        console.must(console.sh(node, "rm", "-f", self._told))
        console.detach(node, "sh", "-c", f"exec python -m {' '.join(argv)} > {self._told} 2> {self._told}.errors")

    def lines(self) -> list[dict[str, Any]]:
        text = self._console.sh(self._node, "cat", self._told).stdout
        return [json.loads(line) for line in text.splitlines() if line.startswith("{") and line.endswith("}")]

    def event(self, name: str) -> dict[str, Any] | None:
        return next((line for line in self.lines() if line.get("event") == name), None)

    def wait(self, name: str) -> dict[str, Any]:
        """Raises ScenarioError when it does not come."""
        found: list[dict[str, Any]] = []

        def there() -> bool:
            found.extend(filter(None, (self.event(name),)))
            return bool(found)

        try:
            self._console.wait(f"{self.name}: {name}", there, _PATIENCE_S)
        except ScenarioError as error:
            errors = self._console.sh(self._node, "tail", "-n", "5", f"{self._told}.errors").stdout
            raise ScenarioError(f"{error}; it told {self.lines()[-3:]} {errors}") from None
        return found[0]


def phone(console: Console, place: Place, user: str, *verb: str, tone: int = 440, port: int = 0) -> Caller:
    """`port`: of SIP; 0: whichever is free."""
    options = ("--address", place.address, "--port", str(port), "--user", user, "--domain", bootstrap.VOICE_DOMAIN)
    account = ("--password", bootstrap.voice_password(user), "--proxy", place.proxy, "--register")
    return Caller(console, place.node, user, "lab.voice.phone", *options, *account, "--tone", str(tone), *verb)


def browser(console: Console, user: str, *verb: str, tone: int = 700) -> Caller:
    account = ("--user", user, "--domain", bootstrap.VOICE_DOMAIN, "--password", bootstrap.voice_password(user))
    return Caller(
        console, TWO.node, user, "lab.voice.browser", "--proxy", WEBSOCKET, *account, "--tone", str(tone), *verb
    )


def _heard(measured: dict[str, Any], tone: int) -> bool:
    return any(abs(one - tone) < 1 for one in measured["hears"])


def _loss(measured: dict[str, Any]) -> float:
    media = measured["media"]
    return float(media.get("lost", 0)) / max(1, int(media.get("expected") or media.get("received") or 1))


def chapter_call(console: Console, verdicts: Verdicts) -> None:
    """A phone behind pop1 calls a browser behind pop2; it is seen while it is up, and as a record afterwards."""
    callee = browser(console, "bob", "answer", "--packets", "250", "--stay")
    callee.wait("registered")
    caller = phone(console, ONE, "alice", "call", "bob", "--seconds", "8")
    caller.wait("answered")
    callee.wait("connected")
    calls = console.must(console.nf("sip", "calls", "--json")).json()
    verdicts.note(console.nf("sip", "calls").text())
    mine, theirs = caller.wait("measured"), callee.wait("measured")
    caller.wait("over")
    verdicts.add(
        "a phone behind pop1 calls a browser behind pop2 (WebSocket, DTLS-SRTP)",
        f"the phone heard {mine['hears']} Hz, {mine['media']['received']} packets, {_loss(mine):.1%} lost, "
        f"jitter {mine['media']['jitter_ms']:.1f} ms; the browser heard {theirs['hears']} Hz",
        f"700 and 440 Hz, at most {LOSS:.0%} lost",
        good=_heard(mine, 700) and _heard(theirs, 440) and _loss(mine) <= LOSS,
    )
    shown = [one for one in calls.get("calls", calls.get("rows", [])) if mine["call"] in json.dumps(one)]
    verdicts.add("nf sip calls, meanwhile", f"{len(shown)} rows of it", "it is shown", good=bool(shown))
    took = console.wait("a record of the call", lambda: mine["call"] in console.nf("sip", "cdr", "--json").text(), 30.0)
    verdicts.add("its call record", f"after {took:.1f} s", "one, within 30 s", good=True)
    test = console.nf("sip", "test-call", "talk1", "--json")
    verdicts.note(console.nf("channel", "show", "voice").text())
    verdicts.add(
        "nf sip test-call talk1", _test(test.json()) if test.code == 0 else test.text(), "good", good=test.code == 0
    )


def _test(told: dict[str, Any]) -> str:
    found = told.get("result", told)
    keys = ("mos", "setup_ms", "jitter_ms", "loss")
    return ", ".join(f"{key} {found[key]}" for key in keys if key in found) or json.dumps(told)[:200]


def chapter_services(console: Console, verdicts: Verdicts) -> None:
    """Five in a conference, each with a tone of its own; and a menu that is walked by keys."""
    tones = (350, 480, 620, 850, 1200)
    users = ("alice", "bob", "carol", "dave", "erin")
    places = (ONE, TWO, ONE, TWO, ONE)
    callers = [
        phone(console, place, user, "call", ROOM, "--seconds", TOGETHER_S, "--stay", TOGETHER_S, tone=tone)
        for place, user, tone in zip(places, users, tones, strict=True)
    ]
    for caller in callers:
        caller.wait("answered")
    wrong = []
    for caller, own in zip(callers, tones, strict=True):
        measured = caller.wait("measured")
        heard = [tone for tone in tones if _heard(measured, tone)]
        if heard != [tone for tone in tones if tone != own]:
            wrong.append(f"{caller.name} heard {heard}")
    label = whose_media_server(console)
    verdicts.add(
        f"a conference of five ({label})",
        "; ".join(wrong) or "each heard the other four",
        "the others, not itself",
        good=not wrong,
    )
    for caller in callers:
        caller.wait("over")
    by_keys = phone(console, ONE, "alice", "call", MENU, "--dtmf", "2", "--seconds", "8", tone=500)
    measured = by_keys.wait("measured")
    verdicts.add(
        f"the menu: key 2 leads to the echo ({label})",
        f"heard {measured['hears']} Hz",
        "its own 500 Hz",
        good=_heard(measured, 500),
    )
    by_keys.wait("over")


def crowd(console: Console, calls: int) -> tuple[Caller, Callable[[], dict[str, Any]]]:
    """So many calls at r1 that are up when this returns; and how to end them and see what they met."""
    ready, until = "/tmp/crowd.ready", "/tmp/crowd.until"  # noqa: S108 - inside a node
    console.must(console.sh(ONE.node, "rm", "-f", ready, until))
    secret = bootstrap.voice_password
    argv: Sequence[str] = (
        *("--domain", bootstrap.VOICE_DOMAIN, "--calls", str(calls), "--ready", ready, "--until", until),
        *("--caller", f"alice:{secret('alice')}", "--caller-address", ONE.address, "--caller-proxy", ONE.proxy),
        *("--called", f"bob:{secret('bob')}", "--called-address", ONE.address, "--called-proxy", ONE.proxy),
    )
    found = Caller(console, ONE.node, "crowd", "lab.voice.crowd", *argv)
    console.wait(f"{calls} calls", lambda: console.sh(ONE.node, "test", "-e", ready).code == 0, 120.0)

    def end() -> dict[str, Any]:
        console.must(console.sh(ONE.node, "touch", until))
        console.wait("what the calls met", lambda: bool(found.lines()), _PATIENCE_S)
        return found.lines()[-1]

    return found, end


def chapter_drains(console: Console, verdicts: Verdicts, calls: int = 50) -> None:
    """Every node is drained in turn while the calls are up: it takes no new one, and those that are there go on."""
    _, end = crowd(console, calls)
    refused = []
    for node in NODES:
        drained = console.nf("sip", "drain", node, "--wait", "0", "--limit", str(2 * calls), "--json")
        undrained = console.nf("sip", "undrain", node)
        if drained.code != 0 or undrained.code != 0:
            refused.append(f"{node}: {(drained.text() + undrained.text())[-300:]}")
    told = end()
    verdicts.add(
        f"{', '.join(NODES)} drained in turn under {calls} calls",
        f"{told['answered']} answered, {told['dropped']} dropped, {told['silent']} of those that talk silent, "
        f"longest pause {told['gap_ms']} ms" + "".join(f"; {one}" for one in refused),
        f"{calls} answered, 0 dropped",
        good=(told["answered"], told["dropped"], told["silent"]) == (calls, 0, 0) and not refused,
    )
    console.wait("no call left", partial(_idle, console), 30.0)


def _idle(console: Console) -> bool:
    shown = console.must(console.nf("sip", "calls", "--json")).json()
    return not shown.get("calls", shown.get("rows"))
