"""Completion of names that only the NOC knows. Silent and empty when it does not answer within a second."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from nf.control.v1.noc_pb2 import ApplianceSummary


def _profile(context: typer.Context) -> Path | None:
    level: Any = context
    while level is not None:
        if level.params.get("profile"):
            return Path(level.params["profile"])
        level = level.parent
    return None


def _appliances(context: typer.Context) -> list[ApplianceSummary]:
    from nf.cli.client import quick
    from nf.control.v1.noc_pb2 import ListAppliancesRequest

    answer = quick(_profile(context), lambda noc: noc.ListAppliances, ListAppliancesRequest())
    return [] if answer is None else list(answer.appliances)


def appliances(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    return [(one.id, f"{one.role}, {one.site}") for one in _appliances(context) if one.id.startswith(incomplete)]


def sites(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    known = {one.site: one.criticality for one in _appliances(context) if one.site.startswith(incomplete)}
    return sorted(known.items())


def sections(context: typer.Context, incomplete: str) -> list[str]:
    """Sections of the appliance that is already typed, else of all."""
    wanted = context.params.get("appliance")
    found = {name for one in _appliances(context) if wanted in (None, one.id) for name in one.sections}
    return sorted(name for name in found if name.startswith(incomplete))


def windows(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Sites that are under maintenance."""
    from nf.cli.client import quick
    from nf.control.v1.noc_pb2 import ListMaintenanceRequest

    answer = quick(_profile(context), lambda noc: noc.ListMaintenance, ListMaintenanceRequest())
    found = [] if answer is None else [(one.site, one.reason) for one in answer.windows]
    return [pair for pair in found if pair[0].startswith(incomplete)]


def drained(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Sites that are drained."""
    from nf.cli.client import quick
    from nf.control.v1.noc_pb2 import ListDrainsRequest

    answer = quick(_profile(context), lambda noc: noc.ListDrains, ListDrainsRequest())
    found = [] if answer is None else [(one.site, one.reason) for one in answer.drains]
    return [pair for pair in found if pair[0].startswith(incomplete)]


def scheduled(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    from nf.cli.client import quick
    from nf.control.v1.noc_pb2 import ListScheduledRequest

    answer = quick(_profile(context), lambda noc: noc.ListScheduled, ListScheduledRequest())
    found = [] if answer is None else [(one.id, one.comment or one.lineup_name) for one in answer.commits]
    return [pair for pair in found if pair[0].startswith(incomplete)]


def alarms(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    from nf.cli.client import quick
    from nf.control.v1.noc_pb2 import ListAlarmsRequest

    answer = quick(_profile(context), lambda noc: noc.ListAlarms, ListAlarmsRequest())
    return [] if answer is None else [(one.id, one.text) for one in answer.alarms if one.id.startswith(incomplete)]


def channels(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    from nf.cli.client import quick
    from nf.control.v1.noc_pb2 import ListChannelsRequest

    answer = quick(_profile(context), lambda noc: noc.ListChannels, ListChannelsRequest())
    return [] if answer is None else [(one.id, one.name) for one in answer.channels if one.id.startswith(incomplete)]


def revisions(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    from nf.cli.client import quick
    from nf.control.v1.noc_pb2 import ListRevisionsRequest

    answer = quick(_profile(context), lambda noc: noc.ListRevisions, ListRevisionsRequest())
    found = [] if answer is None else [(str(one.revision), one.comment or one.outcome) for one in answer.revisions]
    return [pair for pair in found if pair[0].startswith(incomplete)]


def upgradable(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Roles, and appliances with the version that they run."""
    known = _appliances(context)
    roles = {one.role: "role" for one in known}
    names = {one.id: f"{one.role} {one.image.version}".strip() for one in known}
    return [pair for pair in sorted((roles | names).items()) if pair[0].startswith(incomplete)]


def _upgrades(context: typer.Context, method: str, request: object) -> Any:
    from nf.cli.client import run
    from nf.cli.upgrading import upgrades as service
    from nf.errors import NfError

    async def ask() -> Any:
        async with service(_profile(context)) as noc:
            return await getattr(noc, method)(request, timeout=1.0)

    try:
        return run(ask())
    except (NfError, OSError, ValueError):
        return None


def upgrades(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    from nf.control.v1.upgrade_pb2 import ListUpgradesRequest

    answer = _upgrades(context, "ListUpgrades", ListUpgradesRequest())
    found = [] if answer is None else [(one.id, f"{one.state}, {one.bundle.version}") for one in answer.upgrades]
    return [pair for pair in found if pair[0].startswith(incomplete)]


def bundles(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    from nf.control.v1.upgrade_pb2 import ListBundlesRequest

    answer = _upgrades(context, "ListBundles", ListBundlesRequest())
    found = [] if answer is None else [(one.sha256[:12], f"{one.role} {one.version}") for one in answer.bundles]
    return [pair for pair in found if pair[0].startswith(incomplete)]
