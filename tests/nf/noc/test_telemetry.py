"""What the NOC keeps of measurements and alarms: bounded, and not older or newer than it can know."""

from __future__ import annotations

import pytest

from nf.clock import VirtualClock
from nf.control.convert import alarm_event_to_proto, sample_to_proto
from nf.control.v1 import fleet_pb2 as pb
from nf.noc import telemetry as module
from nf.noc.channels import verdict
from nf.noc.telemetry import OVERFLOW, Telemetry
from nf.telemetry.alarms import AlarmEvent, Severity
from nf.telemetry.samples import Sample


def hop(at: float, point: str = "source") -> pb.TelemetryBatch:
    sample = Sample("path.hop", at, {"channel": "c", "path": "p", "point": point}, {"bitrate_bps": 1.0})
    return pb.TelemetryBatch(items=[pb.TelemetryItem(sample=sample_to_proto(sample))])


def alarm(number: int, severity: Severity = Severity.MAJOR) -> pb.TelemetryBatch:
    event = AlarmEvent("path-down", f"c{number}", severity, 1.0)
    return pb.TelemetryBatch(items=[pb.TelemetryItem(alarm=alarm_event_to_proto(event))])


async def test_a_clock_that_is_ahead_keeps_nothing_up_that_fell_silent() -> None:
    clock = VirtualClock()
    telemetry = Telemetry(clock)
    telemetry.take("head", hop(clock.now() + 3600.0))
    assert verdict(telemetry.hop("head", "c", "p", "source"), clock.now()) == "up"
    await clock.advance(60)
    assert verdict(telemetry.hop("head", "c", "p", "source"), clock.now()) == "unknown"


def test_the_oldest_subject_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SUBJECTS", 3)
    telemetry = Telemetry(VirtualClock())
    for number in range(5):
        telemetry.take("head", hop(1.0, f"p{number}"))
    assert [telemetry.hop("head", "c", "p", f"p{number}") is not None for number in range(5)] == [False] * 2 + [
        True
    ] * 3
    assert len(telemetry._hops) == 3


def test_one_appliance_cannot_fill_the_noc_with_alarms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ALARMS", 3)
    telemetry = Telemetry(VirtualClock())
    for number in range(10):
        telemetry.take("head", alarm(number))
    telemetry.take("pop", alarm(0))
    told = [(name, found.cause) for name, found in telemetry.alarms()]
    assert told == [("", OVERFLOW)] + [("head", "path-down")] * 3 + [("pop", "path-down")]
    telemetry.take("head", alarm(0, Severity.CLEARED))
    assert OVERFLOW not in {found.cause for _, found in telemetry.alarms()}
