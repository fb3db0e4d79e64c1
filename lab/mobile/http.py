"""The HTTP side of the models: /metrics in Prometheus' text form, JSON documents, the labelled control interface."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from lab.mobile import MODEL
from lab.mobile.config import ConfigError, Endpoint

Answer = tuple[int, str, bytes]
Handler = Callable[[str, str, Mapping[str, str], bytes], Answer]
"""Method, path, query, body."""


class HttpError(Exception):
    """An answer that is no success."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


def as_json(value: Any, status: int = 200) -> Answer:
    return status, "application/json", json.dumps(value).encode()


def metrics_text(values: Mapping[str, float]) -> Answer:
    """`values`: by name, with its labels in it where it has some."""
    lines, seen = [], set()
    for name, value in values.items():
        bare = name.partition("{")[0]
        if bare not in seen:
            seen.add(bare)
            lines += [f"# HELP {bare} of a {MODEL}", f"# TYPE {bare} gauge"]
        lines.append(f"{name} {value:g}")
    return 200, "text/plain; version=0.0.4; charset=utf-8", ("\n".join(lines) + "\n").encode()


def paged(items: list[Any], path: str, query: Mapping[str, str]) -> Answer:
    """A page as the information interfaces cut it: pages count from 0, 100 at most on one."""
    try:
        page, size = int(query.get("page", "0")), int(query.get("page_size", "100"))
    except ValueError:
        page, size = 0, 100
    size = min(size, 100) if size > 0 else 100
    start = max(page, 0) * size
    cut = items[start : start + size]
    pager: dict[str, Any] = {"page": page, "page_size": size, "count": len(cut)}
    if start + size < len(items):
        pager["next"] = f"{path}?page={page + 1}&page_size={size}"
    return as_json({"items": cut, "pager": pager})


def serve(endpoint: Endpoint, handler: Handler) -> ThreadingHTTPServer:
    """Serves from threads of its own until `shutdown`. Raises ConfigError when it cannot listen."""

    class _Request(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def _any(self) -> None:
            parts = urlsplit(self.path)
            query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            try:
                status, kind, answer = handler(self.command, parts.path, query, body)
            except HttpError as error:
                status, kind, answer = as_json({"title": str(error), "model": MODEL}, error.status)
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = _any  # noqa: N815 - names of the library

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
            """Silent."""

    class _Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128
        address_family = 2 if endpoint.address.version == 4 else 10

    try:
        server = _Server(endpoint.sockaddr, _Request)
    except OSError as error:
        raise ConfigError(f"bind() [{endpoint.address}]:{endpoint.port} failed: {error.strerror}") from error
    threading.Thread(target=server.serve_forever, name="http", daemon=True).start()
    return server
