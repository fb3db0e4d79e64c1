"""`nf tree`: the IPTV tree as operators see it: what is planned, hop by hop, and what a loss would do to it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headend.multicast import trace_commands
from nf.contracts.noc_client import CLIENT
from nf.errors import InputError, NotFoundError

if TYPE_CHECKING:
    from headend.multicast.addresses import IpAddress
    from headend.multicast.explain import Line, PathPlan
    from headend.multicast.given import Given
    from headend.multicast.planning.planned import Planned
    from headend.multicast.planning.whatif import Loss, WhatIf

app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="The IPTV tree: channels, trees, load, what-if, trace."
)
trace_commands.register(app)


def _file(context: typer.Context, name: str) -> Path | None:
    value = context.params.get(name)
    return Path(value) if value else None


def channel_names(context: typer.Context, incomplete: str) -> list[str]:
    """Completion."""
    from headend.multicast.given import channels

    return [
        name for name in channels(_file(context, "lineup"), _file(context, "profile")) if name.startswith(incomplete)
    ]


def path_names(context: typer.Context, incomplete: str) -> list[str]:
    """Completion."""
    from headend.multicast.given import paths

    channel = str(context.params.get("channel") or "")
    found = paths(_file(context, "lineup"), channel, _file(context, "profile"))
    return [name for name in found if name.startswith(incomplete)]


def link_names(context: typer.Context, incomplete: str) -> list[str]:
    """Completion."""
    from headend.multicast.given import links_and_nodes

    links, _ = links_and_nodes(_file(context, "fleet"), _file(context, "profile"))
    return [name for name in links if name.startswith(incomplete)]


def node_names(context: typer.Context, incomplete: str) -> list[str]:
    """Completion."""
    from headend.multicast.given import links_and_nodes

    _, nodes = links_and_nodes(_file(context, "fleet"), _file(context, "profile"))
    return [name for name in nodes if name.startswith(incomplete)]


LineupOption = Annotated[
    Path | None,
    typer.Option("--lineup", metavar="FILE", help="Line-up, instead of the committed one.", show_default=False),
]
FleetOption = Annotated[
    Path | None,
    typer.Option("--fleet", metavar="FILE", help="Fleet, instead of the committed one.", show_default=False),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON; errors too, on stderr.")]
ProfileOption = Annotated[Path | None, typer.Option("--profile", help="Operator profile.", show_default=False)]


@app.command()
def show(
    *, lineup: LineupOption = None, fleet: FleetOption = None, json: JsonOption = False, profile: ProfileOption = None
) -> None:
    """Every path of IPTV: its legs with (S, G), what the PoPs give out, and which PoPs."""
    from headend.multicast.explain import leg_name, way_json
    from headend.multicast.given import documents

    client = CLIENT.get()
    given = documents(lineup, fleet, profile)
    plan = given.plan()
    if json:
        client.print_json({"paths": [way_json(planned) for planned in plan.ways]})
        return
    rows: list[tuple[str, ...]] = []
    for planned in plan.ways:
        way = planned.way
        for one in planned.streams:
            stream = one.stream
            joined = f"{stream.source}, {_joined(stream.group, stream.port)}"
            rows.append(
                (way.name, leg_name(stream.leg), joined, stream.encapsulation, way.path.admission,
                 _mbit(way.path.rate_bps), ", ".join(planned.pops))
            )  # fmt: skip
        if planned.output is not None:
            group, port = planned.output
            rows.append((way.name, "output", f"each PoP, {_joined(group, port)}", "ts", "", "", ""))
    client.print_table(("PATH", "LEG", "(S, G)", "AS", "ADMISSION", "MBIT/S", "POPS"), tuple(rows))
    _note_problems(given, plan)


@app.command()
def plan(
    *,
    channel: Annotated[
        str, typer.Option("--channel", metavar="ID", help="Of the line-up.", autocompletion=channel_names)
    ],
    path: Annotated[
        str,
        typer.Option(
            "--path",
            metavar="ID",
            help="One of its paths of type ssm; else all.",
            autocompletion=path_names,
            show_default=False,
        ),
    ] = "",
    lineup: LineupOption = None,
    fleet: FleetOption = None,
    svg: Annotated[
        Path | None, typer.Option("--svg", metavar="FILE", help="Write the picture there as SVG.", show_default=False)
    ] = None,
    json: JsonOption = False,
    profile: ProfileOption = None,
) -> None:
    """The trees of a channel hop by hop, with the load on each link, and what a tree could cost at best."""
    from headend.multicast.explain import Explainer, path_json
    from headend.multicast.given import documents

    client = CLIENT.get()
    given = documents(lineup, fleet, profile)
    planned = given.plan()
    ways = given.ways(planned, channel, path)
    if svg is not None and len(ways) > 1:
        names = ", ".join(way.way.path.id for way in ways)
        raise InputError("a picture shows one path", where=f"--svg {svg}", remedy=f"choose with --path: {names}")
    explainer = Explainer(planned)
    found = [explainer.path(way) for way in ways]
    if svg is not None:
        _draw(svg, found[0])
    if json:
        client.print_json({"paths": [path_json(one) for one in found]})
        return
    for one in found:
        _print_path(one)
    if svg is not None:
        client.say(f"drawn: {svg}")


def _draw(svg: Path, found: PathPlan) -> None:
    from headend.multicast.drawing import svg_tree

    try:
        svg.write_text(svg_tree(found), encoding="utf-8")
    except OSError as error:
        remedy = "name a file in a directory that is there and may be written to"
        raise InputError(f"cannot be written: {error.strerror}", where=f"--svg {svg}", remedy=remedy) from None


def _print_path(found: PathPlan) -> None:
    from headend.multicast.explain import leg_name, summary

    client, way = CLIENT.get(), found.way.way
    client.say(f"{way.name}: {_mbit(way.path.rate_bps)} Mbit/s, protection {way.path.protection}")
    for leg in found.legs:
        stream = leg.stream.stream
        name = "" if stream.leg is None else f"leg {stream.leg}: "
        client.say(f"{name}({stream.source}, {stream.group}):{stream.port} as {stream.encapsulation}")
    if found.way.output is not None:
        group, port = found.way.output
        client.say(f"given out by each PoP as (its own address, {group}):{port}")
    rows = [
        (leg_name(leg.stream.stream.leg), *_cells(line))
        for leg in found.legs
        for line in leg.lines
    ]  # fmt: skip
    rows += [("output", *_cells(line)) for line in found.lans]
    client.print_table(("LEG", "HOP", "FROM", "TO", "LINK", "IPTV MBIT/S", "CAPACITY", "LOAD"), tuple(rows))
    for line in summary(found):
        client.say(line)


def _cells(line: Line) -> tuple[str, ...]:
    load = f"{100 * line.used_bps / line.capacity_bps:.0f} %" if line.capacity_bps else "-"
    to = ", ".join(line.receivers)
    hop = str(line.hop) if line.hop else ""
    capacity = _mbit(line.capacity_bps) if line.capacity_bps else "-"  # a tunnel has that of the links under it
    return hop, line.sender, to, line.link, _mbit(line.used_bps), capacity, load


@app.command()
def whatif(
    *,
    link: Annotated[
        str,
        typer.Option(
            "--link",
            metavar="A:B",
            help="Two appliances, or the link's id.",
            autocompletion=link_names,
            show_default=False,
        ),
    ] = "",
    node: Annotated[
        str, typer.Option("--node", metavar="ID", help="An appliance.", autocompletion=node_names, show_default=False)
    ] = "",
    lineup: LineupOption = None,
    fleet: FleetOption = None,
    json: JsonOption = False,
    profile: ProfileOption = None,
) -> None:
    """What the loss of a link or a node would do: which channels go, where they move, what no longer fits."""
    from headend.multicast.given import documents
    from headend.multicast.losses import whatif_json
    from headend.multicast.planning.whatif import what_if

    if bool(link) == bool(node):
        raise InputError(
            "takes one of --link and --node", where="nf tree whatif", remedy="write --link c1:pop1, or --node c1"
        )
    given = documents(lineup, fleet, profile)
    planned = given.plan()
    found = what_if(planned, _loss(planned, link, node))
    if json:
        CLIENT.get().print_json(whatif_json(found))
        return
    _print_whatif(planned, found)
    _note_problems(given, planned)


def _loss(plan: Planned, link: str, node: str) -> Loss:
    from headend.multicast.planning.whatif import Loss
    from nf.documents.rules import nearest

    if node:
        if node not in plan.topology.appliances:
            raise NotFoundError(
                "no such appliance in the fleet", where=node, remedy=nearest(node, plan.topology.appliances)
            )
        return Loss(node=node)
    members = plan.topology.members
    if link in members:
        return Loss(link=link)
    ends = set(link.split(":"))
    found = sorted(name for name, own in members.items() if len(ends) == 2 and ends <= set(own))
    if not found:
        raise NotFoundError("no such link in the fleet", where=link, remedy=nearest(link, members))
    if len(found) > 1:
        raise InputError("several links are between them", where=link, remedy=f"name one: {', '.join(found)}")
    return Loss(link=found[0])


def _print_whatif(plan: Planned, found: WhatIf) -> None:
    from headend.multicast.explain import leg_name
    from headend.multicast.losses import sentences

    client = CLIENT.get()
    if found.moves:
        rows = tuple(
            (move.way.way.name, leg_name(move.leg), move.pop, " > ".join(move.before), " > ".join(move.after) or "gone")
            for move in found.moves
        )
        client.print_table(("PATH", "LEG", "POP", "NOW", "THEN"), rows)
    for line in sentences(plan, found):
        client.say(line)


def _note_problems(given: Given, plan: Planned) -> None:
    if plan.problems:
        count = len(set(plan.problems))
        CLIENT.get().say(
            f"{count} problem{'s' if count > 1 else ''} of {given.lineup.file} left out: nf lineup check says which"
        )


def _joined(group: IpAddress, port: int) -> str:
    return f"{group}:{port}" if group.version == 4 else f"[{group}]:{port}"


def _mbit(bps: float) -> str:
    return f"{bps / 1e6:.3f}"
