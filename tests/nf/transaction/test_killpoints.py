"""Arming and reaching kill points; the kill itself is tested on real processes in test_kill.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from nf.errors import InputError
from nf.transaction.killpoints import FILE, KillPoints, arm
from tests.nf.transaction.support import in_child


def dies_at(run_dir: Path, spec: str, *names: str) -> int | None:
    """At which of `names` a process dies; None when it does not."""
    arm(run_dir, spec)
    count = run_dir / "count"

    async def work() -> None:
        points = KillPoints(run_dir)
        for number, name in enumerate(names):
            count.write_text(str(number))
            points.reach(name)

    died = not in_child(work, run_dir / "log")
    assert (run_dir / FILE).exists() is not died
    return int(count.read_text()) if died else None


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("journal:prepare", 1),
        ("journal", 0),
        ("journal#3", 4),
        ("journal:prepare#2", 4),
        ("effect:apply:1", 3),
        ("effect#2", 3),
        ("*#5", 4),
        ("*#6", None),
        ("effect:undo", None),
    ],
)
def test_a_process_dies_at_the_point_it_is_armed_for(tmp_path: Path, spec: str, expected: int | None) -> None:
    names = ("journal:hold", "journal:prepare", "effect:apply:0", "effect:apply:1", "journal:prepare")
    assert dies_at(tmp_path, spec, *names) == expected


@pytest.mark.parametrize("spec", ["journal:nothing", "effect:apply#0", "effect#x", "", "journ"])
def test_a_point_that_nobody_reaches_cannot_be_armed(tmp_path: Path, spec: str) -> None:
    with pytest.raises(InputError) as caught:
        arm(tmp_path, spec)
    assert "journal:decision" in caught.value.remedy
    assert not (tmp_path / FILE).exists()
