"""Which UPF a session gets, against which one it was meant to get; and what Open5GS aborts on."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core5g.documents import Core5g
from core5g.open5gs.functions import upf_tree
from core5g.open5gs.lint import config_problems, curl_is_broken, warnings
from core5g.open5gs.render import function_tree
from core5g.open5gs.selection import UpfPeer, meant, taken, upf_peers
from tests.core5g.open5gs.samples import CORE, core, planned, with_epc

KEY = "core5g"


def upfs(*described: tuple[str, list[str], list[int]]) -> list[dict[str, Any]]:
    return [
        {
            "id": name,
            "appliance": "c1",
            "n3": f"10.0.0.{n}",
            "n4": f"10.0.0.{n}",
            "dnns": dnns,
            "tacs": tacs,
            "exit": "eth1",
        }
        for n, (name, dnns, tacs) in enumerate(described, 1)
    ]


def networks(*dnns: str) -> list[dict[str, Any]]:
    return [{"dnn": dnn, "pools": [f"10.{45 + n}.0.0/16"]} for n, dnn in enumerate(dnns)]


def test_dnns_select_while_no_tac_does() -> None:
    made = core(networks=networks("internet", "ims"), upfs=upfs(("a", ["internet"], []), ("b", ["ims"], [])))
    assert [(peer.upf, peer.dnns, peer.tacs) for peer in upf_peers(made)] == [
        ("a", ("internet",), ()),
        ("b", ("ims",), ()),
    ]


def test_tacs_alone_select_where_all_upfs_serve_the_same() -> None:
    """An edge that had its DNN written beside its TAC would get half of all sessions."""
    peers = upf_peers(core())
    assert [(peer.upf, peer.dnns, peer.tacs) for peer in peers] == [("central", (), (1,)), ("edge1", (), (7,))]
    assert taken(peers, "internet", 7) == {"edge1"}
    assert taken(peers, "internet", 1) == {"central"}
    assert not [warning for warning in warnings(core(), KEY) if "also takes" in warning.rule]


def test_dnn_or_tac_is_told_with_exactly_what_is_taken_wrongly() -> None:
    made = core(
        networks=networks("internet", "ims"),
        upfs=upfs(("central", ["internet", "ims"], []), ("edge", ["internet"], [7])),
    )
    found = {(warning.key, warning.rule) for warning in warnings(made, KEY) if "also takes" in warning.rule}
    assert len(found) == 3
    served = next(rule for key, rule in found if key == "core5g.upfs[1].tacs")
    assert "also takes edge for sessions of DNN internet from TAC 1: " in served
    refused = next(rule for key, rule in found if key == "core5g.upfs[1].dnns")
    assert "sessions of DNN ims from TAC 7, which it does not serve" in refused
    assert "cause 75" in refused
    central = next(rule for key, rule in found if key == "core5g.upfs[0].tacs")
    assert "also takes central for sessions of DNN internet from TAC 7" in central


def test_sessions_that_nothing_matches_come_to_the_first_peer() -> None:
    made = core(upfs=upfs(("edge", ["internet"], [7])))
    (told,) = [warning for warning in warnings(made, KEY) if "no UPF matches" in warning.rule]
    assert told.key == "core5g.networks[0].dnn"
    assert "DNN internet from TAC 1" in told.rule
    assert "no_pfcp_rr_select" in told.rule


def test_the_first_peer_is_one_without_tacs() -> None:
    made = core(upfs=upfs(("a-edge", ["internet"], [7]), ("z-central", ["internet"], [])))
    assert [peer.upf for peer in upf_peers(made)] == ["z-central", "a-edge"]


def test_pools_follow_the_dnn() -> None:
    shared = [warning for warning in warnings(core(), KEY) if "share the" in warning.rule]
    assert [(warning.key, "IPv6" in warning.rule) for warning in shared] == [("core5g.networks[0].pools", True)]
    data = copy.deepcopy(CORE["upfs"])
    data[1]["nat"] = False
    told = [warning.rule for warning in warnings(core(upfs=data), KEY) if "IPv4 pool" in warning.rule]
    assert len(told) == 1
    assert "UEs leave edge1 with addresses of the pool" in told[0]


def test_the_smf_speaks_to_the_classifier_and_not_to_its_edge() -> None:
    data = copy.deepcopy(CORE["upfs"])
    data[1]["tacs"] = []
    classifiers = [{"id": "ulcl", "appliance": "c2", "address": "10.1.0.2", "upf": "central", "edge": "edge1"}]
    made = core(upfs=data, classifiers=classifiers)
    assert [(peer.upf, str(peer.address)) for peer in upf_peers(made)] == [("central", "10.1.0.2")]
    made = core(classifiers=classifiers)
    assert [(peer.upf, str(peer.address)) for peer in upf_peers(made)] == [
        ("central", "10.1.0.2"),
        ("edge1", "10.255.0.3"),
    ]


def test_a_tac_that_the_epc_cannot_have_is_told() -> None:
    made = with_epc().model_copy(update={"tacs": (1, 7, 70000)})
    (told,) = [warning for warning in warnings(made, KEY) if warning.key == "core5g.tacs"]
    assert "70000" in told.rule
    mme = function_tree(made, next(one for one in made.functions if one.kind == "mme"))
    assert mme["mme"]["tai"][0]["tac"] == [1, 7]


def test_warnings_are_told_and_refuse_nothing() -> None:
    plan = planned()
    assert plan.warnings
    assert not plan.problems


@st.composite
def cores(draw: st.DrawFn) -> Core5g:
    dnns = ["a", "b", "c"]
    tacs = [1, 2, 3]
    described = [
        (
            f"u{number}",
            draw(st.lists(st.sampled_from(dnns), min_size=1, unique=True)),
            draw(st.lists(st.sampled_from(tacs), unique=True)),
        )
        for number in range(draw(st.integers(1, 4)))
    ]
    return core(tacs=tacs, networks=networks(*dnns), upfs=upfs(*described))


@given(cores())
def test_what_is_not_warned_of_goes_where_it_is_meant_to(made: Core5g) -> None:
    peers = upf_peers(made)
    told = {warning.key.split(".")[1] for warning in warnings(made, KEY) if "also takes" in warning.rule}
    for network in made.networks:
        for tac in made.tacs:
            for stray in taken(peers, network.dnn, tac) - meant(made, network.dnn, tac):
                number = [upf.id for upf in made.upfs].index(stray)
                assert f"upfs[{number}]" in told


@given(st.lists(st.sampled_from([1, 2, 3]), unique=True), st.lists(st.sampled_from([1, 2, 3]), unique=True))
def test_with_the_same_dnns_everywhere_the_selection_is_exact(first: list[int], second: list[int]) -> None:
    made = core(
        tacs=[1, 2, 3],
        networks=networks("internet"),
        upfs=upfs(("central", ["internet"], []), ("e1", ["internet"], first), ("e2", ["internet"], second)),
    )
    peers = upf_peers(made)
    for tac in made.tacs:
        assert taken(peers, "internet", tac) == meant(made, "internet", tac)


def test_the_selection_is_an_or() -> None:
    peer = UpfPeer("edge", core().upfs[1].n4, ("cdn",), (7,))
    assert peer.matches("cdn", 1)
    assert peer.matches("internet", 7)
    assert not peer.matches("internet", 1)


# -- in the files themselves ----------------------------------------------------------------------------------------


def test_what_is_rendered_has_no_problem() -> None:
    made = with_epc()
    for function in made.functions:
        assert not [*config_problems(function.kind, function_tree(made, function))]
    for upf in made.upfs:
        assert not [*config_problems("upf", upf_tree(made, upf))]


@pytest.mark.parametrize(("kind", "timer"), [("amf", "t3512"), ("mme", "t3412")])
@pytest.mark.parametrize("value", [None, {}, {"value": 0}, {"value": True}, "540"])
def test_a_mandatory_timer_that_an_override_took_out_is_told(kind: str, timer: str, value: object) -> None:
    made = with_epc()
    tree = copy.deepcopy(function_tree(made, next(one for one in made.functions if one.kind == kind)))
    tree[kind]["time"] = {timer: value} if value is not None else {}
    (problem,) = config_problems(kind, tree)
    assert problem.key == f"{kind}.time.{timer}.value"
    assert "aborts" in problem.rule


def test_round_robin_is_never_left_on() -> None:
    made = with_epc()
    for kind in ("smf", "sgwc"):
        tree = copy.deepcopy(function_tree(made, next(one for one in made.functions if one.kind == kind)))
        assert tree["global"]["parameter"]["no_pfcp_rr_select"] is True
        del tree["global"]["parameter"]
        (problem,) = config_problems(kind, tree)
        assert problem.key == "global.parameter.no_pfcp_rr_select"


def smf_with(*peers: dict[str, Any]) -> dict[str, Any]:
    """As an override makes it."""
    made = core()
    tree = copy.deepcopy(function_tree(made, next(one for one in made.functions if one.kind == "smf")))
    tree["smf"]["pfcp"]["client"]["upf"] = [
        {"address": f"10.255.0.{number}", **peer} for number, peer in enumerate(peers, 2)
    ]
    return tree


@pytest.mark.parametrize("cell", ["nr_cell_id", "e_cell_id"])
@pytest.mark.parametrize(
    ("beside", "told"), [({"tac": [7]}, "its TAC too"), ({"dnn": "cdn", "tac": 7}, "its DNN and of its TAC too")]
)
def test_a_cell_beside_a_dnn_or_tac_narrows_nothing(cell: str, beside: dict[str, Any], told: str) -> None:
    (problem,) = config_problems("smf", smf_with({"tac": [1]}, {**beside, cell: ["000100001"]}))
    assert problem.key == f"smf.pfcp.client.upf[1].{cell}"
    assert told in problem.rule
    assert "any one match of DNN, TAC or cell" in problem.rule


def test_a_cell_whose_sessions_another_upf_takes_by_their_dnn_is_told() -> None:
    (problem,) = config_problems("smf", smf_with({"dnn": ["internet"]}, {"nr_cell_id": "000100001"}))
    assert "also match upf[0] by their DNN" in problem.rule


@pytest.mark.parametrize("first", [{}, {"tac": [1]}])
def test_cells_that_stand_alone_select_what_they_say(first: dict[str, Any]) -> None:
    assert not [*config_problems("smf", smf_with(first, {"nr_cell_id": "000100001"}, {"e_cell_id": "0010001"}))]


def test_too_many_sessions_are_told() -> None:
    entries = [{"subnet": f"10.{n}.0.0/16", "dev": f"tun{n}"} for n in range(17)]
    assert len([*config_problems("upf", {"upf": {"session": entries}})]) == 2


@pytest.mark.parametrize(
    ("version", "broken"),
    [((7, 74, 0), False), ((7, 88, 0), True), ((7, 88, 1), True), ((8, 0, 0), False), ((8, 23, 0), False)],
)
def test_the_libcurl_of_debian_12_is_known(version: tuple[int, int, int], broken: bool) -> None:
    assert curl_is_broken(version) is broken
