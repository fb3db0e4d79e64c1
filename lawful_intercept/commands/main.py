"""The root of `nf-li`: groups that are loaded only when they are called, and where errors become exit codes."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer
from typer.core import TyperGroup

from lawful_intercept.commands import client
from lawful_intercept.commands.failure import show_crash, show_error
from nf.errors import DeniedError, InputError, NfError, StorageError
from nf.exit_codes import ExitCode

_COMPLETION = "_NF_LI_COMPLETE"  # set by the shell when it asks what could come next

GROUPS = {
    "warrant": ("lawful_intercept.commands.warrant", "Warrants: write, submit, approve, revoke, show."),
    "status": ("lawful_intercept.commands.status:status_app", "How the administration stands."),
    "alarms": ("lawful_intercept.commands.status:alarms_app", "What LI officers have to know; clear one."),
    "officer": ("lawful_intercept.commands.officer", "Officers and their roles."),
    "agency": ("lawful_intercept.commands.agency", "Agencies, and how each is delivered to."),
    "element": ("lawful_intercept.commands.element", "Points of interception and mediation."),
    "audit": ("lawful_intercept.commands.audit", "Who did what; verify it, take it along."),
    "profile": ("lawful_intercept.commands.profile", "Who this officer is, and where the ADMF is."),
    "pki": ("lawful_intercept.pki", "Certificates of lawful intercept."),
    "lemf": ("lawful_intercept.lemf.commands", "The agency's side: a test receiver."),
    "run": ("lawful_intercept.commands.run", "The processes: admf, mdf, points, lemf."),
}
"""Name -> module, with the name of its app where that is not `app`, and help."""


class LazyCommand(TyperGroup):
    """Stands for a group in lists; becomes the real one when it is called or completed."""

    def __init__(self, name: str, help_text: str, load: Callable[[], Any]) -> None:
        super().__init__(name=name, help=help_text)
        self.load = load

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        return self.load().make_context(info_name, args, parent=parent, **extra)


class RootGroup(TyperGroup):
    """Groups whose room is not installed are not there."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002  # the signature is typer's
        return [name for name, (place, _) in GROUPS.items() if _there(place)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002  # the signature is typer's
        place, text = GROUPS.get(cmd_name, ("", ""))
        return LazyCommand(cmd_name, text, lambda: _loaded(cmd_name, place, text)) if _there(place) else None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        # Spelling suggestions look here.
        self.commands = dict.fromkeys(self.list_commands(ctx), self)
        return super().resolve_command(ctx, args)


def _there(place: str) -> bool:
    module = place.partition(":")[0]
    parts = module.split(".")
    # A parent that is not there has to be asked first: `find_spec` imports it.
    return bool(module) and all(find_spec(".".join(parts[:n])) is not None for n in range(1, len(parts) + 1))


def _loaded(name: str, place: str, text: str) -> Any:
    module, _, attribute = place.partition(":")
    command: Any = typer.main.get_command(getattr(import_module(module), attribute or "app"))
    command.name = name
    command.help = text if isinstance(command, TyperGroup) else command.help
    return command


app = typer.Typer(
    name="nf-li",
    cls=RootGroup,
    help="Lawful intercept: from a warrant to the agency.",
    epilog="See docs/interception.md.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


@app.callback()
def root(
    profile: Annotated[
        Path | None,
        typer.Option("--profile", help="Officer's profile (else NF_LI_PROFILE, ~/.config/nf-li).", show_default=False),
    ] = None,
) -> None:
    client.given.set(profile)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. The exit code of the process; never raises, never prints a traceback."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    # A closed stream is None in Python: its reader wants nothing, the command goes on all the same.
    sys.stdout = sys.stdout or _nowhere()
    sys.stderr = sys.stderr or _nowhere()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        code = _run(given)
        sys.stdout.flush()
    except (KeyboardInterrupt, typer.Abort):
        code = ExitCode.INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = ExitCode.BROKEN_PIPE
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else ExitCode.OK
    except BaseException as error:  # noqa: BLE001  # the true boundary: nothing below may show a traceback to a person
        code = _failed(error, given)
    return int(code)


def _nowhere() -> TextIO:
    return Path(os.devnull).open("w")  # open until the process ends, as the stream that it stands for


def _run(given: list[str]) -> int:
    command = typer.main.get_command(app)
    if _COMPLETION in os.environ:
        command.main(given, prog_name="nf-li", complete_var=_COMPLETION)
    try:
        with command.make_context("nf-li", given) as context:
            command.invoke(context)
    except typer.Exit as end:
        return end.exit_code
    return ExitCode.OK


def _failed(error: BaseException, given: list[str]) -> int:
    as_json = "--json" in given
    if isinstance(error, typer.TyperException):
        message = error.format_message()
        if not message:
            return ExitCode.INPUT  # without arguments the help was printed already
        context = getattr(error, "ctx", None)
        path = context.command_path if context is not None else "nf-li"
        return show_error(
            InputError(message, where=path, remedy=f"`{path} --help` lists what it takes"), as_json=as_json
        )
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return show_error(StorageError("no space left", remedy="free space"), as_json=as_json)
    if isinstance(error, PermissionError):
        return show_error(DeniedError("permission denied", where=str(error.filename or "")), as_json=as_json)
    ours: BaseException | None = error
    if isinstance(error, BaseExceptionGroup):
        ours = error.subgroup(NfError)
        while isinstance(ours, BaseExceptionGroup):
            ours = ours.exceptions[0]
    if isinstance(ours, NfError):
        return show_error(ours, as_json=as_json)
    return show_crash(error, as_json=as_json)


if __name__ == "__main__":
    sys.exit(main())
