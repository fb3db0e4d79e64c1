"""The chapters of the demo that are about the voice core: a call, a conference, a menu, and what a drain costs.

Callers are programs of the lab (lab/voice), each at the place of a receiver; what they heard of each other is measured
where they are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
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
CROWD, VISITOR = "alice", "frank"
"""Who makes the calls that are there, and who tries whether new ones are taken."""
POP, CHANNEL = "pop1", "voice"
LOSS = 0.01
_ATTEMPTS = 3
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


class Crowd(Caller):
    """So many calls from a place to an account, which is at the same place, or to a number; up once `ready` returns."""

    def __init__(self, console: Console, name: str, place: Place, called: str, calls: int) -> None:
        self.calls = calls
        self._ready, self._until = f"/tmp/{name}.ready", f"/tmp/{name}.until"  # noqa: S108 - inside a node
        console.must(console.sh(place.node, "rm", "-f", self._ready, self._until))
        secret = bootstrap.voice_password
        argv = [
            *("--domain", bootstrap.VOICE_DOMAIN, "--calls", str(calls)),
            *("--ready", self._ready, "--until", self._until),
            *("--caller", f"{CROWD}:{secret(CROWD)}", "--caller-address", place.address, "--caller-proxy", place.proxy),
        ]
        if called in bootstrap.CALLERS:
            argv += ["--called", f"{called}:{secret(called)}"]
            argv += ["--called-address", place.address, "--called-proxy", place.proxy]
        else:
            argv += ["--number", called]
        super().__init__(console, place.node, name, "lab.voice.crowd", *argv)

    def ready(self) -> None:
        there = ("test", "-e", self._ready)
        self._console.wait(
            f"{self.name}: {self.calls} calls", lambda: self._console.sh(self._node, *there).code == 0, 120.0
        )

    def end(self) -> dict[str, Any]:
        """Hangs up; what the calls met."""
        self._console.must(self._console.sh(self._node, "touch", self._until))
        self._console.wait(f"{self.name}: what the calls met", lambda: bool(self.lines()), _PATIENCE_S)
        return self.lines()[-1]


@dataclass(frozen=True, slots=True)
class Tried:
    """`status`: 200 when a call was answered, else what it was refused with, 0 when nobody answered; `relay`: the
    address that media came from."""

    status: int
    relay: str = ""

    @property
    def up(self) -> bool:
        return self.status == 200


def attempt(console: Console, place: Place, target: str = ECHO) -> Tried:
    """A call of a second at a place. Who heard nothing in time on a busy machine calls again."""
    for _ in range(_ATTEMPTS):
        tried = _attempt(console, place, target)
        if tried.status not in {0, 408}:
            break
    return tried


def _attempt(console: Console, place: Place, target: str) -> Tried:
    account = ("--user", VISITOR, "--domain", bootstrap.VOICE_DOMAIN, "--password", bootstrap.voice_password(VISITOR))
    where = ("--address", place.address, "--proxy", place.proxy)
    argv = ("python", "-m", "lab.voice.phone", *where, *account, "call", target, "--ring", "20", "--seconds", "1")
    told = [json.loads(line) for line in console.sh(place.node, *argv).stdout.splitlines() if line.startswith("{")]
    measured = next((one for one in told if one["event"] == "measured"), None)
    if measured is not None:
        return Tried(200, str(measured["peer"]))
    return Tried(next((int(one["status"]) for one in told if one["event"] == "failed"), 0))


def _meanwhile(console: Console, node: str) -> tuple[str, bool]:
    """A new call while the node is drained: what became of it, and whether that is right."""
    here, there = (TWO, ONE) if node in {"proxy2", "relay2"} else (ONE, TWO)
    tried = attempt(console, here)
    if node.startswith("proxy"):
        other = attempt(console, there)
        return f"gets {tried.status} there, {other.status} at the other", tried.status == 503 and other.up
    if node.startswith("relay"):
        return f"goes by {tried.relay or tried.status}", tried.up and tried.relay == there.proxy.partition(":")[0]
    return f"gets {tried.status}", 500 <= tried.status < 600


def _in_turn(console: Console, on: Mapping[str, int]) -> tuple[list[str], bool]:
    """`on`: how many calls each node has."""
    told: list[str] = []
    good = True
    for node, calls in on.items():
        drained = console.nf("sip", "drain", node, "--wait", "0", "--limit", str(4 * sum(on.values())), "--json")
        if drained.code != 0:
            return [*told, f"{node}: {drained.text()[-300:]}"], False
        there = max((int(one.get("calls", 0)) for one in drained.json()["nodes"]), default=0)
        text, right = _meanwhile(console, node)
        undrained = console.nf("sip", "undrain", node)
        good &= there >= calls and right and undrained.code == 0
        told.append(f"{node}, {there} calls: a new one {text}{undrained.text() if undrained.code else ''}")
        if node == MEDIA_SERVER:  # proxies see by their next OPTIONS that it takes calls
            console.wait(f"calls to {node}", lambda: attempt(console, ONE).up, _PATIENCE_S)
    return told, good


def chapter_drains(console: Console, verdicts: Verdicts, calls: int = 50) -> None:
    """Every node is drained in turn while calls are on it: it takes no new one, and those that are there go on. Then
    all of a PoP, once in vain, and once until its calls have ended."""
    third = calls // 3
    one = Crowd(console, "crowd1", ONE, "bob", calls - 2 * third)
    two = Crowd(console, "crowd2", TWO, "dave", third)
    echo = Crowd(console, "crowd3", ONE, ECHO, third)
    for crowd in (one, two, echo):
        crowd.ready()
    here = one.calls + echo.calls
    on = {"proxy1": here, "relay1": here, MEDIA_SERVER: third, "proxy2": third, "relay2": third}
    told, good = _in_turn(console, on)
    verdicts.add(
        f"{', '.join(NODES)} drained in turn (this network has no Janus and no coturn)",
        "; ".join(told),
        "each has calls; new ones go elsewhere, or are refused where there is no other",
        good=good,
    )
    met = _whole_pop(console, verdicts, (one, echo))
    met.append(two.end())
    answered, dropped, silent = (sum(int(each[name]) for each in met) for name in ("answered", "dropped", "silent"))
    gap_ms = max(float(each["gap_ms"]) for each in met)
    verdicts.add(
        f"what {calls} calls met meanwhile",
        f"{answered} answered, {dropped} dropped, {silent} of those that talk silent, longest pause {gap_ms:.0f} ms",
        f"{calls} answered, 0 dropped, 0 silent",
        good=(answered, dropped, silent) == (calls, 0, 0),
    )
    console.wait("no call left", partial(_idle, console), 30.0)
    console.wait("test calls that get through again", partial(_tested, console), 60.0)


def _whole_pop(console: Console, verdicts: Verdicts, crowds: Sequence[Crowd]) -> list[dict[str, Any]]:
    """Drains pop1, whose calls those of the crowds are; what they met until they were hung up."""
    missed = console.nf("sip", "drain", "--pop", POP, "--wait", "2")
    again = attempt(console, ONE)
    verdicts.add(
        "pop1 drained for 2 s, with its calls up",
        f"exit code {missed.code}: {' '.join(missed.text().split())[-200:]}; a new call then {again.status}",
        "not drained, and it takes calls again",
        good=missed.code != 0 and "calls are left" in " ".join(missed.text().split()) and again.up,
    )
    with ThreadPoolExecutor(1) as pool:
        draining = pool.submit(console.nf, "sip", "drain", "--pop", POP, "--wait", "200", "--json")
        console.wait("pop1 takes no call", lambda: attempt(console, ONE).status == 503, _PATIENCE_S)
        elsewhere, early = attempt(console, TWO), draining.done()
        met = [crowd.end() for crowd in crowds]
        drained = draining.result()
    left = [int(node["calls"]) for node in drained.json()["nodes"] if "calls" in node] if drained.code == 0 else []
    undrained = console.nf("sip", "undrain", "--pop", POP)
    again = attempt(console, ONE)
    verdicts.add(
        "pop1 drained until its calls have ended",
        f"a call at pop2 {elsewhere.status}; then {left or drained.text()[-300:]} are left; a new call {again.status}",
        "200; none left; 200",
        good=elsewhere.up and not early and len(left) > 1 and not any(left) and undrained.code == 0 and again.up,
    )
    return met


def _idle(console: Console) -> bool:
    shown = console.must(console.nf("sip", "calls", "--json")).json()
    return not shown.get("calls", shown.get("rows"))


def _tested(console: Console) -> bool:
    shown = console.nf("channel", "show", CHANNEL, "--json").json()  # exit code 9 while one is down
    found = [hop["verdict"] for hop in shown["hops"] if hop["point"] == "receiver"]
    return bool(found) and all(one == "up" for one in found)
