"""The set-up script where something is missing: it says what and how to get it, and leaves nothing half done."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
TOOLS = ("sh", "cat", "cut", "dirname", "grep", "id", "rm", "sha256sum", "printf", "tail", "mktemp", "env")


class Machine:
    """A checkout and a PATH of its own: only basic tools, and the programs that a test writes."""

    def __init__(self, directory: Path) -> None:
        self.root, self.bin = directory / "checkout", directory / "bin"
        self.bin.mkdir()
        (self.root / "lab").mkdir(parents=True)
        for name in ("lab/setup.sh", "requirements-dev.lock", "pyproject.toml"):
            shutil.copy(ROOT / name, self.root / name)
        for name in TOOLS:
            found = shutil.which(name)
            assert found is not None
            (self.bin / name).symlink_to(found)

    def program(self, name: str, text: str) -> None:
        path = self.bin / name
        path.unlink(missing_ok=True)
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    def set_up(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["/bin/sh", "lab/setup.sh", *arguments],
            cwd=self.root,
            env={"PATH": str(self.bin), "HOME": os.environ.get("HOME", "/"), **environment},
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_no_debian(machine: Machine) -> None:
    done = machine.set_up()
    assert done.returncode == 1
    assert "no Debian packages" in done.stderr
    assert "tshark" in done.stderr


def test_missing_packages_without_root(machine: Machine) -> None:
    machine.program("dpkg-query", 'for last; do :; done; [ "$last" = tshark ] || echo installed')
    machine.program("id", "echo 1000")
    done = machine.set_up()
    assert done.returncode == 1
    assert "packages are missing: tshark" in done.stderr
    assert not (machine.root / ".venv").exists()


def test_the_lab_needs_root_even_when_all_is_installed(machine: Machine) -> None:
    machine.program("dpkg-query", "echo installed")
    machine.program("id", "echo 1000")
    done = machine.set_up("lab")
    assert done.returncode == 1
    assert "root is needed: the lab makes network namespaces" in done.stderr


def test_a_package_that_cannot_be_installed_is_found_before_anything_changes(machine: Machine, tmp_path: Path) -> None:
    log = tmp_path / "apt.log"
    machine.program("dpkg-query", 'for last; do :; done; [ "$last" = tshark ] || echo installed')
    machine.program("id", "echo 0")
    machine.program("apt-get", f'echo "$*" >>{log}; case "$*" in *--simulate*) exit 100 ;; esac')
    done = machine.set_up()
    assert done.returncode == 1
    assert "the package tshark cannot be installed" in done.stderr
    assert [line.split()[-1] for line in log.read_text().splitlines()] == ["update", "tshark"]
    assert not (machine.root / ".venv").exists()


def test_a_python_that_is_too_old(machine: Machine) -> None:
    machine.program("old", "exit 1")
    (machine.bin / "python3").symlink_to(machine.bin / "old")
    script = machine.root / "lab" / "setup.sh"
    script.write_text(script.read_text().replace("/usr/bin/python3", "/nonexistent/python3"))
    done = machine.set_up("python")
    assert done.returncode == 1
    assert "Python 3.11 or later is not here" in done.stderr


def test_packages_that_cannot_be_fetched_leave_no_venv(machine: Machine) -> None:
    machine.program(
        "fake-python",
        'case "$*" in\n'
        '*"-m venv"*) mkdir -p .venv/bin; cp "$0" .venv/bin/python ;;\n'
        '*"-m pip"*) echo "no network" >&2; exit 1 ;;\n'
        "esac",
    )
    for name in ("mkdir", "cp"):
        (machine.bin / name).symlink_to(str(shutil.which(name)))
    done = machine.set_up("python", PYTHON=str(machine.bin / "fake-python"))
    assert done.returncode == 1
    assert "could not be installed" in done.stderr
    assert not (machine.root / ".venv").exists()


def test_the_second_time_nothing_is_done_until_the_lock_changes(machine: Machine, tmp_path: Path) -> None:
    log = tmp_path / "pip.log"
    machine.program(
        "fake-python",
        'case "$*" in\n'
        '*"-m venv"*) mkdir -p .venv/bin; cp "$0" .venv/bin/python ;;\n'
        f'*"-m pip"*) echo "$*" >>{log} ;;\n'
        "esac",
    )
    for name in ("mkdir", "cp"):
        (machine.bin / name).symlink_to(str(shutil.which(name)))
    python = str(machine.bin / "fake-python")
    assert machine.set_up("python", PYTHON=python).returncode == 0
    first = log.read_text()
    assert "--require-hashes" in first
    assert machine.set_up("python", PYTHON=python).returncode == 0
    assert log.read_text() == first
    with (machine.root / "requirements-dev.lock").open("a") as lock:
        lock.write("# newer\n")
    assert machine.set_up("python", PYTHON=python).returncode == 0
    assert log.read_text() == first * 2


LOCKS = ("requirements.lock", "requirements-dev.lock")


def test_locks_are_complete_and_name_no_host() -> None:
    for name in LOCKS:
        text = (ROOT / name).read_text()
        assert "://" not in text
        assert "index-url" not in text
        pins = [line for line in text.splitlines() if "==" in line and not line.lstrip().startswith("#")]
        assert pins
        assert all(line.endswith("\\") for line in pins)
    runtime, dev = (
        {line.split()[0] for line in (ROOT / name).read_text().splitlines() if "==" in line} for name in LOCKS
    )
    assert runtime <= dev
