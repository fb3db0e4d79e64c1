"""`nf-li warrant`: a warrant's life from an officer's seat."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from lawful_intercept.commands.client import JsonOption, ask, quick, read_file, write_new
from nf.contracts.json import JsonObject

app = typer.Typer(add_completion=False, no_args_is_help=True)

STATES = ("draft", "submitted", "approved", "active", "expired", "revoked", "rejected")


def _numbers(incomplete: str) -> list[tuple[str, str]]:
    return [(one["number"][:8], one["state"]) for one in quick("warrant.list") if one["number"].startswith(incomplete)]


def _states(incomplete: str) -> list[str]:
    return [state for state in STATES if state.startswith(incomplete)]


_Number = Annotated[
    str, typer.Argument(metavar="NUMBER", help="Or the beginning of it that is enough.", autocompletion=_numbers)
]
_YesOption = Annotated[bool, typer.Option("--yes", help="Without showing it and asking.")]


@app.command("form")
def form() -> None:
    """A form to be filled in: nf-li warrant form > w.yaml"""
    from lawful_intercept.administration.form import blank

    typer.echo(blank(), nl=False)


@app.command("submit")
def submit(
    what: Annotated[
        str, typer.Argument(metavar="FILE|NUMBER", help="The form, filled in; or a draft.", autocompletion=_numbers)
    ],
    *,
    draft: Annotated[bool, typer.Option("--draft", help="Only keep the form as a draft.")] = False,
    json: JsonOption = False,
) -> None:
    """Hand it in for approval. It cannot be changed after that."""
    from lawful_intercept.administration.form import read
    from lawful_intercept.administration.warrants import CONTENT

    path = Path(what)
    if path.exists() or path.suffix in (".yaml", ".yml"):
        content = read(read_file(path), file=what)
        answer = ask("warrant.create", {"content": CONTENT.json(content), "submit": not draft})
    else:
        answer = ask("warrant.submit", {"number": what})
    _told(answer, json)


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="HI1 message (TS 103 120), XML.")],
    *,
    agency: Annotated[str, typer.Option("--agency", metavar="NAME", help="Else the message's sender.")] = "",
    service: Annotated[
        list[str] | None,
        typer.Option(
            "--service",
            help="What is ordered by tasks that do not say it: voice, data; may be repeated. Else it follows from the"
            " targets, but for a number.",
            show_default=False,
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Submit every warrant of an HI1 message, or none."""
    from lawful_intercept.commands.output import print_json
    from nf.errors import InputError

    try:
        xml = read_file(file).decode("utf-8")
    except UnicodeDecodeError:
        raise InputError("the file is not UTF-8", where=str(file), remedy="send it as UTF-8") from None
    answer = ask("warrant.import", {"xml": xml, "agency": agency, "services": [*(service or ())]})
    if json:
        print_json(answer)
        return
    for one in answer:
        _told(one, as_json=False)


@app.command("export")
def export(
    numbers: Annotated[list[str], typer.Argument(metavar="NUMBER...", autocompletion=_numbers)],
    *,
    country: Annotated[str, typer.Option("--country", help="Of who it is for (ISO 3166).", show_default=False)],
    receiver: Annotated[str, typer.Option("--receiver", help="Its identifier at HI1.", show_default=False)],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Else standard output.", show_default=False)
    ] = None,
) -> None:
    """Warrants as an HI1 message."""
    party: JsonObject = {"country": country, "identifier": receiver}
    answer = ask("warrant.export", {"numbers": [*numbers], "receiver": party})
    if output is None:
        typer.echo(answer["xml"], nl=False)
    else:
        write_new(output, answer["xml"].encode())


@app.command("approve")
def approve(number: _Number, *, yes: _YesOption = False, json: JsonOption = False) -> None:
    """Let it be intercepted from its start on. Who wrote or submitted it cannot."""
    if not yes:
        _show(ask("warrant.show", {"number": number}))
        typer.confirm("Approve this warrant?", abort=True)
    _told(ask("warrant.approve", {"number": number}), json)


@app.command("reject")
def reject(number: _Number, *, json: JsonOption = False) -> None:
    """It will not be intercepted."""
    _told(ask("warrant.reject", {"number": number}), json)


@app.command("revoke")
def revoke(number: _Number, *, json: JsonOption = False) -> None:
    """End it now, before its time."""
    _told(ask("warrant.revoke", {"number": number}), json)


@app.command("list")
def list_(
    *,
    state: Annotated[
        str | None, typer.Option("--state", help=", ".join(STATES), autocompletion=_states, show_default=False)
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="Those that have ended, too.")] = False,
    json: JsonOption = False,
) -> None:
    """Warrants, without their targets."""
    from lawful_intercept.commands.output import print_json, short, shown, table, word

    answer = ask("warrant.list", {"state": state, "all": all_})
    if json:
        print_json(answer)
        return
    grid = table("NUMBER", "STATE", "LIID", "REFERENCE", "AGENCY", "SCOPE", "SERVICES", "START", "STOP")
    for one in answer:
        grid.add_row(
            short(one["number"]),
            word(one["state"]),
            one["liid"],
            one["reference"],
            one["agency"],
            one["scope"],
            ", ".join(one["services"]),
            one["start"],
            one["stop"],
        )
    shown(grid, "no warrants")


@app.command("show")
def show(number: _Number, *, json: JsonOption = False) -> None:
    """All of one: targets, history, and how it stands at each element."""
    from lawful_intercept.commands.output import print_json

    answer = ask("warrant.show", {"number": number})
    if json:
        print_json(answer)
    else:
        _show(answer)


def _show(answer: Any) -> None:
    from lawful_intercept.commands.output import brief, out, pairs, table, word

    content = answer["content"]
    pairs(
        [
            ("warrant", answer["number"]),
            ("state", answer["state"]),
            ("LIID", content["liid"]),
            ("reference", content["reference"]),
            ("agency", content["agency"]),
            ("scope", content["scope"]),
            ("services", ", ".join(sorted(content["services"]))),
            ("start", content["start"]),
            ("stop", content["stop"]),
            *(("target", f"{one['form']}  {one['value']}") for one in content["targets"]),
            *(("history", f"{brief(one['at'])}  {one['act']}  {one['actor'] or 'clock'}") for one in answer["history"]),
        ]
    )
    if answer["elements"]:
        grid = table("ELEMENT", "TASK", "TARGETS", right=("TARGETS",))
        for one in answer["elements"]:
            grid.add_row(one["element"], word(one["task"]), str(one["targets"]))
        out().print(grid)


def _told(answer: Any, as_json: bool) -> None:
    from lawful_intercept.commands.output import print_json, say

    if as_json:
        print_json(answer)
    else:
        say(f"warrant {answer['number']} is {answer['state']}")
