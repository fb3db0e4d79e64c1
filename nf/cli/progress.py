"""The progress of a commit: bars on a terminal, one plain line for each change elsewhere. Always on stderr."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Self

from nf.cli.output import err, is_interactive, note

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from nf.control.v1.noc_pb2 import CommitEvent
    from nf.control.v1.operations_pb2 import OperationEvent


class CommitProgress:
    """Fed with the events of one commit; a context manager, so that the terminal is always given back."""

    def __init__(self) -> None:
        self.appliances = 0  # the most that took part in a phase
        self._last_line = ""
        self._bars: Progress | None = None
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        if is_interactive():
            self._bars = _bars()
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars is not None:
            self._bars.stop()

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


def _bars() -> Progress:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    return Progress(
        TextColumn("{task.description:<18}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[what]}", markup=False),
        console=err(),
    )


class OperationProgress:
    """As `CommitProgress`, fed with the events of a fleet operation: a bar for each appliance."""

    def __init__(self) -> None:
        self._last: dict[str, str] = {}
        self._bars: Progress | None = None
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        if is_interactive():
            self._bars = _bars()
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars is not None:
            self._bars.stop()

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
