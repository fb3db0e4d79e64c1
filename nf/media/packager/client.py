"""Asks a running packager what it does."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from nf.media import answering


@dataclass(frozen=True, slots=True)
class PackagerStatus:
    """`arguments`: what the packager says it is for. Ages in seconds, None when nothing has come yet.

    runs    how often Shaka was started in the life of the process; fault: probable cause of an alarm, "" = none
    """

    arguments: dict[str, Any]
    uptime_s: float
    runs: int
    packager_pid: int | None
    encoder_pid: int | None
    last_exit: str
    segment_age_s: float | None
    published_age_s: float | None
    sequence: int
    uploads: int
    rate_bps: float
    fault: str
    fault_text: str
    fault_remedy: str


async def ask(path: Path) -> PackagerStatus | None:
    """None when no packager answers there within a second."""
    try:
        data: Any = {"encoder_pid": None, **(await answering.ask(path) or {})}
        return PackagerStatus(**{field.name: data[field.name] for field in fields(PackagerStatus)})
    except (KeyError, TypeError):
        return None
