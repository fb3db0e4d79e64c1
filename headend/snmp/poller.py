"""The poller: kept sessions, a bound on what is under way, back-off for each device, a cadence for each object."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from headend.snmp.engine import EngineWatch
from headend.snmp.session import Session
from headend.snmp.stack import Stack
from headend.snmp.target import Target
from headend.snmp.values import Quality, Reading
from nf.clock import Clock
from nf.errors import InputError, NfError, NotFoundError

IN_FLIGHT: Final = 50
"""Devices asked at once; more replies than that at a time are what small receive buffers lose."""
BACKOFF_MAX_S: Final = 60.0
HINT_GAP_S: Final = 0.5
"""Between two polls of a device that hints ask for: a storm of traps must not become a storm of polls."""
STALE_AFTER: Final = 3.0
"""A value older than so many of its cadences is stale."""
_TOGETHER: Final = 0.1
"""Of a cadence: what is due that soon goes into the same GET."""

OnReading = Callable[[str, Mapping[str, Reading]], None]


@dataclass(frozen=True, slots=True)
class PollGroup:
    """OIDs that are read together, every `every_s` seconds."""

    oids: tuple[str, ...]
    every_s: float

    def __post_init__(self) -> None:
        if self.every_s <= 0:
            raise InputError("a cadence must be longer than nothing", where=", ".join(self.oids))


@dataclass(frozen=True, slots=True)
class Health:
    """How a device is doing: `failures` in a row, `error` of the last, `answered_at` in monotonic seconds."""

    failures: int = 0
    error: NfError | None = None
    answered_at: float | None = None
    polls: int = 0

    @property
    def reachable(self) -> bool:
        return self.failures == 0 and self.answered_at is not None


@dataclass(slots=True, eq=False)
class _Device:
    name: str
    session: Session
    groups: tuple[PollGroup, ...]
    on_reading: OnReading | None
    due: list[float]
    cadences_s: Mapping[str, float]  # by OID
    readings: dict[str, Reading] = field(default_factory=dict)
    health: Health = Health()
    polled_at: float = float("-inf")
    wait_until: float = float("-inf")  # back-off
    hinted: bool = False
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None

    @property
    def next_at(self) -> float:
        if self.hinted:
            return self.polled_at + HINT_GAP_S
        return max(min(self.due, default=float("inf")), self.wait_until)


class Poller:
    """Polls devices as long as `run` runs; what they said last is in `readings`.

    `jitter` draws from 0 to its argument: full jitter spreads first polls over a cadence, and retries over a back-off.
    """

    def __init__(
        self,
        clock: Clock,
        in_flight: int = IN_FLIGHT,
        *,
        watch: EngineWatch | None = None,
        stack: Stack | None = None,
        jitter: Callable[[float], float] = lambda limit: random.uniform(0.0, limit),  # noqa: S311 - spreads load
    ) -> None:
        self._clock = clock
        self._watch = watch
        self._stack = stack or Stack()
        self._own_stack = stack is None
        self._jitter = jitter
        self._under_way = asyncio.Semaphore(in_flight)
        self._devices: dict[str, _Device] = {}
        self._tasks: asyncio.TaskGroup | None = None

    def add(self, name: str, target: Target, groups: Sequence[PollGroup], on_reading: OnReading | None = None) -> None:
        """Poll a device from now on; a name that is there already is replaced."""
        self.remove(name)
        session = Session(target, self._clock, name=name, watch=self._watch, stack=self._stack)
        now = self._clock.monotonic()
        due = [now for _ in groups]
        self._devices[name] = _Device(name, session, tuple(groups), on_reading, due, _cadences_s(groups))
        self._start(self._devices[name])

    def remove(self, name: str) -> None:
        device = self._devices.pop(name, None)
        if device is None:
            return
        if device.task is not None:
            device.task.cancel()
        device.session.release()

    def names(self) -> tuple[str, ...]:
        return tuple(self._devices)

    def poll_now(self, name: str) -> None:
        """A hint that something changed: all of the device's objects are read at once, back-off or not.

        Hints during a poll and in the half second after one are answered by one more poll.
        """
        device = self._devices.get(name)
        if device is not None:
            device.hinted = True
            device.wake.set()

    def poll_address(self, address: str) -> tuple[str, ...]:
        """`poll_now` for whatever is polled at an IP address; their names."""
        names = tuple(name for name, device in self._devices.items() if device.session.target.address == address)
        for name in names:
            self.poll_now(name)
        return names

    async def refresh(self, name: str) -> Mapping[str, Reading]:
        """Read all of a device's objects now and wait for it; its readings. Raises NotFoundError."""
        device = self._found(name)
        await self._poll(device, tuple(range(len(device.groups))))
        return dict(device.readings)

    def readings(self, name: str) -> Mapping[str, Reading]:
        """By OID: the last known of each; STALE when older than three of its cadences. Raises NotFoundError."""
        device = self._found(name)
        now = self._clock.monotonic()
        oldest = {oid: now - STALE_AFTER * every_s for oid, every_s in device.cadences_s.items()}
        return {
            oid: reading._replace(quality=Quality.STALE) if reading.good and reading.at < oldest[oid] else reading
            for oid, reading in device.readings.items()
        }

    def health(self, name: str) -> Health:
        """Raises NotFoundError."""
        return self._found(name).health

    async def run(self) -> None:
        """Polls until cancelled."""
        try:
            async with asyncio.TaskGroup() as self._tasks:
                for device in self._devices.values():
                    self._start(device)
                await asyncio.get_running_loop().create_future()
        finally:
            self._tasks = None
            for device in self._devices.values():
                device.task = None
                device.session.release()
            if self._own_stack:
                self._stack.close()

    def _found(self, name: str) -> _Device:
        try:
            return self._devices[name]
        except KeyError:
            raise NotFoundError("no such device is polled", where=name) from None

    def _start(self, device: _Device) -> None:
        if self._tasks is not None and device.task is None:
            device.task = self._tasks.create_task(self._follow(device), name=f"poll {device.name}")

    async def _follow(self, device: _Device) -> None:
        while True:
            now = self._clock.monotonic()
            if device.next_at > now:
                await self._sleep(device, device.next_at - now)
                continue
            hinted, device.hinted = device.hinted, False
            numbers = tuple(
                number
                for number, (group, due) in enumerate(zip(device.groups, device.due, strict=True))
                if hinted or due <= now + group.every_s * _TOGETHER
            )
            await self._poll(device, numbers)

    async def _sleep(self, device: _Device, seconds: float) -> None:
        """Until then, or until a hint."""
        device.wake.clear()
        if seconds == float("inf"):
            await device.wake.wait()
            return
        sleeping = asyncio.ensure_future(self._clock.sleep(seconds))
        sleeping.add_done_callback(lambda _: device.wake.set())
        try:
            await device.wake.wait()
        finally:
            sleeping.cancel()

    async def _poll(self, device: _Device, numbers: tuple[int, ...]) -> None:
        groups = tuple(device.groups[number].oids for number in numbers)
        oids = groups[0] if len(groups) == 1 else tuple(itertools.chain.from_iterable(groups))
        async with self._under_way:
            started = self._clock.monotonic()
            try:
                found: Mapping[str, Reading] = await device.session.get(oids)
                error = device.session.error
            except InputError as wrong:  # its model or its address; the other devices go on
                found = {oid: Reading(None, Quality.UNREACHABLE, started) for oid in oids}
                error = wrong
        device.polled_at = self._clock.monotonic()
        self._plan(device, numbers, started, error)
        if error is not None:
            found = {oid: _kept(device.readings.get(oid), reading) for oid, reading in found.items()}
        device.readings.update(found)
        if device.on_reading is not None and self._devices.get(device.name) is device:
            device.on_reading(device.name, found)

    def _plan(self, device: _Device, numbers: tuple[int, ...], started: float, error: NfError | None) -> None:
        """When each group is due again, and how long to leave the device alone."""
        first = device.health.answered_at is None
        polls = device.health.polls + 1
        if error is None:
            for number in numbers:
                every_s = device.groups[number].every_s
                device.due[number] = started + (self._jitter(every_s) if first else every_s)
            device.health = Health(0, None, started, polls)
            device.wait_until = float("-inf")
            return
        failures = device.health.failures + 1
        device.health = replace(device.health, failures=failures, error=error, polls=polls)
        shortest = min(group.every_s for group in device.groups)
        limit = min(BACKOFF_MAX_S, shortest * 2.0 ** min(failures, 20))
        device.wait_until = device.polled_at + max(self._jitter(limit), min(shortest, HINT_GAP_S))


def _kept(known: Reading | None, seen: Reading) -> Reading:
    """What an unreachable device said last is kept, with the time it said it."""
    if seen.quality is Quality.UNREACHABLE and known is not None:
        return Reading(known.value, Quality.UNREACHABLE, known.at)
    return seen


def _cadences_s(groups: Sequence[PollGroup]) -> dict[str, float]:
    """The shortest of each OID's."""
    ordered = sorted(groups, key=lambda group: group.every_s, reverse=True)
    return {oid: group.every_s for group in ordered for oid in group.oids}
