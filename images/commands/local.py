"""`nf image reset` and `nf image console`: on the box itself."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from nf.contracts.noc_client import CLIENT
from nf.errors import RefusedError


def reset(
    *,
    confirm: Annotated[
        str,
        typer.Option("--confirm", metavar="SERIAL", help="Its serial number; else asked.", show_default=False),
    ] = "",
) -> None:
    """Factory reset of this appliance: destroys its data and its enrolment, keeps the software and the network seed."""
    from datetime import UTC, datetime

    from images.appliance import reset as resets
    from images.appliance.places import Places
    from images.appliance.system import System

    places, client = Places(), CLIENT.get()
    if not places.esp.joinpath("nf").is_dir() or not places.storage_state.exists():
        raise RefusedError("this is no appliance", where="nf image reset", remedy="run it on the machine that is meant")
    serial = resets.serial_of(places)
    typed = confirm
    if not typed:
        if not sys.stdin.isatty():
            raise RefusedError("a reset is confirmed", where=serial, remedy="--confirm SERIAL, or run it on a terminal")
        client.say("The keys of the data are destroyed at once; nothing brings the data back. The enrolment is void.")
        typed = typer.prompt(f"Type the serial number {serial} to go on", default="", show_default=False, err=True)
    resets.confirmed(typed, serial)
    resets.order(resets.Kind.RESET, "nf image reset", places, System(), now=datetime.now(UTC))
    client.say(f"The keys are destroyed; {serial} reboots in {resets.REBOOT_AFTER_S} s and comes back as new.")


def console() -> None:
    """The technician's menu, as on tty1 and ttyS0."""
    from images.appliance.console import Console
    from images.appliance.places import Places
    from images.appliance.system import System
    from images.appliance.terminal import Terminal

    Console(Terminal(0, 1), Places(), System()).run()
