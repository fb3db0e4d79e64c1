"""Probes that go wrong: told, and tried again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

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


class Switched:
    """Up as long as `up` says so."""

    kind = "switched"

    def __init__(self) -> None:
        self.up = True

    async def run(self, target: ProbeTarget, context: Context) -> AsyncIterator[PathSample]:
        while True:
            yield PathSample(target.id, "ch1", target.path, context.clock.now(), self.up, 1e6, 1, 0, None, None)
            await context.clock.sleep(0.2)


def switched(name: str, **arguments: int) -> ProbeTarget:
    return ProbeTarget.model_validate(
        {"id": name, "kind": "switched", "channel": "ch1", "path": name, "arguments": arguments, "budget": "500ms"}
    )


@pytest.mark.parametrize(
    ("down_s", "changed", "drifts"),
    [(3.0, False, False), (3.0, True, True), (0.5, False, True), (0.0, False, True)],
    ids=["down before and left alone", "down before and changed", "down for a moment", "down by the commit"],
)
async def test_what_was_down_before_keeps_no_commit_back(down_s: float, changed: bool, drifts: bool) -> None:
    clock, probe = VirtualClock(), Switched()
    runner = ProbeRunner("recv", [probe], TelemetryHub(), clock)
    target = switched("ott")
    runner.refresh([target])
    await clock.advance(1.0)
    probe.up = down_s == 0
    await clock.advance(down_s)
    runner.begin()
    probe.up = False
    verdict = asyncio.ensure_future(
        runner.verify([switched("ott", rate=2) if changed else target], Context(clock, clock.monotonic() + 10))
    )
    await clock.advance(3.0)
    assert bool(await verdict) is drifts
    await runner.close()


async def test_one_that_is_not_required_is_not_waited_for_and_goes_on_measuring() -> None:
    clock, probe = VirtualClock(), Switched()
    runner = ProbeRunner("recv", [probe], TelemetryHub(), clock)
    target = switched("sat").model_copy(update={"required": False})
    runner.refresh([target])
    await clock.advance(1.0)
    before = runner._running["sat"]
    runner.begin()
    probe.up = False
    assert not await runner.verify([target], Context(clock, clock.monotonic() + 10))
    assert runner.budget_s([target]) == 0
    assert runner._running["sat"] is before
    await runner.close()


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


class Named:
    """Says what its secret is."""

    kind = "named"

    async def run(self, target: ProbeTarget, context: Context) -> AsyncIterator[PathSample]:
        known = context.resolve_secret("secret:probe") if context.resolve_secret is not None else ""
        while True:
            yield PathSample(target.id, "voice", target.path, context.clock.now(), known == "x", 1e6, 1, 0, None, None)
            await context.clock.sleep(0.2)


async def test_a_probe_may_have_to_say_who_it_is() -> None:
    clock = VirtualClock()
    target = ProbeTarget.model_validate({"id": "named", "kind": "named", "channel": "voice", "path": "edge"})
    runner = ProbeRunner("recv", [Named()], TelemetryHub(), clock, {"secret:probe": "x"}.__getitem__)
    runner.refresh((target,))
    await clock.advance(1.0)
    assert runner.down() == {}
    await runner.close()
