from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import pytest

from lab.contribution import DATAGRAM_OCTETS, MUX_RATE_BPS, Feed, make_programme, stream_command
from nf.errors import InputError

pytestmark = pytest.mark.daemon


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory, require_programs: Callable[..., None]) -> Path:
    require_programs("ffmpeg", "ffprobe", "setpriv")
    folder = tmp_path_factory.mktemp("programmes")
    for number in (0, 1):
        make_programme(number, folder)
    return folder


@dataclass
class Analysis:
    """ISO/IEC 13818-1 2.4.3: counters, clock references and decoding times of a transport stream."""

    packets: int = 0
    continuity_errors: int = 0
    discontinuity_flags: int = 0
    counters: dict[int, int] = field(default_factory=dict)
    pcr: list[tuple[int, int]] = field(default_factory=list)  # octet position, 27 MHz ticks
    times: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))  # PID -> 90 kHz ticks


def analyse(stream: bytes) -> Analysis:
    found = Analysis()
    for position in range(0, len(stream) - 187, 188):
        packet = stream[position : position + 188]
        assert packet[0] == 0x47
        found.packets += 1
        pid = (packet[1] & 31) << 8 | packet[2]
        if pid != 0x1FFF:
            _look(found, pid, packet, position)
    return found


def _look(found: Analysis, pid: int, packet: bytes, position: int) -> None:
    payload = 4
    if packet[3] & 0x20:
        payload = 5 + packet[4]
        if packet[4]:
            found.discontinuity_flags += packet[5] >> 7
            if packet[5] & 0x10:
                base = int.from_bytes(packet[6:10], "big") << 1 | packet[10] >> 7
                found.pcr.append((position, base * 300 + ((packet[10] & 1) << 8 | packet[11])))
    if not packet[3] & 0x10:
        return
    counter = packet[3] & 15
    found.continuity_errors += pid in found.counters and (found.counters[pid] + 1) & 15 != counter
    found.counters[pid] = counter
    if packet[1] & 0x40 and packet[payload : payload + 3] == b"\0\0\1" and packet[payload + 7] & 0x80:
        stamp = packet[payload + 9 + 5 * (packet[payload + 7] >> 6 & 1) :]
        high, middle, low = stamp[0] >> 1 & 7, stamp[1] << 7 | stamp[2] >> 1, stamp[3] << 7 | stamp[4] >> 1
        found.times[pid].append(high << 30 | middle << 15 | low)


@pytest.mark.parametrize("number", [0, 1])
def test_three_rounds_of_a_programme_have_no_seam(cache: Path, tmp_path: Path, number: int) -> None:
    output = tmp_path / "three.ts"
    command = stream_command(make_programme(number, cache), str(output), name="ch", loops=2, realtime=False)
    subprocess.run(command, check=True)
    found = analyse(output.read_bytes())
    assert found.continuity_errors == found.discontinuity_flags == 0
    video, sound = (found.times[pid] for pid in sorted(found.times))
    assert Counter(b - a for a, b in pairwise(video)) == {3600: 3 * 480 - 1}
    assert all((b - a) % 1920 == 0 and 0 < b - a < 45_000 for a, b in pairwise(sound))
    steps = [(b[0] - a[0], b[1] - a[1]) for a, b in pairwise(found.pcr)]
    assert all(ticks < 0.04 * 27e6 for _, ticks in steps)
    assert all(abs(octets * 8 * 27e6 / ticks - MUX_RATE_BPS) < 10 for octets, ticks in steps)


def test_ffprobe_agrees(cache: Path, tmp_path: Path) -> None:
    """Every picture and every sound frame of 2.5 rounds is decoded without a complaint."""
    output = tmp_path / "rounds.ts"
    command = stream_command(make_programme(0, cache), str(output), name="ch1", loops=-1, realtime=False)
    subprocess.run([*command[:-1], "-t", "48", str(output)], check=True)
    entries = "stream=codec_name,width,height,sample_rate,nb_read_frames:program_tags=service_name"
    probe = ["ffprobe", "-v", "warning", "-count_frames", "-show_entries", entries, "-of", "flat", str(output)]
    done = subprocess.run(probe, capture_output=True, text=True, check=True)
    shown = dict(line.split("=", 1) for line in done.stdout.splitlines() if line.startswith("streams."))
    assert done.stderr == ""
    assert 'service_name="ch1"' in done.stdout
    assert {k.split(".")[-1] + k.split(".")[2]: v for k, v in shown.items() if "nb_read" in k}[
        "nb_read_frames0"
    ] == '"1200"'
    assert set(shown.values()) >= {'"h264"', '"aac"', "320", "180", '"48000"'}


def test_programmes_differ_and_are_made_once(cache: Path) -> None:
    first, second = make_programme(0, cache), make_programme(1, cache)
    assert first.read_bytes() != second.read_bytes()
    before = first.stat().st_mtime_ns
    assert make_programme(0, cache).stat().st_mtime_ns == before


@pytest.fixture
def receivers() -> Iterator[list[socket.socket]]:
    sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
    for each in sockets:
        each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        each.bind(("127.0.0.1", 0))
        each.settimeout(20)
    yield sockets
    for each in sockets:
        each.close()


def senders_of(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]


def test_feeds_go_on_when_a_sender_dies_and_end_with_the_studio(cache: Path, receivers: list[socket.socket]) -> None:
    feeds = [f"--feed=ch{n}=127.0.0.1:{each.getsockname()[1]}" for n, each in enumerate(receivers, 1)]
    command = [sys.executable, "-m", "lab.contribution", f"--cache={cache}", *feeds]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as studio:
        try:
            first = [each.recvfrom(2000)[1] for each in receivers]
            for each in receivers:
                stream = b"".join(each.recv(2000) for _ in range(100))
                assert len(stream) == 100 * DATAGRAM_OCTETS
                assert analyse(stream).continuity_errors == 0
            senders = senders_of(studio.pid)
            assert len(senders) == 2
            for sender in senders:
                os.kill(sender, signal.SIGKILL)
            for each, before in zip(receivers, first, strict=True):
                while each.recvfrom(2000)[1] == before:
                    pass
            studio.terminate()
            assert studio.wait(20) == 0
        finally:
            studio.kill()


@pytest.mark.parametrize(
    "text", ["", "ch1", "ch1=", "ch1=10.0.0.1", "ch1=10.0.0.1:0", "ch1=x:1", "=10.0.0.1:5", "a b=1.2.3.4:5"]
)
def test_a_malformed_feed_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="is not a feed"):
        Feed.parse(text)
