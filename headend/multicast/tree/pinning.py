"""How the pins of a tree become the unit of their keeper, and how that unit is read back."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from headend.multicast.documents import TreeEntry
from headend.multicast.mfc.pins import Pin
from nf.contracts.units import Sandbox, Units, UnitSpec, UnitState

MODULE = "headend.multicast.mfc.keeper"
UNIT = "multicast-pins"
_SANDBOX = Sandbox(capabilities=("CAP_NET_ADMIN", "CAP_NET_RAW"), families=("AF_INET", "AF_NETLINK"))


def pins_of(entries: Iterable[TreeEntry]) -> tuple[Pin, ...]:
    found = (Pin(e.source, e.group, e.pinned.outputs) for e in entries if e.pinned is not None)
    return tuple(sorted(found, key=lambda pin: pin.key))


def unit_spec(pins: Iterable[Pin]) -> UnitSpec:
    arguments = (text for pin in pins for text in ("--pin", str(pin)))
    return UnitSpec(name=UNIT, argv=(sys.executable, "-m", MODULE, *arguments), backoff_last_s=2.0, sandbox=_SANDBOX)


def pins_in(spec: UnitSpec) -> tuple[Pin, ...]:
    """What a unit keeps; nothing when it is none of ours."""
    if MODULE not in spec.argv:
        return ()
    given = spec.argv[spec.argv.index(MODULE) + 1 :]
    try:
        return tuple(Pin.parse(text) for option, text in zip(given[::2], given[1::2], strict=True) if option == "--pin")
    except ValueError:
        return ()


async def kept(units: Units) -> tuple[Pin, ...]:
    """The pins whose keeper runs. Raises an NfError when the supervisor does not answer."""
    status = await units.status(UNIT)
    running = status is not None and status.state in {UnitState.READY, UnitState.STARTING, UnitState.BACKOFF}
    return pins_in(status.spec) if running and status is not None and status.spec is not None else ()


async def keep(units: Units, pins: tuple[Pin, ...]) -> None:
    """Have exactly these kept; idempotent. Raises DriverError."""
    if not pins:
        await units.remove(UNIT)
    elif await kept(units) != pins:
        await units.remove(UNIT)  # it takes its own entries out
        await units.define(unit_spec(pins))
        await units.start(UNIT)
