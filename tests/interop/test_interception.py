"""Lawful intercept in the reference network: the demo's chapter, judged."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console as Terminal

from lab.scenarios import demo, interception
from lab.scenarios.console import Console
from lab.scenarios.verdicts import Verdicts

pytestmark = [pytest.mark.root, pytest.mark.daemon, pytest.mark.timeout(900, func_only=True)]


def test_two_warrants_are_served_to_two_agencies_and_nobody_else_can_tell(network: Console, tmp_path: Path) -> None:
    network.must(network.nf("lineup", "commit", str(demo.LINEUP)))
    network.wait("every receiver up", lambda: demo.all_up_now(network), 60.0)
    verdicts = Verdicts(Terminal(), tmp_path / "verdicts.json")
    interception.chapter_intercepted(network, verdicts)
    assert verdicts.rows
    assert [f"{row.step}: {row.figure}, and not {row.target}" for row in verdicts.rows if not row.good] == []
