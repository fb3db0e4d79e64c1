from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nf.errors import IdentityError, InputError
from nf.trust.spiffe import KINDS, SpiffeId

labels = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True)
domains = st.lists(labels, min_size=1, max_size=4).map(".".join)
names = st.from_regex(r"[a-z][a-z0-9-]{0,38}", fullmatch=True)
ids = st.builds(SpiffeId, domains, st.sampled_from(KINDS), names)


@given(ids)
def test_text_and_value_are_one(spiffe_id: SpiffeId) -> None:
    assert SpiffeId.parse(str(spiffe_id)) == spiffe_id


@given(ids, st.data())
def test_one_text_for_one_id(spiffe_id: SpiffeId, data: st.DataObject) -> None:
    """Whatever is put into the text at any place, the result is refused or names something else."""
    text = str(spiffe_id)
    at = data.draw(st.integers(0, len(text)))
    inserted = data.draw(st.text(min_size=1, max_size=3))
    try:
        other = SpiffeId.parse(text[:at] + inserted + text[at:])
    except IdentityError:
        return
    assert other != spiffe_id
    assert str(other) == text[:at] + inserted + text[at:]


@given(st.text())
def test_any_text_is_parsed_or_refused(text: str) -> None:
    with contextlib.suppress(IdentityError):
        assert str(SpiffeId.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "spiffe://tv.example/appliance/pop1/",
        "spiffe://tv.example/appliance//pop1",
        "spiffe://tv.example/appliance/pop1?x",
        "spiffe://tv.example/appliance/pop1#x",
        "spiffe://tv.example/appliance/pop%31",
        "spiffe://tv.example/appliance/pop1\n",
        "spiffe://tv.example/appliance/..",
        "spiffe://tv.example/Appliance/pop1",
        "spiffe://tv.example/robot/pop1",
        "spiffe://tv.example:443/appliance/pop1",
        "spiffe://user@tv.example/appliance/pop1",
        "spiffe://TV.example/appliance/pop1",
        "spiffe://tv..example/appliance/pop1",
        "spiffe:///appliance/pop1",
        "SPIFFE://tv.example/appliance/pop1",
        "https://tv.example/appliance/pop1",
        "spiffe://tv.example/appliance/" + "a" * 40,
        "spiffe://" + "a." * 130 + "a/appliance/pop1",
    ],
)
def test_what_is_not_exactly_one_of_ours_is_refused(text: str) -> None:
    with pytest.raises(IdentityError):
        SpiffeId.parse(text)


def test_a_typed_part_is_refused_with_what_to_do() -> None:
    with pytest.raises(InputError) as caught:
        SpiffeId("tv.example", "operator", "Alice Smith")
    assert "lower-case" in caught.value.remedy
