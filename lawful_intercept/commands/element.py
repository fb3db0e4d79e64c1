"""`nf-li element`: what is tasked by X1."""

from __future__ import annotations

from typing import Annotated

import typer

from lawful_intercept.commands.client import JsonOption, ReplaceOption, ask, quick
from nf.contracts.json import JsonObject

app = typer.Typer(add_completion=False, no_args_is_help=True)


def _names(incomplete: str) -> list[tuple[str, str]]:
    return [(one["name"], one["kind"]) for one in quick("element.list") if one["name"].startswith(incomplete)]


_Name = Annotated[str, typer.Argument(metavar="NAME", autocompletion=_names)]


@app.command("add")
def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="As in its certificate: element/NAME.")],
    *,
    url: Annotated[str, typer.Option("--url", help="Its X1: https://HOST:PORT/X1/NE", show_default=False)],
    service: Annotated[
        list[str] | None,
        typer.Option("--service", help="Of a point: voice, data; may be repeated.", show_default=False),
    ] = None,
    form: Annotated[
        list[str] | None,
        typer.Option(
            "--form",
            help="Of another's point: a target identifier that it can match; may be repeated.",
            show_default=False,
        ),
    ] = None,
    no_content: Annotated[bool, typer.Option("--no-content", help="Of a point: it cannot copy content.")] = False,
    mediation: Annotated[
        str, typer.Option("--mediation", metavar="ADDRESS", help="It is mediation; where it takes X2 and X3.")
    ] = "",
    x2_port: Annotated[int, typer.Option("--x2-port", help="Of mediation.")] = 0,
    x3_port: Annotated[int, typer.Option("--x3-port", help="Of mediation; the same for one connection.")] = 0,
    replace: ReplaceOption = False,
    json: JsonOption = False,
) -> None:
    """A point of interception, or mediation (--mediation ADDRESS --x2-port P --x3-port P)."""
    from lawful_intercept.commands.output import print_json, say

    settings: JsonObject = {"name": name, "kind": "mediation" if mediation else "point", "url": url}
    if mediation:
        settings |= {"address": mediation, "x2_port": x2_port, "x3_port": x3_port or x2_port}
    else:
        settings |= {"services": [*(service or ())], "forms": [*(form or ())], "content": not no_content}
    answer = ask("element.add", {"settings": settings, "replace": replace})
    if json:
        print_json(answer)
    else:
        say(f"{answer['kind']} {name} is {'changed' if replace else 'added'}; nf-li element check {name}")


@app.command("list")
def list_(*, json: JsonOption = False) -> None:
    """Elements, when each answered last, and how many tasks it holds."""
    from lawful_intercept.commands.output import brief, print_json, shown, table

    answer = ask("element.list")
    if json:
        print_json(answer)
        return
    grid = table("ELEMENT", "KIND", "SERVICES", "CONTENT", "X1", "ANSWERED", "TASKS", "FAULT", right=("TASKS",))
    for one in answer:
        point = one["kind"] == "point"
        grid.add_row(
            one["name"],
            one["kind"],
            ", ".join(sorted(one["services"])) or "-",
            ("yes" if one["content"] else "no") if point else "-",
            one["url"],
            brief(one["answered_at"]),
            str(one["tasks"]),
            one["fault"],
        )
    shown(grid, "no elements")


@app.command("check")
def check(name: _Name, *, json: JsonOption = False) -> None:
    """Ask it now: its status, what it holds, and what is otherwise than it has to be."""
    from lawful_intercept.commands.output import pairs, print_json

    answer = ask("element.check", {"name": name})
    if json:
        print_json(answer)
        return
    faults = ", ".join(map(str, answer["faults"]))
    pairs(
        [
            ("element", answer["element"]),
            ("status", answer["status"] + (f": {faults}" if faults else "")),
            ("tasks", str(answer["tasks"])),
            ("destinations", str(answer["destinations"])),
            ("to do", ", ".join(answer["to_do"]) or "nothing"),
        ]
    )


@app.command("remove")
def remove(name: _Name) -> None:
    """Refused while a warrant needs it."""
    from lawful_intercept.commands.output import say

    ask("element.remove", {"name": name})
    say(f"element {name} is removed")
