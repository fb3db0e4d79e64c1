"""How relay and gateway become units of the supervisor, how a unit is read back, and how a running one is asked."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from headend.multicast import answering
from headend.multicast.amt.documents import AmtGateway, AmtRelay, AmtSection
from nf.contracts.json import Json, JsonObject
from nf.contracts.units import Readiness, ReadyKind, Sandbox, UnitSpec

MODULE = "headend.multicast.amt.process"
ROLES = ("relay", "gateway")

Part = AmtRelay | AmtGateway


def unit_name(role: str) -> str:
    return f"amt-{role}"


def socket_path(run_dir: Path, role: str) -> Path:
    return run_dir / "amt" / f"{role}.sock"


def part(section: AmtSection | None, role: str) -> Part | None:
    if section is None:
        return None
    return section.relay if role == "relay" else section.gateway


def read_part(role: str, data: Json) -> Part:
    """Raises ValueError."""
    return AmtRelay.model_validate(data) if role == "relay" else AmtGateway.model_validate(data)


def unit_spec(role: str, wanted: Part, run_dir: Path) -> UnitSpec:
    """Ready when its status socket answers, which it opens when it has its other sockets."""
    status = str(socket_path(run_dir, role))
    argv = (sys.executable, "-m", MODULE, role, "--section", wanted.model_dump_json(), "--status", status)
    ready = Readiness(ReadyKind.UNIX_SOCKET, status, 30.0)
    sandbox = Sandbox(
        capabilities=("CAP_NET_ADMIN", "CAP_NET_RAW"),  # streams off the wire, in buffers above the system's limit
        families=("AF_INET", "AF_NETLINK", "AF_PACKET", "AF_UNIX"),
        writable=(socket_path(run_dir, role).parent,),
    )
    return UnitSpec(
        name=unit_name(role), argv=argv, ready=ready, backoff_last_s=2.0, stop_timeout_s=2.0, sandbox=sandbox
    )


def part_of(role: str, spec: UnitSpec | None) -> Part | None:
    """What a unit was started for; None when it is none of ours."""
    if spec is None or spec.name != unit_name(role) or MODULE not in spec.argv or "--section" not in spec.argv:
        return None
    try:
        return read_part(role, json.loads(spec.argv[spec.argv.index("--section") + 1]))
    except (ValueError, IndexError):
        return None


async def ask(run_dir: Path, role: str) -> JsonObject | None:
    """None when nothing answers within a second."""
    return await answering.ask(socket_path(run_dir, role))
