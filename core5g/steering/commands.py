"""`nf steer`: where traffic for the CDN leaves the mobile network, and why."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nf.contracts.json import Json
from nf.contracts.noc_client import CLIENT

if TYPE_CHECKING:
    from core5g.steering.explain import Listed, Planned
    from nf.documents.fleet import Fleet
    from nf.documents.lineup import LineUp

app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="Steering of UEs' traffic to the caches: list, show, explain."
)

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON; errors too, on stderr.")]
ProfileOption = Annotated[Path | None, typer.Option("--profile", help="Operator profile.", show_default=False)]


def upf_names(incomplete: str) -> list[str]:
    """Completion."""
    from core5g.steering.contract import EVERY, STEER_LIST

    names = CLIENT.get().operation_objects(STEER_LIST)
    return [name for name in names if name != EVERY and name.startswith(incomplete)]


def destination_names(context: typer.Context, incomplete: str) -> list[str]:
    """Completion: what the line-up's paths are known by."""
    from core5g.steering.explain import destinations
    from nf.errors import NfError

    profile = context.params.get("profile")
    try:
        found = destinations(_planned(Path(profile) if profile else None, timeout_s=1.0))
    except (NfError, OSError, ValueError):
        return []
    return [name for name in found if name.startswith(incomplete)]


@app.command("list")
def list_all(*, json: JsonOption = False, profile: ProfileOption = None) -> None:
    """Every UPF that steers: whether it does now, since when and why, and what it counted."""
    from core5g.steering.explain import COLUMNS

    found = _listed(_planned(profile), profile)
    client = CLIENT.get()
    if json:
        client.print_json({"upfs": [one.to_json() for one in found]})
    else:
        client.print_table(COLUMNS, tuple(one.row() for one in found))
    _require_all(found)


@app.command("show")
def show(
    upf: Annotated[str, typer.Argument(metavar="UPF", help="Of the fleet document.", autocompletion=upf_names)],
    *,
    json: JsonOption = False,
    profile: ProfileOption = None,
) -> None:
    """One UPF: the paths that leave at it, by which prefixes and names, to which cache."""
    from core5g.steering.explain import find, when

    client = CLIENT.get()
    (found,) = _listed((find(_planned(profile), upf),), profile, upf)
    if json:
        client.print_json(found.to_json())
        _require_all((found,))
        return
    plan, live = found.plan, found.listing
    edge = plan.steering.breakout.id
    how = (
        "at its N6"
        if plan.steering.classifier is None
        else f"by the classifier {plan.steering.classifier.id} to {edge}"
    )
    client.say(f"{upf} steers {how}, to the cache {plan.cache}")
    if live is not None:
        client.say(f"{found.verdict} since {when(live.since) or 'it was started'}: {live.why or 'no reason given'}")
        steered, rest = live.counted
        client.say(f"{steered} steered, {rest} by the default exit")
    rows = tuple(
        (way.name, way.host, ", ".join(map(str, way.path.prefixes)), ", ".join(way.path.names)) for way in plan.ways
    )
    client.print_table(("PATH", "HOST", "PREFIXES", "NAMES"), rows)
    if live is not None and live.influences:
        client.say(f"influences: {', '.join(sorted(live.influences))}")
    _require_all((found,))


@app.command("explain")
def explain(
    ue: Annotated[str, typer.Argument(metavar="UE", help="Its address, or imsi-NUMBER.", show_default=False)],
    destination: Annotated[
        str,
        typer.Argument(
            metavar="[DESTINATION]",
            help="An address, a prefix or a name; else all that the line-up's paths are known by.",
            autocompletion=destination_names,
            show_default=False,
        ),
    ] = "",
    *,
    json: JsonOption = False,
    profile: ProfileOption = None,
) -> None:
    """Where the traffic of a UE goes, and why: every UPF that steers is asked."""
    from core5g.steering.contract import EVERY, STEER_EXPLAIN, parse_ue
    from core5g.steering.explain import TOLD_COLUMNS, conclude, destinations, edges, gated, parse_destination, told
    from nf.errors import NotFoundError

    client, who = CLIENT.get(), parse_ue(ue)
    asked = parse_destination(destination) if destination else ""
    plans = _planned(profile)
    targets = (asked,) if asked else destinations(plans)
    if not targets:
        raise NotFoundError("the line-up has no breakout path", where=ue, remedy="name a destination")
    found = [
        one
        for target in targets
        for one in told(
            plans,
            target,
            client.run_operation(
                STEER_EXPLAIN, EVERY, {"ue": who, "destination": target}, past_failures=True, profile=profile
            ).nodes,
        )
    ]
    gates = [_listed((edge,), profile, edge.steering.upf.id)[0] for edge in edges(plans, found)]
    found = [*gated(plans, found, gates)]
    if json:
        client.print_json({"ue": who, "answers": [one.to_json() for one in found]})
    else:
        known = [one for one in found if one.knows or one.explanation is None]
        client.print_table(TOLD_COLUMNS, tuple(one.row() for one in known or found))
    conclude(who, found)


@app.command("applications")
def applications(*, json: JsonOption = False, profile: ProfileOption = None) -> None:
    """What the TrafficInfluence API calls an application: its appId, and the zones that it may be steered in."""
    from core5g.steering.influence.catalogue import Catalogue

    client = CLIENT.get()
    catalogue = Catalogue(*_documents(profile))
    rows: list[tuple[str, ...]] = []
    listed: list[Json] = []
    for app_ in catalogue.applications:
        instances = [(one.zone_name, str(one.zone_id), str(one.id), ", ".join(one.upfs)) for one in app_.instances]
        rows += [
            (app_.name, str(app_.id), zone, zone_id, instance, upfs) for zone, zone_id, instance, upfs in instances
        ]
        listed.append(app_.to_json())
    if json:
        client.print_json({"region": catalogue.region, "applications": listed})
        return
    client.say(f"region {catalogue.region}")
    client.print_table(("PATH", "APP ID", "ZONE", "ZONE ID", "INSTANCE ID", "UPFS"), tuple(rows))


def _planned(profile: Path | None, *, timeout_s: float = 15.0) -> tuple[Planned, ...]:
    from core5g.steering.explain import planned

    return planned(*_documents(profile, timeout_s=timeout_s))


def _documents(profile: Path | None, *, timeout_s: float = 15.0) -> tuple[LineUp, Fleet]:
    from nf.documents.loader import load_fleet, load_lineup

    texts = CLIENT.get().committed(profile=profile, timeout_s=timeout_s)
    lineup = load_lineup(texts.lineup[1], file=texts.lineup[0]).document
    return lineup, load_fleet(texts.fleet[1], file=texts.fleet[0]).document


def _listed(plans: tuple[Planned, ...], profile: Path | None, target: str = "") -> tuple[Listed, ...]:
    from core5g.steering.contract import EVERY, STEER_LIST
    from core5g.steering.explain import listed

    outcome = CLIENT.get().run_operation(STEER_LIST, target or EVERY, {}, past_failures=True, profile=profile)
    return listed(plans, outcome.nodes)


def _require_all(found: tuple[Listed, ...]) -> None:
    """Raises DriverError with the name of everybody who told nothing."""
    from nf.errors import DriverError

    missing = [f"{one.plan.steering.upf.id} ({one.fault})" for one in found if one.listing is None]
    if missing:
        remedy = "what an appliance steers goes on without the NOC; see nf appliance list"
        raise DriverError(f"not told by: {', '.join(missing)}", where="nf steer", remedy=remedy)
