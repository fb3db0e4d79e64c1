"""Calls of a target and calls of nobody, and what all others see of both: by the judge, no difference."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from lab.interception.judge import Verdict, judge
from lab.interception.mask import published
from sip.rtpengine.naming import HTTP_PORT
from tests.sip.interception.asker import another
from tests.sip.interception.delaying import ADDRESS, path
from tests.sip.interception.seen import Seen, spoken
from tests.sip.interception.world import core
from tests.sip.kamailio.daemon import USERS

# A comparison of what a machine does wants one that does nothing else.
pytestmark = [pytest.mark.root, pytest.mark.daemon, pytest.mark.soak]

ROUNDS = 5
PORTS = (20000 + 200 * USERS.index("bob"), 20198 + 200 * USERS.index("bob"))
ALONE = {"media_servers": [], "services": [], "trunks": [], "plan": [], "emergency": None}
"""Peers that are not there go up and down with each ping."""


@pytest.fixture(scope="module")
def seen(
    require_root: Callable[[], None],
    require_programs: Callable[..., None],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Seen]:
    require_root()
    require_programs("kamailio", "rtpengine", "dumpcap", "setpriv", "ss")
    folder = tmp_path_factory.mktemp("s")
    with core(folder, f"--listen-http=127.0.0.1:{HTTP_PORT}", "--log-level=5", **ALONE) as (proxy, relay, point):
        yield Seen(proxy, relay, point, folder)


def judged(seen: Seen, rounds: int = ROUNDS) -> Verdict:
    async def run() -> Verdict:
        async with another(seen.point.run_dir) as asker:
            made = await seen.rounds(rounds, asker)
        print(f"    {spoken(made)} packets timed at the called")
        return judge(made, published())

    verdict = asyncio.run(run())
    for source, one in verdict.times.items():
        print(f"    {source}: {one.text()}")
    print(verdict.text()[:20_000])
    return verdict


def test_nobody_can_tell_calls_of_a_target_from_others(seen: Seen) -> None:
    verdict = judged(seen)
    assert verdict.text() == ""
    assert verdict.same
    assert verdict.unused == (), "the published mask masks what does not differ"


def test_what_is_planted_is_found(seen: Seen) -> None:
    """Two milliseconds on the way of media, a line in a log, a metric: each of them, and nothing else."""
    with path(PORTS) as way:

        def plant(on: bool) -> None:
            way.delay(0.002 if on else 0.0)
            spoiled.added = "# TYPE planted gauge\nplanted 1\n" if on else ""
            if on:
                with seen.proxy.log.open("a") as log:
                    log.write("1(1) INFO: copying to somebody\n")

        spoiled = replace(seen, plant=plant, by=ADDRESS)
        verdict = judged(spoiled)
    assert {one.source.partition(":")[0] for one in verdict.differences} == {"rtp", "log", "metric"}
    for kind, word in (("rtp", "D = "), ("log", "copying to somebody"), ("metric", "planted")):
        assert any(word in one.text() for one in verdict.about(kind)), verdict.text()
    for party in ("the caller", "the called"):
        assert any(f"under way to {party}" in one.source for one in verdict.differences), verdict.text()


@pytest.mark.timeout(1800, func_only=True)
def test_nobody_can_tell_in_many_calls(seen: Seen) -> None:
    verdict = judged(replace(seen, calls=4, heard=150), rounds=40)
    assert verdict.text() == ""
