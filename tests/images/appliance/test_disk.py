"""The disk that the system runs from, through verity and partition, by what sysfs says."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from images.appliance.disk import disk_of
from nf.errors import NotFoundError


@pytest.fixture
def sys(tmp_path: Path) -> Path:
    disk = tmp_path / "devices/pci/vda"
    for number, (name, start, size) in {
        1: ("ESP", 2048, 131072),
        4: ("root_a", 133120, 8),
        6: ("data", 133128, 64),
    }.items():
        part = disk / f"vda{number}"
        part.mkdir(parents=True)
        (part / "partition").write_text(f"{number}\n")
        (part / "start").write_text(f"{start}\n")
        (part / "size").write_text(f"{size}\n")
        (part / "uevent").write_text(f"MAJOR=254\nDEVNAME=vda{number}\nPARTNAME={name}\n")
    (disk / "size").write_text("2097152\n")
    (disk / "uevent").write_text("DEVNAME=vda\n")
    mapped = tmp_path / "devices/virtual/dm-0/slaves"
    mapped.mkdir(parents=True)
    (mapped / "vda4").symlink_to(disk / "vda4")
    block = tmp_path / "dev/block"
    block.mkdir(parents=True)
    (block / "254:4").symlink_to(disk / "vda4")
    (block / "253:0").symlink_to(mapped.parent)
    return tmp_path


@pytest.mark.parametrize("numbers", [(254, 4), (253, 0)])
def test_through_verity_and_partition(sys: Path, numbers: tuple[int, int]) -> None:
    disk = disk_of(os.makedev(*numbers), sys)
    assert (disk.node, disk.size) == (Path("/dev/vda"), 1 << 30)
    assert [(one.number, one.name) for one in disk.partitions] == [(1, "ESP"), (4, "root_a"), (6, "data")]
    data = disk.named("data")
    assert (data.node, data.start, data.size) == (Path("/dev/vda6"), 133128 * 512, 64 * 512)
    with pytest.raises(NotFoundError, match="boot_a"):
        disk.named("boot_a")


def test_a_root_on_no_disk(sys: Path) -> None:
    with pytest.raises(NotFoundError, match="runs from no disk"):
        disk_of(os.makedev(0, 30), sys)
