"""The MIB is a real one: checked by libsmi, readable by net-snmp; what the agents know of it is what it says."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.devices.alarms import AlarmKind, Severity
from lab.devices.modcods import MODCODS
from lab.devices.objects import SPECS
from tests.lab.devices.mib import BASE, MIB, SEARCH, parsed

pytestmark = pytest.mark.daemon


def lint(path: Path) -> str:
    command = ["smilint", "-l6", str(path)]
    done = subprocess.run(command, env=os.environ | {"SMIPATH": SEARCH}, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def test_smilint_finds_nothing(require_programs: Callable[..., None]) -> None:
    require_programs("smilint")
    assert lint(MIB) == ""


def test_smilint_would_have_found_something(require_programs: Callable[..., None], tmp_path: Path) -> None:
    require_programs("smilint")
    broken = tmp_path / MIB.name
    broken.write_text(MIB.read_text().replace("nfLabSysModel OBJECT-TYPE", "nfLabSysModels OBJECT-TYPE"))
    assert "nfLabSysModel" in lint(broken)


def test_net_snmp_knows_its_names(require_programs: Callable[..., None], tmp_path: Path) -> None:
    require_programs("snmptranslate")
    name = "NF-LAB-MIB::nfLabModTxLevel.0"
    command = ["snmptranslate", "-M", f"{BASE}:{MIB.parent}", "-m", "NF-LAB-MIB", "-On", name]
    environment = os.environ | {"SNMP_PERSISTENT_DIR": str(tmp_path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == ".1.3.6.1.4.1.8072.9999.9999.71.1.4.3.2.0\n"


def test_the_agents_know_what_the_text_says(require_programs: Callable[..., None]) -> None:
    require_programs("smidump")
    said = parsed()
    assert {f"nfLab{name}" for name in SPECS} == set(said.objects)
    for name, spec in SPECS.items():
        object_ = said.objects[f"nfLab{name}"]
        assert (spec.oid, spec.writable) == (object_.oid, object_.writable), name
        assert spec.syntax.value == object_.syntax, name
        assert (spec.low, spec.high) == object_.bounds, name


def test_enumerations_are_the_same(require_programs: Callable[..., None]) -> None:
    require_programs("smidump")
    said = parsed()
    kinds = {label.lower(): number for label, number in said.enumerations["nfLabAlarmKind"].items()}
    assert kinds == {kind.name.replace("_", "").lower(): kind.value for kind in AlarmKind}
    assert said.enumerations["NfLabSeverity"] == {severity.name.lower(): severity.value for severity in Severity}
    labels = said.enumerations["NfLabModcod"]
    assert sorted(labels.values()) == list(MODCODS)
    for label, number in labels.items():
        modulation, rate = MODCODS[number].name.split()
        standard = "s2" if number <= 28 else "s2x"
        assert label in {
            standard + first + modulation + "R" + rate.replace("/", "of").replace("-", "") for first in ("", "M")
        }
