"""The fleet's core, planned: what each appliance gets, in which order it comes up, and what is refused."""

from __future__ import annotations

import random
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from unittest.mock import create_autospec

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core5g.open5gs.documents import ManagedFunction
from core5g.open5gs.naming import START_ORDER, info_url, tun_name
from core5g.open5gs.planner import Open5gsPlanner
from headend.multicast.interfaces.driver import InterfacesDriver
from headend.multicast.planner import MulticastPlanner
from nf.clock import VirtualClock
from nf.contracts.driver import DriverContext, State
from nf.contracts.units import Units
from nf.documents.fleet import Fleet
from nf.documents.lineup import LineUp
from nf.documents.validation import validate
from tests.core5g.open5gs.samples import CORE, EPC, REGISTRY, core, core_data, fleet, n6, open5gs, planned, problems
from tests.nf.planning.samples import built, fleet_data


def test_each_appliance_runs_what_stands_on_it() -> None:
    plan = planned()
    assert not plan.problems
    assert {name: sorted(sections) for name, sections in plan.sections.items()} == {
        "c1": ["open5gs"],
        "c2": ["n6-network", "open5gs"],
        "pop1": ["n6-network", "open5gs"],
    }
    assert [one.kind for one in open5gs(plan, "c1").functions] == [
        *("nrf", "scp", "udr", "udm", "ausf", "bsf", "pcf", "nssf", "smf", "amf")
    ]
    assert [(one.kind, one.name) for one in open5gs(plan, "pop1").functions] == [("upf", "edge1")]
    assert [(operation.name, operation.object, operation.stages) for operation in plan.operations] == [
        ("drain", "central", ((("c2", "open5gs"),),)),
        ("drain", "edge1", ((("pop1", "open5gs"),),)),
    ]
    assert [operation.before for operation in plan.operations] == [{("c2", "open5gs.upf")}, {("pop1", "open5gs.upf")}]


def test_routing_that_goes_out_to_strangers_is_told_until_the_fleet_says_who_is_there() -> None:
    """pop1's eth3 is where no other router is; its eth1 is a link of the network."""
    data = core_data()
    data["upfs"][1] |= {"n3": "10.3.1.1", "gateway": "10.3.1.9"}
    key = "spec.equipment.core5g.upfs[1]"

    def told(facing: str | None, **changes: Any) -> set[str]:
        data["upfs"][1] |= changes
        whole = fleet(data).model_dump(mode="json", by_alias=True)
        (pop,) = [one for one in whole["spec"]["appliances"] if one["id"] == "pop1"]
        (face,) = [one for one in pop["interfaces"] if one["name"] == "eth3"]
        face["facing"] = facing or "network"
        document, violations = validate(Fleet, whole, REGISTRY)
        assert document is not None, violations
        found = Open5gsPlanner().plan(LineUp.empty(), document).warnings
        return {warning.key for warning in found if "routing and multicast" in warning.rule}

    assert told(None) == {f"{key}.exit", f"{key}.n3"}
    assert told("internet") == told("radio") == set()
    assert told(None, n3="10.2.0.3", exit="eth1", gateway="10.2.0.2") == set()


def test_a_fleet_without_a_core_gets_nothing() -> None:
    plan = Open5gsPlanner().plan(LineUp.empty(), built(Fleet, fleet_data()))
    assert plan.sections == {}
    assert plan.problems == ()


def test_who_is_asked_is_there_first() -> None:
    functions = {one.kind: one for one in open5gs(planned(), "c1").functions}
    assert functions["nrf"].requires == ("c1.interface.lo",)
    assert set(functions["smf"].requires) == {
        *("c1.interface.lo", "c1.open5gs.nrf", "c1.open5gs.scp", "c1.open5gs.udm", "c1.open5gs.pcf")
    }
    assert "c1.open5gs.smf" in functions["amf"].requires
    assert functions["amf"].provides == ("c1.open5gs.amf",)


def test_a_upf_waits_for_its_device_and_its_addresses() -> None:
    plan = planned()
    (upf,) = open5gs(plan, "pop1").functions
    assert set(upf.requires) == {"pop1.interface.eth1", "pop1.interface.lo", "pop1.tun.ogstun"}
    assert n6(plan, "pop1").provides == ("pop1.tun.ogstun",)
    assert n6(plan, "pop1").requires == ("pop1.interface.eth3",)


def test_a_function_elsewhere_waits_for_the_registry_only() -> None:
    functions = [one for one in CORE["functions"] if one["kind"] != "amf"]
    functions.append({"kind": "amf", "appliance": "c2", "address": "10.255.0.2"})
    amf = next(one for one in open5gs(planned(core_data(functions=functions)), "c2").functions if one.kind == "amf")
    assert set(amf.requires) == {"c2.interface.lo", "c1.open5gs.nrf", "c1.open5gs.scp"}


@pytest.mark.parametrize("extra", [[], EPC])
def test_every_fact_that_is_required_is_provided_by_somebody(extra: list[dict[str, Any]]) -> None:
    plan = planned(core_data(functions=CORE["functions"] + extra))
    assert not plan.problems
    provided = {fact for name in plan.sections for one in open5gs(plan, name).functions for fact in one.provides}
    provided |= {fact for name in ("c2", "pop1") for fact in n6(plan, name).provides}
    required = {fact for name in plan.sections for one in open5gs(plan, name).functions for fact in one.requires}
    assert {fact for fact in required if ".interface." not in fact} <= provided


def test_facts_of_interfaces_are_those_of_the_section_that_gives_addresses() -> None:
    whole = fleet(core_data(functions=CORE["functions"] + EPC))
    underlay, plan = MulticastPlanner().plan(LineUp.empty(), whole), Open5gsPlanner().plan(LineUp.empty(), whole)
    for name in plan.sections:
        context = DriverContext(name, Path("/run"), Path("/var"), create_autospec(Units), VirtualClock())
        (step,) = InterfacesDriver(context).plan(State(None), underlay.sections[name]["interfaces"])
        required = {fact for one in open5gs(plan, name).functions for fact in one.requires if ".interface." in fact}
        assert required <= step.provides


def test_functions_of_one_appliance_stand_in_an_order_without_circles() -> None:
    plan = planned(core_data(functions=CORE["functions"] + EPC))
    for name in plan.sections:
        seen: set[str] = set()
        own = open5gs(plan, name).functions
        here = {fact for one in own for fact in one.provides}
        for one in own:
            assert set(one.requires) & here <= seen
            seen |= set(one.provides)


def test_the_network_behind_a_upf() -> None:
    section = n6(planned(), "pop1")
    (tun,) = section.tuns
    assert (tun.name, tun.dnn) == ("ogstun", "internet")
    assert [str(gateway) for gateway in tun.gateways] == ["10.45.0.1/16", "2001:db8:45::1/48"]
    assert section.masquerade == (ip_network("10.45.0.0/16"),)
    assert (section.exit, section.gateway) == ("eth3", None)
    data = core_data()
    data["upfs"][1]["gateway"] = "10.3.1.2"
    assert str(n6(planned(data), "pop1").gateway) == "10.3.1.2"
    data["upfs"][1]["nat"] = False
    assert n6(planned(data), "pop1").masquerade == ()


def test_each_dnn_has_a_device() -> None:
    networks = [*CORE["networks"], {"dnn": "cdn", "pools": ["10.46.0.0/16"]}]
    data = core_data(networks=networks)
    data["upfs"][0]["dnns"] = ["internet", "cdn"]
    plan = planned(data)
    upf = core(networks=networks, upfs=data["upfs"]).upfs[0]
    assert (tun_name(upf, "cdn"), tun_name(upf, "internet")) == ("ogstun", "ogstun2")
    assert [tun.name for tun in n6(plan, "c2").tuns] == ["ogstun", "ogstun2"]
    config = next(one for one in open5gs(plan, "c2").functions if one.kind == "upf").config
    assert [(entry["dnn"], entry["dev"]) for entry in config["upf"]["session"]] == [
        ("cdn", "ogstun"),
        ("internet", "ogstun2"),
        ("internet", "ogstun2"),
    ]
    with pytest.raises(ValueError, match="ims"):
        tun_name(upf, "ims")


@given(st.randoms(use_true_random=False))
def test_the_order_of_lists_says_nothing(random_: random.Random) -> None:
    data = core_data(
        functions=CORE["functions"] + EPC, networks=[*CORE["networks"], {"dnn": "ims", "pools": ["10.46.0.0/16"]}]
    )
    for upf in data["upfs"]:
        upf["dnns"] = ["ims", "internet"]
    expected = planned(data)
    for key in ("functions", "upfs", "networks", "slices", "tacs"):
        random_.shuffle(data[key])
    for upf in data["upfs"]:
        random_.shuffle(upf["dnns"])
    found = planned(data)
    assert {name: {key: one.to_json() for key, one in own.items()} for name, own in found.sections.items()} == {
        name: {key: one.to_json() for key, one in own.items()} for name, own in expected.sections.items()
    }
    assert found.operations == expected.operations


def upf(**changes: Any) -> list[dict[str, Any]]:
    return [{**CORE["upfs"][0], **changes}, CORE["upfs"][1]]


def function(number: int, **changes: Any) -> list[dict[str, Any]]:
    listed = [dict(one) for one in CORE["functions"]]
    listed[number] |= changes
    return listed


DNNS = [f"d{number}" for number in range(17)]

REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"functions": function(0, appliance="c9")}, "functions[0].appliance", "no such appliance"),
    ({"upfs": upf(appliance="c9")}, "upfs[0].appliance", "no such appliance"),
    ({"functions": function(8, address="10.255.0.2")}, "functions[8].address", "c1 does not have this address"),
    ({"functions": function(8, address="127.0.0.5")}, "functions[8].address", "c1 does not have this address"),
    ({"upfs": upf(n3="10.9.9.9")}, "upfs[0].n3", "c2 does not have this address"),
    ({"upfs": upf(n4="10.9.9.9")}, "upfs[0].n4", "c2 does not have this address"),
    ({"functions": [*CORE["functions"], CORE["functions"][9]]}, "functions[10].address", "a function of this kind"),
    (
        {"functions": [*CORE["functions"], {"kind": "amf", "appliance": "c1", "address": "10.2.0.0"}]},
        "functions[10].appliance",
        "this appliance has a function of this kind already",
    ),
    (
        {"upfs": [*CORE["upfs"], {**CORE["upfs"][0], "id": "second", "n3": "10.1.0.2", "n4": "10.1.0.2"}]},
        "upfs[2].appliance",
        "this appliance has a UPF already",
    ),
    ({"upfs": upf(id="edge1")}, "upfs[1].id", "a UPF has this name already"),
    (
        {"upfs": upf(appliance="c1", n3="10.255.0.1", n4="10.255.0.1", exit="eth1")},
        "upfs[0].n3",
        "smf at spec.equipment.core5g.functions[9] listens for GTP-U",
    ),
    (
        {
            "classifiers": [
                {"id": "ulcl", "appliance": "c2", "address": "10.255.0.2", "upf": "central", "edge": "edge1"}
            ]
        },
        "classifiers[0].address",
        "upf at spec.equipment.core5g.upfs[0].n4 listens for PFCP",
    ),
    (
        {"networks": [{"dnn": "internet", "pools": ["10.45.0.0/16", "10.45.128.0/20"]}]},
        "networks[0].pools[1]",
        "the pool overlaps 10.45.0.0/16",
    ),
    ({"networks": [{"dnn": "internet", "pools": ["10.3.0.0/16"]}]}, "networks[0].pools[0]", "the link at pop1:eth3"),
    ({"networks": [{"dnn": "internet", "pools": ["10.255.0.0/24"]}]}, "networks[0].pools[0]", "the loopback of c1"),
    ({"networks": [{"dnn": "internet", "pools": ["172.20.0.0/16"]}]}, "networks[0].pools[0]", "the management address"),
    ({"networks": [{"dnn": "internet", "pools": ["10.45.0.0/30"]}]}, "networks[0].pools[0]", "no room for UEs"),
    ({"networks": [{"dnn": "internet", "pools": ["2001:db8::/64"]}]}, "networks[0].pools[0]", "no room for UEs"),
    (
        {"networks": [*CORE["networks"], {"dnn": "ims", "pools": ["10.46.0.0/16"]}]},
        "networks[1].dnn",
        "no UPF serves this DNN",
    ),
    ({"networks": [*CORE["networks"], CORE["networks"][0]]}, "networks[1].dnn", "this DNN stands here already"),
    ({"upfs": upf(dnns=["internet", "ims"])}, "upfs[0].dnns[1]", "no such DNN"),
    ({"upfs": upf(dnns=["internet", "internet"])}, "upfs[0].dnns[1]", "named twice"),
    ({"upfs": upf(tacs=[99])}, "upfs[0].tacs[0]", "no such TAC"),
    ({"upfs": upf(exit="eth9")}, "upfs[0].exit", "no such interface of c2"),
    ({"upfs": upf(gateway="10.3.1.2")}, "upfs[0].gateway", "not a neighbour at eth1"),
    ({"upfs": upf(gateway="10.1.0.2")}, "upfs[0].gateway", "not a neighbour at eth1"),
    (
        {
            "networks": [{"dnn": dnn, "pools": [f"10.{100 + n}.0.0/16"]} for n, dnn in enumerate(DNNS)],
            "upfs": [{**CORE["upfs"][0], "dnns": DNNS}],
        },
        "upfs[0].dnns",
        "central would have 17 DNNs",
    ),
    (
        {"networks": [{"dnn": "internet", "pools": [f"10.{100 + n}.0.0/16" for n in range(17)]}]},
        "networks",
        "the SMF would have 17 pools",
    ),
    ({"functions": CORE["functions"][1:]}, "functions[7].kind", "amf needs nrf"),
    ({"functions": [*CORE["functions"], EPC[2]]}, "functions[10].kind", "mme needs hss, sgwc"),
    ({"upfs": []}, "functions[9].kind", "the SMF has no UPF"),
    ({"database": None}, "functions[4].kind", "udr reads subscribers"),
    ({"database": "mongodb://admin:hunter2@10.1.0.20/open5gs"}, "database", "named, never written"),
    (
        {
            "classifiers": [
                {"id": f"u{n}", "appliance": "c2", "address": address, "upf": "central", "edge": "edge1"}
                for n, address in enumerate(("10.1.0.2", "10.2.0.1"))
            ]
        },
        "classifiers[1].upf",
        "a classifier stands before this UPF already",
    ),
]


def test_an_ipv6_loopback_is_in_no_pool() -> None:
    data = fleet(core_data()).to_json()
    data["spec"]["appliances"][0]["loopback6"] = "2001:db8:45:1::3"  # type: ignore[call-overload,index]
    document, _ = validate(Fleet, data, REGISTRY)
    assert document is not None
    (problem,) = Open5gsPlanner().plan(LineUp.empty(), document).problems
    assert problem.rule == "the pool overlaps 2001:db8:45:1::3/128, the IPv6 loopback of headend"


@pytest.mark.parametrize(("changes", "key", "rule"), REFUSED, ids=[f"{key}: {rule[:30]}" for _, key, rule in REFUSED])
def test_what_cannot_work_is_refused_where_it_is_written(changes: dict[str, Any], key: str, rule: str) -> None:
    found = problems(**changes)
    assert any(where == key and rule in told for where, told in found), found


def test_a_secret_that_was_written_is_not_told_again() -> None:
    plan = planned(core_data(database="mongodb://admin:hunter2@10.1.0.20/open5gs"))
    assert "hunter2" not in str(plan.problems)


def test_a_core_of_one_machine_may_use_its_own_loopback() -> None:
    functions = [{"kind": kind, "appliance": "c2", "address": "127.0.0.5"} for kind in ("nrf", "amf", "smf")]
    plan = planned(core_data(functions=functions, upfs=[CORE["upfs"][0]]))
    assert not plan.problems
    amf = next(one for one in open5gs(plan, "c2").functions if one.kind == "amf")
    assert not any(".interface." in fact for fact in amf.requires)


def test_where_functions_are_asked() -> None:
    whole = core()
    assert info_url(whole, "smf", "c1") == "http://10.255.0.1:9091"
    assert info_url(whole, "upf", "pop1") == "http://10.255.0.3:9092"
    assert info_url(whole, "upf", "c1") is None
    assert info_url(whole, "nrf", "c1") is None


def test_every_kind_has_its_place_in_the_order_of_start() -> None:
    kinds = set(ManagedFunction.model_json_schema()["properties"]["kind"]["anyOf"][0]["enum"]) | {"upf"}
    assert kinds == set(START_ORDER)
