"""A shield that hangs, dies, fails or dawdles behind a Traffic Server that runs: who answers, and when it is back."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from nf.contracts.json import JsonObject
from nf.errors import UnavailableError
from nf.media.documents import EdgeSection, Healing
from nf.media.edge.driver import EdgeDriver, create
from nf.media.edge.healing import units
from nf.media.http import get_once
from tests.headend.multicast.tree.network import Node, commit, nodes, until
from tests.nf.media.cdn import EDGE, EDGE_PORT, HOST, OTHER_SHIELD, PATIENCE_S, SHIELD, SHIELD_PORT, edge_section

pytestmark = [pytest.mark.root, pytest.mark.daemon]

PROGRAM = Path(__file__).with_name("lame_shield.py")
NOTED_S = 1.5
"""Longer than Traffic Server remembers that a shield failed; of one that it does not ask it does not tell."""
# On a busy machine a probe that is well may take long, and no shield must be taken for bad that is not.
HEALING = Healing(interval_ms=100, timeout_ms=1000, hold_ms=2000)
SECTION: EdgeSection = edge_section("ch1").model_copy(update={"healing": HEALING})


@contextmanager
def lame(node: Node, address: str) -> Iterator[subprocess.Popen[bytes]]:
    program = [sys.executable, str(PROGRAM), address, str(SHIELD_PORT)]
    with subprocess.Popen(["nsenter", f"--net=/run/netns/{node.namespace}", *program]) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGCONT)
            process.kill()


@pytest.fixture(scope="module")
def node(require_programs: Callable[..., None]) -> Iterator[Node]:
    require_programs("traffic_manager")
    with nodes("pop1") as made:
        made["pop1"].supervise()
        yield made["pop1"]


@pytest.fixture(scope="module")
def edge(node: Node) -> EdgeDriver:
    made = create(node.context())
    with lame(node, SHIELD):
        node.call(commit, made, SECTION)
    return made


@pytest.fixture
def shields(node: Node, edge: EdgeDriver) -> Iterator[tuple[subprocess.Popen[bytes], subprocess.Popen[bytes]]]:
    """Both well and both asked, whatever a former test left. Where both were ended faster than healing looks, Traffic
    Server itself refuses for a second."""
    fresh = itertools.count()

    async def well() -> bool:
        return {state for state, _ in (await states(edge)).values()} <= {"up", "half-open"}

    async def served() -> bool:
        url = f"http://{EDGE}:{EDGE_PORT}/ch1/{id(fresh)}-{next(fresh)}.m4s"
        return (await get_once(url, {"Host": HOST}, timeout_s=PATIENCE_S)).status == 200

    with lame(node, SHIELD) as first, lame(node, OTHER_SHIELD) as second:
        node.call(until, well)
        node.call(until, served)
        node.call(asyncio.sleep, NOTED_S)
        yield first, second


async def told(edge: EdgeDriver) -> JsonObject:
    return await units.ask(edge._server.places) or {}


async def states(edge: EdgeDriver) -> dict[str, tuple[str, bool]]:
    """Shield -> its state, and whether it is out; all of them unknown while healing does not answer."""
    answer = (await told(edge)).get("shields")
    if not isinstance(answer, dict):
        return {SHIELD: ("unknown", False)}
    found = {name: entry for name, entry in answer.items() if isinstance(entry, dict)}
    return {name: (str(entry["state"]), entry["out"] is True) for name, entry in found.items()}


class Player:
    """Asks for one new object after another; which shield each came from."""

    def __init__(self) -> None:
        self.answers: list[str] = []
        self.number = 0

    async def play(self) -> None:
        while True:
            self.number += 1
            url = f"http://{EDGE}:{EDGE_PORT}/ch1/{id(self)}-{self.number}.m4s"
            answer = await get_once(url, {"Host": HOST}, timeout_s=PATIENCE_S)
            self.answers.append(answer.headers.get("x-answered-by", "") if answer.status == 200 else str(answer.status))
            await asyncio.sleep(0.01)

    async def has(self, address: str, times: int = 3) -> None:
        """Until so many more answers have come, all of the last ones from `address`."""
        start = len(self.answers)

        async def come() -> bool:
            new = self.answers[start:]
            return len(new) >= times and set(new[-times:]) == {address}

        await until(come)


@contextlib.asynccontextmanager
async def playing(count: int = 4) -> AsyncIterator[list[Player]]:
    players = [Player() for _ in range(count)]
    tasks = [asyncio.create_task(player.play()) for player in players]
    try:
        yield players
    finally:
        for task in tasks:
            task.cancel()
        for found in await asyncio.gather(*tasks, return_exceptions=True):
            assert isinstance(found, asyncio.CancelledError), found


@pytest.mark.parametrize("fault", ["hangs", "dies", "fails", "dawdles"])
def test_a_shield_that_fails_is_left_alone_and_asked_again_when_it_is_well(
    node: Node, edge: EdgeDriver, shields: tuple[subprocess.Popen[bytes], subprocess.Popen[bytes]], fault: str
) -> None:
    first, _ = shields
    begin, end = {
        "hangs": (signal.SIGSTOP, signal.SIGCONT),
        "dies": (signal.SIGKILL, None),
        "fails": (signal.SIGUSR1, signal.SIGUSR1),
        "dawdles": (signal.SIGUSR2, signal.SIGUSR2),
    }[fault]

    async def out() -> bool:
        return (await states(edge)).get(SHIELD) in {("down", True), ("held", True)}

    async def back() -> bool:
        return (await states(edge)).get(SHIELD, ("", True))[1] is False

    async def play() -> None:
        async with playing() as players:
            for player in players:
                await player.has(SHIELD)
            first.send_signal(begin)
            await until(out)
            for player in players:
                await player.has(OTHER_SHIELD)
            with lame(node, SHIELD) if end is None else contextlib.nullcontext():
                if end is not None:
                    first.send_signal(end)
                await until(back)
                for player in players:
                    await player.has(SHIELD)
        answers = [answer for player in players for answer in player.answers]
        assert set(answers) == {SHIELD, OTHER_SHIELD}, "nobody was refused anything"

    node.call(play)


def test_requests_that_wait_at_a_hung_shield_are_answered_by_another(
    node: Node, edge: EdgeDriver, shields: tuple[subprocess.Popen[bytes], subprocess.Popen[bytes]]
) -> None:
    first, _ = shields

    async def play() -> None:
        async with playing(1) as players:
            await players[0].has(SHIELD)
        before = (await told(edge))["requests_ended"]
        first.send_signal(signal.SIGSTOP)
        urls = [f"http://{EDGE}:{EDGE_PORT}/ch1/waits-{number}.m4s" for number in range(8)]
        answers = await asyncio.gather(*(get_once(url, {"Host": HOST}, timeout_s=PATIENCE_S) for url in urls))
        assert {(answer.status, answer.headers.get("x-answered-by")) for answer in answers} == {(200, OTHER_SHIELD)}
        after = (await told(edge))["requests_ended"]
        assert isinstance(before, int)
        assert isinstance(after, int)
        assert after > before

    node.call(play)


def test_the_last_shield_is_never_put_out(
    node: Node, edge: EdgeDriver, shields: tuple[subprocess.Popen[bytes], subprocess.Popen[bytes]]
) -> None:
    _, second = shields

    async def all_down() -> bool:
        found = await states(edge)
        return {state for state, _ in found.values()} == {"down"} and sum(out for _, out in found.values()) == 1

    async def play() -> None:
        for process in shields:
            process.send_signal(signal.SIGUSR1)
        await until(all_down)
        second.send_signal(signal.SIGUSR1)

        async def swapped() -> bool:
            found = await states(edge)
            return found[SHIELD] == ("down", True) and found[OTHER_SHIELD][1] is False

        await until(swapped)
        async with playing(1) as players:
            await players[0].has(OTHER_SHIELD)

    node.call(play)


def test_what_was_decided_outlives_healing_and_traffic_server(
    node: Node, edge: EdgeDriver, shields: tuple[subprocess.Popen[bytes], subprocess.Popen[bytes]]
) -> None:
    first, _ = shields
    system = node.context().units

    async def pid_of(unit: str) -> int | None:
        status = await system.status(unit)
        return status.pid if status is not None else None

    async def killed(unit: str) -> None:
        before = await pid_of(unit)
        assert before is not None
        os.killpg(os.getpgid(before), signal.SIGKILL)

        async def another() -> bool:
            return await pid_of(unit) not in {before, None}

        await until(another)

    async def out() -> bool:
        return (await states(edge)).get(SHIELD) == ("down", True)

    async def serves() -> bool:
        try:
            answer = await get_once(
                f"http://{EDGE}:{EDGE_PORT}/ch1/{os.urandom(4).hex()}.m4s", {"Host": HOST}, timeout_s=PATIENCE_S
            )
        except UnavailableError:
            return False
        return answer.headers.get("x-answered-by") == OTHER_SHIELD

    async def play() -> None:
        first.send_signal(signal.SIGSTOP)
        await until(out)
        await killed(units.UNIT)
        await until(serves)
        await until(out)
        await killed("trafficserver")
        await until(serves)
        assert await out()
        state = await edge.observe()
        assert state.value == SECTION.to_json()

    node.call(play)


def test_healing_runs_where_there_are_two_shields_and_a_dead_one_is_drift(node: Node, edge: EdgeDriver) -> None:
    async def play() -> None:
        alone = SECTION.model_copy(update={"shields": SECTION.shields[:1]})
        await commit(edge, alone)
        assert await node.context().units.status(units.UNIT) is None
        await commit(edge, SECTION)
        await node.context().units.stop(units.UNIT)
        state = await edge.observe()
        assert state.value is not None
        assert state.value["healer"] == "stopped"
        (step,) = edge.plan(state, SECTION)
        assert step.disruption == ""
        await commit(edge, SECTION)

    node.call(play)
