"""A set proves itself or takes itself back, whatever the agent does."""

from __future__ import annotations

import copy

import pytest

from headend.devices.device import Device
from headend.devices.errors import Aftermath, DeviceError
from headend.devices.model import Condition, Effect, Range
from headend.snmp.values import Wire
from nf.errors import InputError, RefusedError, UnavailableError
from nf.telemetry.alarms import Severity
from tests.headend.devices.fakes import Agent, InstantClock, device

MODEL = """\
apiVersion: streamverse.nf/v1
kind: DeviceModel
metadata: {name: bent}
spec:
  vendor: Nobody
  product: Bent
  kind: modulator
  provenOn: nothing
  identify: [{oid: 1.3.6.1.4.1.99999.1.0, present: true}]
  setBatch: 3
  tables:
    service: {index: [integer]}
  applies:
    carrier: {oid: 1.3.6.1.4.1.99999.9.0, value: 1}
  commandLine: {oid: 1.3.6.1.4.1.99999.8.0}
  parameters:
    level: {oid: 1.3.6.1.4.1.99999.2.0, access: rw, syntax: integer, scale: 0.1, unit: dBm,
            range: {minimum: -30.0, maximum: 0.0}, settle_s: 0.5}
    transmit: {oid: 1.3.6.1.4.1.99999.3.0, access: rw, syntax: integer, enum: {"off": 1, "on": 2}}
    frequency: {oid: 1.3.6.1.4.1.99999.4.0, access: rw, syntax: gauge32, unit: kHz}
    lock: {oid: 1.3.6.1.4.1.99999.5.0, syntax: octets, enum: {locked: Locked, unlocked: Unlocked}}
    modcod: {oid: 1.3.6.1.4.1.99999.6.0, write_oid: 1.3.6.1.4.1.99999.16.0, access: rw, syntax: integer,
             write: apply, apply: carrier}
    rolloff: {oid: 1.3.6.1.4.1.99999.7.0, write_oid: 1.3.6.1.4.1.99999.17.0, access: rw, syntax: integer,
              write: apply, apply: carrier}
    profile: {oid: 1.3.6.1.4.1.99999.10.0, access: rw, syntax: integer, write: command, command: "profile {value}"}
    key: {oid: 1.3.6.1.4.1.99999.11.0, access: rw, syntax: octets, secret: true}
    clear: {oid: 1.3.6.1.4.1.99999.12.0, access: command, syntax: integer, enum: {now: 1}}
    service.rate: {oid: 1.3.6.1.4.1.99999.20.1.2, access: rw, syntax: gauge32, unit: kbit/s}
    service.actual: {oid: 1.3.6.1.4.1.99999.20.1.3, syntax: gauge32, unit: kbit/s}
  effects:
    - {parameters: [frequency], watch: lock, expect: {equals: locked}, when: {transmit: "on"}, within_s: 3.0}
    - {parameters: [service.rate], watch: service.actual, expect: {tracks: service.rate, tolerance_percent: 10},
       within_s: 3.0}
  interlocks:
    - {parameters: [frequency], needs: {transmit: "off"}, because: a carrier that moves hits its neighbours,
       remedy: mute it first}
"""
ROOT = "1.3.6.1.4.1.99999"
LEVEL, TRANSMIT, FREQUENCY, LOCK = (f"{ROOT}.{n}.0" for n in (2, 3, 4, 5))
NOT_HERE: dict[str, Wire] = {}


@pytest.fixture
def agent() -> Agent:
    objects: dict[str, Wire] = {
        LEVEL: -100, TRANSMIT: 1, FREQUENCY: 14_000_000, LOCK: b"Locked",
        f"{ROOT}.6.0": 14, f"{ROOT}.16.0": 14, f"{ROOT}.7.0": 1, f"{ROOT}.17.0": 1, f"{ROOT}.10.0": 3,
        f"{ROOT}.11.0": b"old key",
        f"{ROOT}.20.1.2.1": 1000, f"{ROOT}.20.1.2.2": 2000, f"{ROOT}.20.1.3.1": 1000, f"{ROOT}.20.1.3.2": 1990,
    }  # fmt: skip
    return Agent(InstantClock(), objects)


@pytest.fixture
def bent(agent: Agent) -> Device:
    return device(MODEL, agent)


async def failed(device: Device, **changes: object) -> DeviceError:
    with pytest.raises(DeviceError) as caught:
        await device.set(changes)  # type: ignore[arg-type]
    return caught.value


async def test_what_was_set_is_read_back_and_told(bent: Device, agent: Agent) -> None:
    outcome = await bent.set({"level": -12.5})
    assert agent.objects[LEVEL] == -125
    assert outcome.changed["level"].before == -10.0
    assert outcome.changed["level"].after == -12.5
    assert outcome.duration_s == 0.5


async def test_what_already_holds_is_not_written(bent: Device, agent: Agent) -> None:
    outcome = await bent.set({"level": -10, "transmit": "off"})
    assert agent.sets == []
    assert outcome.unchanged == ("level", "transmit")


async def test_a_set_that_is_ignored_is_detected(bent: Device, agent: Agent) -> None:
    agent.ignore.add(LEVEL)
    error = await failed(bent, level=-5.0)
    assert error.aftermath is Aftermath.UNCHANGED
    assert error.problems[0].key == "level"
    assert "was set to -5.0 and reads -10.0 dBm" in error.problems[0].rule


async def test_one_ignored_among_others_takes_all_back(bent: Device, agent: Agent) -> None:
    agent.ignore.add(TRANSMIT)
    error = await failed(bent, level=-5.0, transmit="on")
    assert error.aftermath is Aftermath.ROLLED_BACK
    assert agent.objects[LEVEL] == -100
    assert error.before == {"level": -10.0, "transmit": "off"}


async def test_a_device_that_rounds_did_not_do_what_was_asked(bent: Device, agent: Agent) -> None:
    agent.rounds[LEVEL] = lambda wire: round(int(wire or 0), -1)
    error = await failed(bent, level=-12.4)
    assert "reads -12.0 dBm" in str(error)
    assert agent.objects[LEVEL] == -100


async def test_a_late_value_is_waited_for(bent: Device, agent: Agent) -> None:
    agent.late[LEVEL] = 1.2
    outcome = await bent.set({"level": -5.0})
    assert outcome.changed["level"].after == -5.0


async def test_a_value_that_goes_back_while_its_effect_is_awaited(bent: Device, agent: Agent) -> None:
    agent.reverts[LEVEL] = 2.0
    agent.objects[LOCK] = b"Unlocked"
    locks = Effect(watch="lock", expect=Condition(equals="locked"), within_s=10.0)
    with pytest.raises(DeviceError, match=r"level was set to -5\.0 and reads -10\.0 dBm"):
        await bent.set({"level": -5.0}, confirm=[locks])


async def test_the_device_refuses(bent: Device, agent: Agent) -> None:
    agent.refuse[TRANSMIT] = "wrongValue"
    error = await failed(bent, level=-5.0, transmit="on")
    assert error.problems[0].key == "transmit"
    assert "wrongValue" in str(error)
    assert error.aftermath is Aftermath.UNCHANGED
    assert agent.objects[LEVEL] == -100


async def test_a_value_outside_the_range_is_never_sent(bent: Device, agent: Agent) -> None:
    with pytest.raises(InputError) as caught:
        await bent.set({"level": 3.0, "lock": "locked", "transmit": "loud", "service[x].rate": 1, "nothing": 1})
    assert [problem.key for problem in caught.value.problems] == [
        "level", "lock", "transmit", "service[x].rate", "nothing",
    ]  # fmt: skip
    assert caught.value.problems[0].remedy == "at most 0 dBm"
    assert agent.sets == []
    assert agent.gets == []


async def test_a_value_finer_than_the_wire_is_refused(bent: Device) -> None:
    with pytest.raises(InputError, match=r"in steps of 0\.1 dBm"):
        await bent.set({"level": -1.23})


async def test_the_plans_cap_is_narrower_than_the_devices(agent: Agent) -> None:
    capped = device(MODEL, agent, limits={"level": Range(maximum=-8.0)})
    with pytest.raises(InputError, match="at most -8 dBm"):
        await capped.set({"level": -5.0})
    await capped.set({"level": -8.0})


async def test_an_interlock_refuses_before_anything_is_written(bent: Device, agent: Agent) -> None:
    agent.objects[TRANSMIT] = 2
    with pytest.raises(RefusedError, match="a carrier that moves hits its neighbours") as caught:
        await bent.set({"level": -5.0, "frequency": 14_100_000})
    assert caught.value.remedy == "mute it first"
    assert agent.sets == []


async def test_an_effect_that_comes_confirms(bent: Device, agent: Agent) -> None:
    agent.late[f"{ROOT}.20.1.3.2"] = 1.0

    def follow(world: Agent) -> None:
        world.objects[f"{ROOT}.20.1.3.2"] = world.objects[f"{ROOT}.20.1.2.2"]

    agent.on_set = follow
    outcome = await bent.set({"service[2].rate": 1500})
    assert outcome.confirmed_by == ("service[2].actual is 1500 kbit/s",)


async def test_an_effect_that_does_not_come_takes_the_set_back(bent: Device, agent: Agent) -> None:
    error = await failed(bent, **{"service[2].rate": 500})
    assert error.aftermath is Aftermath.ROLLED_BACK
    assert agent.objects[f"{ROOT}.20.1.2.2"] == 2000
    assert "service[2].actual is 1990 kbit/s, not within 10 % of service.rate" in str(error)


async def test_an_effect_counts_only_when_it_can_come(bent: Device, agent: Agent) -> None:
    agent.objects[LOCK] = b"Unlocked"
    outcome = await bent.set({"frequency": 14_100_000})
    assert outcome.confirmed_by == ()


async def test_staged_values_and_their_commit(bent: Device, agent: Agent) -> None:
    def commit(world: Agent) -> None:
        if world.objects.pop(f"{ROOT}.9.0", None) == 1:
            world.objects[f"{ROOT}.6.0"] = world.objects[f"{ROOT}.16.0"]
            world.objects[f"{ROOT}.7.0"] = world.objects[f"{ROOT}.17.0"]

    agent.on_set = commit
    await bent.set({"modcod": 5, "rolloff": 2})
    assert [[varbind.oid for varbind in pdu] for pdu in agent.sets] == [
        [f"{ROOT}.16.0", f"{ROOT}.17.0"],
        [f"{ROOT}.9.0"],
    ]
    assert (agent.objects[f"{ROOT}.6.0"], agent.objects[f"{ROOT}.7.0"]) == (5, 2)


async def test_a_commit_that_does_nothing_leaves_nothing_staged(bent: Device, agent: Agent) -> None:
    error = await failed(bent, modcod=5)
    assert error.aftermath is Aftermath.ROLLED_BACK
    assert agent.objects[f"{ROOT}.16.0"] == 14
    assert [varbind.oid for varbind in agent.sets[-1]] == [f"{ROOT}.16.0"]


async def test_command_text(bent: Device, agent: Agent) -> None:
    def obey(world: Agent) -> None:
        line = world.objects.pop(f"{ROOT}.8.0", None)
        if isinstance(line, bytes):
            world.objects[f"{ROOT}.10.0"] = int(line.split()[1])

    agent.on_set = obey
    await bent.set({"profile": 4})
    assert agent.sets[0][0].value == b"profile 4"
    assert agent.objects[f"{ROOT}.10.0"] == 4


async def test_a_command_that_holds_nothing_is_told_as_unproved(bent: Device) -> None:
    outcome = await bent.set({"clear": "now"})
    assert outcome.unproved == ("clear",)


async def test_a_secret_shows_nowhere(bent: Device, agent: Agent) -> None:
    outcome = await bent.set({"key": "new key"})
    assert "key" not in str(outcome.changed["key"].after)
    agent.ignore.add(f"{ROOT}.11.0")
    error = await failed(bent, key="third key")
    assert "third" not in str(error) + str(error.problems) + str(error.before)
    assert "new key" not in str(error) + str(error.problems) + str(error.before)


async def test_large_sets_go_in_pdus_the_device_takes(bent: Device, agent: Agent) -> None:
    await bent.set({"level": -5.0, "key": "x", "service[1].rate": 1050, "service[2].rate": 1950})
    assert [len(pdu) for pdu in agent.sets] == [3, 1]


async def test_a_device_that_is_not_there_is_told_before_anything_is_written(bent: Device, agent: Agent) -> None:
    agent.silent = True
    with pytest.raises(UnavailableError, match="nothing was written"):
        await bent.set({"level": -5.0})


async def test_a_lost_answer_is_no_failure(bent: Device, agent: Agent) -> None:
    agent.lose_answer = True
    outcome = await bent.set({"level": -5.0})
    assert outcome.changed["level"].after == -5.0


async def test_an_agent_that_dies_mid_set(bent: Device, agent: Agent) -> None:
    agent.dies_after = 1
    error = await failed(bent, level=-5.0)
    assert error.aftermath is Aftermath.UNKNOWN
    alarm = error.alarm("dev1", 5.0)
    assert alarm.severity is Severity.CRITICAL
    assert error.before == {"level": -10.0}


async def test_a_row_that_the_device_does_not_have(bent: Device, agent: Agent) -> None:
    error = await failed(bent, **{"service[9].rate": 500})
    assert error.aftermath is Aftermath.UNCHANGED
    assert "has no service[9].rate" in str(error)
    assert agent.sets == []


async def test_a_device_that_does_not_take_its_old_value(bent: Device, agent: Agent) -> None:
    def stuck(world: Agent) -> None:
        world.refuse[LEVEL] = "genErr"

    agent.on_set = stuck
    agent.ignore.add(TRANSMIT)
    error = await failed(bent, level=-5.0, transmit="on")
    assert error.aftermath is Aftermath.CHANGED
    assert "taking it back failed" in str(error)


async def test_a_value_that_could_not_be_read_before_cannot_be_taken_back(bent: Device, agent: Agent) -> None:
    agent.garbled.add(LEVEL)
    agent.ignore.add(TRANSMIT)
    error = await failed(bent, level=-5.0, transmit="on")
    assert error.aftermath is Aftermath.CHANGED
    assert "level cannot be taken back" in str(error)
    assert all(varbind.value is not None for pdu in agent.sets for varbind in pdu)


def test_an_error_can_be_copied_as_the_engine_does() -> None:
    error = DeviceError("no", where="mod1", aftermath=Aftermath.CHANGED, before={"tx_level": -10.0}, remedy="look")
    again = copy.copy(error)
    assert (str(again), again.aftermath, again.before) == (str(error), Aftermath.CHANGED, {"tx_level": -10.0})
