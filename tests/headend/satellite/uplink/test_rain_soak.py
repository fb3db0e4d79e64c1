"""The whole rain: 12 dB at 0.5 dB/s and back, counted by others at the modulator's input and at a receiver."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from headend.satellite.uplink.driver import SatelliteUplink
from nf.contracts.driver import Context
from tests.headend.satellite.uplink.test_control_live import on_the_air, rain
from tests.support import satellite

pytestmark = [pytest.mark.root, pytest.mark.daemon, pytest.mark.soak, pytest.mark.timeout(400)]
LOW = "QPSK 3/5"
RELOCK_S = 1.0
SERVICES = range(32, 0x1FFF)
"""The PIDs of programmes. Tables come so seldom that what the relock took of them shows a second later."""


def tshark(path: Path, *arguments: str) -> list[list[str]]:
    done = subprocess.run(["tshark", "-r", str(path), *arguments], check=True, capture_output=True, text=True)
    return [line.split("\t") for line in done.stdout.splitlines()]


@contextmanager
def capturing(path: Path, ports: str) -> Iterator[None]:
    argv = ["tcpdump", "-i", "lo", "-U", "-B", "8192", "-w", str(path), ports]
    with subprocess.Popen(argv, stderr=subprocess.DEVNULL) as tcpdump:
        try:
            yield
        finally:
            tcpdump.terminate()
            tcpdump.wait(10)


def losses(path: Path, port: int) -> list[tuple[float, int]]:
    """(time, PID) of every break of a continuity counter, from the counters as tshark reads them."""
    found: list[tuple[float, int]] = []
    last: dict[int, int] = {}
    fields = ("-T", "fields", "-e", "frame.time_epoch", "-e", "mp2t.pid", "-e", "mp2t.cc", "-e", "mp2t.afc")
    for at, pids, counters, kinds in tshark(
        path, "-d", f"udp.port=={port},mp2t", "-Y", f"udp.dstport=={port}", *fields
    ):
        for one, counter, kind in zip(pids.split(","), counters.split(","), kinds.split(","), strict=True):
            pid, count = int(one, 0), int(counter, 0)
            if pid not in SERVICES or not int(kind, 0) & 1:  # without payload nothing is counted
                continue
            if pid in last and count not in (last[pid], (last[pid] + 1) % 16):
                found.append((float(at), pid))
            last[pid] = count
    return found


def lost_by_the_machine() -> int:
    """Datagrams that came while a process did not get to read: of this network, since it was made."""
    names, values = (
        line.split() for line in Path("/proc/net/snmp").read_text().splitlines() if line.startswith("Udp:")
    )
    return int(dict(zip(names, values, strict=True))["RcvbufErrors"])


async def test_no_packet_too_many_and_none_lost_but_in_the_relocks(
    uplink: SatelliteUplink,
    sky: satellite.Simulated,
    within: Callable[[float], Context],
    tmp_path: Path,
    require_programs: Callable[..., None],
) -> None:
    require_programs("tshark", "tcpdump")
    async with on_the_air(uplink, within) as watch:
        capture = tmp_path / "rain.pcap"
        ports = f"udp dst port 5000 or udp dst port {satellite.OUTPUTS[satellite.RX1]}"
        (carrier,) = uplink.carriers()
        modem = (await uplink.chain(carrier)).modem
        low: list[float] = []
        before = lost_by_the_machine()

        async def when_low() -> None:
            """The times at which the modulator itself says that its carrier has the lower MODCOD."""
            while True:
                if (await modem.read(["modcod"]))["modcod"].value == LOW:
                    low.append(time.time())
                await asyncio.sleep(0.1)

        asking = asyncio.create_task(when_low())
        with capturing(capture, ports):
            highest, dropped = await rain(uplink, sky, watch, 12, 0.5)
        asking.cancel()
        machine = lost_by_the_machine() - before
        changes = [
            (later.at, later.labels["modcod"])
            for earlier, later in zip(watch.samples, watch.samples[1:], strict=False)
            if earlier.labels["modcod"] != later.labels["modcod"]
        ]
    assert highest == pytest.approx(-4, abs=0.2)
    assert dropped == 0
    assert [modcod for _, modcod in changes] == [LOW, "8PSK 3/4"]

    lowest_bps = min(sample.values["net_bitrate_bps"] for sample in watch.samples)
    between = (low[0], low[-1])
    sent: dict[int, int] = defaultdict(int)
    fields = ("-T", "fields", "-e", "frame.time_epoch", "-e", "udp.length")
    for at, length in tshark(capture, "-Y", f"ip.dst=={satellite.MODEM}", *fields):
        if between[0] <= float(at) <= between[1]:
            sent[int(float(at))] += (int(length) - 8) * 8
    seconds = [bits for _, bits in sorted(sent.items())][1:-1]
    assert seconds
    assert max(seconds) <= lowest_bps * 1.02  # a second more or less a datagram

    outside = [
        (at, pid)
        for at, pid in losses(capture, satellite.OUTPUTS[satellite.RX1])
        if not any(change - RELOCK_S <= at <= change + RELOCK_S for change in (low[0], low[-1]))
    ]
    when = [(hex(pid), round(at - low[0], 2), round(at - low[-1], 2)) for at, pid in outside]
    if when and machine:
        pytest.skip(f"this machine lost {machine} datagrams between the devices: run it with less beside it")
    assert when == []
