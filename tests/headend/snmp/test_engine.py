"""Engines: what is remembered of them, and what changes of theirs people get to know."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from headend.snmp.engine import BOOTS_LATCHED, EngineChange, EngineTime, EngineWatch, discover
from headend.snmp.errors import AgentSilentError, SnmpSecurityError
from headend.snmp.session import ENGINE_BOOTS, ENGINE_ID, Session
from headend.snmp.target import Community, Target
from headend.snmp.values import Quality
from nf.clock import RealClock, VirtualClock
from nf.telemetry.alarms import AlarmEvent, AlarmTable, Severity
from tests.support.agents import SettableEngine
from tests.support.ports import free_port
from tests.support.snmp import Snmpd, rogue, usm

ENGINE = EngineTime(bytes.fromhex("8000000001020304"), 7, 1000, authentic=True)


class Watching:
    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.alarms = AlarmTable()
        self.events: list[AlarmEvent] = []
        self.watch = EngineWatch(self.clock, self._take)

    def _take(self, event: AlarmEvent) -> None:
        self.events.append(event)
        self.alarms.take(event)

    @property
    def causes(self) -> list[str]:
        return [alarm.cause for alarm in self.alarms]


async def test_a_quiet_life_raises_nothing() -> None:
    own = Watching()
    assert own.watch.observe("mod1", ENGINE) is EngineChange.FIRST_SEEN
    await own.clock.advance(100)
    assert own.watch.observe("mod1", replace(ENGINE, time_s=1100)) is None
    await own.clock.advance(10)
    assert own.watch.observe("mod1", replace(ENGINE, boots=8, time_s=3)) is EngineChange.REBOOTED
    assert own.watch.observe("mod1", replace(ENGINE, boots=8, time_s=500)) is EngineChange.CLOCK_JUMP
    assert own.events == []


def test_boots_going_down_is_a_security_alarm_until_a_person_has_looked() -> None:
    own = Watching()
    own.watch.observe("mod1", ENGINE)
    assert own.watch.observe("mod1", replace(ENGINE, boots=2, time_s=1)) is EngineChange.BOOTS_DOWN
    (alarm,) = own.alarms
    assert (alarm.cause, alarm.object, alarm.severity) == ("snmp-engine-boots-down", "mod1", Severity.CRITICAL)
    assert "7" in alarm.text
    assert "2" in alarm.text
    assert own.watch.observe("mod1", replace(ENGINE, boots=3, time_s=1)) is EngineChange.REBOOTED
    assert own.causes == ["snmp-engine-boots-down"]
    assert own.watch.accept("mod1")
    assert own.causes == []
    assert not own.watch.accept("mod1")


def test_another_engine_and_one_at_its_end() -> None:
    own = Watching()
    own.watch.observe("mod1", ENGINE)
    other = replace(ENGINE, engine_id=b"\x80\0\0\0\x09", authentic=False)
    assert own.watch.observe("mod1", other) is EngineChange.ENGINE_REPLACED
    assert "unauthenticated" in own.events[0].text
    for _ in range(2):
        assert own.watch.observe("mod2", replace(ENGINE, boots=BOOTS_LATCHED)) is EngineChange.LATCHED
    assert sorted(own.causes) == ["snmp-engine-latched", "snmp-engine-replaced"]
    assert len(own.events) == 2


def test_what_was_known_before_a_restart_counts() -> None:
    own = Watching()
    own.watch.restore("mod1", ENGINE)
    assert own.watch.observe("mod1", replace(ENGINE, boots=1)) is EngineChange.BOOTS_DOWN
    own.watch.forget("mod1")
    assert own.watch.state("mod1") is None


async def test_discovery_takes_only_the_answer_to_its_own_question() -> None:
    with pytest.raises(AgentSilentError):
        await discover(Target("127.0.0.1", free_port(), usm(), 0.1, 0))
    async with rogue(lambda request: [b"junk", request]) as target:
        with pytest.raises(AgentSilentError):
            await discover(replace(target, timeout_s=0.1))


# --- live ------------------------------------------------------------------------------------------------------------


def session(agent: Snmpd, own: Watching) -> Session:
    return Session(agent.target(usm()), RealClock(), name="mod1", watch=own.watch)


async def boots(reading: Session) -> object:
    found = (await reading.get([ENGINE_BOOTS]))[ENGINE_BOOTS]
    assert found.good, reading.error
    return found.value


@pytest.mark.daemon
async def test_reboot_reset_and_replacement_of_an_agent(agent: Snmpd) -> None:
    """One get each: the resynchronisation is inside, and no restart of ours is needed."""
    own = Watching()
    reading = session(agent, own)
    assert await boots(reading) == 1
    agent.reboot()
    assert await boots(reading) == 2
    assert own.events == []
    state = own.watch.state("mod1")
    assert state is not None
    assert state.time.authentic
    assert state.time.boots == 2
    agent.factory_reset()
    assert await boots(reading) == 1
    assert own.causes == ["snmp-engine-boots-down"]
    agent.replace("800000000a0b0c0d")
    assert (await reading.get([ENGINE_ID]))[ENGINE_ID].value == bytes.fromhex("800000000a0b0c0d")
    assert own.causes == ["snmp-engine-boots-down", "snmp-engine-replaced"]
    assert (await discover(agent.target())).engine_id == bytes.fromhex("800000000a0b0c0d")
    await reading.close()


async def test_a_clock_that_jumps_costs_one_resynchronisation() -> None:
    own = Watching()
    with SettableEngine() as engine:
        reading = Session(engine.target(usm()), RealClock(), name="mod1", watch=own.watch)
        assert await boots(reading) == engine.boots
        for number, jump in enumerate((100_000, -99_000), 1):
            engine.jump(jump)
            assert await boots(reading) == engine.boots
            assert reading._agent.resynchronised == number
        assert own.events == []
        await reading.close()


async def test_an_engine_at_its_last_boots_refuses_and_we_say_so() -> None:
    own = Watching()
    with SettableEngine() as engine:
        engine.boots = BOOTS_LATCHED
        reading = Session(replace(engine.target(usm()), timeout_s=0.5), RealClock(), name="mod1", watch=own.watch)
        found = await reading.get([ENGINE_BOOTS])
        assert found[ENGINE_BOOTS].quality is Quality.UNREACHABLE
        assert isinstance(reading.error, SnmpSecurityError | AgentSilentError)
        await reading.close()


@pytest.mark.daemon
async def test_v2c_sessions_have_no_engine(agent: Snmpd) -> None:
    own = Watching()
    reading = Session(agent.target(Community("public")), RealClock(), name="m", watch=own.watch)
    await asyncio.gather(reading.get([ENGINE_BOOTS]), reading.get([ENGINE_ID]))
    assert own.watch.state("m") is None
    await reading.close()
