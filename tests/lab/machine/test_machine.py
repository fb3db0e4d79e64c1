"""A machine with nothing but its firmware: power on, console, power cut, and what lasts over it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.machine import disks
from lab.machine.driven import DrivenMachine
from lab.machine.firmware import find_firmware
from lab.machine.spec import Card, MachineSpec, card_address
from nf.errors import DeadlineError, DriverError, NotFoundError, RefusedError, UnavailableError

PATIENCE_S = 240.0  # five seconds where nothing else runs


@pytest.fixture
def disk(tmp_path: Path, require_programs: Callable[..., None]) -> Path:
    require_programs("qemu-img")
    made = tmp_path / "disk.img"
    made.write_bytes(bytes(1 << 20))
    return made


@pytest.mark.image
@pytest.mark.timeout(900)
def test_a_machine_comes_up_is_cut_off_and_comes_up_again(
    disk: Path, tmp_path: Path, require_programs: Callable[..., None]
) -> None:
    require_programs("qemu-system-x86_64", "swtpm", "setpriv")
    spec = MachineSpec("bare", disk=disk, disk_mib=2, cards=(Card(card_address("bare", 0)),), memory_mib=256)
    with DrivenMachine(spec, tmp_path / "bare") as machine:
        assert not machine.running
        machine.power_on()
        found = machine.await_console("BdsDxe: .*", patience_s=PATIENCE_S)
        assert 0 < machine.at(found) <= machine.age_s()
        with pytest.raises(RefusedError):
            machine.power_on()
        with pytest.raises(DeadlineError, match="BdsDxe"):
            machine.await_console("login: ", patience_s=0.1)
        machine.power_cut()
        assert not machine.running
        assert "BdsDxe" in machine.text  # what it showed can still be read
        machine.power_on()
        machine.await_console("BdsDxe: ", patience_s=PATIENCE_S)
        machine.reset()
        machine.await_console("BdsDxe: ", patience_s=PATIENCE_S, since=machine.position)
        assert machine.resets() == 1
        machine.power_cut()
        with pytest.raises(DriverError, match="ended before"):
            machine.await_console("login: ", patience_s=10)
    assert (tmp_path / "bare/tpm/tpm2-00.permall").is_file()
    assert (tmp_path / "bare/variables.fd").read_bytes() != find_firmware().variables.read_bytes()
    assert disk.read_bytes() == bytes(1 << 20)
    assert (tmp_path / "bare/console.log").read_text().count("BdsDxe") >= 3


@pytest.mark.daemon
def test_an_overlay_is_as_large_as_wanted_and_stays_once_it_is_there(disk: Path, tmp_path: Path) -> None:
    target = tmp_path / "overlay.qcow2"
    disks.overlay(disk, target, at_least_mib=16)
    subprocess.run(["qemu-io", "-c", "write -P 0x5a 0 64k", str(target)], check=True, capture_output=True)
    disks.overlay(disk, target, at_least_mib=16)
    disks.flatten(target, tmp_path / "flat.img")
    assert (tmp_path / "flat.img").stat().st_size == 16 << 20
    with (tmp_path / "flat.img").open("rb") as flat:
        assert flat.read(65537) == b"\x5a" * 65536 + b"\0"


def test_what_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        disks.overlay(tmp_path / "none.img", tmp_path / "overlay.qcow2")
    with pytest.raises(NotFoundError):
        disks.copy(tmp_path / "none.img", tmp_path / "copy.img")
    with pytest.raises(UnavailableError):
        find_firmware(tmp_path)
    with DrivenMachine(MachineSpec("bare", disk=tmp_path / "none.img"), tmp_path) as machine:
        with pytest.raises(UnavailableError):
            machine.age_s()
        with pytest.raises(NotFoundError):
            machine.power_on()
