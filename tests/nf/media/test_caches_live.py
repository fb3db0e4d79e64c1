"""Shield and edge as they run: Varnish and Traffic Server in front of a tiny origin, changed, broken and taken back."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nf.clock import RealClock
from nf.errors import DriverError
from nf.media.edge.access_log import ACCESS_LOG, AccessLog
from nf.media.edge.check import verify_config
from nf.media.edge.driver import EdgeDriver
from nf.media.edge.driver import create as create_edge
from nf.media.edge.render import LOGS_MB, REMAP, Places, render
from nf.media.edge.server import UNIT as EDGE_UNIT
from nf.media.edge.server import make_directories
from nf.media.edge.telemetry import EdgeWatch
from nf.media.http import cache_status
from nf.media.shield.driver import ShieldDriver
from nf.media.shield.driver import create as create_shield
from nf.media.shield.render import render as render_vcl
from nf.media.shield.telemetry import ShieldWatch
from nf.media.shield.varnish import UNIT as SHIELD_UNIT
from nf.media.shield.varnish import check_candidate
from nf.telemetry.alarms import AlarmEvent, Severity
from nf.telemetry.samples import Sample
from tests.headend.multicast.tree.network import Node, commit, context, nodes, take_back, until
from tests.nf.media.cdn import (
    BODY,
    EDGE,
    EDGE_PORT,
    OTHER_SHIELD,
    SHIELD,
    SHIELD_PORT,
    STRANGER,
    ask,
    edge_section,
    edge_stores,
    from_edge,
    from_shield,
    many,
    origin,
    shield_section,
)

pytestmark = [pytest.mark.root, pytest.mark.daemon]


@pytest.fixture(scope="module")
def node(require_programs: Callable[..., None]) -> Iterator[Node]:
    require_programs("varnishd", "traffic_manager", "gcc")
    with nodes("pop1") as made:
        made["pop1"].supervise()
        yield made["pop1"]


@pytest.fixture(scope="module")
def shield(node: Node) -> ShieldDriver:
    return create_shield(node.context())


@pytest.fixture(scope="module")
def edge(node: Node) -> EdgeDriver:
    return create_edge(node.context())


@pytest.fixture
def base(node: Node, shield: ShieldDriver, edge: EdgeDriver) -> None:
    """One channel stands, whatever a former test left."""

    async def stand() -> None:
        await commit(shield, shield_section("ch1"))
        await commit(edge, edge_section("ch1"))

    node.call(stand)


def test_the_first_request_fills_and_the_next_is_a_hit(node: Node, base: None) -> None:
    async def play() -> None:
        async with origin() as source:
            await edge_stores("/ch1/any.m4s")
            source.asked.clear()
            first, second = await from_edge("/ch1/first.m4s"), await from_edge("/ch1/first.m4s?session=1")
            assert (first.status, first.body) == (200, BODY)
            assert cache_status(first.headers) == "miss"
            assert cache_status(second.headers) == "hit"
            assert source.asked == ["/media/ch1/first.m4s"]
            # What the edge filled, the shield has too.
            assert (await from_shield("/media/ch1/first.m4s")).headers["x-shield"] == "hit"

    node.call(play)


def test_a_manifest_is_fresh_for_half_a_segment_and_an_error_never_stays(node: Node, base: None) -> None:
    async def play() -> None:
        async with origin() as source:
            manifest = await from_shield("/media/ch1/master.m3u8")
            assert manifest.headers["cache-control"] == "public, max-age=1"
            assert (await from_shield("/media/ch1/missing.m4s")).status == 404
            assert (await from_shield("/media/other/x.m4s")).status == 404
            assert (await from_edge("/other/x.m4s")).status == 404
            assert source.asked == ["/media/ch1/master.m3u8", "/media/ch1/missing.m4s"]

    node.call(play)


def test_only_the_appliance_itself_may_purge(node: Node, base: None) -> None:
    async def play() -> None:
        async with origin() as source:
            await from_edge("/ch1/purged.m4s")
            path = "/media/ch1/purged.m4s"
            assert await ask("PURGE", SHIELD, SHIELD_PORT, path, STRANGER) == 403
            assert await ask("PURGEKEYS", SHIELD, SHIELD_PORT, "/", STRANGER, xkey="ch1") == 403
            assert await ask("PURGE", EDGE, EDGE_PORT, "/ch1/purged.m4s", STRANGER) == 403
            assert (await from_shield(path)).headers["x-shield"] == "hit"
            assert await ask("PURGEKEYS", SHIELD, SHIELD_PORT, "/", SHIELD, xkey="ch1") == 200
            assert (await from_shield(path)).headers["x-shield"] == "miss"
            assert await ask("PURGE", SHIELD, SHIELD_PORT, path, SHIELD) == 200
            assert await ask("PURGE", EDGE, EDGE_PORT, "/ch1/purged.m4s", EDGE) == 200
            assert cache_status((await from_edge("/ch1/purged.m4s")).headers) == "miss"
            assert source.asked == [path] * 3

    node.call(play)


def test_a_channel_is_added_and_taken_back_to_the_byte(
    node: Node, base: None, shield: ShieldDriver, edge: EdgeDriver
) -> None:
    async def play() -> None:
        files, vcl = edge._server.read_files(), await shield._varnish.live()
        pids = [status.pid for status in await node.context().units.list()]
        states = await shield.observe(), await edge.observe()
        assert states[0].facts == {"shield ch1"}
        assert states[1].facts == {"edge ch1"}
        undos = await commit(shield, shield_section("ch1", "ch2")), await commit(edge, edge_section("ch1", "ch2"))
        async with origin():
            assert (await from_edge("/ch2/new.m4s")).status == 200
        assert (await edge.observe()).facts == {"edge ch1", "edge ch2"}
        await take_back(edge, undos[1])
        await take_back(shield, undos[0])
        assert edge._server.read_files() == files
        assert await shield._varnish.live() == vcl == shield._varnish.read()
        assert (await shield.observe(), await edge.observe()) == states
        assert (await from_edge("/ch2/new.m4s")).status == 404
        assert [status.pid for status in await node.context().units.list()] == pids  # none was restarted

    node.call(play)


def test_a_dead_shield_is_passed_over(node: Node, base: None, shield: ShieldDriver) -> None:
    async def play() -> None:
        async with origin(), origin(OTHER_SHIELD, SHIELD_PORT) as other:
            watch = ShieldWatch("c1", RealClock())
            await watch.take(shield_section("ch1"), shield._varnish)
            await node.context().units.stop(SHIELD_UNIT)
            (silent,) = await watch.take(shield_section("ch1"), shield._varnish)
            assert isinstance(silent, AlarmEvent)
            assert (silent.cause, silent.severity) == ("shield-silent", Severity.MAJOR)
            assert (await shield.observe()).value != shield_section("ch1").to_json()
            answer = await from_edge("/ch1/elsewhere.m4s")
            assert (answer.status, answer.body) == (200, BODY)
            assert [asked for asked in other.asked if asked != "/nf/health"] == ["/media/ch1/elsewhere.m4s"]
        assert "Varnish is stopped" in (await shield.verify(shield_section("ch1"), context(0.0))).differences
        await commit(shield, shield_section("ch1"))

    node.call(play)


def test_a_dead_edge_is_an_alarm_and_comes_back_with_what_it_had(node: Node, base: None, edge: EdgeDriver) -> None:
    async def play() -> None:
        units, watch = node.context().units, EdgeWatch("pop1", RealClock(), AccessLog(node.run_dir / "none"))
        before = await units.status(EDGE_UNIT)
        assert before is not None
        assert before.pid is not None
        async with origin() as source:
            await from_edge("/ch1/kept.m4s")
            await watch.take(edge_section("ch1"))
            os.killpg(os.getpgid(before.pid), signal.SIGKILL)
            told: list[AlarmEvent] = []

            async def back() -> bool:
                told.extend(e for e in await watch.take(edge_section("ch1")) if isinstance(e, AlarmEvent))
                return [alarm.severity for alarm in told] == [Severity.MAJOR, Severity.CLEARED]

            await until(back)
            assert {alarm.cause for alarm in told} == {"edge-silent"}
            now = await units.status(EDGE_UNIT)
            assert now is not None
            assert now.pid != before.pid
            answer = await from_edge("/ch1/kept.m4s")
            assert (answer.status, answer.body) == (200, BODY)
            assert source.asked == ["/media/ch1/kept.m4s"], "one that is killed keeps its cache, or asks the shield"

        async def ready() -> bool:
            return (await edge.observe()).facts == {"edge ch1"}

        await until(ready)

    node.call(play)


def test_a_bad_remap_is_found_although_the_reload_reports_success(node: Node, base: None, edge: EdgeDriver) -> None:
    async def play() -> None:
        server = edge._server
        section = edge_section("ch1", "ch3")
        good = server.read_files()
        bad = render(section, server.places)
        bad[REMAP] += "map this is no rule\n"
        with pytest.raises(DriverError, match=r"did not take its configuration.*failed to add remap rule"):
            await server.activate(bad, 30.0)
        state = await edge.observe()
        assert state.value is not None
        assert state.value["altered"] == [REMAP]
        assert state.facts == frozenset()
        async with origin():
            assert (await from_edge("/ch1/still.m4s")).status == 200  # the old table is kept
        await server.activate(good, 30.0)
        assert (await edge.observe()).facts == {"edge ch1"}

    node.call(play)


def test_candidates_are_refused_with_the_programs_own_words(node: Node) -> None:
    async def play() -> None:
        place = node.run_dir.parent / "candidate"  # pytest's own directories are closed to the program's user
        places = Places(place / "edge", place / "cache")
        make_directories(places)
        files = render(edge_section("ch1"), places)
        await verify_config(places, files)
        with pytest.raises(DriverError, match="would not take"):
            await verify_config(places, {**files, REMAP: files[REMAP].replace("cachekey.so", "absent.so")})
        with pytest.raises(DriverError, match=r"would not take.*Expected"):
            await check_candidate(render_vcl(shield_section("ch1")).replace("return (hash);", "return (nowhere)"))

    node.call(play)


def test_changes_by_hand_are_drift_and_are_put_right(
    node: Node, base: None, shield: ShieldDriver, edge: EdgeDriver
) -> None:
    async def play() -> None:
        server = edge._server
        path = server.places.config / REMAP
        path.write_text(path.read_text().replace("http://cdn.", "http://other."))
        vcl = render_vcl(shield_section("ch1")).replace("1h", "2h")
        await shield._varnish.activate(shield_section("ch1"), vcl)
        assert (await edge.verify(edge_section("ch1"), context(0.0))).differences == (
            "remap.config was changed by hand",
        )
        assert (await shield.verify(shield_section("ch1"), context(0.0))).differences == (
            "the live VCL was changed by hand",
        )
        undo = await commit(shield, shield_section("ch1"))
        await take_back(shield, undo)
        assert await shield._varnish.live() == vcl
        await commit(shield, shield_section("ch1"))
        await commit(edge, edge_section("ch1"))
        async with origin():
            assert (await from_edge("/ch1/again.m4s")).status == 200

    node.call(play)


def test_a_killed_cache_comes_back_with_its_configuration(node: Node, base: None, shield: ShieldDriver) -> None:
    async def play() -> None:
        before = await node.context().units.status(SHIELD_UNIT)
        assert before is not None
        assert before.pid is not None
        os.kill(before.pid, signal.SIGKILL)

        async def back() -> bool:
            now = await node.context().units.status(SHIELD_UNIT)
            return now is not None and now.pid != before.pid and (await shield.observe()).facts == {"shield ch1"}

        await until(back)

    node.call(play)


def test_counters_become_samples_of_the_channel(node: Node, base: None, shield: ShieldDriver, edge: EdgeDriver) -> None:
    async def play() -> None:
        clock = RealClock()
        log = AccessLog(edge._server.places.logs / ACCESS_LOG)
        at_shield, at_edge = ShieldWatch("c1", clock), EdgeWatch("pop1", clock, log)
        await at_shield.take(shield_section("ch1"), shield._varnish)
        first = (await at_edge.take(edge_section("ch1")))[-1]
        assert isinstance(first, Sample)
        async with origin():
            for _ in range(3):
                await from_edge("/ch1/counted.m4s")

            async def counted() -> bool:
                sample = (await at_edge.take(edge_section("ch1")))[-1]
                assert isinstance(sample, Sample)
                assert sample.values.get("bitrate_bps", 1.0) > 0, "known, or left out"
                return (
                    # The log is a second behind: what was asked before the first look may come after it.
                    sample.values["packets"] >= first.values["packets"] + 3
                    and sample.values["hits"] >= 2
                    and sample.values["wanted"] == 1.0
                    and "bitrate_bps" in sample.values
                )

            await until(counted)
            log.close()
        sample = (await at_shield.take(shield_section("ch1"), shield._varnish))[-1]
        assert isinstance(sample, Sample)
        assert sample.labels == {"channel": "ch1", "path": "ott", "point": "shield"}
        assert sample.values["wanted"] == 1.0
        assert sample.values["bitrate_bps"] > 0

    node.call(play)


async def rolled(logs: Path) -> None:
    """Until there is a rolled file. One that alone is above what logs may have, as behind a slow disk, goes at once."""
    for _ in range(20):
        if any(name.endswith(".old") for name in os.listdir(logs)):  # noqa: PTH208 - in a coroutine
            return
        await many("/ch1/told.m4s?" + "x" * 6000, 1500)
    pytest.fail("nothing is rolled")


def test_the_access_log_is_json_that_is_rolled_and_whose_size_is_bounded(
    node: Node, base: None, edge: EdgeDriver
) -> None:
    logs = edge._server.places.logs

    def lines() -> list[dict[str, object]]:
        found: list[dict[str, object]] = []
        for path in sorted(logs.glob("access.log*")):
            with contextlib.suppress(FileNotFoundError):  # it is rolled meanwhile
                found += map(json.loads, path.read_text().splitlines())
        return found

    async def play() -> None:
        async with origin():
            for path in ("/ch1/told.m4s", "/ch1/told.m4s?a=%22b"):
                await from_edge(path)
            await ask("GET", EDGE, EDGE_PORT, '/ch1/told.m4s?"},{"x":"\\', EDGE)

            async def told() -> bool:
                found = [line for line in lines() if "told.m4s" in str(line["url"])]
                return len(found) == 3 and str(found[0]["cache"]) == "TCP_MISS" and "HIT" in str(found[1]["cache"])

            await until(told)
            sent = 0
            while sent < (LOGS_MB + 10) * 1_000_000:
                sent += await many("/ch1/told.m4s?" + "x" * 6000, 1500)

            async def bounded() -> bool:
                files = list(logs.iterdir())
                try:
                    oldest = any(b"told.m4s?a=" in path.read_bytes() for path in files)
                    return not oldest and sum(path.stat().st_size for path in files) <= LOGS_MB * 1_000_000
                except FileNotFoundError:  # the same
                    return False

            await until(bounded)
            await rolled(logs)
            await until(bounded)
            assert lines()

    node.call(play)


def test_what_was_never_there_leaves_nothing_and_what_was_there_comes_back(
    node: Node, base: None, shield: ShieldDriver, edge: EdgeDriver
) -> None:
    async def play() -> None:
        removed = await commit(edge, None), await commit(shield, None)
        for driver, unit in ((edge, EDGE_UNIT), (shield, SHIELD_UNIT)):
            assert (await driver.observe()).value is None
            assert await node.context().units.status(unit) is None
        made = await commit(shield, shield_section("ch1")), await commit(edge, edge_section())
        await take_back(edge, made[1])
        await take_back(shield, made[0])
        assert not edge._server.places.root.exists()
        assert not shield._varnish.directory.exists()
        await take_back(shield, removed[1])
        await take_back(edge, removed[0])
        assert (await edge.observe()).facts == {"edge ch1"}
        assert (await shield.observe()).facts == {"shield ch1"}

    node.call(play)
