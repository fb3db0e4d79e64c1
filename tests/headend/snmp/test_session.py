"""Readings from agents: sound ones, quirky ones, ones that answer nonsense, and real devices' walks."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from headend.snmp.ber import NULL, OCTETS, SEQUENCE, Reader, element, integer
from headend.snmp.errors import AgentSilentError, SnmpSecurityError
from headend.snmp.session import CHUNK, Session
from headend.snmp.target import Community, Target
from headend.snmp.values import Quality, Reading, Syntax, Varbind
from nf.clock import RealClock
from nf.errors import InputError
from tests.support.ports import free_port
from tests.support.snmp import CAPTURED, Simulator, Snmpd, rogue, usm

ARC = "1.3.6.1.4.1.8072.9999.9999"
SYS_DESCR, SYS_UP_TIME = "1.3.6.1.2.1.1.1.0", "1.3.6.1.2.1.1.3.0"


async def read(target: Target, *oids: str) -> dict[str, Reading]:
    session = Session(target, RealClock())
    try:
        return await session.get(oids)
    finally:
        await session.close()


def values(readings: dict[str, Reading]) -> list[object]:
    assert all(reading.good for reading in readings.values()), readings
    return [reading.value for reading in readings.values()]


@pytest.mark.parametrize("version", ["v1", "v2c", "v3"])
async def test_every_wire_type(sim: Simulator, version: str) -> None:
    oids = [f"{ARC}.1.{number}.0" for number in (1, 2, 3, 5, 6)]
    expected: list[object] = [-42, 4294967295, 12, "10.1.1.32", b"\x00\xff\x10"]
    if version != "v1":  # which has no Counter64
        oids.append(f"{ARC}.1.4.0")
        expected.append(18446744073709551615)
    assert values(await read(sim.target("plain", version=version), *oids)) == expected


async def test_quirks_arrive_as_they_are(sim: Simulator) -> None:
    text = await read(sim.target("numbers-as-text"), *(f"{ARC}.2.{number}.0" for number in range(1, 6)))
    assert values(text) == [b"10.0", b"-40", b"65.32624", -1, b"<1.0E-9"]
    wrapped = await read(sim.target("wrapped-gauge"), f"{ARC}.3.1.0", f"{ARC}.3.3.0", f"{ARC}.3.3.0.0")
    assert values(wrapped) == [4294965151, 7, 8]
    assert values(await read(sim.target("text-lock"), f"{ARC}.4.1.2")) == [b"Unlocked"]
    assert values(await read(sim.target("octets"), f"{ARC}.5.1.0")) == [bytes.fromhex("04f08000")]
    lying = await read(sim.target("wrong-sysobjectid"), "1.3.6.1.2.1.1.2.0", f"{ARC}.7.1.0")
    assert values(lying) == ["1.3.6.1.4.1.8072.3.2.10", b"Satellite modulator"]


@pytest.mark.parametrize("version", ["v1", "v2c", "v3"])
async def test_what_is_missing_hides_nothing_else(sim: Simulator, version: str) -> None:
    oids = [f".{ARC}.1.1.0", f"{ARC}.99.1.0", SYS_DESCR, f"{ARC}.99.2.0"]
    readings = await read(sim.target("plain", version=version), *oids)
    assert list(readings) == oids
    qualities = [reading.quality for reading in readings.values()]
    assert qualities == [Quality.GOOD, Quality.MISSING, Quality.GOOD, Quality.MISSING]


async def test_more_than_one_pdu_and_nothing_there_at_all(sim: Simulator) -> None:
    oids = [f"{ARC}.99.{number}.0" for number in range(CHUNK + 3)]
    readings = await read(sim.target("plain"), *oids, SYS_DESCR)
    assert [reading.quality for reading in readings.values()] == [Quality.MISSING] * len(oids) + [Quality.GOOD]


async def test_null_is_no_value(sim: Simulator) -> None:
    assert (await read(sim.target("plain"), f"{ARC}.1.7.0"))[f"{ARC}.1.7.0"].quality is Quality.UNREADABLE


async def test_wrong_community_and_no_agent_are_unreachable(sim: Simulator) -> None:
    for target in (
        sim.target("not-a-walk", timeout_s=0.2, retries=0),
        Target("127.0.0.1", free_port(), Community("public"), 0.2, 0),
        Target("127.0.0.1", free_port(), usm(), 0.2, 0),
    ):
        session = Session(target, RealClock())
        readings = await session.get([SYS_DESCR])
        assert readings[SYS_DESCR].quality is Quality.UNREACHABLE
        assert readings[SYS_DESCR].value is None
        assert isinstance(session.error, AgentSilentError)
        with pytest.raises(AgentSilentError):
            await session.walk("1.3.6.1")
        await session.close()


async def test_what_is_no_oid_or_address_is_the_callers_mistake(sim: Simulator) -> None:
    with pytest.raises(InputError):
        await read(sim.target("plain"), "sysDescr")
    with pytest.raises(InputError):
        await read(Target("modem", 161, Community("public")), SYS_DESCR)
    session = Session(sim.target("plain"), RealClock())
    with pytest.raises(InputError):
        await session.walk("enterprises")
    await session.close()


@pytest.mark.daemon
@pytest.mark.parametrize(
    ("credentials", "told"),
    [
        (usm(auth_key="another-key"), "digest"),
        (usm("nobody"), "user"),
        (usm(privacy_key="another-key"), ""),
    ],
)
async def test_why_v3_does_not_accept_us_is_told(agent: Snmpd, credentials: object, told: str) -> None:
    session = Session(agent.target(credentials, timeout_s=0.5, retries=0), RealClock())  # type: ignore[arg-type]
    assert (await session.get([SYS_DESCR]))[SYS_DESCR].quality is Quality.UNREACHABLE
    assert isinstance(session.error, SnmpSecurityError | AgentSilentError)
    assert told in str(session.error).casefold()
    assert "another-key" not in str(session.error)
    await session.close()


# --- answers that no agent should give -------------------------------------------------------------------------------


def asked(request: bytes) -> tuple[int, list[str], bytes]:
    """Request id, OIDs, and everything before the PDU, of a v2c GET."""
    message = Reader.of(request).enter()
    message.integer()
    message.octets()
    start = message.at
    pdu = message.enter(0xA0)
    request_id = pdu.integer()
    pdu.integer()
    pdu.integer()
    oids = []
    pairs = pdu.enter()
    while pairs.at < pairs.end:
        pair = pairs.enter()
        oids.append(_oid(pair.data[pair.at + 2 : pair.end - 2]))
    return request_id, oids, request[2:start] if request[1] < 0x80 else request[2 + (request[1] & 0x7F) : start]


def _oid(octets: bytes) -> str:
    numbers, number = [octets[0] // 40, octets[0] % 40], 0
    for octet in octets[1:]:
        number = number << 7 | octet & 0x7F
        if not octet & 0x80:
            numbers.append(number)
            number = 0
    return ".".join(map(str, numbers))


def _encoded(oid: str) -> bytes:
    first, second, *rest = map(int, oid.split("."))
    octets = bytearray([first * 40 + second])
    for number in rest:
        septets = [number & 0x7F]
        while number := number >> 7:
            septets.append(number & 0x7F | 0x80)
        octets += bytes(reversed(septets))
    return element(0x06, bytes(octets))


def response(request: bytes, pairs: Sequence[tuple[str, bytes]], *, status: int = 0, index: int = 0) -> bytes:
    request_id, _, head = asked(request)
    bindings = b"".join(element(SEQUENCE, _encoded(oid), value) for oid, value in pairs)
    pdu = element(0xA2, integer(request_id), integer(status), integer(index), element(SEQUENCE, bindings))
    return element(SEQUENCE, head, pdu)


VALUES = {f"{ARC}.1.{number}.0": element(OCTETS, b"v%d" % number) for number in range(1, 9)}


async def test_too_big_is_asked_in_parts() -> None:
    def small(request: bytes) -> list[bytes]:
        _, oids, _ = asked(request)
        if len(oids) > 3:
            return [response(request, [(oid, element(NULL)) for oid in oids], status=1)]
        return [response(request, [(oid, VALUES[oid]) for oid in oids if oid in VALUES])]

    async with rogue(small) as target:
        assert values(await read(target, *VALUES)) == [f"v{number}".encode() for number in range(1, 9)]


async def test_one_bad_object_does_not_take_the_others_with_it() -> None:
    bad = f"{ARC}.1.5.0"

    def failing(request: bytes) -> list[bytes]:
        _, oids, _ = asked(request)
        if bad in oids:
            return [response(request, [(oid, element(NULL)) for oid in oids], status=5, index=oids.index(bad) + 1)]
        return [response(request, [(oid, VALUES[oid]) for oid in oids if oid in VALUES])]

    def odd(request: bytes) -> list[bytes]:
        _, oids, _ = asked(request)
        pairs = [(oid, element(0x7E, b"?") if oid == bad else VALUES[oid]) for oid in oids if oid in VALUES]
        return [response(request, pairs)]

    for answer in (failing, odd):
        async with rogue(answer) as target:
            readings = await read(target, *VALUES)
        assert readings.pop(bad).quality is Quality.UNREADABLE
        assert len(values(readings)) == len(VALUES) - 1


async def test_junk_and_answers_to_other_questions_are_no_answers() -> None:
    def confused(request: bytes) -> list[bytes]:
        _, oids, _ = asked(request)
        right = response(request, [(oid, VALUES[oid]) for oid in oids])
        at = right.index(b"\xa2") + 4
        other = right[:at] + bytes([right[at] ^ 0x11]) + right[at + 1 :]
        return [other, right]

    async with rogue(confused) as target:
        assert len(values(await read(target, *VALUES))) == len(VALUES)
    async with rogue(lambda _: [b"junk", b""]) as target:
        readings = await read(target, *list(VALUES)[:2])
        assert {reading.quality for reading in readings.values()} == {Quality.UNREADABLE}


async def test_an_answer_about_other_objects_is_missing() -> None:
    async with rogue(lambda request: [response(request, [(f"{ARC}.5.0", element(OCTETS, b"x"))])]) as target:
        assert (await read(target, SYS_DESCR))[SYS_DESCR].quality is not Quality.GOOD


async def test_one_session_serves_many_tasks_one_after_the_other(sim: Simulator) -> None:
    session = Session(sim.target("plain"), RealClock())
    reads = await asyncio.gather(*(session.get([f"{ARC}.1.{1 + number % 3}.0"]) for number in range(30)))
    assert [next(iter(read.values())).value for read in reads] == [-42, 4294967295, 12] * 10
    await session.close()


@pytest.mark.daemon
async def test_an_agent_that_stops_and_goes_on(agent: Snmpd) -> None:
    session = Session(agent.target(timeout_s=0.2, retries=0), RealClock())
    assert (await session.get([SYS_UP_TIME]))[SYS_UP_TIME].good
    agent.pause()
    assert (await session.get([SYS_UP_TIME]))[SYS_UP_TIME].quality is Quality.UNREACHABLE
    agent.resume()
    assert (await session.get([SYS_UP_TIME]))[SYS_UP_TIME].good
    assert session.error is None
    await session.close()


# --- walks of real devices -------------------------------------------------------------------------------------------


def rows(name: str) -> dict[str, str]:
    """OID to tag, the first of each, as the file has them."""
    found: dict[str, str] = {}
    for line in (CAPTURED / f"{name}.snmprec").read_text(errors="replace").splitlines():
        oid, tag, _ = line.split("|", 2)
        found.setdefault(oid, tag)
    return found


@pytest.mark.parametrize("name", ["arris-dsr4410md", "ciscosat", "ird", "terra-receivers_sdi480", "uhp"])
async def test_captured_walks_are_walked_and_read(captured: Simulator, name: str) -> None:
    expected = {oid: tag for oid, tag in rows(name).items() if oid.startswith("1.3.6.1.")}
    session = Session(captured.target(name), RealClock())
    walked = {varbind.oid: varbind for varbind in await session.walk("1.3.6.1")}
    assert set(walked) == set(expected)
    types = {"2": Syntax.INTEGER, "4": Syntax.OCTETS, "66": Syntax.GAUGE32, "64": Syntax.IPADDRESS, "6": Syntax.OID}
    assert all(
        walked[oid].syntax is types[tag.rstrip("x")] for oid, tag in expected.items() if tag.rstrip("x") in types
    )
    readings = await session.get(list(expected))
    assert all(reading.good for reading in readings.values())
    assert all(readings[oid].value == walked[oid].value for oid in expected)
    await session.close()


async def test_the_longest_captured_walk(captured: Simulator) -> None:
    session = Session(captured.target("luminato_4x4"), RealClock())
    walked = await session.walk("1.3.6.1.4.1.5591")
    assert [varbind.oid for varbind in walked] == [
        oid for oid in rows("luminato_4x4") if oid.startswith("1.3.6.1.4.1.5591.")
    ]
    assert all(isinstance(varbind, Varbind) for varbind in walked)
    await session.close()
