"""`nf lineup adopt`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nf.cli import complete
from nf.cli.options import JsonOption, ProfileOption
from nf.errors import RefusedError, StorageError


def adopt(
    *,
    output: Annotated[
        Path, typer.Option("--output", metavar="DIR", help="Where fleet.yaml and lineup.yaml go.", show_default=False)
    ],
    site: Annotated[
        str,
        typer.Option(
            "--site",
            metavar="SITE",
            help="Observe this site only; the others are as the NOC knows them.",
            autocompletion=complete.sites,
            show_default=False,
        ),
    ] = "",
    json: JsonOption = False,
    profile: ProfileOption = None,
) -> None:
    """Write the documents that describe what runs. Committing them unchanged changes nothing."""
    from nf.cli.admin import ask_admin
    from nf.cli.client import PLAN_TIMEOUT_S
    from nf.cli.output import note, print_json, say
    from nf.control.v1.admin_pb2 import AdoptLineUpRequest

    files = [output / "fleet.yaml", output / "lineup.yaml"]
    for file in files:
        if file.exists():
            raise RefusedError("exists already", where=str(file), remedy="name a directory without it")
    answer = ask_admin(profile, lambda noc: noc.AdoptLineUp, AdoptLineUpRequest(site=site), timeout_s=PLAN_TIMEOUT_S)
    try:
        output.mkdir(parents=True, exist_ok=True)
        for file, document in zip(files, (answer.fleet, answer.lineup), strict=True):
            file.write_bytes(document.text)
    except OSError as error:
        raise StorageError(f"cannot be written: {error.strerror}", where=str(output)) from error
    if json:
        print_json(
            {
                "files": [str(file) for file in files],
                "appliances": answer.appliances,
                "channels": answer.channels,
                "doubts": list(answer.doubts),
            }
        )
        return
    for doubt in answer.doubts:
        note(f"please check  {doubt}")
    say(f"{answer.appliances} appliances and {answer.channels} channels in {output}")
    say(f"next: nf lineup plan {files[1]} --fleet {files[0]}")
