"""`nf appliance wipe`: an appliance that runs from an image forgets everything, in two steps."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from nf.cli.options import ApplianceArgument, JsonOption, ProfileOption, ReasonOption

_WIPE_S: Final = 75.0  # longer than the NOC waits for the appliance


def wipe(
    appliance: ApplianceArgument,
    *,
    reason: ReasonOption,
    code: Annotated[
        str, typer.Option("--code", metavar="CODE", help="What the first call printed; with it, it is done at once.")
    ] = "",
    json: JsonOption = False,
    profile: ProfileOption = None,
) -> None:
    """Destroy everything that an appliance keeps. The first call changes nothing and prints a code for the second."""
    from nf.cli.client import ask
    from nf.cli.output import note, print_json, say
    from nf.cli.wire import to_json
    from nf.control.v1.noc_pb2 import WipeApplianceRequest

    request = WipeApplianceRequest(appliance=appliance, reason=reason, code=code)
    done = ask(profile, lambda noc: noc.WipeAppliance, request, timeout_s=_WIPE_S)
    if json:
        print_json(to_json(done))
    elif done.wiped:
        say(f"{appliance} is wiped: its keys are destroyed; it reboots in {done.reboots_in_s} s and does not come back")
        note(f"shut its name out, or give it to other hardware: nf appliance replace {appliance}")
    else:
        say(f"{done.code}")
        note(
            f"nothing was changed. {appliance} forgets everything it keeps, for good, by the same command "
            f"with --code {done.code} within {done.code_expires_s // 60} minutes"
        )
