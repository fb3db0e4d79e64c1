"""`nf lab fault`: put a fault into a running lab, and take it away."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from nf.cli.output import out, print_json, say, table

if TYPE_CHECKING:
    from lab.faults import Faults
    from lab.native.processes import NodeProcess

app = typer.Typer(help="Put a fault into a running lab, and take it away.", no_args_is_help=True)

LabOption = Annotated[str | None, typer.Option("--lab", help="The lab's name; needed when several are up.")]
Node = Annotated[str, typer.Argument(help="The node.")]
Unit = Annotated[str, typer.Argument(help="A unit of the node's supervisor, or part of a command line.")]
End = Annotated[str, typer.Argument(metavar="NODE:INTERFACE", help="The end of a link, such as c1:eth3.")]
Program = Annotated[str, typer.Argument(help="A program, such as nft.")]


def _faults(lab: str | None) -> Faults:
    from lab.faults import Faults
    from lab.native.handle import Lab

    return Faults(Lab.find(lab))


def _end(text: str) -> tuple[str, str]:
    from lab.faults import parse_end

    return parse_end(text)


def _told(node: str, verb: str, processes: Sequence[NodeProcess]) -> None:
    for process in processes:
        say(f"{node}: {verb} {process.inner} {' '.join(process.argv) or process.command}")


@app.command()
def kill(node: Node, unit: Unit, lab: LabOption = None) -> None:
    """Kill a unit's process (SIGKILL), or those whose command line contains the text."""
    _told(node, "killed", _faults(lab).kill(node, unit))


@app.command()
def freeze(node: Node, unit: Unit, lab: LabOption = None) -> None:
    """Stop a unit's processes (SIGSTOP): alive, and deaf."""
    _told(node, "froze", _faults(lab).freeze(node, unit))


@app.command()
def thaw(node: Node, unit: Unit, lab: LabOption = None) -> None:
    """Let frozen processes go on (SIGCONT)."""
    _told(node, "thawed", _faults(lab).thaw(node, unit))


@app.command()
def silence(end: End, lab: LabOption = None) -> None:
    """Drop everything at an end, both ways; the carrier stays."""
    _faults(lab).silence(*_end(end))
    say(f"{end} is silent")


@app.command()
def restore(end: End, lab: LabOption = None) -> None:
    """Take back `silence`."""
    _faults(lab).restore(*_end(end))
    say(f"{end} carries again")


@app.command()
def cut(end: End, lab: LabOption = None) -> None:
    """Put an end down: both ends lose the carrier."""
    _faults(lab).cut(*_end(end))
    say(f"{end} is cut")


@app.command()
def mend(end: End, lab: LabOption = None) -> None:
    """Take back `cut`."""
    _faults(lab).mend(*_end(end))
    say(f"{end} is up")


@app.command()
def loss(
    end: End,
    percent: Annotated[float, typer.Option("--percent", help="Share of what the end sends; 0 takes it back.")],
    lab: LabOption = None,
) -> None:
    """Lose some of what an end sends, at random."""
    _faults(lab).loss(*_end(end), percent)
    say(f"{end} loses {percent:g} % of what it sends" if percent else f"{end} carries again")


@app.command()
def halt(
    node: Node,
    lit: Annotated[bool, typer.Option("--lit", help="Its links go on shining and carry nothing.")] = False,
    lab: LabOption = None,
) -> None:
    """Let a whole node die: every process stopped, every link dark."""
    links = _faults(lab).halt(node, lit=lit)
    say(f"{node} is dead, {'silent' if lit else 'dark'}: {', '.join(links)}" if links else f"{node} is dead already")


@app.command()
def resume(node: Node, lab: LabOption = None) -> None:
    """Take back `halt`."""
    links = _faults(lab).resume(node)
    say(f"{node} lives again: {', '.join(links)}" if links else f"{node} was not dead")


@app.command("break")
def break_program(
    node: Node,
    program: Program,
    when: Annotated[str, typer.Option("--when", help="Only with this among its arguments.")] = "",
    unless: Annotated[str, typer.Option("--unless", help="Not with this among its arguments.")] = "",
    lab: LabOption = None,
) -> None:
    """Let a program of the node fail whenever it is run, or with some arguments only."""
    say(f"{node}: {_faults(lab).break_program(node, program, when=when, unless=unless)} fails from now on")


@app.command("mend-program")
def mend_program(node: Node, program: Program, lab: LabOption = None) -> None:
    """Take back `break`."""
    say(f"{node}: {_faults(lab).mend_program(node, program)} is whole")


@app.command()
def killpoint(
    node: Node,
    name: Annotated[str, typer.Argument(help="Such as effect:apply, or journal#7 for the seventh of its kind.")],
    lab: LabOption = None,
) -> None:
    """Let the node's agent die at a named point of its next transaction."""
    _faults(lab).killpoint(node, name)
    say(f"{node}: the agent dies at {name}")


@app.command()
def fade(
    db: Annotated[float, typer.Option("--db", help="How deep, in dB; 0 is the clear sky again.")],
    uplink: Annotated[bool, typer.Option("--uplink", help="At the uplink: every receiver and the beacon.")] = False,
    site: Annotated[str | None, typer.Option("--site", help="At the downlink of one site, such as pop1.")] = None,
    slope: Annotated[float, typer.Option("--slope", help="In dB/s; 0 is at once.")] = 0.5,
    lab: LabOption = None,
) -> None:
    """Let it rain on the satellite link, from what it is now to a depth."""
    from nf.errors import InputError

    if uplink == (site is not None):
        raise InputError("where does it rain?", where="nf lab fault fade", remedy="give --uplink, or --site SITE")
    nodes = _faults(lab).fade(site, db, slope)
    pace = f"at {slope:g} dB/s" if slope else "at once"
    say(f"{site or 'uplink'}: {db:g} dB {pace}, seen by {', '.join(nodes)}")


@app.command()
def device(
    node: Node,
    kind: Annotated[str, typer.Argument(help="ignored-set, altered-set, wrong-answer, slow, silent, reboot...")],
    seconds: Annotated[
        float | None, typer.Option("--seconds", help="How late a slow one answers; 3 by default.")
    ] = None,
    lab: LabOption = None,
) -> None:
    """Let a simulated headend device misbehave, or reboot."""
    lasting = _faults(lab).disturb(node, kind, seconds=seconds)
    say(f"{node}: {kind}, until `nf lab fault mend-device {node}`" if lasting else f"{node}: {kind}")


@app.command("mend-device")
def mend_device(
    node: Node,
    kind: Annotated[str | None, typer.Argument(help="Take back this kind only.")] = None,
    lab: LabOption = None,
) -> None:
    """Take back `device`."""
    stood = _faults(lab).mend_device(node, kind)
    say(f"{node}: {', '.join(stood) or 'nothing'} is taken back")


@app.command("list")
def list_faults(
    lab: LabOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output.")] = False,
) -> None:
    """Show the faults that stand."""
    standing = _faults(lab).standing()
    if as_json:
        print_json({"faults": [fault.to_json() for fault in standing]})
        return
    if not standing:
        say("no fault stands")
        return
    grid = table("fault", "node", "target", "detail")
    for fault in standing:
        grid.add_row(fault.kind.value, fault.node, fault.target, fault.detail)
    out().print(grid)


@app.command()
def clear(lab: LabOption = None) -> None:
    """Take back every standing fault."""
    cleared = _faults(lab).clear()
    for fault in cleared:
        say(f"{fault.kind.value} {fault.node}:{fault.target} is taken back")
    if not cleared:
        say("no fault stood")
