"""Where output goes: results to stdout, errors and hints to stderr; colour only where a person looks."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

_LEAST_WIDTH = 120
_PLAIN_WIDTH = 200  # wide enough that a table in a pipe never wraps or loses a column

_STYLES = {
    "active": "bold green",
    "approved": "green",
    "held": "green",
    "intact": "green",
    "done": "green",
    "ok": "green",
    "submitted": "yellow",
    "not held": "yellow",
    "refused": "yellow",
    "revoked": "dim",
    "rejected": "dim",
    "expired": "dim",
    "broken": "bold red",
    "silent": "bold red",
}


def _console(stream: TextIO) -> Console:
    from rich.console import Console

    class PipedConsole(Console):
        """Leaves a closed pipe to `main`, which alone decides how the program ends."""

        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    columns = os.environ.get("COLUMNS", "")
    piped = (int(columns) if columns.isdecimal() else 0) or _PLAIN_WIDTH
    console = PipedConsole(
        file=stream, width=None if stream.isatty() else piped, markup=False, highlight=False, emoji=False
    )
    if stream.isatty() and console.width < _LEAST_WIDTH:
        console.width = _LEAST_WIDTH
    return console


def out() -> Console:
    """Results. Honours NO_COLOR; plain text when stdout is no terminal."""
    return _console(sys.stdout)


def err() -> Console:
    """Errors and hints."""
    return _console(sys.stderr)


def say(text: str) -> None:
    """One line of result."""
    out().print(text, soft_wrap=True)


def print_json(value: object) -> None:
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def word(text: str) -> Text:
    """A verdict in its colour."""
    from rich.text import Text

    return Text(text, style=_STYLES.get(text.lower(), ""))


def table(*columns: str, right: Sequence[str] = ()) -> Table:
    """An empty table in the one style of `nf-li`; `right` names the columns of numbers."""
    from rich import box
    from rich.table import Table

    grid = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False, show_edge=False)
    for column in columns:
        grid.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return grid


def brief(at: str | None) -> str:
    """A point in time to the second; a dash for none."""
    return "-" if not at else at[:19] + "Z"


def shown(grid: Table, nothing: str) -> None:
    """The table, or a word where it is empty."""
    if grid.row_count:
        out().print(grid)
    else:
        say(nothing)


def pairs(rows: Sequence[tuple[str, str]]) -> None:
    """Names and values, one pair on each line."""
    width = max((len(name) for name, _ in rows), default=0)
    for name, value in rows:
        say(f"{name:<{width}}  {value}")


def short(number: str) -> str:
    """The beginning of a number, enough to name it."""
    return number[:8]
