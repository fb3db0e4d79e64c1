"""`nf version`"""

from __future__ import annotations

import platform

import typer

from nf.cli.options import JsonOption
from nf.cli.output import print_json, say
from nf.cli.version import software_version

app = typer.Typer(add_completion=False)


@app.command()
def show(*, json: JsonOption = False) -> None:
    """The version of this software."""
    if json:
        print_json({"name": "streamverse-nf", "version": software_version(), "python": platform.python_version()})
    else:
        say(f"streamverse-nf {software_version()} (Python {platform.python_version()})")
