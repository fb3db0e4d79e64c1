from __future__ import annotations

import json
from ipaddress import IPv4Address
from pathlib import Path

from headend.multicast.documents import FrrInterface, FrrSection
from headend.multicast.frr.adjacency import AdjacencyAlarms, expected, ospf_up, pim_up
from nf.telemetry.alarms import Severity

DATA = Path(__file__).parents[3] / "data" / "multicast"


def test_neighbours_in_recordings() -> None:
    assert pim_up(json.loads((DATA / "p1-ip_pim_neighbor.json").read_text())) == {
        ("acc2", "pim"),
        ("toc1", "pim"),
        ("toc2", "pim"),
    }
    neighbours = json.loads((DATA / "ospf-neighbor.json").read_text())
    assert ospf_up(neighbours) == {("eth1", "ospf")}
    neighbours["neighbors"]["10.61.255.1"][0] |= {"nbrState": "Init/DROther", "state": "Init/DROther"}
    assert ospf_up(neighbours) == frozenset()


def test_passive_interfaces_expect_nobody() -> None:
    section = FrrSection(
        router_id=IPv4Address("10.0.0.1"),
        interfaces=(
            FrrInterface(name="eth1", passive=True),
            FrrInterface(name="eth2", pim=False),
            FrrInterface(name="eth3"),
        ),
    )
    assert expected(section) == {("eth2", "ospf"), ("eth3", "ospf"), ("eth3", "pim")}


def test_an_alarm_is_raised_and_cleared_once() -> None:
    alarms = AdjacencyAlarms("pop1")
    wanted = frozenset({("eth1", "ospf"), ("eth1", "pim")})
    first = alarms.take(wanted, frozenset({("eth1", "pim")}), 1.0, {"ospf": "ospfd does not answer"})
    assert [(e.object, e.severity) for e in first] == [
        ("pop1/eth1/ospf", Severity.MAJOR),
        ("pop1/eth1/pim", Severity.CLEARED),  # whoever kept an older alarm learns that it is over
    ]
    assert "ospfd does not answer" in first[0].text
    assert first[0].cause == "adjacency-down"
    assert first[0].remedy
    assert alarms.take(wanted, frozenset({("eth1", "pim")}), 2.0, {}) == ()
    (cleared,) = alarms.take(wanted, wanted, 3.0, {})
    assert (cleared.object, cleared.severity) == ("pop1/eth1/ospf", Severity.CLEARED)
    gone = alarms.take(frozenset(), frozenset(), 4.0, {})
    assert {(e.object, e.severity) for e in gone} == {
        ("pop1/eth1/ospf", Severity.CLEARED),
        ("pop1/eth1/pim", Severity.CLEARED),
    }
