"""What services may read of the running fleet: as it stands, what changes, and what a slow reader is spared."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from nf.contracts.telemetry import AlarmsListed, AlarmState
from nf.control.convert import alarm_event_to_proto, sample_to_proto
from nf.control.v1 import fleet_pb2 as pb
from nf.noc import exports as module
from nf.telemetry.alarms import AlarmEvent, Severity
from nf.telemetry.samples import Sample
from tests.support.fleet import InProcessFleet, in_process_fleet


def batch(subject: str, severity: Severity, *, complete: bool = False) -> pb.TelemetryBatch:
    event = AlarmEvent("path-down", subject, severity, 1.0)
    return pb.TelemetryBatch(items=[pb.TelemetryItem(alarm=alarm_event_to_proto(event))], alarms_complete=complete)


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[InProcessFleet]:
    async with in_process_fleet(tmp_path, start=False) as fleet:
        yield fleet


async def test_appliances_samples_and_alarms_have_their_site(fleet: InProcessFleet) -> None:
    exports, telemetry = fleet.node.exports, fleet.node.telemetry
    sites = {one.id: one.site for one in fleet.node.lineups.current.fleet.spec.appliances}
    name = next(iter(sites))
    assert {one.appliance: (one.site, one.online) for one in exports.appliances()} == {
        known: (site, False) for known, site in sites.items()
    }
    sample = Sample("path.hop", 1.0, {"channel": "c", "path": "p", "point": "edge"}, {"packets": 1.0})
    telemetry.take(name, pb.TelemetryBatch(items=[pb.TelemetryItem(sample=sample_to_proto(sample))]))
    assert [(one.appliance, one.site, one.sample) for one in exports.samples()] == [(name, sites[name], sample)]
    telemetry.take(name, batch("c/p", Severity.MAJOR))
    telemetry.alarm("appliance-offline", name, Severity.MAJOR)
    told = {(one.appliance, one.alarm.object): one.site for one in exports.alarms()}
    assert told[name, "c/p"] == told["", name] == sites[name]
    assert (exports.switches(), exports.orders()) == ((), ())


async def test_what_stands_then_what_changes(fleet: InProcessFleet) -> None:
    exports, telemetry = fleet.node.exports, fleet.node.telemetry
    telemetry.take("head", batch("a", Severity.MAJOR, complete=True))
    changes = exports.alarm_changes()
    first = await anext(changes)
    assert isinstance(first, AlarmState)
    assert (first.appliance, first.alarm.object) == ("head", "a")
    assert await anext(changes) == AlarmsListed("head")
    telemetry.take("head", batch("a", Severity.CLEARED))
    over = await anext(changes)
    assert isinstance(over, AlarmState)
    assert over.alarm.severity is Severity.CLEARED
    telemetry.take("head", batch("b", Severity.MINOR, complete=True))
    assert isinstance(await anext(changes), AlarmState)
    assert await anext(changes) == AlarmsListed("head")
    await changes.aclose()  # type: ignore[attr-defined]
    assert not exports._feeds


async def test_to_who_is_slow_the_last_word_is_told(fleet: InProcessFleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAITING", 20)
    telemetry = fleet.node.telemetry
    changes = fleet.node.exports.alarm_changes()
    telemetry.take("head", batch("a", Severity.MAJOR))
    await anext(changes)
    for number in range(500):
        telemetry.take("head", batch(f"s{number % 2}", (Severity.MAJOR, Severity.MINOR, Severity.CLEARED)[number % 3]))
    telemetry.take("head", batch("last", Severity.CRITICAL))
    seen: dict[str, Severity] = {}
    count = 0
    while "last" not in seen:
        change = await anext(changes)
        assert isinstance(change, AlarmState)
        seen[change.alarm.object] = change.alarm.severity
        count += 1
    assert count <= 21
    standing = {alarm.object: alarm.severity for _, alarm in telemetry.alarms("head")}
    assert {name: severity for name, severity in seen.items() if severity is not Severity.CLEARED} == {
        name: severity for name, severity in standing.items() if name != "a"
    }
