"""Errors become text here, for people or, with `--json`, for programs. Never a traceback: it shows too much."""

from __future__ import annotations

import contextlib
import json
import sys
from typing import TYPE_CHECKING

from lawful_intercept.commands.output import err
from nf.contracts.json import Json, JsonObject
from nf.errors import NfError, Problem
from nf.exit_codes import ExitCode, exit_code

if TYPE_CHECKING:
    from rich.text import Text


def show_error(error: NfError, *, as_json: bool) -> ExitCode:
    """Print `error` on stderr; the exit code that goes with it."""
    code = exit_code(error)
    with contextlib.suppress(OSError):  # where nobody can be told, the code still tells
        if as_json:
            sys.stderr.write(json.dumps({"error": _json(error, code)}, ensure_ascii=False) + "\n")
        else:
            err().print(_block(error), soft_wrap=True)
    return code


def show_crash(error: BaseException, *, as_json: bool) -> ExitCode:
    """An error that nobody foresaw: its class and place, and nothing that it says."""
    from lawful_intercept.isolation import place_of

    shown = NfError(f"internal error: {place_of(error)}", remedy="this is a fault of the software; please report it")
    return show_error(shown, as_json=as_json)


def _json(error: NfError, code: ExitCode) -> JsonObject:
    problems: list[Json] = [
        {name: getattr(one, name) for name in ("file", "line", "column", "key", "value", "rule", "remedy")}
        for one in error.problems
    ]
    return {
        "kind": type(error).__name__,
        "status": error.status.name,
        "message": error.message,
        "where": error.where,
        "remedy": error.remedy,
        "exit_code": int(code),
        "problems": problems,
    }


def _block(error: NfError) -> Text:
    from rich.text import Text

    block = Text.assemble(("error: ", "bold red"), (f"{error.where}: ", "bold") if error.where else "", error.message)
    for problem in error.problems:
        block.append_text(_problem(problem))
    if error.remedy:
        block.append_text(Text.assemble("\n", ("  do: ", "bold cyan"), error.remedy))
    return block


def _problem(problem: Problem) -> Text:
    from rich.text import Text

    place = f"{problem.file}:{problem.line}:{problem.column}" if problem.line else problem.file
    what = f"{problem.key} = {problem.value}" if problem.value else problem.key
    head = "  ".join(part for part in (place, what) if part)
    text = Text.assemble("\n  ", (head, "bold"), "\n    " if place else ": ", problem.rule)
    if problem.remedy:
        text.append_text(Text.assemble("\n    ", ("do: ", "bold cyan"), problem.remedy))
    return text
