"""`nf-li status`, `nf-li alarms`."""

from __future__ import annotations

from typing import Annotated

import typer

from lawful_intercept.commands.client import JsonOption, ask, quick

status_app = typer.Typer(add_completion=False)
alarms_app = typer.Typer(add_completion=False)


def _numbers(incomplete: str) -> list[tuple[str, str]]:
    return [(one["number"][:8], one["code"]) for one in quick("alarms") if one["number"].startswith(incomplete)]


@status_app.command("status")
def status(*, json: JsonOption = False) -> None:
    """How many warrants are in which state, which elements answer, whether there are alarms."""
    from lawful_intercept.commands.output import brief, pairs, print_json

    answer = ask("status")
    if json:
        print_json(answer)
        return
    warrants = ", ".join(f"{count} {state}" for state, count in answer["warrants"].items()) or "none"
    pairs(
        [
            ("administration", f"{answer['administration']}, {brief(answer['at'])}"),
            ("warrants", warrants),
            ("elements", f"{answer['elements_answering']} of {answer['elements']} answer"),
            ("agencies", str(answer["agencies"])),
            ("clock", "not synchronised: nothing is activated" if answer["clock_alarm"] else "no complaint"),
            ("alarms", f"{answer['alarms']}: nf-li alarms" if answer["alarms"] else "none"),
        ]
    )


@alarms_app.command("alarms")
def alarms(
    *,
    clear: Annotated[
        str | None,
        typer.Option(
            "--clear",
            metavar="NUMBER",
            help="Clear one that was looked into.",
            autocompletion=_numbers,
            show_default=False,
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """What stands now. Most end by themselves when their cause does."""
    from lawful_intercept.commands.output import brief, print_json, short, shown, table

    answer = ask("alarms", {"clear": clear} if clear else {})
    if json:
        print_json(answer)
        return
    grid = table("NUMBER", "SINCE", "CODE", "OBJECT", "TEXT", "DO")
    for one in answer:
        kind, *names = one["object"].split("/")
        numbered = kind in ("warrant", "agency")
        thing = "/".join([kind, *(short(name) if numbered and n == 0 else name for n, name in enumerate(names))])
        grid.add_row(short(one["number"]), brief(one["raised_at"]), one["code"], thing, one["text"], one["remedy"])
    shown(grid, "no alarms")
