"""`nf upgrade`: another image for appliances, the canary first, then in waves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from nf.cli import complete
from nf.cli.options import JsonOption, ProfileOption, seconds

if TYPE_CHECKING:
    from rich.table import Table

    from nf.control.v1.upgrade_pb2 import Upgrade


class _UpgradeGroup(TyperGroup):
    """`nf upgrade pop --bundle FILE` means `nf upgrade start pop --bundle FILE`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.list_commands(ctx) and args[0] != "--help":
            args = ["start", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(cls=_UpgradeGroup, add_completion=False, no_args_is_help=True)

IdArgument = Annotated[
    str,
    typer.Argument(
        metavar="[ID]", help="Or its beginning; without it, the one that is meant.", autocompletion=complete.upgrades
    ),
]
WhyOption = Annotated[str, typer.Option("--reason", help="Why; it is shown and audited.", show_default=False)]


@app.command("start")
def start(
    targets: Annotated[
        list[str],
        typer.Argument(metavar="ROLE|NAME...", help="Whom.", autocompletion=complete.upgradable, show_default=False),
    ],
    *,
    bundle: Annotated[
        str,
        typer.Option(
            "--bundle", metavar="FILE", help="A bundle, or the digest of one that the NOC has.", show_default=False
        ),
    ],
    canary: Annotated[
        str,
        typer.Option(
            "--canary",
            metavar="NAME",
            help="Who goes first, alone; else the NOC chooses.",
            autocompletion=complete.appliances,
            show_default=False,
        ),
    ] = "",
    wave: Annotated[int, typer.Option("--wave", metavar="N", help="Appliances at once after that.", min=1)] = 4,
    soak: Annotated[str, typer.Option("--soak", metavar="TIME", help="From one wave to the next.")] = "2m",
    at: Annotated[
        str | None,
        typer.Option("--at", metavar="TIME", help="Later: RFC 3339 with its offset, or +30m.", show_default=False),
    ] = None,
    drain: Annotated[bool, typer.Option("--drain", help="Transit goes round a site before it restarts.")] = False,
    hold: Annotated[str, typer.Option("--hold", metavar="TIME", help="So long it must do well to be marked good.")] = (
        "1m"
    ),
    patience: Annotated[str, typer.Option("--patience", metavar="TIME", help="So long it has to do well.")] = "10m",
    allow_downgrade: Annotated[bool, typer.Option("--allow-downgrade", help="To an earlier version.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Also where that version runs already.")] = False,
    when_back: Annotated[
        bool, typer.Option("--when-back", help="Who is offline or under maintenance gets it when that is over.")
    ] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Do not watch it.")] = False,
    reason: WhyOption = "",
    json: JsonOption = False,
    profile: ProfileOption = None,
) -> None:
    """Bring a bundle to the NOC and roll it out (`start` may be left out)."""
    from nf.cli.client import run
    from nf.cli.commands.schedule import when_given
    from nf.cli.upgrading import begin
    from nf.control.v1.upgrade_pb2 import StartUpgradeRequest

    absolute, after_s = when_given(at) if at is not None else (0.0, 0)
    request = StartUpgradeRequest(
        targets=targets,
        canary=canary,
        wave=wave,
        soak_s=seconds(soak, "--soak", at_least=0),
        at=absolute,
        after_s=after_s,
        drain=drain,
        allow_downgrade=allow_downgrade,
        again=again,
        when_back=when_back,
        reason=reason,
        hold_s=seconds(hold, "--hold"),
        patience_s=seconds(patience, "--patience"),
    )
    started = run(begin(profile, request, bundle))
    if detach or started.state == "waiting":
        _told(started, as_json=json)
        return
    _follow(profile, started.id, as_json=json)


@app.command("status")
def status(
    upgrade: IdArgument = "",
    *,
    watch: Annotated[bool, typer.Option("--watch", help="Until it has ended or is paused.")] = False,
    json: JsonOption = False,
    profile: ProfileOption = None,
) -> None:
    """How far an upgrade is, appliance by appliance; without an ID the last one."""
    from nf.cli.client import run
    from nf.cli.upgrading import find

    found = run(find(profile, upgrade))
    if watch:
        _follow(profile, found.id, as_json=json)
    else:
        _told(found, as_json=json)


@app.command("pause")
def pause(
    upgrade: IdArgument = "", *, reason: WhyOption = "", json: JsonOption = False, profile: ProfileOption = None
) -> None:
    """Nobody else begins or restarts; who is away comes through."""
    from nf.cli.client import run
    from nf.cli.upgrading import ask
    from nf.control.v1.upgrade_pb2 import PauseUpgradeRequest

    request = PauseUpgradeRequest(id=upgrade, reason=reason)
    _told(run(ask(profile, lambda noc: noc.PauseUpgrade, request)), as_json=json)


@app.command("resume")
def resume(
    upgrade: IdArgument = "",
    *,
    detach: Annotated[bool, typer.Option("--detach", help="Do not watch it.")] = False,
    json: JsonOption = False,
    profile: ProfileOption = None,
) -> None:
    """Go on with an upgrade that is paused; who failed is tried again."""
    from nf.cli.client import run
    from nf.cli.upgrading import ask
    from nf.control.v1.upgrade_pb2 import ResumeUpgradeRequest

    resumed = run(ask(profile, lambda noc: noc.ResumeUpgrade, ResumeUpgradeRequest(id=upgrade)))
    if detach or resumed.state == "waiting":
        _told(resumed, as_json=json)
    else:
        _follow(profile, resumed.id, as_json=json)


@app.command("cancel")
def cancel(
    upgrade: IdArgument = "", *, reason: WhyOption = "", json: JsonOption = False, profile: ProfileOption = None
) -> None:
    """End an upgrade: who has not restarted keeps what runs; what is good stays."""
    from nf.cli.client import run
    from nf.cli.upgrading import ask
    from nf.control.v1.upgrade_pb2 import CancelUpgradeRequest

    request = CancelUpgradeRequest(id=upgrade, reason=reason)
    _told(run(ask(profile, lambda noc: noc.CancelUpgrade, request)), as_json=json)


@app.command("history")
def history(
    *,
    limit: Annotated[int, typer.Option("-n", "--limit", metavar="N", min=1)] = 20,
    json: JsonOption = False,
    profile: ProfileOption = None,
) -> None:
    """Upgrades, the newest first."""
    from nf.cli.client import run
    from nf.cli.output import out, print_json, say
    from nf.cli.upgrading import ask
    from nf.cli.wire import to_json
    from nf.control.v1.upgrade_pb2 import ListUpgradesRequest

    answer = run(ask(profile, lambda noc: noc.ListUpgrades, ListUpgradesRequest(limit=limit)))
    if json:
        print_json([to_json(one) for one in answer.upgrades])
    elif answer.upgrades:
        out().print(_history(answer.upgrades))
    else:
        say("no upgrade yet")


@app.command("bundles")
def bundles(*, json: JsonOption = False, profile: ProfileOption = None) -> None:
    """The bundles that the NOC has."""
    from nf.cli.client import run
    from nf.cli.output import out, print_json, say, table
    from nf.cli.text import when
    from nf.cli.upgrading import ask
    from nf.cli.wire import to_json
    from nf.control.v1.upgrade_pb2 import ListBundlesRequest

    answer = run(ask(profile, lambda noc: noc.ListBundles, ListBundlesRequest()))
    if json:
        print_json([to_json(one) for one in answer.bundles])
        return
    if not answer.bundles:
        say("no bundle")
        return
    grid = table("SHA256", "ROLE", "VERSION", "MIB", "SIGNER", "BROUGHT", "NEEDED BY", right=("MIB",))
    for one in answer.bundles:
        signer = one.signer or "not checked here"
        size = f"{one.size / (1 << 20):.1f}"
        grid.add_row(one.sha256[:12], one.role, one.version, size, signer, when(one.at), ", ".join(one.upgrades) or "-")
    out().print(grid)


@app.command("remove")
def remove(
    sha256: Annotated[
        str,
        typer.Argument(metavar="SHA256", help="Or its beginning.", autocompletion=complete.bundles, show_default=False),
    ],
    *,
    profile: ProfileOption = None,
) -> None:
    """Take a bundle off the NOC that no upgrade needs."""
    from nf.cli.client import run
    from nf.cli.output import say
    from nf.cli.upgrading import ask
    from nf.control.v1.upgrade_pb2 import RemoveBundleRequest

    answer = run(ask(profile, lambda noc: noc.RemoveBundle, RemoveBundleRequest(sha256=sha256)))
    say(f"removed {answer.bundle.role} {answer.bundle.version} ({answer.bundle.sha256[:12]})")


def _follow(profile: Any, upgrade: str, *, as_json: bool) -> None:
    """Its progress until it has ended or is paused; the exit code says which."""
    from nf.cli.client import run
    from nf.cli.output import note
    from nf.cli.upgrading import watch
    from nf.errors import RefusedError
    from nf.exit_codes import Ended, ExitCode

    try:
        last = run(watch(profile, upgrade))
    except KeyboardInterrupt:
        note(f"stopped watching; it goes on: nf upgrade status {upgrade}")
        raise
    _told(last, as_json=as_json)
    if last.state != "done":
        remedy = f"nf upgrade resume {last.id} tries again; nf upgrade cancel {last.id} leaves it"
        error = RefusedError(f"{last.state}: {last.text}", where=f"upgrade {last.id}", remedy=remedy)
        raise Ended(error, ExitCode.RED)


def _told(upgrade: Upgrade, *, as_json: bool) -> None:
    from nf.cli.output import out, print_json, say
    from nf.cli.wire import to_json

    if as_json:
        print_json(to_json(upgrade))
        return
    say(_headline(upgrade))
    out().print(_members(upgrade))


def _headline(upgrade: Upgrade) -> str:
    from nf.cli.text import name_of, when

    words = [f"upgrade {upgrade.id}: {upgrade.bundle.role} {upgrade.bundle.version}, {upgrade.state}"]
    if upgrade.state == "waiting":
        words.append(f"until {when(upgrade.not_before)}")
    if upgrade.state == "running":
        words.append("canary" if not upgrade.wave else f"wave {min(upgrade.wave, upgrade.waves - 1)}")
        if upgrade.soak_until:
            words.append(f"soaking until {when(upgrade.soak_until)}")
    if upgrade.text:
        words.append(upgrade.text)
    words.append(f"by {name_of(upgrade.author)}" + (f": {upgrade.reason}" if upgrade.reason else ""))
    return "; ".join(words)


def _members(upgrade: Upgrade) -> Table:
    from nf.cli.output import table
    from nf.cli.text import when, word

    grid = table("APPLIANCE", "SITE", "WAVE", "STATE", "%", "FROM", "SINCE", "TEXT", right=("%",))
    for one in upgrade.members:
        percent = f"{one.fraction * 100:.0f}" if one.state in {"transfer", "install"} else "-"
        wave = "-" if one.state == "left-out" else "canary" if not one.wave else str(one.wave)
        since = when(one.ended_at or one.began_at)
        grid.add_row(
            one.appliance, one.site, wave, word(one.state), percent, one.from_version or "-", since, one.text or "-"
        )
    return grid


def _history(upgrades: Any) -> Table:
    from nf.cli.output import table
    from nf.cli.text import name_of, when, word

    grid = table("ID", "BEGAN", "ENDED", "ROLE", "VERSION", "STATE", "GOOD", "AUTHOR", "TEXT")
    for one in upgrades:
        good = sum(member.state == "good" for member in one.members)
        grid.add_row(
            one.id,
            when(one.created_at),
            when(one.ended_at),
            one.bundle.role,
            one.bundle.version,
            word(one.state),
            f"{good}/{len(one.members)}",
            name_of(one.author),
            one.text or one.reason or "-",
        )
    return grid
