"""What the kernel of this appliance has for the connections of an edge."""

from __future__ import annotations

from pathlib import Path

_AVAILABLE = Path("/proc/sys/net/ipv4/tcp_available_congestion_control")


def has_bbr(available: Path = _AVAILABLE) -> bool:
    """Whether the kernel has BBR, built in or as a module that is loaded: a daemon without rights cannot load it."""
    try:
        return "bbr" in available.read_text().split()
    except OSError:
        return False
