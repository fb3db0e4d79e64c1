"""The installer medium, under Secure Boot, on a machine with an empty disk: it writes, it seeds, and the disk boots."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lab.machine import partitions
from lab.machine.driven import DrivenMachine
from lab.machine.spec import MachineSpec
from lab.scenarios.appliance import PANIC, SLOWNESS, make_volume
from lab.scenarios.technician import Technician
from nf.errors import IntegrityError

if TYPE_CHECKING:
    from tests.image.conftest import Stage

pytestmark = [
    pytest.mark.image,
    pytest.mark.root,
    pytest.mark.daemon,
    pytest.mark.timeout(5400),
]

VERSION = "1.0.0"
SERIAL = "BENCH-INSTALLED"
BOOT_S = 900.0 * SLOWNESS
WRITE_S = 1800.0 * SLOWNESS
PROMPT_S = 120.0 * SLOWNESS
DISK_MIB = 8192


def test_an_empty_disk_is_installed_and_boots(stage: Stage, tmp_path: Path) -> None:
    image = stage.images.first("pop", VERSION)
    medium, seed, empty = (tmp_path / name for name in ("installer.img", "seed.img", "empty.img"))
    console = stage.images.console
    made = ("--image", str(image.directory), "--keys", str(stage.images.keys), "--output", str(medium))
    console.must(console.host("image", "installer", *made, timeout_s=BOOT_S))
    stage.step("the medium made", f"{medium.stat().st_size / 2**20:.0f} MiB")
    make_volume(seed, {"seed.json": f'{{"serial": "{SERIAL}", "hostname": "installed"}}'.encode()})
    with empty.open("wb") as file:
        file.truncate(DISK_MIB << 20)
    spec = MachineSpec("bench", disk=empty, volumes=(medium, seed), variables=stage.images.variables)
    with DrivenMachine(spec, tmp_path / "bench") as machine:
        machine.power_on()
        machine.await_console("Press Enter to begin", patience_s=BOOT_S, unless=PANIC)
        stage.step("the medium boots under Secure Boot", f"installer at {machine.age_s():.0f} s")
        machine.send("\r")
        told = machine.await_console(r"This medium installs: (.*), signature good", patience_s=WRITE_S)
        machine.await_console("Which disk", patience_s=PROMPT_S)
        machine.send("1\r")
        asked = machine.await_console(r"Type (/dev/\S+) to go on", patience_s=PROMPT_S)
        stage.step("the payload is judged and a disk asked for", f"{told[1]}, {asked[1]}")
        machine.send("/dev/sda\r")
        machine.await_console("nothing was written", patience_s=PROMPT_S)
        machine.await_console("Press Enter to begin", patience_s=PROMPT_S)
        with pytest.raises(IntegrityError, match="no GPT"):
            partitions.partitions(machine.disk)
        stage.step("another disk's name typed", "nothing was written", "an empty disk")
        machine.send("\r")
        machine.await_console("Which disk", patience_s=WRITE_S)
        machine.send("1\r")
        machine.await_console(r"Type /dev/\S+ to go on", patience_s=PROMPT_S)
        machine.send(f"{asked[1]}\r")
        machine.await_console("written, and read back as it was signed", patience_s=WRITE_S, unless="error:")
        seeded = machine.await_console(r"Seeded as (\S+)|No seed", patience_s=PROMPT_S)
        stage.step("written and read back", f"seeded as {seeded[1]}", SERIAL, good=seeded[1] == SERIAL)
        machine.await_console("Type reboot", patience_s=PROMPT_S)
        machine.send("reboot\r")
        slot = machine.await_console(r"nf: boot slot=([AB])", patience_s=BOOT_S)
        machine.await_console("Press Enter for the menu", patience_s=BOOT_S, unless=PANIC)
        facts, _ = Technician(machine).state()
        said = f"{facts.get('software', '')}, serial {facts.get('serial', '')}, slot {slot[1]}"
        good = image.version in facts.get("software", "") and facts.get("serial") == SERIAL and slot[1] == "A"
        stage.step("it starts from its disk", said, f"{image.version}, {SERIAL}, slot A", good=good)
