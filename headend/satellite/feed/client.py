"""Asks a running feed what it does, and tells it things."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headend.datapath import read_status


@dataclass(frozen=True, slots=True)
class InputStatus:
    """One input of a service. `age_ms` None: nothing has come by it yet."""

    packets: int
    continuity_errors: int
    age_ms: float | None
    present: bool


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """`packets`, `continuity_errors` and `age_ms`: of what is sent; errors are those of the input that was sent.

    `input`: satellite or fallback; `switches`: between the two, ever; `reason`: of the last one; `waiting`: whether the
    way back waits for an operator.
    """

    channel: str
    path: str
    input: str
    state: str
    packets: int
    continuity_errors: int
    age_ms: float | None
    switches: int
    waiting: bool
    reason: str
    send_errors: int
    last_send_error: str
    satellite: InputStatus
    fallback: InputStatus | None
    fallback_problem: str


@dataclass(frozen=True, slots=True)
class FeedStatus:
    """`config`: digest of the configuration that runs; `problems`: what keeps it from doing that; `input`: where it
    listens, address:port, "" when it cannot."""

    carrier: str
    config: str
    uptime_s: float
    reception: str
    problems: tuple[str, ...]
    input: str
    datagrams: int
    sync_errors: int
    transport_errors: int
    age_ms: float | None
    services: tuple[ServiceStatus, ...]


async def ask(directory: Path) -> FeedStatus | None:
    """None when no feed answers there within a second."""
    try:
        return _parse(await read_status(directory))
    except (ValueError, KeyError, TypeError):
        return None


def _parse(data: dict[str, Any]) -> FeedStatus:
    return FeedStatus(
        carrier=data["carrier"],
        config=data["config"],
        uptime_s=data["uptime_s"],
        reception=data["reception"],
        problems=tuple(data["problems"]),
        input=data["input"],
        datagrams=data["datagrams"],
        sync_errors=data["sync_errors"],
        transport_errors=data["transport_errors"],
        age_ms=data["age_ms"],
        services=tuple(map(_service, data["services"])),
    )


def _service(data: dict[str, Any]) -> ServiceStatus:
    fallback = data["fallback"]
    given = {name: data[name] for name in ServiceStatus.__dataclass_fields__ if name not in ("satellite", "fallback")}
    return ServiceStatus(
        **given,
        satellite=InputStatus(**data["satellite"]),
        fallback=None if fallback is None else InputStatus(**fallback),
    )
