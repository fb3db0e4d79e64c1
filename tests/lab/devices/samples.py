"""Configurations for tests; every port is its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.lab.devices.conftest import LOOPBACK
from tests.support.ports import free_port

Sample = dict[str, Any]


def place() -> Sample:
    return {"address": LOOPBACK, "port": free_port()}


def encoder(channels: int = 2) -> Sample:
    return {
        "channels": [
            {"name": f"Channel {n}", "input": {"port": free_port()}, "output": place(), "bit_rate_kbps": 1000}
            for n in range(1, channels + 1)
        ]
    }


def mux(services: int = 2, rate_bps: int = 2_000_000) -> Sample:
    return {
        "output": place(),
        "bit_rate_bps": rate_bps,
        "services": [
            {"name": f"Channel {n}", "service_id": 100 + n, "input": {"port": free_port()}, "pid_base": 240 + 16 * n}
            for n in range(1, services + 1)
        ],
    }


def sky() -> Sample:
    return {"address": "239.255.71.1", "port": free_port(), "via": LOOPBACK}


def modem() -> Sample:
    return {"input": {"port": free_port()}, "sky": sky()}


def receiver() -> Sample:
    return {"sky": sky(), "output": place(), "site": "pop1"}


SAMPLES: dict[str, Callable[[], Sample]] = {"encoder": encoder, "mux": mux, "modem": modem, "receiver": receiver}
