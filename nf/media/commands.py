"""`nf purge`: take what a channel, tag, URL, prefix or expression names out of every cache; what became of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from nf.contracts.json import Json, JsonObject
from nf.contracts.noc_client import CLIENT, NodeOutcome, OperationOutcome
from nf.errors import DriverError, InputError, NotFoundError

if TYPE_CHECKING:
    from nf.media.purge.message import PurgeMessage

_NOW = "now"


class PurgeGroup(TyperGroup):
    """What is none of its commands is what to purge: `nf purge ch1` is `nf purge now ch1`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in {"--help", "-h"}:
            args = [_NOW, *args]
        return super().parse_args(ctx, args)

    def shell_complete(self, ctx: Any, incomplete: str) -> Any:
        from click.shell_completion import CompletionItem

        return [*super().shell_complete(ctx, incomplete), *map(CompletionItem, channels(incomplete))]


app = typer.Typer(
    cls=PurgeGroup,
    add_completion=False,
    no_args_is_help=True,
    help="Take content out of every cache, and what became of it.",
)
rules_app = typer.Typer(add_completion=False, invoke_without_command=True)
app.add_typer(rules_app, name="rules", help="Rules of the edges that hold now; delete ends them.")

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON; errors too, on stderr.")]
ProfileOption = Annotated[Path | None, typer.Option("--profile", help="Operator profile.", show_default=False)]


def channels(incomplete: str) -> list[str]:
    """Completion."""
    from nf.media.purge.message import PURGE

    return [name for name in CLIENT.get().operation_objects(PURGE) if name.startswith(incomplete)]


def modes(incomplete: str) -> list[str]:
    """Completion."""
    from nf.media.purge.message import Mode

    return [mode for mode in Mode if mode.startswith(incomplete)]


@app.command(_NOW)
def purge(
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="[CHANNEL|URL]",
            help="A channel, or http://HOST/CHANNEL/NAME; with a slash at its end all below it.",
            autocompletion=channels,
            show_default=False,
        ),
    ] = None,
    *,
    tag: Annotated[
        list[str] | None,
        typer.Option(
            "--tag",
            metavar="TAG",
            help="CHANNEL, CHANNEL/RENDITION, either with :manifest, :init or :segment; may be repeated.",
            show_default=False,
        ),
    ] = None,
    prefix: Annotated[
        str | None, typer.Option("--prefix", help="All whose URL begins so.", metavar="URL", show_default=False)
    ] = None,
    regex: Annotated[
        str | None,
        typer.Option("--regex", help="All whose path matches: ^/CHANNEL/...", metavar="REGEX", show_default=False),
    ] = None,
    everything: Annotated[
        str | None,
        typer.Option("--all", help="All of a channel.", metavar="CHANNEL", autocompletion=channels, show_default=False),
    ] = None,
    mode: Annotated[
        str, typer.Option("--mode", help="refetch, or refresh: keep what is still the same.", autocompletion=modes)
    ] = "refetch",
    identity: Annotated[
        str | None,
        typer.Option("--id", help="Given again, it is the same purge, and is done once.", show_default=False),
    ] = None,
    not_before: Annotated[
        str | None, typer.Option("--not-before", help="When, as 2026-11-29T12:00:00Z.", show_default=False)
    ] = None,
    expires: Annotated[
        str | None, typer.Option("--expires", help="Until when it is worth doing; 24 h.", show_default=False)
    ] = None,
    issued_by: Annotated[
        str | None,
        typer.Option(
            "--issued-by", metavar="WHO", help="Who wants it; the operator of the profile.", show_default=False
        ),
    ] = None,
    traceparent: Annotated[
        str | None,
        typer.Option(
            "--traceparent",
            envvar="TRACEPARENT",
            metavar="00-TRACE-SPAN-FLAGS",
            help="The trace that it is a part of (W3C Trace Context).",
            show_default=False,
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Also an expression that takes a whole channel, or every one.")
    ] = False,
    past_failures: Annotated[
        bool,
        typer.Option("--past-failures", help="Purge the edges also when a shield was not purged: it may refill them."),
    ] = False,
    watch: Annotated[bool, typer.Option("--watch/--no-watch", help="Show each cache on the way, on stderr.")] = True,
    json: JsonOption = False,
    profile: ProfileOption = None,
) -> None:
    """Take something out of every cache: shields first, then edges, each proved by a request."""
    from nf.media.purge.message import PURGE

    client = CLIENT.get()
    named: JsonObject = {"tag": [*(tag or ())], "prefix": prefix, "regex": regex, "all": everything}
    message = _message(
        target,
        named,
        mode=mode,
        id=identity,
        not_before=not_before,
        expires=expires,
        issued_by=issued_by,
        traceparent=traceparent,
        force=force,
    )
    wanted = _by_channel(message)
    answers: list[Json] = []
    failed: list[tuple[str, OperationOutcome]] = []
    for channel, part in wanted.items():
        outcome = client.run_operation(
            PURGE, channel, part.to_json(), past_failures=past_failures, profile=profile, watch=watch
        )
        answers.append(outcome.data)
        failed.append((channel, outcome))
        if not json:
            rows = tuple((node.appliance, node.driver, node.state, _proof(node), node.text) for node in outcome.nodes)
            client.print_table(("APPLIANCE", "CACHE", "STATE", "PROOF", "TEXT"), rows)
    if json:
        client.print_json(answers[0] if len(answers) == 1 else answers)
    for channel, outcome in failed:
        _conclude(channel, outcome)
        _require_served(channel, outcome)
    if not json:
        for channel, outcome in failed:
            what = target or ", ".join(part for part in wanted[channel].match[:3])
            client.say(f"{what} is purged at {len(outcome.nodes)} caches, in {outcome.duration_s:.1f} s")


@app.command("list")
def list_purges(
    *,
    channel: Annotated[
        str, typer.Option("--channel", help="Of this channel only.", autocompletion=channels, show_default=False)
    ] = "",
    limit: Annotated[int, typer.Option("--limit", help="How many, the newest first.", min=1, max=10_000)] = 100,
    json: JsonOption = False,
    profile: ProfileOption = None,
) -> None:
    """The purges that the NOC knows, the newest first."""
    from nf.media.purge.message import PURGE

    client = CLIENT.get()
    found = client.orders(PURGE, channel, limit=limit, profile=profile)
    if json:
        client.print_json([*found])
        return
    rows = tuple(
        (str(one["seq"]), str(one["id"]), str(one["object"]), _what(one), str(one["state"]), str(one.get("why", "")))
        for one in found
    )
    client.print_table(("SEQ", "ID", "CHANNEL", "WHAT", "STATE", "WHY"), rows)


@app.command()
def show(
    identity: Annotated[str, typer.Argument(metavar="ID", help="Id or number of a purge.", show_default=False)],
    *,
    json: JsonOption = False,
    profile: ProfileOption = None,
) -> None:
    """One purge, and which caches have acknowledged it."""
    from nf.media.purge.message import PURGE

    client = CLIENT.get()
    found = client.order(PURGE, identity, profile=profile)
    if json:
        client.print_json([*found])
        return
    for one in found:
        client.say(f"{one['seq']} {one['id']}: {_what(one)} of {one['object']} is {one['state']}")
        members = one.get("members")
        rows = tuple(
            (str(member.get("appliance")), str(member.get("driver")), "yes" if member.get("acknowledged") else "no")
            for member in (members if isinstance(members, list) else ())
            if isinstance(member, dict)
        )
        client.print_table(("APPLIANCE", "CACHE", "ACKNOWLEDGED"), rows)


@rules_app.callback()
def rules(ctx: typer.Context, *, json: JsonOption = False, profile: ProfileOption = None) -> None:
    """Rules of the edges that hold now: each is tried with every answer from the cache until its time is over."""
    if ctx.invoked_subcommand is None:
        _rules({}, json=json, profile=profile)


@rules_app.command("delete")
def delete_rules(
    ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Ids of purges.", show_default=False)],
    *,
    json: JsonOption = False,
    profile: ProfileOption = None,
) -> None:
    """End the rules of purges before their time. What was not asked for since then is served as it is."""
    _rules({"delete": [*ids]}, json=json, profile=profile)


def _rules(arguments: JsonObject, *, json: bool, profile: Path | None) -> None:
    from nf.media.purge.message import EVERY_EDGE, PURGE_RULES

    client = CLIENT.get()
    outcome = client.run_operation(PURGE_RULES, EVERY_EDGE, arguments, past_failures=True, profile=profile, watch=False)
    if json:
        client.print_json(outcome.data)
    else:
        rows = tuple(
            (node.appliance, str(rule.get("id")), str(rule.get("mode")), str(rule.get("pattern")), _when(rule))
            for node in outcome.nodes
            for rule in _objects(node.result.get("rules"))
        )
        client.print_table(("APPLIANCE", "ID", "MODE", "PATTERN", "EXPIRES"), rows)
    _conclude("rules", outcome)
    wanted = arguments.get("delete")
    deleted = {str(one) for node in outcome.nodes for one in _list(node.result.get("deleted"))}
    if isinstance(wanted, list) and (unknown := sorted(set(map(str, wanted)) - deleted)):
        raise NotFoundError(f"no edge has a rule of {', '.join(unknown)}", where="rules", remedy="see nf purge rules")


def _message(target: str | None, named: JsonObject, **others: Json) -> PurgeMessage:
    """Raises InputError when not exactly one thing is named."""
    from nf.media.purge.message import parse_message

    given: list[tuple[str, Json]] = [(scope, match) for scope, match in named.items() if match]
    if target is not None:
        scope = "all" if "://" not in target else "prefix" if target.endswith("/") else "url"
        given.append((scope, target))
    if len(given) != 1:
        raise InputError(
            f"{len(given)} things to purge are named" if given else "nothing to purge is named",
            where="nf purge",
            remedy="give a channel or a URL, or one of --tag, --prefix, --regex and --all",
        )
    ((scope, match),) = given
    return parse_message(
        {"scope": scope, "match": match, **{key: one for key, one in others.items() if one is not None}}
    )


def _by_channel(message: PurgeMessage) -> dict[str, PurgeMessage]:
    """Which are known is the NOC's word, except for an expression that is about every one."""
    from nf.media.purge.message import PURGE, by_channel, channel_of

    named = {channel_of(message.scope, match, force=message.force) for match in message.match}
    if "" in named:
        named = {*named, *CLIENT.get().operation_objects(PURGE)} - {""}
    return by_channel(message, frozenset(named))


def _what(order: JsonObject) -> str:
    arguments = order.get("arguments")
    found = arguments if isinstance(arguments, dict) else {}
    match = found.get("match")
    shown = f"{len(match)} of them" if isinstance(match, list) else str(match)
    return f"{found.get('scope')} {shown} ({found.get('mode')})"


def _when(rule: JsonObject) -> str:
    from datetime import UTC, datetime

    expires = rule.get("expires")
    return datetime.fromtimestamp(expires, UTC).isoformat() if isinstance(expires, int) else ""


def _objects(value: Json) -> list[JsonObject]:
    return [one for one in _list(value) if isinstance(one, dict)]


def _list(value: Json) -> list[Json]:
    return value if isinstance(value, list) else []


def _proof(node: NodeOutcome) -> str:
    words = ("refetched", "revalidated", "refilled", "gone")
    return ", ".join(f"{node.result[key]} {key}" for key in words if node.result.get(key))


def _require_served(target: str, outcome: OperationOutcome) -> None:
    """Raises NotFoundError when no edge serves the host: what a player asks for under another name is still there."""
    from nf.media.purge.proof import SERVED

    last = max((node.stage for node in outcome.nodes), default=0)
    edges = [node for node in outcome.nodes if node.stage == last]
    if not edges or not all(SERVED in node.result for node in edges):
        return
    found = (node.result[SERVED] for node in edges)
    hosts = sorted({str(host) for known in found for host in _list(known)})
    raise NotFoundError(
        "no edge serves this host: nothing is purged there",
        where=target,
        remedy=f"name it as a player does: {', '.join(hosts)}" if hosts else "see `nf lineup show` for its host",
    )


def _conclude(target: str, outcome: OperationOutcome) -> None:
    """Raises DriverError with the name of every cache that was not purged."""
    if outcome.complete:
        return
    left = ", ".join(f"{node.appliance} ({node.state})" for node in outcome.nodes if node.state != "done")
    raise DriverError(
        f"not purged at: {left}",
        where=target,
        remedy="who is offline is purged when it returns, under an alarm until then: it serves what it had; "
        "see what the others say, and purge again",
    )
