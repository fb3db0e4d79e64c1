"""`nf lab`: a network to try things in, and the faults to try it with."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lab.fault_commands import app as fault_app
from nf.cli.output import note, out, print_json, say, table
from nf.contracts.json import Json, JsonObject
from nf.errors import InputError

if TYPE_CHECKING:
    from lab.native.state import LabState

REFERENCE = Path(__file__).with_name("topologies") / "streamverse.clab.yml"

app = typer.Typer(help="A network of namespaces to try things in.", no_args_is_help=True)
app.add_typer(fault_app, name="fault")

LabOption = Annotated[str | None, typer.Option("--lab", help="The lab's name; needed when several are up.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]


@app.command()
def up(
    topology: Annotated[Path, typer.Argument(help="A *.clab.yml file; the reference network by default.")] = REFERENCE,
    name: Annotated[str | None, typer.Option("--name", help="Name the lab otherwise than the file does.")] = None,
    directory: Annotated[Path | None, typer.Option("--dir", help="Where the nodes' directories are.")] = None,
    runner: Annotated[str, typer.Option("--runner", help="native or containerlab.")] = "native",
    as_json: JsonOption = False,
) -> None:
    """Make the network of a topology file and start its nodes."""
    from lab.topology_schema import valid_name

    if name is not None and not valid_name(name):
        raise InputError(f"{name} is no name for a lab", where="--name", remedy="use letters, digits, hyphens")
    made = _up(topology, name, directory, runner)
    nodes: list[Json] = [node for node in made.nodes if made.nodes[node].kind == "linux"]
    if as_json:
        print_json({"name": made.name, "runner": made.runner, "directory": str(made.directory), "nodes": nodes})
        return
    say(f"lab {made.name} is up: {len(nodes)} nodes ({', '.join(map(str, nodes))})")
    note(f"next: nf lab status, nf lab exec {nodes[0]} COMMAND, nf lab down {made.name}")


def _up(topology: Path, name: str | None, directory: Path | None, runner: str) -> LabState:
    from lab.native.state import require_root
    from lab.topology import load_topology

    require_root()
    description = load_topology(topology)
    if runner == "native":
        from lab.native import runner as native

        return native.up(description, name=name, directory=directory)
    if runner == "containerlab":
        from lab import containerlab

        if directory is not None:
            raise InputError("containerlab chooses its own directory", where="--dir", remedy="leave it out")
        return containerlab.up(description, name=name)
    raise InputError(f"no runner {runner}", where="--runner", remedy="use native or containerlab")


@app.command()
def down(
    name: Annotated[str | None, typer.Argument(help="The lab's name; needed when several are up.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Every lab of this machine.")] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the nodes' directories for the next `up`.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Remove a lab without a trace. Nothing to remove is no error."""
    from lab.native import state
    from lab.native.state import require_root

    require_root()
    known = state.names()
    chosen = known if every else (name or os.environ.get("NF_LAB") or _only(known),)
    removed: list[Json] = [lab for lab in chosen if lab and _down(lab, keep=keep)]
    if as_json:
        print_json({"removed": removed})
        return
    for lab in removed:
        say(f"lab {lab} is down")
    if not removed:
        say(f"no lab {name} is up" if name else "no lab is up")


def _only(known: tuple[str, ...]) -> str:
    if len(known) > 1:
        raise InputError(f"several labs are up: {', '.join(known)}", where="nf lab down", remedy="name one, or --all")
    return known[0] if known else ""


def _down(lab: str, *, keep: bool) -> bool:
    from lab.native import runner, state

    made = state.load(lab)
    if made is not None and made.runner == "containerlab":
        from lab import containerlab

        containerlab.down(lab, keep=keep)
        return True
    return runner.down(lab, keep=keep)


@app.command()
def status(
    name: Annotated[str | None, typer.Argument(help="One lab; every one by default.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Show what runs: nodes, interfaces, addresses, processes, standing faults."""
    from lab.native import state
    from lab.native.handle import Lab
    from lab.native.state import require_root
    from lab.native.status import lab_status

    require_root()
    labs = [Lab.find(lab) for lab in ((name,) if name else state.names())]
    found = [{**lab_status(lab), "faults": _faults(lab)} for lab in labs]
    if as_json:
        print_json({"labs": found})
        return
    if not found:
        say("no lab is up")
    for lab in found:
        _show(lab)


def _faults(lab: Any) -> list[Json]:
    from lab.faults import Faults
    from lab.native.state import Phase

    if lab.state.phase is not Phase.UP or lab.state.runner != "native":
        return []
    return [fault.to_json() for fault in Faults(lab).standing()]


def _show(lab: JsonObject) -> None:
    say(f"lab {lab['name']} ({lab['runner']}, {lab['phase']}), directory {lab['directory']}")
    grid = table("node", "state", "pid", "main process", "interfaces", "processes", right=("pid",))
    nodes: Any = lab["nodes"]
    for node in nodes:
        main = node["main"]
        shown = " ".join(filter(None, (main["state"], main["last_exit"]))) if main else "-"
        links = [f"{i['name']} {_addresses(i)}{_link_state(i)}" for i in node["interfaces"]]
        processes = [f"{p['pid']} {p['command'][:60]}" for p in node["processes"]]
        running = "up" if node["running"] else "DOWN"
        pid = str(node["pid"] or "-")
        grid.add_row(node["name"], running, pid, shown, "\n".join(links), "\n".join(processes))
    out().print(grid)
    faults: Any = lab["faults"]
    for fault in faults:
        say(f"fault: {fault['kind']} {fault['node']}:{fault['target']}")


def _addresses(link: Any) -> str:
    """Those that somebody chose; link-local ones stand in the JSON."""
    return " ".join(address for address in link["addresses"] if not address.startswith("fe80:")) or "-"


def _link_state(link: JsonObject) -> str:
    if not link["up"]:
        return " (down)"
    return "" if link["carrier"] else " (no carrier)"


@app.command(
    "exec",
    context_settings={"allow_interspersed_args": False, "ignore_unknown_options": True},
)
def execute(
    node: Annotated[str, typer.Argument(help="The node.")],
    command: Annotated[list[str], typer.Argument(help="The command and its arguments.")],
    lab: LabOption = None,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Let it go on by itself; output to a file.")] = False,
    log: Annotated[Path | None, typer.Option("--log", help="With --detach: the file (on the host).")] = None,
) -> None:
    """Run a command inside a node: its streams, terminal and exit code are passed through."""
    from lab.native.handle import Lab, log_name

    found = Lab.find(lab)
    argv = command[1:] if command[0] == "--" else command
    if not argv:
        raise InputError("no command", where="nf lab exec", remedy="write it after the node's name")
    if found.state.runner == "containerlab":
        from lab import containerlab

        containerlab.execute(found.state, node, argv, detach=detach)
    if not detach:
        found.execute(node, argv)
    target = log or found.folder(node) / "log" / log_name(argv)
    pid = found.spawn(node, argv, log=target)
    say(f"{node}: process {pid}, output in {target}")
