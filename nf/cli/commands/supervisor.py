"""`nf supervisor`: the daemons of this box, also when the NOC is out of reach."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from nf.cli.options import JsonOption, LogLevelOption, RunDirOption, StateDirOption

if TYPE_CHECKING:
    from nf.contracts.json import JsonObject
    from nf.contracts.units import Units, UnitSpec, UnitStatus

T = TypeVar("T")

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
def list_(
    *,
    run_dir: RunDirOption = Path("/run/nf"),
    state_dir: StateDirOption = Path("/var/lib/nf"),
    json: JsonOption = False,
) -> None:
    """The units of this box: state, pid, restarts. On an appliance systemd runs them."""
    from nf.cli.output import out, print_json, table
    from nf.cli.text import when, word

    units = sorted(_asked(run_dir, state_dir, lambda units: units.list()), key=lambda unit: unit.name)
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
    state_dir: StateDirOption = Path("/var/lib/nf"),
    json: JsonOption = False,
) -> None:
    """The last lines that a unit wrote."""
    from nf.cli.output import print_json

    written = _asked(run_dir, state_dir, lambda units: units.log(unit, lines))
    if json:
        print_json(list(written))
    else:
        typer.echo("\n".join(written))


@app.command("restore", hidden=True)
def restore(*, state_dir: StateDirOption = Path("/var/lib/nf")) -> None:
    """Give systemd the units that the agent defined before this boot; nf-units-restore.service runs it."""
    import asyncio

    from nf.supervisor.choice import CONFIGURATION
    from nf.supervisor.systemd.units import SystemdUnits

    async def restored() -> tuple[str, ...]:
        units = SystemdUnits(state_dir, hidden=(state_dir, CONFIGURATION))
        try:
            return await units.restore()
        finally:
            await units.close()

    typer.echo(f"started: {', '.join(asyncio.run(restored())) or 'none'}")


def _asked(run_dir: Path, state_dir: Path, ask: Callable[[Units], Awaitable[T]]) -> T:
    """Whatever runs the units here."""
    import asyncio

    from nf.supervisor.choice import found, open_units
    from nf.supervisor.systemd.units import SystemdUnits

    async def asked() -> T:
        units = open_units(found(run_dir, state_dir), run_dir, state_dir)
        try:
            return await ask(units)
        finally:
            if isinstance(units, SystemdUnits):
                await units.close()

    return asyncio.run(asked())


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
