"""`nf agent run`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nf.cli.options import LogLevelOption, RunDirOption, StateDirOption
from nf.supervisor.choice import UnitsKind

app = typer.Typer(add_completion=False, no_args_is_help=True)


@app.callback()
def group() -> None:  # keeps `run` a command of its own
    """Run it."""


@app.command("run")
def run(
    *,
    state_dir: StateDirOption = Path("/var/lib/nf"),
    run_dir: RunDirOption = Path("/run/nf"),
    enrolment: Annotated[
        Path, typer.Option("--enrolment", metavar="FILE", help="From `nf appliance enroll`; may come later.")
    ] = Path("/etc/nf/enrolment.json"),
    units: Annotated[
        UnitsKind, typer.Option("--units", help="What runs the daemons: `nf supervisor run`, or this box's systemd.")
    ] = UnitsKind.SUPERVISOR,
    log_level: LogLevelOption = "info",
) -> None:
    """Serve this appliance: enrol, then take line-ups from the NOC until SIGTERM. Services outlive it."""
    from nf.agent.daemon import AgentConfig, run_agent
    from nf.cli.daemon import serve, start_logging

    start_logging(log_level)
    serve(run_agent(AgentConfig(state_dir=state_dir, run_dir=run_dir, enrolment_file=enrolment, units=units)))
