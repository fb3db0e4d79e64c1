"""Traffic Ops as its documentation has it: recorded from the documentation of apache/trafficcontrol 8.1.0, not run
against a real Traffic Ops."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

CONTRACT: dict[str, Any] = json.loads((Path(__file__).parents[3] / "data" / "trafficops" / "contract.json").read_text())
USER, PASSWORD = "admin", "twelve"


@dataclass
class Recorded:
    """`asked`: method, path and body of every call. `answers`: other ones than those of the contract, by path."""

    url: str = ""
    asked: list[tuple[str, str, Any]] = field(default_factory=list)
    answers: dict[str, tuple[int, Any]] = field(default_factory=dict)
    sessions: set[str] = field(default_factory=set)
    logins: int = 0

    def answer(self, method: str, target: str, body: Any, cookie: str) -> tuple[int, Any, str]:
        """Status, body, and the session that is begun."""
        path = urlsplit(target).path.removeprefix("/api/5.0/")
        self.asked.append((method, target, body))
        if path == "user/login":
            if body != {"u": USER, "p": PASSWORD}:
                return 401, {"alerts": [{"text": "Invalid username or password.", "level": "error"}]}, ""
            self.logins += 1
            self.sessions.add(f"session-{self.logins}")
            return 200, CONTRACT["login"], f"session-{self.logins}"
        if cookie.removeprefix("mojolicious=") not in self.sessions:
            return 401, {"alerts": [{"text": "Unauthorized, please log in.", "level": "error"}]}, ""
        if path in self.answers:
            return *self.answers[path], ""
        found = {
            ("GET", "cachegroups"): "cachegroups",
            ("GET", "servers"): "servers",
            ("GET", "topologies"): "topologies",
            ("GET", "jobs"): "jobs",
            ("POST", "jobs"): "job created",
            ("DELETE", "jobs"): "job deleted",
            ("PUT", "servers/13/status"): "status",
        }.get((method, path))
        return (
            (404, {"alerts": [{"text": "not found", "level": "error"}]}, "")
            if found is None
            else (200, CONTRACT[found], "")
        )


@contextmanager
def recorded() -> Iterator[Recorded]:
    ops = Recorded()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            length = int(self.headers.get("Content-Length", "0"))
            text = self.rfile.read(length)
            status, body, session = ops.answer(
                self.command, self.path, json.loads(text) if text else None, self.headers.get("Cookie", "")
            )
            made = body.encode() if isinstance(body, str) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(made)))
            if session:
                self.send_header("Set-Cookie", f"mojolicious={session}; Path=/; Max-Age=3600; HttpOnly")
            self.end_headers()
            self.wfile.write(made)

        do_GET = do_POST = do_PUT = do_DELETE = _serve  # noqa: N815 - the library's names

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        ops.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield ops
        finally:
            server.shutdown()
            thread.join()
