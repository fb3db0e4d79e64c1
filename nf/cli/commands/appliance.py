"""`nf appliance`: the boxes of the fleet."""

from __future__ import annotations

import json as json_module
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nf.cli.commands import drain, wipe
from nf.cli.options import ApplianceArgument, JsonOption, ProfileOption, seconds
from nf.errors import InputError

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from nf.control.v1.noc_pb2 import ApplianceSummary, GetApplianceResponse

app = typer.Typer(add_completion=False, no_args_is_help=True)


@app.command("list")
def list_(*, json: JsonOption = False, profile: ProfileOption = None) -> None:
    """Every appliance: enrolled, online, on the current revision."""
    from nf.cli.client import ask
    from nf.cli.output import out, print_json
    from nf.cli.wire import to_json
    from nf.control.v1.noc_pb2 import ListAppliancesRequest

    answer = ask(profile, lambda noc: noc.ListAppliances, ListAppliancesRequest())
    if json:
        print_json([to_json(one) for one in answer.appliances])
    else:
        out().print(listing(answer.appliances))


@app.command("show")
def show(appliance: ApplianceArgument, *, json: JsonOption = False, profile: ProfileOption = None) -> None:
    """One appliance: where it stands, its units, alarms, overrides and configuration."""
    from nf.cli.client import ask
    from nf.cli.output import print_json
    from nf.cli.wire import to_json
    from nf.control.v1.noc_pb2 import GetApplianceRequest

    answer = ask(profile, lambda noc: noc.GetAppliance, GetApplianceRequest(id=appliance))
    if json:
        data = to_json(answer)
        summary = data.pop("summary")
        print_json({**(summary if isinstance(summary, dict) else {}), **data})
    else:
        _show(answer)


@app.command("enroll")
def enroll(
    appliance: ApplianceArgument,
    *,
    ttl: Annotated[str, typer.Option("--ttl", help="How long the token may be used.")] = "1h",
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="FILE", help="Where to write the enrolment file; - is stdout.")
    ] = "-",
    profile: ProfileOption = None,
) -> None:
    """Issue a one-time token; the file goes to the appliance as /etc/nf/enrolment.json."""
    from nf.cli.client import ask
    from nf.cli.output import note
    from nf.cli.text import when
    from nf.control.v1.noc_pb2 import IssueEnrolmentTokenRequest

    request = IssueEnrolmentTokenRequest(appliance=appliance, ttl_s=seconds(ttl, "--ttl"))
    answer = ask(profile, lambda noc: noc.IssueEnrolmentToken, request)
    if output == "-":
        typer.echo(answer.enrolment_json.decode())
        return
    _write_secret(Path(output), answer.enrolment_json)
    note(f"{output} enrols {appliance} once, until {when(answer.expires_at)}; carry it there as /etc/nf/enrolment.json")


app.command("replace")(drain.replace)
app.command("wipe")(wipe.wipe)
app.command("drain")(drain.drain)
app.command("return")(drain.bring_back)
app.command("drained")(drain.drained)


def _write_secret(path: Path, data: bytes) -> None:
    """The token is as good as the appliance's identity until it is used: its owner alone may read it."""
    try:
        path.unlink(missing_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", where=str(path)) from error


def listing(appliances: Any) -> Table:
    from nf.cli.output import table
    from nf.cli.text import word

    grid = table(
        "APPLIANCE",
        "SITE",
        "ROLE",
        "ENROLLED",
        "STATE",
        "REVISION",
        "CURRENT",
        "TRANSACTION",
        "IMAGE",
        "ALARMS",
        right=("REVISION", "ALARMS"),
    )
    for one in appliances:
        grid.add_row(
            one.id,
            one.site,
            one.role,
            word("yes" if one.enrolled else "no"),
            word("online" if one.online else "offline"),
            str(one.confirmed_revision) if one.confirmed_revision else "-",
            word("yes" if one.current else "no"),
            one.transaction_state or "-",
            image_in_short(one),
            str(one.alarms),
        )
    return grid


def _show(answer: GetApplianceResponse) -> None:
    from nf.cli.commands.alarms import listing as alarm_listing
    from nf.cli.commands.override import listing as override_listing
    from nf.cli.output import out

    console = out()
    console.print(_facts(answer.summary))
    status = json_module.loads(answer.status_json) if answer.status_json else {}
    if status.get("units"):
        console.print()
        console.print(_units(status["units"]))
    if answer.alarms:
        console.print()
        console.print(alarm_listing(answer.alarms))
    if answer.overrides:
        console.print()
        console.print(override_listing(answer.overrides))
    config = json_module.loads(answer.config_json) if answer.config_json else {}
    console.print()
    for section, value in sorted(config.get("sections", {}).items()):
        console.print(f"{section}: {json_module.dumps(value, sort_keys=True)}", soft_wrap=True)


def image_in_short(one: ApplianceSummary) -> str:
    """`0.2.0 (B)`; a mark where it fell back, or is on trial; `-`: no image."""
    image = one.image
    if not image.version:
        return "-"
    sign = " fell back" if image.fell_back else f" {image.update}" if image.update in ("trial", "giving-up") else ""
    return f"{image.version} ({image.slot}){sign}"


def _image_facts(one: ApplianceSummary) -> list[tuple[str, str]]:
    from nf.cli.text import when

    image = one.image
    if not image.version:
        return [("image", "-")]
    good = "marked good" if image.good else "not marked good"
    other = f"; the other slot has {image.other_version}" if image.other_version else ""
    facts = [("image", f"{image.role} {image.version} in slot {image.slot}, {good}{other}")]
    if image.update:
        facts.append(("last update", f"to {image.update_version}: {image.update} ({image.update_id})"))
    if image.fell_back:
        facts.append(("fell back", f"{when(image.fell_back_at)}: {image.fell_back}"))
    return facts


def _facts(one: ApplianceSummary) -> Table:
    from rich.table import Table

    from nf.cli.text import when, word

    grid = Table.grid(padding=(0, 2))
    facts: tuple[tuple[str, str | Text], ...] = (
        ("appliance", one.id),
        ("site", f"{one.site} ({one.criticality})"),
        ("role", one.role),
        ("serial", one.serial),
        ("management", one.management),
        ("state", word("online" if one.online else "offline")),
        ("last seen", when(one.last_seen)),
        ("revision", f"{one.confirmed_revision or '-'} ({'current' if one.current else 'not current'})"),
        ("transaction", one.transaction_state or "-"),
        ("software", one.software_version or "-"),
        *_image_facts(one),
        ("certificate until", when(one.certificate_expires)),
        ("sections", ", ".join(one.sections) or "-"),
    )
    for label, value in facts:
        grid.add_row(label, value)
    return grid


def _units(units: list[dict[str, Any]]) -> Table:
    from nf.cli.output import table
    from nf.cli.text import word

    grid = table("UNIT", "STATE", "PID", "RESTARTS", "LAST EXIT", right=("PID", "RESTARTS"))
    for unit in units:
        grid.add_row(
            str(unit.get("name", "")),
            word(str(unit.get("state", ""))),
            str(unit.get("pid") or "-"),
            str(unit.get("restarts", 0)),
            str(unit.get("last_exit") or "-"),
        )
    return grid
