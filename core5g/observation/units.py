"""How the observation process becomes a unit of the supervisor, and how a unit is read back."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from core5g.observation.documents import ObservationSection
from nf.contracts.units import Readiness, ReadyKind, Sandbox, UnitSpec

MODULE: Final = "core5g.observation.process"
UNIT: Final = "core5g-observation"
USER: Final = "nf-observe"
CALLER: Final = "nf-intercept"
"""Whose processes may connect; `lawful_intercept` runs on the appliance as this user."""


def directory(run_dir: Path) -> Path:
    return run_dir / "core5g-observation"


def socket_path(run_dir: Path) -> Path:
    return directory(run_dir) / "point.sock"


def alive_path(run_dir: Path) -> Path:
    """Its own user's: it takes connections and says nothing, which is all that a supervisor has to know."""
    return directory(run_dir) / "alive.sock"


def unit_spec(section: ObservationSection, run_dir: Path) -> UnitSpec:
    path = alive_path(run_dir)
    words = ("--section", section.model_dump_json(), "--run-dir", str(run_dir), "--caller", CALLER)
    return UnitSpec(
        name=UNIT,
        argv=(sys.executable, "-m", MODULE, *words),
        ready=Readiness(ReadyKind.UNIX_SOCKET, str(path), 60.0),
        backoff_last_s=2.0,
        stop_timeout_s=3.0,
        sandbox=Sandbox(
            user=USER,
            group=USER,
            # Copies of packets, in a buffer above the system's limit; the socket is given to the caller.
            capabilities=("CAP_CHOWN", "CAP_NET_ADMIN", "CAP_NET_RAW"),
            families=("AF_INET", "AF_NETLINK", "AF_PACKET", "AF_UNIX"),
            writable=(path.parent,),
            system_calls=("setrlimit", "prlimit64"),  # it gives up core dumps
        ),
    )


def section_of(spec: UnitSpec | None) -> ObservationSection | None:
    """What a unit was started for; None when it is none of ours."""
    if spec is None or spec.name != UNIT or MODULE not in spec.argv:
        return None
    try:
        return ObservationSection.model_validate_json(spec.option("--section") or "")
    except ValueError:
        return None
