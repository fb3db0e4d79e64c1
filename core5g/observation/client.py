"""Entry point of the group `nf.interception`."""

from __future__ import annotations

from pathlib import Path

from core5g.observation.units import socket_path
from nf.contracts.interception import InterceptionPoint
from nf.interception.client import open_point


async def connect(run_dir: Path) -> InterceptionPoint:
    """Raises UnavailableError, DeniedError."""
    return await open_point("core5g", socket_path(run_dir))
