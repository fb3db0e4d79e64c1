"""One real relay under a real supervisor."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable, Iterator
from contextlib import aclosing
from dataclasses import replace

import pytest

from nf.contracts.driver import Checkpoint, Undo
from nf.errors import DeadlineError, InputError, RefusedError, UnavailableError
from nf.telemetry.samples import Sample
from sip.rtpengine import guard, http
from sip.rtpengine.client import NgClient
from sip.rtpengine.messages import call_ids, delete, list_calls, ping
from sip.rtpengine.naming import config_path
from tests.headend.multicast.tree.network import Node, until
from tests.sip.rtpengine.live import FIXED, Bench, context, parties, section, segment, set_up
from tests.sip.rtpengine.media import heard

pytestmark = [pytest.mark.root, pytest.mark.daemon]


@pytest.fixture(scope="module")
def net(require_root: Callable[[], None], require_programs: Callable[..., None]) -> Iterator[dict[str, Node]]:
    require_root()
    require_programs("rtpengine", "nft", "ip", "nsenter")
    with segment("a", "e") as made:
        yield made


@pytest.fixture
def bench(net: dict[str, Node]) -> Iterator[Bench]:
    made = Bench(net["a"])
    yield made
    made.commit(None)


def test_a_relay_comes_up_is_read_back_and_goes(bench: Bench) -> None:
    want = section("a")
    undos = bench.commit(want)
    state = bench.call(bench.driver.observe)
    assert state.facts == {"a.voice.relay"}
    assert state.value == {**want.to_json(), "sessions": 0}
    assert bench.driver.plan(state, want) == ()
    for undo in reversed(undos * 2):  # a crash repeats it
        bench.call(bench.driver.undo, undo, context())
    assert bench.call(bench.driver.observe).value is None
    assert "nf_relay" not in bench.node.shell("nft", "list", "tables")


def test_a_call_goes_both_ways_and_a_restart_says_what_it_costs(bench: Bench, net: dict[str, Node]) -> None:
    bench.commit(section("a"))

    async def talk() -> tuple[int, int, tuple[str, ...]]:
        one, two = parties()
        async with NgClient(FIXED["a"], 2223) as ng, one, two:
            await set_up(ng, "call-1", one, two)
            await heard(one, two, packets=50)
            state = await asyncio.wrap_future(net["a"].start(bench.driver.observe))
            (step,) = bench.driver.plan(state, section("a", ports=[30000, 31999]))
            kept = bench.driver.plan(state, section("a").model_copy(update={"peers": ()}))
            await ng.ask(delete("call-1"))
            return one.got, two.got, (step.disruption, step.summary, *(one.disruption for one in kept))

    ones, twos, told = net["e"].call(talk)
    assert min(ones, twos) >= 50
    assert told[0] == (
        "restarting the relay: 1 call loses its media; to empty it first: drain it at the proxies and wait"
    )
    assert told[1:] == ("restart relay ra: its file changed", "")


def test_peers_change_without_a_restart_and_strangers_are_not_heard(bench: Bench, net: dict[str, Node]) -> None:
    bench.commit(section("a"))
    before = bench.pid()

    async def asked() -> str:
        async with NgClient(FIXED["a"], 2223, resend_s=(0.2, 0.2)) as ng:
            return str((await ng.ask(ping()))["result"])

    assert net["e"].call(asked) == "pong"
    bench.commit(section("a").model_copy(update={"peers": ()}))
    with pytest.raises(UnavailableError):
        net["e"].call(asked)
    assert bench.call(guard.refused) > 0
    assert bench.call(asked) == "pong"  # the appliance itself may
    assert bench.pid() == before


@pytest.mark.parametrize("harm", ["flush", "delete"])
def test_a_guard_that_is_gone_is_drift_and_comes_back_without_a_restart(bench: Bench, harm: str) -> None:
    want = section("a")
    bench.commit(want)
    before = bench.pid()
    bench.node.shell("nft", harm, "table", "inet", "nf_relay")
    drift = bench.call(bench.driver.verify, want, context(0.0))
    assert "open to strangers" in drift.differences[0]
    (step,) = bench.driver.plan(bench.call(bench.driver.observe), want)
    assert step.disruption == ""
    bench.commit(want)
    assert bench.pid() == before


def test_a_file_changed_by_hand_and_a_stopped_unit_are_drift(bench: Bench) -> None:
    want = section("a")
    bench.commit(want)
    path = config_path(bench.node.state_dir)
    path.write_text(path.read_text().replace("tos = 184", "tos = 0"))
    assert "somebody has changed it" in bench.call(bench.driver.verify, want, context(0.0)).differences[0]
    bench.commit(want)
    bench.call(bench.driver._units.stop, "rtpengine")
    assert bench.call(bench.driver.observe).facts == frozenset()
    assert "is stopped" in bench.call(bench.driver.verify, want, context(0.0)).differences[0]
    bench.commit(want)


def test_undo_brings_the_relay_before_back(bench: Bench) -> None:
    before, after = section("a"), section("a", ports=[30000, 31999])
    bench.commit(before)
    undos = bench.commit(after)
    (step,) = bench.driver.plan(bench.call(bench.driver.observe), before)
    pid = bench.pid()
    bench.call(bench.driver.apply, replace(step, arguments={"section": after.to_json()}), context())
    assert bench.pid() == pid  # a crash repeats it, and nothing restarts
    for undo in reversed(undos):
        bench.call(bench.driver.undo, undo, context())
    assert bench.driver.plan(bench.call(bench.driver.observe), before) == ()


def test_unknown_steps_and_absent_programs_are_refused(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    (step,) = bench.driver.plan(bench.call(bench.driver.observe), section("a"))
    for strange in (replace(step, version=2), replace(step, kind="rtpengine.dance")):
        with pytest.raises(InputError, match="unknown step"):
            bench.call(bench.driver.apply, strange, context())
    with pytest.raises(InputError, match="unknown undo"):
        bench.call(bench.driver.undo, Undo("dance", {}), context())
    monkeypatch.setattr("sip.rtpengine.units.program", lambda name: name)
    with pytest.raises(RefusedError) as caught:
        bench.call(bench.driver.check, (step,), section("a"))
    assert "rtpengine-daemon" in caught.value.problems[0].remedy


def test_waiting_until_it_is_empty(bench: Bench, net: dict[str, Node]) -> None:
    bench.commit(section("a"))
    waits = bench.driver.operations["wait-empty"]
    saved: list[object] = []
    told: list[str] = []

    async def run(wait_s: float) -> object:
        progress = replace(context(), progress=lambda _, text: told.append(text))
        return await waits.run({"wait_s": wait_s}, Checkpoint({}, saved.append), progress)

    async def waits_for_one() -> bool:
        return "1 calls left on the relay" in told

    async def hold() -> None:
        one, two = parties()
        async with NgClient(FIXED["a"], 2223) as ng, one, two:
            await set_up(ng, "call-2", one, two)
            with pytest.raises(DeadlineError, match="1 of 1 calls are left"):
                await asyncio.wrap_future(net["a"].start(run, 0.0))
            waiting = net["a"].start(run, 60.0)
            await until(waits_for_one)
            await ng.ask(delete("call-2"))
            assert (await asyncio.wrap_future(waiting)) == {"text": "0 calls are left", "sessions": 0, "before": 1}

    net["e"].call(hold)
    assert saved


def test_more_calls_than_a_datagram_can_list_are_listed(bench: Bench, net: dict[str, Node]) -> None:
    bench.commit(section("a", ports=[30000, 39999]))

    async def make() -> None:
        one, two = parties()
        async with NgClient(FIXED["a"], 2223) as ng:
            names = [f"{number:04}-{'x' * 200}" for number in range(400)]
            await asyncio.gather(*(set_up(ng, name, one, two) for name in names))

    async def names() -> int:
        return len(call_ids(await http.ask(list_calls(100_000))))

    net["e"].call(make)
    assert bench.call(names) == 400


def test_samples_and_alarms(bench: Bench) -> None:
    bench.commit(section("a"))

    async def first() -> object:
        async with aclosing(bench.driver.events()) as events:
            async for event in events:
                return event
        return None

    sample = bench.call(first)
    assert isinstance(sample, Sample)
    assert (sample.kind, sample.labels["relay"], sample.values["sessions"]) == ("voice.relay", "ra", 0)


def test_a_relay_that_is_killed_comes_back_by_itself(bench: Bench) -> None:
    want = section("a")
    bench.commit(want)
    before = bench.pid()
    subprocess.run(["kill", "-9", str(before)], check=True)

    async def again() -> bool:
        status = await bench.driver._units.status("rtpengine")
        return (
            status is not None
            and status.pid not in (None, before)
            and not (await bench.driver.verify(want, context(0.0)))
        )

    bench.call(until, again)
