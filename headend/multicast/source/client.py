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
class Stream:
    """What a stage says it takes in and emits. `second`: source,group:port, or ""."""

    listen: str
    source: str
    group: str
    port: int
    rate_bps: int
    dscp: int = 0
    encapsulation: str = "ts"
    second: str = ""


@dataclass(frozen=True, slots=True)
class SecondStatus:
    """Of the second flow."""

    datagrams: int
    send_errors: int
    last_send_error: str


@dataclass(frozen=True, slots=True)
class StageStatus:
    """`policed`: datagrams dropped above the admitted rate."""

    stream: Stream
    uptime_s: float
    contribution: StreamCounters
    source: StreamCounters
    policed: int
    send_errors: int
    last_send_error: str
    second: SecondStatus | None = None


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
        stream=Stream(
            given["listen"],
            given["source"],
            given["group"],
            given["port"],
            given["rate_bps"],
            given.get("dscp", 0),
            given.get("encapsulation", "ts"),
            given.get("second") or "",
        ),
        uptime_s=data["uptime_s"],
        contribution=StreamCounters(**data["contribution"]),
        source=StreamCounters(**data["source"]),
        policed=data["policed"],
        send_errors=data["send_errors"],
        last_send_error=data["last_send_error"],
        second=_second(data.get("second")),
    )


def _second(data: dict[str, Any] | None) -> SecondStatus | None:
    """A stage of an earlier version says nothing of it."""
    if data is None:
        return None
    return SecondStatus(data["datagrams"], data["send_errors"], data["last_send_error"])
