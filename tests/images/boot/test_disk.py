"""File systems and the disk, read back by the tools that a technician would use."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from images.builder import disk, esp
from images.builder.grub import grubenv
from images.signing.keys import Keys
from nf.errors import InputError

MIB = 1 << 20
EPOCH = 1_760_000_000
LABELS = ["ESP", "boot_a", "boot_b", "root_a", "root_b", "data"]


def table(image: Path) -> list[dict[str, object]]:
    said = subprocess.run(["sfdisk", "-J", image], capture_output=True, text=True, check=True).stdout
    return list(json.loads(said)["partitiontable"]["partitions"])


@pytest.fixture
def parts(tmp_path: Path) -> dict[str, Path]:
    """Contents that say where they are; small, as only their place matters."""
    made = {}
    for name in ("esp", "boot", "root"):
        made[name] = tmp_path / name
        made[name].write_bytes(name.encode() * 1000)
    return made


@pytest.mark.daemon
class TestDisk:
    """Needs sfdisk (fdisk)."""

    @pytest.fixture(autouse=True)
    def _programs(self, require_programs: Callable[..., None]) -> None:
        require_programs("sfdisk")

    def test_sfdisk_reads_the_layout(self, parts: dict[str, Path], tmp_path: Path) -> None:
        disk.make_disk(tmp_path / "disk.img", **parts, slot_bytes=64 * MIB)
        rows = table(tmp_path / "disk.img")
        assert [row["name"] for row in rows] == LABELS
        assert [int(str(row["size"])) * 512 // MIB for row in rows] == [64, 128, 128, 64, 64, 8]
        assert all(int(str(row["start"])) * 512 % MIB == 0 for row in rows)
        checked = subprocess.run(
            ["sfdisk", "--verify", tmp_path / "disk.img"], capture_output=True, text=True, check=False
        )
        assert checked.returncode == 0, checked.stdout + checked.stderr

    def test_each_content_is_at_its_place(self, parts: dict[str, Path], tmp_path: Path) -> None:
        made = disk.make_disk(tmp_path / "disk.img", **parts, slot_bytes=64 * MIB)
        image = (tmp_path / "disk.img").open("rb")
        with image:
            for one, row in zip(made, table(tmp_path / "disk.img"), strict=True):
                assert one.offset == int(str(row["start"])) * 512
                image.seek(one.offset)
                expected = one.content.read_bytes() if one.content else bytes(4096)
                assert image.read(len(expected)) == expected

    def test_the_same_input_gives_the_same_disk(self, parts: dict[str, Path], tmp_path: Path) -> None:
        for name in ("1", "2"):
            disk.make_disk(tmp_path / name, **parts, slot_bytes=64 * MIB)
        assert subprocess.run(["cmp", tmp_path / "1", tmp_path / "2"], check=False).returncode == 0

    def test_it_takes_little_room(self, parts: dict[str, Path], tmp_path: Path) -> None:
        disk.make_disk(tmp_path / "disk.img", **parts, slot_bytes=1024 * MIB)
        info = (tmp_path / "disk.img").stat()
        assert info.st_size > 2300 * MIB
        assert info.st_blocks * 512 < 4 * MIB

    def test_a_medium_shares_neither_names_nor_guids_with_a_disk(self, parts: dict[str, Path], tmp_path: Path) -> None:
        disk.make_disk(tmp_path / "disk.img", **parts, slot_bytes=8 * MIB)
        disk.make_disk(tmp_path / "medium.img", **parts, slot_bytes=8 * MIB, prefix="inst_")
        own, others = table(tmp_path / "disk.img"), table(tmp_path / "medium.img")
        assert [row["name"] for row in others] == [f"inst_{name}" for name in LABELS]
        assert not {row["uuid"] for row in own} & {row["uuid"] for row in others}

    def test_progress_ends_at_all_of_it(self, parts: dict[str, Path], tmp_path: Path) -> None:
        told: list[float] = []
        disk.make_disk(
            tmp_path / "d", **parts, slot_bytes=8 * MIB, report=lambda fraction, _text: told.append(fraction)
        )
        assert told == sorted(told)
        assert told[-1] == 1.0


def test_a_root_larger_than_its_slot_is_refused(parts: dict[str, Path]) -> None:
    parts["root"].write_bytes(bytes(2 * MIB + 1))
    with pytest.raises(InputError, match="root has 2 MiB, its partition 2 MiB") as caught:
        disk.layout(**parts, slot_bytes=2 * MIB)
    assert "slot size" in caught.value.remedy


@pytest.mark.parametrize("octets", [0, -MIB, MIB + 1])
def test_a_slot_is_whole_mebibytes(parts: dict[str, Path], octets: int) -> None:
    with pytest.raises(InputError, match="whole MiB"):
        disk.layout(**parts, slot_bytes=octets)


@pytest.mark.daemon
class TestFat:
    """Needs mkfs.vfat (dosfstools) and mtools."""

    @pytest.fixture(autouse=True)
    def _programs(self, require_programs: Callable[..., None]) -> None:
        require_programs("mkfs.vfat", "mcopy", "mdir")

    def make(self, out: Path, keys: Keys, extra: dict[str, bytes] | None = None) -> None:
        (out.parent / "grub.efi").write_bytes(b"MZ program")
        esp.make_esp(out, grub=out.parent / "grub.efi", keys=keys, extra=extra, epoch=EPOCH)

    def read(self, image: Path, path: str) -> bytes:
        return subprocess.run(["mtype", "-i", image, f"::{path}"], capture_output=True, check=True).stdout

    def test_mtools_reads_what_was_put_in(self, tmp_path: Path, keys: Keys) -> None:
        self.make(tmp_path / "esp.vfat", keys, {"nf/seed/seed.json": b"{}"})
        assert (tmp_path / "esp.vfat").stat().st_size == esp.ESP_OCTETS
        assert self.read(tmp_path / "esp.vfat", "/EFI/BOOT/BOOTX64.EFI") == b"MZ program"
        assert self.read(tmp_path / "esp.vfat", "/grub/grubenv") == grubenv()
        assert self.read(tmp_path / "esp.vfat", "/nf/seed/seed.json") == b"{}"
        assert self.read(tmp_path / "esp.vfat", "/nf/keys/db.crt") == keys.certificate("db").read_bytes()
        label = subprocess.run(
            ["mlabel", "-s", "-i", tmp_path / "esp.vfat", "::"], capture_output=True, check=True
        ).stdout
        assert b"ESP" in label

    def test_no_private_key_is_on_it(self, tmp_path: Path, keys: Keys) -> None:
        self.make(tmp_path / "esp.vfat", keys)
        assert b"PRIVATE KEY" not in (tmp_path / "esp.vfat").read_bytes()

    def test_the_same_input_gives_the_same_octets(self, tmp_path: Path, keys: Keys) -> None:
        for name in ("1", "2"):
            self.make(tmp_path / name, keys)
        assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()

    def test_the_file_system_is_sound(self, tmp_path: Path, keys: Keys) -> None:
        self.make(tmp_path / "esp.vfat", keys)
        done = subprocess.run(["fsck.vfat", "-n", tmp_path / "esp.vfat"], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout

    @pytest.mark.parametrize("path", ["/etc/x", "../x", "a/../../x", ""])
    def test_nothing_goes_elsewhere(self, tmp_path: Path, keys: Keys, path: str) -> None:
        with pytest.raises(InputError, match="not a path inside"):
            self.make(tmp_path / "esp.vfat", keys, {path: b""})

    def test_a_kernel_image_that_does_not_fit(self, tmp_path: Path) -> None:
        with (tmp_path / "nf.efi").open("wb") as file:
            file.truncate(128 * MIB)
        with pytest.raises(InputError, match="128 MiB do not fit into 128 MiB"):
            esp.make_boot(tmp_path / "boot.vfat", uki=tmp_path / "nf.efi")
