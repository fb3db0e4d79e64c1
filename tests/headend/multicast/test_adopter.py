"""The way back: what the drivers would observe after a commit, adopted, compiles to the very same sections."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headend.multicast.adopter import MulticastAdopter
from headend.multicast.frr.driver import FrrDriver
from headend.multicast.interfaces.driver import InterfacesDriver
from headend.multicast.source.driver import MulticastSource
from headend.multicast.tree.driver import TreeDriver
from nf.clock import RealClock
from nf.contracts.driver import DriverContext, State
from nf.documents.fleet import Facing, Fleet
from nf.documents.lineup import LineUp
from nf.documents.loader import load_fleet, load_lineup
from nf.noc.adoption import Documents, compose
from nf.planning.compiler import Compiled, compile_lineup
from tests.nf.planning.samples import PLANNERS, built, fleet_data, lineup_data

UID = "tag:tv.example,2026:"


def drivers(appliance: str, tmp: Any) -> tuple[Any, ...]:
    context = DriverContext(appliance, tmp, tmp, None, RealClock())  # type: ignore[arg-type]  # plan is pure: no unit is asked
    return InterfacesDriver(context), FrrDriver(context), TreeDriver(context), MulticastSource(context)


def ssm_lineup() -> dict[str, Any]:
    """The sample without the paths of other domains."""
    data = lineup_data()
    for channel in data["spec"]["channels"]:
        channel["delivery"] = [path for path in channel["delivery"] if path["type"] == "ssm"]
    return data


def observed(compiled: Compiled) -> dict[str, dict[str, Any]]:
    """As the drivers answer: sections as JSON, and a source section on everybody, also where nothing is emitted."""
    found = {}
    for name, config in compiled.configs.items():
        sections = {section: value.to_json() for section, value in config.sections.items()}
        found[name] = {"multicast-source": {"stages": []}} | sections
    return found


def identities(fleet: Fleet) -> Fleet:
    """What remains when the documents are lost: who the appliances are."""
    nothing = {"interfaces": (), "loopback": None, "loopback6": None}
    bare = [one.model_copy(update=nothing) for one in fleet.spec.appliances]
    spec = fleet.spec.model_copy(update={"appliances": tuple(bare), "links": (), "placement": ()})
    return fleet.model_copy(update={"spec": spec})


def adopted(have: dict[str, dict[str, Any]], fleet: Fleet, lineup: LineUp | None = None) -> Documents:
    found = MulticastAdopter().adopt(have, fleet)
    assert found.problems == ()
    return compose(fleet, lineup or LineUp.empty(), [found], UID)


def recompiled(documents: Documents) -> Compiled:
    fleet = load_fleet(documents.fleet_yaml, file="fleet.yaml").document
    lineup = load_lineup(documents.lineup_yaml, file="lineup.yaml").document
    return compile_lineup(lineup, fleet, PLANNERS)


def assert_nothing_to_do(have: dict[str, dict[str, Any]], compiled: Compiled, tmp: Any) -> None:
    """Every driver plans nothing from what it observed to what the adopted documents say."""
    assert compiled.configs.keys() == have.keys()
    for name, config in compiled.configs.items():
        for driver in drivers(name, tmp):
            steps = driver.plan(State(have[name].get(driver.section)), config.sections.get(driver.section))
            assert steps == (), f"{name}: {[step.summary for step in steps]}"


def test_the_sample_network_is_adopted_from_nothing_but_identities(tmp_path: Any) -> None:
    fleet, lineup = built(Fleet, fleet_data()), built(LineUp, ssm_lineup())
    have = observed(compile_lineup(lineup, fleet, PLANNERS))
    documents = adopted(have, identities(fleet))
    assert_nothing_to_do(have, recompiled(documents), tmp_path)
    found = load_lineup(documents.lineup_yaml, file="lineup.yaml").document
    assert {c.id: c.delivery for c in found.spec.channels} == {c.id: c.delivery for c in lineup.spec.channels}
    assert [c.uid for c in found.spec.channels] == [f"{UID}{c.id}" for c in found.spec.channels]
    assert documents.fleet_yaml.count("# please check") + documents.lineup_yaml.count("# please check") == len(
        documents.doubts
    )
    assert "lineup.spec.channels[0].lcn" in documents.doubts
    assert "fleet.spec.links[0].capacity" in documents.doubts


def test_adopting_twice_gives_the_same_text() -> None:
    fleet, lineup = built(Fleet, fleet_data()), built(LineUp, ssm_lineup())
    have = observed(compile_lineup(lineup, fleet, PLANNERS))
    backwards = {name: dict(reversed(have[name].items())) for name in reversed(have)}
    assert adopted(have, identities(fleet)) == adopted(backwards, identities(fleet))


def test_an_ipv6_loopback_is_adopted(tmp_path: Any) -> None:
    data = fleet_data()
    next(one for one in data["spec"]["appliances"] if one["id"] == "pop1")["loopback6"] = "2001:db8:ff::3"
    fleet = built(Fleet, data)
    have = observed(compile_lineup(built(LineUp, ssm_lineup()), fleet, PLANNERS))
    documents = adopted(have, identities(fleet))
    assert_nothing_to_do(have, recompiled(documents), tmp_path)
    assert load_fleet(documents.fleet_yaml, file="fleet.yaml").document.appliance("pop1") == fleet.appliance("pop1")


def test_who_is_behind_an_interface_is_seen_by_what_is_not_routed_there(tmp_path: Any) -> None:
    data = fleet_data()
    pop = next(one for one in data["spec"]["appliances"] if one["id"] == "pop1")
    pop["interfaces"] += [
        {"name": "eth8", "address": "10.5.1.1/24", "facing": "radio"},
        {"name": "eth9", "address": "10.6.1.2/30", "facing": "internet"},
    ]
    fleet = built(Fleet, data)
    have = observed(compile_lineup(built(LineUp, ssm_lineup()), fleet, PLANNERS))
    for known in (identities(fleet), fleet):
        documents = adopted(have, known)
        assert_nothing_to_do(have, recompiled(documents), tmp_path)
        found = load_fleet(documents.fleet_yaml, file="fleet.yaml").document.appliance("pop1")
        assert {face.name: face.facing for face in found.interfaces if face.facing is not Facing.NETWORK} == {
            "eth8": Facing.RADIO,
            "eth9": Facing.INTERNET,
        }


def test_what_the_documents_know_already_is_kept(tmp_path: Any) -> None:
    fleet, lineup = built(Fleet, fleet_data()), built(LineUp, ssm_lineup())
    have = observed(compile_lineup(lineup, fleet, PLANNERS))
    documents = adopted(have, fleet, lineup)
    assert documents.doubts == ()
    found = load_lineup(documents.lineup_yaml, file="lineup.yaml").document
    assert sorted(found.spec.channels, key=lambda c: c.id) == sorted(lineup.spec.channels, key=lambda c: c.id)
    links = load_fleet(documents.fleet_yaml, file="fleet.yaml").document.spec.links
    assert sorted(links, key=lambda link: link.id) == sorted(fleet.spec.links, key=lambda link: link.id)
    assert_nothing_to_do(have, recompiled(documents), tmp_path)


CHANNELS = st.lists(
    st.tuples(
        st.sampled_from([f"ch-{letter}" for letter in "abcdefgh"]),
        st.integers(0x100, 0x7FFF),
        st.integers(1024, 60000),
        st.integers(1024, 60000),
        st.integers(1, 1000),
        st.sets(st.sampled_from(["pop1", "pop2"]), min_size=1),
    ),
    unique_by=(lambda c: c[0], lambda c: c[1], lambda c: c[3]),
    max_size=6,
)
COSTS = st.lists(st.integers(1, 100), min_size=20, max_size=20)


@settings(max_examples=25, deadline=None)
@given(channels=CHANNELS, costs=COSTS)
def test_plan_of_adopted_is_empty(
    tmp_path_factory: pytest.TempPathFactory, channels: list[Any], costs: list[int]
) -> None:
    """plan(adopt(observe(compile(documents)))) is empty, whatever the channels, sites and costs."""
    data = fleet_data()
    for link, cost in zip(data["spec"]["links"], costs, strict=False):
        link["cost"] = cost
        link["capacity"] = "1G"
    lines = ssm_lineup()
    lines["spec"]["sources"] = [
        {"id": f"in-{name}", "appliance": "headend", "port": port, "bitrate": f"{rate}k"}
        for name, _, _, port, rate, _ in channels
    ]
    lines["spec"]["channels"] = [
        {
            "id": name, "name": name, "lcn": number, "uid": f"{UID}{name}", "source": f"in-{name}",
            "delivery": [{
                "id": "iptv", "type": "ssm", "group": f"232.10.{low >> 8}.{low & 255}", "port": port,
                "rate": f"{rate}k", "sites": sorted(sites),
            }],
        }
        for number, (name, low, port, _, rate, sites) in enumerate(channels, start=1)
    ]  # fmt: skip
    fleet = built(Fleet, data)
    have = observed(compile_lineup(built(LineUp, lines), fleet, PLANNERS))
    documents = adopted(have, identities(fleet))
    assert_nothing_to_do(have, recompiled(documents), tmp_path_factory.getbasetemp())


def sample() -> tuple[dict[str, dict[str, Any]], Fleet]:
    fleet, lineup = built(Fleet, fleet_data()), built(LineUp, ssm_lineup())
    return observed(compile_lineup(lineup, fleet, PLANNERS)), identities(fleet)


def problems(have: dict[str, dict[str, Any]], fleet: Fleet) -> str:
    return "\n".join(MulticastAdopter().adopt(have, fleet).problems)


def test_what_no_document_can_say_is_named() -> None:
    have, fleet = sample()
    have["headend"]["multicast-source"] = {"stages": []}
    assert "ch1/iptv is admitted, and nothing emits it" in problems(have, fleet)
    have, fleet = sample()
    for sections in have.values():
        sections.pop("multicast-tree", None)
    assert "ch1/iptv is emitted, and no PoP admits it" in problems(have, fleet)
    have, fleet = sample()
    have["c1"]["frr"]["interfaces"][1]["cost"] = 77
    assert "have different OSPF costs" in problems(have, fleet)
    have, fleet = sample()
    have["pop1"]["multicast-tree"]["damage"] = ["chain x is not wanted"]
    assert "pop1, section multicast-tree: damage: ['chain x is not wanted']" in problems(have, fleet)
    have, fleet = sample()
    have["pop1"]["multicast-tree"]["entries"][0]["port"] = 5999
    assert "not what is emitted" in problems(have, fleet)
    have, fleet = sample()
    have["pop1"]["frr"]["router_id"] = "nonsense"
    assert "pop1, section frr: router_id" in problems(have, fleet)
