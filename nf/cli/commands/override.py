"""`nf override`: bounded, visible deviations from the line-up."""

from __future__ import annotations

import json as json_module
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nf.cli import complete
from nf.cli.options import ApplianceArgument, JsonOption, ProfileOption, seconds
from nf.errors import InputError

if TYPE_CHECKING:
    from rich.table import Table

app = typer.Typer(add_completion=False, no_args_is_help=True)


@app.command("add")
def add(
    appliance: Annotated[str, typer.Argument(metavar="APPLIANCE", autocompletion=complete.appliances)],
    section: Annotated[str, typer.Argument(metavar="SECTION", autocompletion=complete.sections)],
    patch: Annotated[
        str,
        typer.Argument(
            metavar="PATCH-JSON",
            help="JSON merge patch (RFC 7396) on the section that `nf appliance show` prints; a list is replaced.",
        ),
    ],
    *,
    ttl: Annotated[str, typer.Option("--ttl", help="It ends after this, such as 1h.", show_default=False)],
    reason: Annotated[str, typer.Option("--reason", help="Why; it is shown and audited.", show_default=False)],
    json: JsonOption = False,
    profile: ProfileOption = None,
) -> None:
    """Change one section of one appliance for a while."""
    from nf.cli.client import PLAN_TIMEOUT_S, ask
    from nf.cli.output import print_json, say
    from nf.cli.text import when
    from nf.cli.wire import to_json
    from nf.control.v1.noc_pb2 import AddOverrideRequest

    request = AddOverrideRequest(
        appliance=appliance, section=section, patch_json=_patch(patch), reason=reason, ttl_s=seconds(ttl, "--ttl")
    )
    made = ask(profile, lambda noc: noc.AddOverride, request, timeout_s=PLAN_TIMEOUT_S)
    if json:
        print_json(to_json(made))
    else:
        say(f"override {made.id} on {made.appliance}/{made.section} until {when(made.expires_at)}")


@app.command("list")
def list_(
    appliance: Annotated[
        str | None, typer.Argument(metavar="[APPLIANCE]", autocompletion=complete.appliances, show_default=False)
    ] = None,
    *,
    json: JsonOption = False,
    profile: ProfileOption = None,
) -> None:
    """The overrides that stand, on one appliance or on all."""
    from nf.cli.client import ask
    from nf.cli.output import out, print_json, say
    from nf.cli.wire import to_json
    from nf.control.v1.noc_pb2 import ListOverridesRequest

    answer = ask(profile, lambda noc: noc.ListOverrides, ListOverridesRequest(appliance=appliance or ""))
    if json:
        print_json([to_json(one) for one in answer.overrides])
    elif answer.overrides:
        out().print(listing(answer.overrides))
    else:
        say("no overrides")


@app.command("end")
def end(
    appliance: ApplianceArgument,
    override: Annotated[str, typer.Argument(metavar="OVERRIDE", help="As `nf override list` shows it.")],
    *,
    profile: ProfileOption = None,
) -> None:
    """End an override now; the appliance goes back to the line-up."""
    from nf.cli.client import PLAN_TIMEOUT_S, ask
    from nf.cli.output import say
    from nf.control.v1.noc_pb2 import EndOverrideRequest

    request = EndOverrideRequest(appliance=appliance, id=override)
    ask(profile, lambda noc: noc.EndOverride, request, timeout_s=PLAN_TIMEOUT_S)
    say(f"override {override} on {appliance} has ended")


def _patch(text: str) -> bytes:
    try:
        value = json_module.loads(text)
    except ValueError as error:
        raise InputError(
            f"no JSON: {error}", where="PATCH-JSON", remedy='write an object in quotes, such as \'{"key": "value"}\''
        ) from error
    if not isinstance(value, dict):
        raise InputError("a merge patch on a section is a JSON object", where="PATCH-JSON", remedy="put it into { }")
    return json_module.dumps(value).encode()


def listing(overrides: Any) -> Table:
    from nf.cli.output import table
    from nf.cli.text import name_of, when

    grid = table("OVERRIDE", "APPLIANCE", "SECTION", "PATCH", "REASON", "AUTHOR", "UNTIL")
    for one in overrides:
        patch = one.patch_json.decode(errors="replace")
        grid.add_row(one.id, one.appliance, one.section, patch, one.reason, name_of(one.author), when(one.expires_at))
    return grid
