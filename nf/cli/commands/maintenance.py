"""`nf maintenance`: windows in which a site is worked on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from nf.cli import complete
from nf.cli.options import JsonOption, ProfileOption, ReasonOption, SiteArgument, seconds

if TYPE_CHECKING:
    from rich.table import Table

app = typer.Typer(add_completion=False, no_args_is_help=True)


@app.command("open")
def open_(
    site: SiteArgument,
    *,
    reason: ReasonOption,
    for_: Annotated[str, typer.Option("--for", metavar="TIME", help="It ends by itself after this.")] = "2h",
    json: JsonOption = False,
    profile: ProfileOption = None,
) -> None:
    """Begin a window: no drift of the site is repaired, its alarms are held, commits leave it out by name."""
    from nf.cli.client import ask
    from nf.cli.output import note, print_json, say
    from nf.cli.text import when
    from nf.cli.wire import to_json
    from nf.control.v1.noc_pb2 import OpenMaintenanceRequest

    request = OpenMaintenanceRequest(site=site, for_s=seconds(for_, "--for"), reason=reason)
    window = ask(profile, lambda noc: noc.OpenMaintenance, request)
    if json:
        print_json(to_json(window))
        return
    say(f"{site} is under maintenance until {when(window.until)}: {', '.join(window.appliances) or 'no appliance'}")
    if window.untold:
        note(f"offline, hear of it when they are back: {', '.join(window.untold)}")


@app.command("close")
def close(
    site: Annotated[
        str, typer.Argument(metavar="SITE", help="As `nf maintenance list` shows it.", autocompletion=complete.windows)
    ],
    *,
    profile: ProfileOption = None,
) -> None:
    """End a window now; what is behind catches up."""
    from nf.cli.client import ask
    from nf.cli.output import say
    from nf.control.v1.noc_pb2 import CloseMaintenanceRequest

    ask(profile, lambda noc: noc.CloseMaintenance, CloseMaintenanceRequest(site=site))
    say(f"maintenance of {site} has ended")


@app.command("list")
def list_(*, json: JsonOption = False, profile: ProfileOption = None) -> None:
    """The windows that are open."""
    from nf.cli.client import ask
    from nf.cli.output import out, print_json, say
    from nf.cli.wire import to_json
    from nf.control.v1.noc_pb2 import ListMaintenanceRequest

    answer = ask(profile, lambda noc: noc.ListMaintenance, ListMaintenanceRequest())
    if json:
        print_json([to_json(one) for one in answer.windows])
    elif answer.windows:
        out().print(_listing(answer.windows))
    else:
        say("no maintenance windows")


def _listing(windows: Any) -> Table:
    from nf.cli.output import table
    from nf.cli.text import name_of, when

    grid = table("SITE", "SINCE", "UNTIL", "AUTHOR", "REASON", "APPLIANCES")
    for one in windows:
        told = [f"{name} (offline)" if name in one.untold else name for name in one.appliances]
        grid.add_row(
            one.site, when(one.opened_at), when(one.until), name_of(one.author), one.reason, ", ".join(told) or "-"
        )
    return grid
