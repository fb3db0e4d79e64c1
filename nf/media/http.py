"""One request at a time, over a kept connection, in a thread: what drivers and probes need of HTTP/1.1, not more."""

from __future__ import annotations

import asyncio
import http.client
import re
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from nf.errors import UnavailableError

MAX_BODY_OCTETS = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Response:
    """`headers` by lower-case name; one that came twice is joined by commas (RFC 9110, 5.3)."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class _Secured(http.client.HTTPConnection):
    """http.client's own asks for the name that it connects to."""

    def __init__(self, host: str, port: int, timeout_s: float, name: str) -> None:
        super().__init__(host, port, timeout=timeout_s)
        self._name = name
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._context.check_hostname = False
        self._context.verify_mode = ssl.CERT_NONE

    def connect(self) -> None:
        super().connect()
        self.sock = self._context.wrap_socket(self.sock, server_hostname=self._name)


class Connection:
    """To one host and port. Not for two calls at a time. Opens anew when the peer closed it meanwhile."""

    def __init__(self, host: str, port: int, *, timeout_s: float, tls_name: str = "") -> None:
        """`tls_name`: by TLS, asking for this name (SNI). Who answers is not verified: it is for caches of this
        appliance, known by their address."""
        self._where = f"{host}:{port}"
        self._connection = (
            _Secured(host, port, timeout_s, tls_name)
            if tls_name
            else http.client.HTTPConnection(host, port, timeout=timeout_s)
        )

    async def get(self, target: str, headers: Mapping[str, str] | None = None) -> Response:
        """Raises UnavailableError when nothing answers in time or what answers is no HTTP."""
        return await self.request("GET", target, headers)

    async def request(self, method: str, target: str, headers: Mapping[str, str] | None = None) -> Response:
        """As `get`, for any method that may be repeated and has no body."""
        return await asyncio.to_thread(self._request, method, target, dict(headers or {}))

    async def each(
        self, method: str, targets: Sequence[str], headers: Mapping[str, str] | None = None
    ) -> tuple[int, ...]:
        """The status of each of many, one after the other: they share what a change of threads costs.

        Raises UnavailableError; then some of them are done.
        """

        def ask() -> tuple[int, ...]:
            return tuple(self._request(method, target, dict(headers or {})).status for target in targets)

        return await asyncio.to_thread(ask) if targets else ()

    async def get_each(self, targets: Sequence[str], headers: Mapping[str, str] | None = None) -> tuple[Response, ...]:
        """As `each`, with all that was answered."""

        def ask() -> tuple[Response, ...]:
            return tuple(self._request("GET", target, dict(headers or {})) for target in targets)

        return await asyncio.to_thread(ask)

    def _request(self, method: str, target: str, headers: dict[str, str]) -> Response:
        kept = self._connection.sock is not None
        try:
            try:
                return self._exchange(method, target, headers)
            except (ConnectionError, http.client.BadStatusLine):
                if not kept:
                    raise
                self._connection.close()
                return self._exchange(method, target, headers)
        except (OSError, http.client.HTTPException, ValueError) as error:
            self._connection.close()
            text = str(error) or type(error).__name__
            raise UnavailableError(
                f"no answer: {text}", where=self._where, remedy="see whether the server runs and a route leads there"
            ) from None

    def _exchange(self, method: str, target: str, headers: dict[str, str]) -> Response:
        self._connection.request(method, target, headers=headers)
        answer = self._connection.getresponse()
        body = answer.read(MAX_BODY_OCTETS + 1)
        if len(body) > MAX_BODY_OCTETS:
            raise ValueError(f"more than {MAX_BODY_OCTETS} octets")
        joined: dict[str, str] = {}
        for name, value in answer.getheaders():
            key = name.lower()
            joined[key] = f"{joined[key]}, {value}" if key in joined else value
        return Response(answer.status, joined, body)

    def close(self) -> None:
        self._connection.close()


async def get_once(url: str, headers: Mapping[str, str] | None = None, *, timeout_s: float = 3.0) -> Response:
    """GET an absolute http URL. Raises UnavailableError."""
    parts = urlsplit(url)
    connection = Connection(parts.hostname or "", parts.port or 80, timeout_s=timeout_s)
    try:
        return await connection.get(parts.path + (f"?{parts.query}" if parts.query else ""), headers)
    finally:
        connection.close()


_ATS_CACHE = re.compile(r"\[[^\]]*?c([A-Z ])")
_ATS_WORDS = {"H": "hit", "R": "hit", "M": "miss", "S": "stale", "E": "error"}


def cache_status(headers: Mapping[str, str]) -> str:
    """`hit`, `miss`... of the cache nearest to the receiver, as far as it says so; empty otherwise.

    Cache-Status (RFC 9211: the nearest cache comes last), X-Cache, or the codes in the Via header of Traffic Server.
    """
    if "cache-status" in headers:
        nearest = headers["cache-status"].rpartition(",")[2]
        words = [word.strip() for word in nearest.split(";")[1:]]
        return "hit" if "hit" in words else "miss"
    if "x-cache" in headers:
        return headers["x-cache"].rpartition(",")[2].split()[0].lower() if headers["x-cache"].strip() else ""
    codes = _ATS_CACHE.findall(headers.get("via", ""))
    return _ATS_WORDS.get(codes[-1], "") if codes else ""
