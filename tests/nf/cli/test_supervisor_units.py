"""`nf supervisor list|log`: what a technician at the box sees without the NOC."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nf.contracts.units import Readiness, ReadyKind, UnitSpec
from tests.support.supervisor import answering

_PROGRAM = """
import asyncio, sys
from pathlib import Path
from nf.supervisor.daemon import run_supervisor
asyncio.run(run_supervisor(Path(sys.argv[1]), Path(sys.argv[2])))
"""


@pytest.fixture
def run_dir(tmp_path: Path) -> Iterator[Path]:
    """A supervisor with one unit that wrote a line."""
    run, state = tmp_path / "run", tmp_path / "state"
    run.mkdir()
    state.mkdir()
    process = subprocess.Popen([sys.executable, "-c", _PROGRAM, str(run), str(state)])

    async def start() -> None:
        units = await answering(run)
        told = tmp_path / "told"
        argv = ("sh", "-c", f"echo here I am; touch {told}; exec sleep 60")
        await units.define(UnitSpec("teller", argv, ready=Readiness(ReadyKind.FILE, str(told))))
        await units.start("teller")

    asyncio.run(start())
    yield run
    process.terminate()
    process.wait(10)


def test_the_units_of_the_box(run_dir: Path, nf: Any) -> None:
    answer = nf("supervisor", "list", "--run-dir", str(run_dir), "--json")
    (unit,) = json.loads(answer.out)
    assert (unit["name"], unit["state"], unit["restarts"]) == ("teller", "ready", 0)
    assert unit["pid"] > 1
    assert "teller" in nf("supervisor", "list", "--run-dir", str(run_dir)).out


def test_what_a_unit_wrote(run_dir: Path, nf: Any) -> None:
    assert "here I am" in nf("supervisor", "log", "teller", "--run-dir", str(run_dir)).out
    assert "here I am" in json.loads(nf("supervisor", "log", "teller", "--run-dir", str(run_dir), "--json").out)


def test_without_a_supervisor_it_says_so(tmp_path: Path, nf: Any) -> None:
    answer = nf("supervisor", "list", "--run-dir", str(tmp_path))
    assert answer.code == 5
    assert "supervisor" in answer.err
