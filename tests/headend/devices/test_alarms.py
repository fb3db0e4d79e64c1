"""Alarms come from polls: raised, held by hysteresis, cleared, and never from a value that cannot be believed."""

from __future__ import annotations

from collections.abc import Mapping

from headend.devices.alarms import SILENT, AlarmWatch
from headend.devices.hms import CURRENT_ALARM_ENTRY, HmsWatch, parse_alarms
from headend.devices.modelfile import find_model
from headend.devices.values import ParameterValue, Value
from headend.snmp.values import Quality, Syntax, Varbind
from nf.telemetry.alarms import AlarmEvent, Severity


def found(values: Mapping[str, Value], quality: Quality = Quality.GOOD) -> dict[str, ParameterValue]:
    return {
        name: ParameterValue(value, "", Quality.MISSING if value is None and quality is Quality.GOOD else quality, 0.0)
        for name, value in values.items()
    }


def told(events: list[AlarmEvent]) -> list[tuple[str, str, Severity]]:
    return [(event.cause, event.object, event.severity) for event in events]


def test_raised_once_and_cleared() -> None:
    watch = AlarmWatch(find_model("nf-lab-receiver"), "rx1")
    raised = watch.update(found({"lock": "unlocked"}), 1.0)
    assert told(raised) == [("receiver-unlocked", "rx1/lock", Severity.CRITICAL)]
    assert "unlocked" in raised[0].text
    assert raised[0].remedy
    assert watch.update(found({"lock": "unlocked"}), 2.0) == []
    assert watch.update(found({"lock": "acquiring"}), 3.0) != []  # still raised, and another text
    assert told(watch.update(found({"lock": "locked"}), 4.0)) == [("receiver-unlocked", "rx1/lock", Severity.CLEARED)]
    assert watch.update(found({"lock": "locked"}), 5.0) == []


def test_hysteresis() -> None:
    watch = AlarmWatch(find_model("nf-lab-receiver"), "rx1")
    assert watch.update(found({"margin": 1.5}), 1.0) == []
    assert len(watch.update(found({"margin": 0.9}), 2.0)) == 1
    assert [event.severity for event in watch.update(found({"margin": 1.5}), 3.0)] == [Severity.MAJOR]
    assert [event.severity for event in watch.update(found({"margin": 2.0}), 4.0)] == [Severity.CLEARED]


def test_only_while_it_applies() -> None:
    watch = AlarmWatch(find_model("nf-lab-mux"), "mux1")
    rows: dict[str, Value] = {
        "service[1].input_state": "lost", "service[1].admin_state": "enabled",
        "service[2].input_state": "lost", "service[2].admin_state": "disabled",
    }  # fmt: skip
    assert [event.object for event in watch.update(found(rows), 1.0)] == ["mux1/service[1].input_state"]
    assert [event.severity for event in watch.update(found(rows | {"service[1].admin_state": "disabled"}), 2.0)] == [
        Severity.CLEARED
    ]


def test_a_row_that_is_gone_has_no_alarm() -> None:
    watch = AlarmWatch(find_model("nf-lab-mux"), "mux1")
    watch.update(found({"service[1].input_state": "lost", "service[1].admin_state": "enabled"}), 1.0)
    assert watch.rows_gone("service.output_bit_rate", frozenset(), 2.0) == []
    assert watch.rows_gone("service.input_state", frozenset({"service[1].input_state"}), 2.0) == []
    assert [event.severity for event in watch.rows_gone("service.input_state", frozenset(), 3.0)] == [Severity.CLEARED]


def test_a_silent_device_is_one_alarm_and_clears_nothing() -> None:
    watch = AlarmWatch(find_model("nf-lab-receiver"), "rx1")
    watch.update(found({"lock": "unlocked"}), 1.0)
    silent = watch.update(found({"lock": None, "margin": None}, Quality.UNREACHABLE), 2.0)
    assert told(silent) == [(SILENT, "rx1", Severity.MAJOR)]
    assert watch.update(found({"lock": None}, Quality.UNREACHABLE), 3.0) == []
    assert watch.update(found({"lock": None}, Quality.UNREADABLE), 4.0) == [
        AlarmEvent(SILENT, "rx1", Severity.CLEARED, 4.0, "it answers again")
    ]
    assert told(watch.update(found({"lock": "locked"}), 5.0)) == [("receiver-unlocked", "rx1/lock", Severity.CLEARED)]


def row(column: int, alarmed: str, value: int) -> Varbind:
    parts = alarmed.split(".")
    return Varbind(f"{CURRENT_ALARM_ENTRY}.{column}.{len(parts)}.{alarmed}", value, Syntax.INTEGER)


def test_hms_rows_come_and_go() -> None:
    one, two = "1.3.6.1.4.1.5591.1.3.1.13.0", "1.3.6.1.4.1.5591.1.5.13.1.4.1"
    alarms = parse_alarms([row(2, one, 2), row(3, one, 100), row(2, two, 6), row(2, two + ".7.8", 99)])
    assert [(alarm.object_oid, alarm.severity, alarm.value) for alarm in alarms] == [
        (one, Severity.MAJOR, 100),
        (two, Severity.MAJOR, None),
    ]
    watch = HmsWatch("head1")
    assert len(watch.update(alarms, 1.0)) == 2
    assert told(watch.update(alarms[:1], 2.0)) == [("hms-alarm", f"head1/{two}", Severity.CLEARED)]


def test_hms_rows_of_another_form_are_left_out() -> None:
    assert parse_alarms([Varbind(f"{CURRENT_ALARM_ENTRY}.2.3.1.3.6.1.4", 6, Syntax.INTEGER)]) == ()
