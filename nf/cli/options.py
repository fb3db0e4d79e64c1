"""Options that many commands have, written once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nf.cli import complete
from nf.errors import InputError

ProfileOption = Annotated[
    Path | None,
    typer.Option(
        "--profile", help="Operator profile (else NF_PROFILE, ~/.config/nf, /etc/nf/operator).", show_default=False
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON; errors too, on stderr.")]
ApplianceArgument = Annotated[str, typer.Argument(metavar="ID", autocompletion=complete.appliances)]
ChannelArgument = Annotated[str, typer.Argument(metavar="ID", autocompletion=complete.channels)]
SiteArgument = Annotated[str, typer.Argument(metavar="SITE", autocompletion=complete.sites)]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why; it is shown and audited.", show_default=False)]
WithoutOption = Annotated[
    list[str] | None,
    typer.Option(
        "--without",
        metavar="SITE",
        help="Leave out the appliances of this optional site; may be repeated.",
        autocompletion=complete.sites,
        show_default=False,
    ),
]
LineupFile = Annotated[Path, typer.Argument(metavar="FILE", help="Line-up document.", show_default=False)]
FleetOption = Annotated[
    Path | None, typer.Option("--fleet", metavar="FILE", help="Fleet document.", show_default=False)
]
StateDirOption = Annotated[Path, typer.Option("--state-dir", metavar="DIR", help="What survives a restart.")]
NocStateOption = Annotated[Path, typer.Option("--state-dir", metavar="DIR", help="The NOC's CA, store and documents.")]
RunDirOption = Annotated[Path, typer.Option("--run-dir", metavar="DIR", help="Sockets; emptied at boot.")]
LogLevelOption = Annotated[str, typer.Option("--log-level", help="debug, info, warning or error.")]


def seconds(text: str, option: str, *, at_least: int = 1) -> int:
    """`5m` -> 300: a duration of the documents, as whole seconds. Raises InputError naming `option`."""
    from nf.documents.quantities import parse_duration_ms

    try:
        value_ms = parse_duration_ms(text)
    except ValueError as error:
        raise InputError(str(error), where=f"{option} {text}", remedy="write for example 90s, 5m or 2h") from error
    if value_ms < at_least * 1000:
        raise InputError(f"at least {at_least} s is needed", where=f"{option} {text}")
    return value_ms // 1000


def read_file(path: Path) -> bytes:
    """The bytes of a document. Raises InputError."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=str(path), remedy="check the path") from error
