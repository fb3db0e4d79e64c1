"""How a model is started and stopped: the command line and signals of an Open5GS daemon."""

from __future__ import annotations

import argparse
import os
import selectors
import signal
import sys
from collections.abc import Sequence
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any, Protocol, Self

from lab.mobile import MODEL
from lab.mobile.config import ConfigError, load
from lab.mobile.journal import Journal


class Daemon:
    """One loop over descriptors, whose data are what to call. Subclasses set `selector`, `journal` and `kind`."""

    kind: str
    journal: Journal
    selector: selectors.BaseSelector

    def __new__(cls, *_args: object, **_named: object) -> Self:
        made = super().__new__(cls)
        made.servers = []
        return made

    servers: list[ThreadingHTTPServer]

    def tick(self) -> float:
        """Sends what is due; seconds until it should be asked again."""
        return 1.0

    def loop(self) -> None:
        """Until SIGTERM or SIGINT."""
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        stopping = False

        def stop(_number: int, _frame: object) -> None:
            nonlocal stopping
            stopping = True

        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, stop)
        signal.signal(signal.SIGHUP, lambda _number, _frame: self.journal.info("SIGHUP received: log is written anew"))
        self.selector.register(reading, selectors.EVENT_READ, lambda: os.read(reading, 64))
        self.journal.info(f"open5gs-{self.kind}d is running")
        wait = self.tick()
        while not stopping:
            for key, _ in self.selector.select(wait):
                key.data()
            wait = self.tick()
        self.journal.info(f"open5gs-{self.kind}d is ending")


class _Made(Protocol):
    kind: str

    def __call__(self, data: dict[str, Any], journal: Journal) -> Daemon: ...


def options(kind: str, arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=f"open5gs-{kind}d", description=f"{MODEL} of open5gs-{kind}d.")
    parser.add_argument("-v", "--version", action="version", version=f"{MODEL} of open5gs-{kind}d")
    parser.add_argument("-c", dest="config", type=Path, required=True, help="configuration file")
    for flag in ("-l", "-e", "-m", "-k"):
        parser.add_argument(flag, help="taken as the real one takes it, and ignored")
    for flag in ("-d", "-t", "-D"):
        parser.add_argument(flag, action="store_true", help="ignored")
    return parser.parse_args(arguments)


def run(made: _Made, arguments: Sequence[str] | None = None) -> None:
    """Becomes the daemon; ends the process with 1 where it cannot start."""
    name = made.kind
    chosen = options(name, arguments)
    try:
        data = load(chosen.config)
        journal = Journal(name, data)
        daemon = made(data, journal)
    except ConfigError as error:
        sys.stderr.write(f"{MODEL}\nERROR: {error}\nERROR: Open5GS initialization failed. Aborted\n")
        sys.exit(1)
    daemon.loop()
    sys.exit(0)
