"""The feed as a process, on streams that ffmpeg made; judged by our probe, tshark and ffprobe."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from headend.datapath import tell
from headend.satellite.feed.client import FeedStatus, ask
from headend.transport.continuity import ContinuityMonitor
from nf.documents.appliance import ProbeTarget
from tests.headend.multicast.source.netlab import RECEIVER, SOURCE, Pair, namespaces, run
from tests.headend.multicast.test_probe import watching
from tests.headend.multicast.tree.network import until
from tests.headend.satellite.feed.live import (
    GROUP,
    PORT,
    Capture,
    carrier,
    feeding,
    make_streams,
    playing_fallback,
    playing_satellite,
    status_when,
    write_pcap,
)

pytestmark = [pytest.mark.root, pytest.mark.daemon]


@pytest.fixture(scope="module")
def streams(
    tmp_path_factory: pytest.TempPathFactory, require_root: Callable[[], None], require_programs: Callable[..., None]
) -> tuple[Path, Path]:
    require_root()
    require_programs("ffmpeg", "ffprobe", "tshark")
    return make_streams(tmp_path_factory.mktemp("streams"))


def target() -> ProbeTarget:
    arguments = {"source": SOURCE, "group": GROUP, "port": PORT, "interface": RECEIVER, "rate": "1M"}
    return ProbeTarget(id="ch1/satellite/r1", kind="ssm", channel="ch1", path="satellite", arguments=arguments)


def memberships(pair: Pair) -> int:
    """How many sockets of the PoP ask for the fallback."""
    lines = run("ip", "netns", "exec", pair.head, "cat", "/proc/net/mcfilter").splitlines()
    return next((int(line.split()[4]) for line in lines if "0xe80a0101" in line), 0)


def tshark_drops(path: Path) -> int:
    fields = ["-d", f"udp.port=={PORT},mp2t", "-T", "fields", "-e", "mp2t.cc.drop"]
    command = ["tshark", "-r", str(path), *fields]
    return len(re.findall(r"\S+", subprocess.run(command, check=True, capture_output=True, text=True).stdout))


async def test_a_switch_to_the_fallback_and_back_shows_no_continuity_error(
    streams: tuple[Path, Path], tmp_path: Path
) -> None:
    many, single = streams
    with namespaces() as pair, playing_satellite(pair, many) as sky, playing_fallback(pair, single):
        capture = Capture(pair)
        async with feeding(pair, tmp_path, carrier()) as place, watching(pair, target()) as watch:
            await watch.until(lambda sample: sample.up)
            status = await status_when(place, lambda found: found.services[0].satellite.packets > 300)
            assert status.services[0].fallback is not None
            assert status.services[0].fallback.present
            assert (status.problems, status.services[0].input, status.reception) == ((), "satellite", "good")
            sky.playing.clear()
            await status_when(place, lambda found: found.services[0].input == "fallback")
            await watch.until(lambda sample: sample.up)
            assert memberships(pair) == 2  # it is asked for, and fetched, before and after
            sky.playing.set()
            await status_when(place, lambda found: found.services[0].input == "satellite")
            await capture.until(len(capture.datagrams) + 20)
            assert memberships(pair) == 2
            ended = await watch.until(lambda sample: sample.up)
            status = await status_when(place, lambda _: True)
        capture.close()
    service = status.services[0]
    assert service.switches >= 2
    assert service.continuity_errors == ended.continuity_errors == 0
    assert service.fallback is not None
    assert (service.satellite.continuity_errors, service.fallback.continuity_errors, service.send_errors) == (0, 0, 0)
    assert {len(datagram) for datagram in capture.datagrams} <= {188 * count for count in range(1, 8)}
    assert sum(len(datagram) < 1316 for datagram in capture.datagrams) <= 3
    judged_by_others(capture.datagrams, tmp_path)


def judged_by_others(datagrams: list[bytes], directory: Path) -> None:
    monitor = ContinuityMonitor()
    for datagram in datagrams:
        monitor.receive(datagram, 0)
    assert (monitor.continuity_errors, monitor.sync_errors) == (0, 0)
    write_pcap(datagrams, directory / "out.pcap")
    assert tshark_drops(directory / "out.pcap") == 0
    (directory / "out.ts").write_bytes(b"".join(datagrams))
    command = ["ffprobe", "-v", "error", "-show_programs", "-show_streams", "-of", "json", str(directory / "out.ts")]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    (program,) = found["programs"]
    assert (program["program_num"], program["pmt_pid"], program["pcr_pid"]) == (11, 0x100, 0x111)
    assert {(s["codec_name"], s["id"]) for s in program["streams"]} == {("h264", "0x111"), ("aac", "0x121")}
    assert len(found["streams"]) == 2


async def test_a_loss_on_the_way_to_the_receiver_is_seen_behind_the_feed(
    streams: tuple[Path, Path], tmp_path: Path
) -> None:
    many, _ = streams
    alone = carrier()
    for name in ("fallback_source", "fallback_group", "fallback_port"):
        del alone["services"][0][name]
    with namespaces() as pair, playing_satellite(pair, many) as sky:
        capture = Capture(pair)
        async with feeding(pair, tmp_path, alone) as place:
            await capture.until(10)

            def hit(found: FeedStatus) -> bool:
                """What is lost may all be of others: then more of it."""
                enough = found.services[0].satellite.continuity_errors > 0
                sky.lose = 0 if enough else sky.lose or 5
                return enough

            status = await status_when(place, hit)
            await capture.until(len(capture.datagrams) + 10)
            status = await status_when(place, lambda _: True)
        capture.close()
    errors = status.services[0].continuity_errors
    write_pcap(capture.datagrams, tmp_path / "out.pcap")
    assert tshark_drops(tmp_path / "out.pcap") == errors == status.services[0].satellite.continuity_errors > 0
    assert status.services[0].switches == 0


async def test_a_service_comes_and_goes_while_the_other_one_runs_on(streams: tuple[Path, Path], tmp_path: Path) -> None:
    many, _ = streams
    one, two = carrier(), carrier()
    other = {**one["services"][0], "channel": "ch2", "service_id": 12, "group": "232.20.1.2"}
    two["services"] = [one["services"][0], other]
    with namespaces() as pair, playing_satellite(pair, many):
        first, second = Capture(pair), Capture(pair, "232.20.1.2")
        async with feeding(pair, tmp_path, one) as place:
            await first.until(10)
            before = await ask(place)
            (tmp_path / "c1.json").write_text(json.dumps(two))
            assert tell(place, reload=True)
            await second.until(10)
            (tmp_path / "c1.json").write_text(json.dumps(one))
            assert tell(place, reload=True)
            await status_when(place, lambda found: len(found.services) == 1)
            (tmp_path / "c1.json").write_text("{}")
            assert tell(place, reload=True)
            refused = await status_when(place, lambda found: bool(found.problems))
            await first.until(len(first.datagrams) + 10)
        first.close()
        second.close()
        assert f"0xe80a0101 {'0x0a010014'}" not in run("ip", "netns", "exec", pair.head, "cat", "/proc/net/mcfilter")
    assert before is not None
    assert refused.config == before.config
    assert "no configuration" in refused.problems[0]
    assert refused.services[0].packets > before.services[0].packets
    monitor = ContinuityMonitor()
    for datagram in first.datagrams:
        monitor.receive(datagram, 0)
    assert monitor.continuity_errors == 0


async def test_outputs_and_input_open_when_their_addresses_come(streams: tuple[Path, Path], tmp_path: Path) -> None:
    many, _ = streams
    with namespaces() as pair, playing_satellite(pair, many):
        pair.unwire()
        async with feeding(pair, tmp_path, carrier()) as place:
            status = await status_when(place, lambda found: bool(found.problems))
            assert status.problems == (f"ch1/satellite: cannot send from {SOURCE}",)
            assert status.services[0].fallback_problem == f"no route to {RECEIVER}"
            pair.wire()
            status = await status_when(place, lambda found: not found.problems)
            capture = Capture(pair)
            await capture.until(5)
            status = await status_when(place, lambda found: not found.services[0].fallback_problem)

            async def joined() -> bool:
                filters = run("ip", "netns", "exec", pair.head, "cat", "/proc/net/mcfilter")
                return re.search(r"0xe80a0101 0x0a010014", filters) is not None

            await until(joined)
            capture.close()
