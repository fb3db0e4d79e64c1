"""JSON lines over a Unix socket, in the loop of who is controlled."""

from __future__ import annotations

import contextlib
import json
import selectors
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lab.mobile.core import CoreError


class Control:
    """`act(ue, what)` gives what is answered."""

    def __init__(self, path: Path, selector: selectors.BaseSelector, act: Callable[[str, str], dict[str, Any]]) -> None:
        self._selector, self._act = selector, act
        path.unlink(missing_ok=True)
        self._listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listening.bind(str(path))
        self._listening.listen()
        selector.register(self._listening, selectors.EVENT_READ, self._accept)

    def _accept(self) -> None:
        made, _ = self._listening.accept()
        waiting = bytearray()
        self._selector.register(made, selectors.EVENT_READ, lambda: self._read(made, waiting))

    def _read(self, made: socket.socket, waiting: bytearray) -> None:
        data = made.recv(65536)
        if not data:
            self._selector.unregister(made)
            made.close()
            return
        waiting += data
        while (end := waiting.find(b"\n")) >= 0:
            line = bytes(waiting[:end])
            del waiting[: end + 1]
            with contextlib.suppress(OSError):
                made.sendall(json.dumps(self._answer(line)).encode() + b"\n")

    def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            asked = json.loads(line)
            return self._act(str(asked["ue"]), str(asked["act"]))
        except (ValueError, LookupError, TypeError, CoreError) as error:
            return {"error": f"{type(error).__name__}: {error}"}
