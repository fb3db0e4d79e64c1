"""The chapters of the demo that are about the CDN path."""

from __future__ import annotations

import json
from typing import Any

from lab.scenarios import bootstrap
from lab.scenarios.console import Answer, Console, ScenarioError
from lab.scenarios.verdicts import Verdicts

LINEUP_OTT = bootstrap.DOCUMENTS / "lineup-ott.yaml"
HOST = "cdn.streamverse.test"
ORIGIN = "http://10.1.0.20:8333/media"
# PoP -> a receiver behind it, and the address at which that receiver finds the PoP's edge.
EDGES = {"pop1": ("r1", "10.3.1.1"), "pop2": ("r2", "10.3.2.1")}
EDGE_PORT = 80
# Core -> the address at which edges find its shield.
SHIELDS = {"c1": "10.255.0.1", "c2": "10.255.0.2"}
SHIELD_PORT = 6081
SHIELD_UNIT = "varnishd"
EXIT_REFUSED = 3
LONGEST_WAIT_MS = 1000.0
_PLAYED = "/tmp/nf-playing.json"  # noqa: S108 - of the lab's node, which has a /tmp of its own
_SEGMENTS = 8
_CONFIGURATIONS = {
    "c1": "/run/nf/cdn-shield",
    "c2": "/run/nf/cdn-shield",
    "pop1": "/run/nf/cdn-edge",
    "pop2": "/run/nf/cdn-edge",
}


def played(console: Console, receiver: str, edge: str, channel: str) -> str:
    """Codecs that ffprobe sees when it plays HLS from an edge, such as `aac h264`; empty when it saw none."""
    answer = console.sh(
        receiver,
        *("ffprobe", "-v", "error", "-rw_timeout", "8000000", "-headers", f"Host: {HOST}\r\n"),
        *("-show_entries", "stream=codec_name", "-of", "json", f"http://{edge}:{EDGE_PORT}/{channel}/master.m3u8"),
        timeout_s=40.0,
    )
    try:
        streams = json.loads(answer.stdout).get("streams", [])
    except ValueError:
        return ""
    return " ".join(sorted({stream["codec_name"] for stream in streams}))


def fetch_command(pop: str, name: str) -> tuple[str, str]:
    """A receiver of a PoP, and what it runs to get an object from the PoP's edge: the body, then a line: the code."""
    receiver, edge = EDGES[pop]
    return receiver, f"curl -s -m 5 -w '\\n%{{http_code}}' -H 'Host: {HOST}' http://{edge}:{EDGE_PORT}/{name}"


def publish_command(name: str, text: str) -> str:
    """What the headend runs to put an object into the bucket that caches may keep for an hour."""
    key = json.loads(bootstrap.ORIGIN_WRITER)
    return (
        f"printf {text} | curl -sf -T - -H 'Cache-Control: max-age=3600' -H 'Content-Type: text/plain' "
        f"--aws-sigv4 aws:amz:us-east-1:s3 --user {key['access_key']}:{key['secret_key']} {ORIGIN}/{name}"
    )


def chapter_played(console: Console, verdicts: Verdicts, channels: tuple[str, ...]) -> None:
    for pop, (receiver, edge) in EDGES.items():
        for channel in channels:
            codecs = played(console, receiver, edge, channel)
            verdicts.add(
                f"ffprobe plays {channel} from the edge of {pop}",
                codecs or "nothing",
                "aac h264",
                good=codecs == "aac h264",
            )


def standing(console: Console) -> dict[str, str]:
    """Remap rules of the edges, VCL of the shields, and which channels the bucket holds, as they stand now."""
    found = {}
    for node, directory in _CONFIGURATIONS.items():
        read = f"find {directory} -name remap.config -o -name shield.vcl | sort | xargs cat | grep -v '^#'"
        found[node] = console.must(console.sh(node, "sh", "-c", read)).stdout
    for channel in ("ch1", "ch2", "ch3"):
        url = f"{ORIGIN}/{channel}/.streamverse-nf"
        ask = ("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", url)
        found[f"bucket/{channel}"] = console.sh("headend", *ask).stdout.strip()
    return found


def chapter_rollback(console: Console, verdicts: Verdicts) -> None:
    """A third channel by CDN comes and goes; nothing of it is left, and nothing of the others is touched."""
    before = standing(console)
    committed = console.nf("lineup", "commit", str(LINEUP_OTT), "--comment", "a third channel, also by CDN")
    verdicts.add(
        "ch3 by multicast and by CDN", f"exit {committed.code}", "confirmed (exit 0)", good=committed.code == 0
    )
    if committed.code != 0:
        raise ScenarioError(committed.text()[-2000:])
    refused = console.nf("lineup", "rollback")
    told = "--accept" in refused.text()
    verdicts.add(
        "rollback that deletes from the bucket",
        f"exit {refused.code}, {'names --accept' if told else 'DOES NOT NAME --accept'}",
        "refused, names --accept",
        good=refused.code == EXIT_REFUSED and told,
    )
    accepted: Answer = console.nf("lineup", "rollback", "--accept")
    verdicts.add("the same with --accept", f"exit {accepted.code}", "confirmed (exit 0)", good=accepted.code == 0)
    console.wait("the objects of ch3 are gone", lambda: standing(console)["bucket/ch3"] == before["bucket/ch3"], 30.0)
    after = standing(console)
    changed = [part for part in before if before[part] != after[part]]
    verdicts.add(
        "remap, VCL and bucket",
        f"changed: {', '.join(changed)}" if changed else "as before",
        "as before the commit",
        good=not changed,
    )


def playing(console: Console, receiver: str) -> dict[str, Any]:
    """What the players there have seen (lab.playing); nothing before they began."""
    answer = console.sh(receiver, "cat", _PLAYED)
    found: dict[str, Any] = answer.json() if answer.code == 0 else {"segments": 0}
    return found


def shield_is_out(console: Console, pop: str, core: str) -> bool:
    """Whether the edge of the PoP asks the core's shield for nothing."""
    alarms = console.nf("alarms", "--json").json()
    out = [one["object"] for one in alarms if one["cause"] == "edge-shield-out"]
    return any(about.startswith(f"{pop}/shield/{SHIELDS[core]}") for about in out)


def chapter_shield_hangs(console: Console, verdicts: Verdicts, channels: tuple[str, ...] = ("ch1", "ch2")) -> None:
    """The Varnish of c1 is alive and deaf while players behind pop1 play: its edge asks c2; then it is asked again."""
    pop, core = "pop1", "c1"
    receiver, edge = EDGES[pop]
    console.sh(receiver, "rm", "-f", _PLAYED)
    options = ("--host", HOST, "--output", _PLAYED, "--seconds", "240")
    console.detach(receiver, "python", "-m", "lab.playing", f"http://{edge}:{EDGE_PORT}", *channels, *options)
    console.wait("players play", lambda: playing(console, receiver)["segments"] >= _SEGMENTS)
    console.fault("freeze", core, SHIELD_UNIT)
    try:
        took = console.wait("the edge asks it for nothing", lambda: shield_is_out(console, pop, core))
        had = playing(console, receiver)["segments"]
        console.wait("players play on", lambda: playing(console, receiver)["segments"] >= had + _SEGMENTS)
    finally:
        console.fault("thaw", core, SHIELD_UNIT)
    seen = playing(console, receiver)
    verdicts.add(
        f"the shield of {core} hangs (SIGSTOP) while {' and '.join(channels)} are played at {receiver}",
        f"longest wait {seen['longest_wait_ms']:.0f} ms of {seen['answers']} answers, {seen['segments']} of them "
        f"segments; {seen['failures']} were asked for twice; the NOC shows it after {took:.1f} s",
        f"no wait above {LONGEST_WAIT_MS:.0f} ms",
        good=seen["longest_wait_ms"] <= LONGEST_WAIT_MS,
    )
    back = console.wait("it is asked again", lambda: not shield_is_out(console, pop, core))
    verdicts.add(f"the shield of {core} answers again", f"asked again after {back:.1f} s", "by itself", good=True)
