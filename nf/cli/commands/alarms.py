"""`nf alarms`"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nf.cli.options import JsonOption, ProfileOption

if TYPE_CHECKING:
    from rich.table import Table

    from nf.control.v1.noc_pb2 import ListAlarmsRequest, ListAlarmsResponse


app = typer.Typer(add_completion=False)


@app.command()
def show(
    *,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Go on until Ctrl-C.")] = False,
    interval: Annotated[float, typer.Option("--interval", min=0.05, help="Seconds between looks of --watch.")] = 2.0,
    cleared: Annotated[bool, typer.Option("--cleared", help="Also those that are over.")] = False,
    json: JsonOption = False,
    profile: ProfileOption = None,
) -> None:
    """The alarms that stand now."""
    from nf.cli.client import ask
    from nf.control.v1.noc_pb2 import ListAlarmsRequest

    request = ListAlarmsRequest(include_cleared=cleared)
    if watch:
        _watch(request, interval, profile, json=json)
    else:
        _print(ask(profile, lambda noc: noc.ListAlarms, request), json=json)


def _watch(request: ListAlarmsRequest, interval: float, profile: Path | None, *, json: bool) -> None:
    from nf.cli.watch import watch

    if json:
        watch(
            profile,
            lambda noc: noc.ListAlarms,
            request,
            interval,
            emit=lambda answer: _print(answer, json=True, line=True),
        )
    else:
        watch(profile, lambda noc: noc.ListAlarms, request, interval, render=lambda answer: listing(answer.alarms))


def _print(answer: ListAlarmsResponse, *, json: bool, line: bool = False) -> None:
    from nf.cli.output import out, print_json, say
    from nf.cli.wire import to_json

    if json:
        print_json([to_json(alarm) for alarm in answer.alarms], line=line)
    elif answer.alarms:
        out().print(listing(answer.alarms))
    else:
        say("no alarms")


def listing(alarms: Any) -> Table:
    from nf.cli.output import table
    from nf.cli.text import when, word
    from nf.cli.wire import enum_word
    from nf.control.v1 import common_pb2

    grid = table("SEVERITY", "SINCE", "OBJECT", "CAUSE", "TEXT", "COUNT", "DO", right=("COUNT",))
    for alarm in alarms:
        severity = enum_word("Severity", common_pb2.Severity.Name(alarm.severity)) or "unknown"
        grid.add_row(
            word(severity), when(alarm.first_at), alarm.object, alarm.cause, alarm.text, str(alarm.count), alarm.remedy
        )
    return grid
