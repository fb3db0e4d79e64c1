"""How long work on an image tells how far it is."""

from __future__ import annotations

from collections.abc import Callable

Report = Callable[[float, str], None]
"""Called with the fraction that is done (0 to 1) and what is being done."""


def silent(_fraction: float, _text: str) -> None:
    """A `Report` that nobody reads."""


def part(report: Report, first: float, last: float) -> Report:
    """What reports 0 to 1 into the span from `first` to `last` of `report`."""
    return lambda fraction, text: report(first + (last - first) * fraction, text)
