"""`nf sip`: the voice core as operators see it: calls, registrations, nodes, records; and what they do to it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nf.contracts.noc_client import CLIENT
from sip import action_commands

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from nf.contracts.json import Json, JsonObject
    from nf.contracts.noc_client import NodeOutcome

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="The voice core: calls, registrations, nodes, records, trace, hangup, drain, test calls.",
)
action_commands.register(app)

_MOST = 1000
_ANY = 86_400


def proxy_names(incomplete: str) -> list[str]:
    """Completion."""
    from sip.operations import CALLS, EVERY

    return [name for name in CLIENT.get().operation_objects(CALLS) if name != EVERY and name.startswith(incomplete)]


def reporting_names(incomplete: str) -> list[str]:
    """Completion."""
    from sip.operations import EVERY, RELAY_REPORT

    found = CLIENT.get().operation_objects(RELAY_REPORT)
    return [name for name in found if name != EVERY and name.startswith(incomplete)]


def state_names(incomplete: str) -> list[str]:
    """Completion."""
    return [name for name in ("calling", "ringing", "answered", "talking") if name.startswith(incomplete)]


AsJson = Annotated[bool, typer.Option("--json", help="Print JSON; errors too, on stderr.")]
Profile = Annotated[Path | None, typer.Option("--profile", help="Operator profile.", show_default=False)]
OfProxy = Annotated[
    str,
    typer.Option(
        "--proxy", metavar="ID", help="Of this proxy; else of all.", autocompletion=proxy_names, show_default=False
    ),
]
OfUser = Annotated[
    str, typer.Option("--user", metavar="TEXT", help="Whose name or number has this in it.", show_default=False)
]
Limit = Annotated[int, typer.Option("--limit", min=1, max=_MOST, help="Rows to show.")]
Offset = Annotated[int, typer.Option("--offset", min=0, help="Rows to pass over.")]


@app.command()
def calls(
    *,
    user: OfUser = "",
    state: Annotated[
        str,
        typer.Option(
            "--state",
            metavar="STATE",
            help="calling, ringing, answered or talking.",
            autocompletion=state_names,
            show_default=False,
        ),
    ] = "",
    proxy: OfProxy = "",
    limit: Limit = 50,
    offset: Offset = 0,
    json: AsJson = False,
    profile: Profile = None,
) -> None:
    """Calls that are up or being set up, newest first."""
    from sip.answers import CALL_COLUMNS, call_row
    from sip.operations import CALLS

    _listed(
        CALLS,
        {"user": user, "state": state},
        proxy=proxy,
        paged=(limit, offset),
        key=lambda row: (-_number(row["since"]), str(row["call"])),
        shown=(CALL_COLUMNS, call_row),
        what="call",
        as_json=json,
        profile=profile,
    )


@app.command()
def registrations(
    *,
    user: OfUser = "",
    proxy: OfProxy = "",
    limit: Limit = 50,
    offset: Offset = 0,
    json: AsJson = False,
    profile: Profile = None,
) -> None:
    """Who is registered, where, and for how long, by account."""
    from sip.answers import REGISTRATION_COLUMNS, registration_row
    from sip.operations import REGISTRATIONS

    _listed(
        REGISTRATIONS,
        {"user": user},
        proxy=proxy,
        paged=(limit, offset),
        key=lambda row: (str(row["account"]), str(row["contact"])),
        shown=(REGISTRATION_COLUMNS, registration_row),
        what="registration",
        as_json=json,
        profile=profile,
    )


@app.command()
def cdr(
    *,
    user: OfUser = "",
    failed: Annotated[bool, typer.Option("--failed", help="Of calls that were not answered.")] = False,
    proxy: OfProxy = "",
    limit: Limit = 20,
    json: AsJson = False,
    profile: Profile = None,
) -> None:
    """The last call records, newest first."""
    from sip.answers import RECORD_COLUMNS, record_row
    from sip.operations import RECORDS

    _listed(
        RECORDS,
        {"user": user, "failed": failed},
        proxy=proxy,
        paged=(limit, 0),
        key=lambda row: (-_number(row["began"]), str(row["call_id"])),
        shown=(RECORD_COLUMNS, record_row),
        what="",
        as_json=json,
        profile=profile,
    )


def _listed(
    name: str,
    asked: JsonObject,
    *,
    proxy: str,
    paged: tuple[int, int],
    key: Callable[[Mapping[str, Json]], tuple[Json, ...]],
    shown: tuple[tuple[str, ...], Callable[[Mapping[str, Json]], tuple[str, ...]]],
    what: str,
    as_json: bool,
    profile: Path | None,
) -> None:
    """One page of what one proxy tells, or all of them together."""
    from sip.answers import page, require_all, rows_of, total
    from sip.operations import EVERY

    client, (limit, offset) = CLIENT.get(), paged
    arguments: JsonObject = {**asked, **page(limit, offset, several=not proxy)}
    nodes = client.run_operation(
        name, proxy or EVERY, arguments, past_failures=True, profile=profile, watch=False
    ).nodes
    rows = sorted(rows_of(nodes), key=key)
    rows = rows[:limit] if proxy else rows[offset : offset + limit]
    count = total(nodes)
    if as_json:
        listed: list[Json] = [*rows]
        client.print_json({"rows": listed, "total": count} if what else {"rows": listed})
    else:
        columns, row_of = shown
        client.print_table(columns, tuple(row_of(row) for row in rows))
        if what:
            first = f"{offset + 1} to {offset + len(rows)}" if rows else "none"
            client.say(f"{first} of {count:,} {what}{'s' * (count != 1)}")
    require_all(nodes, f"nf sip {name.removeprefix('voice-')}")


@app.command()
def nodes(*, json: AsJson = False, profile: Profile = None) -> None:
    """Proxies, relays and media servers: state and calls, as the proxies see them."""
    from sip.answers import NODE_COLUMNS, counted, merged_nodes, node_row, require_all, rows_of
    from sip.operations import EVERY, MEDIA, NODES, WAIT_EMPTY

    client = CLIENT.get()

    def every(name: str, asked: JsonObject) -> tuple[NodeOutcome, ...]:
        return client.run_operation(name, EVERY, asked, past_failures=True, profile=profile, watch=False).nodes

    found = every(NODES, {})
    rows = rows_of(found)
    kinds = {row["kind"] for row in rows}
    # Whoever waits for no call to be left at once tells how many there are.
    relays = every(WAIT_EMPTY, {"limit": _ANY, "wait_s": 0}) if "relay" in kinds else ()
    servers = every(MEDIA, {}) if "media-server" in kinds else ()
    calls_at = {"relay": counted(relays, "sessions"), "media-server": counted(servers, "legs")}
    made = merged_nodes(rows, calls_at)
    if json:
        listed: list[Json] = [*made]
        client.print_json({"rows": listed})
    else:
        client.print_table(NODE_COLUMNS, tuple(map(node_row, made)))
    require_all((*found, *relays, *servers), "nf sip nodes")


@app.command("relay-report")
def relay_report(
    node: Annotated[
        str,
        typer.Argument(
            metavar="[NODE]", help="A relay or proxy; else all.", autocompletion=reporting_names, show_default=False
        ),
    ] = "",
    *,
    limit: Annotated[int, typer.Option("--limit", min=1, max=_MOST, help="Findings of each node.")] = 200,
    json: AsJson = False,
    profile: Profile = None,
) -> None:
    """Calls that a relay has and no proxy, or a proxy and no relay, and what was done about them; newest first."""
    from sip.answers import FINDING_COLUMNS, finding_row, findings_of, require_all, when
    from sip.operations import EVERY, RELAY_REPORT

    client = CLIENT.get()
    found = client.run_operation(
        RELAY_REPORT, node or EVERY, {"limit": limit}, past_failures=True, profile=profile, watch=False
    ).nodes
    rows = findings_of(found)
    checked = {str(one.result.get("node") or one.appliance): one.result.get("checked") for one in found if one.result}
    if json:
        listed: list[Json] = [*rows]
        client.print_json({"rows": listed, "checked": checked})
    else:
        client.print_table(FINDING_COLUMNS, tuple(map(finding_row, rows)))
        for name, at in sorted(checked.items()):
            client.say(f"{name}: calls compared {when(at) if at is not None else 'not yet'}")
    require_all(found, "nf sip relay-report")


def _number(value: Json) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
