"""`nf support-bundle`"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nf.cli import complete
from nf.cli.options import JsonOption, ProfileOption, require_new
from nf.errors import IntegrityError

if TYPE_CHECKING:
    from nf.control.v1.admin_pb2 import CollectSupportRequest

_TIMEOUT_S = 300.0

app = typer.Typer(add_completion=False)


@app.command()
def bundle(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A new file, such as support.tar.gz.", show_default=False)
    ],
    *,
    appliance: Annotated[
        list[str] | None,
        typer.Option(
            "--appliance",
            metavar="ID",
            help="Only this one beside the NOC; may be repeated.",
            autocompletion=complete.appliances,
            show_default=False,
        ),
    ] = None,
    json: JsonOption = False,
    profile: ProfileOption = None,
) -> None:
    """Logs, standing, configurations, versions, alarms and revisions in one file, without secrets."""
    from nf.cli.client import run
    from nf.cli.output import print_json, say
    from nf.control.v1.admin_pb2 import CollectSupportRequest
    from nf.trust.files import write_private

    require_new(file)
    data, lines = run(_collect(CollectSupportRequest(appliances=appliance or ()), profile))
    write_private(file, data)
    if json:
        print_json({"file": str(file), "bytes": len(data), "appliances": lines})
    else:
        say(f"{file}: {len(data)} bytes; look into it before you hand it on")


async def _collect(request: CollectSupportRequest, profile: Path | None) -> tuple[bytes, list[str]]:
    """Raises IntegrityError when not all of it came."""
    from nf.cli.admin import admin
    from nf.cli.output import note

    data, lines, told = bytearray(), [], ""
    async with admin(profile) as noc:
        async for piece in noc.CollectSupport(request, timeout=_TIMEOUT_S):
            if piece.text:
                lines.append(piece.text)
                note(f"{piece.done}/{piece.total}  {piece.text}")
            data += piece.data
            told = piece.sha256 or told
    if hashlib.sha256(data).hexdigest() != told:
        raise IntegrityError("the bundle did not come whole", remedy="repeat it")
    return bytes(data), lines
