"""Partitions as they are read from outside of a machine; the tables are made by sfdisk."""

from __future__ import annotations

import contextlib
import hashlib
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.machine import disks
from lab.machine.partitions import digest, parse_gpt, partitions
from nf.errors import IntegrityError, NotFoundError

LAYOUT = """\
label: gpt
start=1MiB, size=2MiB, name=ESP
size=3MiB, name=boot_a
size=1MiB, name="with space"
"""
MIB = 1 << 20


@pytest.fixture
def disk(tmp_path: Path, require_programs: Callable[..., None]) -> Path:
    """An overlay over a partitioned image; boot_a holds the numbers 1, 2, 3 a MiB each."""
    require_programs("sfdisk", "qemu-img")
    image = tmp_path / "disk.img"
    with image.open("wb") as file:
        file.truncate(10 * MIB)
    subprocess.run(["sfdisk", "-q", str(image)], input=LAYOUT.encode(), check=True, capture_output=True)
    with image.open("r+b") as file:
        file.seek(3 * MIB)
        file.write(b"".join(bytes([number]) * MIB for number in (1, 2, 3)))
    target = tmp_path / "overlay.qcow2"
    disks.overlay(image, target)
    return target


@pytest.mark.daemon
def test_they_are_where_sfdisk_put_them(disk: Path) -> None:
    found = partitions(disk)
    assert {name: (one.start // MIB, one.size // MIB) for name, one in found.items()} == {
        "ESP": (1, 2),
        "boot_a": (3, 3),
        "with space": (6, 1),
    }


@pytest.mark.daemon
@pytest.mark.parametrize("size", [0, 1, MIB, MIB + 7, 3 * MIB])
def test_the_digest_is_of_so_many_octets(disk: Path, size: int) -> None:
    content = b"".join(bytes([number]) * MIB for number in (1, 2, 3))
    assert digest(disk, "boot_a", size) == hashlib.sha256(content[:size]).hexdigest()


@pytest.mark.daemon
def test_what_is_not_there_is_told(disk: Path) -> None:
    with pytest.raises(NotFoundError):
        digest(disk, "root_a", 1)
    with pytest.raises(NotFoundError):
        digest(disk, "boot_a", 3 * MIB + 1)


@given(st.binary(max_size=2048), st.binary(max_size=512))
def test_noise_is_refused_or_holds_nothing(head: bytes, tail: bytes) -> None:
    with contextlib.suppress(IntegrityError):
        parse_gpt(head)
    with contextlib.suppress(IntegrityError):
        parse_gpt(bytes(512) + b"EFI PART" + tail)
