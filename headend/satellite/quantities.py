"""Frequencies and symbol rates as people write them: `11.7G`, `36MHz`, `27.5M`."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Annotated

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema

from nf.documents.model import RuleError

_PREFIX = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9}


def _parse(text: object, unit: str, what: str, example: str) -> int:
    """`36MHz`, `36M` or a whole number of the base unit."""
    if isinstance(text, int) and not isinstance(text, bool):
        return text
    rule = RuleError(f"{what} is a number with k, M or G ({unit})", f"write it as {example}")
    if not isinstance(text, str):
        raise rule
    bare = text.strip().removesuffix(unit)
    prefix = bare[-1:] if bare[-1:] in ("k", "M", "G") else ""
    try:
        value = Decimal(bare[: len(bare) - len(prefix)]) * _PREFIX[prefix]
    except InvalidOperation:
        raise rule from None
    if not value.is_finite() or value != value.to_integral_value() or not 0 < value < 10**12:
        raise rule
    return int(value)


def _show(value: int) -> str:
    for prefix in ("G", "M", "k"):
        if value % _PREFIX[prefix] == 0:
            return f"{value // _PREFIX[prefix]}{prefix}"
    return str(value)


def _quantity(unit: str, what: str, example: str) -> tuple[object, ...]:
    return (
        BeforeValidator(lambda text: _parse(text, unit, what, example)),
        Field(gt=0),
        PlainSerializer(_show, when_used="json"),
        WithJsonSchema({"type": ["string", "integer"], "description": f"{what} ({unit}), such as {example}"}),
    )


Frequency = Annotated[int, *_quantity("Hz", "a frequency", "11.7G")]
"""Hz. Written with its prefix: `36M`, `11.7G`, `36MHz`."""

SymbolRate = Annotated[int, *_quantity("Bd", "a symbol rate", "27.5M")]
"""Symbols per second. Written with its prefix: `27.5M`."""
