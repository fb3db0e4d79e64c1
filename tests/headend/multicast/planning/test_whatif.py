"""A loss that is only thought of: what moves, what is lost, what no longer fits."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from headend.multicast.losses import sentences, whatif_json
from headend.multicast.planning.planned import plan_ways
from headend.multicast.planning.redundant import redundant_trees
from headend.multicast.planning.spt import Topology, shortest_paths
from headend.multicast.planning.whatif import Loss, WhatIf, what_if
from nf.documents.fleet import Fleet
from tests.headend.multicast.networks import Drawn, Wire, fleet_data, lineup, networks
from tests.nf.planning.samples import built

RING: list[Wire] = [(f"n{number}", f"n{(number + 1) % 8}", 10) for number in range(8)]
HOT: dict[str, Any] = {"protection": "hot-hot"}


def lost(loss: Loss, *paths: dict[str, Any], fleet: dict[str, Any] | None = None) -> tuple[WhatIf, list[str]]:
    """On a ring of eight whose n0 and n4 are on the headend's LAN; PoPs are n2 and n6."""
    data = fleet or fleet_data(8, RING, ["n0", "n4"], pops=["n2", "n6"])
    plan = plan_ways(lineup(*({"sites": ["n2"], **path} for path in paths)), built(Fleet, data))
    assert plan.problems == []
    found = what_if(plan, loss)
    assert whatif_json(found)["loss"] in ({"link": loss.link, "node": None}, {"link": None, "node": loss.node})
    return found, list(sentences(plan, found))


def test_an_unprotected_channel_goes_the_other_way_round() -> None:
    found, said = lost(Loss(link="w1"), {})
    (move,) = found.moves
    assert (move.before, move.after) == (("headend", "n0|n4", "n1|n3", "n2"), ("headend", "n4", "n3", "n2"))
    assert said == ["link w1: 1 path touched", "what remains fits on every link"]


def test_a_leg_whose_neighbours_stay_on_their_reverse_paths_is_lost_in_a_loop_and_the_other_goes_on() -> None:
    """n0's router dies: n1 turns to OSPF, that is to n2, which stays on its reverse path, that is on n1."""
    found, said = lost(Loss(node="n0"), HOT)
    (move,) = found.moves
    assert move.leg == "a"
    assert move.before == ("headend", "n0", "n1", "n2")
    assert move.lost
    assert found.lost == ()
    assert "gone, while the other leg goes on without a gap: ch0/iptv, leg a at n2" in said


def test_both_legs_on_one_router_is_told() -> None:
    found, said = lost(Loss(link="w1"), HOT)
    assert [(move.leg, move.after) for move in found.moves] == [("a", ("headend", "n4", "n3", "n2"))]
    assert "both legs of ch0/iptv to n2 then pass n3, n4" in said


def test_what_no_longer_fits_optional_channels_first() -> None:
    fleet = fleet_data(8, RING, ["n0", "n4"], pops=["n2", "n6"])
    fleet["spec"]["links"] = [
        {**link, "capacity": "3M"} if link["id"] == "w2" else link for link in fleet["spec"]["links"]
    ]
    fleet["spec"]["links"][1] |= {"cost": 1}  # w0: all prefer n0
    paths = ({}, {"admission": "mandatory"}, {"rate": "2M"})
    found, said = lost(Loss(link="w1"), *paths, fleet=fleet)
    (squeezed,) = found.squeezed
    assert (squeezed.budget.edge.link, squeezed.budget.edge.sender, squeezed.budget.short_bps) == (
        "w2",
        "n3",
        1_000_000,
    )
    assert [claim.way.way.channel.id for claim in squeezed.out] == ["ch2"]
    assert said[-1] == (
        "does not fit: link w2 from n3 to n2 has 3M for everything: 4M wanted, 1M short; out: ch2/iptv 2M"
    )


def test_the_sources_link_and_the_receivers_lan() -> None:
    found, said = lost(Loss(link="lan-a"), {}, HOT)
    assert {(planned.way.channel.id, place) for planned, place in found.lost} == {("ch0", "n2"), ("ch1", "n2")}
    assert "lost: ch0/iptv at n2" in said
    found, said = lost(Loss(link="lan-n2"), {})
    assert [place for _, place in found.lost] == ["n2:eth2"]
    assert lost(Loss(link="w5"), {})[1] == ["link w5: no channel of IPTV is touched"]


@settings(max_examples=80, deadline=None)
@given(networks(), st.data())
def test_one_router_never_takes_a_protected_channel_that_has_disjoint_legs(drawn: Drawn, data: st.DataObject) -> None:
    routers, wires, on_a, on_b = drawn
    pops = [f"n{number}" for number in range(routers)]
    other = None if on_a == on_b else on_b
    fleet = built(Fleet, fleet_data(routers, wires, on_a, other, pops))
    cuts = redundant_trees(Topology(fleet), "lan-a", "lan-a" if other is None else "lan-b").cuts
    plan = plan_ways(lineup(*({"sites": [pop], **HOT} for pop in sorted(cuts))), fleet)
    node = data.draw(st.sampled_from(pops))
    gone = {place for _, place in what_if(plan, Loss(node=node)).lost}
    assert gone <= {pop for pop, own in cuts.items() if pop == node or node in own}


@settings(max_examples=80, deadline=None)
@given(networks(), st.data())
def test_unprotected_channels_follow_the_shortest_path(drawn: Drawn, data: st.DataObject) -> None:
    routers, wires, on_a, _ = drawn
    pops = [f"n{number}" for number in range(routers)]
    fleet = built(Fleet, fleet_data(routers, wires, on_a, pops=pops))
    before = shortest_paths(Topology(fleet), "lan-a")
    served = sorted(before.distance)
    plan = plan_ways(lineup(*({"sites": [pop]} for pop in served)), fleet)
    link = data.draw(st.sampled_from([link.id for link in fleet.spec.links if link.id.startswith("w")] or ["lan-n0"]))
    after = shortest_paths(Topology(fleet, lost=[link]), "lan-a")
    found = what_if(plan, Loss(link=link))
    if link != "lan-n0":
        assert {place for _, place in found.lost} == set(served) - after.distance.keys()
    for move in found.moves:
        if not move.lost:
            assert set(move.after[-1].split("|")) == {move.pop}
            passed = {name for level in move.after[1:] for name in level.split("|")}
            assert passed == after.towards([move.pop])[0]
