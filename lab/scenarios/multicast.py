"""The chapters of the demo about the IPTV tree: a protected channel, what-if, a core that dies, a lossy link."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from lab.scenarios import bootstrap
from lab.scenarios.console import Console, ScenarioError
from lab.scenarios.verdicts import Verdicts

LINEUP = bootstrap.DOCUMENTS / "lineup-protected.yaml"
CHANNEL, PROTECTED, PLAIN = "ch1", "twin", "iptv"
CORES = ("c1", "c2")
# A receiver, its PoP, and the links by which the cores send to that PoP.
RECEIVER, POP = "r1", "pop1"
LINKS = {"c1": "c1:eth3 -> pop1:eth1", "c2": "c2:eth3 -> pop1:eth2"}
LOSS_PERCENT = 20
EXIT_VANISHED = 1
_CAPTURE, _CAPTURING = "/run/nf-demo.pcap", "/run/nf-demo.pid"


@dataclass(frozen=True, slots=True)
class Arrivals:
    """Of one group in a capture: datagrams, those before which TS packets are missing, the longest pause."""

    datagrams: int
    drops: int
    gap_ms: float


def hops(console: Console, path: str) -> list[dict[str, Any]]:
    shown = console.nf("channel", "show", CHANNEL, "--json").json()
    return [hop for hop in shown["hops"] if hop["path"] == path]


def receivers_up(console: Console, path: str) -> bool:
    found = [hop for hop in hops(console, path) if hop["point"] == "receiver"]
    return bool(found) and all(hop["verdict"] == "up" for hop in found)


def settled(console: Console) -> bool:
    """The plain path is up at every receiver, and the tree that is seen carries it."""
    return receivers_up(console, PLAIN) and all(way["hops"] and not way["problem"] for way in trace(console, PLAIN))


def errors(console: Console, path: str) -> int:
    """Continuity errors that our probe at the receiver has counted."""
    return sum(hop["continuity_errors"] for hop in hops(console, path) if hop["appliance"] == RECEIVER)


def joined_groups(console: Console) -> dict[str, str]:
    """Path -> the group that receivers join."""
    shown = console.must(console.nf("tree", "show", "--json")).json()["paths"]
    own = {path["path"]: path for path in shown if path["channel"] == CHANNEL}
    return {name: (path["output"] or path["legs"][0])["group"] for name, path in own.items()}


def trace(console: Console, path: str, *, interval: str = "200ms") -> list[dict[str, Any]]:
    """The ways that the tree's flows of a path take to the receiver now."""
    answer = console.nf("tree", "trace", CHANNEL, RECEIVER, "--path", path, "--interval", interval, "--json")
    if answer.code not in (0, EXIT_VANISHED):
        raise ScenarioError(answer.text()[-2000:])
    return [way for way in answer.json()["ways"] if way["role"] == "tree"]


def cores_by_leg(console: Console, path: str) -> dict[str, set[str]]:
    """Leg, "" where there is but one -> the cores that carry it to the receiver's PoP now."""
    return {way["leg"]: {hop["appliance"] for hop in way["hops"]} & set(CORES) for way in trace(console, path)}


def start_capture(console: Console, groups: list[str]) -> None:
    """tshark at the receiver, until `read_capture`; it captures when this returns."""
    wanted = " or ".join(f"dst host {group}" for group in groups)
    script = f"echo $$ > {_CAPTURING}; exec tshark -q -i eth1 -w {_CAPTURE} -a duration:180 -f 'udp and ({wanted})'"
    console.detach(RECEIVER, "sh", "-c", script)
    console.wait("tshark captures", lambda: console.sh(RECEIVER, "test", "-s", _CAPTURE).code == 0, 20.0)


def read_capture(console: Console, group: str) -> Arrivals:
    """What tshark's MPEG-TS dissector says of one group."""
    fields = ("-T", "fields", "-e", "frame.time_epoch", "-e", "mp2t.cc.drop")
    ask = ("tshark", "-r", _CAPTURE, "-d", "udp.port==5000,mp2t", "-Y", f"ip.dst == {group}", *fields)
    lines = [line.split("\t") for line in console.sh(RECEIVER, *ask, timeout_s=60.0).stdout.splitlines()]
    times = [float(line[0]) for line in lines]
    gap_s = max((later - earlier for earlier, later in pairwise(times)), default=0.0)
    return Arrivals(len(times), sum(1 for line in lines if len(line) > 1 and line[1]), gap_s * 1000)


def end_capture(console: Console) -> None:
    """Whole, with all that tshark still held back."""
    script = f"kill -INT $(cat {_CAPTURING}); while kill -0 $(cat {_CAPTURING}) 2>/dev/null; do sleep 0.1; done"
    console.sh(RECEIVER, "sh", "-c", script)


def chapter_protected(console: Console, verdicts: Verdicts) -> None:
    """The channel is sent twice over trees without a common router; the PoPs make one stream of it again."""
    committed = console.nf("lineup", "commit", str(LINEUP), "--comment", "ch1 also protected")
    if committed.code != 0:
        raise ScenarioError(committed.text()[-2000:])
    console.wait("the protected path at every receiver", lambda: receivers_up(console, PROTECTED), 60.0)
    planned = console.must(console.nf("tree", "plan", "--channel", CHANNEL, "--path", PROTECTED))
    for line in planned.stdout.splitlines():
        verdicts.note(line)
    legs = cores_by_leg(console, PROTECTED)
    verdicts.add(
        f"two trees to {RECEIVER}, traced live",
        "; ".join(f"leg {leg} over {', '.join(sorted(cores)) or 'nothing'}" for leg, cores in sorted(legs.items())),
        "both, and no core in common",
        good=all(legs.values()) and len(set.union(*legs.values())) == len(legs) == 2,
    )
    codecs = played(console, joined_groups(console)[PROTECTED])
    verdicts.add(f"ffprobe at {RECEIVER}, from the output", codecs or "nothing", "aac h264", good=codecs == "aac h264")
    asked = console.must(console.nf("tree", "whatif", "--link", f"c1:{POP}", "--json")).json()
    then = {(move["path"], move["leg"]): move["then"] for move in asked["moves"] if move["channel"] == CHANNEL}
    verdicts.add(
        f"what if c1 to {POP} is lost",
        "; ".join(f"{path}{f' leg {leg}' if leg else ''} by {' > '.join(way)}" for (path, leg), way in then.items()),
        "what c1 carried comes by c2, and fits",
        good=bool(then) and all("c2" in way for way in then.values()) and not asked["does_not_fit"],
    )


@dataclass(frozen=True, slots=True)
class Death:
    """What came of a core's death, by path: what tshark saw at the receiver, and errors that our probe counted."""

    core: str
    seen: dict[str, Arrivals]
    errors: dict[str, int]


def core_dies(console: Console, *, lit: bool) -> Death:
    """The core that carries the plain path dies; it is back, with both legs, when this returns."""
    ((core, *_),) = cores_by_leg(console, PLAIN).values()
    groups = joined_groups(console)
    before = {path: errors(console, path) for path in (PROTECTED, PLAIN)}
    start_capture(console, [groups[path] for path in before])
    console.fault("halt", core, *(("--lit",) if lit else ()))
    console.wait("the plain path by the other core", lambda: _carried_by(console, set(CORES) - {core}), 60.0)
    console.wait("the plain path again", lambda: receivers_up(console, PLAIN), 60.0)
    end_capture(console)
    seen = {path: read_capture(console, groups[path]) for path in before}
    counted = {path: errors(console, path) - before[path] for path in before}
    console.fault("resume", core)
    console.wait("the core is back", lambda: bootstrap.all_current(console) and bootstrap.routed(console), 90.0)
    console.wait("both legs again", lambda: all(cores_by_leg(console, PROTECTED).values()), 60.0)
    return Death(core, seen, counted)


def chapter_core_dies(console: Console, verdicts: Verdicts) -> None:
    """Judged at the receiver by tshark and by our own figures."""
    death = core_dies(console, lit=True)
    twin, plain = death.seen[PROTECTED], death.seen[PLAIN]
    verdicts.add(
        f"{death.core} dies: the protected path at {RECEIVER}",
        f"tshark: {twin.drops} losses in {twin.datagrams} datagrams, longest pause {twin.gap_ms:.0f} ms; "
        f"our probe: {death.errors[PROTECTED]} errors",
        "0 losses, 0 errors",
        good=twin.datagrams > 100 and twin.drops == death.errors[PROTECTED] == 0,
    )
    verdicts.add(
        f"{death.core} dies: the plain path at {RECEIVER}",
        f"a gap of {plain.gap_ms:.0f} ms; tshark: {plain.drops} losses, our probe: {death.errors[PLAIN]} errors",
        "a gap, then by the other core",
        good=plain.datagrams > 100 and plain.drops > 0,
    )


def chapter_loss_found(console: Console, verdicts: Verdicts) -> None:
    """A link loses packets in one direction; the trace names it, and the protected channel does not care."""
    ((core, *_),) = cores_by_leg(console, PLAIN).values()
    lossy = LINKS[core]
    before = errors(console, PROTECTED)
    console.fault("loss", lossy.partition(" ")[0], "--percent", str(LOSS_PERCENT))
    try:
        seconds = console.wait("the lossy link is named", lambda: vanishing(console) == [lossy], 60.0)
        lost = errors(console, PROTECTED) - before
    finally:
        console.fault("loss", lossy.partition(" ")[0], "--percent", "0")
    verdicts.add(
        f"{LOSS_PERCENT} % lost from {core} to {POP}",
        f"nf tree trace names {lossy} after {seconds:.1f} s; the protected path: {lost} errors",
        "the link and its direction; 0 errors",
        good=lost == 0,
    )
    console.must(console.nf("lineup", "rollback", "--comment", "without the protected path"))


def vanishing(console: Console) -> list[str]:
    """The links on the plain path where packets vanish, each as its two ends in the direction of the flow."""
    return sorted({one["link"] for way in trace(console, PLAIN, interval="2s") for one in way["vanished"]})


def _carried_by(console: Console, cores: set[str]) -> bool:
    now = cores_by_leg(console, PLAIN)
    return bool(now) and all(found and found <= cores for found in now.values())


def played(console: Console, group: str) -> str:
    """Codecs that ffprobe sees of what the PoP gives out."""
    url = f"udp://{group}:5000?sources=10.3.1.1&localaddr=10.3.1.10&timeout=8000000"
    ask = ("ffprobe", "-v", "error", "-show_entries", "stream=codec_name", "-of", "csv=p=0", "-i", url)
    answer = console.sh(RECEIVER, *ask, timeout_s=30.0)
    return " ".join(sorted({word for line in answer.stdout.split() for word in line.split(",") if word}))
