"""The progress of a commit: bars on a terminal, one plain line for each change elsewhere. Always on stderr."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, ClassVar, Self

from nf.cli.output import err, is_interactive, note

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from nf.control.v1.noc_pb2 import CommitEvent
    from nf.control.v1.operations_pb2 import OperationEvent
    from nf.control.v1.upgrade_pb2 import Upgrade


class _Bars:
    """A context manager, so that the terminal is always given back. Elsewhere there are no bars."""

    def __init__(self) -> None:
        self._bars: Progress | None = None
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        if is_interactive():
            self._bars = self._open()
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars is not None:
            self._bars.stop()

    @staticmethod
    def _open() -> Progress:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        return Progress(
            TextColumn("{task.description:<18}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[what]}", markup=False),
            console=err(),
        )


class CommitProgress(_Bars):
    """Fed with the events of one commit."""

    def __init__(self) -> None:
        super().__init__()
        self.appliances = 0  # the most that took part in a phase
        self._last_line = ""

    def take(self, event: CommitEvent) -> None:
        self.appliances = max(self.appliances, event.total)
        if not event.phase:
            return
        staged = event.phase in ("apply", "undo") and event.stages > 1
        label = event.phase + (f" stage {event.stage + 1}/{event.stages}" if staged else "")
        what = ": ".join(part for part in (event.appliance, event.text) if part)
        if self._bars is not None:
            self._advance(self._bars, label, what, event)
        else:
            self._line(label, what, event)

    def _line(self, label: str, what: str, event: CommitEvent) -> None:
        count = f"{event.done}/{event.total}" if event.total else ""
        line = f"{label:<18} {count:>7}  {what}".rstrip()
        if line != self._last_line:
            note(line)
        self._last_line = line

    def _advance(self, bars: Progress, label: str, what: str, event: CommitEvent) -> None:
        if label not in self._tasks:
            self._tasks[label] = bars.add_task(label, total=event.total or None, what="")
        bars.update(self._tasks[label], completed=event.done, total=event.total or None, what=what)


class OperationProgress(_Bars):
    """As `CommitProgress`, fed with the events of a fleet operation: a bar for each appliance."""

    def __init__(self) -> None:
        super().__init__()
        self._last: dict[str, str] = {}

    def take(self, event: OperationEvent) -> None:
        if not event.appliance:
            return
        what = f"{event.state}: {event.text}" if event.text else event.state
        if self._bars is None:
            line = f"stage {event.stage + 1}/{event.stages}  {event.appliance:<12} {what}"
            if self._last.get(event.appliance) != line:
                note(line)
            self._last[event.appliance] = line
            return
        if event.appliance not in self._tasks:
            self._tasks[event.appliance] = self._bars.add_task(event.appliance, total=100, what="")
        self._bars.update(self._tasks[event.appliance], completed=round(event.fraction * 100), what=what)


class StepProgress(_Bars):
    """The progress of work here, in octets: a bar for each step; elsewhere than on a terminal its end only."""

    @staticmethod
    def _open() -> Progress:
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

        return Progress(
            TextColumn("{task.description:<18}"),
            BarColumn(bar_width=24),
            DownloadColumn(binary_units=True),
            TransferSpeedColumn(),
            console=err(),
        )

    def step(self, label: str, done: int, total: int) -> None:
        if self._bars is None:
            if done >= total:
                note(f"{label:<18} {total / (1 << 20):.1f} MiB")
            return
        if label not in self._tasks:
            self._tasks[label] = self._bars.add_task(label, total=total)
        self._bars.update(self._tasks[label], completed=done)


class UpgradeProgress(_Bars):
    """As `CommitProgress`, fed with an upgrade as it stands: a bar for each appliance, over its whole way."""

    _WAY: ClassVar = {
        "pending": (0, 0),
        "transfer": (0, 35),
        "install": (35, 70),
        "installed": (70, 70),
        "drain": (70, 72),
        "activate": (72, 74),
        "reboot": (74, 85),
        "trial": (85, 99),
    }
    """State -> where on its way it begins and ends, percent."""

    def __init__(self) -> None:
        super().__init__()
        self._last: dict[str, str] = {}

    def take(self, upgrade: Upgrade) -> None:
        for member in upgrade.members:
            begin, end = self._WAY.get(member.state, (100, 100))
            percent = round(begin + (end - begin) * member.fraction)
            own = f" {member.fraction * 100:.0f}%" if member.state in {"transfer", "install"} else ""
            what = f"{member.state}{own}" + (f": {member.text}" if member.text else "")
            if self._bars is None:
                tenth = f"{member.state} {percent // 10}" if own else what
                if self._last.get(member.appliance) != tenth and member.state != "pending":
                    note(f"{member.appliance:<16} {what}")
                self._last[member.appliance] = tenth
                continue
            if member.appliance not in self._tasks:
                self._tasks[member.appliance] = self._bars.add_task(member.appliance, total=100, what="")
            self._bars.update(self._tasks[member.appliance], completed=percent, what=what)
