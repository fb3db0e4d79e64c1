"""The same work in the reference network again and again: a call, a UE that asks, and what all others see of it."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from lab.interception.captured import Packet, Party, capturing, packets, setup, take
from lab.interception.evidence import Evidence
from lab.interception.views import Counters, Logs, Metrics, look_afterwards, look_meanwhile
from lab.native.handle import Lab
from lab.scenarios import mobile, voice
from lab.scenarios.console import Console

CALLER: Final = Party("the caller", voice.ONE.address, 5070)
CALLED: Final = Party("the called", voice.TWO.address, 5070)
TALK_S: Final = 8.0
ASKED: Final = 3
_MEDIA: Final = "udp and (port 5060 or portrange 16384-65535)"


def calling(console: Console, seconds: float = TALK_S) -> tuple[voice.Caller, voice.Caller]:
    """Alice's phone behind pop1 calls Bob's browser behind pop2; both talk when this returns."""
    callee = voice.browser(console, "bob", "answer", "--packets", "50", "--stay")
    callee.wait("registered")
    caller = voice.phone(console, voice.ONE, "alice", "call", "bob", "--seconds", f"{seconds:.0f}", port=CALLER.sip)
    caller.wait("answered")
    callee.wait("connected")
    return caller, callee


def run(console: Console) -> Evidence:
    """One call and a few requests, and everything that can be seen meanwhile and afterwards."""
    evidence, lab = Evidence(), Lab.find(console.lab)
    logs, metrics = Logs(console), Metrics(console)
    with ExitStack() as stack:
        for node in (voice.ONE.node, voice.TWO.node):
            inside = ("nsenter", "--target", str(lab.init(node).pid), "--net", "--")
            stack.enter_context(capturing("eth1", _MEDIA, _file(node), prefix=inside))
        caller, callee = calling(console)
        counters = Counters(console)
        for _ in range(ASKED):
            evidence.add("answers:the internet", [mobile.told_by_stranger(console, mobile.STRANGER)])
        look_meanwhile(console, evidence)
        counters.look(evidence, "packets while they talk")
        over = caller.wait("over")
        callee.wait("over")
        evidence.add("answers:end of the call", [f"{over['by']} {over['status']}"])
        counters = Counters(console)
        console.wait("the call's record", lambda: _recorded(console, over), 30.0)
        look_afterwards(console, evidence)
        counters.look(evidence, "packets afterwards")
    found: list[Packet] = []
    for node in (voice.ONE.node, voice.TWO.node):
        found += packets(_file(node).read_bytes())
    take(evidence, found, (CALLER, CALLED))
    setup(evidence, found, CALLER)
    metrics.look(evidence)
    logs.look(evidence)
    return evidence


def _file(node: str) -> Path:
    return Path(tempfile.gettempdir()) / f"interception-{node}.pcap"


def _recorded(console: Console, over: dict[str, Any]) -> bool:
    return over["call"] in console.nf("sip", "cdr", "--limit", "100", "--json").text()
