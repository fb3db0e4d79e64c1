"""Protected paths as sections: the lab's own document, a ring, two encoders, pins, subscriber ports, IPv6."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import assume, given, settings

from headend.multicast.documents import EXTENSION, SsmPath
from headend.multicast.planner import MulticastPlanner
from headend.multicast.planning.planned import plan_ways
from headend.multicast.planning.redundant import redundant_trees
from headend.multicast.planning.spt import Topology, shortest_paths
from headend.multicast.planning.streams import FirstFeed, first_feeds
from nf.contracts.planner import Contribution
from nf.documents.fleet import Fleet
from nf.documents.lineup import LineUp
from nf.documents.model import DocumentModel
from tests.headend.multicast.networks import Drawn, fleet_data, lineup, networks, with_single
from tests.nf.planning.samples import _data, built

RING = [(f"n{number}", f"n{(number + 1) % 8}", 10) for number in range(8)]
"""Eight routers; the headend is on a LAN with n0 and n4 in the tests below."""


def planned(document: LineUp, fleet: dict[str, Any]) -> Contribution:
    found = MulticastPlanner().plan(document, built(Fleet, fleet))
    assert found.problems == ()
    return found


def section(found: Contribution, appliance: str, name: str) -> Any:
    return found.sections[appliance][name].to_json()


def lab() -> tuple[LineUp, dict[str, Any]]:
    """The lab's protected line-up, IPTV only, ch2 also given out by the PoPs, on the lab's fleet without satellite."""
    data, fleet = with_single(copy.deepcopy(_data("lineup-protected.yaml"))), copy.deepcopy(_data("fleet.yaml"))
    for channel in data["spec"]["channels"]:
        channel["delivery"] = [path for path in channel["delivery"] if path["type"] == "ssm"]
    fleet["spec"]["equipment"] = {"multicast": fleet["spec"]["equipment"]["multicast"]}
    return built(LineUp, data), fleet


def test_one_stream_is_sent_twice_over_two_cores() -> None:
    found = planned(*lab())
    twin = section(found, "headend", "multicast-source")["stages"][1]
    assert (twin["source"], twin["encapsulation"], twin["dscp"], twin["second"]["source"]) == (
        "10.1.0.11", "rtp", 34, "10.1.0.12",
    )  # fmt: skip
    assert "leg" not in twin
    legs = {
        router: [
            (entry["leg"], entry["meets"], entry["source"])
            for entry in section(found, router, "multicast-tree")["entries"]
            if entry["path"] == "twin"
        ]
        for router in ("c1", "c2", "pop1")
    }
    assert legs == {
        "c1": [("a", False, "10.1.0.11")],
        "c2": [("b", False, "10.1.0.12")],
        "pop1": [("a", True, "10.1.0.11"), ("b", True, "10.1.0.12")],
    }
    assert section(found, "pop1", "frr")["reverse_paths"] == [
        {"source": "10.1.0.11", "neighbour": "10.2.0.2"},
        {"source": "10.1.0.12", "neighbour": "10.2.0.6"},
    ]
    assert section(found, "c1", "frr")["reverse_paths"] == []


def test_a_pop_gives_out_what_it_merges_and_what_it_watches() -> None:
    found = planned(*lab())
    merged, single = section(found, "pop2", "multicast-output")["outputs"]
    assert (merged["mode"], merged["addresses"], merged["dscp"]) == ("merge", ["10.3.2.1", "10.3.3.1"], 34)
    assert [feed["encapsulation"] for feed in merged["feeds"]] == ["rtp", "rtp"]
    assert merged["requires"] == [
        provided
        for entry in section(found, "pop2", "multicast-tree")["entries"]
        if entry["path"] == "twin"
        for provided in entry["provides"]
    ]
    assert (single["mode"], single["feeds"][0]["alternates"]) == ("single", ["10.2.0.4", "10.2.0.8"])
    monitor = section(found, "pop2", "multicast-monitor")
    assert monitor["interfaces"] == ["eth1", "eth2"]
    assert [(flow["path"], flow.get("leg")) for flow in monitor["flows"]] == [
        ("iptv", None), ("twin", "a"), ("twin", "b"), ("iptv", None), ("single", None),
    ]  # fmt: skip
    probes = {target.id: target.arguments for target in found.probes["r3"]}
    assert probes["ch1/twin/r3"]["source"] == "10.3.3.1"
    assert probes["ch1/twin/r3"]["group"] == merged["group"]
    assert [hop.point for hop in found.hops if (hop.path, hop.appliance) == ("twin", "pop2")] == [
        "tree-a", "tree-b", "output",
    ]  # fmt: skip


def test_the_pair_and_the_addresses_stand_without_any_channel() -> None:
    _, fleet = lab()
    found = planned(LineUp.empty(), fleet)
    assert section(found, "pop1", "interfaces")["interfaces"][-1] == {
        "name": "nfout0", "address": "169.254.255.0/31", "secondary": [],
        "pair": "nfout1", "pair_address": "169.254.255.1/31",
    }  # fmt: skip
    served = section(found, "pop1", "frr")["interfaces"][-1]
    assert (served["name"], served["pim"], served["igmp"], served["bfd"]) == ("nfout0", True, True, False)
    assert section(found, "pop1", "multicast-output") == {"tap": "nfout1", "outputs": []}
    assert section(found, "pop1", "multicast-monitor")["flows"] == []
    assert section(found, "headend", "interfaces")["interfaces"][0]["secondary"] == ["10.1.0.11/24", "10.1.0.12/24"]
    assert not any("multicast-output" in own for name, own in found.sections.items() if not name.startswith("pop"))


def test_both_legs_are_loaded_on_their_links_and_the_output_on_the_lans() -> None:
    loads = {(load.link, load.sender): load.bitrate_bps for load in planned(*lab()).loads if load.path == "twin"}
    assert loads == {
        ("hl", "headend"): 2_000_000,
        **{(f"c{core}-pop{pop}", f"c{core}"): 1_000_000 for core in (1, 2) for pop in (1, 2)},
        ("pop1-r1", "pop1"): 1_000_000,
        ("pop2-r2", "pop2"): 1_000_000,
        ("pop2-r3", "pop2"): 1_000_000,
    }


def test_a_ring_is_used_both_ways_round() -> None:
    fleet = fleet_data(8, RING, ["n0"], pops=["n2", "n3"])
    found = planned(lineup({"sites": ["n2", "n3"], "protection": "hot-hot"}), fleet)
    carried = {
        (entry["leg"], router)
        for router in (f"n{number}" for number in range(8))
        for entry in section(found, router, "multicast-tree")["entries"]
    }
    ways = {frozenset(router for leg, router in carried if leg == one) for one in ("a", "b")}
    assert ways == {frozenset({"n0", "n1", "n2", "n3"}), frozenset({"n0", "n7", "n6", "n5", "n4", "n3", "n2"})}
    (warning,) = found.warnings
    assert warning.rule == "both legs to n2, n3 pass n0: no two ways are disjoint there, and its loss takes both"
    assert warning.key == "spec.channels[0].delivery[0].protection"
    meets = {router: section(found, router, "multicast-tree")["entries"][0]["meets"] for router in ("n0", "n1", "n2")}
    assert meets == {"n0": True, "n1": False, "n2": True}


def test_two_encoders_are_switched() -> None:
    fleet = fleet_data(8, RING, ["n0", "n4"], pops=["n2"])
    path = {"sites": ["n2"], "protection": "switch", "second": {"source": "backup"}}
    found = planned(lineup(path), fleet)
    stages = section(found, "headend", "multicast-source")["stages"]
    assert [
        (stage["leg"], stage["source"], stage["encapsulation"], stage["contribution_port"]) for stage in stages
    ] == [
        ("a", "10.0.0.201", "ts", 6000),
        ("b", "10.0.0.202", "ts", 6001),
    ]
    (output,) = section(found, "n2", "multicast-output")["outputs"]
    assert (output["mode"], len(output["feeds"])) == ("switch", 2)
    assert found.warnings == ()


def test_pins_along_the_tree() -> None:
    fleet = fleet_data(8, RING, ["n0", "n4"], pops=["n2", "n6"])
    found = planned(lineup({"sites": ["n2", "n6"], "pinned": ["n2"]}), fleet)
    pins = {
        router: entry.get("pinned")
        for router in (f"n{number}" for number in range(8))
        for entry in section(found, router, "multicast-tree")["entries"]
    }
    assert {router for router, pin in pins.items() if pin} == {"n0", "n1", "n2", "n3", "n4"}
    assert pins["n2"] == {"outputs": ["eth2"]}  # the receivers' LAN
    fleet["spec"]["appliances"] = [one for one in fleet["spec"]["appliances"] if one["id"] != "r-n2"]
    fleet["spec"]["links"] = [link for link in fleet["spec"]["links"] if link["id"] != "lan-n2"]
    refused = MulticastPlanner().plan(lineup({"sites": ["n2"], "pinned": ["n2"]}), built(Fleet, fleet)).problems
    assert "no PoP of the site has a LAN with receivers" in refused[0].rule


@settings(max_examples=60, deadline=None)
@given(networks())
def test_sections_are_what_their_models_take(drawn: Drawn) -> None:
    """Big sections are made without validation: whatever the network, they hold what validation would have made."""
    routers, wires, on_a, on_b = drawn
    pops = [f"n{number}" for number in range(routers)]
    fleet = built(Fleet, fleet_data(routers, wires, on_a, None if on_a == on_b else on_b, pops))
    paths = ({"sites": [pop], "protection": "hot-hot", "pinned": [pop]} for pop in pops)
    found = MulticastPlanner().plan(lineup(*paths, {"sites": pops, "output": {}}, {"sites": pops}), fleet)
    for own in found.sections.values():
        for name, value in own.items():
            model: type[DocumentModel] = EXTENSION.sections[name]
            assert model.model_validate(value.to_json()) == value
    for targets in found.probes.values():
        for target in targets:
            assert type(target).model_validate(target.to_json()) == target


@settings(max_examples=60, deadline=None)
@given(networks())
def test_routers_that_follow_their_sections_build_the_planned_legs(drawn: Drawn) -> None:
    """As PIM chooses: the static reverse path if there is one, else OSPF's way, which then has to be the only one."""
    routers, wires, on_a, on_b = drawn
    pops = [f"n{number}" for number in range(routers)]
    fleet = built(Fleet, fleet_data(routers, wires, on_a, None if on_a == on_b else on_b, pops))
    network = Topology(fleet)
    owner = {str(face.address.ip): name for name, faces in network.faces.items() for face in faces}
    served = sorted(redundant_trees(network, "lan-a", "lan-a" if on_a == on_b else "lan-b").cuts)
    assume(served)
    found = MulticastPlanner().plan(lineup({"sites": served, "protection": "hot-hot"}), fleet)
    assert found.problems == ()
    ospf = {"a": shortest_paths(network, "lan-a"), "b": shortest_paths(network, "lan-a" if on_a == on_b else "lan-b")}
    for router in pops:
        static = {one["source"]: owner[one["neighbour"]] for one in section(found, router, "frr")["reverse_paths"]}
        for entry in section(found, router, "multicast-tree")["entries"]:
            wanted = {fact.rpartition("@")[2] for fact in entry["requires"] if "@" in fact}
            chosen = {edge.sender for edge in ospf[entry["leg"]].upstream[router]}
            assert wanted == ({static[entry["source"]]} if entry["source"] in static else chosen)
            assert len(wanted) <= 1


def test_where_protection_cannot_be() -> None:
    fleet = fleet_data(8, RING, ["n0", "n4"], pops=["n2"])
    bare = copy.deepcopy(fleet)
    bare["spec"]["equipment"] = {"multicast": {"pool": {"v4": "232.0.0.0/9"}}}
    bare["spec"]["placement"].pop()
    document = lineup({"sites": ["n2"], "protection": "hot-hot"})
    rules = [problem.rule for problem in MulticastPlanner().plan(document, built(Fleet, bare)).problems]
    assert "headend has no addresses for protected channels" in rules
    fleet["spec"]["placement"].pop()
    rules = [problem.rule for problem in MulticastPlanner().plan(document, built(Fleet, fleet)).problems]
    assert rules == ["n2 does not have the function multicast-output, which gives the path out"]


@pytest.mark.parametrize(
    ("pair", "rule"),
    [
        ({"a": "10.0.0.201", "b": "10.77.0.1"}, "the address is in no subnet that headend shares with a router"),
        ({"a": "10.0.0.1", "b": "10.0.0.202"}, "this address is taken by headend:eth0"),
        ({"a": "10.0.0.201", "b": "10.0.0.202", "appliance": "nobody"}, "no such appliance in the fleet"),
        ({"a": "10.0.0.201", "b": "10.0.0.0"}, "the first and the last address of 10.0.0.0/24 are no host's"),
        ({"a": "10.0.0.201", "b": "10.0.0.255"}, "the first and the last address of 10.0.0.0/24 are no host's"),
        (
            {"a": "10.0.0.201", "b": "10.0.0.202", "appliance": "n0"},
            "n0 does not have the function multicast-source: nothing leaves from these addresses",
        ),
    ],
)
def test_addresses_of_a_pair(pair: dict[str, str], rule: str) -> None:
    fleet = fleet_data(8, RING, ["n0", "n4"], pops=["n2"])
    fleet["spec"]["equipment"]["multicast"]["sources"] = [{"appliance": "headend", **pair}]
    found = MulticastPlanner().plan(LineUp.empty(), built(Fleet, fleet)).problems
    assert [problem.rule for problem in found] == [rule]


def test_an_appliance_has_one_pair() -> None:
    fleet = fleet_data(8, RING, ["n0", "n4"], pops=["n2"])
    pairs = fleet["spec"]["equipment"]["multicast"]["sources"]
    pairs.append({"appliance": "headend", "a": "10.0.0.203", "b": "10.0.0.204"})
    (problem,) = MulticastPlanner().plan(LineUp.empty(), built(Fleet, fleet)).problems
    assert problem.key == "spec.equipment.multicast.sources[1].appliance"
    assert problem.rule.startswith("the appliance has a pair of addresses already")


def test_a_misspelt_function_is_not_left_unplaced() -> None:
    fleet = fleet_data(8, RING, ["n0", "n4"], pops=["n2"])
    fleet["spec"]["placement"].append({"function": "multicast-moniter", "appliances": ["n2"]})
    (problem,) = MulticastPlanner().plan(LineUp.empty(), built(Fleet, fleet)).problems
    assert (problem.value, problem.remedy) == ("multicast-moniter", "did you mean multicast-monitor?")


@pytest.mark.parametrize(
    ("lans", "rule"),
    [
        ([{"ports": [{"name": "eth1"}]}], "pop1:eth1 is on a link with c1, and what routers send is dropped"),
        ([{"bridge": "eth2", "ports": [{"name": "eth8"}]}], "pop1:eth2 is on a link with c2, and"),
        (
            [{"bridge": "eth3", "ports": [{"name": "eth8"}]}, {"ports": [{"name": "eth3"}]}],
            "this interface is listed at",
        ),
    ],
)
def test_where_no_subscribers_can_be(lans: list[dict[str, Any]], rule: str) -> None:
    document, fleet = lab()
    fleet["spec"]["equipment"]["multicast"]["access"] = [{"appliance": "pop1", "lans": lans}]
    (problem,) = MulticastPlanner().plan(document, built(Fleet, fleet)).problems
    assert problem.rule.startswith(rule)


def test_a_channel_that_is_sold_and_not_there_is_a_warning() -> None:
    document, fleet = lab()
    bouquets = [{"id": "basic", "channels": ["ch1", "ch9"]}, {"id": "basic"}]
    access = [{"appliance": "pop1", "lans": [{"ports": [{"name": "eth3", "channels": ["chi2"]}]}]}]
    fleet["spec"]["equipment"]["multicast"] |= {"bouquets": bouquets[:1], "access": access}
    told = MulticastPlanner().plan(document, built(Fleet, fleet))
    assert told.problems == ()
    assert [(one.value, one.remedy) for one in told.warnings] == [
        ("ch9", "did you mean ch2?"), ("chi2", "did you mean ch2?"),
    ]  # fmt: skip
    assert MulticastPlanner().plan(LineUp.empty(), built(Fleet, fleet)).warnings == ()
    fleet["spec"]["equipment"]["multicast"]["bouquets"] = bouquets
    (problem,) = MulticastPlanner().plan(document, built(Fleet, fleet)).problems
    assert problem.key == "spec.equipment.multicast.bouquets[1].id"


def test_subscriber_ports_get_the_groups_of_what_they_bought() -> None:
    document, fleet = lab()
    fleet["spec"]["equipment"]["multicast"] |= {
        "bouquets": [{"id": "basic", "channels": ["ch1"]}],
        "access": [
            {
                "appliance": "pop1",
                "lans": [{"ports": [{"name": "eth3", "bouquets": ["basic"], "max_channels": 2}]}],
            },
            {
                "appliance": "pop2",
                "lans": [{"ports": [{"name": "eth3", "channels": []}]}, {"ports": [{"name": "eth4"}]}],
            },
        ],
    }
    found = planned(document, fleet)
    twin = section(found, "pop1", "multicast-output")["outputs"][0]["group"]
    (port,) = section(found, "pop1", "multicast-access")["lans"][0]["ports"]
    assert port == {
        "name": "eth3", "max_channels": 2, "igmp_rate": 20, "fast_leave": True, "groups": ["232.10.1.1", twin],
    }  # fmt: skip
    none, everything = (lan["ports"][0] for lan in section(found, "pop2", "multicast-access")["lans"])
    assert none["groups"] == []
    assert "groups" not in everything
    assert all("made_by" not in face for face in section(found, "pop1", "interfaces")["interfaces"])
    fleet["spec"]["equipment"]["multicast"]["access"][0]["lans"][0]["ports"][0] |= {"bouquets": ["basics"]}
    fleet["spec"]["equipment"]["multicast"]["access"][1]["appliance"] = "c1"
    rules = [problem.rule for problem in MulticastPlanner().plan(document, built(Fleet, fleet)).problems]
    assert rules == ["no such bouquet", "only a PoP has subscribers"]


def test_a_bridge_of_subscriber_ports_is_made_by_the_access_edge() -> None:
    document, fleet = lab()
    pop1 = next(one for one in fleet["spec"]["appliances"] if one["id"] == "pop1")
    pop1["interfaces"][2]["name"] = "br-access"
    link = next(one for one in fleet["spec"]["links"] if one["id"] == "pop1-r1")
    link["endpoints"][0] = "pop1:br-access"
    edge = {"bridge": "br-access", "ports": [{"name": "eth3"}, {"name": "eth7", "channels": ["ch2"]}]}
    fleet["spec"]["equipment"]["multicast"]["access"] = [{"appliance": "pop1", "lans": [edge]}]
    found = planned(document, fleet)
    made = {face["name"]: face.get("made_by") for face in section(found, "pop1", "interfaces")["interfaces"]}
    assert made["br-access"] == "multicast-access"
    assert {name for name, by in made.items() if by} == {"br-access"}
    served = {face["name"] for face in section(found, "pop1", "frr")["interfaces"] if face["igmp"]}
    assert served == {"br-access", "nfout0"}
    (lan,) = section(found, "pop1", "multicast-access")["lans"]
    assert (lan["bridge"], [port["name"] for port in lan["ports"]]) == ("br-access", ["eth3", "eth7"])
    edge["ports"][0]["name"] = "eth1"  # an uplink with an address of its own
    rules = [problem.rule for problem in MulticastPlanner().plan(document, built(Fleet, fleet)).problems]
    assert rules == ["a port of a bridge has no address of its own"]


def test_ipv6_is_planned_and_not_programmed() -> None:
    fleet = fleet_data(8, RING, ["n0", "n4"], pops=["n2"])
    document = lineup({"sites": ["n2"], "family": "ipv6", "protection": "hot-hot"})
    multicast = fleet["spec"]["equipment"]["multicast"]
    assert "no pool of ipv6 groups" in MulticastPlanner().plan(document, built(Fleet, fleet)).problems[0].rule
    multicast["pool"]["v6"] = "ff3e::8000:0/97"
    found = plan_ways(document, built(Fleet, fleet))
    assert found.problems[0].rule == "headend has no IPv6 address from which the path could be sent"
    multicast["sources"][0] |= {"a6": "2001:db8::a", "b6": "2001:db8::b"}
    found = plan_ways(document, built(Fleet, fleet))
    assert found.problems == []
    (way,) = found.ways
    assert [str(one.stream.source) for one in way.streams] == ["2001:db8::a", "2001:db8::b"]
    assert all(one.stream.group.version == 6 for one in way.streams)
    (problem,) = MulticastPlanner().plan(document, built(Fleet, fleet)).problems
    assert "it can be planned (nf tree plan), and nothing here programs it" in problem.rule


def test_an_ipv6_address_stands_on_one_interface_of_the_fleet() -> None:
    fleet = fleet_data(8, RING, ["n0", "n4"], pops=["n2"])
    listed = [("headend:eth9", "2001:db8::1/64"), ("n0:eth0", "2001:db8::2/64"), ("n0:eth0", "2001:db8::3/64")]
    fleet["spec"]["equipment"]["multicast"]["addresses_v6"] = [
        {"interface": interface, "address": address} for interface, address in listed
    ]
    problems = MulticastPlanner().plan(LineUp.empty(), built(Fleet, fleet)).problems
    assert {problem.key.rpartition("addresses_v6")[2]: problem.rule.partition(":")[0] for problem in problems} == {
        "[0].interface": "no such interface of an appliance",
        "[2].interface": "the interface has an IPv6 address already",
    }


def test_a_fallback_takes_leg_a() -> None:
    document, fleet = lab()
    feeds = first_feeds(document, built(Fleet, fleet))
    twin = next(path for path in document.spec.channels[0].delivery if path.id == "twin")
    assert isinstance(twin, SsmPath)
    feed = feeds["ch1", "twin"]
    assert (str(feed.source), feed.port, feed.encapsulation) == ("10.1.0.11", 5000, "rtp")
    plain = feeds["ch1", "iptv"]
    assert isinstance(plain, FirstFeed)
    assert (str(plain.source), str(plain.group), plain.encapsulation) == ("10.1.0.10", "232.10.1.1", "ts")
