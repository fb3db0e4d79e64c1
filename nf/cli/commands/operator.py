"""`nf operator`: people who may command the fleet. These commands run on the NOC's own machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nf.cli.options import JsonOption, NocStateOption
from nf.errors import InputError, RefusedError

app = typer.Typer(add_completion=False, no_args_is_help=True)

ROLES = ("viewer", "operator", "engineer", "security")


def _roles(incomplete: str) -> list[str]:
    return [role for role in ROLES if role.startswith(incomplete)]


@app.command("add")
def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Lower-case letters, digits, hyphens.")],
    *,
    role: Annotated[str, typer.Option("--role", help=", ".join(ROLES), autocompletion=_roles, show_default=False)],
    site: Annotated[
        list[str] | None,
        typer.Option("--site", help="The role holds there only; may be repeated.", show_default=False),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="DIR", help="The profile to write. Else your own.", show_default=False),
    ] = None,
    state_dir: NocStateOption = Path("/var/lib/nf/noc"),
) -> None:
    """Make an identity and write it as a profile: the one copy of its key, to be handed over."""
    from nf.cli.client import run
    from nf.cli.nocside import add_operator
    from nf.cli.output import say
    from nf.cli.profile import FILE, profile_directory, save_profile
    from nf.cli.text import when
    from nf.trust.roles import OperatorRole

    if role not in ROLES:
        raise InputError("no such role", where=f"--role {role}", remedy=f"one of {', '.join(ROLES)}")
    directory = output or profile_directory()
    if (directory / FILE).exists():
        raise RefusedError("there is a profile already", where=str(directory), remedy="name another by --output DIR")
    identity, settings = run(add_operator(state_dir, name, OperatorRole(role), site or ()))
    save_profile(directory, settings.dialled, identity)
    say(f"{identity.spiffe_id} is {role}; profile in {directory}, valid until {when(identity.not_after)}")


@app.command("list")
def list_(*, state_dir: NocStateOption = Path("/var/lib/nf/noc"), json: JsonOption = False) -> None:
    """Every operator with role and sites."""
    from nf.cli.client import run
    from nf.cli.nocside import list_operators
    from nf.cli.output import out, print_json, table
    from nf.cli.text import when

    records = run(list_operators(state_dir))
    if json:
        print_json(
            [
                {
                    "name": one.name,
                    "role": one.role.value,
                    "sites": list(one.sites),
                    "added_at": one.added_at,
                    "certificate_expires": one.certificate_expires,
                }
                for one in records
            ]
        )
        return
    grid = table("OPERATOR", "ROLE", "SITES", "ADDED", "CERTIFICATE UNTIL")
    for one in records:
        sites = ", ".join(one.sites) or "all"
        grid.add_row(one.name, one.role.value, sites, when(one.added_at), when(one.certificate_expires))
    out().print(grid)


@app.command("remove")
def remove(
    name: Annotated[str, typer.Argument(metavar="NAME")],
    *,
    state_dir: NocStateOption = Path("/var/lib/nf/noc"),
) -> None:
    """The identity counts no longer, from its next call on."""
    from nf.cli.client import run
    from nf.cli.nocside import remove_operator
    from nf.cli.output import say

    run(remove_operator(state_dir, name))
    say(f"operator {name} is removed")
