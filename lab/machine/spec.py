"""What a machine is made of, and the command line of qemu that makes it. Pure."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from nf.errors import InputError

_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")


class Accelerator(Enum):
    KVM = "kvm"
    TCG = "tcg"  # emulation: works everywhere, ten times slower and more


@dataclass(frozen=True, slots=True)
class Card:
    """A network card. `tap`: the TAP device behind it; empty: a user-mode network that reaches nothing outside."""

    mac: str
    tap: str = ""

    def __post_init__(self) -> None:
        if not _MAC.fullmatch(self.mac) or int(self.mac[:2], 16) & 1:
            raise InputError(f"{self.mac} is no address of a card", where="machine", remedy="as in 52:54:00:00:00:01")


@dataclass(frozen=True, slots=True)
class Direct:
    """A kernel that qemu itself loads, past firmware and boot loader: for trying a root file system."""

    kernel: Path
    initramfs: Path
    command_line: str


@dataclass(frozen=True, slots=True)
class MachineSpec:
    """`disk`: raw or qcow2, never written: the machine has an overlay of its own. `volumes`: further disks (a factory
    seed, an installer medium), copied, since the appliance may write them. `variables`: the firmware's variables that
    the machine is delivered with, such as the keys of Secure Boot; None: an empty store, which is setup mode.
    `processors`: the host's, four at most: emulated, each keeps one busy, so nothing else should run there meanwhile.
    """

    name: str
    disk: Path | None = None
    volumes: tuple[Path, ...] = ()
    disk_mib: int = 0  # the disk is at least this large; 0: as large as what is on it
    cards: tuple[Card, ...] = ()
    memory_mib: int = 1536
    processors: int = field(default_factory=lambda: min(4, os.cpu_count() or 1))
    variables: Path | None = None
    tpm: bool = True
    direct: Direct | None = None

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,39}", self.name):
            raise InputError(
                f"{self.name!r} is no name for a machine", where="machine", remedy="use letters and digits"
            )
        if self.disk is None and self.direct is None and not self.volumes:
            raise InputError("nothing to boot from", where=self.name, remedy="give it a disk")


@dataclass(frozen=True, slots=True)
class Parts:
    """What was made for one machine in its folder. Sockets: qemu connects to those of monitor, serial line and TPM."""

    monitor: Path
    serial: Path
    code: Path | None = None
    variables: Path | None = None
    disk: Path | None = None
    volumes: tuple[Path, ...] = ()
    tpm: Path | None = None


def card_address(machine: str, number: int) -> str:
    """An address that a machine's card has always: 52:54:00 is qemu's, the rest comes from the machine's name."""
    digest = hashlib.sha256(machine.encode()).digest()
    return f"52:54:00:{digest[0]:02x}:{digest[1]:02x}:{number:02x}"


def command_line(spec: MachineSpec, parts: Parts, accelerator: Accelerator) -> list[str]:
    """qemu-system-x86_64 and its arguments. File names with a comma are written as qemu wants them."""
    argv = [
        "qemu-system-x86_64",
        *("-name", spec.name),
        *("-nodefaults", "-no-user-config", "-display", "none"),
        *("-machine", "q35,smm=on" if parts.code else "q35"),
        *_processor(accelerator),
        *("-smp", str(spec.processors)),
        *("-m", str(spec.memory_mib)),
        *("-rtc", "base=utc"),
        *("-chardev", f"socket,id=monitor,path={_file(parts.monitor)}"),
        *("-mon", "chardev=monitor,mode=control"),
        *("-chardev", f"socket,id=serial,path={_file(parts.serial)}"),
        *("-serial", "chardev:serial"),
        *("-device", "virtio-rng-pci"),
    ]
    if parts.code is not None and parts.variables is not None:
        argv += _firmware(parts.code, parts.variables)
    if spec.direct is not None:
        argv += ["-kernel", str(spec.direct.kernel), "-initrd", str(spec.direct.initramfs)]
        argv += ["-append", spec.direct.command_line]
    if parts.disk is not None:
        argv += _disk("disk", parts.disk, "qcow2", 1)
    for number, volume in enumerate(parts.volumes):
        argv += _disk(f"volume{number}", volume, "raw", 2 + number)
    for number, card in enumerate(spec.cards):
        argv += _card(f"net{number}", card)
    if parts.tpm is not None:
        argv += ["-chardev", f"socket,id=tpm,path={_file(parts.tpm)}"]
        argv += ["-tpmdev", "emulator,id=tpm0,chardev=tpm", "-device", "tpm-tis,tpmdev=tpm0"]
    return argv


def _processor(accelerator: Accelerator) -> list[str]:
    if accelerator is Accelerator.KVM:
        return ["-accel", "kvm", "-cpu", "host"]
    # A reset ends this qemu, and Machine starts the next: after a warm reset the firmware runs tens of times slower, on
    # memory that is still watched for the old system's translated code.
    # Without what only costs emulated time: KVM inside the guest, and a fifth level of page tables.
    return ["-accel", "tcg,thread=multi", "-cpu", "max,svm=off,la57=off", "-action", "reboot=shutdown"]


def _firmware(code: Path, variables: Path) -> list[str]:
    """Variables that only the firmware itself may write, from system management mode: what Secure Boot stands on."""
    return [
        *("-global", "driver=cfi.pflash01,property=secure,value=on"),
        *("-global", "ICH9-LPC.disable_s3=1"),
        *("-drive", f"if=pflash,format=raw,unit=0,readonly=on,file={_file(code)}"),
        *("-drive", f"if=pflash,format=raw,unit=1,file={_file(variables)}"),
    ]


def _disk(name: str, file: Path, form: str, order: int) -> list[str]:
    """`serial` is what the guest finds it by, in /dev/disk/by-id."""
    return [
        *("-drive", f"if=none,id={name},format={form},file={_file(file)},discard=unmap"),
        *("-device", f"virtio-blk-pci,drive={name},serial={name},bootindex={order}"),
    ]


def _card(name: str, card: Card) -> list[str]:
    behind = f"tap,id={name},ifname={card.tap},script=no,downscript=no" if card.tap else f"user,id={name},restrict=on"
    # Without an option ROM the firmware does not try to boot from the network.
    return ["-netdev", behind, "-device", f"virtio-net-pci,netdev={name},mac={card.mac},romfile="]


def _file(path: Path) -> str:
    return str(path).replace(",", ",,")
