"""The root: squashfs of a tree, and the tree of hashes over it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from images.builder import initramfs, verity
from images.builder.squashfs import make_squashfs
from nf.errors import DriverError, InputError, UnavailableError

EPOCH = 1_760_000_000


@pytest.mark.daemon
class TestSquashfs:
    """Needs mksquashfs and unsquashfs (squashfs-tools)."""

    @pytest.fixture(autouse=True)
    def _programs(self, require_programs: Callable[..., None]) -> None:
        require_programs("mksquashfs", "unsquashfs")

    def test_it_holds_the_tree_without_what_a_system_fills_itself(self, tree: Path, tmp_path: Path) -> None:
        octets = make_squashfs(tree, tmp_path / "root.img", epoch=EPOCH, level=1)
        assert octets == (tmp_path / "root.img").stat().st_size
        said = subprocess.run(
            ["unsquashfs", "-l", tmp_path / "root.img"], capture_output=True, text=True, check=True
        ).stdout
        paths = {line.removeprefix("squashfs-root") for line in said.splitlines() if line.startswith("squashfs-root")}
        assert {"/etc/large", "/usr/lib/os-release", "/boot", "/tmp", "/proc"} <= paths  # noqa: S108  # in the image
        assert not {"/boot/vmlinuz-6.1.0-1-amd64", "/tmp/left"} & paths  # noqa: S108  # in the image

    def test_the_same_tree_gives_the_same_octets(self, tree: Path, tmp_path: Path) -> None:
        for name in ("1", "2"):
            os.utime(tree / "etc/large")  # newer than the image's own time, and another time in each build
            make_squashfs(tree, tmp_path / name, epoch=EPOCH, level=1)
        assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()

    def test_progress_is_told(self, tree: Path, tmp_path: Path) -> None:
        told: list[float] = []
        make_squashfs(tree, tmp_path / "x", epoch=EPOCH, level=1, report=lambda fraction, _text: told.append(fraction))
        assert told
        assert told[-1] == 1.0

    def test_its_last_words_are_told_when_it_fails(self, tmp_path: Path) -> None:
        with pytest.raises(DriverError, match="mksquashfs failed"):
            make_squashfs(tmp_path / "absent", tmp_path / "x", epoch=EPOCH)


def test_a_missing_program_names_its_package(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("images.builder.tools.PATH", "/nonexistent")
    with pytest.raises(UnavailableError, match="mksquashfs is not installed") as caught:
        make_squashfs(tree, tmp_path / "x", epoch=EPOCH)
    assert "squashfs-tools" in caught.value.remedy


@pytest.mark.daemon
class TestVerity:
    """Needs veritysetup (cryptsetup-bin)."""

    @pytest.fixture
    def image(self, tmp_path: Path, require_programs: Callable[..., None]) -> Path:
        require_programs("veritysetup")
        path = tmp_path / "root.img"
        path.write_bytes(b"streamverse" * 40_000)
        return path

    def test_veritysetup_finds_it_whole(self, image: Path) -> None:
        made = verity.add_verity(image, salt=verity.salt("pop 1.0"))
        assert made.hash_offset % 4096 == 0
        verity.check_verity(image, made)

    @pytest.mark.parametrize("place", [0, 5000, 439_999])
    def test_one_bit_is_found(self, image: Path, place: int) -> None:
        made = verity.add_verity(image, salt=verity.salt("pop 1.0"))
        data = bytearray(image.read_bytes())
        data[place] ^= 1
        image.write_bytes(data)
        with pytest.raises(DriverError):
            verity.check_verity(image, made)

    def test_an_altered_tree_is_found(self, image: Path) -> None:
        made = verity.add_verity(image, salt=verity.salt("pop 1.0"))
        data = bytearray(image.read_bytes())
        data[made.hash_offset + 4096] ^= 1
        image.write_bytes(data)
        with pytest.raises(DriverError):
            verity.check_verity(image, made)

    def test_the_same_image_gets_the_same_hash(self, image: Path, tmp_path: Path) -> None:
        (tmp_path / "2").write_bytes(image.read_bytes())
        first = verity.add_verity(image, salt=verity.salt("pop 1.0"))
        assert verity.add_verity(tmp_path / "2", salt=verity.salt("pop 1.0")) == first
        assert image.read_bytes() == (tmp_path / "2").read_bytes()

    def test_an_empty_image_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "empty").touch()
        with pytest.raises(InputError, match="is empty"):
            verity.add_verity(tmp_path / "empty", salt=bytes(32))


class TestInitramfs:
    def test_one_kernel_is_found(self, tree: Path) -> None:
        assert initramfs.kernel_version(tree) == "6.1.0-1-amd64"
        assert initramfs.kernel_path(tree).name == "vmlinuz-6.1.0-1-amd64"

    def test_two_kernels_are_a_question(self, tree: Path) -> None:
        (tree / "boot/vmlinuz-6.1.0-2-amd64").touch()
        with pytest.raises(InputError, match="one kernel is needed, found 2"):
            initramfs.kernel_version(tree)

    def test_a_tree_without_our_script_would_not_boot(self, tree: Path, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="boot script"):
            initramfs.make_initramfs(tree, tmp_path / "initramfs", epoch=EPOCH)
