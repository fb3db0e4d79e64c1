"""How far work on an image is: a bar on a terminal, elsewhere one line for each step; on stderr."""

from __future__ import annotations

import os
import sys
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class Terminal:
    """A context manager, and an `images.builder.progress.Display`. `lines` False: nothing without a terminal."""

    def __init__(self, *, lines: bool = True) -> None:
        self._lines = lines
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
        elif step != self._step and self._lines:
            sys.stderr.write(f"{fraction:4.0%}  {step}{f': {text}' if text else ''}\n")
            sys.stderr.flush()
        self._step = step

    def report(self, fraction: float, text: str) -> None:
        """An `images.report.Report`."""
        self.show(fraction, text, "")


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
