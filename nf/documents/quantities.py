"""Quantities with their unit in the text, parsed once: `8M` (bit/s), `500ms`, `2s`, `5m`, `24h`, `7d`.

Bit rates use decimal prefixes (k, M, G). A plain integer is taken in the base unit: bit/s, and for durations it is
refused, since nobody can know whether 5 meant seconds or minutes.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Annotated

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema

from nf.documents.model import RuleError

_RATE = re.compile(r"^([0-9]{1,15}(?:\.[0-9]{1,9})?)([kMG]?)(?:bit/s|bps)?$")
_RATE_FACTOR = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9}
_DURATION = re.compile(r"^([0-9]{1,15}(?:\.[0-9]{1,9})?)(ms|s|m|h|d)$")
_DURATION_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}

DURATION_PATTERN = _DURATION.pattern
MAX_BITRATE_BPS = 10**15
MAX_DURATION_MS = 3_660 * 86_400_000  # ten years


def parse_bitrate(text: object) -> int:
    """`8M` -> 8_000_000 (bit/s). Raises ValueError."""
    if isinstance(text, int) and not isinstance(text, bool):
        return text
    match = _RATE.match(text.strip()) if isinstance(text, str) else None
    if match is None:
        raise RuleError("a bit rate is a number with k, M or G (bit/s)", "write it as 8M or 750k")
    value = _times(match[1], _RATE_FACTOR[match[2]])
    if value is None:
        raise RuleError("a bit rate is a whole number of bit/s", "round it")
    return value


def _times(number: str, factor: int) -> int | None:
    """The exact product; None when it is no whole number."""
    if "." not in number:
        return int(number) * factor
    value = Fraction(number) * factor
    return int(value) if value.denominator == 1 else None


def format_bitrate(bps: int) -> int | str:
    """8_000_000 -> `8M`: the largest prefix that leaves a whole number."""
    for prefix in ("G", "M", "k"):
        factor = _RATE_FACTOR[prefix]
        if bps and bps % factor == 0:
            return f"{bps // factor}{prefix}"
    return bps


def parse_duration_ms(text: object) -> int:
    """`500ms` -> 500, `2s` -> 2000 (milliseconds). Raises ValueError."""
    match = _DURATION.match(str(text).strip()) if isinstance(text, str) else None
    if match is None:
        raise RuleError("a duration is a number with its unit: ms, s, m, h or d", "write it as 500ms, 2s or 5m")
    value = _times(match[1], _DURATION_MS[match[2]])
    if value is None:
        raise RuleError("a duration is a whole number of milliseconds", "round it")
    return value


def format_duration(milliseconds: int) -> str:
    """2000 -> `2s`: the largest unit that leaves a whole number."""
    for unit in ("d", "h", "m", "s"):
        factor = _DURATION_MS[unit]
        if milliseconds and milliseconds % factor == 0:
            return f"{milliseconds // factor}{unit}"
    return f"{milliseconds}ms"


BitRate = Annotated[
    int,
    BeforeValidator(parse_bitrate),
    Field(gt=0, le=MAX_BITRATE_BPS),
    PlainSerializer(format_bitrate, when_used="json"),
    WithJsonSchema(
        {"anyOf": [{"type": "integer", "exclusiveMinimum": 0}, {"type": "string", "pattern": _RATE.pattern}]}
    ),
]
"""Bit/s. In documents `8M`, `750k`, `1.5G` or a whole number."""

DurationMs = Annotated[
    int,
    BeforeValidator(parse_duration_ms),
    Field(ge=0, le=MAX_DURATION_MS),
    PlainSerializer(format_duration, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": DURATION_PATTERN}),
]
"""Milliseconds. In documents `500ms`, `2s`, `5m`, `24h`, `7d`."""
