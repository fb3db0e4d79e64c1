"""Between the wire's messages and the contracts' types. Pure."""

from __future__ import annotations

from dataclasses import asdict, fields

from nf.contracts.driver import Step
from nf.contracts.image import ImageReport
from nf.control.v1 import common_pb2, fleet_pb2
from nf.telemetry.alarms import Alarm, AlarmEvent, Severity
from nf.telemetry.samples import Quality, Sample

_SEVERITY_TO: dict[Severity, common_pb2.Severity.ValueType] = {
    Severity.CRITICAL: common_pb2.SEVERITY_CRITICAL,
    Severity.MAJOR: common_pb2.SEVERITY_MAJOR,
    Severity.MINOR: common_pb2.SEVERITY_MINOR,
    Severity.WARNING: common_pb2.SEVERITY_WARNING,
    Severity.CLEARED: common_pb2.SEVERITY_CLEARED,
}
_SEVERITY_FROM = {number: severity for severity, number in _SEVERITY_TO.items()}
_QUALITIES = {quality.value: quality for quality in Quality}


def step_to_proto(section: str, step: Step) -> common_pb2.Step:
    return common_pb2.Step(
        id=step.id,
        kind=step.kind,
        section=section,
        summary=step.summary,
        requires=sorted(step.requires),
        provides=sorted(step.provides),
        budget_ms=round(step.budget_s * 1000),
        undo_budget_ms=round(step.undo_budget_s * 1000),
        disruption=step.disruption,
        reversible=step.reversible,
    )


def step_from_proto(message: common_pb2.Step) -> Step:
    """What ordering and people need; the arguments of a step stay on its appliance."""
    return Step(
        id=message.id,
        kind=message.kind,
        arguments={},
        requires=frozenset(message.requires),
        provides=frozenset(message.provides),
        budget_s=message.budget_ms / 1000,
        undo_budget_s=message.undo_budget_ms / 1000,
        disruption=message.disruption,
        reversible=message.reversible,
        summary=message.summary,
    )


def sample_to_proto(sample: Sample) -> common_pb2.Sample:
    return common_pb2.Sample(
        kind=sample.kind,
        at=sample.at,
        labels=dict(sample.labels),
        values=dict(sample.values),
        text=sample.text,
        quality=sample.quality.value,
    )


def sample_from_proto(message: common_pb2.Sample) -> Sample:
    """An unknown quality, from a newer peer, counts as suspect."""
    quality = _QUALITIES.get(message.quality, Quality.SUSPECT)
    return Sample(message.kind, message.at, dict(message.labels), dict(message.values), message.text, quality)


def severity_to_proto(severity: Severity) -> common_pb2.Severity.ValueType:
    return _SEVERITY_TO[severity]


def severity_from_proto(number: common_pb2.Severity.ValueType) -> Severity:
    """An unknown severity, from a newer peer, counts as a warning."""
    return _SEVERITY_FROM.get(number, Severity.WARNING)


def image_to_proto(report: ImageReport) -> common_pb2.Image:
    return common_pb2.Image(**asdict(report))


def image_from_proto(message: common_pb2.Image) -> ImageReport:
    return ImageReport(**{item.name: getattr(message, item.name) for item in fields(ImageReport)})


def alarm_to_proto(alarm: Alarm, appliance: str) -> common_pb2.Alarm:
    return common_pb2.Alarm(
        id=f"{appliance}:{alarm.id}" if appliance else alarm.id,
        cause=alarm.cause,
        object=alarm.object,
        severity=severity_to_proto(alarm.severity),
        text=alarm.text,
        remedy=alarm.remedy,
        first_at=alarm.first_at,
        last_at=alarm.last_at,
        count=alarm.count,
        appliance=appliance,
    )


def alarm_event_to_proto(event: AlarmEvent) -> fleet_pb2.AlarmNotice:
    return fleet_pb2.AlarmNotice(
        cause=event.cause,
        object=event.object,
        severity=severity_to_proto(event.severity),
        at=event.at,
        text=event.text,
        remedy=event.remedy,
    )


def alarm_event_from_proto(message: fleet_pb2.AlarmNotice) -> AlarmEvent:
    return AlarmEvent(
        message.cause,
        message.object,
        severity_from_proto(message.severity),
        message.at,
        message.text,
        message.remedy,
    )
