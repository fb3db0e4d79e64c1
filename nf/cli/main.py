"""The command `nf`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from nf import boundary
from nf.boundary import LazyCommand
from nf.cli import profile as profiles
from nf.cli.operations import FleetClient
from nf.cli.plugins import RootGroup
from nf.contracts.noc_client import CLIENT
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
    return boundary.ended(lambda: _run(given), lambda error: _failed(error, given))


def _run(given: list[str]) -> int:
    CLIENT.set(FleetClient())
    return boundary.invoke(app, "nf", given, _COMPLETION)


def _failed(error: BaseException, given: list[str]) -> int:
    """Errors as text. What nobody foresaw is a crash."""
    from nf.cli.failure import show_crash, show_error

    own = given[: given.index("--")] if "--" in given else given  # behind -- stands somebody else's command
    as_json = "--json" in own
    if isinstance(error, Ended):
        return show_error(error.error, as_json=as_json, code=error.code)
    if isinstance(error, typer.TyperException):
        wrong = boundary.usage(error, lambda: _named(own))
        return ExitCode.INPUT if wrong is None else show_error(wrong, as_json=as_json)
    ours = boundary.known(error, denied="run it as root (sudo)")
    return show_crash(error, given, as_json=as_json) if ours is None else show_error(ours, as_json=as_json)


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
