"""A steered path in the plan: pathways at the packager, names at the edges, and the way back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nf.contracts.reception import Adaptive
from nf.documents.fleet import Fleet
from nf.documents.lineup import LineUp
from nf.documents.model import Document
from nf.documents.validation import validate
from nf.media.adopter import MediaAdopter
from nf.media.documents import EdgeSection, PackagerSection
from nf.media.edge.access_log import Served
from nf.media.edge.render import Places, hosts, render
from nf.media.edge.telemetry import _named_once
from nf.media.receptions import receptions
from tests.nf.media.test_planner import REGISTRY, built, compiled, fleet_data, lineup_data, path

STEERING = {"server": "https://steer.streamverse.test"}


def sections() -> dict[str, dict[str, Any]]:
    made = compiled(lineup_data(path("ch1", steering=STEERING)))
    return {name: dict(config.sections) for name, config in made.configs.items()}


def test_the_packager_is_told_of_the_pathways_and_each_edge_of_its_own_name() -> None:
    made = sections()
    packager = PackagerSection.model_validate(_json(made["headend"]["packager"]))
    steering = {one.channel: one.steering for one in packager.channels}
    assert steering["ch2"] is None
    assert steering["ch1"] is not None
    assert steering["ch1"].to_json() == {**STEERING, "host": "cdn.streamverse.test", "sites": ["pop1", "pop2"]}
    for pop in ("pop1", "pop2"):
        edge = EdgeSection.model_validate(_json(made[pop]["cdn-edge"]))
        aliases = {one.channel: one.aliases for one in edge.channels}
        assert aliases == {"ch1": (f"{pop}.cdn.streamverse.test",), "ch2": ()}


def _json(section: Any) -> Any:
    return section.to_json() if hasattr(section, "to_json") else section


def test_an_edge_maps_every_name_and_counts_them_as_one() -> None:
    edge = EdgeSection.model_validate(_json(sections()["pop1"]["cdn-edge"]))
    remap = render(edge, Places(Path("/r"), Path("/c")))["remap.config"]
    assert "map http://cdn.streamverse.test/ch1/ " in remap
    assert "map http://pop1.cdn.streamverse.test/ch1/ " in remap
    assert "pop1.cdn.streamverse.test/ch2/" not in remap
    channel = next(one for one in edge.channels if one.channel == "ch1")
    assert hosts(edge, channel) == ("cdn.streamverse.test", "pop1.cdn.streamverse.test")
    served = {
        ("cdn.streamverse.test", "ch1"): Served(2, 1, 100),
        ("pop1.cdn.streamverse.test", "ch1"): Served(3, 3, 50, 1),
        ("pop1.cdn.streamverse.test", "ch2"): Served(1, 0, 1),
    }
    counted = _named_once(edge, served)
    assert counted is not None
    assert counted["cdn.streamverse.test", "ch1"] == Served(5, 4, 150, 1)
    assert _named_once(edge, None) is None


def test_what_runs_is_adopted_with_its_steering() -> None:
    observed = {
        name: {key: _json(section) for key, section in found.items() if key in MediaAdopter().sections}
        for name, found in sections().items()
    }
    adopted = MediaAdopter().adopt(observed, built(Fleet, fleet_data()))
    assert not adopted.problems
    paths = {one.channel: one.path.to_json() for one in adopted.paths}
    assert paths["ch1"]["steering"] == STEERING
    assert "steering" not in paths["ch2"]


def test_receivers_are_told_of_manifests_whatever_the_scheme() -> None:
    found = list(receptions(built(LineUp, lineup_data()), built(Fleet, fleet_data())))
    way = found[0].way
    assert isinstance(way, Adaptive)
    assert (found[0].site, way.dash) == ("", "//cdn.streamverse.test/ch1/manifest.mpd")


@pytest.mark.parametrize(
    "server",
    [
        "steer.test",
        "ftp://steer.test",
        "https://steer.test/",
        "https://steer.test/x",
        'https://a"b',
        "https://u@h",
        "https://[",
    ],
)
def test_a_steering_server_is_a_place_and_nothing_below_it(server: str) -> None:
    data = lineup_data(path("ch1", steering={"server": server}))
    document: Document | None
    document, violations = validate(LineUp, data, REGISTRY)
    assert document is None
    assert any("steering server" in str(violation) for violation in violations)
