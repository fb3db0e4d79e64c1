"""Rain on the satellite link, and faults of the simulated headend devices, in a running lab."""

from __future__ import annotations

import time
from pathlib import Path

from lab.devices.control import KINDS, RUN_DIR, Control, DeviceFault, Fade, Identity, Order
from lab.native.handle import Lab
from nf.errors import InputError, NotFoundError, UnavailableError

UPLINK = "uplink"


def control(lab: Lab, node: str) -> tuple[Control, Identity]:
    """The device of a node. Raises NotFoundError when the node is none."""
    there = Control(_run_dir(lab, node))
    identity = there.identity()
    if identity is None:
        raise NotFoundError("no simulated device runs here", where=node, remedy=_choice(lab))
    return there, identity


def devices(lab: Lab) -> dict[str, Identity]:
    """Every simulated device of the lab, by node."""
    found = {}
    for node in lab.nodes():
        identity = Control(_run_dir(lab, node)).identity()
        if identity is not None:
            found[node] = identity
    return found


def fading_nodes(lab: Lab, site: str | None) -> tuple[str, ...]:
    """The modulators under an uplink's rain; with `site`, that site's receivers. Raises NotFoundError without any."""
    there = devices(lab)
    wanted = "modem" if site is None else "receiver"
    found = tuple(node for node, who in there.items() if who.kind == wanted and site in (None, who.site))
    if not found:
        sites = ", ".join(sorted(who.site for who in there.values() if who.kind == "receiver" and who.site))
        text = "no modulator runs in this lab" if site is None else f"no satellite receiver runs at {site}"
        raise NotFoundError(text, where=lab.state.name, remedy=f"sites with one: {sites or 'none'}")
    return found


def fade(lab: Lab, node: str, db: float, slope_db_s: float) -> None:
    """From what it is now to `db`, at `slope_db_s` (0: at once). Raises InputError."""
    if db < 0 or slope_db_s < 0:
        raise InputError(
            "a fade and its slope are not negative", where="nf lab fault fade", remedy="leave the sign out"
        )
    there, _ = control(lab, node)
    # All nodes share the machine's monotonic clock.
    there.set_fade(there.fade().towards(db, slope_db_s, time.monotonic()))


def clear_sky(lab: Lab, node: str) -> None:
    """At once."""
    control(lab, node)[0].set_fade(Fade())


def put(lab: Lab, node: str, kind: str, seconds: float | None) -> bool:
    """Put a fault into a device, which behaves so when this returns. Whether it stands until it is taken away.

    Raises InputError for an unknown kind, UnavailableError when the device takes no notice.
    """
    there, _ = control(lab, node)
    if kind in {order.value for order in Order}:
        there.order(Order(kind))
        return False
    if kind not in KINDS:
        raise InputError(f"no fault {kind}", where="nf lab fault device", remedy=f"kinds are {', '.join(KINDS)}")
    there.put(DeviceFault(kind), **({} if seconds is None else {"seconds": seconds}))
    try:
        there.await_noticed(DeviceFault(kind), stands=True)
    except TimeoutError as error:
        there.take_away(DeviceFault(kind))
        raise UnavailableError(str(error), where=node, remedy="see its log: does the device run?") from None
    return True


def take_away(lab: Lab, node: str, kind: str) -> None:
    control(lab, node)[0].take_away(DeviceFault(kind))


def _run_dir(lab: Lab, node: str) -> Path:
    return lab.root(node) / RUN_DIR.relative_to("/")


def _choice(lab: Lab) -> str:
    there = ", ".join(devices(lab))
    return f"devices are {there}" if there else "this lab has none"
