"""The clerk's form: what is wrong is told with line, value, rule and remedy."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lawful_intercept.administration import form
from lawful_intercept.administration.warrants import Scope, Service
from lawful_intercept.identifiers import TargetIdentifier
from nf.errors import DocumentError

GOOD = """\
liid: NZ-0001
reference: HC 2026/4711
agency: police
targets:
  - sipUri: sip:alice@voice.example
  - e164Number: "491700000001"
  - ipv6Address: 2001:db8::1
services: [voice, data]
scope: iri
start: 2026-12-01T00:00:00+01:00
stop: 2026-12-31T00:00:00Z
"""


def problems(text: str) -> list[tuple[int, str, str]]:
    with pytest.raises(DocumentError) as caught:
        form.read(text.encode(), file="w.yaml")
    found = caught.value.problems
    assert all(one.file == "w.yaml" and one.rule and one.remedy for one in found)
    return [(one.line, one.key, one.rule) for one in found]


def test_a_form_that_is_filled_in() -> None:
    content = form.read(GOOD.encode(), file="w.yaml")
    assert content.targets[0] == TargetIdentifier("sipUri", "sip:alice@voice.example")
    assert content.targets[2].value == "2001:0db8:0000:0000:0000:0000:0000:0001"
    assert content.services == {Service.VOICE, Service.DATA}
    assert content.scope is Scope.IRI
    assert content.start.isoformat() == "2026-11-30T23:00:00+00:00"


def test_the_blank_form_has_to_be_filled_in() -> None:
    keys = {key for _, key, _ in problems(form.blank())}
    assert {"liid", "reference", "agency", "targets[0].sipUri"} <= keys


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("NZ-0001", "NZ 0001", (1, "liid", "is no LIID")),
        ("sip:alice@voice.example", "alice", (5, "targets[0].sipUri", "sipUri is sip:USER@HOST or sips:USER@HOST")),
        (
            '"491700000001"',
            '"+491700000001"',
            (6, "targets[1].e164Number", "e164Number is 1 to 15 digits, without a plus sign"),
        ),
        ('"491700000001"', "491700000001", (6, "targets[1].e164Number", "must be text")),
        ("e164Number", "e164", (6, "targets[1].e164", "unknown key")),
        (
            "2001:db8::1",
            "2001:db8::zz",
            (7, "targets[2].ipv6Address", "ipv6Address is eight groups of four lower-case hexadecimal digits"),
        ),
        (
            "2001:db8::1",
            "10.45.0.2",
            (7, "targets[2].ipv6Address", "ipv6Address is eight groups of four lower-case hexadecimal digits"),
        ),
        ("[voice, data]", "[fax]", (8, "services[0]", "must be one of: voice, data")),
        ("scope: iri", "scope: all", (9, "scope", "must be one of: iri, iri-and-cc")),
        ("+01:00", "", (10, "start", "must be a time with its offset")),
        ("2026-12-31T00:00:00Z", "soon", (11, "stop", "must be a time with its offset")),
        ("agency: police\n", "", (1, "agency", "the key is missing")),
        ("    - x", "", None),
    ],
)
def test_each_problem_has_its_place(old: str, new: str, expected: tuple[int, str, str] | None) -> None:
    if expected is not None:
        assert expected in problems(GOOD.replace(old, new, 1))


def test_a_stop_before_the_start() -> None:
    assert "stop is not after start" in {rule for _, _, rule in problems(GOOD.replace("2026-12-31", "2026-11-01"))}


def test_two_identifiers_in_one_target() -> None:
    text = GOOD.replace("  - e164Number", "    e164Number")
    assert "a target is one identifier" in {rule for _, _, rule in problems(text)}


@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_whatever_is_sent_is_a_form_or_has_problems(octets: bytes) -> None:
    with pytest.raises(DocumentError):
        form.read(octets, file="w.yaml")


@given(st.integers(0, len(GOOD)), st.integers(0, len(GOOD)), st.text(max_size=3))
def test_a_form_that_was_damaged(begin: int, end: int, middle: str) -> None:
    with contextlib.suppress(DocumentError):
        form.read((GOOD[:begin] + middle + GOOD[end:]).encode(errors="replace"), file="w.yaml")
