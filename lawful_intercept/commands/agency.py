"""`nf-li agency`: who is delivered to, where and how."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lawful_intercept.commands.client import JsonOption, ReplaceOption, ask, quick, read_file

app = typer.Typer(add_completion=False, no_args_is_help=True)


def _names(incomplete: str) -> list[str]:
    return [one["name"] for one in quick("agency.list") if one["name"].startswith(incomplete)]


_Name = Annotated[str, typer.Argument(metavar="NAME", autocompletion=_names)]


@app.command("form")
def form() -> None:
    """A form to be filled in: nf-li agency form > police.yaml"""
    from lawful_intercept.administration.agency_form import FORM

    typer.echo(FORM, nl=False)


@app.command("add")
def add(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The form, filled in.")],
    *,
    replace: ReplaceOption = False,
) -> None:
    """An agency by its form."""
    from lawful_intercept.administration.agencies import AGENCY_SETTINGS
    from lawful_intercept.administration.agency_form import read
    from lawful_intercept.commands.output import say

    settings = read(read_file(file), file=str(file))
    answer = ask("agency.add", {"settings": AGENCY_SETTINGS.json(settings), "replace": replace})
    say(f"agency {answer['name']} is {'changed' if replace else 'added'}")


@app.command("list")
def list_(*, json: JsonOption = False) -> None:
    """Agencies, and where each is delivered to."""
    from lawful_intercept.commands.output import out, print_json, table

    answer = ask("agency.list")
    if json:
        print_json(answer)
        return
    grid = table("AGENCY", "DELIVERY")
    for one in answer:
        grid.add_row(one["name"], f"{one['address']} port {one['port']}")
    out().print(grid)


@app.command("show")
def show(name: _Name, *, json: JsonOption = False) -> None:
    """All settings of one."""
    from lawful_intercept.commands.output import pairs, print_json

    answer = ask("agency.show", {"name": name})
    if json:
        print_json(answer)
        return
    handover = answer.pop("handover")
    rows = [(key, str(value)) for key, value in {**answer, **handover}.items() if not isinstance(value, dict)]
    for key, value in handover.items():
        if isinstance(value, dict):
            rows += [(f"{key}.{inner}", str(one)) for inner, one in value.items()]
    pairs([(key, value if value not in ("", "None") else "-") for key, value in rows])


@app.command("remove")
def remove(name: _Name) -> None:
    """Refused while a warrant is for it."""
    from lawful_intercept.commands.output import say

    ask("agency.remove", {"name": name})
    say(f"agency {name} is removed")
