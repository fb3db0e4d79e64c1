"""`nf tree trace`: the live tree from a receiver to the source, counted hop by hop, and where packets vanish."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from headend.multicast.trace.names import TRACE
from nf.contracts.json import Json, JsonObject
from nf.contracts.noc_client import CLIENT
from nf.errors import DriverError, InputError

if TYPE_CHECKING:
    from headend.multicast.trace.localise import Vanished
    from headend.multicast.trace.reading import NodeReading
    from headend.multicast.trace.walk import Hop, Way
    from nf.contracts.noc_client import OperationOutcome

LONGEST_MS: Final = 60_000
_LEAD_S: Final = 0.5
_COLUMNS: Final = ("LEG", "APPLIANCE", "IN", "OUT", "ASKS", "ARRIVED", "FORWARDED", "SENT", "WRONG IF", "DROPS", "")


def channels(incomplete: str) -> list[str]:
    """Completion."""
    return [name for name in CLIENT.get().operation_objects(TRACE) if name.startswith(incomplete)]


def trace(
    channel: Annotated[
        str, typer.Argument(metavar="CHANNEL", help="A channel's id.", autocompletion=channels, show_default=False)
    ],
    receiver: Annotated[
        str,
        typer.Argument(
            metavar="RECEIVER", help="An appliance, or an address on a PoP's LAN: where it goes.", show_default=False
        ),
    ],
    *,
    path: Annotated[str, typer.Option("--path", metavar="ID", help="One path only.", show_default=False)] = "",
    interval: Annotated[
        str, typer.Option("--interval", metavar="TIME", help="How long to count; a longer time shows a smaller loss.")
    ] = "2s",
    json: Annotated[bool, typer.Option("--json", help="Print JSON; errors too, on stderr.")] = False,
    profile: Annotated[Path | None, typer.Option("--profile", help="Operator profile.", show_default=False)] = None,
) -> None:
    """The live tree from the receiver to the source, with packets per hop; names the link where packets vanish.

    Exit code 1 when packets vanish or the tree does not reach the source.
    """
    from headend.multicast.trace.localise import localise
    from headend.multicast.trace.walk import Walk, stretches, way_json

    client = CLIENT.get()
    interval_s = _seconds(interval)
    found, silent = _read(channel, receiver, path, interval_s, profile)
    ways = Walk(found).ways(receiver, path)
    lost = [(way, localise(stretches(way))) for way in ways]
    notes = [f"{one.appliance}: {note}" for one in found for note in one.notes]
    if json:
        told: JsonObject = {
            "channel": channel,
            "receiver": receiver,
            "interval_s": interval_s,
            "ways": [{**way_json(way), "vanished": [_vanished_json(v) for v in vanished]} for way, vanished in lost],
            "silent": [*silent],
            "notes": [*notes],
        }
        client.print_json(told)
    else:
        _print(channel, receiver, lost, [*notes, *(f"{name} does not answer" for name in silent)])
    if any(vanished or way.problem for way, vanished in lost):
        raise typer.Exit(1)


def register(app: typer.Typer) -> None:
    """Add `trace` to the app of `nf tree`."""
    app.command()(trace)


def _seconds(text: str) -> float:
    """Raises InputError."""
    from nf.documents.quantities import parse_duration_ms

    try:
        milliseconds = parse_duration_ms(text)
    except ValueError as error:
        raise InputError(str(error), where=f"--interval {text}", remedy="write it as 2s") from error
    if not 100 <= milliseconds <= LONGEST_MS:
        raise InputError("an interval is 100 ms to 60 s", where=f"--interval {text}", remedy="write it as 2s")
    return milliseconds / 1000


def _read(
    channel: str, receiver: str, path: str, interval_s: float, profile: Path | None
) -> tuple[list[NodeReading], list[str]]:
    """What the appliances tell, and which do not answer. First what the flows are, then the counters of all of them
    at once: by the appliances' clocks, since this machine's may be another. Raises DriverError."""
    from headend.multicast.trace.reading import reading_of
    from headend.multicast.trace.walk import Walk

    client = CLIENT.get()

    def ask(arguments: JsonObject) -> tuple[OperationOutcome, list[NodeReading]]:
        outcome = client.run_operation(
            TRACE, channel, {"channel": channel, **arguments}, past_failures=True, profile=profile
        )
        return outcome, [reading_of(node.result) for node in outcome.nodes if node.state == "done"]

    asked = time.monotonic()
    outcome, first = ask({})
    if not first:
        why = "; ".join(f"{node.appliance}: {node.text or node.state}" for node in outcome.nodes)
        raise DriverError(f"no appliance answers: {why}", where=channel, remedy="see `nf appliance list`")
    flows: list[Json] = [
        {"path": flow.path, "leg": flow.leg, "role": flow.role, "source": flow.source, "group": flow.group}
        for flow in Walk(first).flows(path)
    ]
    if not flows:
        raise InputError("no appliance carries it", where=f"{channel}/{path}".rstrip("/"), remedy="nf channel show")
    elapsed_s = time.monotonic() - asked
    start_at = max(reading.began_at for reading in first) + elapsed_s + outcome.duration_s + _LEAD_S
    outcome, found = ask({"flows": flows, "receiver": receiver, "interval_s": interval_s, "start_at": start_at})
    return found, sorted(node.appliance for node in outcome.nodes if node.state != "done")


def _print(channel: str, receiver: str, lost: list[tuple[Way, tuple[Vanished, ...]]], notes: list[str]) -> None:
    client = CLIENT.get()
    for way, vanished in lost:
        flow = way.flow
        name = "from the PoP's output stage" if flow.role == "output" else f"leg {flow.leg}" if flow.leg else ""
        client.say(f"{channel}/{flow.path} {flow} {name}".rstrip() + f", from {receiver} to the source:")
        client.print_table(_COLUMNS, tuple(_row(flow.leg, hop) for hop in way.hops))
        if way.problem:
            client.say(f"it ends there: {way.problem}")
        for one in vanished:
            client.say(f"{one.packets} of {one.of} packets ({one.share:.1%}) vanish on {one.link}, {one.part}")
        if not vanished and not way.problem:
            client.say("no packets vanish")
    for note in notes:
        client.say(note)


def _row(leg: str, hop: Hop) -> tuple[str, ...]:
    counts = (str(count.packets) if count is not None else "-" for count in (hop.arrived, hop.forwarded, hop.sent))
    remarks = ("both legs pass here",) if hop.shared else ()
    return (
        leg or "-",
        hop.appliance,
        hop.input or "-",
        hop.output or "-",
        hop.asks or "-",
        *counts,
        str(hop.wrong_if),
        str(hop.drops),
        "; ".join((*remarks, *hop.remarks)),
    )


def _vanished_json(one: Vanished) -> JsonObject:
    return {"link": one.link, "part": one.part, "packets": one.packets, "of": one.of, "share": one.share}
