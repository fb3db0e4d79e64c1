"""The properties of compile: pure, deterministic, independent of order, local in its changes."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headend.multicast.documents import InterfacesSection
from headend.multicast.planner import MulticastPlanner
from nf.contracts.planner import Contribution
from nf.documents.fleet import Fleet
from nf.documents.lineup import LineUp
from nf.documents.loader import load_fleet, load_lineup
from nf.errors import DocumentError, IntegrityError, Problem
from nf.planning.compiler import compile_documents, compile_lineup, config_digest, load_planners
from tests.nf.planning.samples import PLANNERS, REGISTRY, built, compiled, fleet_data, lineup_data

SITES = ["pop1", "pop2"]


@st.composite
def lineups(draw: st.DrawFn, least: int = 0) -> dict[str, Any]:
    """Line-ups that fit the sample fleet."""
    data = lineup_data()
    count = draw(st.integers(min_value=least, max_value=6))
    lcns = draw(st.lists(st.integers(1, 9999), min_size=count, max_size=count, unique=True))
    groups = draw(st.lists(st.integers(0x100, 0x7FFFFF), min_size=count, max_size=count, unique=True))
    data["spec"]["sources"], data["spec"]["channels"] = [], []
    for number, (lcn, group) in enumerate(zip(lcns, groups, strict=True)):
        name = f"x{number}"
        address = ".".join(str(byte) for byte in ((232 << 24) + group).to_bytes(4, "big"))
        rate = draw(st.integers(min_value=100_000, max_value=1_500_000))
        sites = draw(st.lists(st.sampled_from(SITES), min_size=1, max_size=2, unique=True))
        data["spec"]["sources"].append({"id": name, "appliance": "headend", "port": 6000 + number, "bitrate": rate})
        path = {"id": "iptv", "type": "ssm", "group": address, "rate": rate, "sites": sites}
        channel = {"id": name, "name": name, "lcn": lcn, "uid": f"tag:a.test,2026:{name}", "source": name}
        data["spec"]["channels"].append({**channel, "delivery": [path]})
    return data


def shuffled(value: Any, chance: random.Random) -> Any:
    """Every list of the document in another order (no list in these documents has an order that means anything)."""
    if isinstance(value, dict):
        return {key: shuffled(item, chance) for key, item in value.items()}
    if isinstance(value, list):
        items = [shuffled(item, chance) for item in value]
        chance.shuffle(items)
        return items
    return value


@settings(max_examples=40, deadline=None)
@given(lineups(), st.integers())
def test_the_order_of_lists_does_not_matter(data: dict[str, Any], seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - a reproducible order, no secret
    first, second = compiled(data), compiled(shuffled(data, chance), shuffled(fleet_data(), chance))
    assert first == second
    assert list(first.configs) == list(second.configs)
    assert [config.to_json() for config in first.configs.values()] == [c.to_json() for c in second.configs.values()]


@settings(max_examples=20, deadline=None)
@given(lineups())
def test_an_unchanged_line_up_compiles_to_identical_configurations(data: dict[str, Any]) -> None:
    first, second = compiled(data), compiled(data)
    assert {name: config_digest(c) for name, c in first.configs.items()} == {
        name: config_digest(c) for name, c in second.configs.items()
    }


@settings(max_examples=40, deadline=None)
@given(lineups(least=1))
def test_adding_a_channel_changes_nothing_of_the_others(data: dict[str, Any]) -> None:
    after = compiled(data)
    added = data["spec"]["channels"].pop()
    before = compiled(data)
    for name, config in before.configs.items():
        new = after.configs[name]
        assert [probe for probe in new.probes if probe.channel != added["id"]] == list(config.probes)
        for section, value in config.sections.items():
            old_parts, new_parts = value.to_json(), new.sections[section].to_json()
            for key, items in new_parts.items():
                kept = (
                    [i for i in items if not isinstance(i, dict) or i.get("channel") != added["id"]]
                    if isinstance(items, list)
                    else items
                )
                assert kept == old_parts[key]
    assert [hop for hop in after.hops if hop.channel != added["id"]] == list(before.hops)


def test_the_digest_tells_configurations_apart() -> None:
    configs = compiled().configs
    assert len({config_digest(config) for config in configs.values()}) == len(configs)
    assert len(config_digest(configs["c1"])) == 64


def test_every_appliance_has_a_configuration_named_after_it() -> None:
    data = fleet_data()
    data["spec"]["appliances"].append(
        {"id": "spare", "site": "hub", "role": "headend", "serial": "X", "management": "172.20.20.99"}
    )
    configs = compiled(fleet=data).configs
    assert list(configs) == sorted(appliance["id"] for appliance in data["spec"]["appliances"])
    assert all(config.metadata.name == config.appliance == name for name, config in configs.items())
    assert configs["spare"].sections == {}
    assert configs["spare"].site == "hub"


class _Doubled:
    name = "doubled"

    def plan(self, lineup: LineUp, fleet: Fleet) -> Contribution:
        return Contribution(sections={"c1": {"interfaces": InterfacesSection()}})


class _Stray:
    name = "stray"

    def plan(self, lineup: LineUp, fleet: Fleet) -> Contribution:
        return Contribution(sections={"nowhere": {"interfaces": InterfacesSection()}})


class _Picky:
    name = "picky"

    def plan(self, lineup: LineUp, fleet: Fleet) -> Contribution:
        return Contribution(problems=(Problem("no loopback like this", "another", key="spec.appliances[1].loopback"),))


def test_two_planners_for_one_section_are_a_fault() -> None:
    with pytest.raises(IntegrityError, match="another planner fills interfaces of c1 too"):
        compile_lineup(LineUp.empty(), built(Fleet, fleet_data()), [_Doubled(), *PLANNERS])


def test_a_planner_that_writes_past_the_fleet_is_a_fault() -> None:
    with pytest.raises(IntegrityError, match="nowhere"):
        compile_lineup(LineUp.empty(), built(Fleet, fleet_data()), [_Stray()])


def test_problems_of_rules_and_of_all_planners_come_together_each_with_its_file() -> None:
    lineup_text = """\
apiVersion: streamverse.nf/v1
kind: LineUp
metadata: {name: bad}
spec:
  sources:
    - {id: s1, appliance: c1, port: 6001, bitrate: 1M}
  channels:
    - id: ch1
      name: One
      lcn: 1
      uid: tag:a.test,2026:one
      source: s1
      delivery:
        - {id: iptv, type: ssm, group: 232.1.1.1, rate: 1M, sites: [here]}
"""
    fleet_text = """\
apiVersion: streamverse.nf/v1
kind: Fleet
metadata: {name: bad}
spec:
  sites: [{id: core}]
  appliances:
    - {id: c0, site: core, role: probe, serial: A, management: 172.20.20.1}
    - {id: c1, site: core, role: core, serial: A, management: 172.20.20.2}
"""
    lineup = load_lineup(lineup_text, file="lineup.yaml", extensions=REGISTRY)
    fleet = load_fleet(fleet_text, file="fleet.yaml", extensions=REGISTRY)
    with pytest.raises(DocumentError) as caught:
        compile_documents(lineup, fleet, [_Picky(), *PLANNERS])
    assert [str(problem) for problem in caught.value.problems] == [
        (
            "lineup.yaml:6:27: spec.sources[0].appliance = c1: the appliance does not have the function ingest"
            " -> add it to spec.placement of the fleet, or choose one of: none yet"
        ),
        (
            "lineup.yaml:12:15: spec.channels[0].source = s1: the source arrives at c1, which does not have the"
            " function multicast-source -> place multicast-source there in the fleet, or take a source that arrives at"
            " one that has it: none yet"
        ),
        "lineup.yaml:14:69: spec.channels[0].delivery[0].sites[0] = here: no such site in the fleet -> known: core",
        "fleet.yaml:8:7: spec.appliances[1].loopback: no loopback like this -> another",
        (
            "fleet.yaml:8:7: spec.appliances[1].loopback: the router c1 has no loopback, which is its router id"
            " -> add loopback: with an address of its own"
        ),
        (
            "fleet.yaml:8:48: spec.appliances[1].serial = A: this serial number is taken by spec.appliances[0].serial"
            " -> enter the serial number on the appliance's own label"
        ),
    ]


def test_planners_are_found_by_entry_point() -> None:
    assert any(isinstance(planner, MulticastPlanner) for planner in load_planners())


class Warner:
    name = "warner"

    def plan(self, lineup: LineUp, fleet: Fleet) -> Contribution:
        return Contribution(warnings=(Problem("hardly any room", "think of it", key="spec.channels[0].lcn"),))


def test_a_warning_refuses_nothing_and_says_where() -> None:
    lineup = load_lineup(json.dumps(lineup_data()), file="lineup.json", extensions=REGISTRY)
    fleet = load_fleet(json.dumps(fleet_data()), file="fleet.json", extensions=REGISTRY)
    (warning,) = compile_documents(lineup, fleet, [*PLANNERS, Warner()]).warnings
    assert (warning.rule, warning.file, warning.line) == ("hardly any room", "lineup.json", 1)
