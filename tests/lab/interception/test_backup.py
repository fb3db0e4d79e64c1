"""Backups of a NOC in which nothing happens look alike under the published mask, and a row more is found."""

from __future__ import annotations

from pathlib import Path

from lab.interception.evidence import Evidence
from lab.interception.judge import Round, judge
from lab.interception.mask import published
from lab.interception.plants import PLANTS, overlooked
from lab.interception.views import backed_up
from nf.clock import RealClock
from nf.documents.loader import load_fleet
from nf.noc import backup
from nf.noc.daemon import init_noc
from tests.support.fleet import DOMAIN, SMALL, TablePlanner, fleet_text

PASSPHRASE = "a passphrase of the test"


async def test_a_backup_shows_no_more_than_it_has_to(tmp_path: Path) -> None:
    fleet = load_fleet(fleet_text(SMALL), file="fleet.yaml")
    state = tmp_path / "noc"
    await init_noc(state, DOMAIN, "127.0.0.1:0", "127.0.0.1:0", ("127.0.0.1",), fleet, planners=(TablePlanner(),))
    runs = []
    for number in range(4):
        file = tmp_path / f"{number}.backup"
        await backup.create(state, file, PASSPHRASE, RealClock())
        runs.append(seen := Evidence())
        for name, items in backed_up(file.read_bytes()):
            seen.add(f"backup:{name}", items)
    made = Round((runs[0], runs[1], runs[3]), runs[2])
    verdict = judge([made], published())
    assert verdict.text() == ""
    assert {"backup:manifest", "backup:entries", "backup:audit"} <= set(verdict.compared)
    planted = {name: one for name, one in PLANTS.items() if one[0].startswith("backup:")}
    assert planted
    assert overlooked(made, published(), planted) == []
