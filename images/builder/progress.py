"""How long work is shown: steps with weights, a bar on a terminal, elsewhere one line for each step; on stderr."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from images.report import Report

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class Display(Protocol):
    """Where progress goes."""

    def show(self, fraction: float, step: str, text: str) -> None: ...


class Silence:
    """For tests and callers with a display of their own."""

    def show(self, fraction: float, step: str, text: str) -> None: ...


class Terminal:
    """A bar on an interactive terminal, else one line for each step on stderr. A context manager."""

    def __init__(self) -> None:
        self._bars: Progress | None = None
        self._task: TaskID | None = None
        self._step = ""

    def __enter__(self) -> Self:
        if sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb":
            self._bars = _bars()
            self._bars.start()
            self._task = self._bars.add_task("", total=1.0, what="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars is not None:
            self._bars.stop()

    def show(self, fraction: float, step: str, text: str) -> None:
        if self._bars is not None and self._task is not None:
            self._bars.update(self._task, description=step, completed=fraction, what=text)
        elif step != self._step:
            sys.stderr.write(f"{fraction:4.0%}  {step}{f': {text}' if text else ''}\n")
            sys.stderr.flush()
        self._step = step


def _bars() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    return Progress(
        TextColumn("{task.description:<18}", markup=False),
        BarColumn(bar_width=24),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[what]}", markup=False),
        console=Console(stderr=True),
    )


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
