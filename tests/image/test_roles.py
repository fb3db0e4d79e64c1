"""Every role's image boots: built, started under Secure Boot, every unit at rest and none failed."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lab.machine.driven import DrivenMachine
from lab.machine.spec import MachineSpec
from lab.scenarios.appliance import PANIC, SLOWNESS, make_volume
from lab.scenarios.technician import Technician

if TYPE_CHECKING:
    from tests.image.conftest import Stage

pytestmark = [
    pytest.mark.image,
    pytest.mark.root,
    pytest.mark.daemon,
    pytest.mark.timeout(5400),
]

ROLES = ("headend", "core", "pop")
VERSION = "1.0.0"
BOOT_S = 900.0 * SLOWNESS
SETTLE_S = 600.0 * SLOWNESS


@pytest.mark.parametrize("role", ROLES)
def test_it_boots_and_no_unit_fails(stage: Stage, role: str, tmp_path: Path) -> None:
    """Without a NOC and without enrolment, on a network that reaches nothing: a box on a technician's bench."""
    image = stage.images.image(role, VERSION)
    stage.step(f"{role} built", f"bundle {image.bundle.stat().st_size / 2**20:.0f} MiB")
    largest = stage.images.largest(image)
    stage.note(f"{role}, the ten largest: " + ", ".join(f"{name} {mib:.0f} MiB" for name, mib in largest))
    seed = tmp_path / "seed.img"
    make_volume(seed, {"seed.json": f'{{"serial": "BENCH-{role.upper()}", "hostname": "{role}"}}'.encode()})
    spec = MachineSpec(role, disk=image.disk, disk_mib=8192, volumes=(seed,), variables=stage.images.variables)
    with DrivenMachine(spec, tmp_path / role) as machine:
        machine.power_on()
        machine.await_console(r"Press Enter for the menu", patience_s=BOOT_S, unless=PANIC)
        stage.step(f"{role} boots", f"console at {machine.age_s():.0f} s")
        end = time.monotonic() + SETTLE_S
        while True:
            facts, units = Technician(machine).state()
            ill = [f"{unit.name} {unit.active} {unit.sub}" for unit in units if not unit.well]
            if (units and not ill) or time.monotonic() > end:
                break
            time.sleep(5.0)
        told = f"{sum(unit.active == 'active' for unit in units)} active, not well: {', '.join(ill) or 'none'}"
        stage.note("; ".join(f"{key}: {value}" for key, value in facts.items()))
        stage.step(f"{role}'s units", told, "all well, no failed unit", good=bool(units) and not ill)
