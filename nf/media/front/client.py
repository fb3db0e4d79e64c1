"""Caddy's administration over its unix socket: what it runs, what it is to run, what it counts."""

from __future__ import annotations

import asyncio
import http.client
import json
import re
import socket
from collections import Counter
from pathlib import Path

from nf.contracts.json import JsonObject
from nf.errors import DriverError, UnavailableError

_TIMEOUT_S = 15.0
_SAMPLE = re.compile(r"^(caddy_http_\w+?)(?:\{([^}]*)\})? (\S+)$", re.ASCII)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class CaddyClient:
    def __init__(self, path: Path) -> None:
        self._path = path

    async def running(self) -> JsonObject | None:
        """None when nothing answers, or it has no configuration."""
        try:
            status, body = await asyncio.to_thread(self._ask, "GET", "/config/", b"", 2.0)
            value = json.loads(body) if status == 200 else None
        except (UnavailableError, ValueError):
            return None
        return value if isinstance(value, dict) else None

    async def load(self, config: JsonObject) -> None:
        """Take it in place of what runs, without a listener being closed. Raises DriverError with Caddy's words."""
        status, body = await asyncio.to_thread(self._ask, "POST", "/load", json.dumps(config).encode(), _TIMEOUT_S)
        if status != 200:
            raise DriverError(f"Caddy did not take its configuration: {body.decode(errors='replace')}", where="caddy")

    async def counters(self) -> Counter[str] | None:
        """Name of a counter of HTTP -> its sum over all labels; None when nothing answers."""
        try:
            status, body = await asyncio.to_thread(self._ask, "GET", "/metrics", b"", 2.0)
        except UnavailableError:
            return None
        return summed(body.decode(errors="replace")) if status == 200 else None

    def _ask(self, method: str, target: str, body: bytes, timeout_s: float) -> tuple[int, bytes]:
        connection = _UnixConnection(self._path, timeout_s)
        try:
            connection.request(method, target, body or None, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise UnavailableError(f"Caddy does not answer: {error}", where=str(self._path)) from None
        finally:
            connection.close()


def summed(text: str) -> Counter[str]:
    """Prometheus text (exposition format 0.0.4), but what was answered by the front itself."""
    found: Counter[str] = Counter()
    for line in text.splitlines():
        match = _SAMPLE.match(line)
        if match is not None and 'handler="static_response"' not in (match[2] or ""):
            found[match[1]] += int(float(match[3]))
    return found
