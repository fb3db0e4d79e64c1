"""Conditions of a model's file on values that were read."""

from __future__ import annotations

from headend.devices.model import Condition
from headend.devices.values import Value


def same(expected: Value, found: Value) -> bool:
    """Equal as people mean it: 3 and 3.0 are, 1 and true are not."""
    if isinstance(expected, bool) or isinstance(found, bool):
        return expected is found
    return expected == found


def holds(condition: Condition, value: Value, tracked: Value = None) -> bool:
    """Whether `value` meets it; what is no value meets nothing. `tracked`: the value of what `tracks` names."""
    if value is None:
        return False
    if condition.equals is not None:
        return same(condition.equals, value)
    if condition.differs is not None:
        return not same(condition.differs, value)
    if condition.any_of is not None:
        return any(same(expected, value) for expected in condition.any_of)
    return _holds_number(condition, value, tracked)


def _holds_number(condition: Condition, value: Value, tracked: Value) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return condition.tracks is not None and same(tracked, value)
    if condition.at_least is not None:
        return value >= condition.at_least
    if condition.at_most is not None:
        return value <= condition.at_most
    if isinstance(tracked, bool) or not isinstance(tracked, int | float):
        return False
    return abs(value - tracked) <= abs(tracked) * condition.tolerance_percent / 100


def text(condition: Condition, unit: str = "") -> str:
    """In words: "locked", "at least 3.0 dB", "within 10 % of bitrate"."""
    if condition.equals is not None:
        return f"{condition.equals} {unit}".strip()
    if condition.differs is not None:
        return f"anything but {condition.differs} {unit}".strip()
    if condition.any_of is not None:
        return f"one of {', '.join(map(str, condition.any_of))} {unit}".strip()
    if condition.at_least is not None:
        return f"at least {condition.at_least:g} {unit}".strip()
    if condition.at_most is not None:
        return f"at most {condition.at_most:g} {unit}".strip()
    return f"within {condition.tolerance_percent:g} % of {condition.tracks}"
