"""Asks the follower what it does, and tells it that its section changed."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from headend.multicast import answering
from nf.contracts.units import Readiness, ReadyKind, Sandbox, UnitSpec

UNIT = "access-follower"
_MODULE = "headend.multicast.access.process"
_ANSWER_TIMEOUT_S = 3.0


@dataclass(frozen=True, slots=True)
class PortStatus:
    """(S, G) as text. `refused`: joins beyond the limit, `unentitled`: joins of what the port may not have, so far."""

    passing: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()
    refused: int = 0
    unentitled: int = 0


@dataclass(frozen=True, slots=True)
class FollowerStatus:
    """`learning`: ports whose hosts are still being asked what they watch."""

    ports: dict[str, PortStatus] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    last_error: str = ""
    learning: tuple[str, ...] = ()


def section_path(run_dir: Path) -> Path:
    return run_dir / "access" / "section.json"


def socket_path(run_dir: Path) -> Path:
    return run_dir / "access" / "follower.sock"


def unit_spec(run_dir: Path) -> UnitSpec:
    """Ready when its socket answers, which it opens when the sets are right."""
    place = str(socket_path(run_dir))
    argv = (sys.executable, "-m", _MODULE, "--section", str(section_path(run_dir)), "--status", place)
    ready = Readiness(ReadyKind.UNIX_SOCKET, place, 30.0)
    sandbox = Sandbox(
        capabilities=("CAP_NET_ADMIN", "CAP_NET_RAW"),  # nftables and the bridge; IGMP off the wire
        families=("AF_INET", "AF_NETLINK", "AF_PACKET", "AF_UNIX"),
        writable=(run_dir / "access",),
    )
    return UnitSpec(name=UNIT, argv=argv, ready=ready, backoff_last_s=2.0, stop_timeout_s=2.0, sandbox=sandbox)


async def ask(run_dir: Path, command: Literal["", "reload", "sync"] = "") -> FollowerStatus | None:
    """None when no follower answers in time."""
    answer = await answering.ask(socket_path(run_dir), command, _ANSWER_TIMEOUT_S)
    try:
        return parse(answer) if answer is not None else None
    except (ValueError, KeyError, TypeError):
        return None


def parse(data: dict[str, Any]) -> FollowerStatus:
    """Raises KeyError, TypeError or ValueError for what is no status."""
    ports = {
        name: PortStatus(tuple(p["passing"]), tuple(p["waiting"]), int(p["refused"]), int(p["unentitled"]))
        for name, p in data["ports"].items()
    }
    return FollowerStatus(ports, dict(data["counts"]), str(data["last_error"]), tuple(data.get("learning", ())))
