"""`nf noc`: the NOC's first set-up and its process."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nf.cli.commands.noc_service import app as services
from nf.cli.options import JsonOption, LogLevelOption, NocStateOption, ProfileOption, read_file

app = typer.Typer(add_completion=False, no_args_is_help=True)
app.add_typer(services, name="service", help="Services that the NOC hosts: off until they are set (on its machine).")


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
def run(
    *,
    state_dir: NocStateOption = Path("/var/lib/nf/noc"),
    replica: Annotated[
        Path | None,
        typer.Option(
            "--replica", metavar="DIR", help="Keep a copy of the state here, on another disk.", show_default=False
        ),
    ] = None,
    log_level: LogLevelOption = "info",
) -> None:
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
                replica=replica,
            )
        )
    )


@app.command("status")
def status(*, json: JsonOption = False, profile: ProfileOption = None) -> None:
    """Version, revision, who is there, and how old the copy in the second place is."""
    from nf.cli.admin import ask_admin
    from nf.cli.output import print_json, say
    from nf.cli.text import when
    from nf.cli.wire import to_json
    from nf.control.v1.admin_pb2 import GetStatusRequest

    answer = ask_admin(profile, lambda noc: noc.GetStatus, GetStatusRequest())
    if json:
        print_json(to_json(answer))
        return
    say(f"version     {answer.software_version}")
    say(f"revision    {answer.current_revision}")
    say(f"appliances  {answer.online} of {answer.appliances} online")
    say(f"alarms      {answer.alarms}")
    if not answer.HasField("replica"):
        say("replica     none: run the NOC with --replica DIR")
        return
    copy = answer.replica
    say(f"replica     {copy.directory}, {copy.age_s:.0f} s old{', STALE' if copy.stale else ''}")
    say(f"            last copy {when(copy.copied_at) if copy.copied_at else 'never'}")
    if copy.error:
        say(f"            {copy.error}")
