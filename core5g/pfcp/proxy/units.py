"""How the proxy becomes a unit of the supervisor, how the unit is read back, and how a running one is asked."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from pathlib import Path

from core5g.pfcp.proxy.documents import SECTION, ProxySection
from nf.contracts.json import JsonObject
from nf.contracts.units import Readiness, ReadyKind, Sandbox, UnitSpec

MODULE = "core5g.pfcp.proxy.process"
UNIT = "pfcp-proxy"
_LONGEST = 1 << 22


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
            capabilities=("CAP_NET_ADMIN",),  # a receive buffer above the system's limit: a whole site may sign on
            families=("AF_INET", "AF_UNIX"),
            writable=(status.parent, store.parent),
        ),
    )


def section_of(spec: UnitSpec | None) -> ProxySection | None:
    """What a unit was started for; None when it is none of ours."""
    if spec is None or spec.name != UNIT or MODULE not in spec.argv or "--section" not in spec.argv:
        return None
    try:
        return ProxySection.model_validate_json(spec.argv[spec.argv.index("--section") + 1])
    except (ValueError, IndexError):
        return None


async def ask(path: Path, command: JsonObject | None = None, timeout_s: float = 2.0) -> JsonObject | None:
    """One line of JSON from a status socket; None when nothing answers there in time."""
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_unix_connection(str(path), limit=_LONGEST)
            try:
                writer.write((json.dumps(command) if command is not None else "").encode() + b"\n")
                line = await reader.readline()
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
        answer = json.loads(line)
    except (OSError, TimeoutError, ValueError):
        return None
    return answer if isinstance(answer, dict) else None
