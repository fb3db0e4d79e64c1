"""Asks a running intake what it does."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from nf.media import answering


@dataclass(frozen=True, slots=True)
class IntakeStatus:
    """`arguments`: what the intake says it is for; `runs`: how often it began anew at the live edge, `last_cut`: why.

    age_s      since the last datagram was sent; None when none was
    level_s    how much of the programme lies ready; reserve_s: the least of it lately
    latency_s  behind the packager, by wall clocks; None where the presentation names no times
    problem    why nothing comes in, "" = it does
    """

    arguments: dict[str, Any]
    uptime_s: float
    ffmpeg_pid: int | None
    runs: int
    last_cut: str
    segments: int
    packets: int
    underruns: int
    age_s: float | None
    level_s: float
    reserve_s: float | None
    latency_s: float | None
    problem: str


async def ask(path: Path) -> IntakeStatus | None:
    """None when no intake answers there within a second."""
    try:
        data: Any = await answering.ask(path)
        return IntakeStatus(**{field.name: data[field.name] for field in fields(IntakeStatus)})
    except (KeyError, TypeError):
        return None
