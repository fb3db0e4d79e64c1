"""The engine on files: signed first, whole or not bootable, and read back."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from images.builder.manifest import describe_files
from images.flash import writer
from images.flash.payload import open_payload
from images.flash.targets import Target, check, disks, find
from images.flash.writer import MIB, flash
from images.signing.manifest import public_key
from nf.errors import IntegrityError, NfError, NotFoundError, RefusedError

_KEY = Ed25519PrivateKey.generate()
_PUBLIC = _KEY.public_key()


def _build(place: Path, image: bytes, *, key: Ed25519PrivateKey = _KEY, **more: object) -> Path:
    place.mkdir(parents=True, exist_ok=True)
    (place / "disk.img").write_bytes(image)
    files = {name: entry.model_dump() for name, entry in describe_files(place, ["disk.img"]).items()}
    text = json.dumps({"role": "pop", "version": "1.2", "files": files, **more}).encode()
    (place / "manifest.json").write_bytes(text)
    (place / "manifest.json.sig").write_bytes(key.sign(text))
    return place


def _target(place: Path, octets: int, fill: bytes = b"\xa5") -> Target:
    path = place / "disk"
    path.write_bytes(fill * octets)
    return find(path)


def _image(*extents: int) -> bytes:
    """MiB of data and of zeros in turn."""
    return b"".join(
        os.urandom(MIB * size) if number % 2 == 0 else bytes(MIB * size) for number, size in enumerate(extents)
    )


def _quiet(_fraction: float, _text: str) -> None:
    return None


def test_all_of_it_is_there_and_what_was_behind_is_no_partition_table(tmp_path: Path) -> None:
    image = _image(2, 5, 1, 1)
    payload = open_payload(_build(tmp_path / "build", image), _PUBLIC)
    target = _target(tmp_path, 12 * MIB)
    seen: list[tuple[float, str]] = []
    flash(payload, target, lambda fraction, text: seen.append((fraction, text)))
    written = target.node.read_bytes()
    assert written[: len(image)] == image
    assert written[-MIB:] == bytes(MIB)
    assert len(written) == 12 * MIB
    assert [fraction for fraction, _ in seen] == sorted(fraction for fraction, _ in seen)
    assert seen[-1] == (1.0, "done")
    assert {text for _, text in seen} == {"check", "write", "read back", "done"}


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(0, 3), min_size=1, max_size=5), st.integers(0, 5000))
def test_any_image(tmp_path: Path, extents: list[int], more: int) -> None:
    image = _image(*extents) + b"x" * (more + 1)
    payload = open_payload(_build(tmp_path / "build", image), _PUBLIC)
    target = _target(tmp_path, len(image))
    flash(payload, target, _quiet)
    assert target.node.read_bytes() == image


def test_a_cut_leaves_no_partition_table(tmp_path: Path) -> None:
    image = _image(6)
    payload = open_payload(_build(tmp_path / "build", image), _PUBLIC)
    target = _target(tmp_path, 8 * MIB)

    def cut(fraction: float, text: str) -> None:
        if text == "write" and fraction > 0.3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        flash(payload, target, cut)
    assert target.node.read_bytes()[:MIB] == bytes(MIB)


def test_an_altered_image_is_found_before_anything_is_overwritten(tmp_path: Path) -> None:
    build = _build(tmp_path / "build", _image(2))
    data = bytearray((build / "disk.img").read_bytes())
    data[1_500_000] ^= 1
    (build / "disk.img").write_bytes(data)
    target = _target(tmp_path, 3 * MIB)
    with pytest.raises(IntegrityError, match="nothing was written"):
        flash(open_payload(build, _PUBLIC), target, _quiet)
    assert set(target.node.read_bytes()) == {0xA5}


def test_an_image_that_changes_while_it_is_read_does_not_boot(tmp_path: Path) -> None:
    build = _build(tmp_path / "build", _image(3))
    target = _target(tmp_path, 4 * MIB)
    with patch.object(writer, "verify_image"):
        data = bytearray((build / "disk.img").read_bytes())
        data[2_500_000] ^= 1
        (build / "disk.img").write_bytes(data)
        with pytest.raises(IntegrityError, match="changed while it was read"):
            flash(open_payload(build, _PUBLIC), target, _quiet)
    assert target.node.read_bytes()[:MIB] == bytes(MIB)


def test_a_disk_that_keeps_something_else_is_found(tmp_path: Path) -> None:
    payload = open_payload(_build(tmp_path / "build", _image(2)), _PUBLIC)
    target = _target(tmp_path, 3 * MIB)
    whole: Callable[[int, bytes, int], None] = writer._pwrite

    def faulty(descriptor: int, data: bytes, offset: int) -> None:
        whole(descriptor, data[:-1] + b"!", offset)

    with patch.object(writer, "_pwrite", faulty), pytest.raises(IntegrityError, match="does not hold what was written"):
        flash(payload, target, _quiet)


def test_too_small(tmp_path: Path) -> None:
    payload = open_payload(_build(tmp_path / "build", _image(2)), _PUBLIC)
    target = _target(tmp_path, MIB)
    with pytest.raises(RefusedError, match="octets, the image"):
        flash(payload, target, _quiet)
    assert set(target.node.read_bytes()) == {0xA5}


# ---- the payload ----


def test_a_payload_by_directory_or_by_image(tmp_path: Path) -> None:
    build = _build(tmp_path / "build", b"image")
    assert open_payload(build, _PUBLIC) == open_payload(build / "disk.img", _PUBLIC)
    found = open_payload(build, _PUBLIC)
    assert (found.role, found.version, found.size) == ("pop", "1.2", 5)


def test_foreign_unsigned_altered_or_silent_manifests(tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match="signature does not fit"):
        open_payload(_build(tmp_path / "foreign", b"i", key=Ed25519PrivateKey.generate()), _PUBLIC)
    unsigned = _build(tmp_path / "unsigned", b"i")
    (unsigned / "manifest.json.sig").unlink()
    with pytest.raises(NotFoundError, match="cannot be trusted"):
        open_payload(unsigned, _PUBLIC)
    altered = _build(tmp_path / "altered", b"i")
    (altered / "manifest.json").write_bytes((altered / "manifest.json").read_bytes().replace(b"pop", b"core"))
    with pytest.raises(IntegrityError, match="signature does not fit"):
        open_payload(altered, _PUBLIC)
    with pytest.raises(IntegrityError, match=r"does not describe disk\.img"):
        open_payload(_build(tmp_path / "silent", b"i", files={}), _PUBLIC)
    longer = _build(tmp_path / "longer", b"i")
    (longer / "disk.img").write_bytes(b"ii")
    with pytest.raises(IntegrityError, match="2 octets, 1 were signed"):
        open_payload(longer, _PUBLIC)
    with pytest.raises(NfError):
        open_payload(tmp_path / "nothing", _PUBLIC)


@pytest.mark.parametrize("data", [b"", b"x" * 31, b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"])
def test_what_is_no_key(data: bytes) -> None:
    with pytest.raises(IntegrityError, match="no Ed25519 public key"):
        public_key(data, where="manifest.pub")


def test_a_key_as_pem_or_raw() -> None:
    raw = _PUBLIC.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    pem = _PUBLIC.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    assert public_key(raw, where="") == public_key(pem, where="") == _PUBLIC


# ---- the disks ----

_VOLUME = {"path": "/dev/mapper/v", "type": "lvm", "size": 1}
_DISK = {
    "path": "/dev/sdb",
    "type": "disk",
    "size": 64 << 30,
    "model": "X ",
    "serial": "1",
    "tran": "sata",
    "rm": False,
}


class Lsblk:
    def __init__(self, *devices: dict[str, object]) -> None:
        self._devices = devices

    def run(self, program: object) -> bytes:
        return json.dumps({"blockdevices": list(self._devices)}).encode()


def _part(**more: object) -> dict[str, object]:
    return {"path": "/dev/sdb1", "type": "part", "size": 1, "mountpoints": [None], **more}


@pytest.mark.parametrize(
    ("device", "why"),
    [
        ({**_DISK, "children": [_part(mountpoints=["/boot"])]}, "/dev/sdb1 is mounted at /boot"),
        ({**_DISK, "mountpoints": ["/srv"]}, "/dev/sdb is mounted at /srv"),
        ({**_DISK, "children": [_part(mountpoints=["[SWAP]"])]}, "is mounted at [SWAP]"),
        (
            {**_DISK, "children": [_part(children=[_VOLUME])]},
            "(lvm) stands on it",
        ),
        ({**_DISK, "ro": True}, "write-protected"),
        ({**_DISK, "path": "/dev/sda"}, "this system runs from it"),
    ],
)
def test_a_disk_in_use_is_left_alone(device: dict[str, object], why: str) -> None:
    (target,) = disks(Lsblk(device), Path("/dev/sda"))
    assert why in target.used
    with pytest.raises(RefusedError, match="is in use"):
        check(target, 1)


def test_a_free_disk_says_what_it_holds() -> None:
    free = {**_DISK, "children": [_part(partlabel="data", fstype="ext4")]}
    (target,) = disks(Lsblk(free, {"path": "/dev/loop0", "type": "loop", "size": 1}), Path("/dev/sda"))
    assert target.used == ""
    assert target.holds == ("/dev/sdb1 data ext4",)
    assert target.title == "/dev/sdb  68.7 GB  X  1  sata"
    check(target, 64 << 30)


def test_neither_disk_nor_file(tmp_path: Path) -> None:
    with pytest.raises(RefusedError):
        find(tmp_path)
    with pytest.raises(RefusedError):
        find(Path("/dev/null"))
    with pytest.raises(NotFoundError):
        find(tmp_path / "none")
