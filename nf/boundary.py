"""The edge of `nf` and `nf-li`: a command runs here, and whatever it raises becomes an exit code and no traceback."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Callable
from io import TextIOWrapper
from pathlib import Path
from typing import Any, TextIO

import typer
from typer.core import TyperGroup

from nf.errors import DeniedError, InputError, NfError, StorageError
from nf.exit_codes import ExitCode


class LazyCommand(TyperGroup):
    """Stands for a command in lists; becomes the real one when it is called or completed."""

    def __init__(self, name: str, help_text: str, load: Callable[[], Any]) -> None:
        super().__init__(name=name, help=help_text)
        self.load = load

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        return self.load().make_context(info_name, args, parent=parent, **extra)


def ended(run: Callable[[], int], failed: Callable[[BaseException], int]) -> int:
    """The exit code of the process; never raises. `failed`: shows an error and gives its code."""
    # A closed stream is None in Python: its reader wants nothing, the command goes on all the same.
    sys.stdout = sys.stdout or _nowhere()
    sys.stderr = sys.stderr or _nowhere()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a file's name, or a foreign word, that the terminal cannot show
            stream.reconfigure(errors="backslashreplace")
    try:
        code = run()
        sys.stdout.flush()
    except (KeyboardInterrupt, typer.Abort):
        code = ExitCode.INTERRUPTED
    except BrokenPipeError:
        _drop_output()
        code = ExitCode.BROKEN_PIPE
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else ExitCode.OK
    except BaseException as error:  # noqa: BLE001  # the true boundary: nothing below may show a traceback to a person
        code = failed(error)
    return int(code)


def invoke(app: typer.Typer, name: str, given: list[str], completing: str) -> int:
    """`completing`: what the shell sets when it asks what could come next. Raises what the command does."""
    command = typer.main.get_command(app)
    if completing in os.environ:
        command.main(given, prog_name=name, complete_var=completing)
    try:
        # Not `command.main`: it would turn errors and a closed pipe into text and codes of its own.
        with command.make_context(name, given) as context:
            command.invoke(context)
    except typer.Exit as end:
        return end.exit_code
    return ExitCode.OK


def usage(error: typer.TyperException, typed: Callable[[], str]) -> InputError | None:
    """What was typed wrong. `typed`: the command, where the error does not know it.

    None when there is nothing to add: without arguments the help was printed already.
    """
    message = error.format_message()
    if not message:
        return None
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else typed()
    return InputError(message, where=path, remedy=f"`{path} --help` lists what it takes")


def known(error: BaseException, denied: str = "") -> NfError | None:
    """As one of ours; of a group, the first that is. None: nobody foresaw it. `denied`: what helps against EACCES."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        _drop_output()
        return StorageError(str(error.strerror), where=str(error.filename or "output"), remedy="free space")
    if isinstance(error, PermissionError):
        return DeniedError("permission denied", where=str(error.filename or ""), remedy=denied)
    ours: BaseException | None = error
    if isinstance(error, BaseExceptionGroup):
        ours = error.subgroup(NfError)
        while isinstance(ours, BaseExceptionGroup):
            ours = ours.exceptions[0]
    return ours if isinstance(ours, NfError) else None


def _nowhere() -> TextIO:
    return Path(os.devnull).open("w")  # open until the process ends, as the stream that it stands for


def _drop_output() -> None:
    """What is still buffered cannot be written; without this, the interpreter complains when it closes stdout."""
    with contextlib.suppress(OSError):  # a stream that is no file keeps what it has
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
