"""`nf backup`: on the NOC's own machine, or on the one that takes its place."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nf.cli.options import JsonOption, NocStateOption, require_new
from nf.errors import InputError, NotFoundError

if TYPE_CHECKING:
    from nf.noc.backup import Report

_VARIABLE = "NF_BACKUP_PASSPHRASE"

app = typer.Typer(add_completion=False, no_args_is_help=True)

PassphraseOption = Annotated[
    Path | None,
    typer.Option(
        "--passphrase-file",
        metavar="FILE",
        help=f"Its first line seals the keys. Else {_VARIABLE}, else it is asked for.",
        show_default=False,
    ),
]


def passphrase(file: Path | None, *, twice: bool = False) -> str:
    """Raises InputError when the file cannot be read, or nobody is there to be asked."""
    if file is not None:
        try:
            lines = file.read_text().splitlines()
        except (OSError, UnicodeError) as error:
            raise InputError("the passphrase cannot be read", where=str(file), remedy="check the path") from error
        return lines[0] if lines else ""
    if _VARIABLE in os.environ:
        return os.environ[_VARIABLE]
    from nf.cli.output import is_interactive

    if not is_interactive():
        raise InputError("no passphrase is given", remedy=f"give --passphrase-file FILE or set {_VARIABLE}")
    answer: str = typer.prompt("passphrase", hide_input=True, confirmation_prompt=twice, err=True)
    return answer


@app.command("create")
def create(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A new file.", show_default=False)],
    *,
    state_dir: NocStateOption = Path("/var/lib/nf/noc"),
    passphrase_file: PassphraseOption = None,
    json: JsonOption = False,
) -> None:
    """Documents, CA and audit of the NOC in one file, also while it runs. The keys are sealed by a passphrase."""
    from nf.cli.client import run
    from nf.clock import RealClock
    from nf.noc.backup import create as make

    require_new(file, "name a new file; backups are not overwritten")
    report = run(make(state_dir, file, passphrase(passphrase_file, twice=True), RealClock()))
    _print(report, f"backup of {report.domain} in {file}", json=json)


@app.command("verify")
def verify(
    source: Annotated[Path, typer.Argument(metavar="FILE", help="A backup, or a replica.", show_default=False)],
    *,
    passphrase_file: PassphraseOption = None,
    digests_only: Annotated[
        bool, typer.Option("--digests-only", help="Without the passphrase: every part is what was written.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Whether a backup or a replica would restore: every part, the CA's key, the signed audit chain."""
    from nf.cli.client import run
    from nf.cli.output import print_json, say
    from nf.clock import RealClock
    from nf.noc.backup import verify as inspect
    from nf.noc.restore import load, read_archive

    _require(source)
    if digests_only and source.is_file():
        about = read_archive(source).about
        if json:
            print_json({**about, "complete": False})
        else:
            say(f"{source}: every part is what was written; the keys and the audit chain need the passphrase")
        return
    given = "" if source.is_dir() else passphrase(passphrase_file)
    report = run(inspect(load(source, given), RealClock(), str(source)))
    _print(report, f"{source} would restore {report.domain}", json=json)


@app.command("restore")
def restore(
    source: Annotated[Path, typer.Argument(metavar="FILE", help="A backup, or a replica.", show_default=False)],
    *,
    state_dir: NocStateOption = Path("/var/lib/nf/noc"),
    passphrase_file: PassphraseOption = None,
    json: JsonOption = False,
) -> None:
    """Make a NOC of it in an empty directory. Never start it while the old one may still run."""
    from nf.cli.client import run
    from nf.cli.output import say
    from nf.clock import RealClock
    from nf.noc.restore import restore as bring_back

    _require(source)
    given = "" if source.is_dir() else passphrase(passphrase_file)
    report = run(bring_back(source, state_dir, given, RealClock()))
    _print(report, f"NOC of {report.domain} restored in {state_dir}", json=json)
    if not json:
        say("next: nf noc run")


def _require(source: Path) -> None:
    """Before anybody is asked for a passphrase. Raises NotFoundError."""
    if not source.exists():
        raise NotFoundError("cannot be read: no such file or directory", where=str(source), remedy="check the path")


def _print(report: Report, text: str, *, json: bool) -> None:
    from dataclasses import asdict

    from nf.cli.output import print_json, say
    from nf.cli.text import when

    if json:
        print_json(asdict(report))
    else:
        say(f"{text}: revision {report.revision}, {report.audit_records} audit records, of {when(report.taken_at)}")
