"""`nf purge`: take a channel, or what a URL names, out of every cache."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nf.contracts.json import JsonObject
from nf.contracts.noc_client import CLIENT, NodeOutcome, OperationOutcome
from nf.errors import DriverError, NotFoundError

app = typer.Typer(add_completion=False)


def channels(incomplete: str) -> list[str]:
    """Completion."""
    from nf.media.purge import PURGE

    return [name for name in CLIENT.get().operation_objects(PURGE) if name.startswith(incomplete)]


@app.command()
def purge(
    target: Annotated[
        str,
        typer.Argument(
            metavar="CHANNEL|URL",
            help="A channel, or http://HOST/CHANNEL/NAME; with a slash at its end all below it.",
            autocompletion=channels,
            show_default=False,
        ),
    ],
    *,
    past_failures: Annotated[
        bool,
        typer.Option("--past-failures", help="Purge the edges also when a shield was not purged: it may refill them."),
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON; errors too, on stderr.")] = False,
    profile: Annotated[Path | None, typer.Option("--profile", help="Operator profile.", show_default=False)] = None,
) -> None:
    """Take a channel or an object out of every cache: shields first, then edges, each proved by a request."""
    from nf.media.purge import PURGE, scope_of_url

    client = CLIENT.get()
    by_url = "://" in target
    channel = scope_of_url(target).channel if by_url else target
    arguments: JsonObject = {"url": target} if by_url else {"channel": target}
    outcome = client.run_operation(PURGE, channel, arguments, past_failures=past_failures, profile=profile)
    if json:
        client.print_json(outcome.data)
    else:
        rows = tuple((node.appliance, node.driver, node.state, _proof(node), node.text) for node in outcome.nodes)
        client.print_table(("APPLIANCE", "CACHE", "STATE", "PROOF", "TEXT"), rows)
    _conclude(target, outcome)
    _require_served(target, outcome)
    if not json:
        client.say(f"{target} is purged at {len(outcome.nodes)} caches, in {outcome.duration_s:.1f} s")


def _proof(node: NodeOutcome) -> str:
    counts = [f"{node.result[key]} {key}" for key in ("refetched", "refilled", "gone") if node.result.get(key)]
    return ", ".join(counts)


def _require_served(target: str, outcome: OperationOutcome) -> None:
    """Raises NotFoundError when no edge serves the host: what a player asks for under another name is still there."""
    from nf.media.purge import SERVED

    last = max((node.stage for node in outcome.nodes), default=0)
    edges = [node for node in outcome.nodes if node.stage == last]
    if not all(SERVED in node.result for node in edges):
        return
    found = (node.result[SERVED] for node in edges)
    hosts = sorted({str(host) for known in found if isinstance(known, list) for host in known})
    raise NotFoundError(
        "no edge serves this host: nothing is purged there",
        where=target,
        remedy=f"name it as a player does: {', '.join(hosts)}" if hosts else "see `nf lineup show` for its host",
    )


def _conclude(target: str, outcome: OperationOutcome) -> None:
    """Raises DriverError with the name of every cache that was not purged."""
    if outcome.complete:
        return
    left = ", ".join(f"{node.appliance} ({node.state})" for node in outcome.nodes if node.state != "done")
    raise DriverError(
        f"not purged at: {left}",
        where=target,
        remedy="who is offline is purged when it returns, under an alarm until then: it serves what it had; "
        "see what the others say, and purge again",
    )
