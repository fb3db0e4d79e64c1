"""The IPTV tree's planner against the sample network, section by section."""

from __future__ import annotations

from typing import Any

import pytest

from headend.multicast.documents import FrrInterface, FrrSection, InterfacesSection
from headend.multicast.frr.render import render
from headend.multicast.planner import MulticastPlanner
from nf.contracts.planner import Hop, LinkLoad
from nf.documents.fleet import Fleet
from nf.documents.lineup import LineUp
from nf.planning.compiler import compile_lineup
from tests.nf.planning.samples import PLANNERS, built, compiled, fleet_data, lineup_data, problems, shown

S = "10.1.0.10"
G1, G2 = "232.10.1.1", "232.10.1.2"


def interface(name: str, *, adjacency: bool = False, receivers: bool = False) -> FrrInterface:
    return FrrInterface(name=name, cost=10, passive=not adjacency, pim=True, igmp=receivers, bfd=adjacency)


def router(loopback: str, addresses: list[str], routing: list[FrrInterface]) -> dict[str, Any]:
    return {
        "frr": FrrSection.model_validate({"router_id": loopback, "interfaces": routing}).to_json(),
        "interfaces": {"loopback": loopback, "forwarding": True, "interfaces": numbered(addresses)},
        "multicast-tree": {"entries": []},
    }


def host(addresses: list[str]) -> dict[str, Any]:
    return {"interfaces": {"forwarding": False, "interfaces": numbered(addresses)}}


def numbered(addresses: list[str]) -> list[dict[str, Any]]:
    return [
        {"name": f"eth{number}", "address": address, "secondary": []}
        for number, address in enumerate(addresses, start=1)
    ]


CORE = [interface("eth1"), *(interface(f"eth{number}", adjacency=True) for number in (2, 3, 4))]
UPLINKS = [interface("eth1", adjacency=True), interface("eth2", adjacency=True)]
UNDERLAY: dict[str, dict[str, Any]] = {
    "headend": {**host(["10.1.0.10/24", "10.9.0.2/30"]), "multicast-source": {"stages": []}},
    "c1": router("10.255.0.1", ["10.1.0.1/24", "10.2.0.0/31", "10.2.0.2/31", "10.2.0.4/31"], CORE),
    "c2": router("10.255.0.2", ["10.1.0.2/24", "10.2.0.1/31", "10.2.0.6/31", "10.2.0.8/31"], CORE),
    "pop1": router(
        "10.255.0.3",
        ["10.2.0.3/31", "10.2.0.7/31", "10.3.1.1/24"],
        [*UPLINKS, interface("eth3", receivers=True)],
    ),
    "pop2": router(
        "10.255.0.4",
        ["10.2.0.5/31", "10.2.0.9/31", "10.3.2.1/24", "10.3.3.1/24"],
        [*UPLINKS, interface("eth3", receivers=True), interface("eth4", receivers=True)],
    ),
    "r1": host(["10.3.1.10/24"]),
    "r2": host(["10.3.2.10/24"]),
    "r3": host(["10.3.3.10/24"]),
}


def sections(lineup: dict[str, Any] | None = None, fleet: dict[str, Any] | None = None) -> dict[str, dict[str, Any]]:
    return {
        name: {section: value.to_json() for section, value in config.sections.items()}
        for name, config in compiled(lineup, fleet).configs.items()
    }


def entry(channel: str, group: str, name: str, upstream: list[str]) -> dict[str, Any]:
    return {
        "channel": channel,
        "path": "iptv",
        "source": S,
        "group": group,
        "port": 5000,
        "meets": False,
        "requires": [f"ssm.tree={S},{group}@{other}" for other in upstream] or [f"ssm.source={S},{group}"],
        "provides": [f"ssm.tree={S},{group}@{name}"],
    }


def test_the_underlay_is_what_an_empty_line_up_compiles_to() -> None:
    found = compile_lineup(LineUp.empty(), built(Fleet, fleet_data()), PLANNERS)
    assert {
        name: {section: value.to_json() for section, value in config.sections.items()}
        for name, config in found.configs.items()
    } == UNDERLAY
    assert all(config.probes == () for config in found.configs.values())
    assert found.hops == ()
    assert found.links == ()


def test_the_line_up_adds_entries_and_stages_and_nothing_else() -> None:
    found = sections()
    for name, upstream in {"c1": [], "c2": [], "pop1": ["c1", "c2"], "pop2": ["c1", "c2"]}.items():
        entries = [entry("ch1", G1, name, upstream), entry("ch2", G2, name, upstream)]
        assert found[name].pop("multicast-tree") == {"entries": entries}
    assert found["headend"].pop("multicast-source") == {
        "stages": [
            {
                "channel": channel,
                "path": "iptv",
                "contribution_port": port,
                "source": S,
                "group": group,
                "port": 5000,
                "rate": "1M",
                "dscp": 0,
                "encapsulation": "ts",
                "provides": [f"ssm.source={S},{group}"],
            }
            for channel, port, group in (("ch1", 6001, G1), ("ch2", 6002, G2))
        ]
    }
    rest = {name: {key: UNDERLAY[name][key] for key in own} for name, own in found.items()}
    assert found == rest


def test_every_receiver_of_the_named_sites_is_probed() -> None:
    probes = {name: config.probes for name, config in compiled().configs.items()}
    assert {name: [target.id for target in targets] for name, targets in probes.items() if targets} == {
        name: [f"ch1/iptv/{name}", f"ch2/iptv/{name}"] for name in ("r1", "r2", "r3")
    }
    target = probes["r3"][1]
    assert (target.kind, target.channel, target.path) == ("ssm", "ch2", "iptv")
    assert target.arguments == {"source": S, "group": G2, "port": 5000, "interface": "10.3.3.10", "rate": "1M"}


def test_hops_in_the_order_of_the_stream() -> None:
    assert [hop for hop in compiled().hops if hop.channel == "ch1"] == [
        Hop("ch1", "iptv", 0, "headend", "contribution"),
        Hop("ch1", "iptv", 1, "headend", "source"),
        Hop("ch1", "iptv", 2, "c1", "tree"),
        Hop("ch1", "iptv", 3, "c2", "tree"),
        Hop("ch1", "iptv", 4, "pop1", "tree"),
        Hop("ch1", "iptv", 5, "pop2", "tree"),
        Hop("ch1", "iptv", 6, "r1", "receiver"),
        Hop("ch1", "iptv", 6, "r2", "receiver"),
        Hop("ch1", "iptv", 6, "r3", "receiver"),
    ]


def test_a_site_that_is_not_named_gets_nothing() -> None:
    data = lineup_data()
    data["spec"]["channels"][1]["delivery"][0]["sites"] = ["pop1"]
    found = compiled(data)
    assert [e["channel"] for e in sections(data)["pop2"]["multicast-tree"]["entries"]] == ["ch1"]
    assert [target.id for target in found.configs["r2"].probes] == ["ch1/iptv/r2"]
    used = {(use.link, use.sender): use.used_bps for use in found.links}
    assert used["c1-pop2", "c1"] == 1_000_000
    assert used["c1-pop1", "c1"] == 2_000_000


def test_full_rate_on_every_equal_cost_link_and_once_on_the_lan_of_the_source() -> None:
    data = lineup_data()
    data["spec"]["channels"].pop()
    plan = MulticastPlanner().plan(built(LineUp, data), built(Fleet, fleet_data()))
    assert plan.loads == tuple(
        LinkLoad(link, sender, 1_000_000, "ch1", "iptv")
        for link, sender in (
            ("c1-pop1", "c1"),
            ("c1-pop2", "c1"),
            ("c2-pop1", "c2"),
            ("c2-pop2", "c2"),
            ("hl", "headend"),
            ("pop1-r1", "pop1"),
            ("pop2-r2", "pop2"),
            ("pop2-r3", "pop2"),
        )
    )


def test_a_dearer_link_carries_nothing() -> None:
    fleet = fleet_data()
    fleet["spec"]["links"][2]["cost"] = 11  # c1-pop1
    found = sections(fleet=fleet)
    assert found["pop1"]["multicast-tree"]["entries"][0]["requires"] == [f"ssm.tree={S},{G1}@c2"]
    assert {use.link for use in compiled(fleet=fleet).links if "pop1" in use.link} == {"c2-pop1", "pop1-r1"}
    costs = {face["name"]: face["cost"] for face in found["pop1"]["frr"]["interfaces"]}
    assert costs == {"eth1": 11, "eth2": 10, "eth3": 10}


def test_a_detour_over_another_core() -> None:
    fleet = fleet_data()
    fleet["spec"]["links"][0]["endpoints"] = ["headend:eth1", "c2:eth1"]  # c1 leaves the headend's LAN
    found = sections(fleet=fleet)
    assert found["c1"]["multicast-tree"]["entries"] == []  # pop1 and pop2 reach c2 directly, cheaper than over c1
    fleet["spec"]["links"][4]["cost"] = 30  # c2-pop1
    found = sections(fleet=fleet)
    assert found["c1"]["multicast-tree"]["entries"][0]["requires"] == [f"ssm.tree={S},{G1}@c2"]
    assert found["pop1"]["multicast-tree"]["entries"][0]["requires"] == [
        f"ssm.tree={S},{G1}@c1",
    ]


def test_a_probe_of_another_site_on_a_pops_link_is_no_receiver_of_its() -> None:
    """A UE at the N3 of the PoP's UPF has IPTV by no multicast."""
    fleet = fleet_data()
    spec = fleet["spec"]
    spec["sites"].append({"id": "cell1", "criticality": "optional"})
    next(one for one in spec["appliances"] if one["id"] == "pop1")["interfaces"].append(
        {"name": "eth5", "address": "10.5.1.1/24"}
    )
    ue = {"id": "ue1", "site": "cell1", "role": "probe", "serial": "SV-UE1", "management": "172.20.20.30"}
    spec["appliances"].append({**ue, "interfaces": [{"name": "eth1", "address": "10.5.1.10/24"}]})
    spec["links"].append({"id": "pop1-ue1", "endpoints": ["pop1:eth5", "ue1:eth1"], "capacity": "1M"})
    found = compiled(fleet=fleet)
    assert found.configs["ue1"].probes == ()
    assert "pop1-ue1" not in {use.link for use in found.links}
    faces = {face["name"]: face["igmp"] for face in sections(fleet=fleet)["pop1"]["frr"]["interfaces"]}
    assert faces == {"eth1": False, "eth2": False, "eth3": True, "eth5": False}


def with_facing(router: str, radio: str, internet: str) -> dict[str, Any]:
    """Two interfaces more, with nobody of the fleet behind them."""
    fleet = fleet_data()
    next(one for one in fleet["spec"]["appliances"] if one["id"] == router)["interfaces"] += [
        {"name": radio, "address": "10.5.1.1/24", "facing": "radio"},
        {"name": internet, "address": "10.6.1.2/30", "facing": "internet"},
    ]
    return fleet


@pytest.mark.parametrize("router", ["c1", "pop1"])
def test_a_radio_cell_is_advertised_and_has_no_multicast_and_the_internet_has_neither(router: str) -> None:
    found = compiled(fleet=with_facing(router, "eth8", "eth9")).configs[router].sections
    text = render(FrrSection.model_validate(found["frr"].to_json()))
    assert [line for line in text["ospfd"] if line[0] == "interface eth8"] == [
        ("interface eth8",),
        ("interface eth8", "ip ospf cost 10"),
        ("interface eth8", "ip ospf area 0"),
        ("interface eth8", "ip ospf passive"),
    ]
    assert not [line for line in text["pimd"] if line[0] == "interface eth8"]
    assert not [line for lines in text.values() for line in lines if line[0] == "interface eth9"]
    assert isinstance(found["interfaces"], InterfacesSection)
    assert {"eth8", "eth9"} <= {face.name for face in found["interfaces"].interfaces}


def test_a_receiver_behind_a_radio_interface_is_asked_for_no_channels() -> None:
    fleet = fleet_data()
    pop = next(one for one in fleet["spec"]["appliances"] if one["id"] == "pop1")
    next(face for face in pop["interfaces"] if face["name"] == "eth3")["facing"] = "radio"
    (face,) = [face for face in sections(fleet=fleet)["pop1"]["frr"]["interfaces"] if face["name"] == "eth3"]
    assert (face["pim"], face["igmp"], face["passive"]) == (False, False, True)


@pytest.mark.parametrize("facing", ["radio", "internet"])
def test_where_another_router_is_an_interface_faces_the_network(facing: str) -> None:
    fleet = fleet_data()
    pop = next(one for one in fleet["spec"]["appliances"] if one["id"] == "pop1")
    next(face for face in pop["interfaces"] if face["name"] == "eth1")["facing"] = facing
    number = fleet["spec"]["appliances"].index(pop)
    found = {one.key: one.rule for one in problems(fleet=fleet)}
    assert "the router c1 is on the link c1-pop1" in found[f"spec.appliances[{number}].interfaces[0].facing"]


def test_a_site_without_probes_is_served() -> None:
    fleet = fleet_data()
    fleet["spec"]["appliances"] = [a for a in fleet["spec"]["appliances"] if a["id"] != "r1"]
    fleet["spec"]["links"] = [link for link in fleet["spec"]["links"] if link["id"] != "pop1-r1"]
    found = sections(fleet=fleet)
    assert len(found["pop1"]["multicast-tree"]["entries"]) == 2
    assert found["pop1"]["frr"]["interfaces"][2]["igmp"] is False


def test_groups_are_unique_down_to_their_ethernet_address() -> None:
    data = lineup_data()
    second = data["spec"]["channels"][1]
    second["delivery"][0]["group"] = G1
    key, remedy = "spec.channels[1].delivery[0].group", "write group: 232.10.1.2, the nearest that is free"
    assert shown(problems(data)) == [(key, G1, "the group is used by ch1/iptv already", remedy)]
    second["delivery"][0]["group"] = "232.138.1.1"
    rule = f"the low 23 bits are those of {G1} (ch1/iptv): both have one Ethernet address"
    remedy = "write group: 232.138.1.2, the nearest that is free"
    assert shown(problems(data)) == [(key, "232.138.1.1", rule, remedy)]
    second["delivery"][0] |= {"group": "232.10.1.2", "output": {"group": "232.10.1.2"}}
    rules = [rule for _, _, rule, _ in shown(problems(data))]
    assert "the group is used by this path's group already" in rules


def test_sites_resolve_have_a_pop_and_are_listed_once() -> None:
    data = lineup_data()
    data["spec"]["channels"][0]["delivery"][0]["sites"] = ["pop1", "pop3", "core", "pop1"]
    key = "spec.channels[0].delivery[0].sites"
    assert shown(problems(data)) == [
        (f"{key}[3]", "pop1", f"the site is listed twice: {key}[0]", "list it once"),
        (f"{key}[1]", "pop3", "no such site in the fleet", "did you mean pop2?"),
        (f"{key}[2]", "core", "the site has no PoP", "choose among: pop1, pop2"),
    ]


def test_a_site_that_cannot_be_reached() -> None:
    fleet = fleet_data()
    fleet["spec"]["links"] = [link for link in fleet["spec"]["links"] if not link["id"].endswith("-pop1")]
    assert shown(problems(fleet=fleet)) == [
        (
            f"spec.channels[{number}].delivery[0].sites[0]",
            "pop1",
            "pop1 has no path over the fleet's links to headend, where the channel starts",
            "add the missing link to the fleet, or remove the site",
        )
        for number in (0, 1)
    ]


def test_the_contribution_arrives_where_the_channel_starts() -> None:
    fleet = fleet_data()
    fleet["spec"]["placement"][1]["appliances"] = ["c1"]
    rule = "the source arrives at headend, which does not have the function multicast-source"
    remedy = "place multicast-source there in the fleet, or take a source that arrives at one that has it: c1"
    assert shown(problems(fleet=fleet)) == [
        (f"spec.channels[{number}].source", f"studio-ch{number + 1}", rule, remedy) for number in (0, 1)
    ]


def test_the_source_is_on_a_link_with_a_router() -> None:
    fleet = fleet_data()
    fleet["spec"]["links"][0]["endpoints"] = ["c1:eth1", "c2:eth1"]
    assert shown(problems(fleet=fleet))[0] == (
        "spec.channels[0].source",
        "studio-ch1",
        "headend, where the source arrives, is on no link with a router",
        "add the link to the fleet",
    )


def test_a_contribution_feeds_one_path_and_fits_into_its_rate() -> None:
    data = lineup_data()
    data["spec"]["channels"][1]["source"] = "studio-ch1"
    data["spec"]["channels"][0]["delivery"][0]["rate"] = "900k"
    assert shown(problems(data)) == [
        (
            "spec.channels[1].delivery[0].id",
            "iptv",
            "its contribution feeds another path already: spec.channels[0].delivery[0].id",
            "give it a source of its own (source: ...), or add its sites to that path",
        ),
        (
            "spec.channels[0].delivery[0].rate",
            "900k",
            "less than the 1M that the source studio-ch1 sends",
            "reserve at least the bit rate of the source",
        ),
    ]


def test_a_router_needs_a_loopback() -> None:
    fleet = fleet_data()
    del fleet["spec"]["appliances"][3]["loopback"]
    assert shown(problems(fleet=fleet)) == [
        (
            "spec.appliances[3].loopback",
            "",
            "the router pop1 has no loopback, which is its router id",
            "add loopback: with an address of its own",
        )
    ]


def test_a_probe_stands_behind_a_pop_of_its_site() -> None:
    fleet = fleet_data()
    fleet["spec"]["appliances"][7]["site"] = "pop1"  # r3, wired to pop2
    assert shown(problems(fleet=fleet)) == [
        (
            "spec.appliances[7].interfaces",
            "",
            "the probe r3 is on no link with a PoP of its site pop1",
            "add the link to the fleet",
        )
    ]
