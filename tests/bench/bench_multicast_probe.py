"""The PoP's monitor against multicat, each taking in one flow of 1 Gb/s: CPU of the process for each packet.

Both are charged their own process only: what the kernel does on arrival is the sender's in either case. multicat
writes to /dev/null and judges nothing; the monitor judges every TS packet and must not lose one.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from headend.multicast.documents import MonitorSection
from headend.multicast.monitor.client import MonitorStatus, ask
from headend.multicast.monitor.units import text_of
from tests.bench.harness import Benchmark

SOURCE, GROUP, PORT = "10.61.1.10", "232.61.1.1", 5000
RATE_BPS, SECONDS = 1_000_000_000, 3.0
_START_S = 20.0


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


@contextmanager
def _link() -> Iterator[tuple[str, str]]:
    """Two namespaces joined by a cable on which a burst is cut into packets before it leaves."""
    names = (f"nfb{os.getpid()}s", f"nfb{os.getpid()}r")
    for name in names:
        _ip("netns", "add", name)
    try:
        _ip("-n", names[0], "link", "add", "eth1", "type", "veth", "peer", "name", "eth1", "netns", names[1])
        _ip("-n", names[0], "link", "set", "eth1", "gso_max_segs", "1")
        for name, address in zip(names, (f"{SOURCE}/24", "10.61.1.20/24"), strict=True):
            _ip("-n", name, "address", "add", address, "dev", "eth1")
            _ip("-n", name, "link", "set", "eth1", "up")
            _ip("-n", name, "route", "add", "224.0.0.0/4", "dev", "eth1")
        yield names
    finally:
        for name in names:
            _ip("netns", "del", name)


def _in(namespace: str, *argv: str) -> list[str]:
    return ["ip", "netns", "exec", namespace, *argv]


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _send(namespace: str) -> int:
    argv = [sys.executable, "-m", "tests.bench.udp_sender", SOURCE, GROUP, str(PORT), str(RATE_BPS), str(SECONDS)]
    return int(subprocess.run(_in(namespace, *argv), check=True, capture_output=True, text=True).stdout)


def _await(what: str, deadline_s: float, seen: object) -> None:
    """Until `seen()`; raises when it takes too long."""
    assert callable(seen)
    end = time.monotonic() + deadline_s
    while not seen():
        if time.monotonic() > end:
            raise AssertionError(f"{what} within {deadline_s} s")
        time.sleep(0.02)


def _ours(sender: str, receiver: str) -> float:
    """CPU seconds for each packet."""
    flow = {"channel": "bench", "path": "iptv", "source": SOURCE, "group": GROUP, "port": PORT, "rate": RATE_BPS}
    section = MonitorSection.model_validate({"interfaces": ["eth1"], "flows": [flow]})
    with tempfile.TemporaryDirectory(prefix="nfb") as text:
        directory = Path(text)
        (directory / "config.json").write_text(text_of(section))
        argv = ["-m", "headend.multicast.monitor", "--config", f"{directory}/config.json", "--directory", text]
        process = subprocess.Popen(_in(receiver, sys.executable, *argv))

        def status() -> MonitorStatus | None:
            return asyncio.run(ask(directory))

        try:
            _await("the monitor answers", _START_S, status)
            before = _cpu_s(process.pid)
            sent = _send(sender)
            _await(f"{sent} packets are counted", 5.0, lambda: (now := status()) and now.flows[0].packets == sent)
            spent = _cpu_s(process.pid) - before
            found = status()
        finally:
            process.terminate()
            process.wait()
    assert found is not None
    assert (found.dropped, found.flows[0].continuity_errors) == (0, 0), found
    print(f"multicast.probe: monitor {spent / sent * 1e6:.2f} us a packet, {sent / SECONDS:.0f} packets/s, none lost")
    return spent / sent


def _drops(pid: int) -> int | None:
    """Of the process's UDP socket; None while it has none."""
    lines = Path(f"/proc/{pid}/net/udp").read_text().splitlines()[1:]
    found = [int(line.split()[-1]) for line in lines if f":{PORT:04X} " in line]
    return found[0] if found else None


def _multicat(sender: str, receiver: str) -> float:
    process = subprocess.Popen(
        _in(receiver, "multicat", "-u", "-U", f"@{GROUP}:{PORT}/ifaddr=10.61.1.20", "/dev/null"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _await("multicat listens", _START_S, lambda: _drops(process.pid) is not None)
        before = _cpu_s(process.pid)
        sent = _send(sender)
        taken = sent - (_drops(process.pid) or 0)
        spent = _cpu_s(process.pid) - before
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()
    print(f"multicast.probe: multicat {spent / taken * 1e6:.2f} us a packet, {(sent - taken) / sent:.1%} lost")
    return spent / taken


def ratio() -> float:
    """Needs root."""
    with _link() as (sender, receiver):
        return _ours(sender, receiver) / _multicat(sender, receiver)


BENCHMARKS = [
    Benchmark("multicast.probe", peer="multicat to /dev/null, 1 Gb/s, CPU a packet", sense="<=", target=0.5, run=ratio),
]
