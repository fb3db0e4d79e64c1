"""`nf path`: the ways a channel reaches a site, which one policy has chosen, and what an operator decides about it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nf.cli import complete
from nf.cli.options import ChannelArgument, JsonOption, ProfileOption, ReasonOption, seconds
from nf.errors import InputError, RefusedError

if TYPE_CHECKING:
    from nf.control.v1.paths_pb2 import ChannelAtSite

app = typer.Typer(add_completion=False, no_args_is_help=True)

SiteOption = Annotated[
    str,
    typer.Option("--site", metavar="SITE", help="Only there.", autocompletion=complete.sites, show_default=False),
]


@app.command("list")
def list_(*, site: SiteOption = "", json: JsonOption = False, profile: ProfileOption = None) -> None:
    """Every channel at every site: the path that is taken, and how the others are."""
    from nf.cli.output import out, print_json, say, table
    from nf.cli.text import word
    from nf.cli.wire import to_json

    found = _listed(profile, "", site)
    if json:
        print_json([to_json(one) for one in found])
        return
    if not found:
        say("no path of the current line-up comes to a site")
        return
    grid = table("CHANNEL", "SITE", "ACTIVE", "STATE", "OTHERS", "DETAIL")
    for one in found:
        active = next((path for path in one.paths if path.path == one.active), None)
        others = ", ".join(f"{path.path} {path.verdict}" for path in one.paths if path.path != one.active)
        state = word(active.verdict) if active is not None else word("down")
        grid.add_row(one.channel, one.site, one.active or "none", state, others or "-", _detail(one))
    out().print(grid)


@app.command("show")
def show(
    channel: ChannelArgument, *, site: SiteOption = "", json: JsonOption = False, profile: ProfileOption = None
) -> None:
    """The paths of a channel at each site, the one that is taken first; exit code 9 when none can be used."""
    from nf.cli.output import out, print_json, say, table
    from nf.cli.text import when, word
    from nf.cli.wire import to_json
    from nf.exit_codes import ExitCode

    found = _listed(profile, channel, site)
    if json:
        print_json([to_json(one) for one in found])
    else:
        for one in found:
            say(f"{one.channel} at {one.site}: {one.active or 'no path can be used'}. {_detail(one)}".rstrip())
        grid = table("SITE", "PATH", "TYPE", "STATE", "SINCE", "PREFERENCE", "REASON", right=("PREFERENCE",))
        for one in found:
            for path in one.paths:
                name = f"{path.path} *" if path.path == one.active else path.path
                grid.add_row(
                    one.site, name, path.type, word(path.verdict), when(path.since), str(path.preference), path.reason
                )
        out().print(grid)
    if not all(one.active for one in found):
        raise typer.Exit(ExitCode.RED)


@app.command("history")
def history(
    channel: Annotated[str, typer.Argument(metavar="[ID]", autocompletion=complete.channels, show_default=False)] = "",
    *,
    site: SiteOption = "",
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="So many, the newest.")] = 50,
    json: JsonOption = False,
    profile: ProfileOption = None,
) -> None:
    """The switches, newest first: T0 is an appliance by itself, T1 the NOC, T2 the NOC for a whole site."""
    from nf.cli.output import out, print_json, say, table
    from nf.cli.text import name_of, when
    from nf.cli.wire import to_json
    from nf.control.v1.paths_pb2 import ListSwitchesRequest

    request = ListSwitchesRequest(channel=channel, site=site, limit=limit)
    answer = _ask(profile, lambda paths: paths.ListSwitches, request)
    if json:
        print_json([to_json(one) for one in answer.switches])
        return
    if not answer.switches:
        say("no switch on record")
        return
    grid = table("TIME", "CHANNEL", "SITE", "FROM", "TO", "KIND", "TIER", "AUTHOR", "REASON")
    for one in answer.switches:
        who = name_of(one.author)
        grid.add_row(when(one.at), one.channel, one.site, one.source, one.target, one.kind, one.tier, who, one.reason)
    out().print(grid)


@app.command("approve")
def approve(
    channel: ChannelArgument,
    *,
    site: SiteOption = "",
    path: Annotated[
        str, typer.Option("--path", metavar="PATH", help="Another than the one that waits.", show_default=False)
    ] = "",
    json: JsonOption = False,
    profile: ProfileOption = None,
) -> None:
    """Let a path that has recovered be taken again; without --site where it waits, if that is one site."""
    from nf.cli.client import PLAN_TIMEOUT_S
    from nf.cli.output import print_json, say
    from nf.cli.wire import to_json
    from nf.control.v1.paths_pb2 import ApproveFailbackRequest

    where = site or _only(channel, _listed(profile, channel, ""), lambda one: bool(one.waiting or one.follows))
    request = ApproveFailbackRequest(channel=channel, site=where, path=path)
    done = _ask(profile, lambda paths: paths.ApproveFailback, request, timeout_s=PLAN_TIMEOUT_S)
    if json:
        print_json(to_json(done))
    else:
        by = f" ({done.appliance})" if done.appliance else ""
        say(f"{channel} at {where}{by}: {done.text}")


@app.command("hold")
def hold(
    channel: ChannelArgument,
    *,
    site: SiteOption,
    reason: ReasonOption,
    for_: Annotated[str, typer.Option("--for", metavar="TIME", help="It ends by itself after this.")] = "1h",
    json: JsonOption = False,
    profile: ProfileOption = None,
) -> None:
    """Have the NOC switch nothing there for a while; an appliance that acts by itself goes on."""
    from nf.cli.output import print_json, say
    from nf.cli.text import when
    from nf.cli.wire import to_json
    from nf.control.v1.paths_pb2 import HoldPathsRequest

    request = HoldPathsRequest(channel=channel, site=site, for_s=seconds(for_, "--for"), reason=reason)
    held = _ask(profile, lambda paths: paths.HoldPaths, request)
    if json:
        print_json(to_json(held))
    else:
        say(f"{channel} at {site} stays on {held.active or 'no path'} until {when(held.hold.until)}")


@app.command("release")
def release(
    channel: ChannelArgument, *, site: SiteOption = "", json: JsonOption = False, profile: ProfileOption = None
) -> None:
    """End a hold before its time."""
    from nf.cli.output import print_json, say
    from nf.cli.wire import to_json
    from nf.control.v1.paths_pb2 import ReleasePathsRequest

    where = site or _only(channel, _listed(profile, channel, ""), lambda one: one.HasField("hold"))
    request = ReleasePathsRequest(channel=channel, site=where)
    released = _ask(profile, lambda paths: paths.ReleasePaths, request)
    if json:
        print_json(to_json(released))
    else:
        say(f"{channel} at {where} is switched by policy again")


def _listed(profile: Path | None, channel: str, site: str) -> list[ChannelAtSite]:
    from nf.control.v1.paths_pb2 import ListPathsRequest

    request = ListPathsRequest(channel=channel, site=site)
    return list(_ask(profile, lambda paths: paths.ListPaths, request).channels)


def _only(channel: str, found: list[ChannelAtSite], concerned: Callable[[ChannelAtSite], bool]) -> str:
    """The one site that is meant. Raises RefusedError (none), InputError (several)."""
    sites = [one.site for one in found if concerned(one)]
    if not sites:
        raise RefusedError("there is nothing of this kind at any site", where=channel, remedy="see `nf path list`")
    if len(sites) > 1:
        raise InputError(f"it is so at {len(sites)} sites", where=channel, remedy=f"--site {' or '.join(sites)}")
    return sites[0]


def _detail(one: ChannelAtSite) -> str:
    from nf.cli.text import name_of, when

    told = []
    if one.HasField("hold"):
        told.append(f"held by {name_of(one.hold.author)} until {when(one.hold.until)}: {one.hold.reason}")
    if one.waiting:
        told.append(f"{one.waiting} waits for an approval")
    if one.follows:
        told.append(f"the appliance has taken the fallback of {one.follows}")
    if one.barred:
        told.append(one.barred)
    elif one.alert and one.reason:
        told.append(one.reason)
    if one.switches:
        told.append(f"{one.switches} of {one.max_per_hour} switches this hour")
    return "; ".join(told)


def _ask(
    profile: Path | None,
    method: Callable[[Any], Callable[..., Awaitable[Any]]],
    request: object,
    *,
    timeout_s: float = 15.0,
) -> Any:
    """One question, one answer. Raises the error tree."""
    from nf.cli.client import connected, run
    from nf.control.v1.paths_pb2_grpc import PathsStub

    async def once() -> Any:
        async with connected(profile) as channel:
            return await method(PathsStub(channel))(request, timeout=timeout_s)

    return run(once())
