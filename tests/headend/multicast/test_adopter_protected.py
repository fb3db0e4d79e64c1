"""The way back with two legs, outputs, pins and subscriber ports: what is adopted compiles to the same sections."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headend.multicast.adopter import MulticastAdopter
from nf.documents.fleet import Fleet
from nf.documents.lineup import LineUp
from nf.documents.loader import load_fleet, load_lineup
from nf.noc.adoption import compose
from nf.planning.compiler import Compiled, compile_lineup
from tests.headend.multicast.networks import Wire, fleet_data, lineup, with_single
from tests.nf.planning.samples import PLANNERS, _data, built

UID = "tag:tv.example,2026:"
RING: list[Wire] = [(f"n{number}", f"n{(number + 1) % 8}", 10) for number in range(8)]
Sections = dict[str, dict[str, Any]]


def lab() -> tuple[LineUp, Fleet]:
    """The lab's protected line-up, IPTV only, with two encoders, a pin and subscriber ports on top."""
    data, fleet = with_single(copy.deepcopy(_data("lineup-protected.yaml"))), copy.deepcopy(_data("fleet.yaml"))
    spec = data["spec"]
    for channel in spec["channels"]:
        channel["delivery"] = [path for path in channel["delivery"] if path["type"] == "ssm"]
    spec["sources"] += [
        {"id": f"encoder-{name}", "appliance": "headend", "port": 6030 + at, "bitrate": "500k"}
        for at, name in enumerate("ab")
    ]
    switched = {"id": "switched", "type": "ssm", "rate": "500k", "protection": "switch", "sites": ["pop2"]}
    switched |= {"source": "encoder-a", "second": {"source": "encoder-b"}, "pinned": ["pop2"], "bundle": "small"}
    spec["channels"][1]["delivery"].append(switched)
    used = {path.get("source") for channel in spec["channels"] for path in channel["delivery"]}
    used |= {channel["source"] for channel in spec["channels"]} | {"encoder-b"}
    spec["sources"] = [source for source in spec["sources"] if source["id"] in used]
    spec["channels"][0]["delivery"][0]["pinned"] = ["pop1"]
    fleet["spec"]["equipment"] = {"multicast": fleet["spec"]["equipment"]["multicast"]}
    fleet["spec"]["equipment"]["multicast"]["access"] = [
        {"appliance": "pop1", "lans": [{"ports": [{"name": "eth3", "channels": ["ch1"]}]}]}
    ]
    budget = {"link": "c1-pop2", "unconstrained": "9M", "bundles": [{"id": "small", "limit": "2M"}]}
    fleet["spec"]["equipment"]["multicast"]["links"] = [budget]
    return built(LineUp, data), built(Fleet, fleet)


def sections(found: Compiled) -> Sections:
    return {
        name: {section: value.to_json() for section, value in config.sections.items()}
        for name, config in found.configs.items()
    }


def bare(fleet: Fleet) -> Fleet:
    """Who the appliances are; equipment stays."""
    none = tuple(one.model_copy(update={"interfaces": (), "loopback": None}) for one in fleet.spec.appliances)
    spec = fleet.spec.model_copy(update={"appliances": none, "links": (), "placement": ()})
    return fleet.model_copy(update={"spec": spec})


def again(have: Sections, known: Fleet, before: LineUp) -> tuple[Compiled, LineUp]:
    found = MulticastAdopter().adopt(have, known)
    assert found.problems == ()
    documents = compose(known, before, [found], UID)
    line = load_lineup(documents.lineup_yaml, file="lineup.yaml").document
    fleet = load_fleet(documents.fleet_yaml, file="fleet.yaml").document
    return compile_lineup(line, fleet, PLANNERS), line


@pytest.mark.parametrize("lost", [False, True], ids=["all is known", "the documents are lost"])
def test_what_is_adopted_compiles_to_what_runs(lost: bool) -> None:
    document, fleet = lab()
    have = sections(compile_lineup(document, fleet, PLANNERS))
    found, line = again(have, bare(fleet) if lost else fleet, LineUp.empty() if lost else document)
    assert sections(found) == have
    paths = {(channel.id, path.id): path for channel in line.spec.channels for path in channel.delivery}
    before = {(channel.id, path.id): path for channel in document.spec.channels for path in channel.delivery}
    assert {key: (path.protection, path.pinned, path.dscp) for key, path in paths.items()} == {  # type: ignore[attr-defined]
        key: (path.protection, path.pinned, path.dscp)  # type: ignore[attr-defined]
        for key, path in before.items()
    }
    if not lost:
        assert {key: (path.admission, path.bundle) for key, path in paths.items()} == {  # type: ignore[attr-defined]
            key: (path.admission, path.bundle)  # type: ignore[attr-defined]
            for key, path in before.items()
        }
        assert {source.id for source in line.spec.sources} == {source.id for source in document.spec.sources}


def test_addresses_of_protected_channels_are_found_where_no_document_has_them() -> None:
    fleet = built(Fleet, fleet_data(8, RING, ["n0", "n4"], pops=["n2", "n6"]))
    document = lineup({"sites": ["n2", "n6"], "protection": "hot-hot"}, {"sites": ["n2"], "output": {}})
    have = sections(compile_lineup(document, fleet, PLANNERS))
    known = bare(fleet)
    known = known.model_copy(update={"spec": known.spec.model_copy(update={"equipment": {}})})
    found, _ = again(have, known, LineUp.empty())
    assert sections(found) == have


PATHS = st.lists(
    st.fixed_dictionaries(
        {"sites": st.sets(st.sampled_from(["n2", "n3", "n6"]), min_size=1).map(sorted)},
        optional={
            "protection": st.sampled_from(["none", "hot-hot", "switch"]),
            "output": st.just({"port": 5006}),
            "dscp": st.sampled_from(["af41", "cs5", 3]),
            "port": st.integers(5000, 5003),
        },
    ),
    min_size=1,
    max_size=5,
)


@settings(max_examples=30, deadline=None)
@given(PATHS, st.lists(st.integers(1, 30), min_size=8, max_size=8))
def test_whatever_the_paths(paths: list[dict[str, Any]], costs: list[int]) -> None:
    wires = [(one, other, cost) for (one, other, _), cost in zip(RING, costs, strict=True)]
    for number, path in enumerate(paths):
        if path.get("protection") == "switch":
            path["second"] = {"source": f"backup{number}"}
        path["pinned"] = path["sites"][:1]
    fleet = built(Fleet, fleet_data(8, [*wires, ("n1", "n5", 7)], ["n0", "n4"], pops=["n2", "n3", "n6"]))
    have = sections(compile_lineup(lineup(*paths), fleet, PLANNERS))
    found, _ = again(have, bare(fleet), LineUp.empty())
    assert sections(found) == have


def broken(change: Callable[[Sections], None]) -> str:
    document, fleet = lab()
    have = sections(compile_lineup(document, fleet, PLANNERS))
    change(have)
    return "\n".join(MulticastAdopter().adopt(have, fleet).problems)


def test_what_no_document_can_say_is_named() -> None:
    def other_group(have: Sections) -> None:
        have["pop1"]["multicast-output"]["outputs"][0]["group"] = "232.99.9.9"

    def other_mode(have: Sections) -> None:
        for pop in ("pop1", "pop2"):
            have[pop]["multicast-output"]["outputs"][0]["mode"] = "switch"

    def stray_leg(have: Sections) -> None:
        have["c1"]["multicast-tree"]["entries"][1]["group"] = "232.99.9.9"

    def twice(have: Sections) -> None:
        have["headend"]["multicast-source"]["stages"] *= 2

    def silent(have: Sections) -> None:
        have["headend"]["multicast-source"]["stages"] = []

    assert "ch1/twin is given out in several ways (pop1, pop2)" in broken(other_group)
    assert "ch1/twin is given out as switch, and is emitted for merge" in broken(other_mode)
    assert "as ch1/twin, not what is emitted" in broken(stray_leg)
    assert "ch1/twin is emitted by headend and headend" in broken(twice)
    assert "ch1/twin is admitted, and nothing emits it" in broken(silent)
