"""How a proxy and its keeper become units of the supervisor."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from pathlib import Path
from typing import Final

from nf.contracts.units import Readiness, ReadyKind, Sandbox, UnitSpec
from nf.errors import Problem
from sip.kamailio.paths import CONFIG_FILE
from sip.kamailio.places import USER, Places
from sip.naming import CONTROL_LOOPBACK, KEEPER_UNIT, PROXY_UNIT

PROGRAM: Final = "/usr/sbin/kamailio"
SHARED_MB, PRIVATE_MB = 256, 64
"""Shared memory holds registrations, dialogs and tables; private memory, of each process and used by few, an answer of
the RPC: with 16 the table of 100,000 accounts was never sent."""
_MARK: Final = "NF_"
_DIGITS: Final = 16


def program() -> Path:
    return Path(shutil.which("kamailio") or PROGRAM)


def program_problem() -> Problem | None:
    path = program()
    if path.is_file() and os.access(path, os.X_OK):
        return None
    remedy = "use an image that has Kamailio (roles core and pop), or install Debian's package kamailio"
    return Problem("there is no such program", remedy, key=str(path))


def generation(config: str) -> str:
    """A name for what kamailio.cfg says. It stands on Kamailio's command line, where it can be read of the process."""
    return _MARK + hashlib.sha256(config.encode()).hexdigest()[:_DIGITS]


def running_generation(pid: int | None) -> str:
    """Empty: it cannot be told."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return ""
    return next((word for word in words if word.startswith(_MARK) and len(word) == len(_MARK) + _DIGITS), "")


def proxy_spec(config: str, places: Places) -> UnitSpec:
    """`config`: text of kamailio.cfg. Ready when its RPC takes connections: SIP is taken before that."""
    memory = ("-m", str(SHARED_MB), "-M", str(PRIVATE_MB))
    return UnitSpec(
        name=PROXY_UNIT,
        argv=(
            *(str(program()), "-DD", "-E", *memory, "-Y", str(places.run)),
            *("-A", generation(config), "-f", str(places.file(CONFIG_FILE))),
        ),
        ready=Readiness(ReadyKind.TCP, f"{CONTROL_LOOPBACK}:{places.rpc_port}", 60.0),
        backoff_first_s=0.2,
        backoff_last_s=2.0,
        stop_timeout_s=15.0,
        sandbox=Sandbox(
            user=USER,
            group=USER,
            families=("AF_INET", "AF_INET6", "AF_NETLINK", "AF_UNIX"),
            writable=(places.data, places.run),
            readable=(places.config,),
        ),
    )


def keeper_spec(places: Places) -> UnitSpec:
    words = ("--run-dir", str(places.run_dir), "--state-dir", str(places.state_dir), "--rpc-port", str(places.rpc_port))
    return UnitSpec(
        name=KEEPER_UNIT,
        argv=(sys.executable, "-m", "sip.kamailio.keeper", *words),
        backoff_first_s=0.5,
        sandbox=Sandbox(
            user=USER,
            group=USER,
            families=("AF_INET", "AF_UNIX"),
            writable=(places.data, places.cdr, places.run, places.keeper_clients),
            readable=(places.config,),
        ),
    )
