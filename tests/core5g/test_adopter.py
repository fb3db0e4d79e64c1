"""What is compiled and observed again gives the paths it was compiled from."""

from __future__ import annotations

from pathlib import Path

import pytest

from core5g.adopter import SECTIONS, CoreAdopter
from core5g.observation.planner import ObservationPlanner
from core5g.open5gs.planner import Open5gsPlanner
from core5g.steering.n6.documents import SECTION
from core5g.steering.planner import SteeringPlanner
from nf.contracts.json import JsonObject
from nf.documents.fleet import Fleet
from nf.documents.lineup import LineUp
from nf.documents.loader import load_fleet, load_lineup

DOCUMENTS = Path(__file__).parents[2] / "lab/documents"


@pytest.fixture(scope="module")
def fleet() -> Fleet:
    return load_fleet((DOCUMENTS / "fleet.yaml").read_text(), file="fleet.yaml").document


@pytest.fixture(scope="module")
def lineup() -> LineUp:
    return load_lineup((DOCUMENTS / "lineup.yaml").read_text(), file="lineup.yaml").document


@pytest.fixture(scope="module")
def observed(lineup: LineUp, fleet: Fleet) -> dict[str, dict[str, JsonObject]]:
    planners = (Open5gsPlanner(), SteeringPlanner(), ObservationPlanner())
    found: dict[str, dict[str, JsonObject]] = {}
    for planner in planners:
        for appliance, sections in planner.plan(lineup, fleet).sections.items():
            found.setdefault(appliance, {}).update({name: value.to_json() for name, value in sections.items()})
    return found


def test_the_paths_come_back(lineup: LineUp, fleet: Fleet, observed: dict[str, dict[str, JsonObject]]) -> None:
    adopted = CoreAdopter().adopt(observed, fleet)
    written = [path for channel in lineup.spec.channels for path in channel.delivery if path.type == "upf-breakout"]
    assert adopted.problems == ()
    assert [path.path.to_json() for path in adopted.paths] == [path.to_json() for path in written]
    assert [path.doubts for path in adopted.paths] == [()]


def test_without_its_classifier_a_path_is_of_the_edge_alone(
    fleet: Fleet, observed: dict[str, dict[str, JsonObject]]
) -> None:
    """A proxy that only relays steers nothing."""
    relaying = {name: dict(sections) for name, sections in observed.items()}
    relaying["c1"]["pfcp-proxy"] = {**relaying["c1"]["pfcp-proxy"], "rules": []}
    (path,) = CoreAdopter().adopt(relaying, fleet).paths
    assert path.path.to_json()["upfs"] == ["edge1"]


def test_a_proxy_that_cannot_be_read_is_told(fleet: Fleet, observed: dict[str, dict[str, JsonObject]]) -> None:
    broken = {name: dict(sections) for name, sections in observed.items()}
    broken["c1"]["pfcp-proxy"] = {"listen": "nowhere"}
    assert any("c1, section pfcp-proxy: listen" in told for told in CoreAdopter().adopt(broken, fleet).problems)


def test_a_core_that_the_fleet_does_not_know_is_a_problem(
    fleet: Fleet, observed: dict[str, dict[str, JsonObject]]
) -> None:
    parts = {name: part for name, part in fleet.spec.equipment.items() if name != "core5g"}
    spec = fleet.spec.model_copy(update={"equipment": parts})
    adopted = CoreAdopter().adopt(observed, fleet.model_copy(update={"spec": spec}))
    assert len(adopted.problems) == 1
    assert "core5g" in adopted.problems[0]


def test_what_was_altered_by_hand_is_told(fleet: Fleet, observed: dict[str, dict[str, JsonObject]]) -> None:
    changed = {name: dict(sections) for name, sections in observed.items()}
    changed["pop1"][SECTION] = {**changed["pop1"][SECTION], "altered": ["a rule"]}
    assert any("altered" in told for told in CoreAdopter().adopt(changed, fleet).problems)


def test_every_section_of_the_core_is_described(observed: dict[str, dict[str, JsonObject]]) -> None:
    assert {section for sections in observed.values() for section in sections} <= SECTIONS
