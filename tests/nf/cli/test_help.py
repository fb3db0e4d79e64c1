"""Every command, however deep, has help that can be shown: also those that domains add."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from typer.main import get_command

from nf.boundary import LazyCommand
from nf.cli.main import app


def _commands(command: Any, parent: Any, name: str) -> Iterator[tuple[str, Any]]:
    real = command.load() if isinstance(command, LazyCommand) else command
    context = real.context_class(real, info_name=name, parent=parent)
    yield context.command_path, context
    if hasattr(real, "list_commands"):
        for each in real.list_commands(context):
            yield from _commands(real.get_command(context, each), context, each)


def test_help_of_every_command_can_be_shown() -> None:
    found = dict(_commands(get_command(app), None, "nf"))
    assert {"nf purge now", "nf lineup commit", "nf noc service set"} <= found.keys()
    for path, context in found.items():
        assert context.command.get_help(context) is not None, path
        assert context.command.get_short_help_str(), path
