"""Markers that are kept honest: what is missing skips on a workstation and fails in CI."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import settings
from xdist.scheduler import LoadFileScheduling

# A busy machine is no fault of the code.
settings.register_profile("nf", deadline=None)
settings.load_profile("nf")

# Readline sets them in pytest's own process, so that workers have them: tables would be as narrow as its terminal.
for name in ("COLUMNS", "LINES"):
    os.environ.pop(name, None)


class _Rooms(LoadFileScheduling):
    """Live tests side by side: those of a file share what it sets up, and all of tests/interop its one network."""

    def _split_scope(self, nodeid: str) -> str:
        file: str = super()._split_scope(nodeid)
        folder = file.rpartition("/")[0]
        return folder if folder == "tests/interop" else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> _Rooms | None:
    """For `--dist loadfile`."""
    return _Rooms(config, log) if config.getvalue("dist") == "loadfile" else None


def _missing(reason: str) -> None:
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def require_root() -> Callable[[], None]:
    """For fixtures that outlive a test: `require_root()` skips (fails in CI) without root."""

    def check() -> None:
        if os.geteuid() != 0:
            _missing("needs root: run with sudo")

    return check


@pytest.fixture(autouse=True)
def _root(request: pytest.FixtureRequest, require_root: Callable[[], None]) -> None:
    if request.node.get_closest_marker("root"):
        require_root()


@pytest.fixture(scope="session")
def require_programs() -> Callable[..., None]:
    """`require_programs("zebra", "ffmpeg")`: every one is installed, or the test skips (fails in CI)."""

    def check(*names: str) -> None:
        path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin:/usr/lib/frr"
        absent = [name for name in names if shutil.which(name, path=path) is None]
        if absent:
            _missing(f"needs {', '.join(absent)}: `make setup` installs them")

    return check


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Whose behaviour the conformance tests saw. Here, as xdist's controller reads no conftest below."""
    lines = []
    for outcome in ("passed", "failed", "error", "skipped"):
        for report in terminalreporter.getreports(outcome):
            label = dict(getattr(report, "user_properties", ())).get("conformance")
            if label and (report.when == "call" or outcome != "passed"):
                lines.append(f"{outcome.upper()} {label}: {report.nodeid}")
    if lines:
        terminalreporter.section("conformance")
        for line in lines:
            terminalreporter.write_line(line)
