"""`nf supervisor run`"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nf.cli.options import LogLevelOption, RunDirOption, StateDirOption

if TYPE_CHECKING:
    from nf.contracts.units import UnitSpec

app = typer.Typer(add_completion=False, no_args_is_help=True)


@app.callback()
def group() -> None:  # keeps `run` a command of its own
    """Run it."""


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


def agent_unit(run_dir: Path, state_dir: Path, log_level: str) -> UnitSpec:
    """The agent under this very installation."""
    from nf.contracts.units import UnitSpec

    command = (sys.executable, "-m", "nf.cli.main", "agent", "run")
    options = ("--run-dir", str(run_dir), "--state-dir", str(state_dir), "--log-level", log_level)
    return UnitSpec(name="agent", argv=command + options)
