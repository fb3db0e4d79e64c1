"""Views of a NOC with agents, in which nothing happens, look alike under the published mask."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from lab.interception.evidence import Evidence
from lab.interception.judge import Round, judge
from lab.interception.mask import published
from lab.interception.views import AFTERWARDS, bundled
from nf.cli.profile import save_profile
from tests.support.fleet import InProcessFleet, in_process_fleet

ASKED = [*(one for one in AFTERWARDS if one[:2] != ("appliance", "show")), ("appliance", "show", "pop")]


async def asked(profile: Path, commands: Sequence[Sequence[str]]) -> list[tuple[int, str, str]]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "lab.interception.asking"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "NF_PROFILE": str(profile)},
    )
    out, _ = await process.communicate(json.dumps(commands).encode())
    return [(code, told, said) for code, told, said in json.loads(out)]


async def looked(fleet: InProcessFleet, profile: Path, bundle: Path) -> Evidence:
    seen = Evidence()
    made = ["support-bundle", str(bundle), "--appliance", "pop"]
    *told, (code, _, said) = await asked(profile, [*([*one, "--json"] for one in ASKED), made])
    assert code == 0, said
    for command, (_, out, err) in zip(ASKED, told, strict=True):
        seen.add_text(f"noc:nf {' '.join(command)}", out)
        seen.add_text(f"noc:nf {' '.join(command)}, errors", err)
    for name, text in bundled(await asyncio.to_thread(bundle.read_bytes)):
        seen.add_text(f"bundle:{name}", text)
    return seen


async def test_what_engineers_ask_is_the_same_when_nothing_happens(tmp_path: Path) -> None:
    async with in_process_fleet(tmp_path) as fleet:
        profile = tmp_path / "profile"
        save_profile(profile, f"127.0.0.1:{fleet._ports[0]}", await fleet.operator())
        runs = [await looked(fleet, profile, tmp_path / f"{number}.tar.gz") for number in range(4)]
    made = Round((runs[0], runs[1], runs[3]), runs[2])
    verdict = judge([made], published())
    assert verdict.text() == ""
    assert len(verdict.compared) > 2 * len(ASKED)
    runs[2].add("noc:nf audit show", ['[].object: "alice"'])
    assert not judge([made], published()).same
