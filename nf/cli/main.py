"""The command `nf`, and the one place where errors become text and exit codes."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer
from typer.core import TyperGroup

from nf.cli import profile as profiles
from nf.cli.operations import FleetClient
from nf.cli.plugins import LazyCommand, RootGroup
from nf.contracts.noc_client import CLIENT
from nf.errors import DeniedError, InputError, NfError, StorageError
from nf.exit_codes import Ended, ExitCode

_COMPLETION = "_NF_COMPLETE"  # set by the shell when it asks what could come next

app = typer.Typer(
    name="nf",
    cls=RootGroup,
    help="One line-up document, made true on every box at once, proved at the receiver.",
    epilog="Exit codes are listed in docs/exit-codes.md.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


@app.callback()
def root(
    profile: Annotated[
        Path | None, typer.Option("--profile", help="Operator profile, for every command.", show_default=False)
    ] = None,
) -> None:
    profiles.given.set(profile)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. The exit code of the process; never raises, never prints a traceback."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    # A closed stream is None in Python: its reader wants nothing, the command goes on all the same.
    sys.stdout = sys.stdout or _nowhere()
    sys.stderr = sys.stderr or _nowhere()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a file's name, or a foreign word, that the terminal cannot show
            stream.reconfigure(errors="backslashreplace")
    try:
        code = _run(given)
        sys.stdout.flush()
    except (KeyboardInterrupt, typer.Abort):
        code = ExitCode.INTERRUPTED
    except BrokenPipeError:
        _drop_output()
        code = ExitCode.BROKEN_PIPE
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else ExitCode.OK
    except BaseException as error:  # noqa: BLE001  # the true boundary: nothing below may show a traceback to a person
        code = _failed(error, given)
    return int(code)


def _nowhere() -> TextIO:
    return Path(os.devnull).open("w")  # open until the process ends, as the stream that it stands for


def _drop_output() -> None:
    """What is still buffered cannot be written; without this, the interpreter complains when it closes stdout."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run(given: list[str]) -> int:
    command = typer.main.get_command(app)
    CLIENT.set(FleetClient())
    if _COMPLETION in os.environ:
        command.main(given, prog_name="nf", complete_var=_COMPLETION)
    try:
        # Not `command.main`: it would turn errors and a closed pipe into text and codes of its own.
        with command.make_context("nf", given) as context:
            command.invoke(context)
    except typer.Exit as end:
        return end.exit_code
    return ExitCode.OK


def _failed(error: BaseException, given: list[str]) -> int:
    """Errors as text; of a group of errors, the first that is one of ours. What nobody foresaw is a crash."""
    from nf.cli.failure import show_crash, show_error

    own = given[: given.index("--")] if "--" in given else given  # behind -- stands somebody else's command
    as_json = "--json" in own
    if isinstance(error, Ended):
        return show_error(error.error, as_json=as_json, code=error.code)
    if isinstance(error, typer.TyperException):
        wrong = _usage(error, own)
        return ExitCode.INPUT if wrong is None else show_error(wrong, as_json=as_json)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        _drop_output()
        full = StorageError(str(error.strerror), where=str(error.filename or "output"), remedy="free space")
        return show_error(full, as_json=as_json)
    if isinstance(error, PermissionError):
        denied = DeniedError("permission denied", where=str(error.filename or ""), remedy="run it as root (sudo)")
        return show_error(denied, as_json=as_json)
    ours: BaseException | None = error
    if isinstance(error, BaseExceptionGroup):
        ours = error.subgroup(NfError)
        while isinstance(ours, BaseExceptionGroup):
            ours = ours.exceptions[0]
    if isinstance(ours, NfError):
        return show_error(ours, as_json=as_json)
    return show_crash(error, given, as_json=as_json)


def _usage(error: typer.TyperException, given: list[str]) -> InputError | None:
    """None when there is nothing to add: `nf` without arguments has printed its help already."""
    message = error.format_message()
    if not message:
        return None
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else _named(given)
    return InputError(message, where=path, remedy=f"`{path} --help` lists what it takes")


def _named(given: list[str]) -> str:
    """The command that was typed, for an error that does not know it."""
    command: Any = typer.main.get_command(app)
    path = ["nf"]
    for word in given:
        inner = command.get_command(typer.Context(command), word) if isinstance(command, TyperGroup) else None
        if inner is not None:
            command = inner.load() if isinstance(inner, LazyCommand) else inner
            path.append(word)
    return " ".join(path)


if __name__ == "__main__":
    sys.exit(main())
