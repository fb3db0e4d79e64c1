"""`nf noc`: the NOC's first set-up and its process."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nf.cli.options import LogLevelOption, NocStateOption, read_file

app = typer.Typer(add_completion=False, no_args_is_help=True)


@app.command("init")
def init(
    *,
    fleet: Annotated[Path, typer.Option("--fleet", metavar="FILE", help="Fleet document.", show_default=False)],
    domain: Annotated[
        str, typer.Option("--domain", help="Trust domain: every identity is spiffe://DOMAIN/...")
    ] = "streamverse.test",
    state_dir: NocStateOption = Path("/var/lib/nf/noc"),
    address: Annotated[
        list[str] | None,
        typer.Option(
            "--address",
            metavar="HOST:PORT",
            help="Where others reach it; may be repeated. The next port is for enrolment. Else this host, port 7443.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Make a CA, a store and revision 1: the fleet of FILE without channels."""
    from nf.cli.client import run as wait
    from nf.cli.nocside import Settings
    from nf.cli.output import say
    from nf.documents.loader import load_fleet
    from nf.noc.daemon import init_noc

    listen = Settings.of(address or ())
    loaded = load_fleet(read_file(fleet), file=str(fleet))
    wait(init_noc(state_dir, domain, listen.address, listen.enrolment_address, listen.names, loaded))
    say(
        f"NOC of {domain} in {state_dir}, reached at {listen.dialled}; "
        "next: nf operator add NAME --role ROLE, nf noc run"
    )


@app.command("run")
def run(*, state_dir: NocStateOption = Path("/var/lib/nf/noc"), log_level: LogLevelOption = "info") -> None:
    """Serve appliances and operators until SIGTERM."""
    from nf.cli.client import run as wait
    from nf.cli.daemon import serve, start_logging
    from nf.cli.nocside import settings
    from nf.noc.daemon import NocConfig, run_noc

    start_logging(log_level)
    found = wait(settings(state_dir))
    serve(
        run_noc(
            NocConfig(
                state_dir=state_dir,
                address=found.address,
                enrolment_address=found.enrolment_address,
                names=found.names,
            )
        )
    )
