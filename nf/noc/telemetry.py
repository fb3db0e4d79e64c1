"""What the fleet measures, as it stands: the latest sample of each subject and the alarms, with the NOC's own."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Final, Protocol

from nf.clock import Clock
from nf.control.convert import alarm_event_from_proto, sample_from_proto
from nf.control.v1 import fleet_pb2 as pb
from nf.telemetry.alarms import Alarm, AlarmEvent, AlarmTable, Severity
from nf.telemetry.samples import Sample

NOC: Final = ""
"""In place of an appliance's name: raised by the NOC itself."""

_SUBJECTS: Final = 20_000
_HISTORY: Final = 1_000
_ALARMS: Final = 1_000  # of one appliance
OVERFLOW: Final = "alarm-overflow"

Subject = tuple[str, str, tuple[tuple[str, str], ...]]


def _subject(appliance: str, sample: Sample) -> Subject:
    return appliance, sample.kind, tuple(sorted(sample.labels.items()))


def _place(appliance: str, sample: Sample) -> tuple[str, str, str, str]:
    labels = sample.labels
    return appliance, labels.get("channel", ""), labels.get("path", ""), labels.get("point", "")


class Listener(Protocol):
    """Hears what the fleet says, as it comes. It must not wait, and raises nothing."""

    def sampled(self, appliance: str, sample: Sample) -> None:
        """`sample.at` is as the appliance's clock has it."""

    def alarmed(self, appliance: str, alarm: Alarm) -> None:
        """Raised, changed, or over (CLEARED); also the NOC's own, whose appliance is empty."""

    def told_all(self, appliance: str) -> None:
        """What stands of it now is all that it has: it has listed its alarms."""


class Telemetry:
    """Bounded: the subject that was not measured for longest makes room for a new one.

    listeners    parts of the NOC that act on what comes

    on_clear     hears (appliance, cause, object) of every alarm that is over, also of one that was not known here
    on_complete  hears every (cause, object) that stands on an appliance, when it has told them all
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._latest: OrderedDict[Subject, Sample] = OrderedDict()
        self._hops: dict[tuple[str, str, str, str], Subject] = {}
        self._alarms: dict[str, AlarmTable] = {NOC: AlarmTable()}
        self._cleared: deque[tuple[str, Alarm]] = deque(maxlen=_HISTORY)
        self.dropped = 0
        self.listeners: list[Listener] = []
        self.on_clear: Callable[[str, str, str], None] = lambda _appliance, _cause, _object: None
        self.on_complete: Callable[[str, set[tuple[str, str]]], None] = lambda _appliance, _standing: None

    def take(self, appliance: str, batch: pb.TelemetryBatch) -> None:
        """One batch of an appliance. A first batch lists every alarm that stands; others it had are cleared."""
        self.dropped += batch.dropped
        events = [alarm_event_from_proto(item.alarm) for item in batch.items if item.HasField("alarm")]
        if batch.alarms_complete:
            standing = {(event.cause, event.object) for event in events}
            self._only(appliance, standing)
            self.on_complete(appliance, standing)
        for event in events:
            self._apply(appliance, event)
        if batch.alarms_complete:
            for listener in self.listeners:
                listener.told_all(appliance)
        for item in batch.items:
            if item.HasField("sample"):
                self._keep(appliance, sample_from_proto(item.sample))

    def _keep(self, appliance: str, sample: Sample) -> None:
        for listener in self.listeners:
            listener.sampled(appliance, sample)
        # One whose clock is ahead would be believed for as long after it fell silent.
        if sample.at > (now := self._clock.now()):
            sample = replace(sample, at=now)
        subject = _subject(appliance, sample)
        self._latest[subject] = sample
        self._latest.move_to_end(subject)
        if sample.kind in {"path.hop", "path.probe"}:
            self._hops[_place(appliance, sample)] = subject
        while len(self._latest) > _SUBJECTS:
            oldest, gone = self._latest.popitem(last=False)
            if self._hops.get(place := _place(oldest[0], gone)) == oldest:
                del self._hops[place]

    def hop(self, appliance: str, channel: str, path: str, point: str) -> Sample | None:
        """The latest sample at one place of a channel's chain."""
        subject = self._hops.get((appliance, channel, path, point))
        return self._latest.get(subject) if subject else None

    def samples(self, appliance: str) -> tuple[Sample, ...]:
        return tuple(sample for subject, sample in self._latest.items() if subject[0] == appliance)

    def latest(self) -> Iterator[tuple[str, Sample]]:
        """(appliance, sample) of every subject, the one that was measured last at the end."""
        return ((subject[0], sample) for subject, sample in self._latest.items())

    def _only(self, appliance: str, standing: set[tuple[str, str]]) -> None:
        for alarm in list(self._alarms.get(appliance, ())):
            if (alarm.cause, alarm.object) not in standing:
                self._apply(appliance, AlarmEvent(alarm.cause, alarm.object, Severity.CLEARED, self._clock.now()))

    def _apply(self, appliance: str, event: AlarmEvent) -> None:
        if event.severity is Severity.CLEARED:
            self.on_clear(appliance, event.cause, event.object)
        table = self._alarms.get(appliance)
        if table is None:
            table = self._alarms[appliance] = AlarmTable(_ALARMS)
        changed = table.take(event)
        if appliance != NOC:
            self._tell_overflow(appliance, table)
        if changed is not None:
            for listener in self.listeners:
                listener.alarmed(appliance, changed)
        if changed is not None and changed.severity is Severity.CLEARED:
            self._cleared.appendleft((appliance, changed))

    def forget(self, appliance: str, causes: Sequence[str]) -> None:
        """It is no longer of the fleet: its own alarms end, and of the NOC's about it those with these causes."""
        self._only(appliance, set())
        for cause in (*causes, OVERFLOW):
            self.clear(cause, appliance)

    def _tell_overflow(self, appliance: str, table: AlarmTable) -> None:
        if table.full:
            text = f"{len(table)} alarms stand: what is raised beside them is not shown"
            self.alarm(OVERFLOW, appliance, Severity.MINOR, text, "clear what causes most of them; see `nf alarms`")
        else:
            self.clear(OVERFLOW, appliance)

    def alarm(self, cause: str, subject: str, severity: Severity, text: str = "", remedy: str = "") -> None:
        """An alarm of the NOC itself: raised, changed or (CLEARED) ended."""
        self._apply(NOC, AlarmEvent(cause, subject, severity, self._clock.now(), text, remedy))

    def clear(self, cause: str, subject: str) -> None:
        self.alarm(cause, subject, Severity.CLEARED)

    def standing(self, appliance: str, cause: str, subject: str) -> Alarm | None:
        """The alarm of an appliance (empty: of the NOC), if it stands."""
        table = self._alarms.get(appliance)
        return None if table is None else table.find(cause, subject)

    def alarms(self, appliance: str | None = None, *, cleared: bool = False) -> Iterator[tuple[str, Alarm]]:
        """(appliance, alarm), oldest first; with `cleared`, then those that ended, newest first.

        With `appliance`: its own and those the NOC raised about it.
        """
        for name, table in sorted(self._alarms.items()):
            for alarm in table:
                if appliance is None or name == appliance or (name == NOC and alarm.object == appliance):
                    yield name, alarm
        if cleared:
            yield from (entry for entry in self._cleared if appliance is None or entry[0] == appliance)
