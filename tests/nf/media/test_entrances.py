"""What stands beside an edge, a front and VIPs, and what the fleet may not say of them."""

from __future__ import annotations

from typing import Any

import pytest

from headend.multicast.documents import EXTENSION as MULTICAST
from headend.multicast.planner import MulticastPlanner
from nf.documents.fleet import Fleet
from nf.documents.lineup import LineUp
from nf.documents.registry import Registry
from nf.documents.validation import validate
from nf.errors import DocumentError, Problem
from nf.media.anycast.documents import AnycastSection
from nf.media.documents import EXTENSION as MEDIA
from nf.media.documents import EdgeSection
from nf.media.front.documents import EXTENSION as FRONT
from nf.media.front.documents import FrontSection
from nf.media.planner import MediaPlanner
from nf.planning.compiler import Compiled, compile_lineup
from tests.nf.media.test_planner import fleet_data, lineup_data, path

REGISTRY = Registry([MEDIA, MULTICAST, FRONT])
PLANNERS = (MediaPlanner(), MulticastPlanner())
HOST, SITE_HOST = "cdn.streamverse.test", "pop1.cdn.streamverse.test"
CERTIFICATES = ["secret:cdn-tls"]
FRONTED = {"cdn-front": {"certificates": CERTIFICATES}}
STEERING = {"server": "https://steer.streamverse.test"}


def vips(*appliances: str, address: str = "198.18.0.53") -> dict[str, Any]:
    return {"address": address, "prefix": "198.18.0.0/24", "appliances": list(appliances)}


def fleet(equipment: dict[str, Any], **placement: list[str]) -> dict[str, Any]:
    data = fleet_data(**placement)
    data["spec"]["equipment"] = equipment
    return data


def compiled(data: dict[str, Any], first: dict[str, Any] | None = None) -> Compiled:
    found, problems = validate(Fleet, data, REGISTRY)
    lineup, more = validate(LineUp, lineup_data(first), REGISTRY)
    assert found is not None, problems
    assert lineup is not None, more
    return compile_lineup(lineup, found, PLANNERS)


def sections(found: Compiled, appliance: str) -> tuple[EdgeSection, FrontSection | None, AnycastSection | None]:
    own = found.configs[appliance].sections
    edge, front, anycast = own["cdn-edge"], own.get("cdn-front"), own.get("cdn-anycast")
    assert isinstance(edge, EdgeSection)
    assert front is None or isinstance(front, FrontSection)
    assert anycast is None or isinstance(anycast, AnycastSection)
    return edge, front, anycast


def refusals(data: dict[str, Any]) -> list[Problem]:
    with pytest.raises(DocumentError) as caught:
        compiled(data)
    return list(caught.value.problems)


def test_a_front_stands_before_the_edge_where_it_is_placed_and_nowhere_else() -> None:
    found = compiled(fleet(FRONTED, cdn_front=["pop1"]))
    edge, front, anycast = sections(found, "pop1")
    assert front is not None
    assert (front.listen, front.port, front.certificates) == (edge.listen, 443, tuple(CERTIFICATES))
    assert (front.upstream.address, front.upstream.port) == (edge.listen[0], edge.port)
    assert [(one.channel, one.host) for one in front.channels] == [("ch1", HOST), ("ch2", HOST)]
    assert (front.requires, front.provides) == (edge.requires, ("cdn.front=pop1",))
    assert anycast is None
    assert sections(found, "pop2")[1:] == (None, None)


def test_a_front_serves_a_channel_by_every_name_that_players_are_steered_to() -> None:
    edge, front, _ = sections(compiled(fleet(FRONTED, cdn_front=["pop1"]), path("ch1", steering=STEERING)), "pop1")
    assert front is not None
    assert {one.channel: one.aliases for one in edge.channels} == {"ch1": (SITE_HOST,), "ch2": ()}
    assert [(one.channel, one.host) for one in front.channels] == [("ch1", HOST), ("ch1", SITE_HOST), ("ch2", HOST)]


def test_an_edge_with_a_vip_listens_on_it_when_anycast_lets_it_and_is_asked_by_all_its_servers() -> None:
    equipment = {**FRONTED, "anycast": {"vips": [vips("pop1", "pop2")]}}
    found = compiled(fleet(equipment, cdn_front=["pop1"]))
    edge, front, anycast = sections(found, "pop1")
    assert front is not None
    assert anycast is not None
    assert str(edge.listen[-1]) == "198.18.0.53"
    assert front.listen == edge.listen
    assert "pop1.anycast" in edge.requires
    assert "pop1.anycast" in front.requires
    assert anycast.provides == ("pop1.anycast",)
    assert anycast.requires == ("pop1.bgp.198.18.0.0/24",)
    assert [(target.port, target.tls) for target in anycast.targets] == [(edge.port, False), (front.port, True)]
    assert {target.address for target in anycast.targets} == {edge.listen[0]}
    _, _, beside = sections(found, "pop2")
    assert beside is not None
    assert [(target.port, target.tls) for target in beside.targets] == [(80, False)]


def test_a_front_needs_its_equipment_and_an_edge_behind_it() -> None:
    (without,) = refusals(fleet({}, cdn_front=["pop1"]))
    assert without.rule == "a front has certificates, and the equipment has no part cdn-front"
    (alone,) = refusals(fleet(FRONTED, cdn_front=["c1"]))
    assert (alone.value, alone.rule) == ("c1", "c1 has no edge cache for a front to stand before")


@pytest.mark.parametrize(
    ("front_port", "edges", "told"),
    [
        (443, [{"tls": {"certificates": CERTIFICATES}}], {"pop1": "https", "pop2": "https"}),
        (443, [{"appliances": ["pop2"], "tls": {"certificates": CERTIFICATES}}], {"pop2": "https"}),
        (80, [], {"pop1": "http", "pop2": "http"}),
        (443, [{"tls": {"certificates": CERTIFICATES, "port": 8443}}], {}),
    ],
)
def test_a_front_takes_no_port_of_the_edge_behind_it(front_port: int, edges: list[Any], told: dict[str, str]) -> None:
    equipment = {"cdn-front": {"certificates": CERTIFICATES, "port": front_port}, "cdn": {"edges": edges}}
    data = fleet(equipment, cdn_front=["pop1", "pop2"])
    if not told:
        assert sections(compiled(data), "pop1")[1] is not None
        return
    found = refusals(data)
    assert [one.rule for one in found] == [
        f"the edge on {name} has its {what} on port {front_port}" for name, what in told.items()
    ]
    assert {(one.key, one.value) for one in found} == {("spec.equipment.cdn-front.port", str(front_port))}
    assert all("give the front another port" in one.remedy for one in found)


def test_a_vip_is_listed_once_is_no_interfaces_address_and_belongs_to_edges() -> None:
    (twice,) = refusals(fleet({"anycast": {"vips": [vips("pop1"), vips("pop2")]}}))
    assert (twice.key, twice.value) == ("spec.equipment.anycast.vips[1].address", "198.18.0.53")
    own = {"address": "10.255.0.3", "appliances": ["pop1"]}
    (taken,) = refusals(fleet({"anycast": {"vips": [own]}}))
    assert taken.rule == "10.255.0.3 is pop1's own address"
    (elsewhere,) = refusals(fleet({"anycast": {"vips": [vips("c1")]}}))
    assert (elsewhere.key, elsewhere.value) == ("spec.equipment.anycast.vips[0].appliances[0]", "c1")
