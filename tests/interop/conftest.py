"""The whole reference network, brought up once for all tests that look at it from outside."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab.scenarios import bootstrap
from lab.scenarios.console import Console


@pytest.fixture(scope="session")
def network(require_programs: Callable[..., None], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    """Enrolled, on its underlay, no line-up. On failure the lab's directory is kept under build/."""
    require_programs("zebra", "ospfd", "pimd", "bfdd", "vtysh", "nft", "ip", "ffmpeg", "ffprobe", "tshark")
    if os.geteuid() != 0:
        pytest.skip("needs root: run with sudo")
    directory = tmp_path_factory.mktemp("network")
    console = Console(f"nf-test-{os.getpid()}", directory)
    try:
        bootstrap.bring_up(console, lambda _part, _seconds: None)
        yield console
    finally:
        _keep_logs(directory)
        bootstrap.down(console)


def _keep_logs(directory: Path) -> None:
    target = Path("build/network-logs")
    shutil.rmtree(target, ignore_errors=True)
    for log in directory.rglob("*.log"):
        kept = target / log.relative_to(directory)
        kept.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(log, kept)
