"""The unit of healing: what it is started with, and how it is asked."""

from __future__ import annotations

import sys
from pathlib import Path

from nf.contracts.json import JsonObject
from nf.contracts.units import Readiness, ReadyKind, Sandbox, UnitSpec
from nf.media import answering
from nf.media.documents import EdgeSection
from nf.media.edge.render import GROUP, USER, Places

UNIT = "edge-healing"
MODULE = "nf.media.edge.healing.process"


def status_socket(places: Places) -> Path:
    return places.healing / "status.sock"


def told(section: EdgeSection) -> str:
    """What the process has to know: who is asked and how, not for which channels."""
    return section.model_copy(update={"channels": (), "requires": (), "tls": None}).model_dump_json(by_alias=True)


def is_wanted(section: EdgeSection) -> bool:
    """One shield alone is never put out."""
    return len(section.shields) > 1


def spec(section: EdgeSection, places: Places) -> UnitSpec:
    status = str(status_socket(places))
    return UnitSpec(
        name=UNIT,
        argv=(
            *(sys.executable, "-m", MODULE, "--section", told(section)),
            *("--root", str(places.root), "--status", status),
        ),
        ready=Readiness(ReadyKind.UNIX_SOCKET, status, 60.0),
        backoff_last_s=1.0,
        stop_timeout_s=3.0,
        sandbox=Sandbox(
            # As Traffic Server's own user it may give orders to it; sockets are ended by NET_ADMIN.
            user=USER,
            group=GROUP,
            capabilities=("CAP_NET_ADMIN",),
            families=("AF_INET", "AF_INET6", "AF_NETLINK", "AF_UNIX"),
            writable=(places.healing,),
            nice=-5,
        ),
    )


async def ask(places: Places) -> JsonObject | None:
    """None when nothing answers within a second."""
    return await answering.ask(status_socket(places))
