"""Entry point of the group `nf.interception`."""

from __future__ import annotations

from pathlib import Path

from nf.contracts.interception import InterceptionPoint
from nf.interception.client import open_point
from sip.interception.units import socket_path


async def connect(run_dir: Path) -> InterceptionPoint:
    """Raises UnavailableError, DeniedError."""
    return await open_point("sip", socket_path(run_dir))
