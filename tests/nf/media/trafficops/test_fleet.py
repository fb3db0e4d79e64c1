"""Traffic Ops into a fleet document: what is added, what stays, what is told."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nf.documents.fleet import Role
from nf.documents.loader import load_fleet
from nf.media.trafficops.fleet import Found, Imported, import_into, name_of
from nf.media.trafficops.model import Server, ServerInterface, Topology, cache_group_of, server_of, topology_of
from tests.nf.media.hosting_players import DOCUMENTS
from tests.nf.media.trafficops.recorded import CONTRACT

TEXT = (DOCUMENTS / "fleet.yaml").read_text()
FOUND = Found(
    tuple(map(cache_group_of, CONTRACT["cachegroups"]["response"])),
    tuple(map(server_of, CONTRACT["servers"]["response"])),
    topology_of(CONTRACT["topologies"]["response"][0]),
)


def imported(text: str = TEXT, found: Found = FOUND) -> Imported:
    return import_into(text, found, file="fleet.yaml")


def test_groups_become_sites_and_caches_appliances_with_their_functions() -> None:
    made = imported()
    assert made.added == {
        "sites": ["edge-lyon", "mid-west"],
        "appliances": ["edge-1", "edge-2", "mid"],
        "placement": ["cdn-edge edge-1", "cdn-shield mid"],
    }
    fleet = load_fleet(made.text, file="fleet.yaml").document
    edge, mid = fleet.appliance("edge-1"), fleet.appliance("mid")
    assert (edge.site, edge.role, str(edge.management)) == ("edge-lyon", Role.POP, "172.20.20.80")
    assert [(face.name, str(face.address)) for face in mid.interfaces] == [("eth0", "172.26.0.4/16")]
    assert fleet.placed("cdn-edge") == ("edge-1", "pop1", "pop2")


def test_what_traffic_ops_does_not_know_is_marked_or_told() -> None:
    made = imported()
    assert re.search(r"serial: UNKNOWN-mid +# please check", made.text)
    assert re.search(r"management: 172\.26\.0\.4 +# please check", made.text)
    assert "management: 172.20.20.80\n" in made.text
    told = "\n".join(made.warnings)
    assert "out of service in Traffic Ops: edge-2" in told
    assert "TRAFFIC_OPS" in told
    assert "links" in told


def test_every_line_that_a_person_wrote_stays_and_a_second_import_changes_nothing() -> None:
    made = imported()
    lost = set(TEXT.splitlines()) - set(made.text.splitlines())
    assert {line.partition("appliances")[0].strip() for line in lost} == {
        "- {function: cdn-shield,",
        "- {function: cdn-edge,",
    }
    again = imported(made.text)
    assert again.text == made.text
    assert not any(again.added.values())


def test_a_topology_that_is_not_ours_is_told_of() -> None:
    topology = Topology("narrow", {"Edge_Lyon": (), "Mid West": ()})
    told = imported(found=replace(FOUND, topology=topology)).warnings
    assert "Edge_Lyon asks nobody in narrow; here it asks Mid West" in told
    assert not any("my-topology" in text for text in imported().warnings)


@pytest.mark.parametrize(
    ("text", "name"), [("CDN_in_a_Box_Edge", "cdn-in-a-box-edge"), ("42", "x-42"), ("é", "x"), ("A" * 60, "a" * 39)]
)
def test_names_are_made_fit(text: str, name: str) -> None:
    assert name_of(text, ()) == name


_servers = st.builds(
    Server,
    id=st.integers(1, 10**6),
    host=st.text(min_size=1, max_size=50),
    domain=st.just("x.test"),
    cache_group=st.text(min_size=1, max_size=10),
    cdn=st.just("cdn"),
    type=st.sampled_from(["EDGE", "EDGE_1", "MID", "ORG", "RASCAL"]),
    status=st.sampled_from(["ONLINE", "OFFLINE", "REPORTED", "ADMIN_DOWN", "PRE_PROD"]),
    offline_reason=st.just(""),
    management=st.sampled_from(["", "172.20.20.99", "nonsense"]),
    interfaces=st.lists(
        st.builds(
            ServerInterface,
            name=st.sampled_from(["eth0", "bond0", "TenGig 0/1", ""]),
            addresses=st.lists(st.sampled_from(["10.0.0.1/24", "fd00::1/64", "10.0.0.9", ""]), max_size=3).map(tuple),
            service=st.booleans(),
        ),
        max_size=3,
        unique_by=lambda one: one.name,
    ).map(tuple),
)
SMALL = """apiVersion: streamverse.nf/v1
kind: Fleet
metadata:
  name: small
spec: {}
"""


STRANGE = Server(
    1, "\x85", "x.test", "0", "cdn", "EDGE", "ONLINE", "", "", (ServerInterface("eth0", ("10.0.0.1/24",), False),)
)


@example([STRANGE])
@given(st.lists(_servers, max_size=5, unique_by=lambda one: one.id))
def test_whatever_traffic_ops_has_the_document_stays_valid_and_a_second_import_adds_nothing(
    servers: list[Server],
) -> None:
    found = Found((), servers)
    made = imported(SMALL, found)
    assert imported(made.text, found).text == made.text
