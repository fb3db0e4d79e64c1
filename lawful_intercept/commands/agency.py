"""`nf-li agency`: who is delivered to, where and how."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

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
    from lawful_intercept.commands.output import print_json, short, shown, table

    answer = ask("agency.list")
    if json:
        print_json(answer)
        return
    grid = table("AGENCY", "NUMBER", "DELIVERY")
    for one in answer:
        grid.add_row(one["name"], short(one["number"]), f"{one['address']} port {one['port']}")
    shown(grid, "no agencies")


@app.command("show")
def show(name: _Name, *, json: JsonOption = False) -> None:
    """All settings of one."""
    from lawful_intercept.commands.output import pairs, print_json

    answer = ask("agency.show", {"name": name})
    if json:
        print_json(answer)
        return
    handover = answer.pop("handover")
    pairs([*_rows(answer), *_rows(handover)])


def _rows(data: dict[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    words = {None: "-", "": "-", True: "yes", False: "no"}
    for key, value in data.items():
        if isinstance(value, dict):
            yield from _rows(value, f"{above}{key}.")
        else:
            plain = value is None or isinstance(value, str | bool)
            yield above + key, words.get(value, str(value)) if plain else str(value)


@app.command("remove")
def remove(name: _Name) -> None:
    """Refused while a warrant is for it."""
    from lawful_intercept.commands.output import say

    ask("agency.remove", {"name": name})
    say(f"agency {name} is removed")
