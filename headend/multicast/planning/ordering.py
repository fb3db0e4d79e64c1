"""An order that grows in the middle: names are put before and after others, and compared at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

_GAP: Final = 1 << 32


class Ordering:
    """Linked names with numbers in between; when a gap is used up, all are numbered anew."""

    def __init__(self) -> None:
        self._label: dict[str, int] = {}
        self._next: dict[str, str] = {}
        self._previous: dict[str, str] = {}
        self._first = self._last = ""

    def __contains__(self, name: str) -> bool:
        return name in self._label

    def __iter__(self) -> Iterator[str]:
        name = self._first
        while name:
            yield name
            name = self._next[name]

    def less(self, one: str, other: str) -> bool:
        return self._label[one] < self._label[other]

    def append(self, names: Sequence[str]) -> None:
        self._insert(self._last, "", names)

    def after(self, name: str, names: Sequence[str]) -> None:
        self._insert(name, self._next[name], names)

    def before(self, name: str, names: Sequence[str]) -> None:
        self._insert(self._previous[name], name, names)

    def _insert(self, left: str, right: str, names: Sequence[str]) -> None:
        low = self._label[left] if left else (self._label[right] if right else 0) - _GAP * (len(names) + 1)
        high = self._label[right] if right else low + _GAP * (len(names) + 1)
        step = (high - low) // (len(names) + 1)
        for number, name in enumerate(names, start=1):
            self._label[name] = low + step * number
            self._link(left, name)
            left = name
        self._link(left, right)
        if not step:
            self._label = {name: number * _GAP for number, name in enumerate(self)}

    def _link(self, left: str, right: str) -> None:
        if left:
            self._next[left] = right
        else:
            self._first = right
        if right:
            self._previous[right] = left
        else:
            self._last = left
