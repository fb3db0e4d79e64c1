"""Whatever answers, the reader gives an answer or nothing, and never raises."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sip.kamailio import jsonrpc
from sip.kamailio.jsonrpc import Answer
from sip.kamailio.rpc import reads

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(st.binary())
def test_noise_is_no_answer(data: bytes) -> None:
    found = jsonrpc.answer(data)
    assert found is None or isinstance(found, Answer)


@given(VALUES)
def test_any_json_is_an_answer_or_nothing(value: object) -> None:
    found = jsonrpc.answer(json.dumps(value).encode())
    assert found is None or isinstance(found, Answer)


@given(VALUES, st.integers())
def test_what_came_of_it(value: object, number: int) -> None:
    data = json.dumps({"jsonrpc": "2.0", "result": value, "id": number}).encode()
    assert jsonrpc.answer(data) == Answer(number, value)  # type: ignore[arg-type]


@given(VALUES, VALUES)
def test_a_refusal_has_a_code(code: object, text: object) -> None:
    found = jsonrpc.answer(json.dumps({"error": {"code": code, "message": text}, "id": 1}).encode())
    assert found is not None
    assert found.code != 0
    assert isinstance(found.code, int)


@given(st.binary(max_size=60), st.integers(min_value=0))
def test_an_answer_cut_anywhere(noise: bytes, place: int) -> None:
    whole = b'{"jsonrpc":"2.0","result":{"x":"' + noise + b'"},"id":7}'
    for data in (whole, whole[: place % len(whole)]):
        found = jsonrpc.answer(data)
        assert found is None or found.id == 7


@pytest.mark.parametrize(
    "data",
    [
        b"[" * 200_000,
        b'{"id":' + b"9" * 10_000 + b',"result":1}',
        b'{"id":1,"result":NaN}',
        b'{"id":true,"result":1}',
        b'{"id":1}',
        b"null",
        b"",
    ],
    ids=["deep", "huge number", "no number", "a boolean", "neither", "null", "nothing"],
)
def test_what_is_none(data: bytes) -> None:
    assert jsonrpc.answer(data) is None


def test_what_strangers_sent_is_taken_as_it_comes() -> None:
    assert jsonrpc.answer(b'{"id":3,"result":"a\xff\x01b"}') == Answer(3, "a\ufffd\x01b")


def test_a_request() -> None:
    assert json.loads(jsonrpc.request("htable.sets", ("t", "k", 5), 9)) == {
        "jsonrpc": "2.0",
        "method": "htable.sets",
        "params": ["t", "k", 5],
        "id": 9,
    }


def test_what_may_be_asked_twice() -> None:
    assert reads("dispatcher.list")
    assert reads("core.uptime")
    assert not reads("dispatcher.reload")
    assert not reads("htable.sets")
