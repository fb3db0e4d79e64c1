"""`nf lineup commit --at`, `scheduled`, `unschedule`: commits that begin by themselves."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nf.cli import complete
from nf.cli.options import JsonOption, ProfileOption, seconds
from nf.errors import InputError

if TYPE_CHECKING:
    from nf.control.v1.noc_pb2 import CommitLineUpRequest, ScheduledCommit


def when_given(text: str) -> tuple[float, int]:
    """`2026-12-01T02:00:00+01:00` -> (seconds since the epoch, 0), `+30m` -> (0, seconds from now). Raises InputError.

    An absolute time is RFC 3339 with its offset, since nobody can know whose two o'clock was meant.
    """
    if text.startswith("+"):
        return 0.0, seconds(text[1:], "--at +")
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None or "T" not in text.upper():
        raise InputError(
            "neither an RFC 3339 time with its offset nor +DURATION",
            where=f"--at {text}",
            remedy="write for example 2026-12-01T02:00:00+01:00, 2026-12-01T01:00:00Z or +30m",
        )
    return at.timestamp(), 0


def schedule(profile: Path | None, commit: CommitLineUpRequest, at: str, *, json: bool) -> None:
    """Have the NOC begin it at its time."""
    from nf.cli.client import PLAN_TIMEOUT_S, ask
    from nf.cli.output import print_json, say
    from nf.cli.text import when
    from nf.cli.wire import to_json
    from nf.control.v1.noc_pb2 import ScheduleLineUpRequest

    absolute, after_s = when_given(at)
    request = ScheduleLineUpRequest(commit=commit, at=absolute, after_s=after_s)
    made = ask(profile, lambda noc: noc.ScheduleLineUp, request, timeout_s=PLAN_TIMEOUT_S)
    if json:
        print_json(to_json(made))
    else:
        say(f"scheduled as {made.id} for {when(made.at)}, on revision {made.base_revision}")


def scheduled(*, json: JsonOption = False, profile: ProfileOption = None) -> None:
    """Commits that wait for their time, and those that were refused at it."""
    from nf.cli.client import ask
    from nf.cli.output import out, print_json, say, table
    from nf.cli.text import name_of, when, word
    from nf.cli.wire import to_json
    from nf.control.v1.noc_pb2 import ListScheduledRequest

    answer = ask(profile, lambda noc: noc.ListScheduled, ListScheduledRequest())
    if json:
        print_json([to_json(one) for one in answer.commits])
        return
    if not answer.commits:
        say("no scheduled commits")
        return
    columns = ("ID", "AT", "STATE", "AUTHOR", "LINE-UP", "CHANNELS", "ON REVISION", "OPTIONS", "COMMENT")
    grid = table(*columns, right=("CHANNELS", "ON REVISION"))
    for one in answer.commits:
        grid.add_row(
            one.id,
            when(one.at),
            word(one.state),
            name_of(one.author),
            one.lineup_name,
            str(one.channels),
            str(one.base_revision),
            _options(one),
            f"{one.comment}: {one.reason}".strip(": ") if one.reason else one.comment,
        )
    out().print(grid)


def _options(one: ScheduledCommit) -> str:
    """As they were typed."""
    from nf.documents.quantities import format_duration

    confirm = [f"--confirm {format_duration(one.confirm_within_s * 1000)}"] if one.confirm_within_s else []
    accept = ["--accept"] if one.accept_irreversible else []
    drain = [f"--drain {format_duration(one.drain_s * 1000)}"] if one.drain_s else []
    drops = ["--drain-then drop"] if one.drain_drops else []
    return " ".join([*(f"--without {site}" for site in one.without_sites), *confirm, *drain, *drops, *accept])


def unschedule(
    scheduled_id: Annotated[
        str, typer.Argument(metavar="ID", help="As `nf lineup scheduled` shows it.", autocompletion=complete.scheduled)
    ],
    *,
    profile: ProfileOption = None,
) -> None:
    """Take a scheduled commit out; also one that was refused, which ends its alarm."""
    from nf.cli.client import ask
    from nf.cli.output import say
    from nf.control.v1.noc_pb2 import UnscheduleLineUpRequest

    ask(profile, lambda noc: noc.UnscheduleLineUp, UnscheduleLineUpRequest(id=scheduled_id))
    say(f"{scheduled_id} is no longer scheduled")
