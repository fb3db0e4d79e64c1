"""Where output goes: results to stdout, errors and progress to stderr; colour and bars only where a person looks."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_PROSE = frozenset({"COMMENT", "COSTS", "DETAIL", "DO", "INTERFACES", "PATCH", "PROCESSES", "REASON", "STEP", "TEXT"})
_LEAST_WIDTH = 120  # on a narrower terminal the lines of a table go on in the next: nothing is cut off
_PLAIN_WIDTH = 200  # wide enough that a table in a pipe never wraps or loses a column


def _console(stream: TextIO, least_width: int = 0) -> Console:
    from rich.console import Console

    class PipedConsole(Console):
        """Leaves a closed pipe to `main`, which alone decides how the program ends."""

        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    width = None if stream.isatty() else _piped_width()
    console = PipedConsole(file=stream, width=width, markup=False, highlight=False, emoji=False)
    if stream.isatty() and console.width < least_width:
        console.width = least_width
    return console


def _piped_width() -> int:
    """`COLUMNS` where it is a width at all."""
    columns = os.environ.get("COLUMNS", "")
    return (int(columns) if columns.isdecimal() else 0) or _PLAIN_WIDTH


def out(*, fits: bool = False) -> Console:
    """Results. Honours NO_COLOR; plain text when stdout is no terminal. `fits`: no wider than the terminal."""
    return _console(sys.stdout, 0 if fits else _LEAST_WIDTH)


def err() -> Console:
    """Errors and progress."""
    return _console(sys.stderr)


def is_interactive() -> bool:
    """Whether progress bars and live tables make sense: stderr is a terminal that can move its cursor."""
    return sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def say(text: str) -> None:
    """One line of result."""
    out().print(text, soft_wrap=True)


def note(text: str) -> None:
    """One line beside the result: progress, a hint."""
    err().print(text, soft_wrap=True)


def print_json(value: object, *, line: bool = False) -> None:
    """`value` as JSON on stdout, keys in the order given; `line` puts it on one line (for streams)."""
    sys.stdout.write(json.dumps(value, indent=None if line else 2, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def table(*columns: str, right: Sequence[str] = ()) -> Table:
    """An empty table in the one style of `nf`; `right` names the columns of numbers.

    Where that is too wide, prose goes on in the next line, and what is one word ends with an ellipsis.
    """
    from rich import box
    from rich.table import Table

    grid = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False, show_edge=False)
    for column in columns:
        prose = column.upper() in _PROSE
        grid.add_column(
            column,
            justify="right" if column in right else "left",
            no_wrap=not prose,
            overflow="fold" if prose else "ellipsis",
            min_width=len(column) if prose else None,
        )
    return grid
