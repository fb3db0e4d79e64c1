"""SET: what is set, what is refused, and what only looks like success."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from headend.snmp.ber import element
from headend.snmp.errors import AgentSilentError, SnmpError, SnmpSecurityError
from headend.snmp.session import Session
from headend.snmp.setter import Setter
from headend.snmp.target import Community, Target
from headend.snmp.values import Syntax, Varbind
from nf.clock import RealClock
from nf.errors import InputError
from tests.support.snmp import AUTH_KEY, PRIVACY_KEY, Simulator, Snmpd, rogue, snmpd, usm

ARC = "1.3.6.1.4.1.8072.9999.9999.8"
FIRST, RANGED, READ_ONLY, TEXT = (f"{ARC}.{number}.0" for number in (1, 2, 3, 4))
SYS_CONTACT = "1.3.6.1.2.1.1.4.0"


@pytest.fixture
async def setter() -> Iterator[Setter]:  # type: ignore[misc]  # pytest-asyncio's way
    made = Setter()
    yield made
    made.close()


def whole(oid: str, value: int) -> Varbind:
    return Varbind(oid, value, Syntax.INTEGER)


async def value(target: Target, oid: str) -> object:
    session = Session(target, RealClock())
    reading = (await session.get([oid]))[oid]
    await session.close()
    return reading.value


@pytest.mark.parametrize("version", ["v2c", "v3"])
async def test_several_in_one_pdu(sim: Simulator, setter: Setter, version: str) -> None:
    target = sim.target("settable", version=version)
    number = 11_000 + len(version)
    await setter.set(target, [whole(f".{FIRST}", number), whole(RANGED, 5_000_000), Varbind(TEXT, b"x", Syntax.OCTETS)])
    assert await value(target, FIRST) == number
    assert await value(target, RANGED) == 5_000_000
    assert await value(target, TEXT) == b"x"
    await setter.set(target, [])


async def test_out_of_range_is_told_with_its_place(sim: Simulator, setter: Setter) -> None:
    target = sim.target("settable")
    before = await value(target, RANGED)
    with pytest.raises(SnmpError) as refused:
        await setter.set(target, [whole(RANGED, 70_000_001)])
    assert (refused.value.error_status, refused.value.index, refused.value.oid) == ("wrongValue", 1, RANGED)
    assert await value(target, RANGED) == before


@pytest.mark.parametrize(
    "varbind", [whole(READ_ONLY, 6), whole(f"{ARC}.9.0", 1), Varbind(FIRST, b"many", Syntax.OCTETS)]
)
async def test_no_error_with_nothing_done_is_an_error(sim: Simulator, setter: Setter, varbind: Varbind) -> None:
    """This agent answers such a SET with error-status 0 and an exception for a value."""
    with pytest.raises(SnmpError) as refused:
        await setter.set(sim.target("settable"), [varbind])
    assert refused.value.error_status.startswith("noSuch") or refused.value.error_status in ("genErr", "wrongType")


async def test_a_value_that_does_not_fit_its_type_is_not_sent(sim: Simulator, setter: Setter) -> None:
    for varbind in (whole(FIRST, 2**31), Varbind(FIRST, "text", Syntax.INTEGER), whole("nowhere", 1)):
        with pytest.raises(InputError):
            await setter.set(sim.target("settable"), [varbind])


async def test_an_answer_about_other_objects_is_no_success(setter: Setter) -> None:
    """As if the agent had set something else: the last digit of the OID differs."""

    def other(request: bytes) -> list[bytes]:
        at = request.index(b"\xa3")
        return [request[:at] + b"\xa2" + request[at + 1 :].replace(b"\x08\x01\x00\x02", b"\x08\x02\x00\x02")]

    async with rogue(other) as target:
        with pytest.raises(SnmpError, match="malformed"):
            await setter.set(target, [whole(FIRST, 1)])


async def test_a_set_is_sent_once(setter: Setter) -> None:
    heard = []
    async with rogue(lambda request: heard.append(request) or []) as target:  # type: ignore[func-returns-value]
        with pytest.raises(AgentSilentError):
            await setter.set(target, [whole(FIRST, 1)], timeout_s=0.3)
    assert len(heard) == 1


async def test_an_answer_that_cannot_be_read_is_no_success(setter: Setter) -> None:
    async with rogue(lambda request: [element(0x30, b"\x02\x01\x01nonsense")]) as target:
        with pytest.raises((SnmpError, AgentSilentError)):
            await setter.set(target, [whole(FIRST, 1)], timeout_s=0.2)


@pytest.mark.daemon
async def test_an_agent_dies_in_the_middle_of_a_set(agent: Snmpd, setter: Setter) -> None:
    """Nothing is known after it; the next SET finds the agent again, v3's time and all."""
    target = agent.target(usm(), timeout_s=0.5)
    await setter.set(target, [Varbind(SYS_CONTACT, b"before", Syntax.OCTETS)])
    agent.pause()
    setting = asyncio.create_task(setter.set(target, [Varbind(SYS_CONTACT, b"during", Syntax.OCTETS)]))
    await asyncio.sleep(0)
    agent.kill()
    with pytest.raises(AgentSilentError):
        await setting
    agent.start()
    await setter.set(target, [Varbind(SYS_CONTACT, b"after", Syntax.OCTETS)])
    assert await value(target, SYS_CONTACT) == b"after"


@pytest.mark.daemon
async def test_one_device_that_refuses_disturbs_no_other_of_the_same_user(
    sim: Simulator, require_programs: Callable[..., None], setter: Setter
) -> None:
    require_programs("snmpd")
    user = f"createUser second SHA-256 {AUTH_KEY} AES {PRIVACY_KEY}\nrwuser second priv"
    with snmpd(extra=user) as slow:
        target = slow.target(usm("second"), timeout_s=10.0)
        await setter.set(target, [Varbind(SYS_CONTACT, b"before", Syntax.OCTETS)])
        slow.pause()
        setting = asyncio.create_task(setter.set(target, [Varbind(SYS_CONTACT, b"during", Syntax.OCTETS)]))
        await asyncio.sleep(0)
        with pytest.raises(SnmpSecurityError):  # it does not know this user
            await setter.set(replace(sim.target("settable"), credentials=usm("second")), [whole(FIRST, 1)])
        slow.resume()
        await setting
        assert await value(target, SYS_CONTACT) == b"during"


@pytest.mark.daemon
async def test_v2c_to_net_snmp_and_its_refusals(agent: Snmpd, setter: Setter) -> None:
    target = agent.target(Community("private"))
    await setter.set(target, [Varbind(SYS_CONTACT, b"noc@example.org", Syntax.OCTETS)])
    assert await value(target, SYS_CONTACT) == b"noc@example.org"
    with pytest.raises(SnmpError, match=r"notWritable|noAccess"):
        await setter.set(target, [Varbind("1.3.6.1.2.1.1.3.0", 1, Syntax.TIMETICKS)])
    with pytest.raises((SnmpError, AgentSilentError)):
        await setter.set(agent.target(Community("public")), [Varbind(SYS_CONTACT, b"x", Syntax.OCTETS)])
