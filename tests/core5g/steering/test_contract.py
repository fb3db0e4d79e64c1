"""What mechanisms answer, as it is read; how people name UEs and destinations."""

from __future__ import annotations

import contextlib
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core5g.steering.contract import Explanation, InfluenceOrder, Listing, parse_ue
from core5g.steering.explain import parse_destination
from nf.contracts.json import Json, JsonObject
from nf.errors import DriverError, InputError

JSON: st.SearchStrategy[Json] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)


@pytest.mark.parametrize(
    ("text", "ue"),
    [
        ("10.45.0.2", "10.45.0.2"),
        ("2001:DB8:45::2", "2001:db8:45::2"),
        ("imsi-999700000000001", "imsi-999700000000001"),
        ("999700000000001", "imsi-999700000000001"),
    ],
)
def test_a_ue_is_named_by_address_or_supi(text: str, ue: str) -> None:
    assert parse_ue(text) == ue


@pytest.mark.parametrize("text", ["", "imsi-", "imsi-12", "10.45.0", "somebody", "imsi-99970000000000\u0661"])
def test_what_names_no_ue(text: str) -> None:
    with pytest.raises(InputError):
        parse_ue(text)


@pytest.mark.parametrize(
    ("text", "destination"),
    [
        ("203.0.113.10", "203.0.113.10"),
        ("203.0.113.10/32", "203.0.113.10"),
        ("203.0.113.7/23", "203.0.112.0/23"),
        ("2001:db8::/32", "2001:db8::/32"),
        ("2001:db8::1", "2001:db8::1"),
        ("CDN.streamverse.test.", "cdn.streamverse.test"),
    ],
)
def test_destinations(text: str, destination: str) -> None:
    assert parse_destination(text) == destination


@given(st.text(max_size=60))
def test_any_text_is_a_destination_or_refused(text: str) -> None:
    try:
        assert parse_destination(text)
    except InputError:
        return


def test_listings_of_both_mechanisms_are_read() -> None:
    n6 = Listing.of({"mechanism": "n6", "upf": "edge1", "open": True, "since": None, "influences": [{"id": "a"}]})
    assert (n6.open, n6.since, n6.influences) == (True, 0.0, frozenset({"a"}))
    classifier = Listing.of({"mechanism": "classifier", "upf": "central", "open": False, "influences": ["a", "b"]})
    assert classifier.influences == {"a", "b"}


@given(JSON)
def test_no_answer_of_a_mechanism_breaks_who_reads_it(value: Json) -> None:
    base: Json = value if isinstance(value, dict) else {"mechanism": "n6", "exit": "cache", "influences": value}
    assert isinstance(base, dict)
    for read in (Listing.of, Explanation.of):
        with contextlib.suppress(DriverError):
            read(base)


def test_an_order_is_plain_json() -> None:
    order = InfluenceOrder("r1", "add", (ip_network("203.0.113.0/24"),), (ip_network("10.45.0.2/32"),), (80,))
    assert order.to_json() == {
        "id": "r1",
        "action": "add",
        "prefixes": ["203.0.113.0/24"],
        "ues": ["10.45.0.2/32"],
        "ports": [80],
    }


@pytest.mark.parametrize(
    ("told", "counted"),
    [
        ({"mechanism": "n6", "steered_packets": 7, "default_packets": 3}, ("7 packets", "3")),
        ({"mechanism": "classifier", "sessions": 3, "steered": 1}, ("1 session", "2")),
    ],
)
def test_each_mechanism_counts_what_it_sees(told: JsonObject, counted: tuple[str, str]) -> None:
    found = Listing.of({"upf": "edge1", "open": True, "why": "", "since": 0, "prefixes": 1, **told})
    assert found.counted == counted
