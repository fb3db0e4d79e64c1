"""`nf source`: the contributions that have a backup."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nf.contracts.noc_client import CLIENT
from nf.errors import DriverError

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Contributions that have a backup.")


def sources(incomplete: str) -> list[str]:
    """Completion."""
    from nf.media.ingest.planner import FAILBACK

    return [name for name in CLIENT.get().operation_objects(FAILBACK) if name.startswith(incomplete)]


@app.callback()
def _group() -> None:
    """Contributions that have a backup."""


@app.command()
def failback(
    source: Annotated[
        str,
        typer.Argument(metavar="SOURCE", help="A source with a backup.", autocompletion=sources, show_default=False),
    ],
    *,
    json: Annotated[bool, typer.Option("--json", help="Print JSON; errors too, on stderr.")] = False,
    profile: Annotated[Path | None, typer.Option("--profile", help="Operator profile.", show_default=False)] = None,
) -> None:
    """Take the primary of a source back, at its next random access point; refused while it is silent."""
    from nf.media.ingest.planner import FAILBACK

    client = CLIENT.get()
    outcome = client.run_operation(FAILBACK, source, {"source": source}, past_failures=False, profile=profile)
    if json:
        client.print_json(outcome.data)
    else:
        rows = tuple((node.appliance, node.state, node.text) for node in outcome.nodes)
        client.print_table(("APPLIANCE", "STATE", "TEXT"), rows)
    if not outcome.complete:
        why = "; ".join(node.text for node in outcome.nodes if node.text) or "see the alarms of the appliance"
        raise DriverError(f"the backup still goes out: {why}", where=source, remedy="see `nf alarms`")
    if not json:
        client.say(f"{source} goes out from its primary")
