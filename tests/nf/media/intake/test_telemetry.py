"""Samples and alarms of an intake, from plain values."""

from __future__ import annotations

from dataclasses import replace

from nf.contracts.units import UnitState, UnitStatus
from nf.media.intake.client import IntakeStatus
from nf.media.intake.telemetry import DOWN, SILENT, IntakeWatch
from nf.telemetry.alarms import AlarmEvent, Severity
from nf.telemetry.samples import Sample
from tests.nf.media.intake.test_plan import channel

UNIT = UnitStatus("stream-intake-ch1-ott", UnitState.READY, 7, 0.0, 0)
GOOD = IntakeStatus({}, 100.0, 8, 1, "", 50, 10_000, 0, 0.01, 2.0, 1.5, 6.0, "")


def alarms(watch: IntakeWatch, status: IntakeStatus | None, now: float = 1.0) -> list[tuple[str, Severity]]:
    events = watch.take(status, UNIT, now)
    return [(event.cause, event.severity) for event in events if isinstance(event, AlarmEvent)]


def test_every_state_is_said_once_and_cleared_when_it_ends() -> None:
    watch = IntakeWatch(channel())
    assert alarms(watch, GOOD) == [(DOWN, Severity.CLEARED), (SILENT, Severity.CLEARED)]
    assert alarms(watch, GOOD) == []
    silent = replace(GOOD, age_s=3.0, problem="/ch1/video.m3u8 is answered with 502")
    assert alarms(watch, silent) == [(SILENT, Severity.MINOR)]
    assert alarms(watch, silent) == []
    assert alarms(watch, None) == [(DOWN, Severity.MAJOR)]
    assert alarms(watch, GOOD) == [(DOWN, Severity.CLEARED), (SILENT, Severity.CLEARED)]
    assert list(watch.end(2.0)) == []
    assert alarms(watch, silent) == [(DOWN, Severity.CLEARED), (SILENT, Severity.MINOR)]
    assert [event.cause for event in watch.end(2.0) if isinstance(event, AlarmEvent)] == [SILENT]


def test_one_that_has_just_begun_has_time() -> None:
    fresh = replace(GOOD, uptime_s=2.0, age_s=None, packets=0)
    assert alarms(IntakeWatch(channel()), fresh) == [(DOWN, Severity.CLEARED), (SILENT, Severity.CLEARED)]


def test_a_sample_has_its_rate_since_the_last_look() -> None:
    watch = IntakeWatch(channel())
    list(watch.take(GOOD, UNIT, 1.0))
    later = replace(GOOD, uptime_s=101.0, packets=10_500)
    (sample,) = [event for event in watch.take(later, UNIT, 2.0) if isinstance(event, Sample)]
    assert sample.labels["point"] == "intake"
    assert (sample.values["up"], sample.values["bitrate_bps"], sample.text) == (1.0, 500 * 188 * 8.0, "")
    again = replace(GOOD, uptime_s=1.0, packets=100)
    (sample,) = [event for event in watch.take(again, UNIT, 3.0) if isinstance(event, Sample)]
    assert sample.values["bitrate_bps"] == 100 * 188 * 8.0
