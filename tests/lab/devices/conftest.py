"""Simulated devices on loopback, each a process of its own, gone afterwards."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from lab.devices.control import Control, DeviceFault, Fade, Order
from lab.devices.ts import PACKET
from tests.lab.devices.conformance import Subject, oid
from tests.support.ports import free_port

_used: set[int] = set()
LOOPBACK = "127.0.0.1"
PROGRAMS = ("snmpget", "snmpset", "snmpbulkwalk", "smidump")


def await_true(condition: Callable[[], bool], seconds: float = 30.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


@dataclass
class Running:
    """A device's process, its agent, and the files that faults go through."""

    subject: Subject
    control: Control
    process: subprocess.Popen[bytes]
    log: Path

    def number(self, name: str, row: int = 0) -> int:
        return self.subject.number(name, row)

    def numbers(self, *names: str) -> list[int]:
        return [int(answer.text) for answer in self.subject.get(*(oid(name) for name in names))]

    def put(self, name: str, kind: str, value: str | int, row: int = 0) -> str:
        return self.subject.set((oid(name, row), kind, value))

    def fade(self, db: float, slope: float = 0.0) -> None:
        self.control.set_fade(self.control.fade().towards(db, slope, time.monotonic()))

    def clear_sky(self) -> None:
        self.control.set_fade(Fade())

    def disturb(self, fault: DeviceFault, **options: float) -> None:
        self.control.put(fault, **options)
        self.control.await_noticed(fault, stands=True)

    def mend(self, fault: DeviceFault) -> None:
        self.control.take_away(fault)
        self.control.await_noticed(fault, stands=False)

    def order(self, order: Order) -> None:
        self.control.order(order)

    def uptime(self) -> int:
        """Hundredths of a second; -1 while it does not answer."""
        done = self.subject.run("snmpget", "public", "-Oqv", ".1.3.6.1.2.1.1.3.0", wait_s=0.3, retries=0)
        return int(done.stdout) if done.returncode == 0 else -1


StartDevice = Callable[..., Running]


@contextmanager
def devices(folder: Path) -> Iterator[StartDevice]:
    """`start("mux", {...})`: a device with this configuration, answering; all end with the context."""
    running: list[Running] = []

    def start(kind: str, configuration: dict[str, Any]) -> Running:
        running.append(_start(kind, configuration, folder / f"{kind}{len(running)}"))
        device = running[-1]
        assert await_true(lambda: device.uptime() >= 0 or device.process.poll() is not None), device.log.read_text()
        assert device.process.poll() is None, device.log.read_text()
        return device

    try:
        yield start
    finally:
        for device in running:
            device.process.send_signal(signal.SIGTERM)
        for device in running:
            device.process.wait(20)
    for device in running:
        assert "Traceback" not in device.log.read_text()


def _start(kind: str, configuration: dict[str, Any], folder: Path) -> Running:
    folder.mkdir()
    snmp = {"address": LOOPBACK, "port": free_port()} | configuration.get("snmp", {})
    whole = {"name": folder.name, "boot_s": 0.1, "via": LOOPBACK} | configuration | {"snmp": snmp}
    (folder / "device.yaml").write_text(json.dumps(whole))
    command = [sys.executable, "-m", "lab.devices", kind, "--config", str(folder / "device.yaml")]
    command += ["--run-dir", str(folder / "run"), "--state-dir", str(folder / "state")]
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    return Running(Subject(LOOPBACK, snmp["port"], home=folder.parent), Control(folder / "run"), process, log)


@pytest.fixture
def start_device(tmp_path: Path, require_programs: Callable[..., None]) -> Iterator[StartDevice]:
    require_programs(*PROGRAMS)
    with devices(tmp_path) as start:
        yield start


@dataclass
class Capture:
    """What arrives at a port of loopback."""

    port: int = field(default_factory=free_port)

    def __post_init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, 33, 8 << 20)  # SO_RCVBUFFORCE
        self._socket.bind((LOOPBACK, self.port))

    def datagrams(self, seconds: float, *, fresh: bool = True) -> list[bytes]:
        """What comes within a time; what came before it was asked for is thrown away when that is to be `fresh`."""
        if fresh:
            self.drain()
        found = []
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self._socket.settimeout(left)
            try:
                found.append(self._socket.recv(2048))
            except TimeoutError:
                break
        return found

    def datagrams_waiting(self, count: int) -> list[bytes]:
        """The first ones that came; waits for them."""
        self._socket.settimeout(20)
        return [self._socket.recv(2048) for _ in range(count)]

    def packets(self, seconds: float, *, fresh: bool = True) -> list[bytes]:
        whole = b"".join(self.datagrams(seconds, fresh=fresh))
        return [whole[start : start + PACKET] for start in range(0, len(whole), PACKET)]

    def drain(self) -> None:
        self._socket.setblocking(False)
        try:
            while True:
                self._socket.recv(2048)
        except BlockingIOError:
            return

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def capture() -> Iterator[Capture]:
    made = Capture()
    yield made
    made.close()
