"""How a received carrier becomes a unit of the supervisor with its file, and how the files are read back."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from headend.datapath import STATUS_SOCKET
from headend.satellite.documents import ReceivedCarrier
from headend.satellite.feed.memory import FILE as MEMORY
from nf.contracts.units import Readiness, ReadyKind, Sandbox, UnitSpec
from nf.errors import StorageError

MODULE = "headend.satellite.feed"
UNIT_PREFIX = "satellite-feed-"
_READY_TIMEOUT_S = 30.0


def unit_name(carrier: str) -> str:
    return f"{UNIT_PREFIX}{carrier}"


def text_of(carrier: ReceivedCarrier) -> str:
    return json.dumps(carrier.to_json(), indent=1, sort_keys=True) + "\n"


def carrier_of(text: str) -> ReceivedCarrier | None:
    """None when the text is none of ours, or was changed by hand into something else."""
    try:
        return ReceivedCarrier.model_validate(json.loads(text))
    except ValueError:
        return None


@dataclass(frozen=True, slots=True)
class Places:
    """For each carrier `state_dir` has a file, and a directory of what its feed remembers; `run_dir` a directory with
    the feed's sockets."""

    files: Path
    sockets: Path

    @classmethod
    def of(cls, run_dir: Path, state_dir: Path) -> Places:
        return cls(state_dir / "satellite-receiver", run_dir / "satellite")

    def file(self, carrier: str) -> Path:
        return self.files / f"{carrier}.json"

    def directory(self, carrier: str) -> Path:
        return self.sockets / carrier

    def memory(self, carrier: str) -> Path:
        return self.files / "memory" / carrier

    def read(self) -> dict[str, str]:
        """The text of every carrier's file."""
        found: dict[str, str] = {}
        for path in sorted(self.files.glob("*.json")) if self.files.is_dir() else ():
            with suppress(FileNotFoundError):  # removed this moment
                found[path.stem] = path.read_text(encoding="utf-8", errors="replace")
        return found

    def write(self, carrier: str, text: str) -> None:
        """As a whole or not at all. Raises StorageError."""
        path = self.file(carrier)
        fresh = path.with_name(f".{path.name}.new")
        try:
            self.files.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.memory(carrier).mkdir(parents=True, exist_ok=True)
            fresh.write_text(text, encoding="utf-8")
            fresh.replace(path)
        except OSError as error:
            why = f"cannot be written: {error.strerror}"
            raise StorageError(why, where=str(path), remedy="check free space and permissions") from error

    def remove(self, carrier: str) -> None:
        self.file(carrier).unlink(missing_ok=True)
        (self.memory(carrier) / MEMORY).unlink(missing_ok=True)
        for directory in (self.memory(carrier), self.directory(carrier)):
            with suppress(OSError):  # there is nothing else in it when its feed has ended
                directory.rmdir()

    def unit(self, carrier: str) -> UnitSpec:
        """Ready when the status socket answers, which the feed opens last."""
        directory = self.directory(carrier)
        options: Mapping[str, Path] = {
            "--config": self.file(carrier),
            "--directory": directory,
            "--memory": self.memory(carrier),
        }
        return UnitSpec(
            name=unit_name(carrier),
            argv=(sys.executable, "-m", MODULE, *(str(part) for option in options.items() for part in option)),
            ready=Readiness(ReadyKind.UNIX_SOCKET, str(directory / STATUS_SOCKET), _READY_TIMEOUT_S),
            backoff_last_s=2.0,
            stop_timeout_s=2.0,
            sandbox=Sandbox(
                families=("AF_INET", "AF_NETLINK", "AF_UNIX"),
                writable=(directory, self.memory(carrier)),
                readable=(self.files,),
            ),
        )
