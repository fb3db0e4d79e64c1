"""A UE of the reference network: its CDN comes from the near cache, all else by the default N6, and so it does when
the cache dies."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lab.scenarios import anchored, bootstrap, demo, mobile
from lab.scenarios.console import Console

pytestmark = [pytest.mark.root, pytest.mark.daemon, pytest.mark.timeout(900, func_only=True)]


@pytest.fixture(scope="module")
def steered(network: Console) -> Console:
    """The sample line-up is confirmed, and the UE is served by the near cache."""
    network.must(network.nf("lineup", "commit", str(demo.LINEUP)))
    network.wait("every receiver up", lambda: demo.all_up_now(network), 60.0)
    network.wait("the gate is open", lambda: mobile.is_open(network), 60.0)
    return network


@pytest.fixture(autouse=True)
def _labelled(steered: Console, record_property: Callable[[str, object], None]) -> None:
    record_property("conformance", mobile.whose_core(steered))


def test_the_ue_proves_its_path_as_other_receivers_do(steered: Console) -> None:
    found = {
        cell["appliance"]: cell["verdict"]
        for cell in demo.cells(steered, mobile.CHANNEL)
        if cell["path"] == mobile.PATH
    }
    assert found[mobile.UE] == "up"


def test_a_player_at_the_ue_is_served_by_the_near_traffic_server(steered: Console) -> None:
    far = mobile.far_flows(steered)
    ue = mobile.ue_address(steered)
    answer, tag = mobile.played(steered)
    assert (answer.code, answer.text()) == (0, "")
    steered.wait("the cache's log", lambda: mobile.served(steered, mobile.POP, ue, tag) > 0, 30.0)
    assert mobile.served(steered, mobile.POP, ue, "/video/") > 0
    assert mobile.explained(steered, mobile.CDN_ADDRESS)["exit"] == "cache"
    assert mobile.far_flows(steered) == far


@pytest.mark.parametrize("name", [mobile.STRANGER, mobile.STRANGER_NAME])
def test_other_traffic_of_the_ue_leaves_by_the_default_n6(steered: Console, name: str) -> None:
    packets = mobile.left_by_exit(steered)
    assert mobile.told_by_stranger(steered, name).endswith(f"you are {mobile.NAT_OF_EXIT}")
    assert mobile.left_by_exit(steered) > packets
    assert mobile.explained(steered, mobile.STRANGER)["exit"] == "default"


@pytest.mark.parametrize("fault", ["freeze", "kill"])
def test_when_the_cache_dies_requests_go_by_the_default_path_and_come_back(steered: Console, fault: str) -> None:
    outage = mobile.cache_dies(steered, fault)
    assert outage.exit in {"default", ""}
    assert outage.far > 0
    assert outage.far_served > 0
    assert outage.asked.failures <= 5, "requests are not refused one after the other: the next one is answered"


@pytest.mark.soak
@pytest.mark.parametrize("fault", ["freeze", "kill"])
def test_when_the_cache_dies_nothing_stalls_for_a_second(steered: Console, fault: str) -> None:
    """A loaded machine may miss it."""
    asked = mobile.cache_dies(steered, fault).asked
    assert asked.answers > 0
    assert asked.stall_s <= mobile.STALL_S


@pytest.mark.parametrize(
    ("node", "unit", "ues"),
    [
        (mobile.POP, "open5gs-upfd", (mobile.UE,)),
        (anchored.CORE, "open5gs-upfd", (anchored.UE,)),
        (anchored.CORE, "open5gs-smfd", (mobile.UE, anchored.UE)),
    ],
    ids=["near UPF", "UPF behind the classifier", "SMF"],
)
def test_ues_are_there_again_after_their_upf_or_smf_was_killed(
    steered: Console, node: str, unit: str, ues: tuple[str, ...]
) -> None:
    steered.fault("kill", node, unit)
    for ue in ues:
        steered.wait(
            f"{ue} goes on after {unit} of {node} was killed",
            lambda ue=ue: "you are" in mobile.told_by_stranger(steered, mobile.STRANGER, ue),
            60.0,
        )
    steered.wait("the classifier steers its session", lambda: anchored.is_steered(steered), 60.0)
    steered.wait("every appliance as committed", lambda: bootstrap.all_current(steered), 60.0)
    steered.wait("every receiver up", lambda: demo.all_up_now(steered), 60.0)
