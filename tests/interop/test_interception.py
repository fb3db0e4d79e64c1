"""Lawful intercept in the reference network: the demo's chapter, judged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console as Terminal

from lab.scenarios import demo, interception
from lab.scenarios.console import Console
from lab.scenarios.verdicts import Verdicts

pytestmark = [pytest.mark.root, pytest.mark.daemon, pytest.mark.timeout(900, func_only=True)]


@pytest.fixture(scope="module")
def lineup(network: Console) -> Console:
    network.must(network.nf("lineup", "commit", str(demo.LINEUP)))
    network.wait("every receiver up", lambda: demo.all_up_now(network), 60.0)
    return network


def judged(chapter: Callable[[Console, Verdicts], None], console: Console, folder: Path) -> None:
    verdicts = Verdicts(Terminal(), folder / "verdicts.json")
    chapter(console, verdicts)
    assert verdicts.rows
    assert [f"{row.step}: {row.figure}, and not {row.target}" for row in verdicts.rows if not row.good] == []


def test_two_warrants_are_served_to_two_agencies(lineup: Console, tmp_path: Path) -> None:
    judged(interception.chapter_intercepted, lineup, tmp_path)


@pytest.mark.soak
@pytest.mark.timeout(2400, func_only=True)
def test_nobody_else_can_tell(lineup: Console, tmp_path: Path) -> None:
    judged(interception.chapter_unseen, lineup, tmp_path)
