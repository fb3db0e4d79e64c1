"""Where a media server's files stand on its appliance."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nf.errors import DriverError

CONFIG_FILE: Final = "freeswitch.xml"
"""The one file: FreeSWITCH reads a tree of them, and one is replaced at once."""


@dataclass(frozen=True, slots=True)
class Places:
    """config   the agent's; it holds the password of the event socket
    data     FreeSWITCH's own, kept over a boot: its databases, and what callers left in their boxes
    run      pid file, logs; emptied at boot
    """

    run_dir: Path
    state_dir: Path

    @property
    def config(self) -> Path:
        return self.state_dir / "freeswitch" / "config"

    @property
    def file(self) -> Path:
        return self.config / CONFIG_FILE

    @property
    def data(self) -> Path:
        return self.state_dir / "freeswitch" / "data"

    @property
    def boxes(self) -> Path:
        return self.data / "storage"

    @property
    def run(self) -> Path:
        return self.run_dir / "freeswitch"

    @property
    def hold(self) -> Path:
        """Until when it is kept drained by an operation, seconds since the epoch."""
        return self.run_dir / "freeswitch-hold"

    def make(self) -> None:
        """Raises DriverError."""
        try:
            for place in (self.config, self.data, self.boxes, self.run):
                place.mkdir(mode=0o700, parents=True, exist_ok=True)
                place.chmod(0o700)
        except OSError as error:
            text = f"cannot prepare {error.filename}: {error.strerror}"
            raise DriverError(text, remedy="run the agent as root") from error

    def read(self) -> str | None:
        try:
            return self.file.read_text()
        except FileNotFoundError:
            return None

    def write(self, text: str) -> None:
        """Whole or not at all; only its owner reads it."""
        candidate = self.file.with_name(f".{CONFIG_FILE}.new")
        with open(candidate, "w", opener=_private) as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        candidate.replace(self.file)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_TRUNC, 0o600)
