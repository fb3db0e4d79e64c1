"""How the section becomes a unit of the supervisor with its file, and how the file is read back."""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from headend.datapath import STATUS_SOCKET
from headend.multicast.documents import Output, OutputSection
from nf.contracts.units import Readiness, ReadyKind, Sandbox, UnitSpec
from nf.errors import StorageError

MODULE = "headend.multicast.output"
UNIT = "multicast-output"
_READY_TIMEOUT_S = 30.0


def key(output: Output) -> str:
    """How people call it: `ch1/iptv`."""
    return f"{output.channel}/{output.path}"


def canonical(section: OutputSection) -> OutputSection:
    """The same section with its outputs in the order of their names."""
    return section.model_copy(update={"outputs": tuple(sorted(section.outputs, key=key))})


def text_of(section: OutputSection) -> str:
    return json.dumps(canonical(section).to_json(), indent=1, sort_keys=True) + "\n"


def section_of(text: str) -> OutputSection | None:
    """None when the text is none of ours, or was changed by hand into something else."""
    try:
        return OutputSection.model_validate(json.loads(text))
    except ValueError:
        return None


@dataclass(frozen=True, slots=True)
class Places:
    """`files`: below the appliance's state, with the section's file; `sockets`: the process's directory."""

    files: Path
    sockets: Path

    @classmethod
    def of(cls, run_dir: Path, state_dir: Path) -> Places:
        return cls(state_dir / UNIT, run_dir / "output")

    @property
    def file(self) -> Path:
        return self.files / "section.json"

    def read(self) -> str | None:
        """The file's text; None when there is none."""
        try:
            return self.file.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return None

    def write(self, text: str) -> None:
        """As a whole or not at all. Raises StorageError."""
        fresh = self.file.with_name(f".{self.file.name}.new")
        try:
            self.files.mkdir(mode=0o700, parents=True, exist_ok=True)
            fresh.write_text(text, encoding="utf-8")
            fresh.replace(self.file)
        except OSError as error:
            why = f"cannot be written: {error.strerror}"
            raise StorageError(why, where=str(self.file), remedy="check free space and permissions") from error

    def remove(self) -> None:
        self.file.unlink(missing_ok=True)
        with suppress(OSError):  # there is nothing in it when the process has ended
            self.sockets.rmdir()

    def unit(self) -> UnitSpec:
        """Ready when the status socket answers, which the process opens last."""
        arguments = ("--config", str(self.file), "--directory", str(self.sockets))
        return UnitSpec(
            name=UNIT,
            argv=(sys.executable, "-m", MODULE, *arguments),
            ready=Readiness(ReadyKind.UNIX_SOCKET, str(self.sockets / STATUS_SOCKET), _READY_TIMEOUT_S),
            backoff_last_s=2.0,
            stop_timeout_s=2.0,
            sandbox=Sandbox(
                capabilities=("CAP_NET_ADMIN", "CAP_NET_RAW"),  # routes of its own; streams off the wire
                families=("AF_INET", "AF_NETLINK", "AF_PACKET", "AF_UNIX"),
                writable=(self.sockets,),
                readable=(self.files,),
            ),
        )
