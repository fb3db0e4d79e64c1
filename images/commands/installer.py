"""`nf image installer` and `nf image flash`: an image onto a disk, by a medium or at once."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from nf.contracts.noc_client import CLIENT
from nf.errors import InputError, RefusedError

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON; errors too, on stderr.")]


def installer(
    *,
    image: Annotated[
        Path, typer.Option("--image", metavar="DIR", help="A directory of `nf image build`.", show_default=False)
    ],
    keys: Annotated[
        Path, typer.Option("--keys", metavar="DIR", help="The keys that it was signed by.", show_default=False)
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The medium, for a stick.")],
    json: JsonOption = False,
) -> None:
    """Make an installer medium for USB or network boot: it writes this image to a chosen disk, and seeds it."""
    from images.commands.progress import Terminal
    from images.flash.medium import make_medium
    from images.signing.keys import load_keys

    with Terminal() as shown:
        payload = make_medium(image, load_keys(keys), output, shown.report)
    octets = output.stat().st_size
    if json:
        CLIENT.get().print_json(
            {"file": str(output), "role": payload.role, "version": payload.version, "octets": octets}
        )
    else:
        CLIENT.get().say(f"{output}: installs {payload.role} {payload.version}, {octets >> 20} MiB")


def flash(
    image: Annotated[
        Path,
        typer.Argument(metavar="IMAGE", help="Of `nf image build`: directory or disk.img.", show_default=False),
    ],
    device: Annotated[
        Path, typer.Argument(metavar="DEVICE", help="The whole disk, such as /dev/sdb.", show_default=False)
    ],
    *,
    key: Annotated[
        Path, typer.Option("--key", metavar="FILE", help="manifest.pub of the signing keys.", show_default=False)
    ],
    seed: Annotated[
        Path | None, typer.Option("--seed", metavar="FILE", help="A seed.json to put onto it.", show_default=False)
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    json: JsonOption = False,
) -> None:
    """Write an image to a disk of this machine: signature first, then written, read back, and seeded."""
    from images.appliance.system import System
    from images.commands.progress import Terminal
    from images.flash import targets
    from images.flash.installer import seed_disk
    from images.flash.payload import open_payload
    from images.flash.writer import flash as write
    from images.signing.manifest import public_key

    client = CLIENT.get()
    payload = open_payload(image, public_key(_read(key), where=str(key)))
    data = None if seed is None else _seed(seed)
    target = targets.find(device)
    targets.check(target, payload.size)
    if not yes:
        _confirm(target.title, str(target.node), target.holds)
    with Terminal() as shown:
        write(payload, target, shown.report)
    serial = None if data is None or seed is None else seed_disk(target.node, data, seed.parent, System())
    if json:
        client.print_json(
            {"device": str(target.node), "role": payload.role, "version": payload.version, "octets": payload.size,
             "seeded": serial}
        )  # fmt: skip
        return
    client.say(f"{target.node}: {payload.role} {payload.version}, written and read back as it was signed")
    if serial is not None:
        client.say(f"{target.node}: seeded as {serial}")


def _seed(path: Path) -> bytes:
    """Judged before the disk is touched. Raises DocumentError, InputError."""
    from images.appliance.seed import load_seed

    data = _read(path)
    load_seed(data, file=str(path))
    return data


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=str(path)) from None


def _confirm(title: str, node: str, holds: tuple[str, ...]) -> None:
    """Raises RefusedError."""
    client = CLIENT.get()
    if not sys.stdin.isatty():
        raise RefusedError("everything on the disk is lost", where=title, remedy="--yes, or run it on a terminal")
    client.say(f"EVERYTHING ON {title} IS LOST.")
    for held in holds:
        client.say(f"  it holds {held}")
    if typer.prompt(f"Type {node} to go on", default="", show_default=False, err=True) != node:
        raise RefusedError("this is not the name of the disk; nothing was written", where=node)
