"""`nf-li officer`: who may do what."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from lawful_intercept.commands.client import JsonOption, ask, quick
from nf.contracts.json import JsonObject

app = typer.Typer(add_completion=False, no_args_is_help=True)

ROLES = ("clerk", "approver", "auditor", "li-admin")


def _roles(incomplete: str) -> list[str]:
    return [role for role in ROLES if role.startswith(incomplete)]


def _names(incomplete: str) -> list[str]:
    return [one["name"] for one in quick("officer.list") if one["name"].startswith(incomplete)]


@app.command("add")
def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="As in the certificate: officer/NAME.")],
    *,
    role: Annotated[
        list[str],
        typer.Option("--role", help=f"{', '.join(ROLES)}; may be repeated.", autocompletion=_roles, show_default=False),
    ],
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            metavar="FILE",
            help="The first LI administrator, on the ADMF's machine: the ADMF's configuration.",
            show_default=False,
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Give an officer roles. A certificate for the name: `nf-li pki issue officer NAME`."""
    from lawful_intercept.commands.output import print_json, say

    arguments: JsonObject = {"name": name, "roles": [*role]}
    answer = ask("officer.add", arguments) if config is None else _first(config, name, role)
    if json:
        print_json(answer)
    else:
        say(f"officer {answer['name']} is {', '.join(answer['roles'])}")


def _first(config: Path, name: str, roles: list[str]) -> Any:
    import asyncio
    import os
    import pwd

    from lawful_intercept.administration.office import Caller
    from lawful_intercept.administration.officers import OFFICER
    from lawful_intercept.administration.process import open_office
    from lawful_intercept.administration.settings import AdministrationSettings
    from lawful_intercept.administration.site_desk import first_officer
    from lawful_intercept.configuration import load
    from nf.clock import RealClock
    from nf.errors import DeniedError, InputError

    if roles != ["li-admin"]:
        raise InputError("the first officer is an LI administrator", where="--role", remedy="--role li-admin")
    settings = load(config, AdministrationSettings)
    if settings.user and pwd.getpwuid(os.geteuid()).pw_name != settings.user:
        raise DeniedError("this is for the ADMF's own user", remedy=f"sudo -u {settings.user} nf-li officer add ...")

    async def write() -> Any:
        opened = await open_office(settings, RealClock())
        try:
            return OFFICER.json(await first_officer(opened.office, Caller(opened.office.own), name))
        finally:
            await opened.store.close()

    return asyncio.run(write())


@app.command("list")
def list_(*, json: JsonOption = False) -> None:
    """Every officer, those who were removed too."""
    from lawful_intercept.commands.output import brief, out, print_json, table

    answer = ask("officer.list")
    if json:
        print_json(answer)
        return
    grid = table("OFFICER", "ROLES", "ADDED", "REMOVED")
    for one in answer:
        grid.add_row(one["name"], ", ".join(sorted(one["roles"])), brief(one["added_at"]), brief(one["removed_at"]))
    out().print(grid)


@app.command("remove")
def remove(name: Annotated[str, typer.Argument(metavar="NAME", autocompletion=_names)]) -> None:
    """This officer may do nothing from the next call on; the name stays taken."""
    from lawful_intercept.commands.output import say

    ask("officer.remove", {"name": name})
    say(f"officer {name} is removed")
