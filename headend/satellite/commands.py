"""`nf link`: the satellite link as operators see it, what a fade would do to it, and who puts it on the air."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from headend.satellite.names import PLAN, STATUS, TRANSMIT
from nf.contracts.json import JsonObject
from nf.contracts.noc_client import CLIENT
from nf.errors import DriverError, InputError

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
        ("SITE", "LOCK", "ES/N0 DB", "MARGIN DB", "MODCOD", "RELOCKS"),
        tuple(
            (site, *(str(read.get(key, "-")) for key in ("lock", "es_n0", "margin", "modcod", "relock_count")))
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
def spectrum(
    transponder: Annotated[str, typer.Argument(metavar="TRANSPONDER", help="Of the fleet document.")],
    *,
    fleet: Annotated[Path, typer.Option("--fleet", metavar="FILE", help="The fleet document.", show_default=False)],
    svg: Annotated[
        Path | None, typer.Option("--svg", metavar="FILE", help="Write the picture there as SVG.", show_default=False)
    ] = None,
    json: JsonOption = False,
) -> None:
    """A picture of a transponder with its carriers, and what is still free. Asks nobody."""
    from headend.satellite.carriers import spectrum as placed
    from headend.satellite.documents import SatelliteEquipment
    from headend.satellite.picture import svg_picture, text_picture
    from headend.satellite.transponder import Transponder, gaps_hz
    from nf.documents.loader import load_fleet
    from nf.documents.rules import nearest

    client = CLIENT.get()
    try:
        text = fleet.read_bytes()
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=str(fleet)) from None
    equipment = load_fleet(text, file=str(fleet)).document.spec.equipment.get("satellite")
    known = {one.id: one for one in equipment.transponders} if isinstance(equipment, SatelliteEquipment) else {}
    if transponder not in known or not isinstance(equipment, SatelliteEquipment):
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
