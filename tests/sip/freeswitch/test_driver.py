"""The driver with a FreeSWITCH under a real supervisor, read back by its event socket; the lab's model, or real."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from nf.clock import RealClock
from nf.contracts.driver import Checkpoint, Context, Undo
from nf.contracts.json import JsonObject
from nf.errors import InputError, NotFoundError, RefusedError
from nf.telemetry.alarms import AlarmEvent
from nf.telemetry.samples import Sample
from sip.freeswitch.connection import EslConnection
from sip.freeswitch.documents import FreeswitchSection
from sip.freeswitch.driver import FreeswitchDriver
from sip.freeswitch.errors import LoginRefused
from sip.freeswitch.live import Live, read_live
from sip.freeswitch.operations import DRAIN, LIVE, held
from sip.naming import CONTROL_LOOPBACK, MEDIA_SERVER_UNIT
from tests.headend.multicast.tree.network import Node, nodes
from tests.sip.freeswitch.daemons import BIN
from tests.sip.freeswitch.samples import ACCOUNTS, PASSWORD, section

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("labelled")]

CONTROL = 18021


@pytest.fixture(scope="module")
def machine(require_root: Callable[[], None], require_programs: Callable[..., None]) -> Iterator[Node]:
    require_root()
    require_programs("ip", "nsenter")
    with nodes("n") as made:
        made["n"].supervise()
        yield made["n"]


def want(**changes: Any) -> FreeswitchSection:
    server = {"address": "127.0.0.1", "control": CONTROL, **changes.pop("server", {})}
    return section(server=server, **{"callers": ["127.0.0.9"], "requires": [], **changes})


class Bench:
    def __init__(self, node: Node, secrets: Path) -> None:
        self.node = node
        self.secrets = secrets
        self.say("event-socket", PASSWORD)
        self.say("voice-accounts", ACCOUNTS)
        self.driver = FreeswitchDriver(node.context(), secrets)

    def say(self, name: str, value: str) -> None:
        file = self.secrets / name
        file.touch(mode=0o600)
        file.write_text(value)

    def context(self, seconds: float = 120.0) -> Context:
        clock = RealClock()
        return Context(clock, clock.monotonic() + seconds, resolve_secret=self.driver._secrets)

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return self.node.call(function, *arguments)

    async def _commit(self, wanted: FreeswitchSection | None) -> list[Undo]:
        steps = self.driver.plan(await self.driver.observe(), wanted)
        await self.driver.check(steps, wanted)
        undos = []
        for step in steps:
            undos.append(await self.driver.prepare(step))
            await self.driver.apply(step, self.context())
        assert (await self.driver.verify(wanted, self.context())).differences == ()
        return undos

    def commit(self, wanted: FreeswitchSection | None) -> list[Undo]:
        found: list[Undo] = self.call(self._commit, wanted)
        return found

    def take_back(self, undos: list[Undo]) -> None:
        for undo in reversed(undos):
            self.call(self.driver.undo, undo, self.context())

    async def _asked(self, *commands: str) -> list[str]:
        connection = await EslConnection.open(CONTROL_LOOPBACK, CONTROL, PASSWORD)
        try:
            return [await connection.api(command) for command in commands]
        finally:
            connection.close()

    def asked(self, command: str) -> str:
        (answer,) = self.call(self._asked, command)
        return str(answer)

    async def _pid(self) -> int | None:
        status = await self.node.context().units.status(MEDIA_SERVER_UNIT)
        return status.pid if status is not None else None

    def pid(self) -> int | None:
        found: int | None = self.call(self._pid)
        return found

    async def _run(self, name: str, arguments: JsonObject) -> JsonObject:
        checkpoint = Checkpoint({}, lambda _data: None)
        return await self.driver.operations[name].run(arguments, checkpoint, self.context())

    def run(self, name: str, **arguments: Any) -> JsonObject:
        found: JsonObject = self.call(self._run, name, arguments)
        return found


@pytest.fixture
def bench(machine: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setenv("NF_FREESWITCH_BIN", str(BIN))
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    made = Bench(machine, secrets)
    yield made
    made.commit(None)


def test_it_comes_up_and_is_read_back(bench: Bench) -> None:
    wanted = want()
    bench.commit(wanted)
    state = bench.call(bench.driver.observe)
    assert state.value == {**wanted.to_json(), "live": {"calls": 0}}
    assert state.facts == {"pop1.voice.media-server"}
    assert bench.driver.plan(state, wanted) == ()
    assert "sip:mod_sofia@127.0.0.1:5080" in bench.asked("sofia status")
    assert "1000 session(s) max" in bench.asked("status")
    places = bench.driver._places
    assert places.file.stat().st_mode & 0o777 == 0o600
    bench.commit(None)
    assert bench.call(bench.driver.observe).value is None
    assert not places.file.exists()


def test_numbers_limits_callers_and_boxes_change_while_it_runs(bench: Bench) -> None:
    bench.commit(want())
    pid = bench.pid()
    after = want(services=[{"number": "8000", "kind": "echo"}], callers=["127.0.0.8"], server={"sessions": 77}, rate=33)
    (step,) = bench.driver.plan(bench.call(bench.driver.observe), after)
    assert (step.disruption, step.summary) == (
        "",
        "media1: services, who may call, limits, while it runs",
    )
    undos = bench.commit(after)
    assert bench.pid() == pid
    status = bench.asked("status")
    assert "77 session(s) max" in status
    assert "out of max 33" in status
    bench.call(bench.driver.apply, step, bench.context())  # a crash repeats it
    bench.take_back(undos)
    assert bench.driver.plan(bench.call(bench.driver.observe), want()) == ()
    assert bench.pid() == pid
    bench.say("voice-accounts", "carol:voice.test:00\n")
    (step,) = bench.driver.plan(bench.call(bench.driver.observe), want())
    assert step.disruption == ""
    bench.commit(want())
    assert 'id="carol"' in bench.driver._places.file.read_text()
    assert bench.pid() == pid


def test_where_it_listens_is_a_restart_and_undo_brings_it_back(bench: Bench) -> None:
    bench.commit(want())
    pid = bench.pid()
    after = want(server={"port": 5090})
    undos = bench.commit(after)
    assert bench.pid() != pid
    assert "127.0.0.1:5090" in bench.asked("sofia status")
    bench.take_back(undos)
    assert "127.0.0.1:5080" in bench.asked("sofia status")
    assert bench.driver.plan(bench.call(bench.driver.observe), want()) == ()


def test_a_password_that_was_replaced_is_taken(bench: Bench) -> None:
    bench.commit(want())
    bench.say("event-socket", "another-1")
    bench.commit(want())
    with pytest.raises(LoginRefused):
        bench.asked("status")
    bench.say("event-socket", PASSWORD)
    bench.commit(want())
    assert "ready" in bench.asked("status")


def test_what_is_done_to_it_by_hand_is_drift(bench: Bench) -> None:
    bench.commit(want())
    bench.asked("fsctl pause inbound")
    (step,) = bench.driver.plan(bench.call(bench.driver.observe), want())
    assert (step.summary, step.disruption) == ("media1 takes new calls", "")
    bench.commit(want())
    assert bench.asked("fsctl pause_check inbound").strip() == "false"
    file = bench.driver._places.file
    file.write_text(file.read_text().replace('value="1000"', 'value="9"'))
    (step,) = bench.driver.plan(bench.call(bench.driver.observe), want())
    bench.commit(want())
    assert 'name="max-sessions" value="1000"' in file.read_text()


def test_the_document_drains_it_and_lets_it_take_calls_again(bench: Bench) -> None:
    bench.commit(want(server={"drained": True}))
    assert bench.asked("fsctl pause_check inbound").strip() == "true"
    pid = bench.pid()
    assert bench.run(DRAIN, end=True)["text"] == "media1 stays drained: the fleet's document says so"
    assert bench.asked("fsctl pause_check inbound").strip() == "true"
    bench.commit(want())
    assert bench.asked("fsctl pause_check inbound").strip() == "false"
    assert bench.pid() == pid


def test_an_operation_drains_it_holds_it_and_lets_it_go(bench: Bench) -> None:
    bench.commit(want())
    assert bench.run(DRAIN, wait_s=60) == {"text": "media1 is drained: 0 calls left", "calls": 0, "before": 0}
    assert bench.asked("fsctl pause_check inbound").strip() == "true"
    assert held(bench.driver._places, RealClock().now())
    assert bench.driver.plan(bench.call(bench.driver.observe), want()) == ()  # it is no drift
    assert bench.run(DRAIN, end=True)["text"] == "media1 takes new calls"
    assert bench.asked("fsctl pause_check inbound").strip() == "false"
    pid = bench.pid()
    assert bench.run(DRAIN, restart=True, wait_s=60)["text"] == "media1 was started again without a call"
    assert bench.pid() != pid
    assert bench.call(bench.driver.verify, want(), bench.context()).differences == ()
    with pytest.raises(InputError):
        bench.run(DRAIN, limit="x")


def test_live_calls_are_listed_and_one_that_is_not_there_cannot_be_ended(bench: Bench) -> None:
    bench.commit(want())
    found = bench.run(LIVE)
    assert (found["legs"], found["rows"], found["rooms"]) == (0, [], [])
    with pytest.raises(NotFoundError):
        bench.run(LIVE, hangup="01234567-89ab-cdef-0123-456789abcdef")
    with pytest.raises(InputError):
        bench.run(LIVE, hangup="all\n\nauth x")


def test_killed_it_comes_back_by_itself_with_what_was_committed(bench: Bench) -> None:
    bench.commit(want(server={"sessions": 55}))
    pid = bench.pid()
    bench.node.shell("kill", "-9", str(pid))

    async def back() -> None:
        context = bench.context()
        assert (await bench.driver.verify(want(server={"sessions": 55}), context)).differences == ()

    async def another() -> None:
        while await bench._pid() in {pid, None}:
            await RealClock().sleep(0.1)
        await back()

    bench.call(another)
    assert "55 session(s) max" in bench.asked("status")


def test_without_the_program_or_with_a_password_that_is_none_nothing_is_changed(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = bench.driver.plan(bench.call(bench.driver.observe), want())
    monkeypatch.setenv("NF_FREESWITCH_BIN", str(tmp_path))
    with pytest.raises(RefusedError) as refused:
        bench.call(bench.driver.check, steps, want())
    assert [one.rule for one in refused.value.problems] == ["there is no such program"]
    bench.say("event-socket", 'a"b secret')
    with pytest.raises(InputError) as error:
        bench.call(bench.driver.apply, steps[0], bench.context())
    assert "secret" not in str(error.value).replace("secret:event-socket", "")
    assert bench.call(bench.driver.observe).value is None


def test_no_secret_is_in_what_is_journalled_or_said(bench: Bench) -> None:
    wanted = want()
    (step,) = bench.driver.plan(bench.call(bench.driver.observe), wanted)
    undos = bench.commit(wanted)
    state = bench.call(bench.driver.observe)
    assert PASSWORD not in repr((step, undos, state, bench.driver._standing()))
    log = bench.call(bench.node.context().units.log, MEDIA_SERVER_UNIT, 500)
    assert PASSWORD not in "\n".join(log)


async def _first(driver: FreeswitchDriver, count: int) -> list[Sample | AlarmEvent]:
    found: list[Sample | AlarmEvent] = []
    async with aclosing(driver.events()) as events:  # type: ignore[type-var]
        async for event in events:
            found.append(event)
            if len(found) == count:
                return found
    return found


def test_it_says_how_many_calls_it_has(bench: Bench) -> None:
    bench.commit(want())
    samples = bench.call(_first, bench.driver, 2)
    assert [one.kind for one in samples] == ["voice.media", "voice.rooms"]
    assert samples[0].values["sessions"] == 0
    assert samples[0].values["most"] == 1000


def test_the_live_reader_reads_all(bench: Bench) -> None:
    bench.commit(want())

    async def read() -> Live:
        connection = await EslConnection.open(CONTROL_LOOPBACK, CONTROL, PASSWORD)
        try:
            return await read_live(connection)
        finally:
            connection.close()

    live = bench.call(read)
    assert live.status.ready
    assert re.fullmatch(r"[0-9a-f]{16}", live.config)
    assert (live.profile, live.profile_state[:7], live.paused, live.rooms) == ("127.0.0.1:5080", "RUNNING", False, ())
