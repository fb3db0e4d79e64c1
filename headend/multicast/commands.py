"""`nf tree`: the IPTV tree as operators see it: what is planned, hop by hop, and what a loss would do to it."""

from __future__ import annotations

import typer

app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="The IPTV tree: channels, trees, load, what-if, trace."
)
