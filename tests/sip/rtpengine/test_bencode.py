"""Bencoding: exact both ways, and strict."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nf.errors import InputError
from sip.rtpengine.bencode import MAX_DEPTH, MAX_VALUES, BencodeError, Value, decode, encode

octets = st.binary(max_size=40).map(lambda data: data.decode(errors="surrogateescape"))
leaves: st.SearchStrategy[Value] = st.integers(-(10**19), 10**19) | octets
values: st.SearchStrategy[Value] = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=5) | st.dictionaries(octets, inner, max_size=5), max_leaves=30
)


@given(values)
def test_what_is_encoded_is_decoded_to_the_same(value: Value) -> None:
    assert decode(encode(value)) == value


@given(st.binary(max_size=200) | values.map(encode).flatmap(lambda data: st.binary(max_size=3).map(lambda x: data + x)))
@example(b"i0e")
@example(b"d1:b0:1:a0:e")
def test_whatever_is_decoded_is_encoded_to_the_same_octets(data: bytes) -> None:
    try:
        value = decode(data)
    except BencodeError as error:
        assert 0 <= error.offset <= len(data)
    else:
        assert encode(value) == data


@given(values.map(encode), st.data())
def test_no_message_is_the_beginning_of_another(data: bytes, draw: st.DataObject) -> None:
    cut = draw.draw(st.integers(0, len(data) - 1))
    with pytest.raises(BencodeError):
        decode(data[:cut])


@pytest.mark.parametrize(
    "data",
    [b"", b"i-0e", b"i01e", b"ie", b"i+1e", b"01:a", b"-1:a", b"2:a", b"le1", b"di1e0:e", b"d1:a0:1:a0:e", b"1a",
     b"i" + b"9" * 30 + b"e", b"99999999999999999999999:a", b"i1_0e", "i\u0661e".encode(), b" i1e", b"d1:ae"],
)  # fmt: skip
def test_what_is_not_canonical_is_refused(data: bytes) -> None:
    with pytest.raises(BencodeError):
        decode(data)


def test_caps() -> None:
    deep = b"l" * MAX_DEPTH + b"e" * MAX_DEPTH
    assert encode(decode(deep)) == deep
    with pytest.raises(BencodeError, match="nested"):
        decode(b"l" + deep + b"e")
    with pytest.raises(InputError, match="nested"):
        encode([decode(deep)])
    with pytest.raises(BencodeError, match="values"):
        decode(b"l" + b"0:" * MAX_VALUES + b"e")


@pytest.mark.parametrize("value", [True, 1.5, None, b"a", 10**20])
def test_what_the_protocol_has_not_is_refused(value: object) -> None:
    with pytest.raises(InputError):
        encode(value)  # type: ignore[arg-type]
