"""The voice core of the reference network: chapters of the demo, judged."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console as Terminal

from lab.scenarios import demo, voice
from lab.scenarios.console import Console
from lab.scenarios.verdicts import Verdicts

pytestmark = [pytest.mark.root, pytest.mark.daemon, pytest.mark.timeout(600, func_only=True)]


@pytest.fixture(scope="module")
def talking(network: Console) -> Console:
    """The sample line-up is confirmed, and with it that test calls get through."""
    network.must(network.nf("lineup", "commit", str(demo.LINEUP)))
    return network


@pytest.fixture
def verdicts(tmp_path: Path) -> Verdicts:
    return Verdicts(Terminal(), tmp_path / "verdicts.json")


def red(verdicts: Verdicts) -> list[str]:
    assert verdicts.rows
    return [f"{row.step}: {row.figure}, and not {row.target}" for row in verdicts.rows if not row.good]


def test_a_phone_behind_one_pop_calls_a_browser_behind_the_other(talking: Console, verdicts: Verdicts) -> None:
    voice.chapter_call(talking, verdicts)
    assert red(verdicts) == []


def test_five_meet_in_a_conference_and_a_menu_is_walked_by_keys(talking: Console, verdicts: Verdicts) -> None:
    voice.chapter_services(talking, verdicts)
    assert red(verdicts) == []


@pytest.mark.timeout(900, func_only=True)
def test_every_node_is_drained_in_turn_under_fifty_calls_and_none_is_dropped(
    talking: Console, verdicts: Verdicts
) -> None:
    voice.chapter_drains(talking, verdicts)
    assert red(verdicts) == []
