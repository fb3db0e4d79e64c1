"""`nf device probe` and `nf device learn`: for integrators, on this machine, without the NOC."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nf.contracts.noc_client import CLIENT
from nf.errors import InputError, StorageError

if TYPE_CHECKING:
    from headend.devices.identify import Identified
    from headend.devices.model import Model
    from headend.snmp.target import Credentials, Target


@contextmanager
def _doing(text: str) -> Iterator[None]:
    """A word on the terminal for as long as it takes; nothing where nobody looks."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(text):
        yield


def probe(
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="IP address of the agent.", show_default=False)],
    *,
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="UDP port of the agent.")] = 161,
    credentials: Annotated[
        Path | None,
        typer.Option(
            "--credentials",
            metavar="FILE",
            help="One line: community NAME, or v3 USER SHA-256 KEY AES-128 KEY. Without it: community public.",
            show_default=False,
        ),
    ] = None,
    models: Annotated[
        Path | None,
        typer.Option("--models", metavar="DIR", help="Try the model files here too.", show_default=False),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON; errors too, on stderr.")] = False,
) -> None:
    """Ask a device which model it is, from this machine."""
    from headend.devices.modelfile import load_directory, load_models
    from headend.snmp.target import Target

    try:
        ip_address(address)
    except ValueError:
        raise InputError("is no IP address", where=address, remedy="write it as 172.20.20.21") from None
    target = Target(address, port, _credentials(credentials))
    known: dict[str, Model] = {**load_models(), **(load_directory(models) if models is not None else {})}
    with _doing(f"asking {target}"):
        found = asyncio.run(_identify(target, known))
    client, spec = CLIENT.get(), found.model.spec
    line = f"- {{id: NAME, appliance: APPLIANCE, model: {found.model.name}, address: {address}"
    line += f", port: {port}" if port != 161 else ""
    line += ', credentials: "secret:NAME"}'
    if json:
        client.print_json(
            {
                "model": found.model.name,
                "vendor": spec.vendor,
                "product": spec.product,
                "kind": spec.kind.value,
                "proven_on": spec.proven_on,
                "description": found.description,
                "object_id": found.object_id,
                "matched": [*found.matched],
                "fleet": line,
            }
        )
        return
    client.say(f"{target} is a {spec.vendor} {spec.product}: model {found.model.name}, proven on {spec.proven_on}")
    client.say(f"it calls itself {found.description!r}, sysObjectID {found.object_id or 'none'}")
    for matched in found.matched:
        client.say(f"told by {matched}")
    client.say(f"in the fleet: {line}")


def _credentials(file: Path | None) -> Credentials:
    """Raises StorageError, IntegrityError (which quotes nothing of the file)."""
    from headend.devices.credentials import parse_credentials
    from headend.snmp.target import Community

    return Community("public") if file is None else parse_credentials(_text(file), str(file))


async def _identify(target: Target, models: Mapping[str, Model]) -> Identified:
    from headend.devices.identify import identify
    from headend.snmp.session import Session
    from nf.clock import RealClock

    session = Session(target, RealClock())
    try:
        return await identify(session, models, where=str(target))
    finally:
        await session.close()


def learn(
    walk: Annotated[
        Path,
        typer.Argument(metavar="WALK", help="What `snmpbulkwalk -On` printed, or a *.snmprec.", show_default=False),
    ],
    *,
    mib: Annotated[
        Path | None,
        typer.Option("--mib", metavar="DIR", help="The vendor's MIB modules; else the walk's.", show_default=False),
    ] = None,
    name: Annotated[
        str, typer.Option("--name", metavar="MODEL", help="Name of the model; else the walk's.", show_default=False)
    ] = "",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write the draft here.", show_default=False),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON; errors too, on stderr.")] = False,
) -> None:
    """Draft a model file from a walk of a device and its MIB. A person checks every line of it."""
    from headend.devices.learn import learn as draft_of
    from headend.devices.mib import read_mibs
    from headend.devices.modelfile import load_model
    from headend.devices.walkfile import parse_walk

    text = _text(walk)
    directory = mib if mib is not None else walk.parent
    if not directory.is_dir():
        raise InputError("is no directory", where=str(directory), remedy="name the one with the vendor's MIB modules")
    with _doing(f"reading {len(text.splitlines())} lines"):
        read = parse_walk(text)
    with _doing(f"reading the MIB modules in {directory}"):
        mibs = read_mibs(directory)
    with _doing(f"drafting a model of {len(read.varbinds)} objects"):
        draft = draft_of(read, mibs, name=name or _plain(walk.stem))
        model = load_model(draft, file=str(output or "draft"))
    if output is not None:
        _write(output, draft)
    client = CLIENT.get()
    counts = f"{len(model.parameters)} parameters in {len(model.spec.tables)} tables and beside them"
    if json:
        client.print_json(
            {
                "model": model.name,
                "parameters": len(model.parameters),
                "tables": len(model.spec.tables),
                "objects": len(read.varbinds),
                "duplicates": read.duplicates,
                "disorder": read.disorder,
                "unread_lines": read.unread_lines,
                "file": str(output) if output is not None else None,
                "text": draft,
            }
        )
    elif output is not None:
        client.say(f"{output}: {counts}; check every line, then add ranges, effects and alarms")
    else:
        sys.stdout.write(draft)


def _plain(stem: str) -> str:
    """A file's name as the name of a model."""
    word = "".join(character if character.isalnum() else "-" for character in stem.lower()).strip("-")
    return (word if word[:1].isalpha() else f"model-{word}")[:39].rstrip("-")


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError as error:
        raise StorageError(f"cannot be read: {error.strerror}", where=str(path), remedy="name a file of text") from None


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text)
    except OSError as error:
        raise StorageError(f"cannot be written: {error.strerror}", where=str(path)) from None
