"""How `nf ... run` hosts a long-lived process: log lines on stderr, an orderly end on SIGTERM and SIGINT."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
import time
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from nf.errors import InputError
from nf.telemetry.recent import RECENT

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def start_logging(level: str) -> None:
    """One line for each event, UTC, on stderr; the last of them stay in memory. Raises InputError."""
    if level.lower() not in _LEVELS:
        raise InputError("no such level", where=f"--log-level {level}", remedy=f"one of {', '.join(_LEVELS)}")
    formatter = logging.Formatter("%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    RECENT.setFormatter(formatter)
    logging.basicConfig(level=_LEVELS[level.lower()], handlers=[handler, RECENT], force=True)


def serve(work: Coroutine[Any, Any, None]) -> None:
    """Run until it ends or a signal ends it; `work` is cancelled then and cleans up in its own `finally`."""

    async def until_told() -> None:
        task = asyncio.ensure_future(work)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, task.cancel)
        with suppress(asyncio.CancelledError):
            await task

    asyncio.run(until_told())
