"""Traffic Ops over HTTPS: login, and the calls that we make. Blocking: in an event loop call it in a thread.

Written from the API's documentation (apache/trafficcontrol 8.1.0), and not run against a real Traffic Ops.
"""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar
from urllib.parse import urlencode, urlsplit

from nf.errors import (
    DeniedError,
    IdentityError,
    InputError,
    IntegrityError,
    NfError,
    NotFoundError,
    RefusedError,
    UnavailableError,
)
from nf.media.trafficops.model import (
    CacheGroup,
    Invalidation,
    Job,
    Server,
    Status,
    Topology,
    cache_group_of,
    job_of,
    server_of,
    topology_of,
)

T = TypeVar("T")

API: Final = "/api/5.0/"
_COOKIE: Final = "mojolicious"
_TIMEOUT_S: Final = 30.0
_MAX_OCTETS: Final = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Account:
    """`url`: https://HOST[:PORT]. `ca`: certificates by which it is known; else the system's."""

    url: str
    user: str
    password: str = field(repr=False)
    ca: Path | None = None


@dataclass(frozen=True, slots=True)
class Order:
    """A content invalidation job. `regex`: of the path, beginning with a slash; `start`: RFC 3339, in the future."""

    delivery_service: str
    regex: str
    invalidation: Invalidation
    start: str
    ttl_hours: int


class TrafficOps:
    """`with TrafficOps(account) as ops:` - it logs in when it is first asked, and again when its session ended."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._connection = _connect(account)
        self._cookie = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    # ---- the calls; all raise the error tree ----

    def cache_groups(self) -> tuple[CacheGroup, ...]:
        return self._all("cachegroups", cache_group_of)

    def servers(self) -> tuple[Server, ...]:
        return self._all("servers", server_of)

    def topologies(self) -> tuple[Topology, ...]:
        return self._all("topologies", topology_of)

    def jobs(self, delivery_service: str) -> tuple[Job, ...]:
        return self._all("jobs", job_of, {"deliveryService": delivery_service})

    def invalidate(self, order: Order) -> Job:
        """From its start every cache of the delivery service has it; Traffic Control gives no acknowledgement."""
        body = {
            "deliveryService": order.delivery_service,
            "invalidationType": order.invalidation.value,
            "regex": order.regex,
            "startTime": order.start,
            "ttlHours": order.ttl_hours,
        }
        return job_of(self._call("POST", "jobs", body).get("response"))

    def remove_job(self, identity: int) -> Job:
        return job_of(self._call("DELETE", f"jobs?{urlencode({'id': identity})}").get("response"))

    def set_status(self, server: int, status: Status, reason: str) -> str:
        """What Traffic Ops says of it. It asks for a reason when a server is taken out."""
        answer = self._call("PUT", f"servers/{server}/status", {"status": status.value, "offlineReason": reason})
        return _alerts(answer)

    # ---- the wire ----

    def _all(self, path: str, read: Callable[[object], T], query: Mapping[str, str] | None = None) -> tuple[T, ...]:
        found = self._call("GET", f"{path}?{urlencode(query)}" if query else path).get("response")
        if not isinstance(found, list):
            raise IntegrityError("Traffic Ops answered without a list", where=path, remedy="see which version it is")
        return tuple(map(read, found))

    def _call(self, method: str, path: str, body: Mapping[str, object] | None = None) -> dict[str, Any]:
        if not self._cookie:
            self._login()
        try:
            return self._exchange(method, path, body)
        except IdentityError:
            # Sessions end after some hours.
            self._login()
            return self._exchange(method, path, body)

    def _login(self) -> None:
        """Raises IdentityError, which does not quote the password."""
        self._cookie = ""
        self._exchange("POST", "user/login", {"u": self._account.user, "p": self._account.password})
        if not self._cookie:
            raise IdentityError(
                "Traffic Ops gave no session", where=self._account.url, remedy="see which version it is"
            )

    def _exchange(self, method: str, path: str, body: Mapping[str, object] | None) -> dict[str, Any]:
        headers = {"Accept": "application/json"}
        if self._cookie:
            headers["Cookie"] = f"{_COOKIE}={self._cookie}"
        if body is not None:
            headers["Content-Type"] = "application/json"
        try:
            self._connection.request(method, API + path, None if body is None else json.dumps(body), headers)
            answer = self._connection.getresponse()
            text = answer.read(_MAX_OCTETS)
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise UnavailableError(
                f"Traffic Ops does not answer: {error or type(error).__name__}",
                where=self._account.url,
                remedy="see whether it runs, and whether the certificates in --ca are its",
            ) from None
        for line in answer.headers.get_all("Set-Cookie", []):
            name, _, value = line.partition(";")[0].partition("=")
            if name.strip() == _COOKIE:
                self._cookie = value
        found: Any = {}
        with suppress(ValueError):
            found = json.loads(text)
        if answer.status >= 300:
            raise _refused(answer.status, _alerts(found), f"{self._account.url}{API}{path}")
        if not isinstance(found, dict):
            raise IntegrityError("Traffic Ops answered no JSON object", where=path, remedy="see which version it is")
        return found


def _connect(account: Account) -> http.client.HTTPConnection:
    """Raises InputError."""
    remedy = "write it as https://trafficops.example"
    try:
        parts = urlsplit(account.url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise InputError(f"this is no URL: {error}", where=account.url, remedy=remedy) from error
    loopback = host in {"127.0.0.1", "localhost", "::1"}
    if not host or parts.path not in {"", "/"} or parts.scheme not in ({"https", "http"} if loopback else {"https"}):
        raise InputError(
            "Traffic Ops is at https://HOST[:PORT]: a password goes there", where=account.url, remedy=remedy
        )
    if parts.scheme == "http":
        return http.client.HTTPConnection(host, port or 80, timeout=_TIMEOUT_S)
    try:
        tls = ssl.create_default_context(cafile=account.ca)
    except OSError as error:
        raise InputError(f"cannot be read: {error}", where=str(account.ca), remedy="write PEM there") from error
    return http.client.HTTPSConnection(host, port or 443, timeout=_TIMEOUT_S, context=tls)


def _alerts(answer: object) -> str:
    alerts = answer.get("alerts") if isinstance(answer, dict) else None
    texts = (
        [str(one.get("text", "")) for one in alerts or () if isinstance(one, dict)] if isinstance(alerts, list) else []
    )
    return "; ".join(texts)[:500]


def _refused(status: int, text: str, where: str) -> NfError:
    told = f"Traffic Ops answered {status}" + (f": {text}" if text else "")
    if status == 401:
        return IdentityError(told, where=where, remedy="see the user and the password")
    if status == 403:
        return DeniedError(told, where=where, remedy="its role needs the permissions that the call asks for")
    if status == 404:
        return NotFoundError(told, where=where, remedy="see which version of the API it has: 5.0 is needed")
    if status >= 500:
        return UnavailableError(told, where=where, remedy="see its log, and try again")
    return RefusedError(told, where=where, remedy="change what it says")
