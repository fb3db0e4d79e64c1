"""The MIB is a real one: checked by libsmi, readable by net-snmp."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.daemon
ROOT = Path(__file__).resolve().parents[3]
MIB = ROOT / "lab/devices/mibs/NF-LAB-MIB"
BASE = ROOT / "tests/data/mibs"
# The IETF's own text comes first where snmp-mibs-downloader has put it.
SEARCH = ":".join(("/var/lib/mibs/ietf", str(BASE)))


def test_smilint_finds_nothing(require_programs: Callable[..., None]) -> None:
    require_programs("smilint")
    done = subprocess.run(
        ["smilint", "-l6", str(MIB)], env=os.environ | {"SMIPATH": SEARCH}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_smilint_would_have_found_something(require_programs: Callable[..., None], tmp_path: Path) -> None:
    require_programs("smilint")
    broken = tmp_path / MIB.name
    broken.write_text(MIB.read_text().replace("nfLabSysModel OBJECT-TYPE", "nfLabSysModels OBJECT-TYPE"))
    command = ["smilint", "-l6", str(broken)]
    done = subprocess.run(command, env=os.environ | {"SMIPATH": SEARCH}, capture_output=True, text=True, check=False)
    assert "nfLabSysModel" in done.stdout + done.stderr


def test_net_snmp_knows_its_names(require_programs: Callable[..., None], tmp_path: Path) -> None:
    require_programs("snmptranslate")
    command = [
        "snmptranslate",
        "-M",
        f"{BASE}:{MIB.parent}",
        "-m",
        "NF-LAB-MIB",
        "-On",
        "NF-LAB-MIB::nfLabModTxLevel.0",
    ]
    environment = os.environ | {"SNMP_PERSISTENT_DIR": str(tmp_path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == ".1.3.6.1.4.1.8072.9999.9999.71.1.4.3.2.0\n"
