"""The whole reference network, brought up once for all tests that look at it from outside."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab.native.state import DIRECTORY_ROOT
from lab.scenarios import bootstrap
from lab.scenarios.console import Console


@pytest.fixture(scope="package")
def network(require_root: Callable[[], None], require_programs: Callable[..., None]) -> Iterator[Console]:
    """Enrolled, on its underlay, no line-up. Its logs are left under build/network-logs."""
    require_programs("zebra", "ospfd", "pimd", "bfdd", "vtysh", "nft", "ip", "ffmpeg", "ffprobe", "tshark")
    require_root()
    console = Console(f"nf-test-{os.getpid()}")
    try:
        bootstrap.bring_up(console, lambda _part, _seconds: None)
        yield console
    finally:
        _keep_logs(DIRECTORY_ROOT / console.lab)
        bootstrap.down(console)


def _keep_logs(directory: Path) -> None:
    target = Path("build/network-logs")
    shutil.rmtree(target, ignore_errors=True)
    for log in directory.rglob("*.log"):
        kept = target / log.relative_to(directory)
        kept.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(log, kept)
