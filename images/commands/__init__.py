"""`nf image`: appliance images as integrators and technicians meet them. Each command is a module beside this one."""

from __future__ import annotations

import typer

from images.commands import build, installer, keys, local, sbom, seed, verify

app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="Appliance images: build, sign, verify, flash, seed."
)


@app.callback()
def group() -> None:
    """Appliance images."""


app.add_typer(keys.app, name="keys")
app.command("build")(build.build)
app.command("size")(build.size)
app.command("verify")(verify.verify)
app.command("sbom")(sbom.sbom)
app.command("licences")(sbom.licences)
app.command("seed")(seed.seed)
app.command("installer")(installer.installer)
app.command("flash")(installer.flash)
app.command("reset")(local.reset)
app.command("console")(local.console)
