"""The chapters of the demo that are about daily operations: a purge, and a NOC that is lost."""

from __future__ import annotations

from lab.scenarios import bootstrap, cdn
from lab.scenarios.console import Console, ScenarioError
from lab.scenarios.verdicts import Verdicts

LINEUP_THREE = bootstrap.DOCUMENTS / "lineup-three.yaml"
PURGE_CHANNELS = ("ch1", "ch2")  # the first one is purged
OBJECTS = 8
_OLD, _NEW = "wrong", "right"
# Cache -> who asks it, and below what it has the channels. Edges answer receivers, shields answer edges.
_CACHES = {
    **{pop: (receiver, f"http://{edge}:{cdn.EDGE_PORT}") for pop, (receiver, edge) in cdn.EDGES.items()},
    **{core: ("pop1", f"http://{address}:{cdn.SHIELD_PORT}/media") for core, address in cdn.SHIELDS.items()},
}


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
    """Every cache has objects of two channels that were replaced at the origin. The purge of one channel's tag takes
    those of that channel out of all of them, and the others are answered from the caches as before.
    """
    for channel in PURGE_CHANNELS:
        _publish(console, channel, _OLD)
    _from_caches(console)  # fills them
    for channel in PURGE_CHANNELS:
        _publish(console, channel, _NEW)
    before = _from_caches(console)
    purged = console.nf("purge", "--tag", PURGE_CHANNELS[0])
    after = _from_caches(console)
    verdicts.note(purged.text() if purged.code == 0 else purged.text()[-1000:])
    for channel in PURGE_CHANNELS:
        kept = channel != PURGE_CHANNELS[0]
        counts = (f"{cache} {before[cache, channel]} > {after[cache, channel]}" for cache in _CACHES)
        wanted = OBJECTS if kept else 0
        verdicts.add(
            f"nf purge --tag {PURGE_CHANNELS[0]}: hits on objects of {channel}",
            ", ".join(counts),
            f"{OBJECTS} > {wanted} at every cache",
            good=purged.code == 0
            and all((before[cache, channel], after[cache, channel]) == (OBJECTS, wanted) for cache in _CACHES),
        )


def _publish(console: Console, channel: str, text: str) -> None:
    names = (cdn.publish_command(f"{channel}/slate{number}.txt", text + "\\\\n") for number in range(OBJECTS))
    console.must(console.sh("headend", "sh", "-ec", "\n".join(names)))


def _from_caches(console: Console) -> dict[tuple[str, str], int]:
    """(Cache, channel) -> how many of its objects are answered as they were before: out of the cache, since the origin
    has others. The shields are asked last: they are what edges are filled from."""
    found = {}
    for cache, (node, root) in _CACHES.items():
        for channel in PURGE_CHANNELS:
            url = f"{root}/{channel}/slate[0-{OBJECTS - 1}].txt"
            answer = console.must(console.sh(node, "curl", "-sf", "-m", "5", "-H", f"Host: {cdn.HOST}", url))
            lines = answer.stdout.split()
            if len(lines) != OBJECTS or set(lines) - {_OLD, _NEW}:
                raise ScenarioError(f"{url} at {node}: {answer.stdout[:300]}")
            found[cache, channel] = lines.count(_OLD)
    return found


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
