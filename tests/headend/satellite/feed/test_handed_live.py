"""The feed with a fallback that another process hands over: the receiver's gap, the group, the clock, a restart."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from headend.datapath import tell
from headend.satellite.feed.client import FeedStatus
from tests.headend.multicast.source.netlab import Pair, in_namespace, namespaces
from tests.headend.satellite.feed.live import (
    Capture,
    Player,
    carrier,
    feeding,
    make_streams,
    playing_satellite,
    status_when,
)
from tests.headend.satellite.feed.test_live import judged_by_others

pytestmark = [pytest.mark.root, pytest.mark.daemon]

ADDRESS, PORT = "127.64.3.1", 5004
GAP_S = 1.0


@pytest.fixture(scope="module")
def streams(
    tmp_path_factory: pytest.TempPathFactory, require_root: Callable[[], None], require_programs: Callable[..., None]
) -> tuple[Path, Path]:
    require_root()
    require_programs("ffmpeg", "ffprobe", "tshark")
    return make_streams(tmp_path_factory.mktemp("streams"), 90)


def handed(**rules: Any) -> dict[str, Any]:
    data = carrier()
    (service,) = data["services"]
    for name in ("fallback_source", "fallback_group"):
        del service[name]
    failover = {"detect_ms": 500, "hold_down_ms": 1500, "max_per_hour": 20, "failback_after_ms": 1000}
    service |= {"fallback_address": ADDRESS, "fallback_port": PORT}
    service["failover"] = {**failover, "failback_approve": "auto", **rules}
    return data


@contextmanager
def playing_handed(pair: Pair, path: Path) -> Iterator[Player]:
    sock = in_namespace(pair.head, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)).result()
    player = Player(path, sock, (ADDRESS, PORT))
    try:
        yield player
    finally:
        player.close()


def on(name: str) -> Callable[[FeedStatus], bool]:
    return lambda found: found.services[0].input == name


def ready(found: FeedStatus) -> bool:
    service = found.services[0]
    return service.satellite.packets > 300 and service.fallback is not None and service.fallback.packets > 100


async def test_a_silent_satellite_is_replaced_within_a_second_on_the_same_group_and_comes_back(
    streams: tuple[Path, Path], tmp_path: Path
) -> None:
    many, single = streams
    with namespaces() as pair, playing_satellite(pair, many) as sky, playing_handed(pair, single):
        capture = Capture(pair)
        async with feeding(pair, tmp_path, handed()) as place:
            await status_when(place, ready)
            sky.playing.clear()
            status = await status_when(place, on("fallback"))
            assert status.problems == ()
            assert status.services[0].reason.startswith("satellite is down")
            await capture.until(len(capture.datagrams) + 100)
            sky.playing.set()
            status = await status_when(place, on("satellite"))
            await capture.until(len(capture.datagrams) + 50)
        capture.close()
    assert status.services[0].switches == 2
    assert capture.longest_gap_s() <= GAP_S
    judged_by_others(capture.datagrams, tmp_path)


async def test_bad_reception_goes_over_without_a_gap(streams: tuple[Path, Path], tmp_path: Path) -> None:
    many, single = streams
    with namespaces() as pair, playing_satellite(pair, many), playing_handed(pair, single):
        capture = Capture(pair)
        async with feeding(pair, tmp_path, handed()) as place:
            await status_when(place, ready)
            assert tell(place, reception="bad")
            await status_when(place, on("fallback"))
            await capture.until(len(capture.datagrams) + 50)
        capture.close()
    assert capture.longest_gap_s() <= GAP_S
    judged_by_others(capture.datagrams, tmp_path)


async def test_the_way_back_waits_for_an_operator_also_after_a_restart(
    streams: tuple[Path, Path], tmp_path: Path
) -> None:
    many, single = streams
    data = handed(failback_approve="operator")
    with namespaces() as pair, playing_satellite(pair, many) as sky, playing_handed(pair, single):
        async with feeding(pair, tmp_path, data) as place:
            await status_when(place, ready)
            sky.playing.clear()
            await status_when(place, on("fallback"))
            sky.playing.set()
            await status_when(place, lambda found: found.services[0].waiting)
        assert json.loads((place / "policy.json").read_text())["services"]["ch1/satellite"]["active"] == "fallback"
        async with feeding(pair, tmp_path, data) as place:
            status = await status_when(place, lambda found: found.services[0].waiting)
            assert (status.services[0].input, status.services[0].switches) == ("fallback", 1)
            assert tell(place, failback="ch1/satellite")
            status = await status_when(place, on("satellite"))
            assert status.services[0].switches == 2
