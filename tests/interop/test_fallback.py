"""A PoP that loses its dish, its content, a shield, or itself, on the reference network: chapters of the demo, judged.

In the soak: their verdicts are seconds, which a machine that runs other live tests beside them does not keep.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console as Terminal

from lab.scenarios import cdn, demo, fallback, operations, satellite
from lab.scenarios.console import Console
from lab.scenarios.verdicts import Verdicts

pytestmark = [pytest.mark.soak, pytest.mark.root, pytest.mark.daemon, pytest.mark.timeout(900, func_only=True)]


@pytest.fixture(scope="module")
def on_the_air(network: Console) -> Console:
    """The sample line-up is confirmed, the carrier on the air, and the PoP has the CDN path warm."""
    network.must(network.nf("lineup", "commit", str(demo.LINEUP)))
    satellite.on_the_air(network, demo.CHANNELS)
    fallback.ready(network)
    return network


@pytest.fixture
def verdicts(tmp_path: Path) -> Verdicts:
    return Verdicts(Terminal(), tmp_path / "verdicts.json")


def red(verdicts: Verdicts) -> list[str]:
    assert verdicts.rows
    return [f"{row.step}: {row.figure}, and not {row.target}" for row in verdicts.rows if not row.good]


def test_the_satellite_link_is_cut_and_both_channels_go_on_by_the_cdn_path(
    on_the_air: Console, verdicts: Verdicts
) -> None:
    fallback.chapter_cut(on_the_air, verdicts)
    assert red(verdicts) == []


def test_rain_at_one_site_brings_the_fallback_of_that_site_only(on_the_air: Console, verdicts: Verdicts) -> None:
    fallback.one_site_in_rain(on_the_air, verdicts)
    assert red(verdicts) == []


def test_a_purge_by_tag_empties_one_channel_from_every_cache(on_the_air: Console, verdicts: Verdicts) -> None:
    operations.chapter_purge(on_the_air, verdicts)
    assert red(verdicts) == []


def test_a_shield_that_hangs_stops_no_player(on_the_air: Console, verdicts: Verdicts) -> None:
    cdn.chapter_shield_hangs(on_the_air, verdicts)
    assert red(verdicts) == []


def test_a_pop_that_dies_is_out_within_the_minute_and_its_players_are_sent_to_the_other(
    on_the_air: Console, verdicts: Verdicts
) -> None:
    fallback.chapter_site_out(on_the_air, verdicts)
    assert red(verdicts) == []
