"""`nf image sbom` and `nf image licences`: what is in an image, and under which terms."""

from __future__ import annotations

import sys
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from nf.contracts.noc_client import CLIENT
from nf.errors import NotFoundError

if TYPE_CHECKING:
    from images.supply.licences import Licensed

_SHOWN_LICENCES: Final = 6


class Format(Enum):
    CYCLONEDX = "cyclonedx"
    SPDX = "spdx"


ImageArgument = Annotated[
    Path,
    typer.Argument(metavar="FILE|DIR", help="A build's directory, a file in it, or a root tree.", show_default=False),
]


def sbom(
    path: ImageArgument,
    *,
    format: Annotated[Format, typer.Option("--format", help="CycloneDX 1.6 or SPDX 2.3.")] = Format.CYCLONEDX,  # noqa: A002  # as the option is called
) -> None:
    """Print the bill of materials of a build, as it was signed; of a root tree, as it is now.

    `nf image verify` says whether it still is the one that was signed.
    """
    from images.supply.sbom import CYCLONEDX, SPDX

    name = CYCLONEDX if format is Format.CYCLONEDX else SPDX
    data = _of_tree(path, name) if _is_tree(path) else _read(path, name)
    sys.stdout.write(data)
    sys.stdout.flush()


def licences(
    path: ImageArgument, *, json: Annotated[bool, typer.Option("--json", help="Print JSON; errors too.")] = False
) -> None:
    """The licences of every package, and by name those of which nothing is known."""
    from images.supply.licences import FILE, as_json, read_report, read_tree

    found = read_tree(path) if _is_tree(path) else read_report(_beside(path) / FILE)
    client = CLIENT.get()
    if json:
        client.print_json(as_json(found))
        return
    client.print_table(("PACKAGE", "VERSION", "KIND", "FOUND IN", "LICENCES"), tuple(map(_row, found)))
    unknown = [one.name for one in found if not one.licences]
    client.say(f"{len(found)} packages; unknown: {', '.join(unknown) or 'none'}")


def _row(one: Licensed) -> tuple[str, ...]:
    shown = ", ".join(one.licences[:_SHOWN_LICENCES])
    more = len(one.licences) - _SHOWN_LICENCES
    told = f"{shown} and {more} more" if more > 0 else shown or "unknown"
    return one.name, one.version, f"{one.kind}, overlay" if one.overlay else one.kind, one.source, told


def _is_tree(path: Path) -> bool:
    return (path / "var/lib/dpkg/status").is_file()


def _beside(path: Path) -> Path:
    """The directory of a build, named itself or by a file in it."""
    if not path.exists():
        raise NotFoundError("no such file or directory", where=str(path))
    return path if path.is_dir() else path.parent


def _read(path: Path, name: str) -> str:
    place = _beside(path) / name
    try:
        return place.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise NotFoundError("no such file", where=str(place), remedy="name a build, or a file of one") from None


def _of_tree(path: Path, name: str) -> str:
    import os
    import tempfile

    from images.supply.licences import read_tree
    from images.supply.sbom import Subject, make_sboms

    subject = Subject("tree", "0", int(os.environ.get("SOURCE_DATE_EPOCH", "0")))
    with tempfile.TemporaryDirectory(prefix="nf-sbom-") as directory:
        make_sboms(path, Path(directory), subject, report=lambda _share, _text: None, licensed=read_tree(path))
        return (Path(directory) / name).read_text(encoding="utf-8")
