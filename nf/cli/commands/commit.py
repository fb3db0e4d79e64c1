"""`nf lineup commit|confirm|rollback`: what changes the fleet, as a whole or not at all."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nf.cli import complete
from nf.cli.commands import schedule
from nf.cli.options import FleetOption, JsonOption, LineupFile, ProfileOption, WithoutOption, read_file, seconds

if TYPE_CHECKING:
    from nf.control.v1.noc_pb2 import CommitEvent
    from nf.control.v1.noc_pb2_grpc import NocAsyncStub


class DrainThen(StrEnum):
    REFUSE = "refuse"
    DROP = "drop"


AcceptOption = Annotated[bool, typer.Option("--accept", help="Allow steps that cannot be taken back.")]
DrainOption = Annotated[
    str | None,
    typer.Option(
        "--drain",
        metavar="TIME",
        help="First keep new sessions off what it restarts, and wait so long at most until none is left.",
        show_default=False,
    ),
]
DrainThenOption = Annotated[
    DrainThen, typer.Option("--drain-then", help="Sessions left after that: refuse the commit, or drop them.")
]
CommentOption = Annotated[str, typer.Option("--comment", "-m", help="Why; shown in the history.", show_default=False)]


def commit(
    file: LineupFile,
    *,
    fleet: FleetOption = None,
    confirm: Annotated[
        str | None,
        typer.Option(
            "--confirm",
            metavar="TIME",
            help="Hold it: without `nf lineup confirm` within this time it is undone.",
            show_default=False,
        ),
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(
            "--at",
            metavar="TIME",
            help="Later, by itself: RFC 3339 with its offset, or +30m. Refused then if the fleet has changed.",
            show_default=False,
        ),
    ] = None,
    drain: DrainOption = None,
    drain_then: DrainThenOption = DrainThen.REFUSE,
    without: WithoutOption = None,
    accept: AcceptOption = False,
    comment: CommentOption = "",
    json: JsonOption = False,
    profile: ProfileOption = None,
) -> None:
    """Make a line-up true on every appliance at once, or on none."""
    from nf.control.v1.noc_pb2 import CommitLineUpRequest, DocumentText

    request = CommitLineUpRequest(
        lineup=DocumentText(file=str(file), text=read_file(file)),
        fleet=None if fleet is None else DocumentText(file=str(fleet), text=read_file(fleet)),
        confirm_within_s=0 if confirm is None else seconds(confirm, "--confirm"),
        without_sites=without or (),
        accept_irreversible=accept,
        comment=comment,
        drain_s=0 if drain is None else seconds(drain, "--drain"),
        drain_drops=drain_then is DrainThen.DROP,
    )
    if at is not None:
        schedule.schedule(profile, request, at, json=json)
        return
    _follow(profile, lambda noc: noc.CommitLineUp(request), json=json)


def confirm(*, json: JsonOption = False, profile: ProfileOption = None) -> None:
    """Keep the line-up that is held."""
    from nf.control.v1.noc_pb2 import ConfirmLineUpRequest

    _follow(profile, lambda noc: noc.ConfirmLineUp(ConfirmLineUpRequest()), json=json)


def rollback(
    *,
    to: Annotated[
        int,
        typer.Option(
            "--to", metavar="REVISION", help="0: the one before the current.", min=0, autocompletion=complete.revisions
        ),
    ] = 0,
    drain: DrainOption = None,
    drain_then: DrainThenOption = DrainThen.REFUSE,
    without: WithoutOption = None,
    accept: AcceptOption = False,
    comment: CommentOption = "",
    json: JsonOption = False,
    profile: ProfileOption = None,
) -> None:
    """Commit the documents of an earlier revision again; a line-up that is held is undone, a drain stopped."""
    from nf.control.v1.noc_pb2 import RollbackLineUpRequest

    request = RollbackLineUpRequest(
        to_revision=to,
        comment=comment,
        without_sites=without or (),
        accept_irreversible=accept,
        drain_s=0 if drain is None else seconds(drain, "--drain"),
        drain_drops=drain_then is DrainThen.DROP,
    )
    _follow(profile, lambda noc: noc.RollbackLineUp(request), json=json)


def _follow(profile: Path | None, start: Callable[[NocAsyncStub], AsyncIterable[CommitEvent]], *, json: bool) -> None:
    """Show the progress of a commit until it ends, then its verdict; the exit code says which."""
    from nf.cli.client import noc, run
    from nf.cli.output import note
    from nf.cli.progress import CommitProgress
    from nf.cli.verdict import conclude

    progress = CommitProgress()

    async def follow() -> CommitEvent | None:
        last = None
        async with noc(profile) as stub:
            async for event in start(stub):
                progress.take(event)
                last = event
        return last

    try:
        with progress:
            last = run(follow())
    except KeyboardInterrupt:
        note("stopped watching; the NOC decides by itself: `nf lineup history` shows the outcome")
        raise
    conclude(last, progress.appliances, as_json=json)
