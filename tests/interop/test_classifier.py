"""A UE whose session is at a UPF in the core, with an uplink classifier before it: its CDN is the cache of pop1,
all else leaves in the core, and so it stays when the classifier's proxy dies. Neither routing nor multicast goes where
base stations and the internet are."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from lab.scenarios import anchored, demo, mobile, snapshot
from lab.scenarios.console import Console

pytestmark = [pytest.mark.root, pytest.mark.daemon, pytest.mark.timeout(900, func_only=True)]


@pytest.fixture(scope="module")
def anchor(network: Console) -> Console:
    """The sample line-up is confirmed, and the UE's session is steered."""
    network.must(network.nf("lineup", "commit", str(demo.LINEUP)))
    network.wait("every receiver up", lambda: demo.all_up_now(network), 60.0)
    network.wait("the session is steered", lambda: anchored.is_steered(network), 60.0)
    return network


@pytest.fixture(autouse=True)
def _labelled(anchor: Console, record_property: Callable[[str, object], None]) -> None:
    record_property("conformance", mobile.whose_core(anchor))


def test_the_ue_proves_the_path_as_one_at_the_edge_does(anchor: Console) -> None:
    cells = {cell["appliance"]: cell["verdict"] for cell in demo.cells(anchor, "ch1") if cell["path"] == mobile.PATH}
    assert cells == {mobile.UE: "up", anchored.UE: "up"}


def test_its_player_is_served_by_the_cache_of_the_pop(anchor: Console) -> None:
    far, ue = mobile.far_flows(anchor), mobile.ue_address(anchor, anchored.UE)
    answer, tag = mobile.played(anchor, anchored.UE)
    assert (answer.code, answer.text()) == (0, "")
    anchor.wait("the cache's log", lambda: mobile.served(anchor, mobile.POP, ue, tag) > 0, 30.0)
    assert mobile.explained(anchor, mobile.CDN_ADDRESS, anchored.UE)["exit"] == "cache"
    assert mobile.far_flows(anchor) == far


def test_its_other_traffic_leaves_in_the_core(anchor: Console) -> None:
    packets = mobile.left_by_exit(anchor, anchored.CORE)
    told = mobile.told_by_stranger(anchor, mobile.STRANGER_NAME, anchored.UE)
    assert told.endswith(f"you are {anchored.NAT_OF_EXIT}")
    assert mobile.left_by_exit(anchor, anchored.CORE) > packets
    assert mobile.explained(anchor, mobile.STRANGER, anchored.UE)["exit"] == "default"


def test_when_the_proxy_is_killed_the_session_goes_on_as_it_was(anchor: Console) -> None:
    restart = anchored.proxy_dies(anchor)
    assert restart.pids[0] != restart.pids[1]
    assert restart.kept
    assert (restart.exit, restart.far) == ("cache", 0)
    assert restart.asked.failures == 0


def test_when_the_cache_hangs_its_requests_leave_at_the_edge_by_the_default_exit(anchor: Console) -> None:
    outage = mobile.cache_dies(anchor, "freeze", anchored.UE)
    assert outage.exit == "default"
    assert f"the gate of {mobile.UPF} is shut" in outage.why
    assert outage.far > 0
    assert outage.far_served > 0
    anchor.wait("every receiver up", lambda: demo.all_up_now(anchor), 60.0)


def test_when_the_pop_is_cut_off_the_cdn_is_asked_by_the_exit_in_the_core(anchor: Console) -> None:
    far = mobile.asked_of(anchor, mobile.FAR_POP)
    with mobile.asking(anchor, anchored.UE):
        for end in ("pop1:eth1", "pop1:eth2"):
            anchor.fault("silence", end)
        try:
            anchor.wait("the far cache answers", lambda: mobile.asked_of(anchor, mobile.FAR_POP) > far, 60.0)
            assert mobile.explained(anchor, mobile.CDN_ADDRESS, anchored.UE)["exit"] == "default"
        finally:
            for end in ("pop1:eth1", "pop1:eth2"):
                anchor.fault("restore", end)
        anchor.wait("the session is steered again", lambda: anchored.is_steered(anchor), 60.0)
    anchor.wait("every receiver up", lambda: demo.all_up_now(anchor), 60.0)


@pytest.mark.parametrize(
    ("router", "radio", "internet"), [("pop1", "eth5", "eth6"), (anchored.CORE, "eth5", anchored.EXIT)]
)
def test_neither_pim_nor_an_adjacency_faces_a_radio_cell_or_the_internet(
    anchor: Console, router: str, radio: str, internet: str
) -> None:
    pim, ospf = (_shown(anchor, router, f"show ip {what} interface json") for what in ("pim", "ospf"))
    assert "eth1" in pim
    assert not {radio, internet} & pim.keys()
    assert ospf["interfaces"][radio]["timerPassiveIface"] is True
    assert internet not in ospf["interfaces"]


def test_a_radio_cells_network_is_reached_from_the_other_user_plane(anchor: Console) -> None:
    assert "proto ospf" in anchor.must(anchor.sh("c1", "ip", "route", "show", "10.5.1.0/24")).stdout
    assert "proto ospf" in anchor.must(anchor.sh("pop1", "ip", "route", "show", "10.5.2.0/24")).stdout
    for exit_network in ("10.6.1.0/30", "10.6.2.0/30"):
        assert anchor.must(anchor.sh("c2", "ip", "route", "show", exit_network)).stdout == ""


def _shown(console: Console, router: str, command: str) -> dict[str, dict[str, dict[str, object]]]:
    answer = console.must(console.sh(router, "vtysh", "--vty_socket", snapshot.VTY, "-c", command))
    found: dict[str, dict[str, dict[str, object]]] = json.loads(answer.stdout)
    return found
