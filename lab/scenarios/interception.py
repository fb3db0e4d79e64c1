"""Lawful intercept in the reference network: from two warrants to two agencies, and nothing for anybody else.

Alice behind pop1 calls Bob behind pop2, while the UE behind pop1 asks the internet; both agencies have warrants for
Alice and the UE, one of them for Bob as well. The demo's chapter shows what the agencies get. `chapter_unseen` takes
longer: it does the same without a warrant and with, and compares all that the NOC can look at.
"""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from lab.interception import runs, staff
from lab.interception.bring_up import bring_up, is_up
from lab.interception.evidence import Evidence
from lab.interception.judge import Round, judge
from lab.interception.mask import published
from lab.interception.places import (
    ADMF,
    ADMF_USER,
    CLERK,
    INTERCEPT_USER,
    MDF,
    MDF_USER,
    X2X3_PORT,
    Agency,
    LabSite,
)
from lab.interception.plants import PLANTS, overlooked
from lab.interception.views import METRICS_SERVICE, named, standing
from lab.scenarios import bootstrap, mobile
from lab.scenarios.console import Console, ScenarioError
from lab.scenarios.verdicts import Verdicts
from lawful_intercept.isolation import TITLE

WARRANT_S: Final = 90
"""Enough for a run, and for the call that goes on over the end."""
UNSEEN_S: Final = 600
"""More than a run takes on a busy machine: these are revoked after it."""
UE_SUPI: Final = "999700000000001"
NS: Final = 10**9
_SHOWN: Final = 40
NOTHING: Final = "b''"
_CONNECT: Final = """
import socket, sys
point = socket.socket(socket.AF_UNIX)
point.settimeout(30)
point.connect(sys.argv[1])
print(point.recv(1))
"""
_TRIES: Final = 2
_MEDIA_BYTES_S: Final = 50 * 172
"""One direction of G.711 in packets of 20 ms (RFC 3551), with its RTP header."""


def chapter_intercepted(console: Console, verdicts: Verdicts) -> None:
    site = LabSite(console)
    seconds = bring_up(site)
    verdicts.add(
        f"administration, mediation, points at {', '.join(one.node for one in site.plan.points)}, two agencies",
        f"{seconds:.1f} s",
        "all of them answer",
        good=True,
    )
    apart(console, site, verdicts)
    warrants = _warrants(site, verdicts)
    before = _handed_over(console, site)
    caller, callee = runs.calling(console)
    for _ in range(runs.ASKED):
        mobile.told_by_stranger(console, mobile.STRANGER)
    for one in (caller, callee):
        one.wait("over")
    _both_gave(verdicts, before, _handed_over(console, site))
    words = [one.liid.encode() for one in site.plan.agencies] + [word.encode() for word in (ADMF, MDF)]
    words += [one.number.encode() for one in warrants]
    found = named(console, words)
    verdicts.add(
        "files of every other node that name a warrant, an agency's LIID, or an element of interception",
        "; ".join(found[:3]) or "none",
        "none",
        good=not found,
    )
    _expiry(console, site, verdicts, warrants)
    for agency in site.plan.agencies:
        _product(console, site, verdicts, agency)
    told = staff.audit(site)
    verdicts.add("nf-li audit verify", told.text().splitlines()[-1][:120], "intact", good=told.code == 0)


def apart(console: Console, site: LabSite, verdicts: Verdicts) -> None:
    """Processes are of users of their own, and observation points answer nobody else, root neither."""
    plan = site.plan
    wanted = {one.node: [INTERCEPT_USER] for one in plan.points} | {plan.li: [ADMF_USER, MDF_USER]}
    found = {
        node: sorted(console.must(console.sh(node, "ps", "-C", TITLE, "-o", "user:20=")).text().split())
        for node in wanted
    }
    verdicts.add(
        "whose the processes of interception are",
        "; ".join(f"{node}: {', '.join(users)}" for node, users in found.items()),
        "users of their own",
        good=found == wanted,
    )
    sockets = [
        (one.node, path)
        for one in plan.points
        for path in console.must(console.sh(one.node, "find", one.run_dir, "-type", "s", "-user", INTERCEPT_USER))
        .text()
        .split()
    ]
    told = [console.sh(node, "python3", "-c", _CONNECT, path).text().strip() for node, path in sockets]
    expected = sum(len(one.points) for one in plan.points)
    verdicts.add(
        "what observation points say to root",
        f"{sum(answer == NOTHING for answer in told)} of {len(told)} nothing",
        f"nothing, all {expected}",
        good=told == [NOTHING] * expected,
    )


def chapter_unseen(console: Console, verdicts: Verdicts) -> None:
    """Runs without a warrant stand before and behind the one with: what drifts is no difference. The evidence of each
    is left beside the verdicts."""
    site = LabSite(console)
    if not is_up(site):
        bring_up(site)
    console.must(console.nf(*METRICS_SERVICE))
    folder = verdicts.path.parent / "interception-evidence"
    folder.mkdir(exist_ok=True)
    usual = standing(console)
    before = [_looked(console, folder / f"without-{number}", usual) for number in (1, 2)]
    warrants = _warrants(site, verdicts, "-2", UNSEEN_S)
    given = _handed_over(console, site)
    with_ = _looked(console, folder / "with", usual)
    _both_gave(verdicts, given, _handed_over(console, site))
    for one in warrants:
        staff.revoke(site, one)
    site.wait("no warrant is active", lambda: all(staff.state(site, one) != "active" for one in warrants), 30.0)
    made = Round((*before, _looked(console, folder / "without-3", usual)), with_)
    mask = published()
    verdict = judge([made], mask)
    (folder / "differences.txt").write_text(verdict.text() + "\n")
    told = [one.text() for one in verdict.differences]
    for line in told:
        verdicts.note(line)
    shown = "".join(f"\n  {line}" for line in told[:_SHOWN])
    verdicts.add(
        "what the NOC's engineers, people on the boxes and the callers see, with warrants and without",
        f"{len(verdict.differences)} differences in {sum(verdict.compared.values())} items, figures and times of "
        f"{len(verdict.compared)} sources, {len(mask.ids())} parts of the mask{shown}",
        "no difference",
        good=verdict.same,
    )
    missed = overlooked(made, mask)
    verdicts.add(
        "what is planted in the evidence of the run with warrants, each by itself",
        f"{len(PLANTS) - len(missed)} of {len(PLANTS)} found" + "".join(f"\n  overlooked: {one}" for one in missed),
        "all",
        good=not missed,
    )


def _looked(console: Console, path: Path, usual: frozenset[str]) -> Evidence:
    """A run that begins and ends with the usual alarms: where a machine is too busy, a network breaks by itself. Of so
    many that do not, the last is judged, with a task as without. `Round.kept` reads what is saved."""
    for _ in range(_TRIES):
        with contextlib.suppress(ScenarioError):
            console.wait("the usual alarms", lambda: standing(console) == usual, 10.0)
        evidence = runs.run(console)
        if standing(console) == usual:
            break
    evidence.save(path.with_suffix(".json.gz"))
    return evidence


def _warrants(site: LabSite, verdicts: Verdicts, more: str = "", seconds: float = WARRANT_S) -> list[staff.Warrant]:
    """`more`: behind the agencies' LIIDs, which are of one warrant each."""
    first, second = site.plan.agencies
    alice, bob = ({"sipUri": f"sip:{user}@{bootstrap.VOICE_DOMAIN}"} for user in ("alice", "bob"))
    targets = [alice, {"supiimsi": UE_SUPI}]
    made = [
        staff.submit(site, first, targets, ["voice", "data"], seconds, liid=f"{first.liid}{more}"),
        staff.submit(site, second, [*targets, bob], ["voice", "data"], seconds, liid=f"{second.liid}{more}"),
    ]
    own = staff.approve(site, made[0], CLERK)
    other = [staff.approve(site, one) for one in made]
    site.wait("both warrants are active", lambda: all(staff.state(site, one) == "active" for one in made), 30.0)
    eyes = ", ".join(_word(one.code) for one in other)
    verdicts.add(
        "two warrants, written by one officer",
        f"her own approval: {'refused' if own.code else 'TAKEN'}; another's: {eyes}",
        "refused; both taken",
        good=own.code != 0 and all(one.code == 0 for one in other),
    )
    return made


def _word(code: int) -> str:
    return "taken" if code == 0 else "REFUSED"


def _expiry(console: Console, site: LabSite, verdicts: Verdicts, warrants: list[staff.Warrant]) -> None:
    """A call that goes on over the end of the warrants."""
    stop = max(one.stop for one in warrants)
    left = stop - time.time()
    caller, callee = runs.calling(console, max(6.0, left + 4.0))
    caller.wait("over")
    callee.wait("over")
    site.wait("both have expired", lambda: all(staff.state(site, one) == "expired" for one in warrants), 30.0)
    # What was intercepted before the end may still be on its way, as behind a machine that has much to do.
    with contextlib.suppress(ScenarioError):
        site.wait("the last of it", lambda: all(one.stop - _newest(site, one) < 1.0 for one in warrants), 20.0)
    newest = [_newest(site, one) - one.stop for one in warrants]
    wrong = [at for at in newest if not -1.0 <= at < 0.0]
    last = [f"{one.agency.node} {at:+.2f} s" for one, at in zip(warrants, newest, strict=True)]
    verdicts.add(
        "the warrants expire in the middle of a call: the last that was delivered, from that second",
        f"{', '.join(last)}",
        "in the second before it, and nothing from it on",
        good=not wrong and left > 0,
    )


def _newest(site: LabSite, warrant: staff.Warrant) -> float:
    """When the last of what its agency has happened, in seconds since the epoch."""
    return max((int(found["last_ns"]) for found in staff.sessions(site, warrant.agency)), default=0) / NS


def _product(console: Console, site: LabSite, verdicts: Verdicts, agency: Agency) -> None:
    """What the agency's receiver has: sessions that are whole, with IRI and content, and the audio of a call."""
    found = [one for one in staff.sessions(site, agency) if one["liid"] == agency.liid]
    rows = [(one, {part["type"]: part for part in one["streams"]}) for one in found]
    calls = [one for one, parts in rows if _has(parts, "CC") and _iri(site, agency, one, "INVITE ")]
    data = [one for one, parts in rows if _has(parts, "CC") and not _iri(site, agency, one, "INVITE ")]
    checks: dict[str, int] = {}
    for _, parts in rows:
        for part in parts.values():
            for state, count in part["checks"].items():
                checks[state] = checks.get(state, 0) + count
    gaps = sum(part["missing_count"] + part["sealed"] for _, parts in rows for part in parts.values())
    verdicts.add(
        f"{agency.node} ({', '.join(_settings(agency))})",
        f"{len(calls)} calls and {len(data)} sessions of data with content, {gaps} gaps or closed payloads, "
        f"checks: {json.dumps(checks) if checks else 'none'}",
        "calls and data, no gap" + (", hashes right" if agency.encrypted else ""),
        good=bool(calls and data) and not gaps and (bool(checks) or not agency.encrypted) and "wrong" not in checks,
    )
    if calls:
        _portal(site, verdicts, agency, calls[-1]["session"])
        _audio(console, site, verdicts, agency, calls[-1]["session"])


def _handed_over(console: Console, site: LabSite) -> dict[str, int]:
    """Point with voice -> octets that it has sent to mediation as X2 and X3 on the connections that are up, by TCP."""
    found = {}
    for point in site.plan.points:
        if "voice" in point.services:
            to = f"dst {site.plan.li_address} and dport = {X2X3_PORT}"
            told = console.must(console.sh(point.node, "ss", "-tinOH", to)).stdout
            found[point.name] = sum(map(int, re.findall(r"\bbytes_sent:(\d+)", told)))
    return found


def _both_gave(verdicts: Verdicts, before: dict[str, int], after: dict[str, int]) -> None:
    """Each relay that a call passes copies all of it."""
    least = round(runs.TALK_S / 2 * _MEDIA_BYTES_S)
    given = {name: count - before[name] for name, count in after.items()}
    verdicts.add(
        "what points gave to mediation of a call between two PoPs (X2, X3)",
        ", ".join(f"{name} {count / 1000:.0f} kB" for name, count in given.items()),
        f"over {least / 1000:.0f} kB at two points",
        good=len(given) > 1 and min(given.values()) > least,
    )


def _portal(site: LabSite, verdicts: Verdicts, agency: Agency, session: int) -> None:
    page, stranger = staff.portal(site, agency, "/"), staff.portal(site, agency, "/", officer=False)
    wav = "%{content_type} %{size_download}"
    told = staff.portal(site, agency, f"/sessions/{session}/audio/mixed.wav", "-o", "/dev/null", "-w", wav).stdout
    kind, _, octets = told.partition(" ")
    listed = f"/sessions/{session}" in page.stdout
    verdicts.add(
        f"the portal of {agency.node}, by a browser",
        f"with its officer's certificate the call is {'listed' if listed else 'MISSING'}, "
        f"{told or page.text()[-80:]} octets; without one: {'A PAGE' if stranger.code == 0 else 'nothing'}",
        "the call and its audio; nothing",
        good=listed and kind == "audio/wav" and int(octets or 0) > 8000 * runs.TALK_S and stranger.code != 0,
    )


def _settings(agency: Agency) -> list[str]:
    told = [f"OID version {agency.handover.get('domainVersion', 17)}", str(agency.handover["authorisationCountry"])]
    told.append(str(agency.handover.get("timeForm", "microseconds")))
    return told + (["AES-256-CBC", "hashes"] if agency.encrypted else ["acknowledged"])


def _has(parts: dict[str, Any], kind: str) -> bool:
    return kind in parts and parts[kind]["received"] > 0


def _iri(site: LabSite, agency: Agency, session: dict[str, Any], word: str) -> bool:
    return word in staff.lemf(site, agency, "show", str(session["session"])).stdout


def _audio(console: Console, site: LabSite, verdicts: Verdicts, agency: Agency, session: int) -> None:
    into = site.home(agency.node) / f"audio-{session}"
    made = console.must(staff.lemf(site, agency, "play", str(session), "--into", str(into), "--json")).json()
    probed: Callable[[str], dict[str, Any]] = lambda name: console.sh(  # noqa: E731
        agency.node,
        *("ffprobe", "-v", "error", "-of", "json", "-show_entries", "stream=codec_name,sample_rate:format=duration"),
        str(into / name),
    ).json()
    told = {name: probed(name) for name in made["files"]}
    good = bool(told) and all(
        one["streams"][0]["codec_name"] == "pcm_s16le" and float(one["format"]["duration"]) > runs.TALK_S / 2
        for one in told.values()
    )
    verdicts.add(
        f"the call in WAV files at {agency.node}, as ffprobe sees them",
        ", ".join(f"{name} {float(one['format']['duration']):.1f} s" for name, one in told.items()) or "none",
        f"each direction and both, over {runs.TALK_S / 2:.0f} s",
        good=good,
    )
