"""The root of `nf-li`: groups that are loaded only when they are called."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from lawful_intercept.commands import client
from lawful_intercept.commands.failure import show_crash, show_error
from nf import boundary
from nf.boundary import LazyCommand
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
    return boundary.ended(lambda: _run(given), lambda error: _failed(error, as_json="--json" in given))


def _run(given: list[str]) -> int:
    return boundary.invoke(app, "nf-li", given, _COMPLETION)


def _failed(error: BaseException, *, as_json: bool) -> int:
    if isinstance(error, typer.TyperException):
        wrong = boundary.usage(error, lambda: "nf-li")
        return ExitCode.INPUT if wrong is None else show_error(wrong, as_json=as_json)
    ours = boundary.known(error)
    return show_crash(error, as_json=as_json) if ours is None else show_error(ours, as_json=as_json)


if __name__ == "__main__":
    sys.exit(main())
