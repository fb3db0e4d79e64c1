"""Names, ports, files and sizes of a relay's units. Pure."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from sip.naming import RELAY_STORE_UNIT, RELAY_UNIT

UNIT: Final = RELAY_UNIT
STORE_UNIT: Final = RELAY_STORE_UNIT
MOVER_UNIT: Final = "rtpengine-vrrp"
"""keepalived of its own, for the addresses of a pair of relays; that of virtual addresses is another unit."""

HTTP_PORT: Final = 9901
"""On loopback: Prometheus' /metrics, /ping, and the ng protocol for answers that a datagram cannot hold."""
STORE_PORT: Final = 6379
VRRP_IDS: Final = (254, 255)
"""Of the first and the second relay of a pair (RFC 5798); they speak unicast, and so with nobody else."""
ADVERT_S: Final = 0.5
DATABASES: Final = (1, 2)
"""Of the first and the second; never 0, which rtpengine empties at times (rtpengine #1905)."""
PORTS_PER_CALL: Final = 4


def config_path(state_dir: Path) -> Path:
    return state_dir / "rtpengine" / "rtpengine.conf"


def store_path(state_dir: Path) -> Path:
    return state_dir / "rtpengine" / "redis.conf"


def mover_path(state_dir: Path) -> Path:
    return state_dir / "rtpengine" / "keepalived.conf"


def alive_path(state_dir: Path) -> Path:
    """The script by which keepalived asks whether rtpengine answers."""
    return state_dir / "rtpengine" / "alive.sh"


def hold_path(state_dir: Path) -> Path:
    """The script that tells whether calls are on the partner's address, and that address here."""
    return state_dir / "rtpengine" / "hold.sh"


def media_name(relay: str) -> str:
    """rtpengine's name of the interface of a relay's media: the same at its partner."""
    return f"relay-{relay}"


def pid_folder(run_dir: Path) -> Path:
    return run_dir / "rtpengine"
