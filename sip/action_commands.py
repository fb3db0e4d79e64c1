"""What `nf sip` does: trace a call, hang one up, drain, let in again, place a test call."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nf.contracts.json import Json, JsonObject
from nf.contracts.noc_client import CLIENT
from nf.errors import DriverError, InputError, NotFoundError

if TYPE_CHECKING:
    from nf.contracts.noc_client import OperationOutcome

_LONGEST_S = 280
"""The NOC waits for 300 s for one appliance."""
_LONGEST_TRACE_S = 240
_LONGEST_TTL_S = 86_400
_RED = 9
"""Exit code: the answer came, and it is bad."""
_WIDTH = 110


def node_names(incomplete: str) -> list[str]:
    """Completion: what can be drained by its own name."""
    from sip.operations import DRAIN, EVERY, WAIT_EMPTY

    found = {one for name in (DRAIN, WAIT_EMPTY) for one in CLIENT.get().operation_objects(name)}
    return sorted(one for one in found if ":" not in one and one != EVERY and one.startswith(incomplete))


def site_names(incomplete: str) -> list[str]:
    """Completion."""
    from sip.operations import DRAIN, site_of

    sites = (site_of(one) for one in CLIENT.get().operation_objects(DRAIN))
    return [site for site in sites if site is not None and site.startswith(incomplete)]


def names_of_tests(incomplete: str) -> list[str]:
    """Completion."""
    from sip.operations import TEST_CALL

    return [one for one in CLIENT.get().operation_objects(TEST_CALL) if one.startswith(incomplete)]


def turn_servers(incomplete: str) -> list[str]:
    """Completion."""
    from sip.operations import TURN_CREDENTIALS

    return [one for one in CLIENT.get().operation_objects(TURN_CREDENTIALS) if one.startswith(incomplete)]


AsJson = Annotated[bool, typer.Option("--json", help="Print JSON; errors too, on stderr.")]
Profile = Annotated[Path | None, typer.Option("--profile", help="Operator profile.", show_default=False)]
CallId = Annotated[str, typer.Argument(metavar="CALL-ID", help="As nf sip calls lists it.", show_default=False)]
Node = Annotated[
    str,
    typer.Argument(
        metavar="[NODE]",
        help="A proxy, relay, media server, WebRTC gateway or TURN server.",
        autocompletion=node_names,
        show_default=False,
    ),
]
Pop = Annotated[
    str,
    typer.Option("--pop", metavar="SITE", help="All of a site.", autocompletion=site_names, show_default=False),
]


def register(app: typer.Typer) -> None:
    app.command()(trace)
    app.command()(hangup)
    app.command()(drain)
    app.command()(undrain)
    app.command("test-call")(place_test_call)
    app.command("turn-credentials")(make_turn_credentials)


def trace(
    call: Annotated[
        str, typer.Argument(metavar="[CALL-ID]", help="As nf sip calls lists it.", show_default=False)
    ] = "",
    *,
    user: Annotated[
        str, typer.Option("--user", metavar="NAME", help="The next call of an account or number.", show_default=False)
    ] = "",
    proxy: Annotated[
        str, typer.Option("--proxy", metavar="ID", help="At this proxy; else at all.", show_default=False)
    ] = "",
    seconds: Annotated[
        int, typer.Option("--seconds", min=1, max=_LONGEST_TRACE_S, help="How long to look at most.")
    ] = 30,
    raw: Annotated[bool, typer.Option("--raw", help="Whole messages too, without credentials.")] = False,
    json: AsJson = False,
    profile: Profile = None,
) -> None:
    """One call's signalling as a ladder, from now on until it ends. What is encrypted on the way is not seen."""
    from sip.answers import require_all
    from sip.operations import EVERY, TRACE
    from sip.tracing.ladder import ladder, merged

    if bool(call) == bool(user):
        remedy = "write nf sip trace CALL-ID, or nf sip trace --user NAME before the call"
        raise InputError("takes one of CALL-ID and --user", where="nf sip trace", remedy=remedy)
    client = CLIENT.get()
    target = proxy or (_proxy_of(call, profile) if call else "") or EVERY
    asked: JsonObject = {"call": call, "user": user, "seconds": seconds}
    found = client.run_operation(TRACE, target, asked, past_failures=True, profile=profile).nodes
    several = []
    names: dict[str, str] = {}
    for node in found:
        listed, known = node.result.get("rows"), node.result.get("names")
        rows = [one for one in (listed if isinstance(listed, list) else ()) if isinstance(one, dict)]
        several.append([{**one, "seen_by": node.appliance} for one in rows])
        names |= {key: str(value) for key, value in known.items()} if isinstance(known, dict) else {}
    messages = merged(several)
    if json:
        told: list[Json] = [{**one} for one in messages]
        client.print_json({"call": call or _traced(found), "messages": told, "names": {**names}})
    else:
        for line in ladder(messages, names, _WIDTH):
            client.say(line)
        for one in messages if raw else ():
            client.say(f"\n{one['from']} -> {one['to']}\n{one['text']}")
        for node in found:
            client.say(node.text or str(node.result.get("text", "")))
    require_all(found, "nf sip trace")
    if not messages:
        remedy = "only what passes from now on is seen: begin before the call, or look longer with --seconds"
        raise NotFoundError("no message of it was seen", where=call or user, remedy=remedy)


def _traced(nodes: object) -> str:
    found = [str(one.result.get("call", "")) for one in nodes] if isinstance(nodes, tuple) else []
    return next((one for one in found if one), "")


def _proxy_of(call: str, profile: Path | None) -> str:
    """The proxy that has the call; empty when none has."""
    from sip.operations import CALLS, EVERY

    client = CLIENT.get()
    outcome = client.run_operation(CALLS, EVERY, {"call": call}, past_failures=True, profile=profile, watch=False)
    return next((str(one.result["proxy"]) for one in outcome.nodes if one.result.get("rows")), "")


def hangup(call: CallId, *, json: AsJson = False, profile: Profile = None) -> None:
    """End a call: BYE to both parties, or CANCEL while it rings. Emergency calls are not ended."""
    from sip.operations import HANGUP

    client = CLIENT.get()
    proxy = _proxy_of(call, profile)
    if not proxy:
        raise NotFoundError("no proxy has this call", where=call, remedy="see nf sip calls")
    _done(client.run_operation(HANGUP, proxy, {"call": call}, past_failures=False, profile=profile), call, json=json)


def drain(
    node: Node = "",
    *,
    pop: Pop = "",
    wait_s: Annotated[
        int, typer.Option("--wait", min=0, max=_LONGEST_S, metavar="SECONDS", help="How long calls may take to end.")
    ] = 240,
    limit: Annotated[int, typer.Option("--limit", min=0, help="Calls that may be left.")] = 0,
    keep: Annotated[bool, typer.Option("--keep", help="Stay drained also when calls are left in the end.")] = False,
    json: AsJson = False,
    profile: Profile = None,
) -> None:
    """Take no new call, and wait until those that are there have ended. Emergency calls are taken all the while."""
    from sip.draining import Draining, plan

    _require_one(node, pop)
    steps = plan(CLIENT.get(), node, pop, profile)
    Draining(CLIENT.get(), profile, json=json).drain(steps, {"wait_s": wait_s, "limit": limit}, keep=keep)


def undrain(node: Node = "", *, pop: Pop = "", json: AsJson = False, profile: Profile = None) -> None:
    """Let what was drained take calls again, at once; of a site the relays first."""
    from sip.draining import Draining, plan

    _require_one(node, pop)
    Draining(CLIENT.get(), profile, json=json).undrain(plan(CLIENT.get(), node, pop, profile))


def _require_one(node: str, site: str) -> None:
    if bool(node) == bool(site):
        raise InputError("takes one of NODE and --pop", where="nf sip", remedy="write nf sip drain NODE, or --pop SITE")


def _done(outcome: OperationOutcome, where: str, *, json: bool) -> None:
    """Raises DriverError with what the appliances say when it is not done."""
    from sip.answers import faults

    client = CLIENT.get()
    if json:
        client.print_json(outcome.data)
    else:
        for node in outcome.nodes:
            if node.state == "done":
                client.say(f"{node.appliance}: {node.text}" if len(outcome.nodes) > 1 else node.text)
    if not outcome.complete:
        raise DriverError("; ".join(faults(outcome.nodes)), where=where, remedy="see what it says, and nf sip nodes")


def place_test_call(
    test: Annotated[
        str,
        typer.Argument(
            metavar="TEST", help="Of the voice core's tests.", autocompletion=names_of_tests, show_default=False
        ),
    ],
    *,
    to: Annotated[
        str, typer.Option("--to", metavar="NUMBER", help="Another number or account, this once.", show_default=False)
    ] = "",
    seconds: Annotated[
        int, typer.Option("--seconds", min=0, max=60, help="How long to talk; 0: as long as the test does.")
    ] = 0,
    json: AsJson = False,
    profile: Profile = None,
) -> None:
    """Place a test call now, and measure it: set-up time, loss, jitter, MOS. Exit code 9 when it is not good."""
    from sip.answers import WAY_COLUMNS, faults, way_rows
    from sip.operations import TEST_CALL

    client = CLIENT.get()
    asked: JsonObject = {"call": test, "to": to, "seconds": seconds}
    outcome = client.run_operation(TEST_CALL, test, asked, past_failures=False, profile=profile)
    if not outcome.complete:
        raise DriverError(
            "; ".join(faults(outcome.nodes)), where=test, remedy="see nf appliance list, and nf sip nodes"
        )
    (node,) = outcome.nodes
    result = node.result
    if json:
        client.print_json(result)
    else:
        client.say(f"{result.get('caller')} calls {result.get('called')} from {node.appliance}")
        rows = way_rows(result)
        if rows:
            client.print_table(WAY_COLUMNS, rows)
        client.say(f"{'up' if result.get('up') else 'NOT UP'}: {result.get('text')}")
    if not result.get("up"):
        raise typer.Exit(_RED)


def make_turn_credentials(
    server: Annotated[
        str,
        typer.Argument(metavar="TURN", help="A TURN server.", autocompletion=turn_servers, show_default=False),
    ],
    *,
    user: Annotated[str, typer.Option("--user", metavar="NAME", help="Whose, as its log tells it.")] = "nf",
    ttl: Annotated[
        int, typer.Option("--ttl", min=1, max=_LONGEST_TTL_S, metavar="SECONDS", help="For which they are good.")
    ] = 3600,
    json: AsJson = False,
    profile: Profile = None,
) -> None:
    """Credentials of a TURN server for a browser. They expire by themselves; allocations that exist then go on."""
    from sip.answers import faults, when
    from sip.operations import TURN_CREDENTIALS

    client = CLIENT.get()
    asked: JsonObject = {"user": user, "ttl_s": ttl}
    outcome = client.run_operation(TURN_CREDENTIALS, server, asked, past_failures=False, profile=profile, watch=False)
    if not outcome.complete:
        raise DriverError("; ".join(faults(outcome.nodes)), where=server, remedy="see nf alarms")
    (node,) = outcome.nodes
    result = {name: node.result.get(name) for name in ("iceServers", "until")}
    if json:
        client.print_json(result)
        return
    for one in _servers(result["iceServers"]):
        client.say(f"urls        {', '.join(map(str, one['urls']))}")
        client.say(f"username    {one['username']}")
        client.say(f"credential  {one['credential']}")
    client.say(f"good until  {when(result['until'])}")


def _servers(found: Json) -> list[dict[str, Any]]:
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
