"""`nf channel`: what reaches people, measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from nf.cli.options import ChannelArgument, JsonOption, ProfileOption

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

    from nf.contracts.json import JsonObject
    from nf.control.v1.noc_pb2 import ChannelState, HopState

app = typer.Typer(add_completion=False, no_args_is_help=True)


@app.command("list")
def list_(*, json: JsonOption = False, profile: ProfileOption = None) -> None:
    """Every channel and whether all of its paths are up at every receiver."""
    from nf.cli.client import ask
    from nf.cli.output import out, print_json, table
    from nf.cli.text import word
    from nf.control.v1.noc_pb2 import ListChannelsRequest

    answer = ask(profile, lambda noc: noc.ListChannels, ListChannelsRequest())
    if json:
        print_json([as_json(channel) for channel in answer.channels])
        return
    grid = table("CHANNEL", "NAME", "LCN", "STATE", "RECEIVERS UP", right=("LCN", "RECEIVERS UP"))
    for one in answer.channels:
        receivers = [hop for hop in one.hops if hop.point == "receiver"]
        up = sum(hop.verdict == "up" for hop in receivers)
        state = word("up" if one.up else "down")
        grid.add_row(one.id, one.name, str(one.lcn or "-"), state, f"{up}/{len(receivers)}")
    out().print(grid)


@app.command("show")
def show(
    channel: ChannelArgument,
    *,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Go on until Ctrl-C.")] = False,
    interval: Annotated[float, typer.Option("--interval", min=0.05, help="Seconds between looks of --watch.")] = 1.0,
    json: JsonOption = False,
    profile: ProfileOption = None,
) -> None:
    """The chain of a channel: bit rate, continuity errors and age at each hop; exit code 9 when a path is down."""
    from nf.cli.client import ask
    from nf.cli.output import out, print_json
    from nf.cli.watch import watch as go_on
    from nf.control.v1.noc_pb2 import GetChannelRequest

    request = GetChannelRequest(id=channel)
    if not watch:
        answer = ask(profile, lambda noc: noc.GetChannel, request)
        if json:
            print_json(as_json(answer.channel))
        else:
            out().print(chain(answer.channel))
        _judge(answer.channel)
        return
    if json:
        last = go_on(
            profile,
            lambda noc: noc.GetChannel,
            request,
            interval,
            emit=lambda answer: print_json(as_json(answer.channel), line=True),
        )
    else:
        last = go_on(
            profile, lambda noc: noc.GetChannel, request, interval, render=lambda answer: chain(answer.channel)
        )
    if last is not None:
        _judge(last.channel)


def _judge(channel: ChannelState) -> None:
    from nf.exit_codes import ExitCode

    if not channel.up:
        raise typer.Exit(ExitCode.RED)


def as_json(channel: ChannelState) -> JsonObject:
    """As on the wire, but null where nothing is measured instead of the wire's -1 and 0."""
    from nf.cli.wire import to_json

    data = to_json(channel)
    data["hops"] = [_hop_json(hop) for hop in channel.hops]
    return data


def _hop_json(hop: HopState) -> JsonObject:
    from nf.cli.wire import to_json

    data = to_json(hop)
    del data["has_continuity"]
    data["continuity_errors"] = hop.continuity_errors if hop.has_continuity else None
    data["age_ms"] = hop.age_ms if hop.age_ms >= 0 else None
    data["join_ms"] = hop.join_ms if hop.join_ms >= 0 else None
    return data


def chain(channel: ChannelState) -> Group:
    """The picture of `nf channel show`: one line for each hop, in the order of the signal."""
    from rich.console import Group
    from rich.text import Text

    from nf.cli.text import word

    number = f", LCN {channel.lcn}" if channel.lcn else ""
    head = Text.assemble(f"{channel.id} ", (channel.name, "bold"), f"{number}: ")
    head.append_text(word("up" if channel.up else "down"))
    return Group(head, _hops(channel))


def _hops(channel: ChannelState) -> Table:
    from nf.cli.output import table
    from nf.cli.text import milliseconds, rate, word

    numbers = ("BIT RATE", "CC ERRORS", "AGE", "JOIN", "PACKETS")
    grid = table("PATH", "APPLIANCE", "POINT", "STATE", *numbers, "DETAIL", right=numbers)
    for hop in sorted(channel.hops, key=lambda hop: (hop.path, hop.order, hop.appliance)):
        measured = hop.sampled_at > 0
        grid.add_row(
            hop.path,
            hop.appliance,
            hop.point,
            word(hop.verdict),
            rate(hop.bitrate_bps) if measured else "-",
            str(hop.continuity_errors) if hop.has_continuity else "-",
            milliseconds(hop.age_ms if hop.age_ms >= 0 and measured else None),
            milliseconds(hop.join_ms if hop.join_ms >= 0 and measured else None),
            str(hop.packets) if measured else "-",
            hop.detail,
        )
    return grid
