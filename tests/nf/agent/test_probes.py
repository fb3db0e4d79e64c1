"""Probes that go wrong: told, and tried again."""

from __future__ import annotations

from collections.abc import AsyncIterator

from nf.agent.probes import PATH_DOWN, ProbeRunner
from nf.agent.telemetry import TelemetryHub
from nf.clock import VirtualClock
from nf.contracts.driver import Context
from nf.contracts.probe import PathSample
from nf.documents.appliance import ProbeTarget


class Stumbling:
    """Fails in a way of its own, three times, and then measures."""

    kind = "stumbling"

    def __init__(self) -> None:
        self.runs = 0

    async def run(self, target: ProbeTarget, context: Context) -> AsyncIterator[PathSample]:
        self.runs += 1
        if self.runs <= 3:
            raise KeyError("pid")
        while True:
            yield PathSample(target.id, target.channel, target.path, context.clock.now(), True, 1e6, 1, 0, None, None)
            await context.clock.sleep(0.2)


async def test_a_probe_that_stumbles_is_an_alarm_and_runs_again() -> None:
    clock, hub, probe = VirtualClock(), TelemetryHub(), Stumbling()
    runner = ProbeRunner("recv", [probe], hub, clock)
    target = ProbeTarget.model_validate(
        {"id": "t", "kind": "stumbling", "channel": "ch1", "path": "p", "arguments": {}, "budget": "2s"}
    )
    runner.refresh([target])
    await clock.advance(2.5)
    (alarm,) = hub.alarms
    assert (alarm.cause, alarm.object) == (PATH_DOWN, "ch1/p/recv")
    assert "KeyError" in alarm.text
    await clock.advance(2.0)
    assert not list(hub.alarms)
    assert probe.runs == 4
    await runner.close()
