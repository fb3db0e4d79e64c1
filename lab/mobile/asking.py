"""What a viewer would notice, measured: `python -m lab.mobile.asking http://cdn.streamverse.test/ch1/master.m3u8 ...`.

It asks for one small object again and again, each time by a new connection, as often as `--every` says and at once
after a failure, until SIGTERM or `--seconds` are over. Then it prints JSON: answers, failures, and the longest time
from one answer to the next, `stall_s`, with the moment at which that began.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

_TIMEOUT_S = 10.0
_AGAIN_S = 0.02


@dataclass
class Asked:
    """`last`, `stalled_at`: of a wall clock, in seconds."""

    last: float
    answers: int = 0
    failures: int = 0
    stall_s: float = 0.0
    stalled_at: float = 0.0

    def take(self, now: float, *, good: bool) -> None:
        """An answer, or a failure, at `now`."""
        if not good:
            self.failures += 1
            return
        self.answers += 1
        if now - self.last > self.stall_s:
            self.stall_s, self.stalled_at = now - self.last, self.last
        self.last = now

    def to_json(self) -> str:
        return json.dumps(
            {
                "answers": self.answers,
                "failures": self.failures,
                "stall_s": round(self.stall_s, 3),
                "stalled_at": self.stalled_at,
            }
        )


def ask(host: str, port: int, path: str) -> bool:
    """Whether the answer came whole, with success."""
    connection = http.client.HTTPConnection(host, port, timeout=_TIMEOUT_S)
    with contextlib.closing(connection):
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException):
            return False
        return answer.status == http.client.OK


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="lab.mobile.asking", description="Measures stalls of small requests.")
    parser.add_argument("url")
    parser.add_argument("--every", type=float, default=0.1, help="seconds")
    parser.add_argument("--seconds", type=float, default=600.0)
    options = parser.parse_args(arguments)
    stopping = False

    def stop(_number: int, _frame: object) -> None:
        nonlocal stopping
        stopping = True

    signal.signal(signal.SIGTERM, stop)
    parts = urlsplit(options.url)
    host, port = parts.hostname or "", parts.port or 80
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    asked = Asked(time.time())
    ends = asked.last + options.seconds
    while not stopping and asked.last <= ends and time.time() < ends:
        good = ask(host, port, path)
        asked.take(time.time(), good=good)
        time.sleep(options.every if good else _AGAIN_S)
    sys.stdout.write(asked.to_json() + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
