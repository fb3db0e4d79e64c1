"""What a service tells systemd: that it is ready, lives, ends (sd_notify(3)). Nothing where there is none."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Mapping


class Notifier:
    """Reads its environment once: NOTIFY_SOCKET and WATCHDOG_USEC. A message that is lost is no error."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        given = os.environ if environment is None else environment
        self._address = _address(given.get("NOTIFY_SOCKET", ""))
        ours = given.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self.heartbeat_s = _microseconds(given.get("WATCHDOG_USEC", "")) / 2 if ours else 0.0
        """Seconds between two signs of life; 0 = nobody waits for them."""

    def tell(self, *lines: str) -> None:
        """Such as `READY=1`."""
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
                sock.setblocking(False)
                sock.sendto("\n".join(lines).encode(), self._address)
        except OSError:
            return  # whoever should hear it is gone, and says so itself

    async def beat(self) -> None:
        """Until cancelled. It comes from the event loop: one that hangs falls silent."""
        while self.heartbeat_s > 0:
            self.tell("WATCHDOG=1")
            await asyncio.sleep(self.heartbeat_s)


def _address(text: str) -> str:
    if text.startswith("@"):
        return "\0" + text[1:]
    return text if text.startswith("/") else ""


def _microseconds(text: str) -> float:
    return int(text) / 1e6 if text.isascii() and text.isdigit() else 0.0
