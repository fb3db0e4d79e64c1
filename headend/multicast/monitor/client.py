"""Asks a running monitor what it has measured."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headend.datapath import read_status


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


async def ask(directory: Path) -> MonitorStatus | None:
    """None when no monitor answers there within a second."""
    try:
        return parse(await read_status(directory))
    except ValueError:
        return None


def parse(data: Any) -> MonitorStatus:
    """Raises ValueError."""
    try:
        flows = tuple(
            FlowStatus(**{name: flow[name] for name in FlowStatus.__dataclass_fields__}) for flow in data["flows"]
        )
        return MonitorStatus(data["config"], data["intervals"], tuple(data["problems"]), data["dropped"], flows)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"no status of a monitor: {error!r}") from error
