"""The gate's unit: what it is started with, and how it is read back and asked."""

from __future__ import annotations

import sys
from pathlib import Path

from nf.contracts.json import JsonObject
from nf.contracts.units import Readiness, ReadyKind, Sandbox, UnitSpec
from nf.media.answering import ask
from nf.media.anycast.documents import AnycastSection

UNIT = "anycast-gate"
MODULE = "nf.media.anycast.gate"


def directory(run_dir: Path) -> Path:
    return run_dir / "cdn-anycast"


def status_socket(run_dir: Path) -> Path:
    return directory(run_dir) / "gate.sock"


def spec(section: AnycastSection, run_dir: Path) -> UnitSpec:
    status = str(status_socket(run_dir))
    return UnitSpec(
        name=UNIT,
        argv=(sys.executable, "-m", MODULE, "--section", section.model_dump_json(by_alias=True), "--status", status),
        ready=Readiness(ReadyKind.UNIX_SOCKET, status, 30.0),
        backoff_last_s=1.0,
        stop_timeout_s=3.0,
        sandbox=Sandbox(
            capabilities=("CAP_NET_ADMIN",),  # routes, nftables, the ends of connections
            families=("AF_INET", "AF_NETLINK", "AF_UNIX"),
            writable=(directory(run_dir),),
            nice=-5,  # it must see a hung cache on a busy machine, and not take that for one
        ),
    )


def section_of(spec: UnitSpec | None) -> AnycastSection | None:
    """What a unit was started for; None when it is none of ours."""
    if spec is None or MODULE not in spec.argv:
        return None
    try:
        return AnycastSection.model_validate_json(spec.option("--section") or "")
    except ValueError:
        return None


async def ask_gate(run_dir: Path) -> JsonObject | None:
    return await ask(status_socket(run_dir))
