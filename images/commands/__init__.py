"""`nf image`: appliance images as integrators and technicians meet them. Each command is a module beside this one."""

from __future__ import annotations

import typer

from images.commands import sbom, verify

app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="Appliance images: build, sign, verify, flash, seed."
)


@app.callback()
def group() -> None:
    """Appliance images."""


app.command()(verify.verify)
app.command()(sbom.sbom)
app.command()(sbom.licences)
