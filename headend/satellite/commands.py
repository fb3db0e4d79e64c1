"""`nf link`: the satellite link as operators see it, what a fade would do to it, and who puts it on the air."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headend.satellite.names import PLAN, STATUS, TRANSMIT
from nf.contracts.json import JsonObject
from nf.contracts.noc_client import CLIENT
from nf.errors import DocumentError, DriverError, InputError

if TYPE_CHECKING:
    from headend.satellite.documents import SatelliteEquipment
    from headend.satellite.ground import RainRecord
    from headend.satellite.sitebudgets import Wanted
    from nf.documents.fleet import Fleet

app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="The satellite link: capacity, margin, what-if, transmission."
)

_FADE = re.compile(r"([0-9]{1,2}(?:\.[0-9]{1,2})?) ?(?:dB)?")


def carriers(incomplete: str) -> list[str]:
    """Completion."""
    return [name for name in CLIENT.get().operation_objects(STATUS) if name.startswith(incomplete)]


CarrierArgument = Annotated[
    str, typer.Argument(metavar="CARRIER", help="A carrier of the fleet.", autocompletion=carriers, show_default=False)
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON; errors too, on stderr.")]
FleetOption = Annotated[Path, typer.Option("--fleet", metavar="FILE", help="The fleet document.", show_default=False)]
ProfileOption = Annotated[Path | None, typer.Option("--profile", help="Operator profile.", show_default=False)]


def _ask(name: str, carrier: str, arguments: JsonObject, profile: Path | None) -> dict[str, Any]:
    """What the driver answers. Raises DriverError with what it says when it cannot."""
    outcome = CLIENT.get().run_operation(
        name, carrier, {"carrier": carrier, **arguments}, past_failures=False, profile=profile
    )
    (node,) = outcome.nodes
    if not outcome.complete:
        raise DriverError(node.text or node.state, where=f"{node.appliance}/{carrier}", remedy="see `nf alarms`")
    return dict(node.result)


def _read_fleet(path: Path) -> tuple[str, Fleet, SatelliteEquipment]:
    """Its text, the document and its satellite part. Raises InputError, and DocumentError for broken rules."""
    from headend.satellite import sitebudgets
    from headend.satellite.documents import SatelliteEquipment
    from nf.documents.loader import load_fleet

    try:
        text = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=str(path)) from None
    loaded = load_fleet(text, file=str(path))
    equipment = loaded.document.spec.equipment.get("satellite")
    satellite = equipment if isinstance(equipment, SatelliteEquipment) else SatelliteEquipment()
    known = {one.id: one for one in satellite.transponders}
    broken = [*sitebudgets.problems(satellite, known)]
    if broken:
        raise DocumentError([loaded.place(problem) for problem in broken], where=str(path))
    return text.decode(), loaded.document, satellite


def _shown(wanted: Sequence[Wanted]) -> Iterator[Wanted]:
    """The same, with a bar on a terminal."""
    if not sys.stderr.isatty():
        yield from wanted
        return
    with typer.progressbar(wanted, label="P.618", file=sys.stderr, item_show_func=_site) as bar:
        yield from bar


def _site(wanted: Wanted | None) -> str:
    return "" if wanted is None else wanted.site


def _tabulated(wanted: Wanted) -> RainRecord:
    """Takes seconds. Raises UnavailableError without the package."""
    from headend.satellite.rain import tabulate
    from headend.satellite.sitebudgets import record

    table = tabulate(
        wanted.site,
        latitude_deg=wanted.latitude_deg,
        longitude_deg=wanted.longitude_deg,
        frequency_hz=wanted.frequency_hz,
        elevation_deg=wanted.elevation_deg,
        tilt_deg=wanted.tilt_deg,
    )
    return record(wanted, table)


def _write(path: Path, text: str) -> None:
    """All of it or nothing."""
    beside = path.with_name(f".{path.name}.new")
    try:
        beside.write_text(text, encoding="utf-8")
        shutil.copymode(path, beside)
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise InputError(f"cannot be written: {error.strerror}", where=str(path), remedy="--print shows it") from None


@app.command()
def show(carrier: CarrierArgument, *, json: JsonOption = False, profile: ProfileOption = None) -> None:
    """Es/N0 and margin at every receiver, MODCOD, power, and the capacity by service."""
    client = CLIENT.get()
    found = _ask(STATUS, carrier, {}, profile)
    if json:
        client.print_json(found)
        return
    modem = found["modem"]
    approved = str(found["approved_by"]).rpartition("/")[2] or "nobody"
    state = f"on the air, approved by {approved}" if found["on_air"] else "muted"
    client.say(f"{carrier}: {state}; {found['modcod']}, rung {(found['rung'] or 0) + 1} of {found['rungs']}")
    if found.get("standby"):
        state = found["not_standing_by"] or "stands by"
        client.say(f"encoder {found['encoder']} is heard; {found['standby']}: {state}")
    used = sum(service["bitrate_bps"] for service in found["services"])
    client.say(
        f"net {_mbit(found['net_bitrate_bps'])} Mbit/s, multiplex {_mbit(found['ts_bitrate_bps'])}, services "
        f"{_mbit(used)}; level {modem.get('tx_level', '-')} dBm, beacon {modem.get('beacon_level', '-')} dBm, "
        f"dropped {modem.get('dropped_packets', '-')} packets"
    )
    client.print_table(
        ("SERVICE", "CHANNEL", "MBIT/S"),
        tuple(
            (
                str(one["service_id"]),
                f"{one['channel']}/{one['path']}",
                _mbit(one["bitrate_bps"]) if one["bitrate_bps"] else "left out",
            )
            for one in found["services"]
        ),
    )
    client.print_table(
        ("SITE", "LOCK", "ES/N0 DB", "MARGIN DB", "MODCOD", "RELOCKS", "LAST TOOK S"),
        tuple(
            (
                site,
                *(str(read.get(key, "-")) for key in ("lock", "es_n0", "margin", "modcod", "relock_count")),
                str(found.get("relock_s", {}).get(site, "-")),
            )
            for site, read in sorted(found["sites"].items())
        ),
    )
    for line in (*[f"{name} does not answer" for name in found["silent"]], *found["deviations"]):
        client.say(line)


def _fade(text: str) -> float:
    match = _FADE.fullmatch(text.strip())
    if match is None:
        raise InputError("a fade is a number of dB", where=f"--fade {text}", remedy="write it as 6dB")
    return float(match[1])


@app.command()
def plan(
    carrier: CarrierArgument,
    *,
    fade: Annotated[str, typer.Option("--fade", metavar="DB", help="Fade of the uplink, such as 6dB.")] = "6dB",
    site: Annotated[
        str, typer.Option("--site", metavar="SITE", help="The fade is at this receive site only.", show_default=False)
    ] = "",
    json: JsonOption = False,
    profile: ProfileOption = None,
) -> None:
    """What a fade would do: power, MODCOD, which services would go and what it costs. Changes nothing."""
    client = CLIENT.get()
    found = _ask(PLAN, carrier, {"fade_db": _fade(fade), "site": site}, profile)
    if json:
        client.print_json(found)
        return
    for line in found["lines"]:
        client.say(str(line))


@app.command()
def budget(
    carrier: CarrierArgument,
    *,
    fleet: FleetOption,
    json: JsonOption = False,
) -> None:
    """Link budget of a carrier at every site: clear sky, rain that it stands, availability. Asks nobody."""
    from headend.satellite.sitebudgets import MAKE_TABLES, lacking, site_budgets
    from nf.documents.rules import nearest

    client = CLIENT.get()
    _, document, equipment = _read_fleet(fleet)
    known = {one.id: one for one in equipment.carriers}
    if carrier not in known:
        raise InputError("no such carrier in the fleet", where=carrier, remedy=nearest(carrier, known))
    given = known[carrier]
    transponders = {one.id: one for one in equipment.transponders}
    if given.transponder not in transponders:
        remedy = nearest(given.transponder, transponders)
        raise InputError("no such transponder in the fleet", where=given.transponder, remedy=remedy)
    if missing := lacking(given, transponders[given.transponder]):
        raise InputError(
            f"no budget without: {', '.join(missing)}",
            where=f"{fleet}: carrier {carrier}",
            remedy="write what is missing: docs/satellite.md, Link budget",
        )
    found = site_budgets(equipment, given, document)
    headroom_db = given.power.cap_dbm - given.power.clear_dbm
    wanted = given.availability_percent
    if json:
        client.print_json(
            {
                "carrier": carrier,
                "headroom_db": headroom_db,
                "wanted_availability_percent": wanted,
                "sites": [site.to_json() for site in found],
                "without_station": [*sorted(one.site for one in given.receivers if one.station is None)],
            }
        )
        return
    client.say(
        f"{carrier}: {given.symbol_rate_baud / 1e6:g} Msym/s, {headroom_db:g} dB of power left for rain"
        + ("" if wanted is None else f", {wanted:g} % of the year wanted")
    )
    client.print_table(
        ("SITE", "ELEVATION", "G/T DB/K", "UPLINK DB", "DOWNLINK DB", "ES/N0 DB", "WRITTEN DB"),
        tuple(
            (
                site.site,
                *(f"{value:.1f}" for value in (site.elevation_deg, site.g_over_t_db_per_k, site.uplink_es_n0_db)),
                *(f"{value:.1f}" for value in (site.downlink_es_n0_db, site.es_n0_db, site.said_es_n0_db)),
            )
            for site in found
        ),
    )
    client.print_table(
        ("SITE", "MODCOD", "NEEDS DB", "MARGIN DB", "UPLINK RAIN DB", "DOWNLINK RAIN DB", "AVAILABLE %"),
        tuple(
            (
                site.site,
                one.modcod,
                *(f"{value:.1f}" for value in (one.required_es_n0_db, one.margin_db)),
                *(f"{value:.1f}" for value in (one.uplink_rain_db, one.downlink_rain_db)),
                "-" if one.availability_percent is None else f"{one.availability_percent:.3f}",
            )
            for site in found
            for one in site.modcods
        ),
    )
    for receiver in given.receivers:
        if receiver.station is None:
            client.say(f"{receiver.site}: no station is written, no budget")
    if without := sorted({end for site in found for end in site.missing}):
        client.say(f"no rain table of {', '.join(without)}: {MAKE_TABLES}")


@app.command()
def rain(
    *,
    fleet: FleetOption,
    again: Annotated[bool, typer.Option("--again", help="Make all tables anew, also those that are there.")] = False,
    only_print: Annotated[bool, typer.Option("--print", help="Print the tables; leave the file alone.")] = False,
    json: JsonOption = False,
) -> None:
    """Make the rain tables (ITU-R P.618) of every site and write them into the fleet document. Asks nobody.

    Takes seconds for each path. Needs the extra `satellite` of this software; reading the tables does not.
    """
    from headend.satellite.fleetfile import lines_of, with_rain
    from headend.satellite.sitebudgets import wanted_tables
    from nf.documents.loader import load_fleet

    client = CLIENT.get()
    text, document, equipment = _read_fleet(fleet)
    wanted = wanted_tables(equipment, document)
    if not wanted:
        raise InputError(
            "no carrier has stations and a transponder with a position",
            where=str(fleet),
            remedy="write where the antennas stand: docs/satellite.md, Link budget",
        )
    kept = {} if again else {one: next((r for r in equipment.rain if one.served_by(r)), None) for one in wanted}
    tables = [kept.get(one) or _tabulated(one) for one in _shown(wanted)]
    made = sum(1 for one in wanted if not kept.get(one))
    dropped = sum(1 for old in equipment.rain if old not in tables)
    if not only_print:
        new = with_rain(text, tables)
        load_fleet(new, file=str(fleet))  # never write what would be refused
        _write(fleet, new)
    if json:
        client.print_json({"made": made, "dropped": dropped, "rain": [one.to_json() for one in tables]})
        return
    if only_print:
        client.say("\n".join(lines_of(tables)))
        return
    client.say(f"{fleet}: {made} tables made, {len(tables) - made} kept, {dropped} dropped; they hold once committed")


@app.command()
def spectrum(
    transponder: Annotated[str, typer.Argument(metavar="TRANSPONDER", help="Of the fleet document.")],
    *,
    fleet: FleetOption,
    svg: Annotated[
        Path | None, typer.Option("--svg", metavar="FILE", help="Write the picture there as SVG.", show_default=False)
    ] = None,
    json: JsonOption = False,
) -> None:
    """A picture of a transponder with its carriers, and what is still free. Asks nobody."""
    from headend.satellite.carriers import spectrum as placed
    from headend.satellite.picture import svg_picture, text_picture
    from headend.satellite.transponder import Transponder, gaps_hz
    from nf.documents.rules import nearest

    client = CLIENT.get()
    _, _, equipment = _read_fleet(fleet)
    known = {one.id: one for one in equipment.transponders}
    if transponder not in known:
        raise InputError("no such transponder in the fleet", where=transponder, remedy=nearest(transponder, known))
    given = known[transponder]
    room = Transponder(given.id, given.centre_hz, given.bandwidth_hz, given.guard_hz)
    carriers = placed(given, equipment.carriers)
    free = gaps_hz(room, carriers)
    if svg is not None:
        svg.write_text(svg_picture(room, carriers), encoding="utf-8")
    if json:
        client.print_json(
            {
                "transponder": given.id,
                "carriers": [{"carrier": one.name, "low_hz": one.low_hz, "high_hz": one.high_hz} for one in carriers],
                "free": [{"low_hz": low, "high_hz": high} for low, high in free],
            }
        )
        return
    client.say(text_picture(room, carriers))
    for low, high in free:
        client.say(f"free: {low / 1e6:.3f} to {high / 1e6:.3f} MHz ({(high - low) / 1e6:.3f} MHz)")


@app.command()
def transmit(
    carrier: CarrierArgument,
    *,
    reason: Annotated[
        str, typer.Option("--reason", metavar="WHY", help="Ask that it goes on the air.", show_default=False)
    ] = "",
    approve: Annotated[bool, typer.Option("--approve", help="Approve what another person asked for.")] = False,
    mute: Annotated[bool, typer.Option("--mute", help="Take it off the air, at once.")] = False,
    json: JsonOption = False,
    profile: ProfileOption = None,
) -> None:
    """Put a carrier on the air, which takes two people: one asks with --reason, another one approves. Or mute it."""
    acts = [act for act, meant in (("ask", bool(reason)), ("approve", approve), ("mute", mute)) if meant]
    if len(acts) != 1:
        raise InputError(
            "exactly one of --reason, --approve and --mute", where="transmit", remedy="ask with --reason WHY"
        )
    client = CLIENT.get()
    found = _ask(TRANSMIT, carrier, {"act": acts[0], "reason": reason}, profile)
    if json:
        client.print_json(found)
    elif found["state"] == "asked":
        client.say(f"{carrier}: asked; another person puts it on the air: nf link transmit {carrier} --approve")
    else:
        client.say(f"{carrier}: {found['state']}")


def _mbit(bps: float) -> str:
    return f"{bps / 1e6:.3f}"
