"""`nf image seed`: what makes a blank machine into one particular appliance."""

from __future__ import annotations

import json as json_module
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nf.contracts.noc_client import CLIENT
from nf.errors import DocumentError, InputError

if TYPE_CHECKING:
    from images.appliance.seed import Seed

_COLONS = re.compile(r"[0-9A-Fa-f]{2}(?:[:-][0-9A-Fa-f]{2}){5}")


def seed(
    *,
    serial: Annotated[
        str, typer.Option("--serial", help="Of the machine, as in the fleet document.", show_default=False)
    ],
    enrolment: Annotated[
        Path | None,
        typer.Option("--enrolment", metavar="FILE", help="From `nf appliance enroll`.", show_default=False),
    ] = None,
    management: Annotated[
        str, typer.Option("--management", metavar="dhcp|ADDRESS/LENGTH", help="Of the management interface.")
    ] = "dhcp",
    gateway: Annotated[str, typer.Option("--gateway", help="With an address of its own.", show_default=False)] = "",
    dns: Annotated[
        list[str] | None, typer.Option("--dns", help="A name server; may be repeated.", show_default=False)
    ] = None,
    ntp: Annotated[
        list[str] | None, typer.Option("--ntp", help="A time server; may be repeated.", show_default=False)
    ] = None,
    interface: Annotated[
        str,
        typer.Option(
            "--interface", metavar="NAME|MAC", help="For management; else the first wired one.", show_default=False
        ),
    ] = "",
    name: Annotated[
        list[str] | None,
        typer.Option(
            "--name",
            metavar="NAME=MAC",
            help="Such as eth1=52:54:00:12:34:56; may be repeated.",
            show_default=False,
        ),
    ] = None,
    ssh_key: Annotated[
        list[Path] | None,
        typer.Option(
            "--ssh-key", metavar="FILE", help="Public key that may log in; without any, SSH is off.", show_default=False
        ),
    ] = None,
    hostname: Annotated[str, typer.Option("--hostname", help="Else the appliance's name.", show_default=False)] = "",
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE|DIR",
            help="A volume such as seed.img, or a directory.",
            show_default=False,
        ),
    ] = None,
    into: Annotated[
        Path | None,
        typer.Option("--into", metavar="DISK", help="Onto the ESP of a disk or image.", show_default=False),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON; errors too, on stderr.")] = False,
) -> None:
    """Make a seed: serial, way to the NOC, enrolment. It is read once, at the first boot; keep it as a secret."""
    if (output is None) == (into is None):
        raise InputError("a seed goes to one place", where="--output, --into", remedy="give one of the two")
    made = _made(
        {
            "serial": serial,
            "hostname": hostname or None,
            "management": {
                "address": management,
                "gateway": gateway or None,
                "dns": dns or None,
                "ntp": ntp or None,
                ("mac" if _COLONS.fullmatch(interface) else "interface"): interface or None,
            },
            "interfaces": dict(_named(one) for one in name or ()) or None,
            "enrolment": None if enrolment is None else _read_json(enrolment),
            "ssh": {"authorized_keys": [line for path in ssh_key or () for line in _keys(path)] or None},
        }
    )
    where = _write(made, output, into)
    told = "with its enrolment token: keep it as a secret" if made.enrolment else "without enrolment"
    if json:
        CLIENT.get().print_json({"file": where, "serial": made.serial, "enrolment": made.enrolment is not None})
    else:
        CLIENT.get().say(f"{where}: the seed of {made.serial} ({made.host}), {told}")


def _made(data: dict[str, Any]) -> Seed:
    """Raises DocumentError, whose keys are those of seed.json."""
    from images.appliance.seed import load_seed

    given = _without_none(data)
    try:
        return load_seed(json_module.dumps(given), file="seed")
    except DocumentError as error:
        # It stands in no file: a line would point nowhere.
        from dataclasses import replace

        raise DocumentError([replace(one, line=0, column=0) for one in error.problems], where="seed") from None


def _without_none(data: dict[str, Any]) -> dict[str, Any]:
    kept = {key: _without_none(value) if isinstance(value, dict) else value for key, value in data.items()}
    return {key: value for key, value in kept.items() if value not in (None, {})}


def _named(text: str) -> tuple[str, dict[str, str]]:
    name, equals, mac = text.partition("=")
    if not equals:
        raise InputError(
            "is no name and MAC address", where=f"--name {text}", remedy="write it as eth1=52:54:00:12:34:56"
        )
    return name, {"mac": mac}


def _read_json(path: Path) -> Any:
    try:
        return json_module.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=str(path), remedy="nf appliance enroll") from None
    except ValueError:
        raise InputError("is no enrolment file", where=str(path), remedy="make one: nf appliance enroll") from None


def _keys(path: Path) -> list[str]:
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"cannot be read: {error}", where=str(path), remedy="name a file such as id_ed25519.pub"
        ) from None
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def _write(made: Seed, output: Path | None, into: Path | None) -> str:
    from images.appliance.fat import Fat, esp_of, make_volume
    from images.appliance.places import ESP_SEED, SEED_LABEL
    from images.appliance.seed_file import SEED, to_bytes
    from nf.trust.files import write_private

    data = to_bytes(made.to_json())
    if into is not None:
        Fat(esp_of(into)).write(ESP_SEED, data)
        return f"{into}/{ESP_SEED}"
    if output is None:
        raise InputError("a seed goes to one place", where="--output")
    if output.is_dir() or not output.suffix:
        write_private(output / SEED, data)
        return str(output / SEED)
    make_volume(output, SEED_LABEL).write(SEED, data)
    return str(output)
