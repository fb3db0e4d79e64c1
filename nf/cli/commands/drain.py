"""`nf appliance drain|return|drained`: move transit away from a site and back; `replace`: other hardware, same name."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nf.cli import complete
from nf.cli.options import ApplianceArgument, JsonOption, ProfileOption, ReasonOption, SiteArgument, seconds

if TYPE_CHECKING:
    from nf.control.v1.noc_pb2 import DrainEvent
    from nf.control.v1.noc_pb2_grpc import NocAsyncStub


def replace(
    appliance: ApplianceArgument,
    *,
    serial: Annotated[str, typer.Option("--serial", help="Of the new machine, from its label.", show_default=False)],
    reason: ReasonOption,
    json: JsonOption = False,
    profile: ProfileOption = None,
) -> None:
    """Give the name to other hardware: the old machine's identity is dead at once; then `nf appliance enroll`."""
    from nf.cli.client import ask
    from nf.cli.output import note, print_json, say
    from nf.cli.wire import to_json
    from nf.control.v1.noc_pb2 import ReplaceApplianceRequest

    request = ReplaceApplianceRequest(appliance=appliance, serial=serial, reason=reason)
    done = ask(profile, lambda noc: noc.ReplaceAppliance, request)
    if json:
        print_json(to_json(done))
        return
    closed = ", its session closed" if done.session_closed else ""
    dead = f"the identity of {done.replaced_serial} is dead{closed}" if done.was_enrolled else "nothing was enrolled"
    say(f"{appliance} is serial {done.serial} from now on; {dead}")
    note(f"next: nf appliance enroll {appliance} --output enrolment.json, for the new machine")


def drain(
    site: SiteArgument,
    *,
    reason: ReasonOption,
    for_: Annotated[str, typer.Option("--for", metavar="TIME", help="It ends by itself after this.")] = "2h",
    json: JsonOption = False,
    profile: ProfileOption = None,
) -> None:
    """Have the other routers go round a site: OSPF cost 65535 on its links to them, as overrides that end."""
    from nf.control.v1.noc_pb2 import DrainSiteRequest

    request = DrainSiteRequest(site=site, for_s=seconds(for_, "--for"), reason=reason)
    _follow(profile, lambda noc: noc.DrainSite(request), site, json=json)


def bring_back(
    site: Annotated[
        str, typer.Argument(metavar="SITE", help="As `nf appliance drained` shows it.", autocompletion=complete.drained)
    ],
    *,
    json: JsonOption = False,
    profile: ProfileOption = None,
) -> None:
    """Take a drain back: the links of the site have their own cost again."""
    from nf.control.v1.noc_pb2 import ReturnSiteRequest

    _follow(profile, lambda noc: noc.ReturnSite(ReturnSiteRequest(site=site)), site, json=json)


def drained(*, json: JsonOption = False, profile: ProfileOption = None) -> None:
    """The sites that are drained."""
    from nf.cli.client import ask
    from nf.cli.output import out, print_json, say, table
    from nf.cli.text import name_of, when
    from nf.cli.wire import to_json
    from nf.control.v1.noc_pb2 import ListDrainsRequest

    answer = ask(profile, lambda noc: noc.ListDrains, ListDrainsRequest())
    if json:
        print_json([to_json(one) for one in answer.drains])
        return
    if not answer.drains:
        say("no site is drained")
        return
    grid = table("SITE", "SINCE", "UNTIL", "AUTHOR", "REASON", "ROUTERS")
    for one in answer.drains:
        grid.add_row(
            one.site, when(one.at), when(one.until), name_of(one.author), one.reason, ", ".join(one.appliances)
        )
    out().print(grid)


def _follow(
    profile: Path | None, start: Callable[[NocAsyncStub], AsyncIterable[DrainEvent]], site: str, *, json: bool
) -> None:
    """One line for each router as it comes, then what has moved and what has not."""
    from nf.cli.client import noc, run
    from nf.cli.output import note, print_json, say
    from nf.cli.text import when
    from nf.cli.wire import to_json
    from nf.errors import UnavailableError

    async def follow() -> DrainEvent | None:
        last = None
        async with noc(profile) as stub:
            async for event in start(stub):
                last = event
                if event.appliance:
                    text = f": {event.text}" if event.text else ""
                    note(f"{event.done}/{event.total}  {event.appliance} {event.state}{text}")
        return last

    last = run(follow())
    if last is None or not last.HasField("drain"):
        raise UnavailableError("the answer ended too early", where=site, remedy="see `nf appliance drained`")
    if json:
        print_json(to_json(last))
        return
    until = f" until {when(last.drain.until)}" if last.state == "drained" else ""
    say(f"{site} is {last.state}{until}: {last.text}")
