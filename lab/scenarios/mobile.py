"""The chapters of the demo that are about mobile people: the near PoP's cache answers what a UE asks of the CDN."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Thread
from typing import Any

from lab.scenarios import cdn
from lab.scenarios.console import Answer, Console, ScenarioError
from lab.scenarios.verdicts import Verdicts

UE, POP, FAR_POP, INTERNET = "ue1", "pop1", "pop2", "inet"
UPF, EXIT = "edge1", "eth6"
CHANNEL, PATH = "ch1", "mobile"
CACHE = "trafficserver"
"""The unit of the edge cache."""
CDN_ADDRESS = "203.0.113.10"
STRANGER, STRANGER_NAME = "198.51.100.1", "www.example.test"
NAT_OF_EXIT, NAT_OF_INTERNET = "10.6.1.2", "10.1.0.30"
MASTER = f"http://{cdn.HOST}/{CHANNEL}/master.m3u8"
STALL_S = 1.0
UNVERIFIED = "UNVERIFIED ON REAL OPEN5GS"
_ACCESS_LOG = "/run/nf/cdn-edge/log/access.log"
_ASKING = "/run/asking.pid"
SEGMENTS = 3
"""That six seconds are, of two each."""
SEVERAL = 5
"""Answers to small requests: more than the UE's probe asks for meanwhile."""
_BAD = 400
_tags = itertools.count(1)


def whose_core(console: Console) -> str:
    """Whose behaviour a UPF of the lab shows: `UNVERIFIED` for a model, else what the daemon says that it is."""
    told = console.sh(POP, "sh", "-c", '"${NF_OPEN5GS_BIN:-/usr/bin}/open5gs-upfd" -v')
    version = next(iter(told.stdout.splitlines()), "")
    return UNVERIFIED if told.code != 0 or "MODEL" in told.text() else version


def ue_address(console: Console, ue: str = UE) -> str:
    """What the SMF gave the UE. Raises ScenarioError when it has no session."""
    shown = console.must(console.sh(ue, "ip", "-j", "-4", "address", "show", "dev", "ue0")).json()
    addresses = [str(info["local"]) for link in shown for info in link.get("addr_info", ())]
    if not addresses:
        raise ScenarioError(f"{ue} has no session")
    return addresses[0]


def steering(console: Console, upf: str = UPF) -> dict[str, Any]:
    """What `nf steer list` tells of the UPF right now, also while another one does not answer."""
    shown = console.nf("steer", "list", "--json").json()
    found: dict[str, Any] = next(one for one in shown["upfs"] if one["upf"] == upf)
    return found


def is_open(console: Console, upf: str = UPF) -> bool:
    return bool((steering(console, upf)["live"] or {}).get("open"))


def explained(console: Console, destination: str, ue: str = UE) -> dict[str, Any]:
    """Where the UE's traffic goes, and why, as `nf steer explain` tells."""
    shown = console.must(console.nf("steer", "explain", ue_address(console, ue), destination, "--json")).json()
    found: dict[str, Any] = shown["answers"][0]
    return found


def served(console: Console, pop: str, client: str, text: str) -> int:
    """Answers in the access log of a PoP's Traffic Server: to this client, of URLs with `text` in them."""
    lines = console.sh(pop, "grep", "-F", text, _ACCESS_LOG).stdout.splitlines()
    return sum(line["client"] == client and line["status"] < _BAD for line in map(json.loads, lines))


def far_flows(console: Console) -> int:
    """Connections to the CDN that have come out of the default N6 so far."""
    listed = console.must(console.sh(INTERNET, "nft", "-j", "list", "chain", "ip", "lab_internet", "far")).json()
    expressions = [part for item in listed["nftables"] for part in item.get("rule", {}).get("expr", ())]
    return sum(int(part["counter"]["packets"]) for part in expressions if "counter" in part)


def left_by_exit(console: Console, appliance: str = POP) -> int:
    """Packets that left by the default exit of N6."""
    (link,) = console.must(console.sh(appliance, "ip", "-j", "-s", "link", "show", "dev", EXIT)).json()
    return int(link["stats64"]["tx"]["packets"])


def played(console: Console, ue: str = UE) -> tuple[Answer, str]:
    """ffmpeg at the UE plays six seconds of HLS, by the CDN's name, over the GTP-U tunnel; and its mark in logs."""
    tag = f"player={next(_tags)}"
    command = ("ffmpeg", "-v", "error", "-nostdin", "-rw_timeout", "8000000", "-i", f"{MASTER}?{tag}")
    return console.sh(ue, *command, "-t", "6", "-f", "null", "-", timeout_s=60.0), tag


def told_by_stranger(console: Console, name: str, ue: str = UE) -> str:
    return console.sh(ue, "curl", "-s", "-m", "10", f"http://{name}/").stdout.strip()


@dataclass
class Asked:
    """What the UE's small requests saw: see lab.mobile.asking."""

    answers: int = 0
    failures: int = 0
    stall_s: float = 0.0


@contextmanager
def asking(console: Console, ue: str = UE) -> Iterator[Asked]:
    """The UE asks all the time; filled at the end."""
    asked = Asked()
    found: list[Answer] = []
    script = f"echo $$ > {_ASKING}; exec python -m lab.mobile.asking {MASTER} --every 0.05"
    near = asked_of(console, POP, ue)
    thread = Thread(target=lambda: found.append(console.sh(ue, "sh", "-c", script, timeout_s=900.0)))
    thread.start()
    try:
        console.wait("the UE is answered by the near cache", lambda: asked_of(console, POP, ue) > near + SEVERAL, 20.0)
        yield asked
    finally:
        console.sh(ue, "sh", "-c", f"kill -TERM $(cat {_ASKING})")
        thread.join()
    told = console.must(found[0]).json()
    asked.answers, asked.failures, asked.stall_s = told["answers"], told["failures"], told["stall_s"]


def asked_of(console: Console, pop: str, ue: str = UE) -> int:
    """Answers to the UE at a PoP: to itself at the near one, to the internet in its name at another."""
    client = ue_address(console, ue) if pop == POP else NAT_OF_INTERNET
    return served(console, pop, client, f'{MASTER}"')


@dataclass(frozen=True, slots=True)
class Outage:
    """The UE's requests while its near cache was away: by which way they went, and whether it came back."""

    asked: Asked
    why: str
    exit: str
    far: int
    far_served: int
    back_s: float


def cache_dies(console: Console, fault: str, ue: str = UE) -> Outage:
    """`freeze` leaves it alive and deaf until it is thawed; `kill` has its supervisor start it again."""
    with asking(console, ue) as asked:
        before, far = far_flows(console), asked_of(console, FAR_POP)
        console.fault(fault, POP, CACHE)
        console.wait("another PoP answers", lambda: asked_of(console, FAR_POP) > far + SEVERAL, 20.0)
        verdict = {"exit": "", "why": ""}
        if fault == "freeze":
            verdict = explained(console, CDN_ADDRESS, ue)
            console.fault("thaw", POP, CACHE)
        back_s = console.wait("the gate is open again", lambda: is_open(console), 60.0)
        near = asked_of(console, POP, ue)
        console.wait("the near cache answers again", lambda: asked_of(console, POP, ue) > near + SEVERAL, 20.0)
        far = asked_of(console, FAR_POP) - far
    return Outage(asked, verdict["why"], verdict["exit"], far_flows(console) - before, far, back_s)


def chapter_steered(console: Console, verdicts: Verdicts) -> None:
    """A UE's player is served by the PoP's own Traffic Server; all else of the UE leaves by the default N6."""
    for line in console.must(console.nf("steer", "list")).stdout.splitlines():
        verdicts.note(line)
    for destination in (CDN_ADDRESS, STRANGER):
        told = explained(console, destination)
        verdicts.note(f"nf steer explain {ue_address(console)} {destination}: {told['exit']}, {told['why']}")
    ue = ue_address(console)

    def fetched() -> int:
        return served(console, POP, ue, f"/{CHANNEL}/video/")

    before, had = far_flows(console), fetched()
    answer, tag = played(console)
    console.wait("the cache's log of the playlist", lambda: served(console, POP, ue, tag) > 0, 20.0)
    console.wait("the cache's log of its segments", lambda: fetched() - had >= SEGMENTS, 20.0)
    well = answer.code == 0 and not answer.text()
    by_far = far_flows(console) - before
    verdicts.add(
        f"ffmpeg plays {CHANNEL} at {UE} over its GTP-U tunnel, by name",
        f"{'six seconds' if well else answer.text()[-300:] or f'exit {answer.code}'}; the Traffic Server of {POP} has "
        f"{fetched() - had} new video segments of {ue} in its log, {by_far} connections left by {EXIT} "
        f"({whose_core(console)})",
        f"played, from {POP}, none by {EXIT}",
        good=well and by_far == 0,
    )
    packets = left_by_exit(console)
    says = [told_by_stranger(console, name) for name in (STRANGER, STRANGER_NAME)]
    packets = left_by_exit(console) - packets
    expected = f"the internet, {STRANGER}; you are {NAT_OF_EXIT}"
    verdicts.add(
        f"other traffic of {UE}: http://{STRANGER}, http://{STRANGER_NAME}",
        f"{'; '.join(dict.fromkeys(says)) or 'no answer'} ({packets} packets left by {EXIT}; {whose_core(console)})",
        f"answered, by {EXIT}",
        good=says == [expected, expected] and packets > 0,
    )


def chapter_cache_dies(console: Console, verdicts: Verdicts) -> None:
    """The next request takes the default path; when the cache is well again, it is served from there."""
    for fault, told in (("freeze", "hangs (SIGSTOP)"), ("kill", "is killed (SIGKILL)")):
        outage = cache_dies(console, fault)
        asked = outage.asked
        if outage.why:
            verdicts.note(f"nf steer explain {CDN_ADDRESS}: {outage.exit}, {outage.why}")
        verdicts.add(
            f"the Traffic Server of {POP} {told}",
            f"longest stall {asked.stall_s * 1000:.0f} ms of {asked.answers} answers ({asked.failures} were asked for "
            f"twice); {FAR_POP} answered {outage.far_served} by {EXIT}; near again {outage.back_s:.1f} s later "
            f"({whose_core(console)})",
            f"no stall over {STALL_S:.0f} s, by {EXIT}, and back",
            good=asked.stall_s <= STALL_S and outage.far > 0 and outage.far_served > 0,
        )
