"""Asks a running monitor what it has measured."""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_ANSWER_TIMEOUT_S = 1.0
_LONGEST_ANSWER = 1 << 22


@dataclass(frozen=True, slots=True)
class FlowStatus:
    """Names and units as in `meter.FlowFigures`. `wanted`: the router has an output for it. `age_ms`: since the last
    packet; `first_packet_ms`: from the last join to the first packet."""

    channel: str
    path: str
    leg: str | None
    source: str
    group: str
    wanted: bool
    first_packet_ms: float | None
    age_ms: float | None
    packets: int
    octets: int
    ts_packets: int
    lost: int
    reordered: int
    duplicates: int
    restarts: int
    continuity_errors: int
    ts_missing: int
    bad_packets: int
    interval_packets: int
    bitrate_bps: float
    media_loss_rate: float
    delay_factor_ms: float
    pcr_jitter_us: float | None
    pcr_accuracy_ns: float | None


@dataclass(frozen=True, slots=True)
class MonitorStatus:
    """`config`: digest of the file that it runs with. `intervals`: seconds measured. `dropped`: packets that came
    while a ring was full: the monitor's own loss, which shows in the figures too."""

    config: str
    intervals: int
    problems: tuple[str, ...]
    dropped: int
    flows: tuple[FlowStatus, ...]


async def ask(path: Path) -> MonitorStatus | None:
    """None when no monitor answers at the socket `path` within a second."""
    try:
        async with asyncio.timeout(_ANSWER_TIMEOUT_S):
            reader, writer = await asyncio.open_unix_connection(str(path), limit=_LONGEST_ANSWER)
            try:
                line = await reader.readline()
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
        return parse(line)
    except (OSError, TimeoutError, ValueError):
        return None


def parse(line: bytes) -> MonitorStatus:
    """Raises ValueError."""
    try:
        data: dict[str, Any] = json.loads(line)
        flows = tuple(
            FlowStatus(**{name: flow[name] for name in FlowStatus.__dataclass_fields__}) for flow in data["flows"]
        )
        return MonitorStatus(data["config"], data["intervals"], tuple(data["problems"]), data["dropped"], flows)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"no status of a monitor: {error!r}") from error
