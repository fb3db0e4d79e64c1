"""The chapters of the demo that are about daily operations: a purge, and a NOC that is lost."""

from __future__ import annotations

from lab.scenarios import bootstrap, cdn
from lab.scenarios.console import Console, ScenarioError
from lab.scenarios.verdicts import Verdicts

LINEUP_THREE = bootstrap.DOCUMENTS / "lineup-three.yaml"
SLATE = "ch1/slate.txt"


def destroy_noc(console: Console, *, with_copy: bool = False) -> None:
    """The NOC's machine is gone with its disk; `with_copy`: and the second place where its copy was."""
    console.fault("kill", "noc", "noc run")
    places = ("/var/lib/nf/noc", bootstrap.REPLICA) if with_copy else ("/var/lib/nf/noc",)
    console.must(console.sh("noc", "rm", "-rf", *places))


def attached(console: Console) -> bool:
    """The NOC answers, and every appliance is there on the current revision."""
    return console.nf("noc", "status").code == 0 and bootstrap.all_current(console)


def continuity(console: Console, channels: tuple[str, ...]) -> dict[str, tuple[int, int]]:
    """`CHANNEL PATH RECEIVER` -> (continuity errors, packets) since its probe began."""
    found = {}
    for channel in channels:
        hops = console.must(console.nf("channel", "show", channel, "--json")).json()["hops"]
        for hop in hops:
            if hop["point"] == "receiver":
                name = f"{channel} {hop['path']} {hop['appliance']}"
                found[name] = (hop["continuity_errors"] or 0, hop["packets"])
    return found


def chapter_purge(console: Console, verdicts: Verdicts) -> None:
    """What is wrong at every edge, though the origin is right, is right after a purge."""

    def seen() -> str:
        return " ".join(f"{pop}:{_fetched(console, pop)}" for pop in cdn.EDGES)

    _publish(console, "wrong")
    seen()  # fills the caches
    _publish(console, "right")
    before = seen()
    purged = console.nf("purge", "ch1")
    after = seen()
    verdicts.note(purged.stdout.splitlines()[-1] if purged.code == 0 else purged.text()[-1000:])
    verdicts.add(
        "nf purge ch1, an object that was replaced at the origin",
        f"before {before}, after {after}",
        "wrong at both edges before, right after",
        good=purged.code == 0 and before.count(":wrong") == after.count(":right") == len(cdn.EDGES),
    )


def _publish(console: Console, text: str) -> None:
    console.must(console.sh("headend", "sh", "-c", cdn.publish_command(SLATE, text)))


def _fetched(console: Console, pop: str) -> str:
    receiver, command = cdn.fetch_command(pop, SLATE)
    return console.sh(receiver, "sh", "-c", command).stdout.partition("\n")[0]


def chapter_noc_lost(console: Console, verdicts: Verdicts, channels: tuple[str, ...]) -> None:
    """Everything the NOC had is gone but its continuous copy; viewers notice nothing, and the next commit works."""
    before = continuity(console, channels)
    status = console.must(console.nf("noc", "status", "--json")).json()
    age_s = status["replica"]["age_s"]
    verdicts.add("the copy in the second place", f"{age_s:.0f} s old", "<= 60 s", good=age_s <= 60)
    destroy_noc(console)
    silent = console.nf("noc", "status").code
    codecs = cdn.played(console, "r2", cdn.EDGES["pop2"][1], "ch1")
    good = silent != 0 and codecs == "aac h264"
    verdicts.add("without a NOC, ffprobe plays ch1 behind pop2", codecs or "nothing", "aac h264", good=good)
    restored = console.nf("backup", "restore", bootstrap.REPLICA)
    verdicts.note(restored.text())
    if restored.code != 0:
        raise ScenarioError(restored.text())
    bootstrap.noc_run(console)
    seconds = console.wait("the fleet attaches to the restored NOC", lambda: attached(console), 90.0)
    verdicts.add("the fleet attaches again by itself", f"{seconds:.1f} s", "<= 60 s", good=seconds <= 60)
    _next_commit(console, verdicts)
    after = continuity(console, channels)
    lost = sum(after[name][0] - before[name][0] for name in before)
    least = min(after[name][1] - before[name][1] for name in before)
    verdicts.add(
        "meanwhile, at every receiver of every path",
        f"{lost} continuity errors, at least {least} packets or segments more",
        "0 errors, and it went on",
        good=lost == 0 and least > 0,
    )


def _next_commit(console: Console, verdicts: Verdicts) -> None:
    there = console.nf("lineup", "commit", str(LINEUP_THREE), "--comment", "the restored NOC commits")
    back = console.nf("lineup", "rollback", "--comment", "and takes back")
    good = there.code == back.code == 0
    if not good:
        verdicts.note(f"{there.text()[-1000:]}\n{back.text()[-1000:]}")
    verdicts.add("the next commit, and its rollback", f"exit {there.code}, {back.code}", "confirmed, twice", good=good)
    audit = console.nf("audit", "verify", "--json")
    intact = audit.code == 0 and audit.json()["intact"]
    verdicts.add("the audit chain over the loss", "intact" if intact else "BROKEN", "intact", good=intact)
