"""Named kill points: where a fault test, or `nf lab fault`, lets the agent die on the spot.

A kill point is armed by the file `killpoint` in the agent's run directory. It holds one line, `NAME` or `NAME#COUNT`:
the process sends itself SIGKILL when it reaches a point of that name for the COUNTth time since it saw the file.
A name stands for everything below it: `journal#7` is the seventh journal write, `effect:apply` the first applied
effect, `*#3` the third point of any name. The file is removed durably before the kill, so that it kills once.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

from nf.errors import InputError

KILL_POINTS: tuple[str, ...] = (
    "journal:prepare",  # steps, stages and deadline are journalled
    "journal:prepare-refused",  # there was no room to keep it
    "journal:applying",  # the first stage is about to begin
    "journal:undo-record",  # a step can be taken back; its effect has not begun
    "journal:step-applied",
    "journal:applied",  # every stage is
    "journal:verified",
    "journal:hold",
    "journal:decision",  # confirmed: from here on the new revision is the revision
    "journal:irreversible",
    "journal:confirmed",
    "journal:undoing",
    "journal:step-undone",
    "journal:undone",
    "journal:local-prepare",
    "journal:local-end",
    "journal:override-add",
    "journal:override-end",
    "journal:override-settled",
    "journal:operation-start",
    "journal:operation-checkpoint",
    "journal:operation-cancel",
    "journal:operation-end",
    "effect:apply",  # a step took effect; not recorded yet
    "effect:irreversible",
    "effect:undo",
    "effect:operation",
)
"""Every name; `effect:` points carry the step's number behind them (`effect:apply:2`)."""

FILE = "killpoint"


def arm(run_dir: Path, spec: str) -> None:
    """Arm `NAME` or `NAME#COUNT` for the agent of this run directory. Raises InputError for a name nobody reaches."""
    name, count = _parse(spec)
    known = (name == "*", *(_matches(name, point) or _matches(point, name) for point in KILL_POINTS))
    if not any(known) or count < 1:
        raise InputError(f"there is no kill point {spec}", remedy="one of: " + ", ".join(KILL_POINTS))
    temporary = run_dir / (FILE + ".new")
    temporary.write_text(spec + "\n")
    temporary.replace(run_dir / FILE)


def _parse(spec: str) -> tuple[str, int]:
    name, _, count = spec.strip().partition("#")
    return name, int(count) if count.isdecimal() else 0 if count else 1


def _matches(pattern: str, name: str) -> bool:
    return pattern in {"*", name} or name.startswith(pattern + ":")


class KillPoints:
    """`reach(name)` is called at each point. Without a run directory it does nothing."""

    def __init__(self, run_dir: Path | None = None) -> None:
        self._file = str(run_dir / FILE) if run_dir is not None else ""
        self._spec = ""
        self._left = 0

    def reach(self, name: str) -> None:
        if not self._file or not os.path.exists(self._file):  # noqa: PTH110 - the cheapest question, asked at each point
            return
        spec = Path(self._file).read_text().strip()
        pattern, count = _parse(spec)
        if spec != self._spec:
            self._spec, self._left = spec, count
        if not _matches(pattern, name):
            return
        self._left -= 1
        if self._left == 0:
            self._die()

    def _die(self) -> None:
        Path(self._file).unlink()
        sync_directory(Path(self._file).parent)
        os.kill(os.getpid(), signal.SIGKILL)


def sync_directory(directory: Path) -> None:
    """Make creations and removals in `directory` durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


NO_KILL_POINTS = KillPoints()
