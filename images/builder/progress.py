"""The steps of a build: what share of it each is, and how long each took."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

from images.report import Report


class Display(Protocol):
    """Where progress goes."""

    def show(self, fraction: float, step: str, text: str) -> None: ...


class Silence:
    """For tests and callers with a display of their own."""

    def show(self, fraction: float, step: str, text: str) -> None: ...


class Steps:
    """The steps of one job, in order; each has a weight (roughly its seconds) and, when it has ended, its duration."""

    def __init__(self, display: Display, weights: Mapping[str, float]) -> None:
        self._display = display
        self._weights = dict(weights)
        self._done: list[str] = []
        self.seconds: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[Report]:
        """Raises KeyError for a step that was not announced."""
        weight = self._weights[name]
        total = sum(self._weights.values()) or 1.0
        before = sum(self._weights[done] for done in self._done)

        def report(fraction: float, text: str) -> None:
            share = weight * min(max(fraction, 0.0), 1.0)
            self._display.show((before + share) / total, name, text)

        began = time.monotonic()
        report(0.0, "")
        yield report
        self.seconds[name] = round(time.monotonic() - began, 1)
        self._done.append(name)
        self._display.show((before + weight) / total, name, "")
