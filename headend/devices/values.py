"""Wire values and what they mean: numbers as text, wrapped negatives, text locks, octets that are numbers."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import TypeAlias

from headend.devices.model import Encoding, Parameter, Range
from headend.snmp.values import Quality, Syntax, Wire
from nf.errors import Problem

Value: TypeAlias = "bool | int | float | str | None"

_RATIO = re.compile(r"\s*([<>]?)\s*([0-9.]+(?:[eE][-+]?[0-9]+)?)\s*")
_DECIMAL = re.compile(r"\s*([-+]?[0-9]+(?:\.[0-9]*)?(?:[eE][-+]?[0-9]{1,3})?)\s*([A-Za-z%/]*)\s*")
_BOUNDS: Mapping[Syntax, tuple[int, int]] = {
    Syntax.INTEGER: (-(2**31), 2**31 - 1),
    Syntax.GAUGE32: (0, 2**32 - 1),
    Syntax.COUNTER32: (0, 2**32 - 1),
    Syntax.TIMETICKS: (0, 2**32 - 1),
    Syntax.COUNTER64: (0, 2**64 - 1),
}

_BINARY = frozenset({Encoding.HEX, Encoding.MAC, Encoding.ADDRESS_OCTETS, Encoding.BIG_ENDIAN, Encoding.LITTLE_ENDIAN})


@dataclass(frozen=True, slots=True)
class ParameterValue:
    """`value` in `unit`; None where there is none. `at`: monotonic seconds of the clock in use.

    `bound`: "<" where the device says only that it is less ("<1.0E-9"), ">" likewise.
    """

    value: Value
    unit: str
    quality: Quality
    at: float
    bound: str = ""

    @property
    def good(self) -> bool:
        return self.quality is Quality.GOOD


@dataclass(frozen=True, slots=True)
class Decoded:
    value: Value
    quality: Quality = Quality.GOOD
    bound: str = ""


UNREADABLE = Decoded(None, Quality.UNREADABLE)
NO_VALUE = Decoded(None, Quality.MISSING)


class ValueRefusedError(Exception):
    """A value that this parameter cannot have; `problem` has no key. Internal to this package."""

    def __init__(self, rule: str, remedy: str, value: object = "") -> None:
        super().__init__(rule)
        self.problem = Problem(rule, remedy, value=str(value))


def decode(parameter: Parameter, wire: Wire) -> Decoded:
    """What the device said, in the parameter's terms. What cannot be that is UNREADABLE, never an exception."""
    text = _text(wire) if isinstance(wire, bytes) else None
    if wire is None or any(_same(null, wire, text) for null in parameter.null):
        return NO_VALUE
    if parameter.enum:
        return _decode_enum(parameter, wire, text)
    if isinstance(wire, bytes):
        return _decode_octets(parameter, wire, text)
    if isinstance(wire, str):
        return Decoded(wire) if parameter.syntax in (Syntax.OID, Syntax.IPADDRESS) else UNREADABLE
    return _decode_number(parameter, wire)


def _decode_number(parameter: Parameter, wire: int) -> Decoded:
    if parameter.encoding is Encoding.HEX:
        return Decoded(f"{wire:x}")
    numeric = parameter.syntax in _BOUNDS or parameter.encoding is Encoding.DECIMAL_TEXT
    return _scaled(parameter, Decimal(_signed(parameter, wire))) if numeric else UNREADABLE


def _text(octets: bytes) -> str | None:
    try:
        return octets.decode("utf-8").strip("\0 ")
    except UnicodeDecodeError:
        return None


def _same(expected: int | str, wire: Wire, text: str | None) -> bool:
    """Agents disagree on whether a number is a number or its text; both are meant."""
    if isinstance(wire, int):
        return str(expected) == str(wire)
    return text is not None and str(expected) == text


def _decode_enum(parameter: Parameter, wire: Wire, text: str | None) -> Decoded:
    if isinstance(wire, int):
        wire = _signed(parameter, wire)
    for name, expected in parameter.enum.items():
        if _same(expected, wire, text):
            return Decoded(name)
    return UNREADABLE


def _decode_octets(parameter: Parameter, octets: bytes, text: str | None) -> Decoded:
    encoding = parameter.encoding
    if encoding in _BINARY:
        return _decode_binary(parameter, octets)
    if text is None:
        return UNREADABLE
    if encoding is Encoding.RATIO_TEXT:
        return _ratio(text)
    if encoding is Encoding.DECIMAL_TEXT or parameter.syntax in _BOUNDS:
        return _decimal(parameter, text)
    return Decoded(text if encoding is Encoding.PADDED_TEXT else octets.decode("utf-8"))


def _decode_binary(parameter: Parameter, octets: bytes) -> Decoded:
    encoding, size = parameter.encoding, len(octets)
    if encoding is Encoding.HEX:
        return Decoded(octets.hex())
    if encoding is Encoding.MAC:
        return Decoded(octets.hex(":")) if size == 6 else UNREADABLE
    if encoding is Encoding.ADDRESS_OCTETS:
        return Decoded(".".join(map(str, octets))) if size == 4 else UNREADABLE
    ordered = octets if encoding is Encoding.BIG_ENDIAN else octets[::-1]
    return _scaled(parameter, Decimal(int.from_bytes(ordered, "big"))) if 0 < size <= 8 else UNREADABLE


def _ratio(text: str) -> Decoded:
    match = _RATIO.fullmatch(text)
    if match is None:
        return UNREADABLE
    try:
        return Decoded(float(match[2]), bound=match[1])
    except ValueError:
        return UNREADABLE


def _decimal(parameter: Parameter, text: str) -> Decoded:
    match = _DECIMAL.fullmatch(text)
    if match is None or (match[2] and match[2].casefold() != parameter.unit.casefold()):
        return UNREADABLE
    try:
        return _scaled(parameter, Decimal(match[1]))
    except InvalidOperation:
        return UNREADABLE


def _signed(parameter: Parameter, number: int) -> int:
    return number - 2**32 if parameter.signed and 2**31 <= number < 2**32 else number


def _scaled(parameter: Parameter, number: Decimal) -> Decoded:
    value = number * _exact(parameter.scale) + _exact(parameter.offset)
    if parameter.scale == int(parameter.scale) and value == value.to_integral_value():
        return Decoded(int(value))
    return Decoded(float(value))


def _exact(number: float) -> Decimal:
    return Decimal(str(number))


def check(parameter: Parameter, value: Value, limits: Range | None = None) -> None:
    """Whether it may have this value. `limits`: narrower ones of this very place. Raises ValueRefusedError."""
    if parameter.enum:
        if value not in parameter.enum:
            raise ValueRefusedError("no such choice", f"one of: {', '.join(parameter.enum)}", value)
        return
    if not is_number(parameter):
        if not isinstance(value, str):
            raise ValueRefusedError("must be text", "put it in quotes", value)
        return
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueRefusedError("must be a number", f"write it in {parameter.unit or 'digits'}", value)
    for bounds, whose in ((parameter.range, "the device's"), (limits, "this carrier's or site's")):
        if bounds is not None:
            _check_range(bounds, whose, value, parameter.unit)


def _check_range(bounds: Range, whose: str, value: float, unit: str) -> None:
    if bounds.minimum is not None and value < bounds.minimum:
        raise ValueRefusedError(f"is below {whose} minimum", f"at least {_shown(bounds.minimum, unit)}", value)
    if bounds.maximum is not None and value > bounds.maximum:
        raise ValueRefusedError(f"is above {whose} maximum", f"at most {_shown(bounds.maximum, unit)}", value)
    if bounds.step is not None:
        steps = (_exact(value) - _exact(bounds.minimum or 0)) / _exact(bounds.step)
        if steps != steps.to_integral_value():
            raise ValueRefusedError("is between two steps", f"in steps of {_shown(bounds.step, unit)}", value)


def _shown(number: float, unit: str) -> str:
    return f"{number:g} {unit}".strip()


def encode(parameter: Parameter, value: Value) -> Wire:
    """The wire value of a value that `check` has accepted. Raises ValueRefusedError where the wire cannot carry it."""
    if parameter.enum:
        wire = parameter.enum[str(value)]
        if isinstance(wire, str) or parameter.syntax is Syntax.OCTETS:
            return str(wire).encode()
        return _unsigned(parameter, wire)
    if not is_number(parameter):
        return _encode_text(parameter, str(value))
    number = (_exact(float(value or 0)) - _exact(parameter.offset)) / _exact(parameter.scale)
    if parameter.encoding is Encoding.DECIMAL_TEXT:
        return f"{number.normalize():f}".encode()
    if number != number.to_integral_value():
        step = _shown(abs(parameter.scale), parameter.unit)
        raise ValueRefusedError("is finer than the device can hold", f"in steps of {step}", value)
    return _unsigned(parameter, int(number))


def _unsigned(parameter: Parameter, number: int) -> int:
    if parameter.signed and number < 0:
        number += 2**32
    low, high = _BOUNDS[parameter.syntax]
    if not low <= number <= high:
        raise ValueRefusedError(f"does not fit {parameter.syntax.value}", f"from {low} to {high} on the wire", number)
    return number


def _encode_text(parameter: Parameter, text: str) -> Wire:
    if parameter.syntax in (Syntax.OID, Syntax.IPADDRESS):
        return text
    try:
        if parameter.encoding in (Encoding.HEX, Encoding.MAC):
            return bytes.fromhex(text.replace(":", ""))
        if parameter.encoding is Encoding.ADDRESS_OCTETS:
            return bytes(map(int, text.split(".")))
    except ValueError:
        raise ValueRefusedError(
            "has not the form of the device's value", f"write it as {parameter.encoding.value}", text
        ) from None
    return text.encode()


def is_number(parameter: Parameter) -> bool:
    """Whether its values are numbers: neither names of an enum nor text."""
    numeric = (Encoding.DECIMAL_TEXT, Encoding.RATIO_TEXT, Encoding.BIG_ENDIAN, Encoding.LITTLE_ENDIAN)
    if parameter.enum or parameter.encoding is Encoding.HEX:
        return False
    return parameter.syntax in _BOUNDS or parameter.encoding in numeric


def equal(parameter: Parameter, wanted: Value, found: Value) -> bool:
    """Whether a value read back is the one that was set, rounding by the device allowed as its model says."""
    if isinstance(wanted, int | float) and isinstance(found, int | float) and not isinstance(wanted, bool):
        slack = max(parameter.tolerance, abs(parameter.scale) / 1000, abs(wanted) * 1e-12)
        return abs(float(wanted) - float(found)) <= slack
    return wanted == found


def shown(parameter: Parameter, value: Value) -> str:
    """For people: with its unit; nothing of a secret."""
    if parameter.secret:
        return "(secret)"
    if value is None:
        return "no value"
    return f"{value} {parameter.unit}".strip()
