"""Probes of this appliance: always running for what it is to prove, and the verdict that a commit waits for."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Final

from nf.agent.telemetry import TelemetryHub
from nf.clock import Clock
from nf.contracts.driver import Context, Drift
from nf.contracts.probe import PathSample, Probe
from nf.documents.appliance import ProbeTarget
from nf.errors import NfError
from nf.telemetry.alarms import AlarmEvent, Severity
from nf.telemetry.samples import Sample

_log = logging.getLogger(__name__)

PATH_DOWN: Final = "path-down"
PROVED_S: Final = 0.9
"""A path is proved when it was up without a break for that long, with two samples at least."""
_ALARM_AFTER_S: Final = 2.0
_RESTART_S: Final = 1.0


@dataclass(slots=True)
class _Running:
    target: ProbeTarget
    started: float
    task: asyncio.Task[None] | None = None
    last: PathSample | None = None
    up_from: float | None = None  # monotonic: first sample of the unbroken run of good ones
    up_samples: int = 0
    up_last: float = 0.0
    heard: asyncio.Event = field(default_factory=asyncio.Event)
    down_before: bool = False  # when the commit in flight had changed nothing yet


class ProbeRunner:
    """Implements `nf.transaction.model.ProbeVerifier`. `refresh` whenever the configuration may have changed."""

    def __init__(
        self,
        appliance: str,
        probes: Iterable[Probe],
        hub: TelemetryHub,
        clock: Clock,
        resolve_secret: Callable[[str], str] | None = None,
    ) -> None:
        """`resolve_secret`: for probes that have to say who they are."""
        self._appliance = appliance
        self._probes = {probe.kind: probe for probe in probes}
        self._hub = hub
        self._clock = clock
        self._resolve_secret = resolve_secret
        self._running: dict[str, _Running] = {}
        self._ending: set[asyncio.Task[None]] = set()

    @property
    def kinds(self) -> tuple[str, ...]:
        return tuple(sorted(self._probes))

    def refresh(self, targets: Sequence[ProbeTarget], *, start: bool = True) -> None:
        """Run exactly these. One that did not change goes on undisturbed.

        Without `start`, only what is no longer wanted ends: while a commit is applied there is nothing to join yet.
        """
        wanted = {target.id: target for target in targets}
        for name, running in tuple(self._running.items()):
            if wanted.get(name) != running.target:
                self._stop(self._running.pop(name))
        for name, target in wanted.items():
            if start and name not in self._running:
                running = _Running(target, self._clock.monotonic())
                running.task = asyncio.create_task(self._run(running), name=f"probe {name}")
                self._running[name] = running

    def down(self) -> dict[str, str]:
        """`channel/path` -> why, of each that is required and not proved up at this moment."""
        return {
            f"{running.target.channel}/{running.target.path}": _why_down(running)
            for running in self._running.values()
            if running.target.required and not self._proved(running, 0.0)
        }

    def begin(self) -> None:
        """A commit is about to change something: a path that is down now, and is as it was, is not its doing."""
        now = self._clock.monotonic()
        for running in self._running.values():
            down = running.last is not None and not running.last.up
            running.down_before = down and now - max(running.started, running.up_last) >= _ALARM_AFTER_S

    def _stop(self, running: _Running) -> None:
        if running.task is not None:
            running.task.cancel()
            self._ending.add(running.task)
            running.task.add_done_callback(self._ending.discard)
        self._alarm(running, Severity.CLEARED, "no longer to be delivered")

    async def close(self) -> None:
        tasks = [running.task for running in self._running.values() if running.task is not None] + list(self._ending)
        self._running.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, running: _Running) -> None:
        target = running.target
        probe = self._probes.get(target.kind)
        if probe is None:
            self._alarm(running, Severity.MAJOR, f"this appliance has no probe of kind {target.kind}")
            return
        while True:
            context = Context(clock=self._clock, deadline=float("inf"), resolve_secret=self._resolve_secret)
            try:
                async with aclosing(probe.run(target, context)) as samples:  # type: ignore[type-var]
                    async for sample in samples:
                        self._take(running, sample)
            except (NfError, OSError) as error:
                _log.warning("probe %s: %s", target.id, error)
                self._failed(running, str(error))
            except Exception as error:  # noqa: BLE001 - a probe may raise anything, and reads what comes from anywhere
                _log.exception("probe %s", target.id)
                self._failed(running, f"{type(error).__name__}: {error}")
            await self._clock.sleep(_RESTART_S)

    def _take(self, running: _Running, sample: PathSample) -> None:
        now = self._clock.monotonic()
        running.last = sample
        if sample.up:
            if running.up_from is None:
                running.up_from, running.up_samples = now, 0
            running.up_samples += 1
            running.up_last = now
            self._alarm(running, Severity.CLEARED)
        else:
            running.up_from, running.up_samples = None, 0
            if now - max(running.started, running.up_last) >= _ALARM_AFTER_S:
                self._alarm(running, Severity.MAJOR, sample.detail or "nothing arrives")
        self._hub.sample(_sample(sample))
        running.heard.set()

    def _failed(self, running: _Running, text: str) -> None:
        """A probe that cannot measure proves nothing."""
        target = running.target
        failed = PathSample(
            target.id, target.channel, target.path, self._clock.now(), False, 0.0, 0, 0, None, None, text
        )
        self._take(running, failed)

    def _alarm(self, running: _Running, severity: Severity, text: str = "") -> None:
        target = running.target
        place = f"{target.channel}/{target.path}/{self._appliance}"
        remedy = "" if severity is Severity.CLEARED else f"nf channel show {target.channel} tells where it ends"
        self._hub.alarm(AlarmEvent(PATH_DOWN, place, severity, self._clock.now(), text, remedy))

    # ---- what a commit asks ----

    def budget_s(self, targets: Sequence[ProbeTarget]) -> float:
        """They run side by side: the longest one that is required counts."""
        return max((target.budget_ms for target in targets if target.required), default=0) / 1000

    async def verify(self, targets: Sequence[ProbeTarget], context: Context) -> Drift:
        """Each that is required must be up, measured anew, within its own budget; one line for each that is not.

        One that was down before the commit and is not changed by it has an alarm, and keeps no other path back.
        """
        self.refresh(targets)
        since = self._clock.monotonic()
        proved = [target for target in targets if target.required and not self._running[target.id].down_before]
        told = await asyncio.gather(*(self._prove(target, since, context) for target in proved))
        return Drift(tuple(line for line in told if line))

    async def _prove(self, target: ProbeTarget, since: float, context: Context) -> str:
        seconds = min(target.budget_ms / 1000, context.remaining())
        running = self._running[target.id]
        try:
            async with asyncio.timeout(seconds):
                while not self._proved(running, since):
                    running.heard.clear()
                    await running.heard.wait()
        except TimeoutError:
            why = _why_down(running)
            return f"{target.channel}/{target.path} is not up at {self._appliance} within {seconds:.1f} s: {why}"
        return ""

    @staticmethod
    def _proved(running: _Running, since: float) -> bool:
        if running.up_from is None or running.up_samples < 2:
            return False
        return running.up_last - max(running.up_from, since) >= PROVED_S


def _why_down(running: _Running) -> str:
    last = running.last
    return "the probe has not measured anything" if last is None else last.detail or "nothing arrives"


def _sample(sample: PathSample) -> Sample:
    values: dict[str, Any] = {
        "up": 1.0 if sample.up else 0.0,
        "bitrate_bps": sample.bitrate_bps,
        "packets": float(sample.packets),
        "continuity_errors": float(sample.continuity_errors),
    }
    if sample.age_ms is not None:
        values["age_ms"] = sample.age_ms
    if sample.join_ms is not None:
        values["join_ms"] = sample.join_ms
    labels = {"channel": sample.channel, "path": sample.path, "point": "receiver", "target": sample.target}
    return Sample("path.probe", sample.at, labels, values, sample.detail)
