"""Filters that a stock UPF takes as they are meant, and none else."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core5g.steering.classifier.filters import Traffic, checked, chunks, description, descriptions, sdf_filter
from nf.errors import RefusedError

NETWORKS = st.one_of(
    st.builds(lambda a, n: IPv4Network((a, n), strict=False), st.integers(0, 2**32 - 1), st.integers(0, 32)),
    st.builds(lambda a, n: IPv6Network((a, n), strict=False), st.integers(0, 2**128 - 1), st.integers(0, 128)),
)
PORTS = st.lists(st.integers(1, 65535), max_size=3, unique=True).map(tuple)
TRAFFIC = st.builds(Traffic, st.just("r"), st.lists(NETWORKS, min_size=1, max_size=20).map(tuple), PORTS)


@pytest.mark.parametrize(
    "text",
    [
        "permit in ip from 203.0.113.0/24 to assigned",
        "permit out ip from assigned to 203.0.113.0/24",
        "permit out ip from 203.0.113.0/24 443 to assigned",
        "permit out 17 from 203.0.113.0/24 443 to assigned",
        "permit out 6 from 203.0.113.0/24 70000 to assigned",
        "permit out ip from 203.0.113.1/24 to assigned",
        "permit out ip from 203.0.113.0/99 to assigned",
        "permit out ip from any to assigned",
        "deny out ip from 203.0.113.0/24 to assigned",
        "permit out ip from 203.0.113.0/24 to assigned ",
        "",
    ],
)
def test_what_a_upf_would_match_everything_by_is_refused(text: str) -> None:
    with pytest.raises(RefusedError):
        checked(text)


@given(NETWORKS, st.none() | st.integers(1, 65535))
def test_what_is_made_is_taken(network: IPv4Network | IPv6Network, port: int | None) -> None:
    text = description(network, port)
    assert checked(text) == text
    assert sdf_filter(text).value[4:].decode() == text


@given(st.lists(TRAFFIC, max_size=4).map(tuple), st.frozensets(st.sampled_from([4, 6])))
def test_filters_are_sound_distinct_and_in_a_fixed_order(
    traffic: tuple[Traffic, ...], versions: frozenset[int]
) -> None:
    found = descriptions(traffic, versions)
    assert all(checked(text) for text in found)
    assert len(set(found)) == len(found)
    assert descriptions(tuple(reversed(traffic)), versions) == found
    assert {ip_network(text.split()[4]).version for text in found} <= versions
    parts = chunks(found)
    assert all(1 <= len(part) <= 8 for part in parts)
    assert sum(parts, ()) == found


def test_neighbours_are_aggregated() -> None:
    halves = tuple(ip_network(text) for text in ("203.0.113.0/25", "203.0.113.128/25"))
    assert descriptions((Traffic("r", halves),), frozenset({4})) == ("permit out ip from 203.0.113.0/24 to assigned",)


def test_a_port_is_one_of_tcp_as_at_n6() -> None:
    found = descriptions((Traffic("r", (ip_network("203.0.113.0/24"),), (443,)),), frozenset({4}))
    assert found == ("permit out 6 from 203.0.113.0/24 443 to assigned",)


def test_traffic_of_some_ues_concerns_no_others() -> None:
    one = Traffic("r", (ip_network("203.0.113.0/24"),), ues=frozenset({"10.45.0.2/32", "10.46.0.0/16", "imsi-1"}))
    for names in ({"10.45.0.2"}, {"imsi-9", "10.46.7.1"}, {"imsi-1", "2001:db8::1"}):
        assert one.concerns(frozenset(names))
    assert not one.concerns(frozenset({"10.45.0.3", "imsi-2"}))
    assert one.may_meet(Traffic("s", (), ues=frozenset({"10.46.1.0/24"})))
    assert not one.may_meet(Traffic("s", (), ues=frozenset({"10.47.0.0/16", "imsi-2", "2001:db8::/64"})))
    assert Traffic("r", ()).concerns(frozenset())


def test_of_ipv6_a_ue_has_a_whole_prefix() -> None:
    for ue in ("2001:db8:45:1::77/128", "2001:db8:45:1::/64", "2001:db8:45::/48"):
        assert Traffic("r", (), ues=frozenset({ue})).concerns(frozenset({"2001:db8:45:1::1"}))
    assert not Traffic("r", (), ues=frozenset({"2001:db8:45:2::1/128"})).concerns(frozenset({"2001:db8:45:1::1"}))
