"""The disk that this system runs from, found through sysfs: labels alone would match a stick beside it as well."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nf.errors import NotFoundError

SECTOR: Final = 512
"""Octets; sysfs counts in these whatever the disk's own sector is."""
_MAPPINGS: Final = 4  # deep enough for verity on a partition


@dataclass(frozen=True, slots=True)
class Partition:
    """`start` and `size` in octets; `name` is the GPT label."""

    node: Path
    number: int
    name: str
    start: int
    size: int


@dataclass(frozen=True, slots=True)
class Disk:
    """`size` in octets."""

    node: Path
    size: int
    partitions: tuple[Partition, ...]

    def named(self, name: str) -> Partition:
        """Raises NotFoundError."""
        for partition in self.partitions:
            if partition.name == name:
                return partition
        raise NotFoundError(
            f"has no partition {name}", where=str(self.node), remedy="flash the image again: nf image flash"
        )


def own_disk(root: Path = Path("/"), sys: Path = Path("/sys"), dev: Path = Path("/dev")) -> Disk:
    """The disk below the file system at `root`. Raises NotFoundError."""
    return disk_of(root.stat().st_dev, sys, dev)


def disk_of(device: int, sys: Path = Path("/sys"), dev: Path = Path("/dev")) -> Disk:
    """The disk that a block device is, is a partition of, or is mapped onto. Raises NotFoundError."""
    numbers = f"{os.major(device)}:{os.minor(device)}"
    try:
        found = (sys / "dev/block" / numbers).resolve(strict=True)
        for _ in range(_MAPPINGS):
            below = sorted((found / "slaves").iterdir()) if (found / "slaves").is_dir() else []
            if not below:
                break
            found = below[0].resolve(strict=True)
        if (found / "partition").exists():
            found = found.parent
        return _read(found, dev)
    except (OSError, ValueError) as error:
        raise NotFoundError(
            f"the system runs from no disk: {error}", where=numbers, remedy="boot the image from a disk"
        ) from None


def _read(found: Path, dev: Path) -> Disk:
    partitions = [
        Partition(
            node=dev / _event(one)["DEVNAME"],
            number=_number(one / "partition"),
            name=_event(one).get("PARTNAME", ""),
            start=_number(one / "start") * SECTOR,
            size=_number(one / "size") * SECTOR,
        )
        for one in found.iterdir()
        if (one / "partition").is_file()
    ]
    partitions.sort(key=lambda partition: partition.number)
    return Disk(dev / _event(found).get("DEVNAME", found.name), _number(found / "size") * SECTOR, tuple(partitions))


def _number(path: Path) -> int:
    return int(path.read_text())


def _event(device: Path) -> dict[str, str]:
    lines = (device / "uevent").read_text().splitlines()
    return {key: value for key, _, value in (line.partition("=") for line in lines)}
