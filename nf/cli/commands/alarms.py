"""`nf alarms`"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nf.cli import complete
from nf.cli.options import JsonOption, ProfileOption, ReasonOption, seconds

if TYPE_CHECKING:
    from rich.table import Table

    from nf.control.v1.common_pb2 import Alarm
    from nf.control.v1.noc_pb2 import ListAlarmsRequest, ListAlarmsResponse


app = typer.Typer(add_completion=False)


@app.callback(invoke_without_command=True)
def show(
    context: typer.Context,
    *,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Go on until Ctrl-C.")] = False,
    interval: Annotated[float, typer.Option("--interval", min=0.05, help="Seconds between looks of --watch.")] = 2.0,
    cleared: Annotated[bool, typer.Option("--cleared", help="Also those that are over.")] = False,
    json: JsonOption = False,
    profile: ProfileOption = None,
) -> None:
    """The alarms that stand now, and what was decided about them."""
    from nf.cli.client import ask
    from nf.control.v1.noc_pb2 import ListAlarmsRequest

    if context.invoked_subcommand is not None:
        return
    request = ListAlarmsRequest(include_cleared=cleared)
    if watch:
        _watch(request, interval, profile, json=json)
    else:
        _print(ask(profile, lambda noc: noc.ListAlarms, request), json=json)


AlarmArgument = Annotated[
    str, typer.Argument(metavar="ALARM", help="As `nf alarms` shows it.", autocompletion=complete.alarms)
]


@app.command("ack")
def ack(alarm: AlarmArgument, *, reason: ReasonOption, json: JsonOption = False, profile: ProfileOption = None) -> None:
    """Say that somebody has taken it up; over when the alarm is cleared."""
    from nf.cli.client import ask
    from nf.control.v1.noc_pb2 import AcknowledgeAlarmRequest

    request = AcknowledgeAlarmRequest(id=alarm, reason=reason)
    _decided(ask(profile, lambda noc: noc.AcknowledgeAlarm, request), json=json)


@app.command("shelve")
def shelve(
    alarm: AlarmArgument,
    *,
    for_: Annotated[str, typer.Option("--for", metavar="TIME", help="Such as 1h.", show_default=False)],
    reason: ReasonOption,
    json: JsonOption = False,
    profile: ProfileOption = None,
) -> None:
    """Set it aside for a while, over clears and raises; it comes back by itself."""
    from nf.cli.client import ask
    from nf.control.v1.noc_pb2 import ShelveAlarmRequest

    request = ShelveAlarmRequest(id=alarm, for_s=seconds(for_, "--for"), reason=reason)
    _decided(ask(profile, lambda noc: noc.ShelveAlarm, request), json=json)


@app.command("unshelve")
def unshelve(alarm: AlarmArgument, *, profile: ProfileOption = None) -> None:
    """Have it back now."""
    from nf.cli.client import ask
    from nf.cli.output import say
    from nf.control.v1.noc_pb2 import UnshelveAlarmRequest

    ask(profile, lambda noc: noc.UnshelveAlarm, UnshelveAlarmRequest(id=alarm))
    say(f"{alarm} is no longer shelved")


def _decided(alarm: Alarm, *, json: bool) -> None:
    from nf.cli.output import print_json, say
    from nf.cli.wire import to_json

    if json:
        print_json(to_json(alarm))
    else:
        say(f"{alarm.id} is {_state(alarm)}")


def _state(alarm: Alarm) -> str:
    """What was decided, by whom and why."""
    from nf.cli.text import name_of, when

    if not alarm.HasField("handling"):
        return "raised"
    how = alarm.handling
    until = f" until {when(how.until)}" if how.until else ""
    return f"{how.state}{until} by {name_of(how.author)}: {how.reason}"


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

    grid = table("SEVERITY", "STATE", "SINCE", "ALARM", "TEXT", "COUNT", "DO", right=("COUNT",))
    for alarm in alarms:
        severity = enum_word("Severity", common_pb2.Severity.Name(alarm.severity)) or "unknown"
        state = "-" if severity == "cleared" else _state(alarm)
        grid.add_row(word(severity), state, when(alarm.first_at), alarm.id, alarm.text, str(alarm.count), alarm.remedy)
    return grid
