"""What a machine's description becomes on the command line of qemu."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.machine.spec import Accelerator, Card, Direct, MachineSpec, Parts, card_address, command_line
from nf.errors import InputError

SOCKETS = {"monitor": Path("/s/monitor"), "serial": Path("/s/serial")}


def after(argv: list[str], option: str) -> list[str]:
    return [argv[index + 1] for index, word in enumerate(argv) if word == option]


def test_secure_boot_needs_variables_that_only_the_firmware_writes() -> None:
    parts = Parts(**SOCKETS, code=Path("/f/code.fd"), variables=Path("/m/variables.fd"), disk=Path("/m/disk.qcow2"))
    argv = command_line(MachineSpec("pop1", disk=Path("/i/disk.img")), parts, Accelerator.TCG)
    assert after(argv, "-machine") == ["q35,smm=on"]
    assert "driver=cfi.pflash01,property=secure,value=on" in after(argv, "-global")
    assert "if=pflash,format=raw,unit=0,readonly=on,file=/f/code.fd" in after(argv, "-drive")
    assert "if=pflash,format=raw,unit=1,file=/m/variables.fd" in after(argv, "-drive")


def test_the_image_itself_is_never_opened() -> None:
    parts = Parts(**SOCKETS, code=Path("/f/code.fd"), variables=Path("/m/v.fd"), disk=Path("/m/disk.qcow2"))
    argv = command_line(MachineSpec("pop1", disk=Path("/i/disk.img")), parts, Accelerator.TCG)
    assert not any("/i/disk.img" in word for word in argv)
    assert "if=none,id=disk,format=qcow2,file=/m/disk.qcow2,discard=unmap" in after(argv, "-drive")


def test_nothing_that_was_not_asked_for_is_in_the_machine() -> None:
    argv = command_line(
        MachineSpec("bare", direct=Direct(Path("/k"), Path("/i"), "console=ttyS0 ro")),
        Parts(**SOCKETS),
        Accelerator.TCG,
    )
    assert {"-nodefaults", "-no-user-config"} <= set(argv)
    assert after(argv, "-append") == ["console=ttyS0 ro"]
    assert not after(argv, "-drive")
    assert not after(argv, "-netdev")
    assert not after(argv, "-tpmdev")


def test_kvm_takes_the_hosts_processor_and_emulation_the_best_there_is() -> None:
    spec = MachineSpec("pop1", disk=Path("/i"))
    assert "host" in after(command_line(spec, Parts(**SOCKETS), Accelerator.KVM), "-cpu")
    assert "tcg,thread=multi" in after(command_line(spec, Parts(**SOCKETS), Accelerator.TCG), "-accel")


def test_cards_are_on_taps_or_reach_nothing_outside() -> None:
    cards = (Card(card_address("pop1", 0), "t-eth0"), Card(card_address("pop1", 1)))
    argv = command_line(MachineSpec("pop1", disk=Path("/i"), cards=cards), Parts(**SOCKETS), Accelerator.TCG)
    assert after(argv, "-netdev") == [
        "tap,id=net0,ifname=t-eth0,script=no,downscript=no",
        "user,id=net1,restrict=on",
    ]
    assert sum(word.startswith("virtio-net-pci") for word in argv) == 2


def test_a_card_has_the_same_address_each_time_and_another_one_in_another_machine() -> None:
    assert card_address("pop1", 0) == card_address("pop1", 0)
    assert len({card_address(name, number) for name in ("pop1", "pop2") for number in range(3)}) == 6


def test_volumes_are_found_by_their_names_and_boot_after_the_disk() -> None:
    parts = Parts(**SOCKETS, disk=Path("/m/disk.qcow2"), volumes=(Path("/m/volume0.img"),))
    spec = MachineSpec("pop1", disk=Path("/i"), volumes=(Path("/seed"),))
    devices = after(command_line(spec, parts, Accelerator.TCG), "-device")
    assert "virtio-blk-pci,drive=disk,serial=disk,bootindex=1" in devices
    assert "virtio-blk-pci,drive=volume0,serial=volume0,bootindex=2" in devices


def test_the_tpm_is_one() -> None:
    parts = Parts(**SOCKETS, tpm=Path("/s/tpm"))
    argv = command_line(MachineSpec("pop1", disk=Path("/i")), parts, Accelerator.TCG)
    assert after(argv, "-tpmdev") == ["emulator,id=tpm0,chardev=tpm"]


def test_a_comma_in_a_file_name_is_no_option() -> None:
    parts = Parts(**SOCKETS, disk=Path("/m,x/disk.qcow2"))
    argv = command_line(MachineSpec("pop1", disk=Path("/i")), parts, Accelerator.TCG)
    assert "if=none,id=disk,format=qcow2,file=/m,,x/disk.qcow2,discard=unmap" in after(argv, "-drive")


@pytest.mark.parametrize("mac", ["", "52:54:00:00:00", "53:54:00:00:00:01", "52-54-00-00-00-01", "52:54:00:00:00:0G"])
def test_what_is_no_address_of_a_card_is_refused(mac: str) -> None:
    with pytest.raises(InputError):
        Card(mac)


@pytest.mark.parametrize("name", ["", "-x", "a,b", "x" * 41])
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(InputError):
        MachineSpec(name, disk=Path("/i"))


def test_a_machine_without_anything_to_boot_is_refused() -> None:
    with pytest.raises(InputError):
        MachineSpec("pop1")
