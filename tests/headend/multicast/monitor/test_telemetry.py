from __future__ import annotations

from dataclasses import replace

import pytest

from headend.multicast.monitor.client import FlowStatus, MonitorStatus, parse
from headend.multicast.monitor.telemetry import MonitorWatch
from nf.contracts.driver import Event
from nf.telemetry.alarms import AlarmEvent, AlarmTable, Severity
from nf.telemetry.samples import Quality, Sample

FLOW = FlowStatus(
    channel="ch1", path="iptv", leg="a", source="10.1.0.11", group="232.1.1.1", wanted=True, first_packet_ms=12.0,
    age_ms=3.0, packets=1000, octets=1_316_000, ts_packets=7000, lost=0, reordered=0, duplicates=0, restarts=0,
    continuity_errors=0, ts_missing=0, bad_packets=0, interval_packets=380, bitrate_bps=4e6, media_loss_rate=0.0,
    delay_factor_ms=2.6, pcr_jitter_us=None, pcr_accuracy_ns=None,
)  # fmt: skip


class Watched:
    def __init__(self) -> None:
        self.watch = MonitorWatch("pop1")
        self.alarms = AlarmTable()
        self.now = 100.0
        self.intervals = 0

    def second(self, *flows: FlowStatus, dropped: int = 0, problems: tuple[str, ...] = ()) -> list[Event]:
        self.now += 1
        self.intervals += 1
        events = list(self.watch.take(MonitorStatus("x", self.intervals, problems, dropped, flows), self.now))
        for event in events:
            if isinstance(event, AlarmEvent):
                self.alarms.take(event)
        return events

    def standing(self) -> dict[str, Severity]:
        return {alarm.id: alarm.severity for alarm in self.alarms}


def test_a_sample_of_each_second() -> None:
    watched = Watched()
    (sample,) = [event for event in watched.second(FLOW) if isinstance(event, Sample)]
    assert sample.kind == "path.mdi"
    assert sample.labels == {"channel": "ch1", "path": "iptv", "point": "monitor", "leg": "a"}
    assert sample.values["delay_factor_ms"] == 2.6
    assert sample.values["first_packet_ms"] == 12.0
    assert "pcr_jitter_us" not in sample.values
    status = MonitorStatus("x", watched.intervals, (), 0, (FLOW,))
    assert list(watched.watch.take(status, watched.now)) == []  # asked again within the second
    idle = replace(FLOW, wanted=False, interval_packets=0)
    assert not [event for event in watched.second(idle) if isinstance(event, Sample)]


def test_every_state_is_said_once() -> None:
    watched = Watched()
    cleared = [event for event in watched.second(FLOW) if isinstance(event, AlarmEvent)]
    assert {event.cause for event in cleared} == {"loss", "flow-silent", "monitor-down"}
    assert {event.severity for event in cleared} == {Severity.CLEARED}
    assert not [event for event in watched.second(FLOW) if isinstance(event, AlarmEvent)]


def test_loss_by_its_share_and_its_end() -> None:
    watched = Watched()
    watched.second(FLOW)
    watched.second(replace(FLOW, media_loss_rate=7.0))
    assert watched.standing() == {"loss:ch1/iptv/a": Severity.MINOR}
    watched.second(replace(FLOW, media_loss_rate=140.0))
    assert watched.standing() == {"loss:ch1/iptv/a": Severity.MAJOR}
    for _ in range(9):
        watched.second(FLOW)
    watched.second(replace(FLOW, media_loss_rate=7.0))
    assert watched.standing() == {"loss:ch1/iptv/a": Severity.MAJOR}
    for _ in range(11):
        watched.second(FLOW)
    assert watched.standing() == {}


def test_silence_is_of_flows_that_somebody_wants() -> None:
    watched = Watched()
    watched.second(replace(FLOW, interval_packets=0, age_ms=2500.0))
    assert watched.standing() == {"flow-silent:ch1/iptv/a": Severity.MAJOR}
    watched.second(replace(FLOW, interval_packets=0, age_ms=3500.0, wanted=False))
    assert watched.standing() == {}
    watched.second(replace(FLOW, interval_packets=0, age_ms=None))
    assert watched.standing() == {"flow-silent:ch1/iptv/a": Severity.MAJOR}
    watched.second()
    assert watched.standing() == {}


def test_the_monitors_own_loss_is_no_loss_of_the_flow() -> None:
    watched = Watched()
    events = watched.second(replace(FLOW, media_loss_rate=70.0), dropped=10)
    assert watched.standing() == {}
    assert [event.quality for event in events if isinstance(event, Sample)] == [Quality.SUSPECT]


def test_a_monitor_that_is_down() -> None:
    watched = Watched()
    watched.second(FLOW, problems=("interface eth9 cannot be listened on: No such device",))
    assert watched.standing() == {"monitor-down:pop1": Severity.MINOR}
    watched.second(replace(FLOW, media_loss_rate=7.0))
    assert watched.standing() == {"loss:ch1/iptv/a": Severity.MINOR}
    (down,) = watched.watch.take(None, watched.now)
    assert isinstance(down, AlarmEvent)
    assert down.cause == "monitor-down"
    ended = {(event.cause, event.severity) for event in watched.watch.end(watched.now) if isinstance(event, AlarmEvent)}
    assert ended == {("loss", Severity.CLEARED), ("monitor-down", Severity.CLEARED)}


@pytest.mark.parametrize("told", ["", [], {}, None, {"flows": [1]}, {"flows": 3}])
def test_an_answer_of_something_else(told: object) -> None:
    with pytest.raises(ValueError, match="no status of a monitor"):
        parse(told)
