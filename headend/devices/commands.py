"""`nf device`: the devices of the headend and the receive sites, as operators and integrators see them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from headend.devices import names
from headend.devices.integration import learn, probe
from nf.contracts.json import Json, JsonObject
from nf.contracts.noc_client import CLIENT, NodeOutcome
from nf.errors import DriverError, InputError

app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="Devices behind SNMP: look, set and prove, keep, restore, switch."
)
app.command()(probe)
app.command()(learn)


def devices(incomplete: str) -> list[str]:
    """Completion."""
    return [name for name in CLIENT.get().operation_objects(names.SHOW) if name.startswith(incomplete)]


def settable(incomplete: str) -> list[str]:
    """Completion: what any model can be set to by name; of tables the first row, as an example."""
    from headend.devices.modelfile import load_models

    found: set[str] = set()
    for model in load_models().values():
        for name, parameter in model.parameters.items():
            if parameter.writable:
                table, dot, column = name.partition(".")
                found.add(f"{table}[1].{column}=" if dot else f"{name}=")
    return sorted(name for name in found if name.startswith(incomplete))


def groups(incomplete: str) -> list[str]:
    """Completion."""
    return [name for name in CLIENT.get().operation_objects(names.GROUP_SHOW) if name.startswith(incomplete)]


DeviceArgument = Annotated[
    str, typer.Argument(metavar="DEVICE", help="A device of the fleet.", autocompletion=devices, show_default=False)
]
GroupArgument = Annotated[
    str, typer.Argument(metavar="GROUP", help="A redundancy group.", autocompletion=groups, show_default=False)
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON; errors too, on stderr.")]
ProfileOption = Annotated[Path | None, typer.Option("--profile", help="Operator profile.", show_default=False)]
ReasonOption = Annotated[
    str, typer.Option("--reason", metavar="WHY", help="Why; it is written down.", show_default=False)
]


def _ask(name: str, about: str, arguments: JsonObject, profile: Path | None, *, key: str = "device") -> dict[str, Any]:
    """What the driver answers. Raises DriverError with what it says when it cannot."""
    outcome = CLIENT.get().run_operation(name, about, {key: about, **arguments}, past_failures=False, profile=profile)
    (node,) = outcome.nodes
    if not outcome.complete:
        raise DriverError(node.text or node.state, where=f"{node.appliance}/{about}", remedy="see `nf alarms`")
    return dict(node.result)


# ---- looking ----


@app.command("list")
def list_devices(*, json: JsonOption = False, profile: ProfileOption = None) -> None:
    """Every device of the fleet: model, address, whether it answers, how many alarms stand."""
    client = CLIENT.get()
    outcome = client.run_operation(names.LIST, names.ALL, {}, past_failures=True, profile=profile)
    found = [one for node in outcome.nodes for one in _listed(node)]
    found.sort(key=lambda one: str(one["device"]))
    left = {node.appliance: node.text or node.state for node in outcome.nodes if node.state != "done"}
    if json:
        client.print_json({"devices": [*found], "unknown": {**left}})
    else:
        client.print_table(
            ("DEVICE", "MODEL", "ADDRESS", "APPLIANCE", "STATE", "AGE S", "ALARMS"),
            tuple(
                (
                    *(str(one[key]) for key in ("device", "model", "address", "appliance", "state")),
                    _or_dash(one["age_s"]),
                    str(one["alarms"]),
                )
                for one in found
            ),
        )
    if left:
        told = ", ".join(f"{appliance} ({why})" for appliance, why in sorted(left.items()))
        raise DriverError(f"nothing is known of the devices of: {told}", where="device list", remedy="see `nf alarms`")


def _listed(node: NodeOutcome) -> list[dict[str, Any]]:
    found = node.result.get("devices")
    return [dict(one) for one in found if isinstance(one, dict)] if isinstance(found, list) else []


@app.command()
def show(
    device: DeviceArgument,
    parameters: Annotated[
        list[str] | None,
        typer.Argument(metavar="[PARAMETER]...", help="Read these now, such as tx_level or service[3].bit_rate."),
    ] = None,
    *,
    everything: Annotated[bool, typer.Option("--all", help="Read everything of the model now.")] = False,
    json: JsonOption = False,
    profile: ProfileOption = None,
) -> None:
    """Values with unit, quality and age, and the alarms that stand. Without PARAMETER: what the polls have read."""
    client = CLIENT.get()
    found = _ask(names.SHOW, device, {"parameters": [*(parameters or [])], "all": everything}, profile)
    if json:
        client.print_json(found)
        return
    client.say(
        f"{device}: {found['product']} ({found['model']}) at {found['address']}, {found['state']}"
        + (f": {found['why']}" if found["why"] else "")
    )
    client.say(f"the model was proven on: {found['proven_on']}")
    for alarm in found["alarms"]:
        client.say(f"{alarm['severity']}: {alarm['object']}: {alarm['text']}")
    client.print_table(
        ("PARAMETER", "VALUE", "QUALITY", "AGE S", "SET BY"),
        tuple(
            (one["name"], one["text"], one["quality"], str(one["age_s"]), one["owner"] or _hand(one))
            for one in found["values"]
        ),
    )


def _hand(value: dict[str, Any]) -> str:
    return "nf device set" if value["settable"] else "-"


@app.command()
def history(
    device: DeviceArgument,
    *,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="The last so many.")] = 20,
    json: JsonOption = False,
    profile: ProfileOption = None,
) -> None:
    """What was set on a device, by whom, why, and how it ended."""
    client = CLIENT.get()
    found = _ask(names.HISTORY, device, {"limit": limit}, profile)
    if json:
        client.print_json(found)
        return
    client.print_table(
        ("TIME", "WHO", "CHANGE", "RESULT", "REASON"),
        tuple((_time(one["at"]), one["who"], _changes(one), one["result"], one["reason"]) for one in found["entries"]),
    )


def _changes(entry: dict[str, Any]) -> str:
    """A set that failed has no values after it."""
    before, after = entry["before"], entry["after"]
    return ", ".join(f"{name}: {_or_dash(before.get(name))} -> {_or_dash(after.get(name))}" for name in after or before)


# ---- changing ----


@app.command("set")
def set_parameters(
    device: DeviceArgument,
    changes: Annotated[
        list[str],
        typer.Argument(
            metavar="PARAMETER=VALUE...", help="Such as tx_level=-9.5", autocompletion=settable, show_default=False
        ),
    ],
    *,
    template: Annotated[
        str,
        typer.Option(
            "--template", metavar="NAME", help="Fill in this service template of the model.", show_default=False
        ),
    ] = "",
    reason: ReasonOption = "",
    json: JsonOption = False,
    profile: ProfileOption = None,
) -> None:
    """Set parameters by hand and prove it: read back, effect seen, else taken back. Not what the fleet sets."""
    wanted: JsonObject = {}
    for change in changes:
        name, equals, value = change.partition("=")
        if not equals or not name:
            raise InputError("a change is PARAMETER=VALUE", where=change, remedy="write it as tx_level=-9.5")
        wanted[name.strip()] = value.strip()
    _need(reason, "device set")
    found = _ask(names.SET, device, {"changes": wanted, "template": template, "reason": reason}, profile)
    _tell_outcome(device, found, json=json)


def _need(reason: str, what: str) -> None:
    if not reason.strip():
        raise InputError("a change by hand has a reason", where=what, remedy="add --reason WHY")


def _tell_outcome(device: str, found: dict[str, Any], *, json: bool) -> None:
    client = CLIENT.get()
    if json:
        client.print_json(found)
        return
    for one in found["changed"]:
        client.say(f"{device}: {one['name']}: {one['text']}")
    if found["unchanged"]:
        client.say(f"already so: {', '.join(found['unchanged'])}")
    for effect in found["confirmed_by"]:
        client.say(f"confirmed: {effect}")
    if found["unproved"]:
        client.say(f"not proved, since nothing can be read back: {', '.join(found['unproved'])}")
    if found.get("skipped"):
        client.say(f"left alone, since others set it: {', '.join(found['skipped'])}")
    client.say(f"{device}: {found['text']}")


@app.command()
def snapshot(
    device: DeviceArgument,
    *,
    listing: Annotated[bool, typer.Option("--list", help="The snapshots that are kept.")] = False,
    diff: Annotated[
        str, typer.Option("--diff", metavar="SNAPSHOT", help="What has changed since this one.", show_default=False)
    ] = "",
    against: Annotated[
        str, typer.Option("--against", metavar="SNAPSHOT", help="... until this one, not now.", show_default=False)
    ] = "",
    json: JsonOption = False,
    profile: ProfileOption = None,
) -> None:
    """Keep the configuration of a device; list what is kept; compare."""
    if (listing and diff) or (against and not diff):
        raise InputError("--list, or --diff with --against or without", where="device snapshot", remedy="choose one")
    act = "list" if listing else "diff" if diff else "take"
    client = CLIENT.get()
    found = _ask(names.SNAPSHOT, device, {"act": act, "one": diff, "other": against}, profile)
    if json:
        client.print_json(found)
    elif act == "take":
        client.say(f"{device}: {found['values']} parameters are kept as {found['name']}")
    elif act == "list":
        rows = tuple((one["name"], _time(one["at"]), one["model"]) for one in found["snapshots"])
        client.print_table(("SNAPSHOT", "TIME", "MODEL"), rows)
    else:
        rows = tuple((one["name"], _or_dash(one["before"]), _or_dash(one["after"])) for one in found["differences"])
        client.print_table(("PARAMETER", diff, against or "NOW"), rows)


@app.command()
def restore(
    device: DeviceArgument,
    kept: Annotated[str, typer.Argument(metavar="SNAPSHOT", help="Its name.", show_default=False)],
    *,
    reason: ReasonOption = "",
    skip_owned: Annotated[
        bool, typer.Option("--skip-owned", help="Leave alone what the fleet, a group or a carrier sets.")
    ] = False,
    json: JsonOption = False,
    profile: ProfileOption = None,
) -> None:
    """Put a device back as a snapshot says, as one verified set."""
    _need(reason, "device restore")
    found = _ask(names.RESTORE, device, {"snapshot": kept, "reason": reason, "skip_owned": skip_owned}, profile)
    _tell_outcome(device, found, json=json)


@app.command()
def accept(device: DeviceArgument, *, json: JsonOption = False, profile: ProfileOption = None) -> None:
    """You have looked: the SNMPv3 engine that answers now is the device's own. Ends its security alarm."""
    client = CLIENT.get()
    found = _ask(names.ACCEPT, device, {}, profile)
    if json:
        client.print_json(found)
    else:
        client.say(f"{device}: engine {found['engine_id']} is accepted")


# ---- redundancy ----


@app.command()
def group(name: GroupArgument, *, json: JsonOption = False, profile: ProfileOption = None) -> None:
    """A redundancy group: which unit carries what, which of them fail, and who has locked it."""
    _tell_group(_ask(names.GROUP_SHOW, name, {}, profile, key="group"), json=json)


@app.command()
def switch(
    name: GroupArgument,
    position: Annotated[str, typer.Argument(metavar="POSITION", show_default=False)],
    unit: Annotated[str, typer.Argument(metavar="UNIT", help="Who is to carry it.", show_default=False)],
    *,
    reason: ReasonOption = "",
    json: JsonOption = False,
    profile: ProfileOption = None,
) -> None:
    """Switch a position to a unit by hand, now: everything is set and read back, or taken back."""
    _need(reason, "device switch")
    arguments: JsonObject = {"position": position, "unit": unit, "reason": reason}
    _tell_group(_ask(names.GROUP_SWITCH, name, arguments, profile, key="group"), json=json)


@app.command()
def lock(
    name: GroupArgument,
    *,
    reason: ReasonOption = "",
    release: Annotated[bool, typer.Option("--release", help="End the lock.")] = False,
    json: JsonOption = False,
    profile: ProfileOption = None,
) -> None:
    """Maintenance lock: nothing of the group switches by itself until it is released."""
    if not release:
        _need(reason, "device lock")
    arguments: JsonObject = {"locked": not release, "reason": reason}
    _tell_group(_ask(names.GROUP_LOCK, name, arguments, profile, key="group"), json=json)


def _tell_group(found: dict[str, Any], *, json: bool) -> None:
    client = CLIENT.get()
    if json:
        client.print_json(found)
        return
    locked = found["locked"]
    told = f"locked by {locked['by']} since {_time(locked['at'])}: {locked['reason']}" if locked else "not locked"
    client.say(f"{found['group']}: {found['mode']}, {told}")
    client.print_table(
        ("POSITION", "CARRIED BY", "MAIN", "STATE"),
        tuple((one["position"], one["active"], one["main"], one["state"]) for one in found["positions"]),
    )
    client.print_table(
        ("UNIT", "FAILING", "ALARMS"),
        tuple(
            (
                one["unit"],
                "yes" if one["failing"] else "no",
                "not known" if one["alarms"] is None else ", ".join(one["alarms"]) or "-",
            )
            for one in found["units"]
        ),
    )


# ---- words ----


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def _or_dash(value: Json) -> str:
    return "-" if value is None else str(value)
