"""`nf-li lemf`: the agency's receiver, and what it received."""

from __future__ import annotations

import asyncio
import contextlib
import json as jsons
import signal
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from lawful_intercept.lemf.settings import LemfSettings
    from nf.contracts.json import Json, JsonObject

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="The agency's side: receive HI2 and HI3, check, show, play, export.",
)

Config = Annotated[Path, typer.Option("--config", metavar="FILE", help="Settings of the receiver.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
SessionNumber = Annotated[int, typer.Argument(metavar="SESSION", help="Its number, as `sessions` lists it.", min=1)]


def _settings(config: Path) -> LemfSettings:
    from lawful_intercept.configuration import load
    from lawful_intercept.lemf.settings import LemfSettings

    return load(config, LemfSettings)


@app.command()
def run(*, config: Config) -> None:
    """Receive until it is stopped; the ports are printed when they are open."""
    from lawful_intercept import isolation
    from lawful_intercept.lemf import process
    from nf.clock import RealClock

    settings = _settings(config)
    isolation.unseen(settings.user)

    def ready(ports: Sequence[int]) -> None:
        typer.echo(" ".join(f"{name} {port}" for name, port in zip(("hi2", "hi3", "portal"), ports, strict=False)))

    async def until_stopped() -> None:
        running = asyncio.ensure_future(process.run(settings, RealClock(), ready=ready))
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, running.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            await running

    isolation.run(until_stopped)


@app.command()
def sessions(
    *,
    config: Config,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="Rows to show.")] = 50,
    offset: Annotated[int, typer.Option("--offset", min=0, help="Rows to pass over.")] = 0,
    json: AsJson = False,
) -> None:
    """What was intercepted, newest first: LIID, CIN, times, how much, whether it is whole."""
    from lawful_intercept.lemf.pages import moment, state_of
    from lawful_intercept.lemf.process import archive_of

    with archive_of(_settings(config)) as archive:
        found = archive.sessions(limit, offset)
    if json:
        _print([one.to_json() for one in found])
        return
    rows = []
    for one in found:
        counts = {stream.data_type.name: stream.received for stream in one.streams}
        numbers = [str(counts.get(name, 0)) for name in ("IRI", "CC")]
        cin = "" if one.cin is None else str(one.cin)
        rows.append(
            (str(one.number), one.liid_text, cin, moment(one.first_ns), moment(one.last_ns), *numbers, state_of(one))
        )
    _table(("session", "LIID", "CIN", "first", "last", "IRI", "CC", "state"), rows)


@app.command()
def show(session: SessionNumber, *, config: Config, json: AsJson = False) -> None:
    """One session: its counts, gaps and checks, and its IRI."""
    from lawful_intercept.handover.values import DataType
    from lawful_intercept.lemf.pages import iri_text, moment
    from lawful_intercept.lemf.process import archive_of

    with archive_of(_settings(config)) as archive:
        found = archive.session(session)
        iri: list[tuple[int, int | None, str, str]] = []
        for pdu in archive.pdus(session, DataType.IRI):
            for one in pdu.iri:
                kind, text = iri_text(one)
                iri.append((pdu.sequence, pdu.at_ns, kind, text))
    if json:
        told: list[Json] = [
            {"sequence": sequence, "at_ns": at_ns, "type": kind, "text": text} for sequence, at_ns, kind, text in iri
        ]
        _print(found.to_json() | {"iri": told})
        return
    typer.echo(f"{found.liid_text}  CIN {found.cin}  {moment(found.first_ns)} to {moment(found.last_ns)}")
    for stream in found.streams:
        checks = ", ".join(f"{count} {state}" for state, count in sorted(stream.checks.items())) or "no checks"
        gaps = ", ".join(f"{first}-{last}" for first, last in stream.missing[:10])
        typer.echo(
            f"{stream.data_type.name}: {stream.received} received, {stream.missing_count} missing {gaps}".rstrip()
            + f", {stream.again} again, {stream.conflicts} differing, {stream.sealed} not opened; {checks}"
        )
    for sequence, at_ns, kind, text in iri:
        typer.echo(f"\n{sequence} {kind} {moment(at_ns) if at_ns is not None else ''}\n{text.rstrip()}")


@app.command()
def play(
    session: SessionNumber,
    *,
    config: Config,
    into: Annotated[Path, typer.Option("--into", metavar="DIRECTORY", help="Where the WAV files are written.")],
    json: AsJson = False,
) -> None:
    """Make WAV files of a call: each direction, and both; what is missing is silence, and told."""
    from lawful_intercept.configuration import state_directory
    from lawful_intercept.lemf.audio import record
    from lawful_intercept.lemf.process import archive_of

    state_directory(into)
    with archive_of(_settings(config)) as archive:
        archive.session(session)
        made = record(archive, session, into)
    if json:
        _print(made.to_json())
        return
    for path in made.files:
        typer.echo(str(path))
    rows = [
        (one.direction, f"{one.ssrc:08x}", one.encoding, *map(str, (one.packets, one.lost, one.again)))
        for one in made.streams
    ]
    _table(("direction", "SSRC", "encoding", "packets", "lost", "again"), rows)


@app.command()
def export(
    session: SessionNumber,
    *,
    config: Config,
    to: Annotated[Path, typer.Option("--to", metavar="FILE", help="The package (ZIP); it must not be there yet.")],
    json: AsJson = False,
) -> None:
    """Write a session as a package of evidence: product, messages, audio, manifest, signature."""
    import time

    from lawful_intercept.lemf import evidence
    from lawful_intercept.lemf.process import archive_of

    settings = _settings(config)
    with archive_of(settings) as archive:
        manifest = evidence.export(
            archive, session, to, receiver=settings.name, signing=settings.tls, made_at=time.time()
        )
    if json:
        _print(manifest)
        return
    files = manifest["files"]
    typer.echo(f"{to}: {len(files) if isinstance(files, list) else 0} files")


@app.command()
def verify(
    package: Annotated[
        Path | None, typer.Argument(metavar="[PACKAGE]", help="A package of evidence; else all that is stored.")
    ] = None,
    *,
    config: Annotated[Path | None, typer.Option("--config", metavar="FILE", help="Settings of the receiver.")] = None,
    authority: Annotated[
        Path | None,
        typer.Option("--authority", metavar="FILE", help="Who made the certificate of a package's receiver."),
    ] = None,
    json: AsJson = False,
) -> None:
    """Read again all that is stored, or a package. Exit code 1 when something is missing, changed or not believed."""
    if package is not None:
        _verify_package(package, authority, as_json=json)
        return
    if config is None:
        raise typer.BadParameter("give a package, or --config FILE")
    from lawful_intercept.lemf.process import archive_of
    from lawful_intercept.lemf.verifying import verify as verify_store

    with archive_of(_settings(config)) as archive:
        report = verify_store(archive)
    if json:
        _print(report.to_json())
    else:
        checks = ", ".join(f"{count} {state}" for state, count in sorted(report.checks.items())) or "no checks"
        typer.echo(f"{report.records} records as they were stored, {report.sessions} sessions; {checks}")
        for what, numbers in (("incomplete", report.incomplete), ("changed", report.wrong)):
            if numbers:
                typer.echo(f"{what}: sessions {', '.join(map(str, numbers))}")
        if report.unreadable:
            typer.echo(f"{report.unreadable} PDUs could not be read")
    if not report.whole:
        raise typer.Exit(1)


def _verify_package(package: Path, authority: Path | None, *, as_json: bool) -> None:
    from lawful_intercept.lemf.evidence import check

    found = check(package, authority)
    if as_json:
        _print(found.to_json())
    else:
        belief = {True: "made by the authority", False: "NOT made by the authority", None: "authority not checked"}
        typer.echo(f"{found.files} files as they were signed by {found.signer} ({belief[found.trusted]})")
    if found.trusted is False:
        raise typer.Exit(1)


def _print(data: JsonObject | list[JsonObject]) -> None:
    typer.echo(jsons.dumps(data, indent=2))


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*heads, box=box.SIMPLE_HEAD)
    for row in rows:
        table.add_row(*map(Text, row))
    Console(soft_wrap=True).print(table)
