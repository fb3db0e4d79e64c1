"""`nf lineup`: the document that says what reaches people. Reading commands; those that change are in `commit`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nf.cli import complete
from nf.cli.commands import adopt, commit, schedule
from nf.cli.options import FleetOption, JsonOption, LineupFile, ProfileOption, WithoutOption, read_file
from nf.errors import DocumentError, InputError

if TYPE_CHECKING:
    from nf.control.v1.noc_pb2 import DiffRevisionsRequest, DocumentText, PlanLineUpResponse

app = typer.Typer(add_completion=False, no_args_is_help=True)


def document(path: Path) -> DocumentText:
    """A document as it travels: its errors carry the name that the person typed."""
    from nf.control.v1.noc_pb2 import DocumentText

    return DocumentText(file=str(path), text=read_file(path))


@app.command("check")
def check(
    file: LineupFile, *, fleet: FleetOption = None, json: JsonOption = False, profile: ProfileOption = None
) -> None:
    """Whether a line-up fits. With --fleet all by itself, without the NOC; else against the NOC's fleet."""
    from nf.cli.output import print_json

    result = _check_here(file, fleet) if fleet is not None else _check_at_noc(file, profile)
    if json:
        print_json(result)
    else:
        _print_check(file, result)


def _check_here(file: Path, fleet: Path) -> dict[str, Any]:
    from nf.cli.failure import problem_json
    from nf.documents.loader import load_fleet, load_lineup
    from nf.planning.compiler import compile_documents, load_planners

    problems: list[Any] = []
    loaded: list[Any] = []
    for load, path in ((load_lineup, file), (load_fleet, fleet)):
        try:
            loaded.append(load(read_file(path), file=str(path)))
        except DocumentError as error:
            problems.extend(error.problems)
    if problems:
        raise DocumentError(problems, where=str(file))
    compiled = compile_documents(loaded[0], loaded[1], load_planners())
    return {
        "channels": len(loaded[0].document.spec.channels),
        "appliances": len(compiled.configs),
        "links": [
            {"link": use.link, "sender": use.sender, "used_bps": use.used_bps, "capacity_bps": use.capacity_bps}
            for use in compiled.links
        ],
        "warnings": [problem_json(warning) for warning in compiled.warnings],
    }


def _check_at_noc(file: Path, profile: Path | None) -> dict[str, Any]:
    from nf.cli.client import PLAN_TIMEOUT_S, ask
    from nf.cli.failure import problem_json
    from nf.cli.wire import to_json
    from nf.control.errors import problem_from_proto
    from nf.control.v1.noc_pb2 import CheckLineUpRequest

    request = CheckLineUpRequest(lineup=document(file))
    answer = ask(profile, lambda noc: noc.CheckLineUp, request, timeout_s=PLAN_TIMEOUT_S)
    if answer.problems:
        raise DocumentError([problem_from_proto(problem) for problem in answer.problems], where=str(file))
    return {
        "channels": answer.channels,
        "appliances": answer.appliances,
        "links": [to_json(link) for link in answer.links],
        "warnings": [problem_json(problem_from_proto(warning)) for warning in answer.warnings],
    }


def _print_check(file: Path, result: dict[str, Any]) -> None:
    from nf.cli.output import out, say, table
    from nf.cli.text import plural, rate

    if result["links"]:
        grid = table("LINK", "SENDER", "USED", "CAPACITY", "LOAD", right=("USED", "CAPACITY", "LOAD"))
        for use in result["links"]:
            load = f"{100 * use['used_bps'] / use['capacity_bps']:.0f} %" if use["capacity_bps"] else "-"
            grid.add_row(use["link"], use["sender"], rate(use["used_bps"]), rate(use["capacity_bps"]), load)
        out().print(grid)
    for warning in result["warnings"]:
        place = f"{warning['file']}:{warning['line']}:{warning['column']}  {warning['key']}"
        place += f" = {warning['value']}" if warning["value"] else ""
        say(f"warning: {place}\n  {warning['rule']}\n  do: {warning['remedy']}")
    say(f"{file}: good, {plural(result['channels'], 'channel')} on {plural(result['appliances'], 'appliance')}")


@app.command("plan")
def plan(
    file: LineupFile,
    *,
    fleet: FleetOption = None,
    without: WithoutOption = None,
    json: JsonOption = False,
    profile: ProfileOption = None,
) -> None:
    """What a commit would do: steps in their order, and what they cost. Changes nothing."""
    from nf.cli.client import PLAN_TIMEOUT_S, ask
    from nf.cli.output import print_json
    from nf.cli.wire import to_json
    from nf.control.v1.noc_pb2 import PlanLineUpRequest

    request = PlanLineUpRequest(
        lineup=document(file), fleet=None if fleet is None else document(fleet), without_sites=without or ()
    )
    answer = ask(profile, lambda noc: noc.PlanLineUp, request, timeout_s=PLAN_TIMEOUT_S)
    if json:
        print_json(to_json(answer))
        return
    _print_plan(answer)
    _note_who_was_not_asked(profile, without or ())
    _note_maintenance(profile, without or ())


def _print_plan(answer: PlanLineUpResponse) -> None:
    from nf.cli.output import out, say, table
    from nf.cli.text import plural

    if answer.empty:
        say("nothing to do: the fleet already is what the line-up says")
        return
    stage_of = {name: stage.stage for stage in answer.stages for name in stage.steps}
    rows = [
        (stage_of.get(f"{one.appliance}/{step.id}", 0), one.appliance, step)
        for one in answer.appliances
        for step in one.steps
    ]
    rows.sort(key=lambda row: (row[0], row[1]))
    grid = table("STAGE", "APPLIANCE", "SECTION", "STEP", "COSTS", right=("STAGE",))
    for stage, appliance, step in rows:
        costs = step.disruption or "nothing a viewer would notice"
        grid.add_row(
            str(stage + 1), appliance, step.section, step.summary or step.id, costs + _lasting(step.reversible)
        )
    out().print(grid)
    changed = sum(bool(one.steps) for one in answer.appliances)
    say(
        f"{plural(len(rows), 'step')} on {plural(changed, 'appliance')} in {plural(len(answer.stages), 'stage')}, "
        f"at most {answer.budget_ms / 1000:.0f} s"
    )


def _note_who_was_not_asked(profile: Path | None, without: Sequence[str]) -> None:
    """A plan comes from those who are there: whoever is offline has said nothing, and a commit would refuse."""
    from nf.cli.client import ask
    from nf.cli.output import note
    from nf.control.v1.noc_pb2 import ListAppliancesRequest

    fleet = ask(profile, lambda noc: noc.ListAppliances, ListAppliancesRequest()).appliances
    silent = [one.id for one in fleet if not one.online and one.site not in without]
    if silent:
        note(f"not asked, since they are offline: {', '.join(silent)}; a commit needs them, or --without their site")


def _note_maintenance(profile: Path | None, without: Sequence[str]) -> None:
    """A commit is refused over these windows, unless it leaves their sites out."""
    from nf.cli.client import ask
    from nf.cli.output import note
    from nf.cli.text import when
    from nf.control.v1.noc_pb2 import ListMaintenanceRequest

    for window in ask(profile, lambda noc: noc.ListMaintenance, ListMaintenanceRequest()).windows:
        if window.site not in without:
            until = f"{window.site} is under maintenance until {when(window.until)}"
            note(f"{until}: until then a commit leaves it out by name: --without {window.site}")


def _lasting(reversible: bool) -> str:
    return "" if reversible else "; cannot be taken back, runs after the confirm, needs --accept"


@app.command("history")
def history(*, json: JsonOption = False, profile: ProfileOption = None) -> None:
    """Every revision, newest first."""
    from nf.cli.client import ask
    from nf.cli.output import out, print_json, table
    from nf.cli.text import name_of, when, word
    from nf.cli.wire import to_json
    from nf.control.v1.noc_pb2 import ListRevisionsRequest

    answer = ask(profile, lambda noc: noc.ListRevisions, ListRevisionsRequest())
    if json:
        print_json([to_json(one) for one in answer.revisions])
        return
    columns = ("REVISION", "AT", "AUTHOR", "OUTCOME", "CHANNELS", "WITHOUT", "RESTORES", "COMMENT")
    grid = table(*columns, right=("REVISION", "CHANNELS", "RESTORES"))
    for one in answer.revisions:
        grid.add_row(
            str(one.revision),
            when(one.at),
            name_of(one.author),
            word(one.outcome),
            str(one.channels),
            ", ".join(one.without_sites),
            str(one.restores) if one.restores else "",
            one.comment,
        )
    out().print(grid)


RevisionArgument = Annotated[
    int, typer.Argument(metavar="[REVISION]", help="0 is the current one.", min=0, autocompletion=complete.revisions)
]


@app.command("show")
def show(
    revision: RevisionArgument = 0,
    *,
    fleet: Annotated[bool, typer.Option("--fleet", help="Its fleet document instead.")] = False,
    json: JsonOption = False,
    profile: ProfileOption = None,
) -> None:
    """The document of a revision, as it was written."""
    from nf.cli.client import ask
    from nf.cli.output import print_json
    from nf.cli.wire import to_json
    from nf.control.v1.noc_pb2 import GetRevisionRequest

    answer = ask(profile, lambda noc: noc.GetRevision, GetRevisionRequest(revision=revision))
    if json:
        print_json(to_json(answer))
        return
    text = (answer.fleet if fleet else answer.lineup).text.decode(errors="replace")
    typer.echo(text, nl=not text.endswith("\n"))


@app.command("diff")
def diff(
    a: Annotated[
        str | None,
        typer.Argument(
            metavar="[A]", help="Revision, or a line-up file.", autocompletion=complete.revisions, show_default=False
        ),
    ] = None,
    b: Annotated[
        str | None,
        typer.Argument(
            metavar="[B]", help="Revision, or a line-up file.", autocompletion=complete.revisions, show_default=False
        ),
    ] = None,
    *,
    json: JsonOption = False,
    profile: ProfileOption = None,
) -> None:
    """What changed from A to B. One revision: from it to the current one; a file: from the current one to it;
    nothing: from the revision before the current one."""
    from nf.cli.client import ask
    from nf.cli.output import print_json
    from nf.cli.wire import to_json

    request = _diff_request(a, b, profile)
    answer = ask(profile, lambda noc: noc.DiffRevisions, request)
    if json:
        print_json([to_json(change) for change in answer.changes])
    else:
        _print_changes(answer.changes)


def _diff_request(a: str | None, b: str | None, profile: Path | None) -> DiffRevisionsRequest:
    from nf.control.v1.noc_pb2 import DiffRevisionsRequest

    if b is None and a is not None and not a.isdecimal():
        return DiffRevisionsRequest(from_revision=_current(profile), lineup=document(Path(a)))
    if a is not None and not a.isdecimal():
        raise InputError(
            "a file can only be the last of the two", where=a, remedy="write `nf lineup diff REVISION FILE`"
        )
    start = int(a) if a is not None else _before_current(profile)
    if b is not None and not b.isdecimal():
        return DiffRevisionsRequest(from_revision=start, lineup=document(Path(b)))
    return DiffRevisionsRequest(from_revision=start, to_revision=int(b or 0))


def _current(profile: Path | None) -> int:
    from nf.cli.client import ask
    from nf.control.v1.noc_pb2 import GetInfoRequest

    return ask(profile, lambda noc: noc.GetInfo, GetInfoRequest()).current_revision


def _before_current(profile: Path | None) -> int:
    from nf.cli.client import ask
    from nf.control.v1.noc_pb2 import ListRevisionsRequest

    current = _current(profile)
    revisions = ask(profile, lambda noc: noc.ListRevisions, ListRevisionsRequest()).revisions
    before = [one.revision for one in revisions if one.revision < current and one.outcome in ("confirmed", "current")]
    return max(before, default=current)


def _print_changes(changes: Any) -> None:
    from rich.text import Text

    from nf.cli.output import out, say

    if not changes:
        say("no difference")
        return
    console = out()
    for change in changes:
        if not change.before:
            line = Text(f"+ {change.key}: {change.after}", style="green")
        elif not change.after:
            line = Text(f"- {change.key}: {change.before}", style="red")
        else:
            line = Text(f"~ {change.key}: {change.before} -> {change.after}", style="yellow")
        console.print(line, soft_wrap=True)


app.command("adopt")(adopt.adopt)
app.command("commit")(commit.commit)
app.command("confirm")(commit.confirm)
app.command("rollback")(commit.rollback)
app.command("scheduled")(schedule.scheduled)
app.command("unschedule")(schedule.unschedule)
