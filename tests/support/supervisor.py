"""Waiting for a supervisor that was just started: its client is patient for as long as a restart takes, no longer."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

from nf.errors import UnavailableError
from nf.supervisor.client import SupervisorClient

PATIENCE_S = 90.0


async def answering(run_dir: Path) -> SupervisorClient:
    """Its client, once it answers. Raises TimeoutError."""
    client = SupervisorClient(run_dir / "supervisor.sock")
    async with asyncio.timeout(PATIENCE_S):
        while True:
            with contextlib.suppress(UnavailableError):
                await client.list()
                return client
