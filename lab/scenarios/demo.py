"""`make demo`: the main job, end to end, on real traffic; exits 0 only if all of it was seen."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console as Terminal
from rich.table import Table

from lab.scenarios import (
    anchored,
    bootstrap,
    cdn,
    fallback,
    images,
    interception,
    mobile,
    multicast,
    operations,
    satellite,
    snapshot,
    voice,
)
from lab.scenarios.console import Answer, Console, ScenarioError
from lab.scenarios.verdicts import Verdicts

LAB = "streamverse"
LINEUP = bootstrap.DOCUMENTS / "lineup.yaml"
LINEUP_THREE = bootstrap.DOCUMENTS / "lineup-three.yaml"
LINEUP_OVERLOAD = bootstrap.DOCUMENTS / "lineup-overload.yaml"
CHANNELS = ("ch1", "ch2")
EXIT_REFUSED = 3
EXIT_UNDONE = 4
SETTLED_S = 60.0


def cells(console: Console, channel: str) -> list[dict[str, Any]]:
    """The hops of a channel that are receivers, one for each path and receiver."""
    shown = console.nf("channel", "show", channel, "--json").json()
    found = [hop for hop in shown["hops"] if hop["point"] == "receiver"]
    return sorted(found, key=lambda hop: (hop["path"], hop["appliance"]))


def receivers(console: Console, channel: str, path: str = "iptv") -> dict[str, dict[str, Any]]:
    """Receiver -> its hop in the channel's chain by one path."""
    return {hop["appliance"]: hop for hop in cells(console, channel) if hop["path"] == path}


def matrix(console: Console, verdicts: Verdicts, channels: tuple[str, ...] = CHANNELS) -> bool:
    """Print channel x path x receiver; True when every cell is up without a continuity error."""
    table = Table("channel", "path", "receiver", "up", "Mbit/s", "continuity errors", "join ms", box=None)
    good = True
    for channel in channels:
        for hop in cells(console, channel):
            up = hop["verdict"] == "up"
            good &= up and hop["continuity_errors"] == 0
            table.add_row(
                channel,
                hop["path"],
                hop["appliance"],
                "[green]up[/green]" if up else f"[red]{hop['verdict']}[/red]",
                f"{hop['bitrate_bps'] / 1e6:.2f}",
                str(hop["continuity_errors"]),
                "-" if hop["join_ms"] is None else f"{hop['join_ms']:.1f}",
            )
    verdicts.terminal.print(table)
    return good


def matrix_with_test_calls(console: Console, verdicts: Verdicts) -> None:
    """Channels are judged in chapters of their own."""
    matrix(console, verdicts, (*CHANNELS, voice.CHANNEL))
    tests = [f"{hop['path']} {hop['verdict']}" for hop in cells(console, voice.CHANNEL)]
    good = bool(tests) and all(one.endswith(" up") for one in tests)
    verdicts.add("test calls, as rows of the matrix", ", ".join(tests) or "none", "each up", good=good)


def judged_by_ffprobe(console: Console, receiver: str, address: str, group: str) -> str:
    """Codecs that ffprobe sees at a receiver, such as `aac h264`; empty when it saw none."""
    url = f"udp://{group}:5000?sources=10.1.0.10&localaddr={address}&timeout=8000000"
    answer = console.sh(
        receiver,
        "ffprobe",
        "-v",
        "error",
        "-show_entries",
        "stream=codec_name",
        "-of",
        "csv=p=0",
        "-i",
        url,
        timeout_s=30.0,
    )
    return " ".join(sorted({word for line in answer.stdout.split() for word in line.split(",") if word}))


def commit(console: Console, lineup: Path, *options: str) -> tuple[Answer, float]:
    start = time.monotonic()
    answer = console.nf("lineup", "commit", str(lineup), *options)
    return answer, time.monotonic() - start


def why(answer: Answer) -> str:
    """The error and its first problem, as the operator read them."""
    lines = answer.stderr.splitlines()
    start = next((number for number, line in enumerate(lines) if line.startswith("error:")), len(lines))
    return "\n  ".join(lines[start : start + 4])


def chapter_up(console: Console, verdicts: Verdicts) -> None:
    verdicts.chapter("A network of ten appliances and a 5G core, a NOC, three receivers and two UEs")
    limits = {
        "lab": ("the lab is up", 15.0),
        "noc": ("the NOC answers", 20.0),
        "enrol": ("enrolled, underlay converged", 75.0),
    }

    def report(part: str, seconds: float) -> None:
        step, limit = limits[part]
        verdicts.add(step, f"{seconds:.1f} s", f"<= {limit:.0f} s", good=seconds <= limit)

    bootstrap.bring_up(console, report)


def chapter_commit(console: Console, verdicts: Verdicts) -> None:
    verdicts.chapter("One line-up document, committed to every box at once")
    answer, seconds = commit(console, LINEUP, "--comment", "two channels by multicast, CDN, satellite and mobile")
    verdicts.add("commit", f"exit {answer.code} in {seconds:.1f} s", "confirmed (exit 0)", good=answer.code == 0)
    if answer.code != 0:
        raise ScenarioError(answer.text())
    satellite.chapter_on_the_air(console, verdicts)
    verdicts.chapter("Each path, proved at the receiver")
    console.wait("a first sample from every receiver", lambda: all_up(console), 20.0)
    verdicts.add(
        "delivery matrix",
        "every cell up, no error" if matrix(console, verdicts) else "red cells",
        "all up, 0 errors",
        good=all_up(console),
    )
    codecs = judged_by_ffprobe(console, "r1", "10.3.1.10", "232.10.1.1")
    verdicts.add("ffprobe at r1", codecs or "nothing", "aac h264", good=codecs == "aac h264")
    cdn.chapter_played(console, verdicts, CHANNELS)


def all_up(console: Console, channels: tuple[str, ...] = CHANNELS) -> bool:
    hops = [hop for channel in channels for hop in cells(console, channel)]
    return bool(hops) and all(hop["verdict"] == "up" and hop["continuity_errors"] == 0 for hop in hops)


def all_up_now(console: Console, channels: tuple[str, ...] = CHANNELS) -> bool:
    """Up at every receiver, whatever was lost before."""
    hops = [hop for channel in channels for hop in cells(console, channel)]
    return bool(hops) and all(hop["verdict"] == "up" for hop in hops)


def break_nft(console: Console, node: str) -> None:
    """From now on `nft` of this node fails when it is to change something; reading and checking go on."""
    console.fault("break", node, "nft", "--when", "-f", "--unless", "-c")


def chapter_refused(console: Console, verdicts: Verdicts) -> None:
    verdicts.chapter("A line-up that does not fit a link is refused whole")
    before = bootstrap.appliances(console)
    answer, _ = commit(console, LINEUP_OVERLOAD)
    unchanged = confirmed(before) == confirmed(bootstrap.appliances(console))
    verdicts.note(why(answer))
    names_link = "core" in answer.text() or "pop" in answer.text()
    verdicts.add(
        "overload",
        f"exit {answer.code}, {'nothing changed' if unchanged else 'SOMETHING CHANGED'}",
        "input or refused, the link named, nothing changed",
        good=answer.code in (2, EXIT_REFUSED) and unchanged and names_link,
    )


def confirmed(listing: dict[str, dict[str, Any]]) -> dict[str, int]:
    return {name: entry["confirmed_revision"] for name, entry in listing.items()}


def left_over(console: Console, before: snapshot.Snapshot) -> list[str]:
    """What still differs from the snapshot when OSPF has had its time to settle."""
    with contextlib.suppress(ScenarioError):
        console.wait("as before", lambda: not snapshot.differences(before, snapshot.snapshot(console)), 30.0)
    return snapshot.differences(before, snapshot.snapshot(console))


def chapter_undone(console: Console, verdicts: Verdicts) -> None:
    verdicts.chapter("A commit that fails on one appliance while it is applied is undone whole")
    before = snapshot.snapshot(console)
    break_nft(console, "pop2")
    answer, _ = commit(console, LINEUP_THREE, "--comment", "pop2 will fail")
    console.fault("mend-program", "pop2", "nft")
    left = left_over(console, before)
    verdicts.note(why(answer))
    verdicts.add(
        "pop2 fails in APPLY",
        f"exit {answer.code}, {', '.join(left) or 'every box as before'}",
        f"undone (exit {EXIT_UNDONE}), every box as before",
        good=answer.code == EXIT_UNDONE and not left,
    )


def chapter_killed(console: Console, verdicts: Verdicts) -> dict[str, dict[str, Any]]:
    """Returns the snapshot from before this commit."""
    verdicts.chapter("The agent of a PoP is killed mid-commit, and heals")
    before = snapshot.snapshot(console)
    console.fault("killpoint", "pop1", "effect:apply")
    answer, seconds = commit(console, LINEUP_THREE, "--comment", "a third channel")
    died = agent_restarts(console, "pop1")
    verdicts.add(
        "agent of pop1 killed between an effect and its record",
        f"exit {answer.code} in {seconds:.1f} s, agent restarted {died}x",
        "restarted once, commit confirmed",
        good=answer.code == 0 and died >= 1,
    )
    if answer.code != 0:
        verdicts.note(why(answer))
    console.wait("the third channel at every receiver", lambda: all_up(console, (*CHANNELS, "ch3")), 20.0)
    good = matrix(console, verdicts, (*CHANNELS, "ch3"))
    verdicts.add("three channels", "all up" if good else "red cells", "all up, 0 errors", good=good)
    return before


def agent_restarts(console: Console, appliance: str) -> int:
    shown = console.nf("appliance", "show", appliance, "--json").json()
    return sum(unit["restarts"] for unit in (shown.get("status") or {}).get("units", []) if unit["name"] == "agent")


def chapter_rollback(console: Console, verdicts: Verdicts, before: dict[str, dict[str, Any]]) -> None:
    verdicts.chapter("Rollback: every box as it was before the commit")
    answer = console.nf("lineup", "rollback", "--comment", "back to two channels")
    left = left_over(console, before)
    verdicts.add(
        "rollback",
        f"exit {answer.code}, {', '.join(left) or 'equal to the snapshot'}",
        "confirmed, equal to the snapshot",
        good=answer.code == 0 and not left,
    )


def chapter_red(console: Console, verdicts: Verdicts) -> None:
    verdicts.chapter("What is broken by hand shows red, and green again when mended")
    for end in ("pop1:eth1", "pop1:eth2"):
        console.fault("silence", end)
    seconds = console.wait("ch1 red at r1", lambda: receivers(console, "ch1")["r1"]["verdict"] != "up", 15.0)
    code = console.nf("channel", "show", "ch1").code
    verdicts.add(
        "both links of pop1 silenced",
        f"red after {seconds:.1f} s, exit {code}",
        "red within 15 s, exit not 0",
        good=code != 0,
    )
    for end in ("pop1:eth1", "pop1:eth2"):
        console.fault("restore", end)
    seconds = console.wait("ch1 up at r1 again", lambda: receivers(console, "ch1")["r1"]["verdict"] == "up", 60.0)
    verdicts.add("links restored", f"up after {seconds:.1f} s", "up within 60 s", good=True)
    console.wait("routes back", lambda: bootstrap.routed(console), 60.0)


def chapter_steady(console: Console, verdicts: Verdicts, since: float) -> None:
    """r2 and r3 are behind pop2, whose links were never touched: they must have lost nothing since the first commit."""
    verdicts.chapter("Meanwhile, at the receivers that nobody disturbed")
    rest = SETTLED_S - (time.monotonic() - since)
    if rest > 0:
        time.sleep(rest)
    hops = [receivers(console, channel)[receiver] for channel in CHANNELS for receiver in ("r2", "r3")]
    errors = sum(hop["continuity_errors"] for hop in hops)
    packets = min(hop["packets"] for hop in hops)
    seconds = time.monotonic() - since
    good = errors == 0 and all(hop["verdict"] == "up" for hop in hops)
    verdicts.add(
        "continuity",
        f"{errors} errors in {seconds:.0f} s, at least {packets} TS packets each",
        f"0 errors over {SETTLED_S:.0f} s",
        good=good,
    )


def farewell(terminal: Terminal) -> None:
    nf = Path(sys.executable).with_name("nf")
    terminal.print("\n[bold]The lab is still up. Try:[/bold]")
    for line in (
        f"{nf} lab exec noc nf channel show ch1 --watch",
        f"{nf} lab fault silence c1:eth3        # then look again; `fault restore c1:eth3` mends it",
        f"{nf} lab exec noc nf tree trace ch1 r1",
        f"{nf} lab exec noc nf tree whatif --node c1",
        f"{nf} lab exec noc nf lineup plan {LINEUP_THREE}",
        f"{nf} lab exec noc nf lineup history",
        f"{nf} lab exec noc nf alarms",
        f"{nf} lab exec noc nf audit show",
        f"{nf} lab exec noc nf path list",
        f"{nf} lab exec r1 curl -s '{bootstrap.STEERING}/steering/v1/hls/ch1?site=pop1'",
        f"{nf} lab exec r1 curl -s '{bootstrap.SERVICE_LIST}/dvbi/service-list.xml?regionId=pop1'",
        f"{nf} lab exec noc nf steer list",
        f"{nf} lab exec ue1 curl -s http://198.51.100.1/",
        f"{nf} lab exec ue2 curl -s http://198.51.100.1/",
        f"{nf} lab exec r1 tshark -i eth1 -c 10",
        f"{nf} lab down {LAB}                   # takes everything down",
    ):
        terminal.print(f"  {line}", highlight=False, soft_wrap=True)


def run(console: Console, verdicts: Verdicts) -> None:
    chapter_up(console, verdicts)
    chapter_commit(console, verdicts)
    since = time.monotonic()
    verdicts.chapter("A UE behind the UPF of pop1: the CDN from the PoP's own cache, all else by the default N6")
    mobile.chapter_steered(console, verdicts)
    verdicts.chapter("A phone behind one PoP calls a browser behind the other")
    voice.chapter_call(console, verdicts)
    matrix_with_test_calls(console, verdicts)
    verdicts.chapter("A conference of five, and a menu by keys")
    voice.chapter_services(console, verdicts)
    verdicts.chapter("Every node of the voice core is drained in turn under 50 calls")
    voice.chapter_drains(console, verdicts)
    chapter_refused(console, verdicts)
    chapter_undone(console, verdicts)
    before = chapter_killed(console, verdicts)
    chapter_rollback(console, verdicts, before)
    verdicts.chapter("A third channel by CDN comes, goes, and leaves nothing behind")
    cdn.chapter_rollback(console, verdicts)
    verdicts.chapter("More than the transponder carries is refused whole")
    satellite.chapter_refused(console, verdicts)
    verdicts.chapter("Rain over the uplink: power, then the MODCOD, then all comes back")
    satellite.chapter_rain(console, verdicts)
    verdicts.chapter("Rain at one receive site")
    fallback.chapter_one_site(console, verdicts)
    verdicts.chapter("The satellite is lost at a PoP: the CDN path takes over on the same groups, and gives back")
    fallback.chapter_cut(console, verdicts)
    verdicts.chapter("The content of one channel leaves every cache, and that of no other")
    operations.chapter_purge(console, verdicts)
    verdicts.chapter("A shield hangs while people watch by CDN: the edge asks the other")
    cdn.chapter_shield_hangs(console, verdicts, CHANNELS)
    verdicts.chapter("The NOC is destroyed, and comes back from its continuous copy")
    operations.chapter_noc_lost(console, verdicts, CHANNELS)
    chapter_red(console, verdicts)
    chapter_steady(console, verdicts, since)
    verdicts.chapter("The cache that serves the UE dies")
    mobile.chapter_cache_dies(console, verdicts)
    verdicts.chapter("A UE whose session is in the core: a classifier sends what is for the CDN to the cache of pop1")
    anchored.chapter_classified(console, verdicts)
    console.wait("every receiver up again", lambda: all_up_now(console), 60.0)
    verdicts.chapter("A channel is protected: two trees without a common router")
    multicast.chapter_protected(console, verdicts)
    matrix(console, verdicts)
    verdicts.chapter("A core dies")
    multicast.chapter_core_dies(console, verdicts)
    verdicts.chapter("A link loses packets in one direction, and is named")
    multicast.chapter_loss_found(console, verdicts)
    verdicts.chapter("An update bundle in small: signed, judged, refused")
    images.chapter_bundle(console, verdicts)
    verdicts.chapter("Lawful intercept: two warrants, two agencies, and nothing for anybody else to see")
    interception.chapter_intercepted(console, verdicts)


def main() -> int:
    terminal = Terminal()
    if os.geteuid() != 0:
        terminal.print("The demo makes network namespaces and needs root: run `sudo make demo`.")
        return 2
    console = Console(LAB)
    verdicts = Verdicts(terminal, Path("build/demo.json"))
    start = time.monotonic()
    complete = False
    try:
        run(console, verdicts)
        complete = True
    except ScenarioError as error:
        verdicts.add("scenario", str(error), "runs to its end", good=False)
    keep = os.environ.get("KEEP") == "1"
    if keep:
        farewell(terminal)
    else:
        console.host("lab", "down", LAB)
        left = console.host("lab", "status", "--json")
        verdicts.chapter("Everything taken down")
        verdicts.add(
            "nf lab down",
            "no lab left" if LAB not in left.stdout else "SOMETHING LEFT",
            "no lab left",
            good=LAB not in left.stdout,
        )
    good = complete and verdicts.good
    said = "All was seen" if good else "[red]Not all was seen[/red]"
    seconds = time.monotonic() - start
    terminal.print(f"\n[bold]{said}[/bold] in {seconds:.0f} s; figures in {verdicts.path}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
