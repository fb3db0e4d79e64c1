"""Commands, loaded only when they are called: the groups of `nf` itself and those of domains (`nf.commands`)."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import typer
from typer.core import TyperGroup
from typer.main import get_group

from nf.boundary import LazyCommand
from nf.errors import UnavailableError

GROUP = "nf.commands"

BUILT_IN = {
    "lineup": "Line-ups: check, plan, commit, schedule, confirm, roll back.",
    "channel": "What reaches people, measured at each hop.",
    "path": "The ways to a site, which one is taken, and the way back.",
    "alarms": "The alarms that stand now; acknowledge and shelve them.",
    "maintenance": "Windows in which a site is worked on.",
    "appliance": "The boxes of the fleet: list, show, enroll, replace, drain.",
    "upgrade": "Other images for appliances: canary, waves, pause, resume.",
    "override": "Bounded deviations from the line-up; each one ends by itself.",
    "audit": "Who did what; and whether the record is intact.",
    "schema": "JSON Schema of the documents, for editors.",
    "operator": "People who may command the fleet (on the NOC's machine).",
    "noc": "The NOC's own process.",
    "backup": "Backup and restore of the NOC (on its machine).",
    "support-bundle": "What is needed to find a fault, in one file without secrets.",
    "agent": "The appliance's own process.",
    "supervisor": "The process that runs an appliance's daemons.",
    "version": "The version of this software.",
}
"""Name and help of each module in `nf.cli.commands` that has an `app`."""

MODULES = {"support-bundle": "support"}
"""Modules that are not called as their command."""


class RootGroup(TyperGroup):
    """The root of `nf`: its own commands, then those of the domains that are installed.

    A domain whose commands cannot be loaded is listed as not available, and says why when it is called.
    """

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002  # the signature is typer's
        domains = {point.name for point in entry_points(group=GROUP)}
        return [*BUILT_IN, *sorted(domains - BUILT_IN.keys())]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002  # the signature is typer's
        if cmd_name in BUILT_IN:
            return LazyCommand(cmd_name, BUILT_IN[cmd_name], lambda: _built_in(cmd_name))
        for point in entry_points(group=GROUP, name=cmd_name):
            return _domain(point)
        return None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        # Spelling suggestions look here.
        self.commands = dict.fromkeys(self.list_commands(ctx), self)
        return super().resolve_command(ctx, args)


def _built_in(name: str) -> Any:
    app = import_module(f"nf.cli.commands.{MODULES.get(name, name)}").app
    command = typer.main.get_command(app)
    command.name = name
    if isinstance(command, TyperGroup):
        command.help = BUILT_IN[name]
    return command


def _domain(point: EntryPoint) -> Any:
    try:
        app: typer.Typer = point.load()
        single = len(app.registered_commands) == 1 and not app.registered_groups and app.registered_callback is None
        group = typer.main.get_command(app) if single else get_group(app)
    except Exception as error:  # noqa: BLE001  # a domain's fault of any kind must not take `nf` with it
        return _broken(point, f"{type(error).__name__}: {error}")
    group.name = point.name
    return group


def _broken(point: EntryPoint, reason: str) -> Any:
    def refuse() -> Any:
        raise UnavailableError(
            f"the commands of this domain cannot be loaded: {reason}",
            where=f"nf {point.name}",
            remedy=f"reinstall the package that provides {point.value}",
        )

    return LazyCommand(point.name, f"(not available: {reason})", refuse)
