"""How the section becomes a file and a unit of the supervisor."""

from __future__ import annotations

import hashlib
import json
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from headend.datapath import STATUS_SOCKET
from headend.multicast.documents import MonitorSection
from nf.contracts.units import Readiness, ReadyKind, Sandbox, UnitSpec
from nf.errors import StorageError

MODULE, UNIT = "headend.multicast.monitor", "multicast-monitor"
_READY_TIMEOUT_S = 240.0  # whoever waits for it has a time of his own


def digest(text: bytes) -> str:
    """Tells two configurations apart."""
    return hashlib.sha256(text).hexdigest()[:16]


def text_of(section: MonitorSection) -> str:
    return json.dumps(section.to_json(), indent=1, sort_keys=True) + "\n"


def section_of(text: str) -> MonitorSection | None:
    """None when the text is none of ours, or was changed by hand into something else."""
    try:
        return MonitorSection.model_validate_json(text)
    except ValueError:
        return None


@dataclass(frozen=True, slots=True)
class Places:
    file: Path
    directory: Path

    @classmethod
    def of(cls, run_dir: Path, state_dir: Path) -> Places:
        return cls(state_dir / UNIT / "section.json", run_dir / "monitor")

    def read(self) -> str | None:
        try:
            return self.file.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return None

    def write(self, text: str | None) -> None:
        """As a whole or not at all; None removes it. Raises StorageError."""
        fresh = self.file.with_name(f".{self.file.name}.new")
        try:
            if text is None:
                self.file.unlink(missing_ok=True)
                with suppress(OSError):  # there is nothing in it when the monitor has ended
                    self.directory.rmdir()
                return
            self.file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            fresh.write_text(text, encoding="utf-8")
            fresh.replace(self.file)
        except OSError as error:
            why = f"cannot be written: {error.strerror}"
            raise StorageError(why, where=str(self.file), remedy="check free space and permissions") from error

    def unit(self) -> UnitSpec:
        """Ready when the status socket answers, which the monitor opens last."""
        options = ("--config", str(self.file), "--directory", str(self.directory))
        return UnitSpec(
            name=UNIT,
            argv=(sys.executable, "-m", MODULE, *options),
            ready=Readiness(ReadyKind.UNIX_SOCKET, str(self.directory / STATUS_SOCKET), _READY_TIMEOUT_S),
            backoff_last_s=5.0,
            stop_timeout_s=2.0,
            sandbox=Sandbox(
                capabilities=("CAP_NET_RAW",),
                families=("AF_INET", "AF_NETLINK", "AF_PACKET", "AF_UNIX"),
                writable=(self.directory,),
                readable=(self.file.parent,),
            ),
        )
