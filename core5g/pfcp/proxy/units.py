"""How the proxy becomes a unit of the supervisor, how the unit is read back, and how a running one is asked."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from core5g import sockets
from core5g.pfcp.proxy.documents import SECTION, ProxySection
from nf.contracts.json import JsonObject
from nf.contracts.units import Readiness, ReadyKind, Sandbox, UnitSpec

MODULE = "core5g.pfcp.proxy.process"
UNIT = "pfcp-proxy"
OBSERVER = "nf-observe"
"""The user who is told of sessions; on a machine without it, nobody but the proxy's own."""


def status_socket(run_dir: Path) -> Path:
    return run_dir / SECTION / "status.sock"


def events_socket(run_dir: Path) -> Path:
    """Where observers of sessions are told of them."""
    return run_dir / SECTION / "events.sock"


def store_file(state_dir: Path) -> Path:
    return state_dir / SECTION / "sessions.sqlite"


def gate_socket(run_dir: Path) -> Path:
    """Of the N6 steering on the same appliance."""
    return run_dir / "n6-steering" / "gate.sock"


def unit_spec(section: ProxySection, run_dir: Path, state_dir: Path) -> UnitSpec:
    """Ready when its status socket answers, which it opens when it has its other sockets."""
    status, store = status_socket(run_dir), store_file(state_dir)
    argv = [sys.executable, "-m", MODULE, "--section", section.model_dump_json()]
    argv += ["--status", str(status), "--events", str(events_socket(run_dir)), "--store", str(store)]
    if section.edge is not None and section.edge.gate:
        argv += ["--gate", str(gate_socket(run_dir))]
    return UnitSpec(
        name=UNIT,
        argv=tuple(argv),
        ready=Readiness(ReadyKind.UNIX_SOCKET, str(status), 15.0),
        backoff_last_s=2.0,
        stop_timeout_s=3.0,
        sandbox=Sandbox(
            # A receive buffer above the system's limit, since a whole site may sign on; a socket for its observer.
            capabilities=("CAP_CHOWN", "CAP_NET_ADMIN"),
            families=("AF_INET", "AF_UNIX"),
            writable=(status.parent, store.parent),
        ),
    )


def section_of(spec: UnitSpec | None) -> ProxySection | None:
    """What a unit was started for; None when it is none of ours."""
    if spec is None or spec.name != UNIT or MODULE not in spec.argv:
        return None
    try:
        return ProxySection.model_validate_json(spec.option("--section") or "")
    except ValueError:
        return None


async def ask(path: Path, command: JsonObject | None = None, timeout_s: float = 2.0) -> JsonObject | None:
    """One command to the status socket; None when nothing answers there in time."""
    return await sockets.ask(path, json.dumps(command) if command is not None else "", timeout_s)
