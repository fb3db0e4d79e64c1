"""`nf-li profile`: an officer's profile, written once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lawful_intercept.commands.client import given, read_file

app = typer.Typer(add_completion=False)


@app.command("profile")
def profile(
    *,
    administration: Annotated[
        str,
        typer.Option(
            "--administration", metavar="NAME", help="The ADMF's name, in its certificate.", show_default=False
        ),
    ],
    url: Annotated[str, typer.Option("--url", help="https://HOST:PORT of its officers' API.", show_default=False)],
    certificate: Annotated[Path, typer.Option("--certificate", metavar="FILE", show_default=False)],
    key: Annotated[Path, typer.Option("--key", metavar="FILE", show_default=False)],
    authority: Annotated[Path, typer.Option("--authority", metavar="FILE", show_default=False)],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="DIR", help="Else your own.", show_default=False)
    ] = None,
) -> None:
    """Write a profile: copies of the three PEM files, and where the ADMF is."""
    import json

    from lawful_intercept import tls
    from lawful_intercept.administration.client import FILE, Profile, directory_of
    from lawful_intercept.commands.output import say
    from nf.errors import RefusedError
    from nf.trust.files import write_private

    directory = output or directory_of(given.get())
    if (directory / FILE).exists():
        raise RefusedError("there is a profile already", where=str(directory), remedy="name another by --output DIR")
    own = tls.own_identity(Profile(administration, url, certificate, key, authority))
    names = {"certificate": "officer.pem", "key": "officer.key", "authority": "ca.pem"}
    for name, source in (("certificate", certificate), ("key", key), ("authority", authority)):
        write_private(directory / names[name], read_file(source))
    data = {"administration": administration, "url": url, **names}
    write_private(directory / FILE, json.dumps(data, indent=2).encode() + b"\n")
    say(f"{own}: profile in {directory}")
