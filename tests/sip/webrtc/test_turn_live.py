"""coturn under a real supervisor: to whom it relays, for whose credentials, and what a drain leaves alone."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address
from typing import Any

import pytest
from aioice.turn import create_turn_endpoint
from typer.testing import CliRunner

from nf.contracts.driver import Checkpoint
from nf.contracts.json import Json, JsonObject
from nf.contracts.noc_client import CLIENT, NodeOutcome, OperationOutcome
from nf.errors import CancelledError, DeadlineError, RefusedError
from nf.telemetry.alarms import AlarmEvent, Severity
from nf.telemetry.samples import Sample
from sip.commands import app
from sip.webrtc.coturn.asking import TurnAsker, ask
from sip.webrtc.coturn.server import TurnServer
from sip.webrtc.credentials import TurnCredentials, turn_credentials
from sip.webrtc.documents import TurnSection
from sip.webrtc.driver import create_turn
from tests.headend.multicast.tree.network import Node
from tests.sip.webrtc.bench import ADDRESS, ELSEWHERE, OTHER, RELAY, SECRET, Bench, bench, turn

pytestmark = [pytest.mark.root, pytest.mark.daemon]
SERVER = (ADDRESS, 3478)
ECHO = 30001


@pytest.fixture(scope="module")
def running(
    machine: Node, tmp_path_factory: pytest.TempPathFactory, require_programs: Callable[..., None]
) -> Iterator[Bench[TurnSection]]:
    require_programs("turnserver")
    with bench(machine, tmp_path_factory.mktemp("turn"), TurnServer) as made:
        yield made


@pytest.fixture
def server(running: Bench[TurnSection]) -> Iterator[Bench[TurnSection]]:
    running.commit(turn())
    yield running
    running.keep("turn", SECRET)
    with contextlib.suppress(RefusedError):
        running.drain({"end": True})


def credentials(secret: str = SECRET, good_s: float = 600.0) -> TurnCredentials:
    return turn_credentials(secret, "alice", time.time() + good_s)


def asked(server: Bench[TurnSection], known: TurnCredentials | None, *peers: str) -> Any:
    return server.node.call(ask, SERVER, known, [IPv4Address(one) for one in peers])


def test_it_comes_up_and_relays_to_relays_alone(server: Bench[TurnSection]) -> None:
    state = server.node.call(server.driver.observe)
    assert state.facts == {"w.voice.turn"}
    assert state.value == turn().to_json() | {"load": 0}
    found = asked(server, credentials(), RELAY, ELSEWHERE, ADDRESS, "127.0.0.1", "169.254.169.254", "192.0.2.1")
    assert found.bound.mapped[0] == IPv4Address(ADDRESS)
    assert found.allocated.relayed[0] == IPv4Address(ADDRESS)
    assert 49200 <= found.allocated.relayed[1] <= 49299
    assert {*map(str, found.refused)} == {ELSEWHERE, ADDRESS, "127.0.0.1", "169.254.169.254", "192.0.2.1"}


def test_who_has_no_good_credentials_gets_nothing(server: Bench[TurnSection]) -> None:
    assert asked(server, None).bound.error == 0
    assert asked(server, credentials(OTHER)).allocated.error == 401
    assert asked(server, credentials(good_s=-60.0)).allocated.error == 401


def test_a_stranger_reaches_the_relay_through_it(server: Bench[TurnSection]) -> None:
    """aioice's TURN client is the judge: its datagrams come out at the relay's address, and answers come back."""

    class Echo(asyncio.DatagramProtocol):
        def connection_made(self, transport: Any) -> None:
            self.transport = transport

        def datagram_received(self, data: bytes, addr: Any) -> None:
            self.transport.sendto(data.upper(), addr)

    class Heard(asyncio.DatagramProtocol):
        def __init__(self) -> None:
            self.data: asyncio.Queue[bytes] = asyncio.Queue()

        def datagram_received(self, data: bytes, addr: Any) -> None:
            self.data.put_nowait(data)

    async def through() -> tuple[bytes, Any]:
        loop, known = asyncio.get_running_loop(), credentials()
        echo, _ = await loop.create_datagram_endpoint(Echo, local_addr=(RELAY, 30000))
        transport, heard = await create_turn_endpoint(
            Heard, server_addr=SERVER, username=known.username, password=known.password
        )
        relayed = transport.get_extra_info("sockname")
        async with asyncio.timeout(30):
            transport.sendto(b"hello", (RELAY, 30000))
            answer = await heard.data.get()
        transport.close()
        echo.close()
        return answer, relayed

    answer, relayed = server.node.call(through)
    assert answer == b"HELLO"
    assert relayed[0] == ADDRESS


class Client:
    """What `nf sip` is a client of: operations run at the driver's daemon. It keeps what was printed."""

    def __init__(self, server: Bench[TurnSection]) -> None:
        self.server, self.printed = server, list[Any]()

    def run_operation(self, name: str, target: str, arguments: JsonObject, **_: Any) -> OperationOutcome:
        assert target == "t1"
        operation = create_turn(self.server.node.context()).operations[name]
        checkpoint = Checkpoint({}, lambda _: None)

        async def run() -> JsonObject:
            return await operation.run(arguments, checkpoint, self.server.context())

        result = self.server.node.call(run)
        return OperationOutcome(True, (NodeOutcome("w", "turn", 0, "done", "", result),), 1.0, {})

    def print_json(self, value: Json) -> None:
        self.printed.append(value)


def issued(server: Bench[TurnSection], ttl_s: int) -> dict[str, Any]:
    """By `nf sip turn-credentials t1`."""
    client = Client(server)
    token = CLIENT.set(client)  # type: ignore[arg-type]
    try:
        done = CliRunner().invoke(app, ["turn-credentials", "t1", "--ttl", str(ttl_s), "--user", "web", "--json"])
    finally:
        CLIENT.reset(token)
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = client.printed[0]["iceServers"][0]
    return found


def uclient(server: Bench[TurnSection], username: str, password: str) -> subprocess.CompletedProcess[str]:
    """coturn's own client: allocates, binds a channel and sends to an echo at the relay's address."""
    argv = ["nsenter", f"--net=/run/netns/{server.node.namespace}", "turnutils_uclient", "-c", "-n", "5", "-m", "1"]
    argv += ["-u", username, "-w", password, "-L", ADDRESS, "-e", RELAY, "-r", str(ECHO), ADDRESS]
    return subprocess.run(argv, capture_output=True, text=True, timeout=90, check=False)


def test_secrets_are_in_files_of_its_own_and_in_no_log(server: Bench[TurnSection]) -> None:
    places = server.driver.places
    for path in (*places.config.iterdir(), *places.data.iterdir()):
        assert path.stat().st_mode & 0o007 == 0
        assert SECRET.encode() not in path.read_bytes() or path == places.data / "turn.sqlite"
    assert (places.data / "turn.sqlite").stat().st_mode & 0o777 == 0o600
    log = "\n".join(server.node.call(server.driver._units.log, "coturn", 1000))
    assert SECRET not in log


def test_another_secret_and_another_peer_are_told_without_a_restart(server: Bench[TurnSection]) -> None:
    before = server.pid()
    server.keep("turn", OTHER)
    (step,), _ = server.commit(turn())
    assert (step.kind, step.disruption) == ("webrtc.tell", "")
    assert step.summary == "TURN server t1, without a restart: secret"
    assert asked(server, credentials(OTHER)).allocated.error == 0
    assert asked(server, credentials(SECRET)).allocated.error == 401
    (step,), undos = server.commit(turn((RELAY, ELSEWHERE)))
    assert step.kind == "webrtc.tell"
    assert asked(server, credentials(OTHER), RELAY, ELSEWHERE).refused == ()
    server.undo(undos)
    server.until(lambda: [*map(str, asked(server, credentials(OTHER), ELSEWHERE).refused)] == [ELSEWHERE])
    assert server.pid() == before


def test_what_a_start_reads_is_a_restart_that_says_its_cost(server: Bench[TurnSection]) -> None:
    _empty(server)
    before = server.pid()
    (step,), undos = server.commit(turn(per_user=3))
    assert step.kind == "webrtc.run"
    assert step.disruption == "0 allocations of TURN server end; whoever had them begins anew"
    assert step.summary == "restart TURN server t1: other per user"
    assert server.pid() != before

    async def greedy() -> list[int]:
        known, found = credentials(), []
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(5):
                asker = await stack.enter_async_context(TurnAsker(SERVER, known))
                found.append((await asker.allocate()).error)
        return found

    assert server.node.call(greedy) == [0, 0, 0, 486, 486]
    server.undo(undos)
    assert server.driver.plan(server.node.call(server.driver.observe), turn()) == ()


def test_files_changed_by_hand_are_taken_back(server: Bench[TurnSection]) -> None:
    path = server.driver.places.config / "turnserver.conf"
    path.write_text(path.read_text() + "no-auth\n")
    drift = server.node.call(server.driver.verify, turn(), server.context(0.0))
    assert drift.differences == ("turnserver.conf was changed by hand",)
    server.commit(turn())
    database = server.driver.places.data / "turn.sqlite"
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("INSERT INTO allowed_peer_ip VALUES ('', '127.0.0.1')")
    (step,), _ = server.commit(turn())
    assert step.summary == "TURN server t1, without a restart: peers"


def test_a_drain_leaves_what_is_there_alone(server: Bench[TurnSection]) -> None:
    _empty(server)

    async def scene() -> JsonObject:
        saved: asyncio.Queue[JsonObject] = asyncio.Queue()
        async with TurnAsker(SERVER, credentials()) as asker:
            assert (await asker.allocate()).error == 0
            draining = asyncio.create_task(server.draining({"wait_s": 90}, saved))
            await saved.get()
            assert (await ask(SERVER, credentials())).allocated.error == 401  # type: ignore[union-attr]
            assert (await asker.permit((IPv4Address(RELAY), 30000))).error == 0
            assert not draining.done()
            await asker.release()
            return await draining

    result = server.node.call(scene)
    assert (result["left"], result["before"]) == (0, 1)
    before = server.pid()
    state = server.observe()
    assert state is not None
    assert "told" not in state
    alarms = [one for one in server.happened() if isinstance(one, AlarmEvent)]
    assert [(one.cause, one.severity) for one in alarms] == [("turn-drained", Severity.WARNING)]
    os.kill(before, signal.SIGKILL)
    server.until(lambda: (found := _pid(server)) is not None and found != before)
    server.until(lambda: asked(server, credentials()).allocated.error == 401)
    server.drain({"end": True})
    assert asked(server, credentials()).allocated.error == 0
    assert server.driver.plan(server.node.call(server.driver.observe), turn()) == ()


def _empty(server: Bench[TurnSection]) -> None:
    """What other tests let go is closed after a while."""
    server.until(lambda: server.node.call(server.daemon.load, turn()) == 0)


def _pid(server: Bench[TurnSection]) -> int | None:
    status = server.node.call(server.driver._units.status, "coturn")
    return status.pid if status is not None and status.state.value == "ready" else None


def test_a_drain_that_does_not_end_in_time_is_taken_back(server: Bench[TurnSection]) -> None:
    _empty(server)

    async def scene() -> None:
        async with TurnAsker(SERVER, credentials()) as asker:
            assert (await asker.allocate()).error == 0
            with pytest.raises(DeadlineError, match="1 of 1 allocations are left"):
                await server.draining({"wait_s": 1})
            assert (await ask(SERVER, credentials())).allocated.error == 0  # type: ignore[union-attr]
            context = server.context()
            context.cancel.set()
            with pytest.raises(CancelledError):
                await server.driver.operations["voice-drain"].run({}, Checkpoint({}, lambda _: None), context)
            await asker.release()

    server.node.call(scene)
    assert asked(server, credentials()).allocated.error == 0


def test_one_that_hangs_is_silent_and_its_return_is_told(server: Bench[TurnSection]) -> None:
    _empty(server)
    server.happened()
    (sample,) = server.happened()
    assert isinstance(sample, Sample)
    assert (sample.kind, sample.values["up"], sample.values["allocations"]) == ("sip.turn", 1.0, 0.0)
    os.kill(server.pid(), signal.SIGSTOP)
    try:
        sample, alarm = server.happened()
        assert isinstance(sample, Sample)
        assert sample.values["up"] == 0.0
        assert isinstance(alarm, AlarmEvent)
        assert (alarm.cause, alarm.severity) == ("turn-silent", Severity.CRITICAL)
        state = server.observe()
        assert state is not None
        assert state["live"] == "it does not answer"
    finally:
        os.kill(server.pid(), signal.SIGCONT)
    _, alarm = server.happened()
    assert isinstance(alarm, AlarmEvent)
    assert alarm.severity is Severity.CLEARED


def test_what_nf_sip_issues_is_taken_by_coturns_own_client(
    server: Bench[TurnSection], require_programs: Callable[..., None]
) -> None:
    require_programs("turnutils_uclient", "turnutils_peer")
    argv = ["nsenter", f"--net=/run/netns/{server.node.namespace}", "turnutils_peer", "-L", RELAY, "-p", str(ECHO)]
    echo = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        server.until(lambda: f"{RELAY}:{ECHO}" in server.node.shell("ss", "-Hnlu"))
        good = issued(server, 600)
        assert good["urls"][0] == f"turn:{ADDRESS}:3478"
        done = uclient(server, good["username"], good["credential"])
        assert done.returncode == 0, done.stdout
        assert "tot_send_msgs=5, tot_recv_msgs=5" in done.stdout
        assert uclient(server, good["username"], "wrong").returncode != 0
        later = str(int(good["username"].partition(":")[0]) + 60) + ":web"
        assert uclient(server, later, good["credential"]).returncode != 0
        brief = issued(server, 1)
        server.until(lambda: uclient(server, brief["username"], brief["credential"]).returncode != 0)
        assert uclient(server, good["username"], good["credential"]).returncode == 0
    finally:
        echo.kill()
        echo.wait(20)
