"""How the observation point becomes a unit of the supervisor, and how a unit is read back."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from nf.contracts.units import Readiness, ReadyKind, Sandbox, UnitSpec
from sip.interception.documents import InterceptionSection
from sip.naming import INTERCEPTION_UNIT, observer_alive

MODULE: Final = "sip.interception.process"
UNIT: Final = INTERCEPTION_UNIT
USER: Final = "nf-observe-voice"
GROUP: Final = "kamailio"
"""Whose members may speak with the proxy's RPC socket, beside root."""
CALLER: Final = "nf-intercept"
"""Whose processes may connect; `lawful_intercept` runs on the appliance as this user."""


def directory(run_dir: Path) -> Path:
    return run_dir / UNIT


def socket_path(run_dir: Path) -> Path:
    return directory(run_dir) / "point.sock"


def alive_path(run_dir: Path) -> Path:
    """Its own user's: it takes connections and says nothing, which is all that a supervisor has to know."""
    return observer_alive(run_dir)


def unit_spec(section: InterceptionSection, run_dir: Path) -> UnitSpec:
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
            group=GROUP,
            capabilities=("CAP_CHOWN",),  # the socket is given to the caller
            families=("AF_INET", "AF_INET6", "AF_UNIX"),
            writable=(path.parent,),
            # It gives up core dumps, has descriptors for all its ports, and lets the calls' own processes go first.
            system_calls=("setrlimit", "prlimit64", "sched_setscheduler"),
        ),
    )


def section_of(spec: UnitSpec | None) -> InterceptionSection | None:
    """What a unit was started for; None when it is none of ours."""
    if spec is None or spec.name != UNIT or MODULE not in spec.argv:
        return None
    try:
        return InterceptionSection.model_validate_json(spec.option("--section") or "")
    except ValueError:
        return None
