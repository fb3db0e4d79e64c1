"""Errors become text here, for people or, with `--json`, for programs. Tracebacks go to a crash report only."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import sys
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nf.cli.output import err
from nf.contracts.json import JsonObject
from nf.errors import NfError, Problem
from nf.exit_codes import ExitCode, exit_code

if TYPE_CHECKING:
    from rich.text import Text


def error_json(error: NfError, code: ExitCode) -> JsonObject:
    return {
        "error": {
            "kind": type(error).__name__,
            "status": error.status.name,
            "message": error.message,
            "where": error.where,
            "remedy": error.remedy,
            "retryable": error.retryable,
            "exit_code": int(code),
            "problems": [problem_json(problem) for problem in error.problems],
        }
    }


def problem_json(problem: Problem) -> JsonObject:
    return {
        "file": problem.file,
        "line": problem.line,
        "column": problem.column,
        "key": problem.key,
        "value": problem.value,
        "rule": problem.rule,
        "remedy": problem.remedy,
    }


def show_error(error: NfError, *, as_json: bool, code: ExitCode | None = None) -> ExitCode:
    """Print `error` on stderr and return the exit code that goes with it."""
    code = exit_code(error) if code is None else code
    with contextlib.suppress(OSError):  # where nobody can be told, the code still tells
        if as_json:
            sys.stderr.write(json.dumps(error_json(error, code), ensure_ascii=False) + "\n")
        else:
            err().print(_block(error), soft_wrap=True)
    return code


def _block(error: NfError) -> Text:
    from rich.text import Text

    block = Text.assemble(("error: ", "bold red"), (f"{error.where}: ", "bold") if error.where else "", error.message)
    for problem in error.problems:
        block.append_text(_problem(problem))
    if error.remedy:
        block.append_text(Text.assemble("\n", ("  do: ", "bold cyan"), error.remedy))
    return block


def _problem(problem: Problem) -> Text:
    """`file:line:column  key = value`, then the rule, then what to do; without a file `key: rule`, then what to do."""
    from rich.text import Text

    place = f"{problem.file}:{problem.line}:{problem.column}" if problem.line else problem.file
    what = f"{problem.key} = {problem.value}" if problem.value else problem.key
    if place:
        text = Text.assemble(
            "\n  ", ("  ".join(part for part in (place, what) if part), "bold"), "\n    ", problem.rule
        )
    else:
        text = Text.assemble("\n  ", (f"{what}: " if what else "", "bold"), problem.rule)
    if problem.remedy:
        text.append_text(Text.assemble("\n    ", ("do: ", "bold cyan"), problem.remedy))
    return text


def show_crash(error: BaseException, arguments: Sequence[str], *, as_json: bool) -> ExitCode:
    """An error that nobody foresaw: one line on stderr, the traceback in a file that only its owner can read."""
    report = _write_report(error, arguments)
    shown = NfError(
        f"internal error: {type(error).__name__}: {_first_line(error)}",
        remedy=f"this is a fault of the software; please report it with {report}",
    )
    return show_error(shown, as_json=as_json, code=ExitCode.FAILED)


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [""])[0][:300]


def _write_report(error: BaseException, arguments: Sequence[str]) -> Path | str:
    from nf.cli.version import software_version

    system = f"Python {platform.python_version()}, {platform.platform()}"
    head = f"nf {software_version()}, {system}\narguments: {list(arguments)}\n\n"
    try:
        descriptor, name = tempfile.mkstemp(prefix="nf-crash-", suffix=".txt")
        with os.fdopen(descriptor, "w") as file:
            file.write(head + "".join(traceback.format_exception(error)))
    except OSError as failed:
        return f"the text above (no crash report could be written: {failed.strerror})"
    return Path(name)
