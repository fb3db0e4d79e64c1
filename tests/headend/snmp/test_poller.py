"""The poller: cadence, age, back-off, hints, bounds, and a fleet of 200."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import cast

import pytest

from headend.snmp.errors import AgentSilentError
from headend.snmp.poller import BACKOFF_MAX_S, HINT_GAP_S, STALE_AFTER, Poller, PollGroup
from headend.snmp.session import Session
from headend.snmp.target import Community, Target
from headend.snmp.values import Quality, Reading
from nf.clock import RealClock, VirtualClock
from nf.errors import InputError, NfError, NotFoundError
from tests.support.snmp import TWENTY_OIDS, Snmpd, snmpd

FAST, SLOW = "1.3.6.1.4.1.1.1.0", "1.3.6.1.4.1.1.2.0"
NOWHERE = Target("127.0.0.1", 9, Community("public"))


@dataclass
class FakeSession:
    """Answers at once with the number of the question; silent while `silent`."""

    clock: VirtualClock
    target: Target = NOWHERE
    silent: bool = False
    error: NfError | None = None
    asked: list[tuple[float, tuple[str, ...]]] = field(default_factory=list)

    async def get(self, oids: Sequence[str]) -> Mapping[str, Reading]:
        now = self.clock.monotonic()
        self.asked.append((now, tuple(oids)))
        self.error = AgentSilentError("no answer") if self.silent else None
        quality = Quality.UNREACHABLE if self.silent else Quality.GOOD
        return {oid: Reading(None if self.silent else len(self.asked), quality, now) for oid in oids}

    def release(self) -> None:
        pass

    @property
    def times(self) -> list[float]:
        return [round(at, 3) for at, _ in self.asked]


@dataclass
class Bench:
    clock: VirtualClock
    poller: Poller

    def add(self, name: str, *groups: PollGroup) -> FakeSession:
        self.poller.add(name, NOWHERE, groups)
        fake = FakeSession(self.clock)
        self.poller._devices[name].session = cast("Session", fake)
        return fake


@contextmanager
def running(jitter: Callable[[float], float] = lambda limit: limit) -> Iterator[Bench]:
    clock = VirtualClock()
    poller = Poller(clock, jitter=jitter)
    task: list[asyncio.Task[None]] = [asyncio.ensure_future(poller.run())]
    try:
        yield Bench(clock, poller)
    finally:
        task[0].cancel()


async def test_each_group_at_its_cadence_and_together_when_due_together() -> None:
    with running() as bench:
        fake = bench.add("mod1", PollGroup((FAST,), 1.0), PollGroup((SLOW, FAST), 5.0))
        await bench.clock.advance(10.5)
        assert fake.times == [float(second) for second in range(11)]
        assert [at for at, oids in fake.asked if SLOW in oids] == [0.0, 5.0, 10.0]
        assert set(fake.asked[0][1]) == {FAST, SLOW}
        assert bench.poller.readings("mod1")[FAST].value == 11


async def test_full_jitter_spreads_the_second_poll_only() -> None:
    with running(lambda limit: limit / 4) as bench:
        fake = bench.add("mod1", PollGroup((FAST,), 4.0))
        await bench.clock.advance(10)
        assert fake.times == [0.0, 1.0, 5.0, 9.0]


async def test_a_value_grows_stale() -> None:
    with running() as bench:
        bench.add("mod1", PollGroup((FAST,), 2.0), PollGroup((SLOW,), 100.0))
        await bench.clock.advance(1)
        device = bench.poller._devices["mod1"]
        assert device.task is not None
        device.task.cancel()
        await bench.clock.advance(STALE_AFTER * 2.0)
        readings = bench.poller.readings("mod1")
        assert readings[FAST].quality is Quality.STALE
        assert readings[FAST].age(bench.clock.monotonic()) == 7.0
        assert readings[SLOW].good


async def test_backing_off_and_coming_back() -> None:
    """Full jitter at its longest: 2, 4, 8 ... cadences, a minute at most; one answer ends it."""
    with running() as bench:
        fake = bench.add("mod1", PollGroup((FAST,), 1.0), PollGroup((SLOW,), 3600.0))
        fake.silent = True
        await bench.clock.advance(1000)
        waits = [later - earlier for earlier, later in zip(fake.times, fake.times[1:], strict=False)]
        assert waits[:5] == [2.0, 4.0, 8.0, 16.0, 32.0]
        assert set(waits[5:]) == {BACKOFF_MAX_S}
        health = bench.poller.health("mod1")
        assert (health.reachable, health.failures) == (False, len(fake.times))
        assert isinstance(health.error, AgentSilentError)
        assert bench.poller.readings("mod1")[SLOW].quality is Quality.UNREACHABLE
        fake.silent = False
        await bench.clock.advance(BACKOFF_MAX_S)
        assert bench.poller.health("mod1").reachable
        assert bench.poller.readings("mod1")[SLOW].good  # not an hour later
        before = len(fake.times)
        await bench.clock.advance(3)
        assert len(fake.times) >= before + 3


async def test_unreachable_keeps_what_was_said_last() -> None:
    with running() as bench:
        fake = bench.add("mod1", PollGroup((FAST,), 1.0))
        await bench.clock.advance(0.5)
        fake.silent = True
        await bench.clock.advance(1)
        reading = bench.poller.readings("mod1")[FAST]
        assert (reading.value, reading.quality, reading.at) == (1, Quality.UNREACHABLE, 0.0)


async def test_no_jitter_at_all_is_no_busy_loop() -> None:
    with running(lambda _: 0.0) as bench:
        fake = bench.add("mod1", PollGroup((FAST,), 10.0))
        fake.silent = True
        await bench.clock.advance(10)
        assert len(fake.times) <= 10 / HINT_GAP_S + 1


async def test_a_hint_polls_at_once_and_a_storm_of_hints_only_twice_a_second() -> None:
    with running() as bench:
        fake = bench.add("mod1", PollGroup((FAST,), 100.0), PollGroup((SLOW,), 1000.0))
        await bench.clock.advance(10)
        for _ in range(1000):
            assert bench.poller.poll_address("127.0.0.1") == ("mod1",)
        bench.poller.poll_now("unknown")
        await bench.clock.advance(0.1)
        assert (fake.asked[-1][0], set(fake.asked[-1][1])) == (10.0, {FAST, SLOW})
        for _ in range(40):
            bench.poller.poll_now("mod1")
            await bench.clock.advance(0.1)
        assert len(fake.asked) <= 2 + 4 / HINT_GAP_S + 1


async def test_a_hint_does_not_wait_for_the_back_off() -> None:
    with running() as bench:
        fake = bench.add("mod1", PollGroup((FAST,), 10.0))
        fake.silent = True
        await bench.clock.advance(40)
        fake.silent = False
        bench.poller.poll_now("mod1")
        await bench.clock.advance(0.1)
        assert bench.poller.health("mod1").reachable


async def test_devices_come_and_go_while_it_runs() -> None:
    with running() as bench:
        await bench.clock.advance(1)
        fake = bench.add("mod1", PollGroup((FAST,), 1.0))
        other = bench.add("mod2")
        await bench.clock.advance(2)
        bench.poller.remove("mod1")
        bench.poller.remove("mod1")
        asked = len(fake.asked)
        await bench.clock.advance(5)
        assert len(fake.asked) == asked > 1
        assert other.asked == []
        assert bench.poller.names() == ("mod2",)
        for missing in (bench.poller.readings, bench.poller.health):
            with pytest.raises(NotFoundError):
                missing("mod1")
        with pytest.raises(InputError):
            PollGroup((FAST,), 0.0)


async def test_a_wrong_address_stops_nobody_else() -> None:
    poller = Poller(RealClock())
    poller.add("wrong", Target("modem", 161, Community("public")), [PollGroup((FAST,), 60.0)])
    readings = await poller.refresh("wrong")
    assert readings[FAST].quality is Quality.UNREACHABLE
    assert isinstance(poller.health("wrong").error, InputError)


# --- a fleet ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fleet(require_programs: Callable[..., None]) -> Iterator[list[Snmpd]]:
    require_programs("snmpd")
    with snmpd(ports=100) as first, snmpd(ports=100) as second:
        yield [first, second]


@pytest.mark.daemon
async def test_200_agents(fleet: list[Snmpd]) -> None:
    poller = Poller(RealClock(), jitter=lambda _: 0.0)
    answered: set[str] = set()
    done = asyncio.Event()

    def take(name: str, readings: Mapping[str, Reading]) -> None:
        assert len(readings) == len(TWENTY_OIDS)
        assert all(reading.good for reading in readings.values())
        answered.add(name)
        if len(answered) == 200:
            done.set()

    for agent in fleet:
        for port in agent.ports:
            target = Target("127.0.0.1", port, Community("public"), timeout_s=5.0, retries=3)
            poller.add(f"device-{port}", target, [PollGroup(TWENTY_OIDS, 1.0)], take)
    task = asyncio.create_task(poller.run())
    async with asyncio.timeout(90):
        await done.wait()
    assert all(poller.health(name).failures == 0 for name in poller.names())
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
