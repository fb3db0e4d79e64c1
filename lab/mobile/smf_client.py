"""The control interface of the SMF model, from the gNB's side."""

from __future__ import annotations

import http.client
import json
from typing import Any
from urllib.parse import urlsplit

from lab.mobile.core import CoreError

_LIMIT_S = 90.0


class SmfError(CoreError):
    """The SMF model refuses, or is not there."""


class SmfClient:
    """`url`: of its metrics port. One connection, made anew when it was lost. `limit_s`: of an answer."""

    def __init__(self, url: str, limit_s: float = _LIMIT_S) -> None:
        self._limit_s = limit_s
        parts = urlsplit(url)
        self._where = (parts.hostname or "", parts.port or 9090)
        self._connection: http.client.HTTPConnection | None = None

    def create(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Raises SmfError."""
        made: dict[str, Any] = self._ask("POST", "/model/sessions", asked)
        return made

    def sessions(self) -> list[dict[str, Any]]:
        """Raises SmfError."""
        found: list[dict[str, Any]] = self._ask("GET", "/model/sessions")
        return found

    def idle(self, key: str) -> None:
        """Raises SmfError."""
        self._ask("POST", f"/model/sessions/{key}/idle", {})

    def gnb(self, key: str, act: str, end: dict[str, Any]) -> None:
        """`act`: active or handover. Raises SmfError."""
        self._ask("POST", f"/model/sessions/{key}/{act}", {"gnb": end})

    def delete(self, key: str) -> None:
        """Raises SmfError."""
        self._ask("DELETE", f"/model/sessions/{key}")

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body)
        try:
            if self._connection is None:
                self._connection = http.client.HTTPConnection(*self._where, timeout=self._limit_s)
            self._connection.request(method, path, data)
            answer = self._connection.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException) as error:
            self._connection = None
            raise SmfError(f"the SMF model at {self._where[0]}:{self._where[1]}: {error!r}") from error
        if answer.status >= 300:
            raise SmfError(f"{method} {path}: {answer.status} {text.decode('utf-8', 'replace')}")
        return json.loads(text) if text else None
