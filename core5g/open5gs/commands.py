"""`nf upf`: drain a UPF before a commit that restarts it, and let it take sessions again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nf.contracts.json import JsonObject
from nf.contracts.noc_client import CLIENT
from nf.errors import DriverError

app = typer.Typer(add_completion=False, no_args_is_help=True, help="User plane functions of the 5G core.")

_LONGEST_S = 280
"""The NOC waits for 300 s for one appliance."""


def upfs(incomplete: str) -> list[str]:
    """Completion."""
    from core5g.open5gs.drain import DRAIN

    return [name for name in CLIENT.get().operation_objects(DRAIN) if name.startswith(incomplete)]


Upf = Annotated[
    str, typer.Argument(metavar="UPF", help="Its id in the fleet.", autocompletion=upfs, show_default=False)
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON; errors too, on stderr.")]
Profile = Annotated[Path | None, typer.Option("--profile", help="Operator profile.", show_default=False)]


@app.command()
def drain(
    upf: Upf,
    *,
    limit: Annotated[int, typer.Option("--limit", min=0, help="Sessions that may be left.")] = 0,
    wait_s: Annotated[
        int, typer.Option("--wait", min=0, max=_LONGEST_S, metavar="SECONDS", help="How long to wait for that.")
    ] = 240,
    admit: Annotated[bool, typer.Option("--admit", help="Let new sessions in meanwhile.")] = False,
    json: AsJson = False,
    profile: Profile = None,
) -> None:
    """Keep new sessions off a UPF and wait until few enough are left; it stays so for ten minutes more."""
    _run(upf, {"limit": limit, "wait_s": wait_s, "admit": admit}, as_json=json, profile=profile)


@app.command()
def admit(upf: Upf, *, json: AsJson = False, profile: Profile = None) -> None:
    """Let a UPF that was drained take new sessions again, at once."""
    _run(upf, {"end": True}, as_json=json, profile=profile)


def _run(upf: str, arguments: JsonObject, *, as_json: bool, profile: Path | None) -> None:
    """Raises DriverError with what the appliance says when it is not done."""
    from core5g.open5gs.drain import DRAIN

    client = CLIENT.get()
    outcome = client.run_operation(DRAIN, upf, arguments, past_failures=False, profile=profile)
    if as_json:
        client.print_json(outcome.data)
    if not outcome.complete:
        told = "; ".join(f"{node.appliance} is {node.state}: {node.text}" for node in outcome.nodes)
        raise DriverError(told, where=upf, remedy="see what it says; sessions are let in again where a drain failed")
    if not as_json:
        for node in outcome.nodes:
            client.say(node.text)
