"""An API that answers as OvenMediaEngine's documentation says (docs/rest-api, commit 0229fcd4). It is none."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "ome-access-token"
PROFILES = {"outputProfile": [{"name": "bypass", "outputStreamName": "${OriginStreamName}"}]}


@dataclass
class Engine:
    """`declared`: applications of Server.xml, with their output profiles. `restarts`: those that were changed."""

    declared: dict[str, dict[str, Any]] = field(default_factory=dict)
    declared_streams: dict[str, list[str]] = field(default_factory=dict)
    made: dict[str, dict[str, Any]] = field(default_factory=dict)
    streams: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    pushes: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    writes: list[tuple[str, str]] = field(default_factory=list)
    restarts: list[str] = field(default_factory=list)

    def app(self, name: str) -> dict[str, Any] | None:
        if name in self.declared:
            return {"name": name, "dynamic": False, "type": "live", "outputProfiles": self.declared[name]}
        return self.made.get(name)

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:  # noqa: C901, PLR0911 - one case for each call
        parts = path.removeprefix("/v1/vhosts/").split("/")
        if parts[0] != "default":
            return _said(404, f"Could not find the virtual host: [{parts[0]}] (404)")
        match (method, parts[1:]):
            case ("GET", ["apps"]):
                return _said(200, "OK", [*self.declared, *self.made])
            case ("POST", ["apps"]):
                for app in body:
                    self.made[app["name"]] = {**app, "dynamic": True}
                return 200, [_said(200, "OK", self.made[app["name"]])[1] for app in body]
            case (_, ["apps", named]):
                return self._app(method, named, body)
            case (_, ["apps", app, *_]) if self.app(app) is None:
                return _said(404, f"Could not find the application: [default/{app}] (404)")
            case ("GET", ["apps", app, "streams"]):
                ours = [name for where, name in self.streams if where == app]
                return _said(200, "OK", [*self.declared_streams.get(app, []), *ours])
            case ("POST", ["apps", app, "streams"]):
                if (app, body["name"]) in self.streams:
                    return _said(409, "A stream with the same name already exists")
                self.streams[app, body["name"]] = body
                return _said(201, "Created")
            case ("DELETE", ["apps", app, "streams", name]):
                if name in self.declared_streams.get(app, []):
                    return _said(403, "it is declared in the configuration (403)")
                return _said(200 if self.streams.pop((app, name), None) else 404, "OK")
        return _said(404, "no such call (404)")

    def _app(self, method: str, named: str, body: Any) -> tuple[int, Any]:  # noqa: C901, PLR0911 - the same
        name, _, action = named.partition(":")
        app = self.app(name)
        if app is None:
            return _said(404, f"Could not find the application: [default/{name}] (404)")
        match (method, action):
            case ("GET", ""):
                return _said(200, "OK", app)
            case ("PUT" | "DELETE", "") if name in self.declared:
                return _said(403, "it is declared in the configuration (403)")
            case ("PUT", ""):
                self.restarts.append(name)
                self.made[name] |= body
                return _said(200, "OK", self.made[name])
            case ("DELETE", ""):
                del self.made[name]
                return _said(200, "OK")
            case ("POST", "pushes"):
                found = [push for (where, _), push in self.pushes.items() if where == name]
                return _said(200, "OK", found) if found else (204, None)
            case ("POST", "startPush"):
                if (name, body["id"]) in self.pushes:
                    return _said(400, f"Duplicate ID already exists [{body['id']}] (400)")
                self.pushes[name, body["id"]] = {**body, "app": name, "state": "ready"}
                return _said(200, "OK", [self.pushes[name, body["id"]]])
            case ("POST", "stopPush"):
                if self.pushes.pop((name, body["id"]), None) is None:
                    return _said(404, f"There is no push information related to the ID [{body['id']}] (404)")
                return _said(200, "OK")
        return _said(404, "no such call (404)")


def _said(status: int, message: str, response: Any = None) -> tuple[int, Any]:
    found = {"statusCode": status, "message": message}
    return status, found if response is None else {**found, "response": response}


@contextmanager
def serving(engine: Engine) -> Iterator[str]:
    """Its endpoint, on loopback."""
    expected = "Basic " + base64.b64encode(TOKEN.encode()).decode()

    class Handler(BaseHTTPRequestHandler):
        def _any(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"null")
            if self.headers.get("Authorization") != expected:
                status, said = _said(401, "[HTTP] Authorization header is required to call API (401)")
            else:
                if self.command != "GET" and not self.path.endswith(":pushes"):
                    engine.writes.append((self.command, self.path))
                status, said = engine.answer(self.command, self.path, body)
            data = b"" if said is None else json.dumps(said).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PUT = do_DELETE = _any  # noqa: N815 - the server's names

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the server's name
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
