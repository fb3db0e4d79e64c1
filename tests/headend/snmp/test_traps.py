"""The notification receiver: what it takes, what it counts, storms, and a lost trap that the next poll heals."""

from __future__ import annotations

import asyncio
import socket
import subprocess
from collections.abc import AsyncIterator, Callable

import pytest
from pydantic import SecretStr

from headend.snmp.engine import EngineTime
from headend.snmp.notification import Drop, Notification, Reason
from headend.snmp.poller import Poller, PollGroup
from headend.snmp.target import Community, Usm
from headend.snmp.traps import OwnEngine, TrapReceiver
from headend.snmp.values import Reading, Syntax, Varbind
from nf.clock import RealClock, VirtualClock
from nf.errors import UnavailableError
from tests.headend.snmp.messages import TRAP_OID, trap_v1, trap_v2c, trap_v3
from tests.support.snmp import AUTH_KEY, PRIVACY_KEY, Simulator, usm

OWN = OwnEngine(bytes.fromhex("80000000aa01"), 3)
SENDER = bytes.fromhex("80000000bb02")
NAME, NUMBER = "1.3.6.1.2.1.31.1.1.1.18.2", "1.3.6.1.2.1.2.2.1.1.2"


class Sender:
    """A socket that sends to the receiver."""

    def __init__(self, receiver: TrapReceiver) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.connect(("127.0.0.1", receiver.port))

    def send(self, *datagrams: bytes) -> None:
        for datagram in datagrams:
            self._socket.send(datagram)

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def drops() -> asyncio.Queue[Drop]:
    return asyncio.Queue()


@pytest.fixture
async def receiver(drops: asyncio.Queue[Drop]) -> AsyncIterator[TrapReceiver]:
    communities = [Community("alarms")]
    async with TrapReceiver(
        "127.0.0.1", 0, RealClock(), own=OWN, communities=communities, on_drop=drops.put_nowait
    ) as running:
        running.enrol(SENDER, usm())
        yield running


@pytest.fixture
def sender(receiver: TrapReceiver) -> AsyncIterator[Sender]:  # type: ignore[misc]
    made = Sender(receiver)
    yield made
    made.close()


async def take(receiver: TrapReceiver, count: int = 1) -> list[Notification]:
    async with asyncio.timeout(90):
        return [await anext(receiver) for _ in range(count)]


async def dropped(receiver: TrapReceiver, drops: asyncio.Queue[Drop]) -> Drop:
    """The one that is dropped, and nothing else; whoever waits for a notification does the work."""
    waiting = asyncio.ensure_future(anext(receiver))
    async with asyncio.timeout(90):
        drop = await drops.get()
    assert not waiting.done()
    waiting.cancel()
    assert receiver.dropped == {drop.reason: 1}
    return drop


async def test_v2c_v1_and_v3(receiver: TrapReceiver, sender: Sender) -> None:
    sender.send(
        trap_v2c("alarms", TRAP_OID, number=7), trap_v1("alarms"), trap_v3(SENDER, usm(), boots=5, time_s=90, number=8)
    )
    second, first, third = await take(receiver, 3)
    assert (second.source, second.oid, second.confirmed, second.engine_id) == ("127.0.0.1", TRAP_OID, False, b"")
    assert Varbind(NUMBER, 7, Syntax.INTEGER) in second.varbinds
    assert Varbind(NAME, b"eth2", Syntax.OCTETS) in second.varbinds
    assert first.oid == TRAP_OID  # RFC 3584 clause 3.1: generic trap 2 is linkDown
    assert (third.oid, third.engine_id, third.user) == (TRAP_OID, SENDER, "nf")
    assert Varbind(NUMBER, 8, Syntax.INTEGER) in third.varbinds
    assert receiver.dropped.total() == 0


FORGED = [
    (Reason.MALFORMED, b"junk"),
    (Reason.MALFORMED, trap_v2c("alarms", TRAP_OID)[:-1]),
    (Reason.UNSUPPORTED_VERSION, bytes.fromhex("3003020102")),
    (Reason.BAD_COMMUNITY, trap_v2c("public", TRAP_OID)),
    (Reason.NOT_A_NOTIFICATION, trap_v2c("alarms", TRAP_OID).replace(b"\xa7", b"\xa0", 1)),
    (Reason.UNKNOWN_ENGINE, trap_v3(b"\x80\0\0\0\xcc\x03", usm(), boots=1, time_s=1)),
    (Reason.UNKNOWN_USER, trap_v3(SENDER, usm("other"), boots=1, time_s=1)),
    (Reason.WRONG_DIGEST, trap_v3(SENDER, usm(auth_key="guessed-key"), boots=1, time_s=1)),
    (Reason.CANNOT_DECRYPT, trap_v3(SENDER, usm(privacy_key="guessed-key"), boots=1, time_s=1)),
    (Reason.LOW_SECURITY_LEVEL, trap_v3(SENDER, usm(), boots=1, time_s=1, authenticate=False)),
    (Reason.LOW_SECURITY_LEVEL, trap_v3(SENDER, usm(), boots=1, time_s=1, encrypt=False)),
]


@pytest.mark.parametrize(("reason", "datagram"), FORGED, ids=lambda value: getattr(value, "value", ""))
async def test_every_refusal_has_its_reason(
    receiver: TrapReceiver, drops: asyncio.Queue[Drop], sender: Sender, reason: Reason, datagram: bytes
) -> None:
    sender.send(datagram)
    drop = await dropped(receiver, drops)
    assert (drop.reason, drop.source) == (reason, "127.0.0.1")
    assert list(receiver.drops) == [drop]


async def test_users_of_each_level(receiver: TrapReceiver, sender: Sender) -> None:
    half = Usm("half", usm().auth_protocol, SecretStr(AUTH_KEY))
    none = Usm("none")
    for user in (half, none):
        receiver.enrol(SENDER, user)
    sender.send(trap_v3(SENDER, half, boots=1, time_s=1, encrypt=False))
    sender.send(trap_v3(SENDER, none, boots=1, time_s=1, authenticate=False))
    assert [notification.user for notification in await take(receiver, 2)] == ["half", "none"]


async def test_a_flag_that_lies_about_the_digest_gains_nothing(receiver: TrapReceiver, sender: Sender) -> None:
    sender.send(trap_v3(SENDER, usm(), boots=1, time_s=1, authenticate=False, flags=1))
    sender.send(trap_v3(SENDER, usm(), boots=1, time_s=1, authenticate=False, flags=3))
    sender.send(trap_v3(SENDER, usm(), boots=1, time_s=2, number=2))
    (sound,) = await take(receiver)
    assert Varbind(NUMBER, 2, Syntax.INTEGER) in sound.varbinds
    assert receiver.dropped.total() == 2


async def test_an_old_message_sent_again_is_outside_the_window() -> None:
    """RFC 3414 clause 3.2 (7b), on a clock of the test's own."""
    clock = VirtualClock()
    receiver = TrapReceiver("127.0.0.1", 0, clock, own=OWN)
    receiver.enrol(SENDER, usm(), EngineTime(SENDER, 4, 1000))

    async def delivered(boots: int, time_s: int) -> bool:
        receiver._arrive(trap_v3(SENDER, usm(), boots=boots, time_s=time_s), ("127.0.0.1", 1))
        return bool([notification async for notification in receiver])

    assert not await delivered(3, 5000)  # older than what enrolment knew
    assert await delivered(4, 1100)
    assert await delivered(4, 1000)  # late, and within 150 s
    assert not await delivered(4, 949)
    await clock.advance(200)
    assert not await delivered(4, 1100)  # what was fresh then is a replay now
    assert await delivered(5, 1)  # a reboot
    assert not await delivered(4, 1300)
    assert not await delivered(2**31 - 1, 1)
    assert receiver.dropped == {Reason.NOT_IN_TIME_WINDOW: 5}


async def test_withdrawn_engines_are_unknown(
    receiver: TrapReceiver, drops: asyncio.Queue[Drop], sender: Sender
) -> None:
    receiver.withdraw(SENDER, "nf")
    receiver.withdraw(SENDER, "nf")
    sender.send(trap_v3(SENDER, usm(), boots=1, time_s=1))
    assert (await dropped(receiver, drops)).reason is Reason.UNKNOWN_ENGINE
    receiver.enrol(SENDER, usm())
    receiver.enrol(SENDER, usm(auth_key="a-newer-key"))
    sender.send(trap_v3(SENDER, usm(auth_key="a-newer-key"), boots=1, time_s=1))
    assert len(await take(receiver)) == 1


async def test_the_queue_is_bounded_and_close_hands_out_the_rest() -> None:
    drops = asyncio.Queue[Drop]()
    communities = [Community("alarms")]
    receiver = TrapReceiver(
        "127.0.0.1", 0, RealClock(), own=OWN, communities=communities, queue=5, on_drop=drops.put_nowait
    )
    receiver.open()
    receiver.open()
    with pytest.raises(UnavailableError):
        TrapReceiver("127.0.0.1", receiver.port, RealClock(), own=OWN).open()
    pushing = Sender(receiver)
    pushing.send(*(trap_v2c("alarms", TRAP_OID, number=number) for number in range(8)))
    pushing.close()
    async with asyncio.timeout(90):
        assert {(await drops.get()).reason for _ in range(3)} == {Reason.QUEUE_FULL}
    receiver.close()
    assert len([notification async for notification in receiver]) == 5


async def test_a_storm_of_3000_loses_nothing(receiver: TrapReceiver, sender: Sender) -> None:
    """Sent without pacing, before the receiver gets to read the first."""
    storm = [trap_v2c("alarms", TRAP_OID, number=number) for number in range(3000)]
    sender.send(*storm)
    taken = await take(receiver, 3000)
    numbers = [binding.value for notification in taken for binding in notification.varbinds if binding.oid == NUMBER]
    assert numbers == list(range(3000))
    assert receiver.dropped.total() == 0


async def test_what_the_kernel_loses_is_counted_too() -> None:
    small = TrapReceiver("127.0.0.1", 0, RealClock(), own=OWN, communities=[Community("alarms")], socket_buffer=4096)
    async with small:
        pushing = Sender(small)
        pushing.send(*(trap_v2c("alarms", TRAP_OID, text=bytes(1000)) for _ in range(100)))
        first = len(await take(small, 1))
        pushing.send(trap_v2c("alarms", TRAP_OID))  # the kernel tells its count with the next one that it lets in
        pushing.close()
        async with asyncio.timeout(90):
            while not small.dropped[Reason.SOCKET_FULL]:
                first += len(await take(small, 1))
        small.close()
        rest = len([notification async for notification in small])
    assert first + rest + small.dropped[Reason.SOCKET_FULL] == 101


async def test_a_lost_trap_heals_by_the_next_poll(sim: Simulator, receiver: TrapReceiver, sender: Sender) -> None:
    """The state is the poll's. A trap makes it known sooner; without one it is known all the same."""
    polled = {"rx1": asyncio.Queue[Reading](), "rx2": asyncio.Queue[Reading]()}
    poller = Poller(RealClock(), jitter=lambda _: 0.0)
    lock = "1.3.6.1.4.1.8072.9999.9999.4.1.2"
    for name, every_s in (("rx1", 600.0), ("rx2", 0.2)):
        poller.add(
            name,
            sim.target("text-lock"),
            [PollGroup((lock,), every_s)],
            lambda name, seen: polled[name].put_nowait(seen[lock]),
        )
    running = asyncio.create_task(poller.run())
    async with asyncio.timeout(90):
        first = await polled["rx1"].get()
        sender.send(trap_v2c("alarms", TRAP_OID))
        (hint,) = await take(receiver)
        assert poller.poll_address(hint.source) == ("rx1", "rx2")
        assert (await polled["rx1"].get()).at > first.at
        without_any_trap = [await polled["rx2"].get() for _ in range(5)]
        assert all(reading.value == b"Unlocked" for reading in without_any_trap)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


# --- net-snmp as the sender ------------------------------------------------------------------------------------------


@pytest.mark.daemon
@pytest.mark.parametrize("confirmed", [False, True], ids=["trap", "inform"])
@pytest.mark.parametrize("version", ["v2c", "v3"])
async def test_net_snmp_sends(
    receiver: TrapReceiver, require_programs: Callable[..., None], version: str, confirmed: bool
) -> None:
    """An INFORM is acknowledged: snmpinform ends well only then; in v3 it discovers our engine and its time first."""
    require_programs("snmptrap")
    v3 = ["-v3", "-u", "nf", "-l", "authPriv", "-a", "SHA-256", "-A", AUTH_KEY, "-x", "AES", "-X", PRIVACY_KEY]
    engine = [] if confirmed else ["-e", SENDER.hex()]
    who = [*v3, *engine] if version == "v3" else ["-v2c", "-c", "alarms"]
    program = ["snmptrap", *(["-Ci"] if confirmed else []), *who, "-t", "5", "-r", "0"]
    argv = [*program, f"127.0.0.1:{receiver.port}", "", TRAP_OID, NAME, "s", "eth2"]
    process = await asyncio.create_subprocess_exec(*argv, stderr=subprocess.PIPE)
    (notification,) = await take(receiver)
    _, told = await process.communicate()
    assert process.returncode == 0, told
    assert notification.oid == TRAP_OID
    assert notification.confirmed is confirmed
    assert Varbind(NAME, b"eth2", Syntax.OCTETS) in notification.varbinds
    assert set(receiver.dropped) <= {Reason.DISCOVERY}
    assert notification.engine_id == ((OWN.engine_id if confirmed else SENDER) if version == "v3" else b"")


def test_the_socket_is_large_enough_for_a_storm() -> None:
    async def size() -> int:
        async with TrapReceiver("127.0.0.1", 0, RealClock(), own=OWN) as running:
            return running.socket_buffer

    assert asyncio.run(size()) >= 2**18
