"""The purge message, tags and expressions: what is taken, what is refused and why, what a rule of a cache matches."""

from __future__ import annotations

import contextlib
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nf.contracts.json import JsonObject
from nf.documents.model import RuleError
from nf.errors import DocumentError, InputError
from nf.media.edge.purge import pattern
from nf.media.edge.rules import Rule, parse_rules
from nf.media.purge.admission import PurgeAdmission
from nf.media.purge.expression import channel_of_expression
from nf.media.purge.message import Mode, PurgeMessage, Scope, by_channel, parse_message
from nf.media.purge.tags import Kind, kind_of, parse_tag, rendition_of
from nf.media.purge.work import Applied, Selection, work_of
from tests.nf.media.cdn import HOST, edge_section

NOW = 1_796_000_000.0
EVE = "spiffe://lab.example/operator/eve"
names = st.from_regex(r"\A(video|audio|v0)(/(init-)?[a-z0-9]{1,6}\.(m4s|mp4)|\.m3u8)\Z") | st.sampled_from(
    ["master.m3u8", "manifest.mpd", "init", "video/init-1.mp4", "video/init.m3u8", "a", "video"]
)
tags = st.sampled_from(
    ["ch1", "ch1/video", "ch1/audio", "ch1:init", "ch1:segment", "ch1:manifest", "ch1/video:init", "ch1/v0:segment"]
)


def message(**values: Any) -> PurgeMessage:
    return parse_message({"scope": "all", "match": "ch1", **values})


def test_a_message_is_read_back_as_it_was_written() -> None:
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    one = message(id="a", mode="refresh", expires="2026-11-30T12:00:00+01:00", issued_by="cms", traceparent=trace)
    assert one.to_json()["expires"] == "2026-11-30T11:00:00Z"
    assert parse_message(json.dumps(one.to_json())) == one
    assert message().id != message().id


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"scope": "some"}, "scope"),
        ({"match": "Ch 1"}, "this is no channel"),
        ({"match": []}, "match"),
        ({"match": ["ch1"] * 10_001}, "10000"),
        ({"scope": "tag", "match": "ch1:subtitle"}, "a tag is CHANNEL"),
        ({"scope": "url", "match": "ftp://cdn.test/ch1/x"}, "names nothing in a channel"),
        ({"scope": "url", "match": "http://cdn.test/ch1/v0/"}, "purge it by prefix"),
        ({"scope": "prefix", "match": "http://cdn.test/ch1"}, "names nothing in a channel"),
        ({"expires": "tomorrow"}, "RFC 3339"),
        ({"expires": "2026-11-30T12:00:00"}, "with its zone"),
        ({"expires": "2026-11-30T12:00:00Z", "not_before": "2026-11-30T12:00:00Z"}, "expires before"),
        ({"traceparent": "00-1-2-3"}, "traceparent"),
        ({"id": "a b"}, "an id is"),
        ({"seq": 0}, "seq"),
        ({"seq": True}, "seq"),
        ({"chanel": "ch1"}, "there is no such key"),
    ],
)
def test_what_is_wrong_is_named(values: dict[str, Any], told: str) -> None:
    with pytest.raises(DocumentError) as raised:
        parse_message({"scope": "all", "match": "ch1", **values}, "cdn-purges/0/7")
    shown = " ".join(map(str, raised.value.problems))
    assert told in shown
    assert "cdn-purges/0/7" in shown


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*PurgeMessage.model_fields]), inner),
    max_leaves=12,
)


@given(st.binary(max_size=200) | json_values.map(lambda value: json.dumps(value).encode()) | json_values)
def test_any_octets_are_a_message_or_are_refused(data: Any) -> None:
    with contextlib.suppress(InputError):
        one = parse_message(data)
        assert parse_message(one.to_json()) == one


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=40))
def test_any_expression_is_taken_or_refused(text: str) -> None:
    with contextlib.suppress(RuleError):
        channel = channel_of_expression(f"^/ch1/{text}")
        assert channel == "ch1"
        re.compile(f"^/ch1/{text}")


@pytest.mark.parametrize(
    "expression",
    [
        *("", ".*", "^/", "/ch1/", "^/ch1/", "^/ch1/.*$", "^/ch1/(a+)+", "^/ch1/a|b", "^/ch1/a$b", "^/ch1/(?=a)"),
        *(r"^/ch1/(a)\1", "^/ch1/["),
    ],
)
def test_an_expression_that_is_too_much_is_refused(expression: str) -> None:
    with pytest.raises(RuleError):
        channel_of_expression(expression)


def test_unknown_channels_are_refused_and_several_are_told_apart() -> None:
    one = parse_message({"scope": "tag", "match": ["ch1", "ch2/video", "ch1/audio"], "id": "x"})
    parts = by_channel(one, frozenset({"ch1", "ch2"}))
    assert {name: part.match for name, part in parts.items()} == {"ch1": ("ch1", "ch1/audio"), "ch2": ("ch2/video",)}
    with pytest.raises(InputError, match="no such channel: ch2"):
        by_channel(one, frozenset({"ch1"}))
    forced = parse_message({"scope": "regex", "match": r"\.m4s$", "force": True})
    assert set(by_channel(forced, frozenset({"ch1", "ch2"}))) == {"ch1", "ch2"}


def test_the_noc_lets_in_what_holds_now() -> None:
    admission = PurgeAdmission()
    admitted = admission.admit("ch1", {"scope": "all", "match": "ch1", "id": "x"}, NOW, author=EVE)
    assert (admitted.id, admitted.not_before, admitted.expires) == ("x", NOW, NOW + 24 * 3600)
    assert admitted.arguments["issued_by"] == "eve"
    for wrong in ({"match": "ch2"}, {"expires": "2001-01-01T00:00:00Z"}, {"expires": "2999-01-01T00:00:00Z"}):
        with pytest.raises(InputError):
            admission.admit("ch1", {"scope": "all", "match": "ch1", **wrong}, NOW, author=EVE)


@pytest.mark.parametrize(
    ("said", "author", "issued_by"),
    [
        ("cms", EVE, "cms"),
        ("", EVE, "eve"),
        ("", "spiffe://lab.example/noc/noc", ""),  # from a topic: who sent it there is not known
        ("cms", "spiffe://lab.example/noc/noc", "cms"),
    ],
)
def test_who_wants_it_is_the_operator_unless_it_says_somebody_else(said: str, author: str, issued_by: str) -> None:
    message: JsonObject = {"scope": "all", "match": "ch1", "issued_by": said}
    assert PurgeAdmission().admit("ch1", message, NOW, author=author).arguments["issued_by"] == issued_by


@given(tags, names)
def test_the_rule_of_an_edge_matches_what_the_tag_holds(tag: str, name: str) -> None:
    entry = edge_section("ch1", "ch12").channels[0]
    selection = Selection(Scope.TAG, tag, Mode.REFRESH, "ch1", "x", 0.0)
    for query in ("", "?init=1", "?a=.m3u8"):
        found = re.search(pattern(selection, entry), f"http://shield.nf.invalid/media/ch1/{name}{query}")
        assert (found is not None) is parse_tag(tag).holds(name)
    assert re.search(pattern(selection, entry), f"http://shield.nf.invalid/media/ch12/{name}") is None


def test_the_rule_of_an_expression_stays_in_its_channel() -> None:
    entry = edge_section("ch1").channels[0]
    selection = Selection(Scope.REGEX, r"\d\.m4s$", Mode.REFETCH, "ch1", "x", 0.0)
    rule = pattern(selection, entry)
    assert re.search(rule, "http://shield.nf.invalid/media/ch1/video/1.m4s?session=7")
    assert not re.search(rule, "http://shield.nf.invalid/media/ch2/video/1.m4s")
    assert selection.selects("video/1.m4s")


def test_kinds_and_renditions() -> None:
    assert [rendition_of(name) for name in ("video/1.m4s", "video.m3u8", "master.m3u8", "manifest.mpd")] == [
        *("video", "video", "", ""),
    ]
    assert [kind_of(name) for name in ("video/init-3.mp4", "video.m3u8", "video/1.m4s")] == [
        *map(Kind, ("init", "manifest", "segment"))
    ]


def test_rules_are_read_back() -> None:
    rules = (Rule("a1", "^http://x/[(]", 17, Mode.REFETCH), Rule("b", "^y(?:[?]|$)", 18, Mode.REFRESH))
    text = "".join(f"{rule.line}\n" for rule in rules)
    assert parse_rules(f"# by hand\n{text}other 5\n") == rules


def test_what_was_carried_out_is_remembered(tmp_path: Any) -> None:
    applied = Applied(tmp_path / "purges.json")

    def work(seq: int, after: int) -> Any:
        order = {"seq": seq, "scope": "url", "match": f"http://{HOST}/ch1/x"}
        return work_of({"stream": "cdn", "object": "ch1", "after": after, "orders": [order]})

    assert not applied.complete(work(9, 8)).lost  # it has no memory: it is new, and empty
    applied.note(work(9, 8))
    assert applied.of("cdn") == 9
    assert not applied.complete(work(10, 9)).lost
    assert applied.complete(work(12, 11)).selections[0].scope is Scope.ALL
    (tmp_path / "purges.json").write_text("[broken")
    assert applied.of("cdn") is None
