"""A cache as a process: `python cache.py NAME PORT ADDRESS...` says its name; `/slow` gives one octet and waits."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

NAME, PORT, *ADDRESSES = sys.argv[1:]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        slow = self.path == "/slow"
        with contextlib.suppress(ConnectionError, TimeoutError):
            self._answer(slow=slow)

    def _answer(self, *, slow: bool) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1000" if slow else str(len(NAME)))
        self.end_headers()
        self.wfile.write(b"x" if slow else NAME.encode())
        if slow:
            self.wfile.flush()
            time.sleep(600)

    def log_message(self, *_arguments: object) -> None:
        """Nothing."""


servers = [ThreadingHTTPServer((address, int(PORT)), Handler) for address in ADDRESSES]
for server in servers[1:]:
    threading.Thread(target=server.serve_forever, daemon=True).start()
sys.stdout.write("ready\n")
sys.stdout.flush()
servers[0].serve_forever()
