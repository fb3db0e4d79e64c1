"""`nf supervisor`: the daemons of this box, also when the NOC is out of reach."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nf.cli.options import JsonOption, LogLevelOption, RunDirOption, StateDirOption

if TYPE_CHECKING:
    from nf.contracts.json import JsonObject
    from nf.contracts.units import UnitSpec, UnitStatus

app = typer.Typer(add_completion=False, no_args_is_help=True)


@app.command("run")
def run(
    *,
    boot_agent: Annotated[bool, typer.Option("--boot-agent", help="Start `nf agent run` as its first unit.")] = False,
    run_dir: RunDirOption = Path("/run/nf"),
    state_dir: StateDirOption = Path("/var/lib/nf"),
    log_level: LogLevelOption = "info",
) -> None:
    """Run daemons until SIGTERM; killed, the next one adopts them."""
    from nf.cli.daemon import serve, start_logging
    from nf.supervisor.daemon import run_supervisor

    start_logging(log_level)
    units = (agent_unit(run_dir, state_dir, log_level),) if boot_agent else ()
    serve(run_supervisor(run_dir, state_dir, units))


@app.command("list")
def list_(*, run_dir: RunDirOption = Path("/run/nf"), json: JsonOption = False) -> None:
    """The units of this box: state, pid, restarts."""
    import asyncio

    from nf.cli.output import out, print_json, table
    from nf.cli.text import when, word
    from nf.supervisor.client import SupervisorClient

    units = sorted(asyncio.run(SupervisorClient(run_dir / "supervisor.sock").list()), key=lambda unit: unit.name)
    if json:
        print_json([unit_json(unit) for unit in units])
        return
    grid = table("UNIT", "STATE", "PID", "SINCE", "RESTARTS", "LAST EXIT", right=("PID", "RESTARTS"))
    for unit in units:
        pid = "-" if unit.pid is None else str(unit.pid)
        grid.add_row(
            unit.name, word(unit.state.value), pid, when(unit.since), str(unit.restarts), unit.last_exit or "-"
        )
    out().print(grid)


@app.command("log")
def log(
    unit: Annotated[str, typer.Argument(help="The unit's name; see `nf supervisor list`.")],
    *,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, max=10_000)] = 50,
    run_dir: RunDirOption = Path("/run/nf"),
    json: JsonOption = False,
) -> None:
    """The last lines that a unit wrote."""
    import asyncio

    from nf.cli.output import print_json
    from nf.supervisor.client import SupervisorClient

    written = asyncio.run(SupervisorClient(run_dir / "supervisor.sock").log(unit, lines))
    if json:
        print_json(list(written))
    else:
        typer.echo("\n".join(written))


def unit_json(unit: UnitStatus) -> JsonObject:
    """`since`: seconds since the epoch."""
    return {
        "name": unit.name,
        "state": unit.state.value,
        "pid": unit.pid,
        "since": unit.since,
        "restarts": unit.restarts,
        "last_exit": unit.last_exit,
    }


def agent_unit(run_dir: Path, state_dir: Path, log_level: str) -> UnitSpec:
    """The agent under this very installation."""
    from nf.contracts.units import UnitSpec

    command = (sys.executable, "-m", "nf.cli.main", "agent", "run")
    options = ("--run-dir", str(run_dir), "--state-dir", str(state_dir), "--log-level", log_level)
    return UnitSpec(name="agent", argv=command + options)
