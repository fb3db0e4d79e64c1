"""What an appliance hands to those who look for a fault, and what it observes: read only, bounded, without secrets."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from importlib.metadata import distributions
from typing import Final

from nf.contracts.driver import Driver
from nf.contracts.json import Json, JsonObject
from nf.contracts.units import Units, UnitStatus
from nf.errors import NfError
from nf.telemetry.recent import RECENT
from nf.transaction.engine import Engine
from nf.trust.redaction import Scrubber, secrets_of

LOG_LINES: Final = 200
_LINE_CHARACTERS: Final = 500
_UNITS: Final = 200
_LONGEST_LOG: Final = 64 * 1024


async def observe(drivers: Sequence[Driver]) -> JsonObject:
    """Section -> what its driver reads from the live thing now; a driver that cannot read says so in `errors`."""
    sections: JsonObject = {}
    errors: JsonObject = {}
    for driver in drivers:
        try:
            sections[driver.section] = (await driver.observe()).value
        except NfError as error:
            errors[driver.section] = str(error)
    return {"sections": sections, "errors": errors}


async def collect(engine: Engine, drivers: Sequence[Driver], units: Units | None, status: JsonObject) -> JsonObject:
    """File name -> content. No environment, no command line, no key file is read; what is left is scrubbed."""
    known = set(secrets_of(os.environ))
    files: JsonObject = {"status.json": status, "versions.json": versions()}
    effective = engine.effective_config()
    files["configuration.json"] = None if effective is None else effective.to_json()
    files["journal.json"] = _journal(engine)
    files["observed.json"] = await observe(drivers)
    files["log.txt"] = _tail(RECENT.lines())
    if units is not None:
        try:
            for unit in (await units.list())[:_UNITS]:
                known |= _secrets_of_unit(unit)
                files[f"units/{unit.name}.log"] = _tail(await units.log(unit.name, LOG_LINES))
        except NfError as error:
            files["units/unreachable.txt"] = str(error)
    scrubber = Scrubber(known)
    return {name: scrubber.json(content) for name, content in files.items()}


def _secrets_of_unit(unit: UnitStatus) -> frozenset[str]:
    return frozenset() if unit.spec is None else secrets_of(dict(unit.spec.environment))


def _journal(engine: Engine) -> JsonObject:
    standing = engine.standing
    flight = standing.in_flight
    return {
        "confirmed_revision": standing.confirmed_revision,
        "confirmed_digest": standing.confirmed_digest,
        "last_transaction": standing.last_transaction,
        "last_outcome": standing.last_outcome.name.lower() if standing.last_outcome is not None else None,
        "in_flight": None
        if flight is None
        else {
            "transaction": flight.transaction,
            "revision": flight.revision,
            "state": flight.state.name.lower(),
            "stages_applied": flight.stages_applied,
        },
    }


def versions() -> JsonObject:
    """Of Python, the kernel and every installed package."""
    packages: dict[str, Json] = {found.metadata["Name"]: found.version for found in distributions()}
    return {
        "python": platform.python_version(),
        "kernel": platform.release(),
        "machine": platform.machine(),
        "packages": {name: packages[name] for name in sorted(packages)},
    }


def _tail(lines: Sequence[str]) -> str:
    text = "".join(f"{line[:_LINE_CHARACTERS]}\n" for line in lines)
    return text[-_LONGEST_LOG:]
