from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.lab.devices.conformance import CHECKS, Subject
from tests.lab.devices.conftest import StartDevice
from tests.lab.devices.samples import SAMPLES
from tests.support.ports import free_port

pytestmark = pytest.mark.daemon
REAL = os.environ.get("NF_DEVICE_ADDRESS", "")


@pytest.fixture(params=["NF_DEVICE_ADDRESS"] if REAL else list(SAMPLES))
def subject(
    request: pytest.FixtureRequest,
    start_device: StartDevice,
    tmp_path: Path,
    require_programs: Callable[..., None],
) -> Iterator[Subject]:
    if not REAL:
        yield start_device(request.param, SAMPLES[request.param]()).subject
        return
    address, _, port = REAL.partition(":")
    read, write = os.environ.get("NF_DEVICE_READ", "public"), os.environ.get("NF_DEVICE_WRITE", "private")
    yield Subject(address, int(port or 161), read, write, tmp_path)


def test_the_device_does_what_the_mib_says(subject: Subject) -> None:
    """Each by itself: all that fail are named."""
    failed = {}
    for name, check in CHECKS.items():
        try:
            check(subject)
        except AssertionError as error:
            failed[name] = str(error)
    assert not failed


def test_a_taken_port_is_said(start_device: StartDevice, tmp_path: Path) -> None:
    import socket
    import subprocess
    import sys

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        file = tmp_path / "rx.yaml"
        snmp = f"{{address: 127.0.0.1, port: {port}}}"
        file.write_text(f"name: rx\nboot_s: 0\nsnmp: {snmp}\noutput: {{port: {free_port()}}}\n")
        command = [sys.executable, "-m", "lab.devices", "receiver", "--config", str(file)]
        command += ["--run-dir", str(tmp_path / "run"), "--state-dir", str(tmp_path / "state")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, f"port {port} of 127.0.0.1 cannot be had" in done.stderr) == (1, True)
