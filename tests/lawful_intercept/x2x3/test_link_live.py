"""A point and an MDF over TLS on loopback: whatever ends, stalls or speaks nonsense, nothing is lost."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lawful_intercept.spool import Spool, SpoolFullError
from lawful_intercept.x2x3.client import LinkState
from lawful_intercept.x2x3.codec import (
    NIL_XID,
    Decoder,
    PayloadDirection,
    PayloadFormat,
    Pdu,
    PduType,
    encode,
    keepalive,
)
from lawful_intercept.x2x3.delivery import Timing
from lawful_intercept.x2x3.server import Limits
from nf.errors import StorageError
from tests.lawful_intercept.x2x3.world import World, numbered
from tests.support.ports import free_port

X2, X3 = PduType.X2, PduType.X3
LONG_S = 60


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def soon(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(LONG_S):
        while not condition():  # noqa: ASYNC110 - counters have no events
            await asyncio.sleep(0.005)


async def test_in_order_and_confirmed(world: World) -> None:
    async with world.mdf() as server, world.point() as client:
        for number in range(500):
            await client.put(X3, numbered(X3, number))
            if number % 10 == 0:
                await client.put(X2, numbered(X2, number // 10))
        client.put_many(X3, [numbered(X3, number) for number in range(500, 3000)])
        async with asyncio.timeout(LONG_S):
            await client.drained()
        assert client.state is LinkState.UP
        assert world.mediation.came == {X2: list(range(50)), X3: list(range(3000))}
        assert world.mediation.peers == {"poi1"}
        assert server.counts.pdus == 3050
        idle = server.counts.keepalives
        await soon(lambda: server.counts.keepalives > idle)
        assert (server.counts.connections, server.counts.wrong, server.counts.failed) == (1, 0, 0)
    assert world.states == [LinkState.UP]


async def test_what_waited_for_the_mdf_comes_signalling_first(world: World) -> None:
    world.port = free_port()
    async with world.point() as client:
        client.put_many(X3, [numbered(X3, number, 1000) for number in range(200)])
        client.put_many(X2, [numbered(X2, number) for number in range(20)])
        assert client.waiting == 220
        assert client.state is LinkState.AWAY
        async with world.mdf(), asyncio.timeout(LONG_S):
            await client.drained()
        assert world.mediation.order == [X2] * 20 + [X3] * 200


async def test_the_mdf_ends_and_comes_again_again_and_again(world: World) -> None:
    total = 20_000
    world.port = free_port()
    async with world.point() as client:

        async def put() -> None:
            for number in range(0, total, 50):
                client.put_many(X3, [numbered(X3, number + one, 200) for one in range(50)])
                await asyncio.sleep(0.0005)

        putting = asyncio.ensure_future(put())
        for end in range(1, 5):
            async with world.mdf(), asyncio.timeout(LONG_S):
                await world.mediation.until(X3, total * end // 6)
        async with world.mdf(), asyncio.timeout(LONG_S):
            await putting
            await client.drained()
    assert world.mediation.fresh[X3] == list(range(total))
    assert world.mediation.gaps(X3) == []
    assert LinkState.AWAY in world.states


async def test_what_a_handler_could_not_keep_comes_again(world: World) -> None:
    async with world.mdf() as server, world.point() as client:
        world.mediation.fails = [StorageError("full"), RuntimeError("wrong")]
        for number in range(300):
            await client.put(X3, numbered(X3, number))
            await asyncio.sleep(0)
        async with asyncio.timeout(LONG_S):
            await client.drained()
        assert server.counts.failed == 2
        assert [type(error) for error in world.failed] == [RuntimeError, StorageError]
    assert world.mediation.fresh[X3] == list(range(300))


async def test_a_keepalive_is_answered_when_all_before_it_is_durable(world: World) -> None:
    async with world.mdf():
        world.mediation.gate.clear()
        reader, writer = await asyncio.open_connection("127.0.0.1", world.port, ssl=world.client_tls())
        writer.write(numbered(X3, 0) + keepalive(7) + numbered(X3, 1) + keepalive(8))
        reading = asyncio.ensure_future(reader.readexactly(96))
        done, _ = await asyncio.wait([reading], timeout=0.1)
        assert not done
        world.mediation.gate.set()
        async with asyncio.timeout(LONG_S):
            answers = Decoder().feed(await reading)
        assert [(answer.kind, answer.sequence) for answer in answers] == [
            (PduType.KEEPALIVE_ACK, 7),
            (PduType.KEEPALIVE_ACK, 8),
        ]
        assert world.mediation.came[X3] == [0, 1]
        writer.transport.abort()


async def test_a_stalled_mdf_is_given_up_and_nobody_waits_for_it(world: World) -> None:
    impatient = Timing(keepalive=0.2, answer=0.3, again=0.05, sync=0.02)
    async with world.mdf() as server, world.point(timing=impatient) as client:
        await soon(lambda: client.state is LinkState.UP)
        world.mediation.gate.clear()
        for number in range(0, 20_000, 100):
            client.put_many(X3, [numbered(X3, number + one, 300) for one in range(100)])
            await asyncio.sleep(0)
        assert client.waiting == 20_000
        await soon(lambda: server.counts.connections >= 3)
        assert client.state is LinkState.AWAY
        world.mediation.gate.set()
        async with asyncio.timeout(LONG_S):
            await client.drained()
    assert world.mediation.fresh[X3] == list(range(20_000))


async def test_a_full_spool_refuses_and_loses_nothing_that_it_took(world: World) -> None:
    world.port = free_port()
    async with world.point(limit=20_000) as client:
        taken = 0
        with contextlib.suppress(SpoolFullError):
            for number in range(1000):
                await client.put(X3, numbered(X3, number))
                taken += 1
        assert 0 < taken < 1000
        await client.put(X2, numbered(X2, 0))
        async with world.mdf(), asyncio.timeout(LONG_S):
            await client.drained()
        assert world.mediation.came == {X2: [0], X3: list(range(taken))}
        client.put_many(X3, [numbered(X3, 999)])


async def test_the_point_ends_and_a_new_one_goes_on(world: World) -> None:
    world.port = free_port()
    async with world.point() as client:
        client.put_many(X3, [numbered(X3, number) for number in range(1000)])
    async with world.mdf(), world.point() as client:
        client.put_many(X3, [numbered(X3, number) for number in range(1000, 1100)])
        async with asyncio.timeout(LONG_S):
            await client.drained()
    assert world.mediation.came[X3] == list(range(1100))


POINT = """
import asyncio, sys
from pathlib import Path
from tests.lawful_intercept.x2x3.world import World, numbered
from lawful_intercept.x2x3.codec import PduType

async def main():
    world = World(Path(sys.argv[1]))
    world.port = int(sys.argv[2])
    async with world.point() as client:
        number = sum(spool.next for kind, spool in client._spools.items() if kind is PduType.X3)
        while True:
            client.put_many(PduType.X3, [numbered(PduType.X3, number + one, 100) for one in range(20)])
            number += 20
            print(number, flush=True)
            await asyncio.sleep(0.001)

asyncio.run(main())
"""


async def test_a_killed_point_loses_nothing_that_it_took(world: World) -> None:
    async with world.mdf():
        world.client_tls()
        taken = 0
        for _ in range(2):
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", POINT, str(world.folder), str(world.port), stdout=asyncio.subprocess.PIPE
            )
            assert process.stdout is not None
            async with asyncio.timeout(LONG_S):
                await world.mediation.until(X3, taken + 300)
            process.send_signal(signal.SIGKILL)
            taken = max(taken, *map(int, (await process.stdout.read()).split()))
            await process.wait()
        async with world.point() as client, asyncio.timeout(LONG_S):
            await client.drained()
        assert world.mediation.fresh[X3][-1] >= taken - 1
        assert world.mediation.gaps(X3) == []


MDF = """
import asyncio, sys
from pathlib import Path
from lawful_intercept.spool import Spool
from lawful_intercept.x2x3.codec import encode
from tests.lawful_intercept.x2x3.world import World

async def main():
    world = World(Path(sys.argv[1]))
    world.port = int(sys.argv[2])
    spool = Spool(world.folder / "mdf", bytes(32), b"mdf", segment_octets=1 << 16)

    async def keep(peer, pdus):
        spool.append_many([encode(pdu) for pdu in pdus])
        await spool.sync()
        print(spool.next, flush=True)

    world.mediation.take = keep
    async with world.mdf():
        await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_a_killed_mdf_has_what_it_confirmed(world: World) -> None:
    """Of what it had not confirmed some comes twice: the numbers tell."""
    total = 6000
    world.port = free_port()
    world.server_tls()
    async with world.point() as client:
        for start in range(0, total, 100):
            client.put_many(X3, [numbered(X3, number, 300) for number in range(start, start + 100)])
        for kept in (500, 2500, total):
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", MDF, str(world.folder), str(world.port), stdout=asyncio.subprocess.PIPE
            )
            assert process.stdout is not None
            async with asyncio.timeout(LONG_S):
                while int(await process.stdout.readline()) < kept:
                    pass
                if kept == total:
                    await client.drained()
            process.send_signal(signal.SIGKILL)
            await process.stdout.read()
            await process.wait()
    spool = Spool(world.folder / "mdf", bytes(32), b"mdf")
    assert spool.recovery.damaged == ()
    reader, fresh = spool.reader(), -1
    while (batch := reader.take()) is not None:
        for pdu in Decoder().feed(b"".join(batch.records)):
            assert pdu.sequence is not None
            assert pdu.sequence <= fresh + 1
            fresh = max(fresh, pdu.sequence)
    assert fresh == total - 1
    reader.close()
    spool.close()


@pytest.mark.parametrize(
    "garbage",
    [
        pytest.param(os.urandom(64), id="noise"),
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", id="HTTP"),
        pytest.param(keepalive(1, PduType.KEEPALIVE_ACK), id="an answer without a question"),
        pytest.param(b"\0\5\0\2" + b"\xff" * 40, id="a length without end"),
    ],
)
async def test_nonsense_from_a_point(world: World, garbage: bytes) -> None:
    async with world.mdf() as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", world.port, ssl=world.client_tls())
        writer.write(numbered(X3, 0) + garbage)
        async with asyncio.timeout(LONG_S):
            while await reader.read(1000):
                pass
        writer.transport.abort()
        assert server.counts.wrong == 1
        assert world.mediation.came[X3] == [0]


async def test_a_keepalive_without_a_number_is_not_answered_and_hurts_nobody(world: World) -> None:
    async with world.mdf() as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", world.port, ssl=world.client_tls())
        plain = Pdu(PduType.KEEPALIVE, NIL_XID, 0, PayloadFormat.NONE, PayloadDirection.KEEPALIVE, (), b"")
        writer.write(encode(plain) + keepalive(2))
        async with asyncio.timeout(LONG_S):
            (answer,) = Decoder().feed(await reader.readexactly(48))
        assert answer.sequence == 2
        assert server.counts.wrong == 0
        writer.transport.abort()


@pytest.mark.parametrize("nonsense", [os.urandom(64), numbered(X3, 1), b""], ids=["noise", "content", "nothing"])
async def test_nonsense_from_an_mdf(world: World, nonsense: bytes) -> None:
    """The point leaves, comes again, and what it has stays."""
    connections = 0

    async def strange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.read(100)
        writer.write(nonsense)
        if not nonsense:
            writer.close()
        while await reader.read(1000):
            pass
        writer.transport.abort()

    server = await asyncio.start_server(strange, "127.0.0.1", 0, ssl=world.server_tls())
    world.port = server.sockets[0].getsockname()[1]
    async with server, world.point() as client:
        await client.put(X3, numbered(X3, 0))
        await soon(lambda: connections >= 3)
        assert client.waiting == 1
        assert client.state is LinkState.AWAY


async def test_an_mdf_that_asks_is_answered_and_strange_answers_confirm_nothing(world: World) -> None:
    answers: asyncio.Queue[tuple[PduType, int | None]] = asyncio.Queue()

    async def asking(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(keepalive(0xFFFF) + keepalive(12345, PduType.KEEPALIVE_ACK))
        decoder = Decoder()
        while octets := await reader.read(1000):
            for pdu in decoder.feed(octets):
                answers.put_nowait((pdu.kind, pdu.sequence))
        writer.transport.abort()

    server = await asyncio.start_server(asking, "127.0.0.1", 0, ssl=world.server_tls())
    world.port = server.sockets[0].getsockname()[1]
    async with server, world.point() as client:
        await client.put(X3, numbered(X3, 0))
        async with asyncio.timeout(LONG_S):
            while await answers.get() != (PduType.KEEPALIVE_ACK, 0xFFFF):
                pass
        assert client.waiting == 1


async def test_an_mdf_that_answers_nothing(world: World) -> None:
    received = bytearray()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while octets := await reader.read(1000):
            received.extend(octets)
        writer.transport.abort()

    server = await asyncio.start_server(silent, "127.0.0.1", 0, ssl=world.server_tls())
    world.port = server.sockets[0].getsockname()[1]
    async with server, world.point(answers=False) as client:
        for number in range(10):
            await client.put(X3, numbered(X3, number))
        async with asyncio.timeout(LONG_S):
            await client.drained()
        await soon(lambda: len(Decoder().feed(bytes(received))) >= 10)
        assert client.state is LinkState.UP
        product = [pdu for pdu in Decoder().feed(bytes(received)) if pdu.kind is X3]
        assert [pdu.sequence for pdu in product] == list(range(10))


@pytest.mark.parametrize("who", ["another authority", "another name", "another point"])
async def test_the_wrong_certificate(world: World, who: str) -> None:
    point = world.client_tls(domain="other.example") if who == "another point" else world.client_tls()
    mdf = world.server_tls(domain="other.example") if who == "another authority" else world.server_tls()
    async with world.mdf(mdf) as server:
        async with world.point(point, mdf="mdf2" if who == "another name" else "mdf1") as client:
            await client.put(X2, numbered(X2, 0))
            await soon(lambda: client.state is LinkState.REFUSED)
            assert client.waiting == 1
        assert world.mediation.came[X2] == []
        assert server.counts.pdus == 0


async def test_who_is_no_element_here_is_refused(world: World) -> None:
    world.allowed = "poi2"
    async with world.mdf() as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", world.port, ssl=world.client_tls())
        writer.write(numbered(X3, 0))
        assert await reader.read(100) == b""
        writer.transport.abort()
        assert (server.counts.refused, server.counts.pdus) == (1, 0)


async def test_too_many_and_too_idle(world: World) -> None:
    async with world.mdf(limits=Limits(connections=1, idle_s=0.2)) as server:
        first = await asyncio.open_connection("127.0.0.1", world.port, ssl=world.client_tls())
        first[1].write(keepalive(1))
        assert len(await first[0].readexactly(48)) == 48
        second = await asyncio.open_connection("127.0.0.1", world.port, ssl=world.client_tls())
        async with asyncio.timeout(LONG_S):
            assert await second[0].read(100) == b""
            assert server.counts.refused == 1
            assert await first[0].read(100) == b""
        for _, writer in (first, second):
            writer.transport.abort()


async def test_a_damaged_spool_is_told_and_the_rest_is_delivered(world: World) -> None:
    world.port = free_port()
    async with world.point() as client:
        for number in range(10):
            await client.put(X3, numbered(X3, number))

    def damage(spools: dict[PduType, Spool]) -> None:
        (path,) = (world.folder / "X3").glob("*.segment")
        octets = bytearray(path.read_bytes())
        octets[len(octets) // 2] ^= 1
        path.write_bytes(octets)
        assert spools[X3].waiting == 10

    async with world.mdf(), world.point(before=damage) as client, asyncio.timeout(LONG_S):
        await client.drained()
    assert world.lost == [(X3, 1)]
    assert len(world.mediation.came[X3]) == 9
    assert len(world.mediation.gaps(X3)) == 1


async def test_a_disk_that_fails_is_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.port = free_port()
    spools = world.spools()

    def failing(_: int) -> None:
        raise OSError(5, "bad")

    client = world.client(spools)
    await client.put(X3, numbered(X3, 0))
    monkeypatch.setattr(os, "fdatasync", failing)
    async with asyncio.timeout(LONG_S):
        with pytest.raises(StorageError):
            await client.run()
        with pytest.raises(StorageError):
            await client.put(X3, numbered(X3, 1))
    for spool in spools.values():
        spool.close()
