"""The chapters of the demo that are about the satellite link."""

from __future__ import annotations

import time
from typing import Any

from lab.scenarios import bootstrap
from lab.scenarios.console import Answer, Console, ScenarioError
from lab.scenarios.verdicts import Verdicts

LINEUP = bootstrap.DOCUMENTS / "lineup-satellite.yaml"
LINEUP_OVERLOAD = bootstrap.DOCUMENTS / "lineup-satellite-overload.yaml"
CARRIER = "sat1"
MODEM = "172.20.20.23"
COMMUNITY = "private"
EXIT_INPUT = 2
EXIT_REFUSED = 3
FADE_DB = 12
SLOPE_DB_S = 0.5
# Objects of NF-LAB-MIB: active MODCOD, transmission.
_ACTIVE_MODCOD = "1.3.6.1.4.1.8072.9999.9999.71.1.4.2.1.0"
_TX_ENABLE = "1.3.6.1.4.1.8072.9999.9999.71.1.4.3.1.0"
_8PSK_3_4 = "14"


def status(console: Console) -> dict[str, Any]:
    found: dict[str, Any] = console.must(console.nf("link", "show", CARRIER, "--json")).json()
    return found


def snmpget(console: Console, oid: str) -> str:
    """Asked by net-snmp, past all of our own code."""
    ask = ("snmpget", "-v2c", "-c", COMMUNITY, "-Oqvn", "-t", "2", MODEM, oid)
    return console.must(console.sh("headend", *ask)).stdout.strip()


def played(console: Console, receiver: str, address: str, pop: str, group: str) -> str:
    """Codecs that ffprobe sees of what a PoP gives out."""
    url = f"udp://{group}:5000?sources={pop}&localaddr={address}&timeout=8000000"
    ask = ("ffprobe", "-v", "error", "-show_entries", "stream=codec_name", "-of", "csv=p=0", "-i", url)
    answer = console.sh(receiver, *ask, timeout_s=30.0)
    return " ".join(sorted({word for line in answer.stdout.split() for word in line.split(",") if word}))


def transmit(console: Console, *arguments: str, second: bool = False) -> Answer:
    return console.nf("link", "transmit", CARRIER, *arguments, *(("--profile", bootstrap.SECOND) if second else ()))


def locked(console: Console) -> bool:
    sites = status(console)["sites"]
    return bool(sites) and all(site.get("lock") == "locked" for site in sites.values())


def on_the_air(console: Console, channels: tuple[str, ...]) -> None:
    """Two people put the carrier on the air, unless it is; ends when the PoPs give out what the satellite brings."""
    if not status(console)["on_air"]:
        console.must(transmit(console, "--reason", "service begins"))
        console.must(transmit(console, "--approve", second=True))
    console.wait("every receiver in lock", lambda: locked(console), 30.0)
    for channel in channels:
        console.wait(f"{channel} by satellite", lambda channel=channel: from_satellite(console, channel), 60.0)  # type: ignore[misc]


def chapter_on_the_air(console: Console, verdicts: Verdicts) -> None:
    """The carrier came muted; two people put it on the air."""
    muted = snmpget(console, _TX_ENABLE)
    verdicts.add(
        "the carrier after its first commit", "muted" if muted == "0" else "ON THE AIR", "muted", good=muted == "0"
    )
    console.must(transmit(console, "--reason", "the demo begins"))
    alone = transmit(console, "--approve")
    verdicts.add("one person asks and approves", f"exit {alone.code}", "refused", good=alone.code != 0)
    console.must(transmit(console, "--approve", second=True))
    console.wait("every receiver in lock", lambda: locked(console), 20.0)
    modcod, on = snmpget(console, _ACTIVE_MODCOD), snmpget(console, _TX_ENABLE)
    verdicts.add(
        "two people; snmpget asks the modem",
        f"transmitting {on}, MODCOD {modcod}",
        "1, 14 (8PSK 3/4)",
        good=(on, modcod) == ("1", _8PSK_3_4),
    )
    console.wait("the PoPs give out what the satellite brings", lambda: from_satellite(console, "ch1"), 30.0)
    for receiver, address, pop in (("r1", "10.3.1.10", "10.3.1.1"), ("r3", "10.3.3.10", "10.3.3.1")):
        codecs = played(console, receiver, address, pop, "232.20.1.1")
        verdicts.add(f"ffprobe at {receiver}, by satellite", codecs or "nothing", "aac h264", good=codecs == "aac h264")


def from_satellite(console: Console, channel: str, pops: tuple[str, ...] = ("pop1", "pop2")) -> bool:
    """Whether these PoPs take the channel from the satellite now."""
    shown = console.nf("channel", "show", channel, "--json").json()
    hops = {hop["appliance"]: hop for hop in shown["hops"] if (hop["path"], hop["point"]) == ("sat", "downlink")}
    return all(hops[pop]["detail"] == "on satellite" for pop in pops)


def chapter_refused(console: Console, verdicts: Verdicts) -> None:
    before = status(console)["modcod"]
    answer = console.nf("lineup", "commit", str(LINEUP_OVERLOAD))
    told = "is full" in answer.text() and "short" in answer.text()
    verdicts.note(
        next((line for line in answer.stderr.splitlines() if "is full" in line), answer.text()[-400:]).strip()
    )
    verdicts.add(
        "more than the transponder carries",
        f"exit {answer.code}, {'names the shortfall' if told else 'NAMES NO SHORTFALL'}",
        "input error, names the shortfall",
        good=answer.code in {EXIT_INPUT, EXIT_REFUSED} and told and status(console)["modcod"] == before,
    )


def chapter_rain(console: Console, verdicts: Verdicts) -> None:
    """Rain over the uplink: power to its cap, then the MODCOD once, then all comes back."""
    committed = console.nf("lineup", "commit", str(LINEUP), "--comment", "three services on the carrier")
    if committed.code != 0:
        raise ScenarioError(committed.text()[-2000:])
    console.wait("three services in lock", lambda: locked(console) and _sent(status(console)) == 3, 30.0)
    planned = console.must(console.nf("link", "plan", CARRIER, "--fade", f"{FADE_DB}dB", "--json")).json()
    before = status(console)
    seen = [before]
    console.fault("fade", "--uplink", "--db", str(FADE_DB), "--slope", str(SLOPE_DB_S))
    _watch(console, seen, lambda now: now["modcod"] != before["modcod"], 60.0)
    highest = max(one["modem"]["tx_level"] for one in seen)
    stepped = seen[-1]
    verdicts.add(
        "power before the MODCOD",
        f"{highest:.1f} dBm when it changed",
        "the cap, -4 dBm, and no more",
        good=abs(highest + 4) < 0.3,
    )
    left = [one["channel"] for one in stepped["services"] if not one["bitrate_bps"]]
    cut = [one["channel"] for one in stepped["services"] if 0 < one["bitrate_bps"] < 1_200_000]
    verdicts.add(
        f"the last resort: {before['modcod']} to {stepped['modcod']}",
        f"{', '.join(cut) or 'nobody'} lower, {', '.join(left) or 'nobody'} out",
        "ch2 lower, ch3 out, ch1 untouched",
        good=(cut, left) == (["ch2"], ["ch3"]),
    )
    _watch(console, seen, lambda now: all(site["lock"] == "locked" for site in now["sites"].values()), 20.0)
    console.fault("fade", "--uplink", "--db", "0", "--slope", str(SLOPE_DB_S))
    _watch(console, seen, lambda now: now["modcod"] == before["modcod"] and _sent(now) == 3, 90.0)
    _watch(console, seen, lambda now: now["modem"]["tx_level"] <= -9.5, 30.0)
    modcods = [
        one["modcod"]
        for one, last in zip(seen, [{"modcod": ""}, *seen], strict=False)
        if one["modcod"] != last["modcod"]
    ]
    relocks = max(
        seen[-1]["sites"][site]["relock_count"] - before["sites"][site]["relock_count"] for site in before["sites"]
    )
    dropped = seen[-1]["modem"]["dropped_packets"] - before["modem"]["dropped_packets"]
    verdicts.add(
        "all returns with hysteresis",
        f"{' > '.join(modcods)}; relocks: {relocks}, as planned {planned['relocks']}; dropped: {dropped:.0f} packets",
        "one step down, back, 2 relocks, nothing dropped",
        good=len(modcods) == 3 and relocks == 2 and dropped == 0,
    )


def _sent(found: dict[str, Any]) -> int:
    return sum(1 for service in found["services"] if service["bitrate_bps"])


def _watch(console: Console, seen: list[dict[str, Any]], ready: Any, timeout_s: float) -> None:
    """Look until it is so; everything seen is kept. Raises ScenarioError."""
    start = time.monotonic()
    while not ready(seen[-1]):
        if time.monotonic() - start > timeout_s:
            raise ScenarioError(f"not seen within {timeout_s:.0f} s on the satellite link: {seen[-1]}")
        seen.append(status(console))
