"""What a process finds in a proxy that an earlier one has told whom to look for."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from nf.clock import VirtualClock
from nf.contracts.interception import Event, EventKind, Identity, IdentityKind, Loss, Order
from nf.errors import DeadlineError
from sip.interception.board import Addressed, Board
from sip.interception.link import CALLS, COUNTS, QUEUE, SOUGHT, WORDS, Link
from sip.kamailio.jsonrpc import RpcRefused

ALICE = Identity(IdentityKind.SIP_URI, "sip:alice@a.example")
KEY = "alice@a.example"
MARK = ("ctl", "observed")


class Proxy:
    """Its tables and its queue, by the RPC that the link calls."""

    def __init__(self) -> None:
        names = (SOUGHT, CALLS, COUNTS, WORDS, "ctl", "num", "own")
        self.tables: dict[str, dict[str, Any]] = {name: {} for name in names}
        self.queue: list[tuple[str, str]] = []
        self.dialogs: list[dict[str, Any]] = []
        self.silent: set[str] = set()

    async def call(self, method: str, *given: Any) -> Any:  # noqa: C901 - a method each
        await asyncio.sleep(0)
        if method in self.silent or "" in self.silent:
            raise DeadlineError("no answer")
        match method, given:
            case "htable.get", (table, key):
                if key not in self.tables.get(table, {}):
                    raise RpcRefused(method, 500, "no")
                return {"item": {"name": key, "value": self.tables[table][key]}}
            case "htable.sets", (table, key, value):
                self.tables[table][key] = value
            case "htable.delete", (table, key):
                self.tables[table].pop(key, None)
            case "htable.flush", (table,):
                self.tables[table].clear()
            case "htable.dump", (table,):
                return [{"slot": [{"name": key, "value": one} for key, one in self.tables[table].items()]}]
            case "mqueue.fetch", (name,):
                assert name == QUEUE
                if not self.queue:
                    raise RpcRefused(method, 404, "empty")
                key, value = self.queue.pop(0)
                return {"key": key, "val": value}
            case "dlg.stats_active", ():
                return {"all": len(self.dialogs)}
            case "dlg.list", ():
                return self.dialogs
            case _:
                raise RpcRefused(method, 404, "no")
        return None

    def close(self) -> None:
        pass

    def says(self, number: int, count: int) -> None:
        """A re-INVITE of a call that is up."""
        head = f"INVITE sip:bob@a.example SIP/2.0\r\nCSeq: {count} INVITE\r\n\r\n".encode()
        coded = [base64.b64encode(one).decode() for one in (b"c1", b"tag", head)]
        text = f"c{number}:{count}|;100.0;1000|r1;udp:192.0.2.1:5060;0;{coded[0]};{coded[1]};{len(head)};{coded[2]}"
        self.queue.append(("request", text))


class World:
    def __init__(self, folder: Path, proxy: Proxy) -> None:
        self.proxy, self.board, self.clock = proxy, Board(), VirtualClock()
        self.told: list[Any] = []
        self.news = asyncio.Event()
        self.link = Link(self.board, folder, 1, self._take, self.clock)
        self.link._rpc = self.link._uncounted = proxy  # type: ignore[assignment]

    def _take(self, found: list[Addressed]) -> None:
        self.told += [one.told for one in found]
        self.news.set()

    async def until(self, count: int) -> None:
        """So many messages were told."""
        while len(self.messages()) < count:
            self.news.clear()
            await self.news.wait()

    async def order(self, *, settled: bool = True) -> None:
        await self.link.seen()
        self.board.activate((1, "x1"), Order("x1", ALICE), await self.link.keys(ALICE))
        await self.link.sync()
        await self.link.standing((1, "x1"))
        if settled:
            await self.link.settle()

    def messages(self) -> list[int]:
        found = [one for one in self.told if isinstance(one, Event) and one.kind is EventKind.MESSAGE]
        return [int(one.octets.partition(b"CSeq: ")[2].partition(b" ")[0]) for one in found]


@asynccontextmanager
async def life(folder: Path, proxy: Proxy) -> AsyncIterator[World]:
    made = World(folder, proxy)
    running = asyncio.create_task(made.link.run())
    try:
        async with asyncio.timeout(60):
            yield made
    finally:
        running.cancel()  # as when it is killed: nothing is taken back
        await asyncio.gather(running, return_exceptions=True)


async def test_what_was_told_while_nobody_observed_is_told_when_the_order_is_back(tmp_path: Path) -> None:
    proxy = Proxy()
    async with life(tmp_path, proxy) as first:
        await first.order()
        number = int(proxy.tables[SOUGHT][KEY])
        for count in range(1, 11):
            proxy.says(number, count)
        await first.until(10)
    proxy.tables[COUNTS][str(number)] = 30
    for count in range(11, 31):
        proxy.says(number, count)
    async with life(tmp_path, proxy) as second:
        await second.link.seen()
        assert KEY in proxy.tables[SOUGHT], "the proxy goes on"
        assert len(proxy.queue) == 20, "nothing is taken before the orders are here"
        await second.order()
        assert second.messages() == [*range(11, 31)]
        assert [one.events for one in second.told if isinstance(one, Loss)] == [None]
        proxy.says(number, 31)
        await second.until(21)
        assert second.board.overdue(1000.0) == []


async def test_what_nobody_orders_again_goes(tmp_path: Path) -> None:
    proxy = Proxy()
    async with life(tmp_path, proxy) as first:
        await first.order()
    proxy.says(1, 1)
    async with life(tmp_path, proxy) as second:
        await second.link.seen()
        await second.link.settle()
        assert proxy.queue == []
        assert proxy.tables[SOUGHT] == {}
        assert second.told == []


async def test_a_proxy_that_has_started_again_is_told_anew(tmp_path: Path) -> None:
    proxy = Proxy()
    async with life(tmp_path, proxy) as first:
        await first.order()
    proxy.tables["ctl"].clear()
    proxy.says(1, 1)
    async with life(tmp_path, proxy) as second:
        await second.order()
        assert second.messages() == []
        assert proxy.tables[SOUGHT] == {"on": "1", KEY: "1"}
        assert proxy.tables["ctl"]["observed"] == second.link._mark


@pytest.mark.parametrize("silent", ["", "dlg.list", "ul.lookup", "htable.sets"])
async def test_a_proxy_that_did_not_answer_is_told_and_asked_when_it_does(tmp_path: Path, silent: str) -> None:
    proxy = Proxy()
    caller = {"tag": "tag", "contact": ""}
    proxy.dialogs = [
        {"call-id": "c1", "state": 4, "from_uri": ALICE.value, "to_uri": "sip:bob@a.example", "caller": caller}
    ]
    async with life(tmp_path, proxy) as one:
        await one.link.seen()
        proxy.silent.add(silent)
        await one.order()
        assert one.told == []
        proxy.silent.clear()
        while not one.told:
            await one.clock.advance(0.1)
            one.link._awake.set()
        assert [event.kind for event in one.told] == [EventKind.SESSION_STANDING]
        assert proxy.tables[SOUGHT] == {"on": "1", KEY: "1"}
        assert [*proxy.tables[CALLS]] == ["c1|tag"]


async def test_an_order_that_is_given_again_goes_on_with_its_call(tmp_path: Path) -> None:
    proxy = Proxy()
    caller = {"tag": "tag", "contact": ""}
    proxy.dialogs = [
        {"call-id": "c1", "state": 4, "from_uri": ALICE.value, "to_uri": "sip:bob@a.example", "caller": caller}
    ]
    async with life(tmp_path, proxy) as one:
        await one.order()
        one.board.deactivate((1, "x1"))
        await one.order()
        assert [*proxy.tables[CALLS]] == ["c1|tag"]
        assert proxy.tables[CALLS]["c1|tag"] == f"c{proxy.tables[SOUGHT][KEY]}|"
