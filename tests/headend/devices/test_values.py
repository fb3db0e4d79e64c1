"""Conversions, both ways, over any value and over any nonsense."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headend.devices.model import Access, Encoding, Parameter, Range
from headend.devices.modelfile import load_models
from headend.devices.rows import (
    IndexKind,
    Name,
    decode_row,
    encode_row,
    format_row,
    parse_name,
    parse_row,
)
from headend.devices.values import ValueRefusedError, check, decode, encode, equal, is_number, shown
from headend.snmp.values import Quality, Syntax

OID = "1.3.6.1.4.1.99999.1.0"
wires = st.one_of(st.none(), st.integers(-(2**63), 2**64), st.binary(max_size=20), st.just("1.3.6.1.2"))


def parameter(syntax: Syntax = Syntax.INTEGER, **more: Any) -> Parameter:
    return Parameter(oid=OID, syntax=syntax, access=Access.READ_WRITE, **more)


@given(st.sampled_from([p for model in load_models().values() for p in model.parameters.values()]), wires)
def test_no_answer_whatsoever_is_an_exception(known: Parameter, wire: Any) -> None:
    decoded = decode(known, wire)
    assert decoded.quality in (Quality.GOOD, Quality.MISSING, Quality.UNREADABLE)
    assert (decoded.value is None) == (decoded.quality is not Quality.GOOD)
    if known.enum and decoded.value is not None:
        assert decoded.value in known.enum


@given(st.integers(-(2**31), 2**31 - 1), st.sampled_from([1, 0.1, -0.1, 0.5, 100, 1000, 0.01]))
def test_what_is_encoded_reads_back_equal(wire: int, scale: float) -> None:
    level = parameter(scale=scale)
    value = decode(level, wire).value
    assert Decimal(str(value)) == wire * Decimal(str(scale))
    assert encode(level, value) == wire
    assert equal(level, value, decode(level, wire).value)


@given(st.integers(-(2**31), 2**31 - 1))
def test_negatives_wrapped_in_an_unsigned_type(number: int) -> None:
    wrapped = parameter(Syntax.GAUGE32, signed=True)
    wire = encode(wrapped, number)
    assert isinstance(wire, int)
    assert 0 <= wire < 2**32
    assert decode(wrapped, wire).value == number


@given(st.decimals(-1000, 1000, places=3))
def test_numbers_as_text_both_ways(number: Decimal) -> None:
    text = parameter(Syntax.OCTETS, encoding=Encoding.DECIMAL_TEXT)
    value = float(number)
    assert decode(text, encode(text, value)).value == value


@pytest.mark.parametrize(
    ("more", "wire", "value"),
    [
        ({"syntax": Syntax.GAUGE32, "signed": True}, 4294965151, -2145),
        ({"syntax": Syntax.GAUGE32, "scale": -0.1}, 259, -25.9),
        ({"scale": 0.1, "offset": 10}, 5, 10.5),
        ({"syntax": Syntax.OCTETS, "encoding": Encoding.DECIMAL_TEXT, "scale": 1_000_000}, b"65.32624", 65_326_240),
        ({"syntax": Syntax.OCTETS, "encoding": Encoding.RATIO_TEXT}, b"3.0E-8", 3e-8),
        ({"syntax": Syntax.OCTETS, "enum": {"locked": "Locked"}}, b"Locked\0", "locked"),
        ({"syntax": Syntax.OCTETS, "enum": {"locked": "1"}}, 1, "locked"),
        ({"enum": {"locked": 1}}, b"1", "locked"),
        ({"null": (-1,)}, -1, None),
        ({"syntax": Syntax.OCTETS, "null": ("",)}, b"", None),
        ({"syntax": Syntax.OCTETS}, b"", ""),
        ({"syntax": Syntax.OID}, "1.3.6.1", "1.3.6.1"),
        ({"syntax": Syntax.IPADDRESS}, "10.0.0.1", "10.0.0.1"),
    ],
)
def test_decoding(more: dict[str, Any], wire: Any, value: Any) -> None:
    assert decode(parameter(**more), wire).value == value


@pytest.mark.parametrize(
    ("more", "wire"),
    [
        ({}, b"\xff\xfe"),
        ({}, b"about ten"),
        ({}, "10.0.0.1"),
        ({"enum": {"on": 1}}, 2),
        ({"syntax": Syntax.OCTETS, "encoding": Encoding.MAC}, b"12345"),
        ({"syntax": Syntax.OCTETS, "encoding": Encoding.RATIO_TEXT}, b"1.2.3"),
        ({"syntax": Syntax.OCTETS, "encoding": Encoding.BIG_ENDIAN}, b""),
        ({"syntax": Syntax.OCTETS, "encoding": Encoding.DECIMAL_TEXT, "unit": "dB"}, b"10 dBm"),
        ({"syntax": Syntax.OCTETS}, 5),
    ],
)
def test_what_has_the_wrong_form_is_unreadable(more: dict[str, Any], wire: Any) -> None:
    assert decode(parameter(**more), wire).quality is Quality.UNREADABLE


@pytest.mark.parametrize(
    ("more", "value", "rule"),
    [
        ({"range": Range(maximum=5.0)}, 6, "is above the device's maximum"),
        ({"range": Range(minimum=5.0)}, 4, "is below the device's minimum"),
        ({"range": Range(step=0.5)}, 0.3, "is between two steps"),
        ({}, True, "must be a number"),
        ({}, "5", "must be a number"),
        ({}, float("nan"), "must be a number"),
        ({}, None, "must be a number"),
        ({"enum": {"on": 1}}, "off", "no such choice"),
        ({"syntax": Syntax.OCTETS}, 5, "must be text"),
    ],
)
def test_what_may_not_be_set(more: dict[str, Any], value: Any, rule: str) -> None:
    with pytest.raises(ValueRefusedError) as caught:
        check(parameter(**more), value)
    assert caught.value.problem.rule == rule
    assert caught.value.problem.remedy


def test_octets_are_written_as_they_are_shown() -> None:
    assert encode(parameter(Syntax.OCTETS, encoding=Encoding.MAC), "00:0e:26:ff:ba:38").hex() == "000e26ffba38"  # type: ignore[union-attr]
    assert encode(parameter(Syntax.OCTETS, encoding=Encoding.ADDRESS_OCTETS), "10.0.0.1") == bytes((10, 0, 0, 1))
    with pytest.raises(ValueRefusedError):
        encode(parameter(Syntax.OCTETS, encoding=Encoding.HEX), "no hex")


def test_rounding_by_the_device_is_allowed_as_far_as_its_model_says() -> None:
    assert equal(parameter(scale=0.1, tolerance=0.25), 1.0, 1.2)
    assert not equal(parameter(scale=0.1, tolerance=0.25), 1.0, 1.3)
    assert not equal(parameter(scale=0.1), 1.0, 1.1)


def test_a_secret_is_never_shown() -> None:
    assert shown(parameter(Syntax.OCTETS, secret=True), "key") == "(secret)"
    assert shown(parameter(unit="dB"), 3) == "3 dB"
    assert not is_number(parameter(Syntax.GAUGE32, encoding=Encoding.HEX))


# ---- rows ----

oid_texts = st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=20).map(lambda oid: ".".join(map(str, oid)))
addresses = st.lists(st.integers(0, 255), min_size=4, max_size=4).map(lambda parts: ".".join(map(str, parts)))
keys = {
    IndexKind.INTEGER: st.integers(0, 2**32 - 1),
    IndexKind.STRING: st.text(max_size=20),
    IndexKind.IMPLIED_STRING: st.text(max_size=20),
    IndexKind.OID: oid_texts,
    IndexKind.IMPLIED_OID: oid_texts,
    IndexKind.ADDRESS: addresses,
}
closed = st.sampled_from([IndexKind.INTEGER, IndexKind.STRING, IndexKind.OID, IndexKind.ADDRESS])


@given(st.data(), st.lists(closed, max_size=3), st.sampled_from(IndexKind))
def test_rows_both_ways(data: st.DataObject, before: list[IndexKind], last: IndexKind) -> None:
    kinds = [*before, last]
    row = tuple(data.draw(keys[kind]) for kind in kinds)
    assert decode_row(kinds, encode_row(kinds, row)) == row
    assert parse_row(kinds, format_row(kinds, row)) == row
    name = Name("service", format_row(kinds, row), "rate")
    assert parse_name(str(name)) == name


@given(st.lists(closed, min_size=1, max_size=3), st.lists(st.integers(0, 2**32 - 1), max_size=12))
def test_a_suffix_of_another_form_is_refused_and_never_misread(kinds: list[IndexKind], suffix: list[int]) -> None:
    try:
        row = decode_row(kinds, suffix)
    except ValueError:
        return
    strings = [key for kind, key in zip(kinds, row, strict=True) if kind is IndexKind.STRING]
    assert all(isinstance(key, str) for key in strings)
    assert list(encode_row(kinds, row)) == suffix


def test_a_length_in_front_of_an_oid_is_no_part_of_it() -> None:
    suffix = (14, 1, 3, 6, 1, 4, 1, 3715, 17, 2, 3, 1, 1, 1, 4227)
    assert decode_row([IndexKind.OID], suffix) == ("1.3.6.1.4.1.3715.17.2.3.1.1.1.4227",)


@pytest.mark.parametrize("text", ["", "Service", "a.b.c", "a[1", "a]1[", "a[1].B", 'a["x]', "a b"])
def test_what_is_no_name(text: str) -> None:
    with pytest.raises(ValueError, match="no parameter name"):
        parse_name(text)
