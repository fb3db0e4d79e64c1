"""The proxy as its unit, over UDP in a namespace of its own, between fakes of an SMF and UPFs on loopback addresses."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from core5g.pfcp.ies import FSeid
from core5g.pfcp.proxy.driver import ProxyDriver, create
from core5g.pfcp.proxy.units import UNIT, ask, events_socket, gate_socket, status_socket, store_file
from core5g.pfcp.wire import IeType, MessageType, decode, need
from nf.contracts.driver import Checkpoint
from nf.contracts.json import JsonObject
from nf.errors import InputError, RefusedError
from nf.telemetry.alarms import AlarmEvent, Severity
from tests.core5g.pfcp.proxy.peers import EDGE, PROXY, SMF, UE, UPF, Smf, Upf, section
from tests.headend.multicast.tree.network import Node, commit, context, ip, nodes, take_back, until

pytestmark = [pytest.mark.root]

OURS = {0x7001, 0x7002}


class FakeSocket(asyncio.DatagramProtocol):
    """A fake UPF on a socket."""

    def __init__(self, upf: Upf) -> None:
        self.upf = upf
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        if (answer := self.upf.receive(data)) is not None:
            self.transport.sendto(answer, addr)


class Asking(asyncio.DatagramProtocol):
    """The SMF's socket: asks again every half second until it is answered."""

    def __init__(self) -> None:
        self.transport: Any = None
        self.answers: asyncio.Queue[bytes] = asyncio.Queue()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.answers.put_nowait(data)

    async def ask(self, data: bytes) -> Any:
        async with asyncio.timeout(90):
            while True:
                self.transport.sendto(data, tuple(PROXY))
                try:
                    async with asyncio.timeout(0.5):
                        while True:
                            answer = decode(await self.answers.get())
                            if (answer.seq, answer.type) == (decode(data).seq, decode(data).type + 1):
                                return answer
                except TimeoutError:
                    continue


class World:
    def __init__(self, node: Node, smf: Asking, upf: Upf, edge: Upf) -> None:
        self.node, self.asking, self.upf, self.edge = node, smf, upf, edge
        self.smf = Smf(SMF)

    async def status(self) -> JsonObject:
        return await ask(status_socket(self.node.run_dir)) or {}

    async def session(self) -> int:
        await self.asking.ask(self.smf.associate())
        answer = await self.asking.ask(self.smf.establish())
        seid = FSeid.decode(need(answer.ies, IeType.F_SEID)).seid
        await self.asking.ask(self.smf.connect(seid))
        return seid

    async def steered(self, count: int) -> None:
        await holds(self.status, lambda told: told.get("steered") == count)


async def holds(get: Callable[[], Awaitable[Any]], judge: Callable[[Any], bool]) -> None:
    async def held() -> bool:
        return judge(await get())

    await until(held)


@asynccontextmanager
async def world(node: Node) -> AsyncIterator[World]:
    loop = asyncio.get_running_loop()
    made = []
    upf, edge, smf = Upf(UPF), Upf(EDGE, stamp=4_000_000_200), Asking()
    for protocol, peer in ((FakeSocket(upf), UPF), (FakeSocket(edge), EDGE), (smf, SMF)):
        transport, _ = await loop.create_datagram_endpoint(lambda p=protocol: p, local_addr=tuple(peer))
        made.append(transport)
    try:
        yield World(node, smf, upf, edge)
    finally:
        for transport in made:
            transport.close()
        await asyncio.sleep(0)


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    with nodes("pfcp") as made:
        ip("-n", made["pfcp"].namespace, "link", "set", "lo", "up")
        made["pfcp"].supervise()
        yield made["pfcp"]


@pytest.fixture
def driver(node: Node) -> Iterator[ProxyDriver]:
    made = create(node.context())
    yield made
    node.call(commit, made, None)
    store_file(node.state_dir).unlink(missing_ok=True)


def test_committed_steering_undone(node: Node, driver: ProxyDriver) -> None:
    async def scenario() -> None:
        async with world(node) as net:
            undos = await commit(driver, section(provides=("pfcp.pop1",)))
            assert (await driver.observe()).facts == {"pfcp.pop1"}
            await net.session()
            await net.steered(1)
            assert net.upf.ids()[0] > OURS
            listed = await _run(driver, "steer-list", {})
            assert (listed["mechanism"], listed["upf"], listed["open"], listed["prefixes"]) == (
                "classifier",
                "upf1",
                True,
                1,
            )
            told = await _run(driver, "steer-explain", {"ue": UE, "destination": "203.0.113.10"})
            assert told["exit"] == "cache"
            added = {"id": "game", "action": "add", "prefixes": ["198.51.100.0/24"], "ues": [UE], "ports": [443]}
            assert await _run(driver, "influence", added) == {"state": "active"}
            told = await _run(driver, "steer-explain", {"ue": UE, "destination": "198.51.100.7"})
            assert told["rule"] == "game"
            assert await _run(driver, "influence", {"id": "game", "action": "remove"}) == {"state": "active"}
            with pytest.raises(InputError):
                await _run(driver, "influence", {"id": "x", "action": "add", "prefixes": ["hello"]})
            await take_back(driver, undos)
            assert (await driver.observe()).value is None

    node.call(scenario)


async def _run(driver: ProxyDriver, name: str, arguments: JsonObject) -> JsonObject:
    return await driver.operations[name].run(arguments, Checkpoint({}, lambda _: None), context())


def test_killed_it_comes_back_with_every_session(node: Node, driver: ProxyDriver) -> None:
    async def scenario() -> None:
        async with world(node) as net:
            await commit(driver, section())
            seid = await net.session()
            await net.steered(1)
            beat = await net.asking.ask(net.smf.heartbeat())
            status = await node.context().units.status(UNIT)
            assert status is not None
            assert status.pid is not None
            before = len(net.upf.seen)
            os.kill(status.pid, signal.SIGKILL)
            again = await net.asking.ask(net.smf.heartbeat())
            assert need(again.ies, IeType.RECOVERY_TIME_STAMP) == need(beat.ies, IeType.RECOVERY_TIME_STAMP)
            await net.steered(1)
            ours = [one for one in net.upf.seen[before:] if one.type == MessageType.SESSION_MODIFICATION_REQUEST]
            assert not ours, "nothing is to be made good"
            await net.asking.ask(net.smf.connect(seid, (0x55, "10.50.0.3")))
            await net.asking.ask(net.smf.release(seid))
            await holds(net.status, lambda told: told.get("sessions") == 0)
            assert not net.upf.rules
            await holds(_now(lambda: net.edge.rules), lambda rules: not rules)

    node.call(scenario)


def test_without_a_disk_it_steers_all_the_same(node: Node, driver: ProxyDriver) -> None:
    async def scenario() -> None:
        async with world(node) as net:
            await commit(driver, section())
            await net.session()
            await net.steered(1)
            assert (await net.status())["counters"]["store-errors"] == 1
            events = driver.events()
            async for event in events:
                if isinstance(event, AlarmEvent) and event.cause == "pfcp-proxy-store":
                    assert str(file) in event.text
                    break
            await events.aclose()

    file = store_file(node.state_dir)
    file.mkdir(parents=True)
    try:
        node.call(scenario)
    finally:
        file.rmdir()


def _now(get: Callable[[], Any]) -> Callable[[], Awaitable[Any]]:
    async def found() -> Any:
        return get()

    return found


def test_observers_are_told_what_stands_and_what_changes(node: Node, driver: ProxyDriver) -> None:
    async def scenario() -> None:
        async with world(node) as net:
            await commit(driver, section())
            seid = await net.session()
            path = events_socket(node.run_dir)
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            reader, writer = await asyncio.open_unix_connection(str(path))
            first = json.loads(await reader.readline())
            assert (first["event"], first["standing"], first["ue_ip"]) == ("session-begin", True, UE)
            await net.asking.ask(net.smf.release(seid))
            assert json.loads(await reader.readline())["event"] == "session-end"
            writer.close()

    node.call(scenario)


def test_while_the_gate_is_closed_nothing_is_steered(node: Node, driver: ProxyDriver) -> None:
    told = {"open": True, "why": ""}

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(json.dumps(told).encode() + b"\n")
        writer.close()

    async def scenario() -> None:
        server = await asyncio.start_unix_server(answer, str(path))
        async with world(node) as net:
            edge = {"id": "edge1", "n4": EDGE.address, "n3": EDGE.address, "gate": True}
            await commit(driver, section(edge=edge))
            await net.session()
            await net.steered(1)
            told.update(open=False, why="the cache does not answer")
            await net.steered(0)
            assert net.upf.ids() == [{1, 2, 3, 4}]
            events = driver.events()
            async for event in events:
                if isinstance(event, AlarmEvent) and event.cause == "classifier-closed":
                    assert event.severity is Severity.MAJOR
                    assert "the cache does not answer" in event.text
                    break
            await events.aclose()
        server.close()

    path: Path = gate_socket(node.run_dir)
    path.parent.mkdir(parents=True, exist_ok=True)
    node.call(scenario)
    path.unlink(missing_ok=True)


def test_an_address_of_elsewhere_is_refused(node: Node, driver: ProxyDriver) -> None:
    with pytest.raises(RefusedError):
        node.call(commit, driver, section(listen="192.0.2.77"))
