"""`nf audit`: who did what, in a chain that shows whether anybody changed it afterwards."""

from __future__ import annotations

from typing import Annotated

import typer

from nf.cli.options import JsonOption, ProfileOption

app = typer.Typer(add_completion=False, no_args_is_help=True)


@app.command("show")
def show(
    *,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000, help="How many, newest first.")] = 50,
    json: JsonOption = False,
    profile: ProfileOption = None,
) -> None:
    """The newest records."""
    from nf.cli.client import ask
    from nf.cli.output import out, print_json, table
    from nf.cli.text import name_of, when, word
    from nf.cli.wire import to_json
    from nf.control.v1.noc_pb2 import ShowAuditRequest

    answer = ask(profile, lambda noc: noc.ShowAudit, ShowAuditRequest(limit=limit))
    if json:
        print_json([to_json(record) for record in answer.records])
        return
    grid = table("NUMBER", "AT", "ACTOR", "ACTION", "OBJECT", "OUTCOME", "HASH", right=("NUMBER",))
    for one in answer.records:
        grid.add_row(
            str(one.number), when(one.at), name_of(one.actor), one.action, one.object, word(one.outcome), one.hash[:12]
        )
    out().print(grid)


@app.command("verify")
def verify(*, json: JsonOption = False, profile: ProfileOption = None) -> None:
    """Check the whole chain and the signature of its head; exit code 9 when it is broken."""
    from nf.cli.client import ask
    from nf.cli.output import print_json, say
    from nf.cli.text import plural
    from nf.cli.wire import to_json
    from nf.control.v1.noc_pb2 import VerifyAuditRequest
    from nf.errors import IntegrityError
    from nf.exit_codes import Ended, ExitCode

    answer = ask(profile, lambda noc: noc.VerifyAudit, VerifyAuditRequest(), timeout_s=120.0)
    if json:
        print_json(to_json(answer))
    if answer.intact:
        if not json:
            say(f"intact: {plural(answer.records, 'record')}, head {answer.head}")
        return
    where = f"audit record {answer.first_broken}" if answer.first_broken else "audit chain"
    raise Ended(
        IntegrityError(
            answer.detail or "the chain is broken",
            where=where,
            remedy="keep a copy of the NOC's state directory and compare it with the last backup",
        ),
        ExitCode.RED,
    )
