"""Options that many commands have, written once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nf.cli import complete
from nf.errors import InputError, NotFoundError, RefusedError

ProfileOption = Annotated[
    Path | None,
    typer.Option(
        "--profile", help="Operator profile (else NF_PROFILE, ~/.config/nf, /etc/nf/operator).", show_default=False
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON; errors too, on stderr.")]
ApplianceArgument = Annotated[str, typer.Argument(metavar="ID", autocompletion=complete.appliances)]
ChannelArgument = Annotated[str, typer.Argument(metavar="ID", autocompletion=complete.channels)]
SiteArgument = Annotated[
    str, typer.Argument(metavar="SITE", help="Of the fleet document.", autocompletion=complete.sites)
]
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
    """`5m` -> 300: a duration of the documents, as whole seconds. Raises InputError naming `option`.

    A `+` at the end of `option` belongs to what was typed: `--at +5m`.
    """
    from nf.documents.quantities import parse_duration_ms

    where = f"{option}{text}" if option.endswith("+") else f"{option} {text}"
    try:
        value_ms = parse_duration_ms(text)
    except ValueError as error:
        raise InputError(str(error), where=where, remedy="write for example 90s, 5m or 2h") from error
    if value_ms < at_least * 1000:
        raise InputError(f"at least {at_least} s is needed", where=where, remedy="write for example 90s, 5m or 2h")
    return value_ms // 1000


def require_new(file: Path, remedy: str = "name a new file") -> None:
    """A file that a command will make, before any work is done for it.

    Raises RefusedError when it is there, NotFoundError when its directory is not: one that is made by itself may stand
    where a disk should have been mounted.
    """
    if file.exists():
        raise RefusedError("exists already", where=str(file), remedy=remedy)
    folder = file.absolute().parent
    if not folder.is_dir():
        raise NotFoundError("no such directory", where=str(folder), remedy="check the path, or make it first")


def read_file(path: Path) -> bytes:
    """The bytes of a document. Raises InputError."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=str(path), remedy="check the path") from error
