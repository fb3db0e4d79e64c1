"""Programs of the lab in a node's namespace, by what they tell in JSON lines."""

from __future__ import annotations

import contextlib
import json
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.headend.multicast.tree.network import Node

LIMIT_S = 120.0


class Program:
    """One that runs; `event` waits for what it tells."""

    def __init__(self, node: Node, log: Path, *argv: str) -> None:
        words = ["nsenter", f"--net=/run/netns/{node.namespace}", *argv]
        self._errors = log.open("wb")
        self.log = log
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=self._errors, text=True)
        self.told: list[dict[str, Any]] = []
        self._lines: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with contextlib.suppress(ValueError):
                self._lines.put(json.loads(line))
        self._lines.put(None)

    def event(self, name: str) -> dict[str, Any]:
        ends = time.monotonic() + LIMIT_S
        while True:
            found = self._lines.get(timeout=max(0.1, ends - time.monotonic()))
            assert found is not None, f"no {name}: {self.told[-2:]} {self.log.read_text()[-3000:]}"
            self.told.append(found)
            if found["event"] == name:
                return found

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self._reader.join(20)
        assert self.process.stdout is not None
        self.process.stdout.close()
        self._errors.close()


class Lab:
    """Starts programs that are all ended with it."""

    def __init__(self, node: Node, folder: Path, stack: contextlib.ExitStack) -> None:
        self._node, self._folder, self._stack = node, folder, stack
        self._number = 0

    def start(self, *argv: str) -> Program:
        self._number += 1
        made = Program(self._node, self._folder / f"{self._number}.log", *argv)
        self._stack.callback(made.close)
        return made

    def python(self, module: str, *words: str) -> Program:
        return self.start(sys.executable, "-m", module, *words)


@contextlib.contextmanager
def lab(node: Node, folder: Path) -> Iterator[Lab]:
    with contextlib.ExitStack() as stack:
        yield Lab(node, folder, stack)
