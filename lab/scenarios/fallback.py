"""The chapters of the demo in which a PoP loses the satellite while people watch, and they go on watching; and one in
which the whole PoP is lost, and players are sent to another."""

from __future__ import annotations

import time
from typing import Any

from lab.scenarios import bootstrap, published, satellite
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
T1_S, T2_S = 10.0, 60.0
OTHER_POP = "pop2"
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


def _documents(console: Console, verdicts: Verdicts, step: str, before: int, since: float, *, calm: bool) -> int:
    """Wait for what steering and the service list have to say, and judge it, and how long it took `since`. Returns the
    list's version. The PoP's edge is sound throughout: players stay there, and are told to ask sooner, or later, again.
    """
    console.wait(f"documents: {step}", lambda: (_calm if calm else _alert)(console))
    took = time.monotonic() - since
    steered, listed = told_outside(console)
    verdicts.note(f"steering: {steered[STEERED]}; service list: {listed}")
    old_s, ttl_s, first = (ALERT_S, CALM_S, "satellite") if calm else (CALM_S, ALERT_S, "CDN")
    verdicts.add(
        step,
        f"list {before} > {listed.version}: {first} before the other for both; {STEERED}, which is steered, and ch1 is "
        f"not: TTL {old_s} > {steered[STEERED].ttl_s} s, {' > '.join(steered[STEERED].pathways)}; after {took:.1f} s",
        f"a newer list, {first} first; TTL {old_s} > {ttl_s} s, {POP} first as before; <= {T1_S:.0f} s",
        good=listed.version > before and all(one.pathways[0] == POP for one in steered.values()) and took <= T1_S,
    )
    return listed.version


def watch(console: Console) -> None:
    """r1 joins both groups as a set-top box does; ends when both play. What was seen before is forgotten."""
    for line in console.sh(RECEIVER, "pgrep", "-f", "lab.gaps").stdout.split():
        console.sh(RECEIVER, "kill", line)
    console.sh(RECEIVER, "rm", "-f", _SEEN)
    watched = [part for group in GROUPS.values() for part in ("--group", f"{group}:5000")]
    options = ("--source", SOURCE, "--interface", ADDRESS, *watched, "--output", _SEEN, "--seconds", str(_WATCHED_S))
    console.detach(RECEIVER, "python", "-m", "lab.gaps", *options)
    console.wait("both channels play", lambda: len(gaps(console)) == len(GROUPS))


def ready(console: Console) -> None:
    """Both channels come by satellite, with the CDN path warm."""
    for channel in GROUPS:
        console.wait(f"{channel} by satellite", lambda channel=channel: satellite.from_satellite(console, channel))  # type: ignore[misc]
        console.wait(f"{channel} by CDN, warm at {POP}", lambda channel=channel: warm(console, channel))  # type: ignore[misc]


def chapter_cut(console: Console, verdicts: Verdicts) -> None:
    """The dish of pop1 is gone: both channels go on by the CDN path, on the same groups; then the way back."""
    ready(console)
    watch(console)
    console.wait("players and televisions are told so", lambda: _calm(console))
    steered, listed = told_outside(console)
    verdicts.note(f"steering: {steered[STEERED]}; service list: {listed}")
    since = time.monotonic()
    console.fault("silence", DISH)
    took = console.wait("both by CDN", lambda: all(told(console, c).startswith(f"on {PATH}") for c in GROUPS))
    version = _documents(
        console, verdicts, "steering and service list, since the cut", listed.version, since, calm=False
    )
    codecs = {channel: satellite.played(console, RECEIVER, ADDRESS, SOURCE, group) for channel, group in GROUPS.items()}
    verdicts.note(f"{POP} says: {told(console, 'ch1')} ({took:.1f} s until the NOC shows it)")
    judge(console, verdicts, "the satellite link is cut; r1 stays on its groups", codecs)
    console.fault("restore", DISH)
    back = console.wait("the satellite again", lambda: all(told(console, c) == "on satellite" for c in GROUPS))
    since = time.monotonic()
    time.sleep(_REST_S)  # what the receiver has seen up to now is written
    judge(console, verdicts, f"the way back, by policy, after {back:.1f} s", codecs)
    _documents(console, verdicts, "steering and service list, since the way back", version, since, calm=True)


def one_site_in_rain(console: Console, verdicts: Verdicts) -> None:
    """Rain at one receive site: its PoP takes the next path, the carrier stays as it is."""
    ready(console)
    watch(console)
    before = satellite.status(console)
    console.fault("fade", "--site", POP, "--db", "14", "--slope", "4")
    took = console.wait(
        f"{POP} on its next path",
        lambda: not any(satellite.from_satellite(console, channel, (POP,)) for channel in GROUPS),
        30.0,
    )
    other = satellite.from_satellite(console, "ch1", (OTHER_POP,))
    codecs = {channel: satellite.played(console, RECEIVER, ADDRESS, SOURCE, group) for channel, group in GROUPS.items()}
    now = satellite.status(console)
    same = (now["modcod"], now["modem"]["tx_level"]) == (before["modcod"], before["modem"]["tx_level"])
    verdicts.add(
        f"rain at {POP} only",
        f"next path after {took:.1f} s: {told(console, 'ch1')}; carrier {'as it was' if same else 'CHANGED'}",
        f"{POP} on its fallback, {OTHER_POP} on satellite, carrier as it was",
        good=other and same,
    )
    judge(console, verdicts, f"margin, then lock, are lost at {POP}; r1 stays on its groups", codecs)
    console.fault("fade", "--site", POP, "--db", "0", "--slope", "4")
    back = console.wait(f"{POP} on the satellite again", lambda: satellite.from_satellite(console, "ch1"), 60.0)
    time.sleep(_REST_S)  # what the receiver has seen up to now is written
    judge(console, verdicts, f"the rain is over; back after {back:.1f} s", codecs)


def chapter_one_site(console: Console, verdicts: Verdicts) -> None:
    """After rain over the uplink, which had three services committed."""
    one_site_in_rain(console, verdicts)
    console.must(console.nf("lineup", "rollback", "--comment", "back to two channels"))


def sites_out(console: Console) -> set[str]:
    alarms = console.nf("alarms", "--json").json()
    return {one["object"] for one in alarms if one["cause"] == "site-out"}


def switches(console: Console, channel: str, site: str) -> list[dict[str, Any]]:
    """The newest first."""
    found: list[dict[str, Any]] = console.nf("path", "history", channel, "--site", site, "--json").json()
    return found


def steered_from_outside(console: Console) -> Steering:
    """What players of pop1 are told, asked from behind pop2."""
    return published.steering(console, "r2", STEERED, POP)


def chapter_site_out(console: Console, verdicts: Verdicts) -> None:
    """The whole of pop1 is dead: the NOC says so, and sends its players to pop2; then it lives again."""
    console.wait("pop1 first", lambda: steered_from_outside(console).pathways[0] == POP)
    since = time.monotonic()
    console.fault("halt", POP)
    console.wait("the site is out", lambda: POP in sites_out(console))
    out_s = time.monotonic() - since
    console.wait("players are sent elsewhere", lambda: steered_from_outside(console).pathways[0] == OTHER_POP)
    away_s = time.monotonic() - since
    told_now = steered_from_outside(console)
    verdicts.add(
        f"{POP} is dead",
        f"alarm site-out after {out_s:.1f} s; steering after {away_s:.1f} s: {told_now}",
        f"{OTHER_POP} first, {POP} last, <= {T2_S:.0f} s",
        good=max(out_s, away_s) <= T2_S and told_now.pathways[-1] == POP,
    )
    newest = next(iter(switches(console, STEERED, POP)), {})
    verdicts.add(
        f"nf path history of {STEERED} at {POP}",
        f"{newest.get('kind')} {newest.get('tier')}: {newest.get('reason')}",
        "site-out, T2",
        good=(newest.get("kind"), newest.get("tier")) == ("site-out", "T2"),
    )
    console.fault("resume", POP)
    back = console.wait(
        "the site is back",
        lambda: POP not in sites_out(console) and steered_from_outside(console).pathways[0] == POP,
        120.0,
    )
    console.wait("every appliance as committed", lambda: bootstrap.all_current(console), 60.0)
    verdicts.add(f"{POP} lives again", f"its players are its own after {back:.1f} s", "by itself", good=True)


def judge(console: Console, verdicts: Verdicts, step: str, codecs: dict[str, str]) -> None:
    """No gap above a second since `watch`, and both play."""
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
