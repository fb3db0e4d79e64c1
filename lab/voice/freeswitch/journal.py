"""freeswitch.log, the console, and who listens to the log by event socket."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from lab.voice import MODEL, VERSION

LEVELS = {"CONSOLE": 0, "ALERT": 1, "CRIT": 2, "ERR": 3, "WARNING": 4, "NOTICE": 5, "INFO": 6, "DEBUG": 7}
Listener = Callable[[int, str], None]


def level_of(text: str) -> int | None:
    """Of a name or a number; None: there is no such level."""
    if text.isdecimal() and int(text) <= 10:
        return int(text)
    upper = {"ERROR": "ERR", "CRITICAL": "CRIT", "WARN": "WARNING"}.get(text.upper(), text.upper())
    return LEVELS.get(upper)


class Log:
    """The first line says that it is a model. level: of file and console; console: to the standard output too."""

    def __init__(self, directory: Path, level: int = LEVELS["INFO"], *, console: bool = True) -> None:
        """Raises OSError."""
        self.level, self._console = level, console
        self.listeners: set[Listener] = set()
        directory.mkdir(parents=True, exist_ok=True)
        self.path = directory / "freeswitch.log"
        self._file: TextIO = self.path.open("a", encoding="utf-8")
        self.write("CONSOLE", f"{MODEL} of FreeSWITCH {VERSION}")

    def write(self, level: str, text: str) -> None:
        now = time.time()
        stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(now)) + f".{int(now % 1 * 1e6):06d}"
        line = f"{stamp} 95.00% [{level}] model.py:1 {text}\n"
        number = LEVELS[level]
        if number <= self.level:
            self._file.write(line)
            self._file.flush()
            if self._console:
                sys.stdout.write(line)
                sys.stdout.flush()
        for listener in list(self.listeners):
            listener(number, line)

    def info(self, text: str) -> None:
        self.write("INFO", text)

    def notice(self, text: str) -> None:
        self.write("NOTICE", text)

    def debug(self, text: str) -> None:
        self.write("DEBUG", text)

    def warning(self, text: str) -> None:
        self.write("WARNING", text)

    def error(self, text: str) -> None:
        self.write("ERR", text)

    def critical(self, text: str) -> None:
        self.write("CRIT", text)

    def reopen(self) -> None:
        """SIGHUP, fsctl send_sighup: the file is turned over."""
        self._file.close()
        if self.path.exists():
            self.path.rename(self.path.with_name(f"freeswitch.log.{time.strftime('%Y-%m-%d-%H-%M-%S')}.1"))
        self._file = self.path.open("a", encoding="utf-8")

    def close(self) -> None:
        self._file.close()
