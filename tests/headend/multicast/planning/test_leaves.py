"""PoPs in which trees only end: behind an IGMP proxy, behind a tunnel.

A ring n0 - n1 - n2 - n3 with the headend on n0; n4 is a proxy behind n2, n5 comes by a tunnel from n0 over its one link
with n3.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headend.multicast.adopter import MulticastAdopter
from headend.multicast.explain import Explainer, path_json, summary
from headend.multicast.planning.planned import plan_ways
from headend.multicast.planning.whatif import Loss, what_if
from nf.documents.fleet import Fleet
from nf.documents.lineup import LineUp
from nf.planning.compiler import Compiled, compile_lineup
from tests.headend.multicast.networks import Wire, fleet_data, lineup
from tests.headend.multicast.test_adopter_protected import Sections, again, bare, sections
from tests.nf.planning.samples import PLANNERS, built

RING: list[Wire] = [(f"n{number}", f"n{(number + 1) % 4}", 10) for number in range(4)]
WIRES: list[Wire] = [*RING, ("n2", "n4", 10), ("n3", "n5", 10)]
RELAY = "192.168.255.2"  # the loopback of n0
LEAVES: dict[str, Any] = {
    "proxies": [{"appliance": "n4", "uplink": "eth0"}],
    "amt": {"relays": [{"appliance": "n0", "address": RELAY}], "gateways": [{"appliance": "n5", "relay": "n0"}]},
}
NATIVE = {"sites": ["n2", "n4", "n5"]}


def network(outputs: tuple[str, ...] = (), wires: list[Wire] = WIRES, **equipment: Any) -> dict[str, Any]:
    data = fleet_data(6, wires, ["n0"], pops=["n2", "n4", "n5"])
    spec = data["spec"]
    spec["placement"] = [one for one in spec["placement"] if one["function"] != "multicast-output"]
    spec["placement"] += [{"function": "multicast-output", "appliances": list(outputs)}] if outputs else []
    spec["equipment"]["multicast"] |= copy.deepcopy(LEAVES) | equipment
    return data


def made(document: LineUp, data: dict[str, Any]) -> tuple[Compiled, Sections]:
    found = compile_lineup(document, built(Fleet, data), PLANNERS)
    return found, sections(found)


def face(have: Sections, name: str, interface: str) -> dict[str, Any]:
    return next(one for one in have[name]["frr"]["interfaces"] if one["name"] == interface)


def loads(data: dict[str, Any]) -> Counter[tuple[str, str]]:
    found: Counter[tuple[str, str]] = Counter()
    for load in PLANNERS[0].plan(lineup(NATIVE), built(Fleet, data)).loads:
        found[load.link, load.sender] += load.bitrate_bps
    return found


def test_a_proxy_has_no_routing_and_its_router_serves_it_as_receivers() -> None:
    _, have = made(lineup(NATIVE), network())
    assert "frr" not in have["n4"]
    proxy = have["n4"]["multicast-proxy"]
    assert {key: proxy[key] for key in ("uplink", "access", "gateway", "sources")} == {
        "uplink": "eth0",
        "access": ["eth1"],
        "gateway": "10.5.0.1",
        "sources": ["10.0.0.1"],
    }
    towards = face(have, "n2", "eth2")
    assert (towards["igmp"], towards["pim"], towards["passive"], towards["bfd"]) == (True, True, True, False)
    (entry,) = have["n4"]["multicast-tree"]["entries"]
    (above,) = have["n2"]["multicast-tree"]["entries"]
    assert entry["requires"] == above["provides"]
    assert {key: bps for key, bps in loads(network()).items() if key[0] == "w4"} == {("w4", "n2"): 1_000_000}


def test_a_proxy_serves_its_output_stage_as_it_serves_receivers() -> None:
    path = {"sites": ["n2", "n4"], "protection": "hot-hot", "pinned": ["n4"]}
    _, have = made(lineup(path), network(("n2", "n4")))
    assert have["n4"]["multicast-proxy"]["access"] == ["eth1", "nfout0"]
    assert have["n4"]["multicast-proxy"]["sources"] == ["10.0.0.201", "10.0.0.202"]
    entries = have["n4"]["multicast-tree"]["entries"]
    assert [(one["leg"], one["meets"], one["pinned"]) for one in entries] == [
        (leg, True, {"outputs": ["nfout0"]}) for leg in ("a", "b")
    ]
    assert all(one["meets"] for one in have["n2"]["multicast-tree"]["entries"])
    assert [one["mode"] for one in have["n4"]["multicast-output"]["outputs"]] == ["merge"]


def test_a_tunnel_begins_where_the_tree_ends_and_delivers_to_receivers() -> None:
    found, have = made(lineup(NATIVE), network())
    relay, gateway = have["n0"]["multicast-amt"]["relay"], have["n5"]["multicast-amt"]["gateway"]
    (entry,) = have["n0"]["multicast-tree"]["entries"]
    assert (relay["address"], relay["upstream"], relay["max_flows"]) == (RELAY, "nfamt1", 1)
    assert set(relay["requires"]) == {"n0.interface.nfamt1", *entry["provides"]}
    assert (gateway["relay"], gateway["deliver"]) == (RELAY, ["eth1"])
    assert set(gateway["requires"]) == {"n5.interface.eth1", *relay["provides"]}
    assert have["n5"]["multicast-tree"]["entries"] == []
    assert not any(one["pim"] or one["igmp"] for one in have["n5"]["frr"]["interfaces"])
    assert face(have, "n0", "nfamt0")["igmp"]
    towards = face(have, "n3", "eth2")
    assert (towards["pim"], towards["ospf"], towards["passive"], towards["bfd"]) == (False, True, False, True)
    used = loads(network())
    assert used["w3", "n0"] == 2_000_000  # natively to n2, round the ring, and by the tunnel
    assert (used["w5", "n3"], used["lan-n5", "n5"]) == (1_000_000, 1_000_000)
    hops = [(hop.appliance, hop.point) for hop in found.hops]
    assert hops.index(("n0", "tree")) < hops.index(("n5", "amt-gateway")) < hops.index(("r-n5", "receiver"))
    assert [(one["channel"], one["path"]) for one in gateway["flows"]] == [("ch0", "iptv")]


def test_a_tunnel_delivers_into_the_tap_of_an_output_stage() -> None:
    path = {"sites": ["n5"], "protection": "hot-hot"}
    _, have = made(lineup(path), network(("n5",)))
    gateway = have["n5"]["multicast-amt"]["gateway"]
    assert (gateway["deliver"], len(gateway["flows"])) == (["nfout0"], 2)
    (output,) = have["n5"]["multicast-output"]["outputs"]
    assert set(output["requires"]) == set(gateway["provides"])
    assert "nfout0" not in {one["name"] for one in have["n5"]["frr"]["interfaces"]}


def test_without_channels_there_is_no_tunnel_and_the_network_stands() -> None:
    _, have = made(LineUp.empty(), network())
    assert not any("multicast-amt" in own for own in have.values())
    assert have["n4"]["multicast-proxy"]["sources"] == []
    full = made(lineup(NATIVE), network())[1]
    assert [own.get("frr") for own in have.values()] == [own.get("frr") for own in full.values()]
    assert [own["interfaces"] for own in have.values()] == [own["interfaces"] for own in full.values()]


def test_limits_and_port_of_a_relay_are_taken_as_written() -> None:
    relay = {"appliance": "n0", "address": RELAY, "port": 2300, "max_gateways": 7, "max_flows": 9}
    amt = {"relays": [relay], "gateways": LEAVES["amt"]["gateways"]}
    _, have = made(lineup(NATIVE), network(amt=amt))
    own = have["n0"]["multicast-amt"]["relay"]
    assert (own["port"], own["max_gateways"], own["max_flows"]) == (2300, 7, 9)
    assert have["n5"]["multicast-amt"]["gateway"]["port"] == 2300


def test_the_plan_shows_the_tunnel() -> None:
    plan = plan_ways(lineup(NATIVE), built(Fleet, network()))
    found = Explainer(plan).path(plan.ways[0])
    (line,) = [line for line in found.legs[0].lines if line.link == "amt:n5"]
    assert (line.sender, line.receivers, line.used_bps) == ("n0", ("n5",), 1_000_000)
    assert "amt:n5: a tunnel from n0 to n5 over n0 > w3, n3 > w5" in summary(found)
    assert path_json(found)["legs"][0]["tunnels"] == [  # type: ignore[index, call-overload]
        {"name": "amt:n5", "relay": "n0", "gateway": "n5", "over": ["n0 > w3", "n3 > w5"]}
    ]


def test_what_a_loss_does_to_leaves() -> None:
    plan = plan_ways(lineup(NATIVE), built(Fleet, network()))

    def lost(loss: Loss) -> set[str]:
        return {place for _, place in what_if(plan, loss).lost}

    assert lost(Loss(link="w4")) == {"n4"}
    assert lost(Loss(link="w5")) == {"n5"}
    assert lost(Loss(link="amt:n5")) == {"n5"}
    assert lost(Loss(link="w3")) == set()  # the tunnel goes round the ring
    assert lost(Loss(node="n2")) == {"n2", "n4"}
    assert lost(Loss(node="n3")) == {"n5"}


# ---- what is wrong ---------------------------------------------------------------------------------------------------

Change = Callable[[dict[str, Any]], None]


def told(change: Change | None = None, *paths: dict[str, Any], outputs: tuple[str, ...] = ()) -> str:
    data = network(outputs)
    if change is not None:
        change(data["spec"])
    found = PLANNERS[0].plan(lineup(*paths), built(Fleet, data))
    return "\n".join(f"{problem.key}: {problem.rule}" for problem in found.problems)


def of_equipment(**given: Any) -> Change:
    return lambda spec: spec["equipment"]["multicast"].update(given)


def proxy(name: str, uplink: str = "eth0") -> Change:
    return of_equipment(proxies=[{"appliance": name, "uplink": uplink}])


def tunnel(relay: str = "n0", address: str = RELAY, gateway: str = "n5", of: str = "n0", **limits: int) -> Change:
    relays = [{"appliance": relay, "address": address, **limits}]
    return of_equipment(amt={"relays": relays, "gateways": [{"appliance": gateway, "relay": of}]})


def second_uplink(end: str) -> Change:
    def change(spec: dict[str, Any]) -> None:
        for number, name in enumerate((end, "n1"), start=1):
            appliance = next(one for one in spec["appliances"] if one["id"] == name)
            appliance["interfaces"].append({"name": "eth9", "address": f"10.99.0.{number}/24"})
        spec["links"].append({"id": "more", "endpoints": [f"{end}:eth9", "n1:eth9"], "capacity": "1G"})

    return change


def monitored(spec: dict[str, Any]) -> None:
    spec["placement"].append({"function": "multicast-monitor", "appliances": ["n5"]})


def receivers_on_the_uplink(spec: dict[str, Any]) -> None:
    access = [{"appliance": "n4", "lans": [{"ports": [{"name": "eth0"}]}]}]
    spec["equipment"]["multicast"]["access"] = access


def without_receivers(spec: dict[str, Any]) -> None:
    spec["appliances"] = [one for one in spec["appliances"] if one["id"] not in ("r-n4", "r-n5")]
    spec["links"] = [one for one in spec["links"] if one["id"] not in ("lan-n4", "lan-n5")]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (proxy("nowhere"), "proxies[0].appliance: no such appliance"),
        (proxy("n1"), "proxies[0].appliance: n1 is no PoP but core"),
        (proxy("n4", "eth7"), "proxies[0].uplink: no such interface of n4"),
        (proxy("n4", "eth1"), "proxies[0].uplink: a proxy stands behind one router"),
        (second_uplink("n4"), "proxies[0].uplink: a proxy has one uplink, and eth9 of n4"),
        (receivers_on_the_uplink, "proxies[0].uplink: eth0 is the uplink, and has receivers"),
        (without_receivers, "proxies[0].appliance: n4 has no LAN with receivers"),
        (of_equipment(proxies=[{"appliance": "n5", "uplink": "eth0"}]), "amt.gateways[0].appliance: the PoP is listed"),
        (tunnel(relay="n4"), "relays[0].appliance: n4 is no router that runs PIM"),
        (tunnel(relay="nowhere"), "relays[0].appliance: no such appliance"),
        (tunnel(address="10.200.0.1"), "relays[0].address: this is no address of n0"),
        (tunnel(gateway="n1"), "gateways[0].appliance: n1 is no PoP but core"),
        (tunnel(of="n1"), "gateways[0].relay: no such relay"),
        (tunnel(max_flows=1), "relays[0].max_flows: a gateway of n0 needs 2 flows"),
        (second_uplink("n5"), "gateways[0].appliance: a PoP behind a tunnel has one uplink"),
        (monitored, "spec.placement[2].appliances[0]: n5 is behind a tunnel: multicast-monitor"),
        (without_receivers, "sites[2]: n5 is behind a tunnel and has no LAN"),
    ],
)
def test_what_cannot_be_is_named(change: Change, text: str) -> None:
    assert text in told(change, NATIVE, {"sites": ["n5"]})


def test_what_a_tunnel_cannot_do_is_named() -> None:
    assert told(None, NATIVE) == ""
    assert "sites[2]: n5 is behind a tunnel, which ends in its output stage" in told(None, NATIVE, outputs=("n5",))
    pinned = {"sites": ["n5"], "pinned": ["n5"]}
    assert "pinned[0]: n5 is behind a tunnel, through which everything flows" in told(None, pinned)


# ---- and back --------------------------------------------------------------------------------------------------------

PATHS = st.lists(
    st.fixed_dictionaries(
        {"sites": st.sets(st.sampled_from(["n2", "n4", "n5"]), min_size=1).map(sorted)},
        optional={"protection": st.sampled_from(["hot-hot", "switch"]), "output": st.just({})},
    ),
    min_size=1,
    max_size=4,
)


@settings(max_examples=30, deadline=None)
@given(PATHS, st.lists(st.integers(1, 30), min_size=6, max_size=6), st.booleans(), st.booleans())
def test_whatever_the_paths_facts_can_be_met_and_the_way_back_leads_to_the_same(
    paths: list[dict[str, Any]], costs: list[int], outputs: bool, lost: bool
) -> None:
    for number, path in enumerate(paths):
        if not outputs:
            path.pop("protection", None)
            path.pop("output", None)
        elif "n5" in path["sites"] or "protection" in path:
            path["output"] = {}
        if path.get("protection") == "switch":
            path["second"] = {"source": f"backup{number}"}
        path["pinned"] = [site for site in path["sites"] if site != "n5"][:1]
    wires = [(one, other, cost) for (one, other, _), cost in zip(WIRES, costs, strict=True)]
    data = network(("n2", "n4", "n5") if outputs else (), wires)
    if not any("protection" in path for path in paths):  # addresses that nothing is sent from are not seen either
        data["spec"]["equipment"]["multicast"]["sources"] = []
    document, fleet = lineup(*paths), built(Fleet, data)
    compiled = compile_lineup(document, fleet, PLANNERS)
    have = sections(compiled)
    assert not unmet(have)
    flowing = any("n5" in path["sites"] for path in paths)
    known = bare(fleet) if lost else fleet
    if lost and flowing:  # what carries nothing does not run, and is not seen
        known = known.model_copy(update={"spec": known.spec.model_copy(update={"equipment": {}})})
    found, _ = again(have, known, LineUp.empty() if lost else document)
    assert sections(found) == have


def unmet(have: Sections) -> list[str]:
    """Parts whose facts no order of all parts provides; interfaces stand."""
    parts: list[tuple[set[str], set[str]]] = []
    for own in have.values():
        amt = own.get("multicast-amt", {})
        rows = [
            *own.get("multicast-source", {}).get("stages", ()),
            *own.get("multicast-tree", {}).get("entries", ()),
            *own.get("multicast-output", {}).get("outputs", ()),
            *(part for part in (amt.get("relay"), amt.get("gateway")) if part),
        ]
        parts += [(set(row.get("requires", ())), set(row["provides"])) for row in rows]
    facts: set[str] = set()
    waiting = [({one for one in requires if ".interface." not in one}, provides) for requires, provides in parts]
    while ready := [one for one in waiting if one[0] <= facts]:
        waiting = [one for one in waiting if not one[0] <= facts]
        facts |= {fact for _, provides in ready for fact in provides}
    return sorted(fact for requires, _ in waiting for fact in requires - facts)


def adopted(change: Callable[[Sections], None], known: dict[str, Any] | None = None) -> str:
    fleet = built(Fleet, network())
    have = sections(compile_lineup(lineup(NATIVE), fleet, PLANNERS))
    change(have)
    other = fleet if known is None else built(Fleet, known)
    return "\n".join(MulticastAdopter().adopt(have, other).problems)


def test_what_the_equipment_does_not_say_is_named() -> None:
    said = adopted(lambda _: None, network(proxies=[], amt={}))
    assert "n4 runs a proxy with the uplink eth0, which" in said
    assert f"n0 runs a relay at {RELAY}, which" in said
    assert f"n5 takes channels from a relay at {RELAY}, which" in said

    def stopped(have: Sections) -> None:
        del have["n0"]["multicast-amt"], have["n5"]["multicast-amt"]

    said = adopted(stopped, network(amt={}))
    assert "n0 has nfamt0 of a relay, and no relay runs" in said
    assert "n5 routes without PIM" in said


def test_what_drivers_add_to_say_that_something_is_wrong_is_a_problem_and_no_section() -> None:
    def wrong(have: Sections) -> None:
        have["n4"]["multicast-proxy"] |= {"routes": ["10.0.0.1 via 10.5.0.9"], "unit": "failed"}
        have["n2"]["multicast-tree"]["pins"] = "the keeper does not run"

    said = adopted(wrong)
    assert "n4, section multicast-proxy: routes" in said
    assert "n4, section multicast-proxy: unit: failed" in said
    assert "n2, section multicast-tree: pins: the keeper does not run" in said
