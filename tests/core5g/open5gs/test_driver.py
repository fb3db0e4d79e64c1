"""The functions under a real supervisor; they are stand-ins (`live`), since no registry carries Open5GS."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import Callable, Iterator
from contextlib import aclosing
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from core5g.open5gs import guard
from core5g.open5gs.documents import Open5gsSection
from core5g.open5gs.driver import Open5gsDriver, create
from core5g.open5gs.units import curl_problem, unit_spec
from nf.clock import RealClock
from nf.contracts.driver import Checkpoint, Context, Undo
from nf.contracts.json import JsonObject
from nf.errors import CancelledError, DeadlineError, InputError, RefusedError
from nf.telemetry.alarms import AlarmEvent
from tests.core5g.open5gs.live import programs, section
from tests.headend.multicast.tree.network import Node, nodes, until

pytestmark = pytest.mark.root

KINDS = ("nrf", "upf", "smf")


@pytest.fixture(scope="module")
def machine(require_root: Callable[[], None], require_programs: Callable[..., None]) -> Iterator[Node]:
    require_root()
    require_programs("ip", "nft", "nsenter")
    with nodes("n") as made:
        made["n"].supervise()
        yield made["n"]


class Bench:
    def __init__(self, node: Node, folder: Path) -> None:
        self.node = node
        self.folder = folder
        self.driver: Open5gsDriver = create(node.context())

    def context(self, seconds: float = 90.0) -> Context:
        clock = RealClock()
        return Context(clock, clock.monotonic() + seconds, resolve_secret=lambda _: "open5gs:hunter2")

    async def commit(self, want: Open5gsSection | None) -> list[Undo]:
        steps = self.driver.plan(await self.driver.observe(), want)
        await self.driver.check(steps, want)
        undos = []
        for step in steps:
            undos.append(await self.driver.prepare(step))
            await self.driver.apply(step, self.context())
        assert (await self.driver.verify(want, self.context())).differences == ()
        return undos

    async def take_back(self, undos: list[Undo]) -> None:
        for undo in reversed(undos):
            await self.driver.undo(undo, self.context())

    def starts(self) -> dict[str, int]:
        return {path.stem: int(path.read_text()) for path in sorted(self.folder.glob("*.starts"))}

    def have(self, kind: str, sessions: int) -> None:
        (self.folder / f"{kind}.sessions").write_text(str(sessions))

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return self.node.call(function, *arguments)


@pytest.fixture
def bench(machine: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    folder = programs(tmp_path / "bin", "nrf", "udr", "upf", "smf", "amf")
    monkeypatch.setenv("NF_OPEN5GS_BIN", str(folder))
    made = Bench(machine, folder)
    yield made
    made.call(made.commit, None)


def test_functions_come_up_and_are_read_back(bench: Bench) -> None:
    want = section(*KINDS)
    bench.call(bench.commit, want)
    state = bench.call(bench.driver.observe)
    assert state.value["functions"] == want.to_json()["functions"]
    assert state.facts == {f"n.open5gs.{kind}" for kind in KINDS}
    assert bench.driver.plan(state, want) == ()
    assert bench.starts() == dict.fromkeys(KINDS, 1)


def test_exactly_what_changed_restarts_and_undo_brings_the_file_before_back(bench: Bench) -> None:
    before, after = section(*KINDS), section(*KINDS, upf="changed")
    bench.call(bench.commit, before)
    bench.have("upf", 1204)
    (step,) = bench.driver.plan(bench.call(bench.driver.observe), after)
    assert (
        step.disruption
        == "restarting UPF edge1 drops 1,204 sessions; to drain it first: commit --drain 10m, or nf upf drain edge1"
    )
    undos = bench.call(bench.commit, after)
    assert bench.starts() == {**dict.fromkeys(KINDS, 1), "upf": 2}
    bench.call(bench.driver.apply, step, bench.context())  # a crash repeats it
    assert bench.starts()["upf"] == 2
    bench.call(bench.take_back, undos)
    assert bench.driver.plan(bench.call(bench.driver.observe), before) == ()
    assert bench.starts() == {**dict.fromkeys(KINDS, 1), "upf": 3}


def test_a_upf_that_is_opened_to_strangers_is_guarded_again_and_keeps_its_sessions(bench: Bench) -> None:
    (upf,) = section("upf").functions
    want = Open5gsSection(functions=(upf.model_copy(update={"peers": (IPv4Address("127.0.0.4"),)}),))
    bench.call(bench.commit, want)
    assert bench.call(guard.read) == {("127.0.0.1", "127.0.0.4")}
    bench.node.shell("nft", "flush", "chain", "inet", "nf_pfcp", "n4")
    (step,) = bench.driver.plan(bench.call(bench.driver.observe), want)
    assert (step.summary, step.disruption) == ("UPF edge1: who may speak PFCP with it", "")
    bench.call(bench.commit, want)
    bench.call(bench.commit, section("upf"))
    assert bench.call(guard.read) == frozenset()
    assert bench.starts() == {"upf": 1}


def test_a_step_that_was_cut_off_between_file_and_restart_is_repeated_whole(bench: Bench) -> None:
    before, after = section("upf"), section("upf", upf="changed")
    bench.call(bench.commit, before)
    (step,) = bench.driver.plan(bench.call(bench.driver.observe), after)
    units = bench.driver._units

    class Dead:
        def __getattr__(self, name: str) -> Any:
            async def killed(*_: Any) -> Any:
                raise SystemError("killed")

            return killed if name in {"restart", "start"} else getattr(units, name)

    bench.driver._units = Dead()  # type: ignore[assignment]
    with pytest.raises(SystemError):
        bench.call(bench.driver.apply, step, bench.context())
    bench.driver._units = units
    assert bench.starts()["upf"] == 1
    bench.call(bench.driver.apply, step, bench.context())
    assert bench.starts()["upf"] == 2


def test_undo_of_the_first_commit_leaves_nothing(bench: Bench) -> None:
    undos = bench.call(bench.commit, section("nrf", "upf"))
    bench.call(bench.take_back, undos)
    assert bench.call(bench.driver.observe).value is None
    bench.call(bench.take_back, undos)  # a crash repeats it
    assert not [*(bench.node.state_dir / "open5gs").iterdir()]


def test_ordering_facts_are_taken_over_without_a_restart(bench: Bench) -> None:
    before = section("nrf", "smf")
    bench.call(bench.commit, before)
    changed = before.model_copy(
        update={"functions": tuple(one.model_copy(update={"requires": ()}) for one in before.functions)}
    )
    bench.call(bench.commit, changed)
    assert bench.starts() == {"nrf": 1, "smf": 1}
    assert bench.driver.plan(bench.call(bench.driver.observe), changed) == ()


def test_credentials_are_in_the_file_and_nowhere_else(bench: Bench) -> None:
    undos = bench.call(bench.commit, section("udr"))
    path = bench.node.state_dir / "open5gs" / "udr.yaml"
    assert "open5gs:hunter2@" in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    state = bench.call(bench.driver.observe)
    steps = bench.driver.plan(state, section("udr", level="debug"))
    undos.append(bench.call(bench.driver.prepare, steps[0]))
    told = f"{state} {[step.to_json() for step in steps]} {undos}"
    assert "hunter2" not in told
    assert "secret:core5g-db" in told


def test_a_file_changed_by_hand_is_drift(bench: Bench) -> None:
    want = section("amf")
    bench.call(bench.commit, want)
    path = bench.node.state_dir / "open5gs" / "amf.yaml"
    path.write_text(path.read_text().replace("540", "60"))
    drift = bench.call(bench.driver.verify, want, bench.context(0.0))
    assert drift.differences == ("AMF has another configuration",)
    bench.call(bench.commit, want)


def test_a_unit_that_was_stopped_is_drift_and_is_started(bench: Bench) -> None:
    want = section("nrf")
    bench.call(bench.commit, want)
    bench.call(bench.driver._units.stop, "open5gs-nrfd")
    assert bench.call(bench.driver.observe).facts == frozenset()
    assert "NRF is stopped" in bench.call(bench.driver.verify, want, bench.context(0.0)).differences[0]
    bench.call(bench.commit, want)


def test_a_function_that_dies_comes_back_by_itself(bench: Bench) -> None:
    want = section("nrf")
    bench.call(bench.commit, want)
    status = bench.call(bench.driver._units.status, "open5gs-nrfd")
    bench.node.shell("kill", "-9", str(status.pid))

    async def again() -> bool:
        return bench.starts()["nrf"] == 2 and not (await bench.driver.verify(want, bench.context(0.0))).differences

    bench.call(until, again)


def test_an_absent_program_is_refused_with_what_to_do(bench: Bench) -> None:
    want = section("bsf")

    async def check() -> None:
        await bench.driver.check(bench.driver.plan(await bench.driver.observe(), want), want)

    with pytest.raises(RefusedError) as caught:
        bench.call(check)
    (problem,) = caught.value.problems
    assert problem.key == str(bench.folder / "open5gs-bsfd")
    assert "NF_OPEN5GS_BIN" in problem.remedy
    assert "overlay" in problem.remedy


def test_what_would_abort_is_refused(bench: Bench) -> None:
    want = section("amf")
    amf = want.functions[0]
    config = {**amf.config, "amf": {**amf.config["amf"], "time": {}}}
    want = want.model_copy(update={"functions": (amf.model_copy(update={"config": config}),)})

    async def check() -> None:
        await bench.driver.check(bench.driver.plan(await bench.driver.observe(), want), want)

    with pytest.raises(RefusedError) as caught:
        bench.call(check)
    assert [problem.key for problem in caught.value.problems] == ["amf.time.t3512.value"]


def test_an_unknown_step_is_refused(bench: Bench) -> None:
    (step,) = bench.driver.plan(bench.call(bench.driver.observe), section("nrf"))
    for strange in (replace(step, version=2), replace(step, kind="open5gs.dance")):
        with pytest.raises(InputError, match="unknown step"):
            bench.call(bench.driver.apply, strange, bench.context())
    with pytest.raises(InputError, match="unknown undo"):
        bench.call(bench.driver.undo, Undo("dance", {}), bench.context())


def test_events_tell_sessions_and_silence(bench: Bench) -> None:
    bench.call(bench.commit, section("upf"))
    bench.have("upf", 7)

    async def first() -> Any:
        async with aclosing(bench.driver.events()) as events:
            return await anext(events)

    sample = bench.call(first)
    assert (sample.kind, sample.values["sessions"]) == ("core5g.upf", 7.0)
    bench.call(bench.driver._units.stop, "open5gs-upfd")
    alarm = bench.call(first)
    assert isinstance(alarm, AlarmEvent)
    assert alarm.cause == "core5g-function-silent"


# -- what it runs ---------------------------------------------------------------------------------------------------


def test_the_units_know_their_order_and_have_the_least(bench: Bench, tmp_path: Path) -> None:
    _, udr, upf, smf = (
        unit_spec(function, tmp_path, "n") for function in section("nrf", "udr", "upf", "smf").functions
    )
    assert udr.after == ("open5gs-nrfd",)
    assert smf.after == ("open5gs-upfd",)
    assert udr.sandbox.capabilities == ()
    assert upf.sandbox.capabilities == ("CAP_NET_ADMIN",)
    assert upf.sandbox.devices == ("/dev/net/tun rw",)
    assert udr.argv == (str(bench.folder / "open5gs-udrd"), "-c", str(tmp_path / "open5gs" / "udr.yaml"))


def test_an_overlay_brings_its_libraries(bench: Bench, tmp_path: Path) -> None:
    (bench.folder / "lib").mkdir()
    spec = unit_spec(section("smf").functions[0], tmp_path, "n")
    assert spec.environment == (("LD_LIBRARY_PATH", str(bench.folder / "lib")),)


def test_the_libcurl_that_would_be_loaded_is_asked(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    assert bench.call(curl_problem, "smf") is None  # a script loads none
    answers = iter(["\tlibcurl.so.4 => /usr/lib/libcurl.so.4 (0x7f)\n", "libcurl/7.88.1 GnuTLS/3.7.9\n"] * 2)

    async def told(*_: Any) -> str:
        return next(answers)

    monkeypatch.setattr("core5g.open5gs.units._output", told)
    problem = bench.call(curl_problem, "smf")
    assert problem.key == "/usr/lib/libcurl.so.4"
    assert "7.88.1" in problem.rule
    assert "curl #10634" in problem.rule
    assert "8.0.0" in problem.remedy


# -- draining -------------------------------------------------------------------------------------------------------


class Running:
    """An operation in the node, with what it has told and saved."""

    def __init__(self, bench: Bench, **arguments: Any) -> None:
        self.saved: list[JsonObject] = []
        self.told: list[tuple[float, str]] = []
        self.context = replace(bench.context(), progress=lambda *told: self.told.append(told), cancel=asyncio.Event())
        checkpoint = Checkpoint({}, self.saved.append)
        self.future = bench.node.start(bench.driver.operations["drain"].run, arguments, checkpoint, self.context)


def gate(bench: Bench) -> str:
    return bench.node.shell("nft", "list", "ruleset")


def test_a_drain_waits_until_few_enough_are_left(bench: Bench) -> None:
    bench.call(bench.commit, section("upf"))
    bench.have("upf", 12)
    running = Running(bench, limit=2)

    async def said(text: str) -> bool:
        return any(text in told for _, told in running.told)

    bench.call(until, lambda: said("12 sessions left on edge1"))
    assert "@th,72,8 50" in gate(bench) or "@th,72,8 0x32" in gate(bench)
    bench.have("upf", 7)
    bench.call(until, lambda: said("7 sessions left"))
    assert (0.5, "7 sessions left on edge1") in running.told
    bench.have("upf", 2)
    result = running.future.result(90)
    assert (result["sessions"], result["before"]) == (2, 12)
    assert running.saved[0]["before"] == 12
    assert "nf_open5gs" in gate(bench)  # held for the commit that follows
    bench.call(bench.commit, section("upf", upf="changed"))
    assert "nf_open5gs" not in gate(bench)


def test_a_drain_that_ends_in_vain_lets_sessions_in_again(bench: Bench) -> None:
    bench.call(bench.commit, section("upf"))
    bench.have("upf", 12)
    with pytest.raises(DeadlineError, match="12 of 12 sessions are left"):
        Running(bench, wait_s=0).future.result(90)
    assert "nf_open5gs" not in gate(bench)
    running = Running(bench)

    async def begun() -> bool:
        return bool(running.told)

    bench.call(until, begun)
    bench.node.loop.call_soon_threadsafe(running.context.cancel.set)
    with pytest.raises(CancelledError, match="12 sessions left"):
        running.future.result(90)
    assert "nf_open5gs" not in gate(bench)


def test_a_drain_may_only_wait_and_may_be_ended(bench: Bench) -> None:
    bench.call(bench.commit, section("upf"))
    assert Running(bench, admit=True).future.result(90)["sessions"] == 0
    assert "nf_open5gs" not in gate(bench)
    Running(bench).future.result(90)
    assert "nf_open5gs" in gate(bench)
    assert Running(bench, end=True).future.result(90)["text"] == "edge1 takes new sessions"
    assert "nf_open5gs" not in gate(bench)


def test_a_drain_before_a_commit_keeps_what_it_has_at_the_end_of_its_wait(bench: Bench) -> None:
    bench.call(bench.commit, section("upf"))
    bench.have("upf", 12)
    result = Running(bench, wait_s=0, keep=True).future.result(90)
    assert (result["left"], result["before"]) == (12, 12)
    assert result["text"] == "edge1 is not drained in time: 12 of 12 sessions left"
    assert "nf_open5gs" in gate(bench)


def test_the_end_of_a_drain_ends_one_that_still_waits_and_needs_no_upf(bench: Bench) -> None:
    bench.call(bench.commit, section("upf"))
    bench.have("upf", 12)
    running = Running(bench)

    async def begun() -> bool:
        return bool(running.told)

    bench.call(until, begun)
    Running(bench, end=True).future.result(90)
    with pytest.raises(CancelledError, match="12 sessions left"):
        running.future.result(90)
    assert "nf_open5gs" not in gate(bench)
    bench.call(bench.commit, None)
    assert "nothing is kept off" in Running(bench, end=True).future.result(90)["text"]


def test_a_drain_with_nonsense_is_refused(bench: Bench) -> None:
    bench.call(bench.commit, section("upf"))
    for arguments in ({"limit": -1}, {"limit": "few"}, {"wait_s": True}, {"admit": 1}, {"end": "yes"}, {"keep": 2}):
        with pytest.raises(InputError):
            Running(bench, **arguments).future.result(90)
    assert "nf_open5gs" not in gate(bench)


def test_only_a_upf_can_be_drained(bench: Bench) -> None:
    bench.call(bench.commit, section("smf"))
    with pytest.raises(RefusedError, match="no UPF runs"):
        Running(bench).future.result(90)
