"""Asks a running source stage what it does."""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headend.transport.continuity import StreamCounters

_ANSWER_TIMEOUT_S = 1.0


@dataclass(frozen=True, slots=True)
class StageStatus:
    """`policed`: datagrams dropped above the admitted rate. `stream`: what the stage says it takes in and emits."""

    stream: tuple[str, str, str, int, int]  # listen, source, group, port, rate_bps
    uptime_s: float
    contribution: StreamCounters
    source: StreamCounters
    policed: int
    send_errors: int
    last_send_error: str


async def ask(path: Path) -> StageStatus | None:
    """None when no stage answers there within a second."""
    try:
        async with asyncio.timeout(_ANSWER_TIMEOUT_S):
            reader, writer = await asyncio.open_unix_connection(str(path))
            try:
                line = await reader.readline()
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
        return _parse(json.loads(line))
    except (OSError, TimeoutError, ValueError, KeyError, TypeError):
        return None


def _parse(data: dict[str, Any]) -> StageStatus:
    given = data["arguments"]
    return StageStatus(
        stream=(given["listen"], given["source"], given["group"], given["port"], given["rate_bps"]),
        uptime_s=data["uptime_s"],
        contribution=StreamCounters(**data["contribution"]),
        source=StreamCounters(**data["source"]),
        policed=data["policed"],
        send_errors=data["send_errors"],
        last_send_error=data["last_send_error"],
    )
