"""The chapter of the demo in which a PoP loses the satellite while people watch, and they go on watching."""

from __future__ import annotations

import time
from typing import Any

from lab.scenarios import published, satellite
from lab.scenarios.console import Console
from lab.scenarios.published import ServiceList, Steering
from lab.scenarios.verdicts import Verdicts

POP, RECEIVER, ADDRESS, SOURCE = "pop1", "r1", "10.3.1.10", "10.3.1.1"
DISH = "rx1:eth1"
GROUPS = {"ch1": "232.20.1.1", "ch2": "232.20.1.2"}
NUMBERS = {"ch1": 101, "ch2": 102}
STEERED = "ch2"  # whose players are told other sites: ch1's are also UEs, which know no names of sites
PATH = "ott"
GAP_MS = 1000.0
CALM_S, ALERT_S = 300, 10
_SEEN = "/tmp/nf-gaps.json"  # noqa: S108 - of the lab's node, which has a /tmp of its own
_WATCHED_S = 900
_REST_S = 1.0


def gaps(console: Console) -> dict[str, dict[str, Any]]:
    """Channel -> what `lab.gaps` has seen of its group at the receiver; empty before it has begun."""
    answer = console.sh(RECEIVER, "cat", _SEEN)
    found: dict[str, dict[str, Any]] = answer.json() if answer.code == 0 else {}
    return {channel: found[group] for channel, group in GROUPS.items() if found.get(group, {}).get("datagrams")}


def told(console: Console, channel: str) -> str:
    """What the PoP says of the input it takes: `on satellite`, `on ott (no lock)`."""
    shown = console.nf("channel", "show", channel, "--json").json()
    hops = [hop for hop in shown["hops"] if (hop["path"], hop["point"], hop["appliance"]) == ("sat", "downlink", POP)]
    return str(hops[0]["detail"]) if hops else ""


def warm(console: Console, channel: str) -> bool:
    """Whether the PoP has the CDN path ready."""
    shown = console.nf("channel", "show", channel, "--json").json()
    hops = [hop for hop in shown["hops"] if (hop["path"], hop["point"], hop["appliance"]) == (PATH, "intake", POP)]
    return bool(hops) and hops[0]["verdict"] == "up"


def told_outside(console: Console) -> tuple[dict[str, Steering], ServiceList]:
    """What players of each channel, and televisions, are told behind this PoP."""
    steered = {STEERED: published.steering(console, RECEIVER, STEERED, POP)}
    return steered, published.service_list(console, RECEIVER, POP)


def _calm(console: Console) -> bool:
    steered, listed = told_outside(console)
    calm = all(one.ttl_s == CALM_S for one in steered.values())
    return calm and listed.satellite_first(NUMBERS.values())


def _alert(console: Console) -> bool:
    steered, listed = told_outside(console)
    alert = all(one.ttl_s == ALERT_S for one in steered.values())
    return alert and not any(listed.satellite_first((number,)) for number in NUMBERS.values())


def _documents(console: Console, verdicts: Verdicts, step: str, before: int, *, calm: bool) -> int:
    """Wait for what steering and the service list have to say, and judge it. Returns the list's version."""
    took = console.wait(f"documents: {step}", lambda: (_calm if calm else _alert)(console))
    steered, listed = told_outside(console)
    verdicts.note(f"steering: {steered[STEERED]}; service list: {listed} ({took:.1f} s)")
    ttl_s, first = (CALM_S, "satellite") if calm else (ALERT_S, "CDN")
    verdicts.add(
        step,
        f"{first} before the other for both, TTL {steered[STEERED].ttl_s} s, list {before} > {listed.version}",
        f"{first} first, TTL {ttl_s} s, a newer list",
        good=listed.version > before and all(one.pathways[0] == POP for one in steered.values()),
    )
    return listed.version


def chapter_cut(console: Console, verdicts: Verdicts) -> None:
    """The dish of pop1 is gone: both channels go on by the CDN path, on the same groups; then the way back."""
    for channel in GROUPS:
        console.wait(f"{channel} by satellite", lambda channel=channel: satellite.from_satellite(console, channel))  # type: ignore[misc]
        console.wait(f"{channel} by CDN, warm at {POP}", lambda channel=channel: warm(console, channel))  # type: ignore[misc]
    console.sh(RECEIVER, "rm", "-f", _SEEN)
    watched = [part for group in GROUPS.values() for part in ("--group", f"{group}:5000")]
    options = ("--source", SOURCE, "--interface", ADDRESS, *watched, "--output", _SEEN, "--seconds", str(_WATCHED_S))
    console.detach(RECEIVER, "python", "-m", "lab.gaps", *options)
    console.wait("both channels play", lambda: len(gaps(console)) == len(GROUPS))
    console.wait("players and televisions are told so", lambda: _calm(console))
    steered, listed = told_outside(console)
    verdicts.note(f"steering: {steered[STEERED]}; service list: {listed}")
    console.fault("silence", DISH)
    took = console.wait("both by CDN", lambda: all(told(console, c).startswith(f"on {PATH}") for c in GROUPS))
    codecs = {channel: satellite.played(console, RECEIVER, ADDRESS, SOURCE, group) for channel, group in GROUPS.items()}
    verdicts.note(f"{POP} says: {told(console, 'ch1')} ({took:.1f} s until the NOC shows it)")
    _judge(console, verdicts, "the satellite link is cut; r1 stays on its groups", codecs)
    version = _documents(console, verdicts, "steering and service list, CDN", listed.version, calm=False)
    console.fault("restore", DISH)
    back = console.wait("the satellite again", lambda: all(told(console, c) == "on satellite" for c in GROUPS))
    time.sleep(_REST_S)  # what the receiver has seen up to now is written
    _judge(console, verdicts, f"the way back, by policy, after {back:.1f} s", codecs)
    _documents(console, verdicts, "steering and service list, satellite again", version, calm=True)


def _judge(console: Console, verdicts: Verdicts, step: str, codecs: dict[str, str]) -> None:
    seen = gaps(console)
    figures = [
        f"{channel} {one['longest_gap_ms']:.0f} ms, {one['continuity_errors']} errors, {codecs[channel] or 'nothing'}"
        for channel, one in seen.items()
    ]
    good = len(seen) == len(GROUPS) and all(
        one["longest_gap_ms"] <= GAP_MS and one["continuity_errors"] == 0 and codecs[channel] == "aac h264"
        for channel, one in seen.items()
    )
    verdicts.add(step, "; ".join(figures) or "nothing", "no gap above 1 s, no continuity error, both play", good=good)
