from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nf.documents.keys import Loc, format_key, parse_key

LOCS = st.lists(st.one_of(st.text(), st.integers(min_value=0, max_value=10_000)), max_size=6).map(tuple)


def test_the_usual_key() -> None:
    loc: Loc = ("spec", "channels", 2, "delivery", 0, "group")
    assert format_key(loc) == "spec.channels[2].delivery[0].group"
    assert parse_key("spec.channels[2].delivery[0].group") == loc


def test_section_names_have_hyphens_and_odd_names_are_quoted() -> None:
    assert format_key(("sections", "multicast-tree")) == "sections.multicast-tree"
    assert format_key(("spec", "a b", "")) == 'spec["a b"][""]'


@given(LOCS)
def test_round_trip(loc: Loc) -> None:
    assert parse_key(format_key(loc)) == loc


@pytest.mark.parametrize("text", ["a b", "a[x]", "a[", "..", "1a"])
def test_malformed(text: str) -> None:
    with pytest.raises(ValueError, match="not a document key"):
        parse_key(text)
