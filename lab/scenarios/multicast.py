"""The chapters of the demo about the IPTV tree: a protected channel, what-if, a core that dies, a lossy link."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from lab.scenarios import bootstrap
from lab.scenarios.console import Console, ScenarioError
from lab.scenarios.verdicts import Verdicts

LINEUP = bootstrap.DOCUMENTS / "lineup-protected.yaml"
CHANNEL, PROTECTED, PLAIN = "ch1", "twin", "iptv"
# What r1 joins: the output of its PoP, and the channel as the headend sends it.
OUTPUT_GROUP, PLAIN_GROUP = "232.30.1.1", "232.10.1.1"
CORES = ("c1", "c2")
RECEIVER = "r1"
LOSS_PERCENT = 20
_CAPTURE = "/run/core-dies.pcap"


@dataclass(frozen=True, slots=True)
class Arrivals:
    """Of one group in a capture: datagrams, TS packets missing by their continuity counters, the longest pause."""

    datagrams: int
    drops: int
    gap_ms: float


def hops(console: Console, path: str) -> list[dict[str, Any]]:
    shown = console.nf("channel", "show", CHANNEL, "--json").json()
    return [hop for hop in shown["hops"] if hop["path"] == path]


def receivers_up(console: Console, path: str) -> bool:
    found = [hop for hop in hops(console, path) if hop["point"] == "receiver"]
    return bool(found) and all(hop["verdict"] == "up" for hop in found)


def trace(console: Console, path: str, receiver: str = RECEIVER) -> dict[str, Any]:
    asked = ("tree", "trace", CHANNEL, receiver, "--path", path, "--json")
    found: dict[str, Any] = console.must(console.nf(*asked)).json()
    return found


def routers(traced: dict[str, Any], leg: str | None) -> list[str]:
    """The routers that carry a leg now, from the receiver's PoP to the source."""
    return [hop["appliance"] for hop in traced["hops"] if hop.get("leg") == leg and hop["point"] == "tree"]


def start_capture(console: Console, receiver: str = RECEIVER) -> None:
    """tshark at the receiver, on both groups, until `read_capture`; returns when it captures."""
    console.detach(
        receiver,
        *("tshark", "-q", "-i", "eth1", "-w", _CAPTURE, "-a", "duration:120"),
        *("-f", f"udp and (dst host {OUTPUT_GROUP} or dst host {PLAIN_GROUP})"),
    )
    size = ("sh", "-c", f"test -s {_CAPTURE}")
    console.wait("tshark captures", lambda: console.sh(receiver, *size).code == 0, 20.0)


def read_capture(console: Console, receiver: str = RECEIVER) -> dict[str, Arrivals]:
    """Ends the capture; what tshark's MPEG-TS dissector says of each group."""
    console.fault("kill", receiver, _CAPTURE)
    fields = ("-T", "fields", "-e", "frame.time_epoch", "-e", "ip.dst", "-e", "mp2t.cc.drop")
    ask = ("tshark", "-r", _CAPTURE, "-d", "udp.port==5000,mp2t", *fields)
    lines = [line.split("\t") for line in console.sh(receiver, *ask, timeout_s=60.0).stdout.splitlines()]
    console.sh(receiver, "rm", "-f", _CAPTURE)
    return {group: _arrivals(lines, group) for group in (OUTPUT_GROUP, PLAIN_GROUP)}


def _arrivals(lines: list[list[str]], group: str) -> Arrivals:
    own = [line for line in lines if len(line) > 2 and line[1] == group]
    times = [float(line[0]) for line in own]
    gap_s = max((later - earlier for earlier, later in pairwise(times)), default=0.0)
    return Arrivals(len(own), sum(len(line[2].split(",")) for line in own if line[2]), gap_s * 1000)


def chapter_protected(console: Console, verdicts: Verdicts) -> None:
    """The channel is sent twice over trees without a common router; the PoPs make one stream of it again."""
    committed = console.nf("lineup", "commit", str(LINEUP), "--comment", "ch1 also protected")
    if committed.code != 0:
        raise ScenarioError(committed.text()[-2000:])
    console.wait("the protected path at every receiver", lambda: receivers_up(console, PROTECTED), 60.0)
    for line in console.must(console.nf("tree", "plan", "--channel", CHANNEL, "--path", PROTECTED)).stdout.splitlines():
        verdicts.note(line)
    traced = trace(console, PROTECTED)
    legs = {leg: set(routers(traced, leg)) & set(CORES) for leg in ("a", "b")}
    apart = all(legs.values()) and not legs["a"] & legs["b"]
    verdicts.add(
        "two trees to r1, traced",
        "; ".join(f"{leg} over {', '.join(sorted(cores)) or 'nothing'}" for leg, cores in legs.items()),
        "no core in common",
        good=apart,
    )
    found = console.must(console.nf("tree", "whatif", "--link", "c1:pop1", "--json")).json()
    verdicts.note(json.dumps(found)[:300])


def chapter_core_dies(console: Console, verdicts: Verdicts) -> None:
    """Judged at the receiver by tshark, and by our own figures: nothing missing where the channel is protected."""
    dying = next(core for core in routers(trace(console, PLAIN), None) if core in CORES)
    before = _errors(console)
    start_capture(console)
    console.fault("halt", dying)
    console.wait("the plain path again", lambda: receivers_up(console, PLAIN), 60.0)
    seen = read_capture(console)
    after = _errors(console)
    output, plain = seen[OUTPUT_GROUP], seen[PLAIN_GROUP]
    verdicts.add(
        f"{dying} dies: the protected path at {RECEIVER}",
        f"tshark: {output.drops} packets missing among {output.datagrams} datagrams, longest pause "
        f"{output.gap_ms:.0f} ms; our probe: {after[PROTECTED] - before[PROTECTED]} errors",
        "0 missing, 0 errors",
        good=output.datagrams > 0 and output.drops == 0 and after[PROTECTED] == before[PROTECTED],
    )
    verdicts.add(
        f"{dying} dies: the plain path at {RECEIVER}",
        f"a gap of {plain.gap_ms:.0f} ms; our probe: {after[PLAIN] - before[PLAIN]} errors",
        "comes back by the other core",
        good=plain.datagrams > 0 and plain.gap_ms > output.gap_ms,
    )
    console.fault("resume", dying)
    console.wait("the core is back", lambda: bootstrap.all_current(console) and bootstrap.routed(console), 90.0)
    console.wait("both legs again", lambda: _both_legs(console), 60.0)


def chapter_loss_found(console: Console, verdicts: Verdicts) -> None:
    """A link loses packets in one direction; the trace names it, and the protected channel does not care."""
    traced = trace(console, PLAIN)
    core = next(core for core in routers(traced, None) if core in CORES)
    end = f"{core}:{'eth3' if core in CORES else ''}"
    before = _errors(console)
    console.fault("loss", end, "--percent", str(LOSS_PERCENT))
    try:
        console.wait("the loss is found", lambda: _lossy(trace(console, PLAIN)) == [(core, "pop1")], 30.0)
        found = _lossy(trace(console, PLAIN))
        after = _errors(console)
    finally:
        console.fault("loss", end, "--percent", "0")
    verdicts.add(
        f"{LOSS_PERCENT} % lost from {core} to pop1",
        f"found: {', '.join(f'{sender} to {receiver}' for sender, receiver in found) or 'nothing'}; "
        f"the protected path: {after[PROTECTED] - before[PROTECTED]} errors",
        f"{core} to pop1, 0 errors",
        good=found == [(core, "pop1")] and after[PROTECTED] == before[PROTECTED],
    )
    console.must(console.nf("lineup", "rollback", "--comment", "without the protected path"))


def _lossy(traced: dict[str, Any]) -> list[tuple[str, str]]:
    return [(loss["sender"], loss["receiver"]) for loss in traced["losses"]]


def _both_legs(console: Console) -> bool:
    traced = trace(console, PROTECTED)
    return all(set(routers(traced, leg)) & set(CORES) for leg in ("a", "b"))


def _errors(console: Console) -> dict[str, int]:
    """Continuity errors that our probe has counted at the receiver, by path."""
    return {
        path: sum(hop["continuity_errors"] for hop in hops(console, path) if hop["appliance"] == RECEIVER)
        for path in (PROTECTED, PLAIN)
    }
