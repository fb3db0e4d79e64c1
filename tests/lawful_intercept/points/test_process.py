"""How the process starts, and when it refuses to."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from lawful_intercept.configuration import load
from lawful_intercept.points.process import factories, run
from lawful_intercept.points.settings import PointsSettings
from lawful_intercept.timesync import ClockState, TimeSync
from lawful_intercept.tls import client_context
from lawful_intercept.x1.client import X1Client
from lawful_intercept.x1.faults import Code, X1Fault
from nf.clock import RealClock
from nf.errors import DocumentError, IdentityError, NotFoundError
from tests.lawful_intercept.points.live import MAIN, certificates
from tests.lawful_intercept.points.world import ALICE, destination, task

ROOT = Path(__file__).parents[3]


def written(folder: Path, **given: object) -> Path:
    files = {
        "certificate": str(folder / "poi1.pem"),
        "key": str(folder / "poi1.key"),
        "authority": str(folder / "ca.pem"),
    }
    text = {
        "name": "poi1",
        "state": str(folder / "state"),
        "store_key": f"file:{folder / 'store'}",
        "run_dir": str(folder / "run"),
        "listen": {"address": "127.0.0.1", "port": 0},
        "tls": files,
        "admf": {"name": "admf1", "url": "https://127.0.0.1:9/X1/ADMF"},
        "delivery": {"tls": files, "mediation": ["mdf1"]},
        "points": {"sip": {"content": "media"}},
        **given,
    }
    path = folder / "points.yaml"
    path.write_text(yaml.safe_dump(text))
    path.chmod(0o600)
    return path


def test_only_the_media_of_calls_come_from_elsewhere(tmp_path: Path) -> None:
    with pytest.raises(DocumentError):
        load(written(tmp_path, points={"core5g": {"content": "n6", "copies": "10.7.0.1"}}), PointsSettings)


def test_the_manual_shows_a_file_that_is_read(tmp_path: Path) -> None:
    text = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/interception-points.md").read_text(), re.DOTALL)
    (tmp_path / "c.yaml").write_text(text[0])
    (tmp_path / "c.yaml").chmod(0o600)
    found = load(tmp_path / "c.yaml", PointsSettings)
    assert (found.points["sip"].content, found.points["core5g"].content) == ("media", "n6")


@pytest.mark.parametrize(
    "given",
    [
        {"points": {}},
        {"points": {"email": {}}},
        {"admf": {"name": "admf1", "url": "http://127.0.0.1:9/X1/ADMF"}},
        {"keepalive_s": 1},
        {"agency": "x"},
    ],
)
def test_a_file_that_is_wrong_is_refused(tmp_path: Path, given: dict[str, object]) -> None:
    with pytest.raises(DocumentError):
        load(written(tmp_path, **given), PointsSettings)


def test_observation_points_are_found_by_their_entry_points() -> None:
    assert set(factories({"sip": None, "core5g": None})) == {"sip", "core5g"}
    with pytest.raises(NotFoundError):
        factories({"nothing": None})


async def test_a_certificate_of_another_name_is_refused(tmp_path: Path) -> None:
    certificates(tmp_path)
    with pytest.raises(IdentityError):
        await run(load(written(tmp_path, name="poi2"), PointsSettings), RealClock())


async def test_nothing_is_activated_by_a_clock_that_may_be_wrong(tmp_path: Path) -> None:
    made = certificates(tmp_path)
    settings = load(written(tmp_path), PointsSettings)
    port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    states = [ClockState(None, None, None, "?"), ClockState(True, 0.0, 0.0, "?")]
    running = asyncio.create_task(
        run(settings, RealClock(), timesync=TimeSync(lambda: states.pop(0)), ready=port.set_result)
    )
    try:
        url = f"https://127.0.0.1:{await asyncio.wait_for(port, 60)}/X1/NE"
        client = X1Client(url, client_context(made["admf1"]), "admf1", "poi1")
        await client.create_destination(destination())
        with pytest.raises(X1Fault) as refused:
            await client.activate_task(task(ALICE))
        assert refused.value.code == Code.ACTIVATE_FAILED
        await client.activate_task(task(ALICE))
        record = await client.get_task_details(task(ALICE).xid)
        assert record.status.faults, "no observation point is here"
        assert (await client.get_ne_status()).faults
        await client.close()
        stranger = X1Client(url, client_context(made["mdf1"]), "mdf1", "poi1")
        with pytest.raises(X1Fault):
            await stranger.ping()
        await stranger.close()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def test_a_process_that_cannot_start_leaves_no_traceback(tmp_path: Path) -> None:
    certificates(tmp_path)
    path = written(tmp_path)
    (tmp_path / "poi1.key").unlink()
    argv = [sys.executable, "-c", MAIN, str(path)]
    ran = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=120)
    assert (ran.returncode, ran.stdout, ran.stderr) == (1, "", "")


async def test_a_key_that_is_not_there_is_said(tmp_path: Path) -> None:
    certificates(tmp_path)
    (tmp_path / "poi1.key").unlink()
    with pytest.raises(NotFoundError, match="a private key is not there"):
        await run(load(written(tmp_path), PointsSettings), RealClock())
