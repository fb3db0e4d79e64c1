"""What is told when proxy, process, caller or network fail in the middle of it."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from nf.contracts.interception import Content, Event, EventKind, Loss, LossPlace
from tests.sip.interception.world import Point, asking, core, order, phones, talk, until
from tests.sip.kamailio.daemon import Proxy, Relay

pytestmark = [pytest.mark.root, pytest.mark.daemon]

MANY = 60


@pytest.fixture(scope="module")
def machine(
    require_root: Callable[[], None],
    require_programs: Callable[..., None],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Proxy, Relay, Point]]:
    require_root()
    require_programs("kamailio", "rtpengine", "nft")
    with core(tmp_path_factory.mktemp("s")) as made:
        yield made


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGKILL])
def test_a_proxy_that_starts_again_is_told_before_it_opens_and_the_end_still_comes(
    machine: tuple[Proxy, Relay, Point], sign: signal.Signals
) -> None:
    proxy, _, point = machine

    async def run() -> None:
        async with phones("alice", "bob") as (alice, bob), asking(point) as taker:
            await taker.point.activate(order(content="media"))
            call, _ = await talk(alice, "bob", bob)
            await until(lambda: len(taker.of(Content)) >= 20)
            await asyncio.to_thread(proxy.stop, sign)
            await asyncio.to_thread(proxy.start, opened=False)
            await until(point.marked)
            assert "alice" in str(proxy.rpc("htable.dump", "obt"))
            assert call.call_id in str(proxy.rpc("htable.dump", "obc"))
            await asyncio.to_thread(proxy.push)
            await asyncio.to_thread(proxy.rpc, "htable.seti", "ctl", "drain", 0)
            lost = [one for one in taker.of(Loss) if one.place is LossPlace.POINT]
            # Beside what was said before media were subscribed to, which can be counted.
            assert [one.events for one in lost if one.events is None] == [None]
            count = len(taker.of(Content))
            await until(lambda: len(taker.of(Content)) >= count + 20)
            await call.hangup()
            end = await taker.event(EventKind.SESSION_END)
            assert "seconds" in end.details
            assert [one.sequence for one in taker.of(Event)] == [*range(len(taker.of(Event)))]

    asyncio.run(run())


def test_a_call_that_ended_while_the_proxy_was_away_is_told_as_ended(machine: tuple[Proxy, Relay, Point]) -> None:
    proxy, _, point = machine

    async def run() -> None:
        async with phones("alice", "bob") as (alice, bob), asking(point) as taker:
            await taker.point.activate(order())
            await talk(alice, "bob", bob)
            await taker.event(EventKind.SESSION_BEGIN)
            await asyncio.sleep(1.2)
            await asyncio.to_thread(proxy.stop)
            with closing(sqlite3.connect(proxy.folder / "calls.db")) as database, database:
                database.execute("DELETE FROM dialog")
            await asyncio.to_thread(proxy.start)
            end = await taker.event(EventKind.SESSION_END)
            assert end.details["reason"] == "it was not there any more"

    asyncio.run(run())


def test_a_collector_that_hangs_for_ten_seconds_loses_nothing(machine: tuple[Proxy, Relay, Point]) -> None:
    point = machine[2]

    async def run() -> None:
        assert point.process is not None
        async with phones("alice", "bob") as (alice, bob), asking(point) as taker:
            await taker.point.activate(order())
            os.kill(point.process.pid, signal.SIGSTOP)
            try:
                for _ in range(MANY):
                    call, _ = await talk(alice, "bob", bob)
                    await call.hangup()
                await asyncio.sleep(10)
            finally:
                os.kill(point.process.pid, signal.SIGCONT)
            await taker.event(EventKind.SESSION_END, MANY)
            await asyncio.sleep(1.5)
            assert taker.of(Loss) == []
            assert len(taker.events(EventKind.SESSION_BEGIN)) == MANY
            lines = [one.octets.partition(b" ")[0] for one in taker.events(EventKind.MESSAGE)]
            assert lines.count(b"INVITE") == lines.count(b"BYE") == lines.count(b"ACK") == MANY

    asyncio.run(run())


def test_copies_that_do_not_arrive_are_told_and_tried_again(machine: tuple[Proxy, Relay, Point]) -> None:
    point = machine[2]
    chain = "chain in {\n type filter hook input priority 0;\n udp dport 26000-29999 drop\n }"

    def nft(text: str) -> None:
        subprocess.run(["nft", "-f", "-"], input=text.encode(), check=True)

    async def run() -> None:
        async with phones("alice", "bob") as (alice, bob), asking(point) as taker:
            await taker.point.activate(order(content="media"))
            nft(f"table ip pointtest {{\n {chain}\n}}\n")
            try:
                call, _ = await talk(alice, "bob", bob)
                await until(lambda: any(one.place is LossPlace.POINT and one.copies for one in taker.of(Loss)))
                assert taker.of(Content) == []
            finally:
                nft("delete table ip pointtest\n")
            await until(lambda: len(taker.of(Content)) >= 20)
            await call.hangup()
            await taker.event(EventKind.SESSION_END)

    asyncio.run(run())


def test_what_an_earlier_process_was_ordered_ends_where_the_caller_orders_it_no_more(
    machine: tuple[Proxy, Relay, Point],
) -> None:
    proxy, _, point = machine

    async def run() -> None:
        assert point.process is not None
        async with phones("alice", "bob") as (alice, bob):
            async with asking(point) as taker:
                await taker.point.activate(order())
                await taker.point.activate(order("tel:+493055501", "x2"))
                point.process.kill()
                await asyncio.to_thread(point.process.wait)
            call, _ = await talk(alice, "bob", bob)
            await asyncio.to_thread(point.start)
            async with asking(point) as taker:
                assert (await taker.point.status()).orders == 0
                await taker.point.activate(order())
                await taker.point.settle()
                await taker.event(EventKind.SESSION_BEGIN)
                await call.hangup()
                await taker.event(EventKind.SESSION_END)
                assert not taker.events(EventKind.SESSION_STANDING)
                lines = [one.octets.partition(b" ")[0] for one in taker.events(EventKind.MESSAGE)]
                assert lines.count(b"INVITE") == lines.count(b"BYE") == 1
                assert [one.events for one in taker.of(Loss)] == [None]
            async with asking(point) as taker:
                await until(lambda: "alice" not in str(proxy.rpc("htable.dump", "obt")))

    asyncio.run(run())


def test_who_comes_back_has_what_happened_meanwhile(machine: tuple[Proxy, Relay, Point]) -> None:
    proxy, _, point = machine

    async def run() -> None:
        async with phones("alice", "bob") as (alice, bob):
            async with asking(point, back=True) as taker:
                assert await taker.point.resume("word") == ()
                await taker.point.activate(order(content="media"))
                before = (await taker.event(EventKind.REGISTRATION_STANDING)).sequence + 1
            call, _ = await talk(alice, "bob", bob)
            await call.hangup()
            async with asking(point) as other:
                assert (await other.point.status()).orders == 0
                assert other.taken == []
            async with asking(point) as taker:
                assert await taker.point.resume("word") == (order(content="media"),)
                await taker.event(EventKind.SESSION_END)
                assert len(taker.events(EventKind.SESSION_BEGIN)) == 1
                told = taker.of(Event)
                assert [one.sequence for one in told] == [*range(before, before + len(told))]
                assert (await taker.point.status()).orders == 1
            await until(lambda: "alice" not in str(proxy.rpc("htable.dump", "obt")))

    asyncio.run(run())


def test_orders_end_with_the_process_where_the_proxy_starts_too(machine: tuple[Proxy, Relay, Point]) -> None:
    proxy, _, point = machine

    async def run() -> None:
        assert point.process is not None
        async with asking(point) as taker:
            await taker.point.activate(order())
            assert "alice" in str(proxy.rpc("htable.dump", "obt"))
            point.process.kill()
            await asyncio.to_thread(point.process.wait)
        proxy.rpc("htable.delete", "ctl", "observed")
        await asyncio.to_thread(point.start)
        await until(lambda: "alice" not in str(proxy.rpc("htable.dump", "obt")))
        async with asking(point) as taker:
            assert (await taker.point.status()).orders == 0

    asyncio.run(run())
