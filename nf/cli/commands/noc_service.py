"""`nf noc service`: what a hosted service is set to, on the NOC's machine. A NOC that runs takes it up by itself."""

from __future__ import annotations

import json as codec
from pathlib import Path
from typing import Annotated

import typer

from nf.cli.options import JsonOption, NocStateOption
from nf.contracts.json import Json, JsonObject

app = typer.Typer(add_completion=False, no_args_is_help=True)


def _names(incomplete: str) -> list[str]:
    from nf.noc.services import load_services

    return [service.name for service in load_services() if service.name.startswith(incomplete)]


NameArgument = Annotated[str, typer.Argument(metavar="NAME", autocompletion=_names)]


@app.command("list")
def list_all(*, state_dir: NocStateOption = Path("/var/lib/nf/noc"), json: JsonOption = False) -> None:
    """Every installed service, and whether it is set."""
    from nf.cli.client import run as wait
    from nf.cli.nocside import service_settings
    from nf.cli.output import out, print_json, table
    from nf.noc.services import load_services

    names = [service.name for service in load_services()]
    found = wait(service_settings(state_dir, names))
    if json:
        print_json([{"name": name, "settings": settings} for name, settings in found.items()])
        return
    grid = table("SERVICE", "STATE", "DETAIL")
    for name, settings in found.items():
        grid.add_row(name, "off" if settings is None else "on", "" if settings is None else _shown(settings))
    out().print(grid)


@app.command("show")
def show(name: NameArgument, *, state_dir: NocStateOption = Path("/var/lib/nf/noc"), json: JsonOption = False) -> None:
    """What a service is set to."""
    from nf.cli.client import run as wait
    from nf.cli.nocside import service_settings
    from nf.cli.output import print_json, say
    from nf.noc.services import find_service, load_services

    find_service(load_services(), name)
    settings = wait(service_settings(state_dir, [name]))[name]
    if json:
        print_json({"name": name, "settings": settings})
    else:
        say(f"{name} is off" if settings is None else f"{name} is on: {_shown(settings)}")


@app.command("set")
def set_(
    name: NameArgument,
    values: Annotated[
        list[str],
        typer.Argument(metavar="KEY=VALUE...", help="All of its settings: text, or JSON.", show_default=False),
    ],
    *,
    state_dir: NocStateOption = Path("/var/lib/nf/noc"),
) -> None:
    """Turn a service on with these settings, in place of those it had."""
    from nf.cli.client import run as wait
    from nf.cli.nocside import set_service
    from nf.cli.output import say

    wait(set_service(state_dir, name, dict(_pair(value) for value in values)))
    say(f"{name} is set; a NOC that runs takes it up within seconds")


@app.command("unset")
def unset(name: NameArgument, *, state_dir: NocStateOption = Path("/var/lib/nf/noc")) -> None:
    """Turn a service off. What it keeps stays."""
    from nf.cli.client import run as wait
    from nf.cli.nocside import set_service
    from nf.cli.output import say

    wait(set_service(state_dir, name, None))
    say(f"{name} is off")


def _shown(settings: JsonObject) -> str:
    pairs = ((key, value if isinstance(value, str) else codec.dumps(value)) for key, value in settings.items())
    return " ".join(f"{key}={value}" for key, value in pairs)


def _pair(text: str) -> tuple[str, Json]:
    """Raises InputError."""
    from nf.errors import InputError

    key, equals, value = text.partition("=")
    if not key or not equals:
        raise InputError("not KEY=VALUE", where=text, remedy="write for example address=0.0.0.0:7480")
    try:
        parsed: Json = codec.loads(value)
    except ValueError:
        return key, value
    return key, parsed
