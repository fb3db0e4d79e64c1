"""Asks a running output stage what it does."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headend.datapath import read_status


@dataclass(frozen=True, slots=True)
class LegStatus:
    """One feed. `age_ms` None: nothing has come by it yet. What a mode does not count is 0."""

    received: int
    age_ms: float | None
    foreign: int = 0
    lost: int = 0
    used: int = 0
    duplicate: int = 0
    late: int = 0
    skew_ms: float = 0.0
    silences: int = 0


@dataclass(frozen=True, slots=True)
class OutputStatus:
    """`packets` and `age_ms`: of the transport stream that is sent. `continuity_errors`: places where it is broken,
    or datagrams that no leg brought. `active`: the feed in use, None where both are; `resets`: new lives of the
    stream."""

    channel: str
    path: str
    mode: str
    packets: int
    continuity_errors: int
    age_ms: float | None
    send_errors: int
    last_send_error: str
    active: int | None
    switches: int
    resets: int
    problems: tuple[str, ...]
    legs: tuple[LegStatus, ...]

    @property
    def key(self) -> str:
        return f"{self.channel}/{self.path}"


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """A source whose route may be moved. `via` None: it is taken as the routing protocol says."""

    source: str
    state: str
    via: str | None
    moves: int


@dataclass(frozen=True, slots=True)
class StageStatus:
    """`config`: digest of the configuration that runs; `problems`: what keeps it from doing that. `drops`: packets
    that came faster than they were read."""

    pid: int
    config: str
    uptime_s: float
    problems: tuple[str, ...]
    packets: int
    drops: int
    outputs: tuple[OutputStatus, ...]
    sources: tuple[SourceStatus, ...]
    route_problem: str


async def ask(directory: Path) -> StageStatus | None:
    """None when no stage answers there within a second."""
    try:
        return _parse(await read_status(directory))
    except (KeyError, TypeError):
        return None


def _parse(data: dict[str, Any]) -> StageStatus:
    return StageStatus(
        pid=data["pid"],
        config=data["config"],
        uptime_s=data["uptime_s"],
        problems=tuple(data["problems"]),
        packets=data["packets"],
        drops=data["drops"],
        outputs=tuple(map(_output, data["outputs"])),
        sources=tuple(SourceStatus(**source) for source in data["sources"]),
        route_problem=data["route_problem"],
    )


def _output(data: dict[str, Any]) -> OutputStatus:
    given = {name: data[name] for name in OutputStatus.__dataclass_fields__ if name not in ("problems", "legs")}
    legs = tuple(LegStatus(**leg) for leg in data["legs"])
    return OutputStatus(**given, problems=tuple(data["problems"]), legs=legs)
