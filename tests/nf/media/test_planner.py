"""The CDN's planner on the sample network: who gets what, what the links carry, and what is refused."""

from __future__ import annotations

import copy
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headend.multicast.documents import EXTENSION as MULTICAST
from headend.multicast.planner import MulticastPlanner
from nf.contracts.planner import Hop
from nf.documents.fleet import Fleet
from nf.documents.lineup import LineUp
from nf.documents.model import Document
from nf.documents.registry import Registry
from nf.documents.validation import validate
from nf.errors import DocumentError
from nf.media.documents import EXTENSION
from nf.media.front.documents import EXTENSION as ENTRANCES
from nf.media.planner import MediaPlanner
from nf.planning.compiler import Compiled, compile_lineup
from tests.nf.planning.samples import fleet_data as iptv_fleet
from tests.nf.planning.samples import lineup_data as iptv_lineup

REGISTRY = Registry([EXTENSION, MULTICAST, ENTRANCES])
PLANNERS = (MediaPlanner(), MulticastPlanner())
D = TypeVar("D", bound=Document)
ENDPOINT = "http://10.1.0.20:8333"
PLACEMENT = {"packager": ["headend"], "cdn-shield": ["c1", "c2"], "cdn-edge": ["pop1", "pop2"]}


def fleet_data(**placement: list[str]) -> dict[str, Any]:
    data = iptv_fleet()
    placed = {**PLACEMENT, **{name.replace("_", "-"): names for name, names in placement.items()}}
    data["spec"]["placement"] += [
        {"function": name, "appliances": appliances} for name, appliances in placed.items() if appliances
    ]
    return data


def path(channel: str, **changes: Any) -> dict[str, Any]:
    return {
        "id": "ott",
        "type": "cdn",
        "host": "cdn.streamverse.test",
        "source": f"{channel}-ott",
        "rate": "2M",
        "sites": ["pop1", "pop2"],
        "origin": {"endpoint": ENDPOINT, "bucket": "media", "credentials": "secret:origin-writer"},
        **changes,
    }


def lineup_data(first: dict[str, Any] | None = None, second: dict[str, Any] | None = None) -> dict[str, Any]:
    data = iptv_lineup()
    spec = data["spec"]
    for number, changed in enumerate((first, second)):
        channel = spec["channels"][number]["id"]
        spec["channels"][number]["delivery"] = [changed or path(channel)]
        spec["sources"].append({"id": f"{channel}-ott", "appliance": "headend", "port": 6011 + number, "bitrate": "1M"})
    return data


def built(model: type[D], data: dict[str, Any]) -> D:
    document, violations = validate(model, data, REGISTRY)
    assert document is not None, violations
    return document


def compiled(lineup: dict[str, Any] | None = None, fleet: dict[str, Any] | None = None) -> Compiled:
    return compile_lineup(built(LineUp, lineup or lineup_data()), built(Fleet, fleet or fleet_data()), PLANNERS)


def refused(lineup: dict[str, Any] | None = None, fleet: dict[str, Any] | None = None) -> list[tuple[str, str]]:
    with pytest.raises(DocumentError) as caught:
        compiled(lineup, fleet)
    return [(problem.key, problem.rule) for problem in caught.value.problems]


def section(found: Compiled, appliance: str, name: str) -> dict[str, Any]:
    return found.configs[appliance].sections[name].to_json()


def test_every_function_gets_what_it_needs_and_waits_for_the_one_before() -> None:
    found = compiled()
    bucket = f"s3.bucket={ENDPOINT}/media"
    origin = section(found, "headend", "s3-origin")
    assert origin["endpoint"] == ENDPOINT
    assert [(entry["name"], entry["channel"]) for entry in origin["buckets"]] == [("media", "ch1"), ("media", "ch2")]
    packaged = section(found, "headend", "packager")["channels"][1]
    assert packaged["contribution_port"] == 6012
    assert (packaged["requires"], packaged["provides"]) == ([bucket], ["cdn.packaged=ch2/ott"])
    shield = section(found, "c2", "cdn-shield")
    assert (shield["listen"], shield["requires"]) == ("10.255.0.2", ["c2.interface.lo"])
    assert shield["channels"][0]["provides"] == ["cdn.shield=ch1/ott@c2"]
    edge = section(found, "pop2", "cdn-edge")
    assert edge["listen"] == ["10.255.0.4", "10.3.2.1", "10.3.3.1"]
    assert [parent["address"] for parent in edge["shields"]] == ["10.255.0.1", "10.255.0.2"]
    assert edge["channels"][0]["requires"] == ["cdn.shield=ch1/ott@c1", "cdn.shield=ch1/ott@c2"]


def test_a_receiver_asks_the_edge_on_its_own_link() -> None:
    found = compiled()
    urls = {
        name: [target.arguments["url"] for target in config.probes if target.kind == "hls"]
        for name, config in found.configs.items()
    }
    assert urls["r3"] == ["http://10.3.3.1/ch1/master.m3u8", "http://10.3.3.1/ch2/master.m3u8"]
    assert urls["pop1"] == []


def test_hops_from_the_packager_to_the_receiver() -> None:
    points = [(hop.order, hop.point, hop.appliance) for hop in compiled().hops if hop.channel == "ch1"]
    assert points == [
        *((0, "packager", "headend"), (1, "origin", "headend")),
        *((2, "shield", "c1"), (2, "shield", "c2"), (3, "edge", "pop1"), (3, "edge", "pop2")),
        *((4, "receiver", name) for name in ("r1", "r2", "r3")),
    ]
    assert Hop("ch2", "ott", 1, "headend", "origin") in compiled().hops


def test_an_edge_loads_every_link_that_one_of_its_shields_may_send_over_once() -> None:
    loads = {(use.link, use.sender): use.used_bps for use in compiled().links}
    fills = {("c1-pop1", "c1"), ("c2-pop1", "c2"), ("c1-pop2", "c1"), ("c2-pop2", "c2")}
    assert loads == {**dict.fromkeys(fills, 4_000_000), ("hl", "headend"): 4_000_000}


def test_a_far_shield_and_a_far_origin_load_the_way_between() -> None:
    loads = {(use.link, use.sender): use.used_bps for use in compiled(fleet=fleet_data(cdn_shield=["pop2"])).links}
    # Over either core, at equal cost: from the origin to the shield, and from the shield to the other edge.
    for link in ("c1-pop2", "c2-pop2"):
        assert loads[link, link[:2]] == 4_000_000
        assert loads[link, "pop2"] == 4_000_000


def test_caches_stand_without_a_channel() -> None:
    lineup = iptv_lineup()
    lineup["spec"]["channels"] = []
    found = compiled(lineup)
    assert "s3-origin" not in found.configs["headend"].sections
    assert section(found, "headend", "packager") == {"channels": []}
    assert section(found, "c1", "cdn-shield")["channels"] == []
    assert section(found, "pop1", "cdn-edge")["channels"] == []


def test_one_appliance_may_keep_the_buckets_for_all_packagers() -> None:
    found = compiled(fleet=fleet_data(s3_origin=["c1"]))
    assert "s3-origin" not in found.configs["headend"].sections
    assert len(section(found, "c1", "s3-origin")["buckets"]) == 2


KEY = "spec.channels[0].delivery[0]"


@pytest.mark.parametrize(
    ("changes", "placement", "key", "rule"),
    [
        ({"sites": ["pop9"]}, {}, "sites[0]", "no such site"),
        ({"sites": ["hub"]}, {}, "sites[0]", "the site has no edge cache"),
        ({"sites": ["pop1", "pop1"]}, {}, "sites[1]", "listed twice"),
        ({"source": "nobody"}, {}, "source", "no such source"),
        (
            {"ladder": [{"id": "hd", "height": 720, "bitrate": "1100k"}]},
            {},
            "ladder[0].bitrate",
            "the rendition has 1100000 bit/s, and its source ch1-ott 1000000",
        ),
        ({}, {"packager": []}, "source", "does not have the function packager"),
        ({}, {"cdn_shield": []}, "type", "no shield"),
        (
            {"origin": {"endpoint": "http://10.77.0.1:80", "bucket": "media", "credentials": "secret:w"}},
            {},
            "origin.endpoint",
            "no router reaches the origin",
        ),
    ],
)
def test_what_cannot_be_is_refused_where_it_stands(
    changes: dict[str, Any], placement: dict[str, list[str]], key: str, rule: str
) -> None:
    found = refused(lineup_data(path("ch1", **changes)), fleet_data(**placement))
    assert any(where == f"{KEY}.{key}" and rule in told for where, told in found), found


def test_two_paths_never_share_a_contribution_a_bucket_s_place_or_an_address() -> None:
    lineup = lineup_data(None, path("ch2", source="ch1-ott"))
    assert refused(lineup)[0][0] == "spec.channels[1].delivery[0].source"
    lineup = lineup_data()
    lineup["spec"]["sources"].append({"id": "third", "appliance": "headend", "port": 6019, "bitrate": "1M"})
    lineup["spec"]["channels"][0]["delivery"].append(path("ch1", id="again", source="third"))
    keys = [key for key, _ in refused(lineup)]
    assert keys == ["spec.channels[0].delivery[1].origin.bucket", "spec.channels[0].delivery[1].host"]


def test_a_channel_s_own_contribution_is_free_for_the_path_when_nothing_else_reads_it() -> None:
    lineup = lineup_data(path("ch1", source="studio-ch1"))
    assert section(compiled(lineup), "headend", "packager")["channels"][0]["contribution_port"] == 6001
    ssm = {"id": "iptv", "type": "ssm", "group": "232.10.1.1", "port": 5000, "rate": "1M", "sites": ["pop1"]}
    lineup["spec"]["channels"][0]["delivery"].append(ssm)
    ((key, rule),) = refused(lineup)
    assert key == f"{KEY}.source"
    assert "feeds channel ch1 already" in rule


def test_a_probe_behind_no_edge_and_a_second_endpoint() -> None:
    fleet = fleet_data(cdn_edge=["pop1", "r3"])
    assert ("spec.appliances[6].interfaces", "the probe r2 is on no link with an edge of its site pop2") in refused(
        fleet=fleet
    )
    other = {"endpoint": "http://10.1.0.21:8333", "bucket": "media", "credentials": "secret:w"}
    assert "one appliance keeps those of one" in refused(lineup_data(None, path("ch2", origin=other)))[0][1]


@settings(max_examples=25, deadline=None)
@given(st.randoms(use_true_random=False))
def test_the_order_of_lists_changes_nothing(random: Any) -> None:
    lineup, fleet = lineup_data(), fleet_data()
    before = compiled(copy.deepcopy(lineup), copy.deepcopy(fleet))
    for entries in (lineup["spec"]["channels"], lineup["spec"]["sources"], *fleet["spec"].values()):
        random.shuffle(entries)
    after = compiled(lineup, fleet)
    assert after.configs == before.configs
    assert after.hops == before.hops
    assert after.links == before.links


def equipped(*edges: dict[str, Any]) -> dict[str, Any]:
    data = fleet_data()
    data["spec"].setdefault("equipment", {})["cdn"] = {"edges": list(edges)}
    return data


def test_each_edge_has_the_equipment_of_the_entry_that_names_it_or_of_the_one_that_names_none() -> None:
    tls = {"certificates": ["secret:cdn-tls"]}
    found = compiled(fleet=equipped({"appliances": ["pop2"], "tls": tls}, {"healing": {"interval": "500ms"}}))
    first, second = (section(found, name, "cdn-edge") for name in ("pop1", "pop2"))
    assert ("tls" in first, first["healing"]["interval"], first["congestion_control"]) == (False, "500ms", "auto")
    assert (second["tls"], second["healing"]["interval"]) == ({"port": 443, **tls}, "250ms")


def test_equipment_of_no_edge_is_refused() -> None:
    assert ("spec.equipment.cdn.edges[0].appliances[0]", "c1 does not have the function cdn-edge") in refused(
        fleet=equipped({"appliances": ["c1"], "congestion_control": "bbr"})
    )


@pytest.mark.parametrize(
    "entries",
    [
        [{"appliances": ["pop1"]}, {"appliances": ["pop1"]}],
        [{}, {}],
        [{"tls": {"certificates": []}}],
        [{"tls": {"certificates": ["secret:a", "secret:a"]}}],
        [{"congestion_control": "vegas"}],
        [{"healing": {"path": "no path"}}],
        [{"healing": {"interval": "1ms"}}],
    ],
)
def test_equipment_that_cannot_be_meant_is_no_document(entries: list[dict[str, Any]]) -> None:
    document, violations = validate(Fleet, equipped(*entries), REGISTRY)
    assert document is None
    assert violations
