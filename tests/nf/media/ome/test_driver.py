"""The driver against the recorded contract. Not run against a real OvenMediaEngine."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nf.clock import RealClock
from nf.contracts.driver import Context, DriverContext, Undo
from nf.errors import NfError, RefusedError
from nf.media.documents import OmeSection
from nf.media.ome.driver import OmeDriver
from nf.telemetry.alarms import AlarmEvent, Severity
from tests.nf.media.ome.contract import PROFILES, TOKEN, Engine, serving


def driver(place: Path, token: str = TOKEN) -> OmeDriver:
    secret = place / "ome-token"
    secret.touch(mode=0o600)
    secret.write_text(token)
    return OmeDriver(DriverContext("headend", place, place / "state", None, RealClock()), place)  # type: ignore[arg-type]


def section(endpoint: str, *apps: str, profile: str | None = None, pull: str = "rtsp://10.0.9.2/ch") -> OmeSection:
    streams = [
        {"channel": f"ch{n}", "path": "ott", "app": app, "pull": [pull], "to": "10.1.0.10", "port": 6001 + n}
        | ({"profile": profile} if profile else {})
        for n, app in enumerate(apps)
    ]
    return OmeSection.model_validate({"endpoint": endpoint, "token": "secret:ome-token", "streams": streams})


def context() -> Context:
    clock = RealClock()
    return Context(clock, clock.monotonic() + 20)


async def commit(it: OmeDriver, want: OmeSection | None) -> list[Undo]:
    steps, undos = it.plan(await it.observe(), want), []
    await it.check(steps, want)
    for step in steps:
        undos.append(await it.prepare(step))
        await it.apply(step, context())
        await it.apply(step, context())  # a crash can repeat it
    assert not (await it.verify(want, context())).differences
    assert it.plan(await it.observe(), want) == ()
    return undos


async def test_a_stream_is_pulled_and_pushed_and_taken_back(tmp_path: Path) -> None:
    engine, it = Engine(declared={"live": PROFILES}), driver(tmp_path)
    with serving(engine) as endpoint:
        undos = await commit(it, section(endpoint, "live"))
        assert engine.streams["live", "nf.ch0.ott"]["properties"] == {"persistent": True}
        push = engine.pushes["live", "nf.ch0.ott"]
        assert (push["protocol"], push["url"]) == ("mpegts", "udp://10.1.0.10:6001")
        await commit(it, section(endpoint, "live", pull="ovt://10.0.9.3/ch"))
        assert engine.streams["live", "nf.ch0.ott"]["urls"] == ["ovt://10.0.9.3/ch"]
        engine.pushes.clear()  # somebody stopped it by hand
        (step,) = it.plan(await it.observe(), section(endpoint, "live", pull="ovt://10.0.9.3/ch"))
        await it.apply(step, context())
        assert engine.pushes
        for undo in undos:
            await it.undo(undo, context())
        assert (engine.streams, engine.pushes) == ({}, {})
        assert (await it.observe()).value is None


async def test_an_application_is_made_and_its_restart_is_told_before(tmp_path: Path) -> None:
    engine, it = Engine(), driver(tmp_path)
    with serving(engine) as endpoint:
        want = section(endpoint, "iptv", profile="bypass")
        undos = await commit(it, want)
        assert engine.made["iptv"]["dynamic"]
        other = section(endpoint, "iptv", profile="other")
        (step,) = it.plan(await it.observe(), other)
        assert "restarts the application iptv" in step.disruption
        assert not engine.restarts
        await commit(it, other)
        assert engine.restarts == ["iptv"]
        await commit(it, None)
        assert "iptv" in engine.made
        await it.undo(undos[0], context())
        assert not engine.made


async def test_what_cannot_be_taken_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    engine = Engine(declared={"live": PROFILES})
    with serving(engine) as endpoint:
        refused = (
            (driver(tmp_path), section(endpoint, "live", profile="other"), "declared in Server.xml"),
            (driver(tmp_path), section(endpoint, "absent"), "no application absent"),
            (driver(tmp_path, "wrong"), section(endpoint, "live"), "refuses the token"),
            (driver(tmp_path), section("http://127.0.0.1:9", "live"), "does not answer"),
        )
        for it, want, said in refused:
            it = driver(tmp_path, "wrong" if "token" in said else TOKEN)  # noqa: PLW2901 - the secret is a file
            with pytest.raises(RefusedError) as told:
                await it.check(it.plan(await it.observe(), want), want)
            assert said in str(told.value.problems)
            assert TOKEN not in str(told.value.problems)
        assert not engine.writes


async def test_an_engine_that_went_away_is_an_alarm(tmp_path: Path) -> None:
    it = driver(tmp_path)
    with serving(Engine(declared={"live": PROFILES})) as endpoint:
        await commit(it, section(endpoint, "live"))
    events = it.events()
    event = await anext(events)
    assert isinstance(event, AlarmEvent)
    assert (event.cause, event.severity) == ("engine-unreachable", Severity.MAJOR)
    await events.aclose()  # type: ignore[attr-defined]  # it is an async generator


APPS = st.sampled_from(["live", "iptv", "sport", "news"])


@settings(max_examples=10, deadline=None)
@given(
    st.sets(APPS),
    st.lists(st.tuples(st.lists(APPS, max_size=3), st.sampled_from([None, "bypass", "other"])), min_size=1, max_size=4),
)
def test_nothing_that_server_xml_declares_is_ever_written(
    declared: set[str], commits: list[tuple[list[str], str | None]]
) -> None:
    engine = Engine(dict.fromkeys(declared, PROFILES), {app: ["studio"] for app in declared})
    before: dict[str, Any] = {app: dict(PROFILES) for app in declared}

    async def work(endpoint: str, it: OmeDriver) -> None:
        undos: list[Undo] = []
        for apps, profile in commits:
            try:
                undos += await commit(it, section(endpoint, *apps, profile=profile))
            except RefusedError:
                continue
        for undo in reversed(undos):
            try:
                await it.undo(undo, context())
            except NfError:
                continue

    with tempfile.TemporaryDirectory() as place, serving(engine) as endpoint:
        asyncio.run(work(endpoint, driver(Path(place))))
    assert engine.declared == before
    declared_paths = {f"/v1/vhosts/default/apps/{app}" for app in declared}
    assert not [path for _, path in engine.writes if path in declared_paths or path.endswith("/streams/studio")]
