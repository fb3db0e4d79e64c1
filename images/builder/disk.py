"""The disk of an appliance as one sparse file: GPT with names as the contract, two slots, and room for data behind.

    1 ESP      64 MiB   GRUB and the state of the slots
    2 boot_a  128 MiB   3 boot_b     the signed kernel image of each slot
    4 root_a            5 root_b     squashfs and its hash tree, as large as the recipe says
    6 data      8 MiB   empty: grown to the end of the disk, encrypted and formatted at first boot

Partition GUIDs are fixed, so that the same input gives the same disk. Octets come in the order of the disk, so that an
image can be written to a disk while it is being received.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from images.builder.esp import BOOT_OCTETS, ESP_OCTETS
from images.builder.tools import run
from images.report import Report, silent
from nf.errors import InputError

SECTOR_OCTETS = 512
DATA_OCTETS = 8 << 20

_ALIGNMENT = 1 << 20
_GUIDS = uuid.UUID("6e660000-0000-4000-8000-000000000000")
_NAMES = ("ESP", "boot_a", "boot_b", "root_a", "root_b", "data")
_CHUNK = 4 << 20
_ESP_TYPE = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
_LINUX_TYPE = "0FC63DAF-8483-4772-8E79-3D69D8477DE4"


@dataclass(frozen=True)
class Partition:
    """Of the image; `offset` and `octets` from its begin."""

    number: int
    name: str
    offset: int
    octets: int
    content: Path | None

    @property
    def guid(self) -> str:
        """Of the partition: fixed by number, another one for media whose names have a prefix."""
        medium = 0 if self.name in _NAMES else 0x100
        return str(uuid.UUID(int=_GUIDS.int + medium + self.number)).upper()


def layout(*, esp: Path, boot: Path, root: Path, slot_bytes: int, prefix: str = "") -> list[Partition]:
    """The partitions. Raises InputError when a content is larger than its partition, or the slot is no whole MiB."""
    if slot_bytes <= 0 or slot_bytes % _ALIGNMENT:
        raise InputError("whole MiB are needed", where="slot size")
    wanted = [
        ("ESP", ESP_OCTETS, esp),
        ("boot_a", BOOT_OCTETS, boot),
        ("boot_b", BOOT_OCTETS, boot),
        ("root_a", slot_bytes, root),
        ("root_b", slot_bytes, root),
        ("data", DATA_OCTETS, None),
    ]
    made, offset = [], _ALIGNMENT
    for number, (name, octets, content) in enumerate(wanted, start=1):
        if content is not None and content.stat().st_size > octets:
            raise InputError(
                f"{content.name} has {content.stat().st_size >> 20} MiB, its partition {octets >> 20} MiB",
                where=prefix + name,
                remedy="raise the slot size in the recipe (appliances in the field keep theirs), or take packages out",
            )
        made.append(Partition(number, prefix + name, offset, octets, content))
        offset += octets
    return made


def make_disk(
    out: Path, *, esp: Path, boot: Path, root: Path, slot_bytes: int, prefix: str = "", report: Report = silent
) -> list[Partition]:
    """Writes the image: both slots hold the same version, so that a bad block in one does not stop a new appliance.

    `prefix` of the names for media that may be in a machine together with its disk. Raises InputError, StorageError,
    UnavailableError, DriverError.
    """
    partitions = layout(esp=esp, boot=boot, root=root, slot_bytes=slot_bytes, prefix=prefix)
    end = partitions[-1].offset + partitions[-1].octets
    out.unlink(missing_ok=True)
    with out.open("wb") as file:
        file.truncate(end + _ALIGNMENT)
    _write_table(out, partitions, prefix)
    filled = [one for one in partitions if one.content is not None]
    total = sum(one.content.stat().st_size for one in filled if one.content)
    done = 0
    with out.open("r+b") as file:
        for one in filled:
            file.seek(one.offset)
            for chunk in _chunks(one.content):
                done += len(chunk)
                if chunk.count(0) == len(chunk):
                    file.seek(len(chunk), os.SEEK_CUR)
                else:
                    file.write(chunk)
                report(done / total, f"writing {one.name}")
    return partitions


def _chunks(path: Path | None) -> Iterator[bytes]:
    if path is None:
        return
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk


def _write_table(out: Path, partitions: list[Partition], prefix: str) -> None:
    disk = uuid.UUID(int=_GUIDS.int + (0x110 if prefix else 0x10))
    lines = ["label: gpt", f"label-id: {str(disk).upper()}", "unit: sectors", "sector-size: 512"]
    for one in partitions:
        kind = _ESP_TYPE if one.number == 1 else _LINUX_TYPE
        lines.append(
            f"start={one.offset // SECTOR_OCTETS}, size={one.octets // SECTOR_OCTETS}, type={kind}, "
            f'uuid={one.guid}, name="{one.name}"'
        )
    run("sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", str(out), package="fdisk", text="\n".join(lines) + "\n")
