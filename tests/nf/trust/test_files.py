from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nf.errors import IntegrityError, NotFoundError, StorageError
from nf.trust.files import read_private, write_private
from nf.trust.keys import AuditKey, DeviceKey


def test_what_is_written_is_the_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "new" / "key"
    write_private(path, b"one")
    write_private(path, b"two")
    assert read_private(path, "the key") == b"two"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert list(path.parent.iterdir()) == [path]


def test_a_file_to_keep_stays(tmp_path: Path) -> None:
    path = tmp_path / "key"
    write_private(path, b"one", keep=True)
    write_private(path, b"two", keep=True)
    assert read_private(path, "the key") == b"one"
    assert list(tmp_path.iterdir()) == [path]


def test_of_many_who_make_a_key_at_once_all_get_the_same(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        devices = list(pool.map(lambda _: DeviceKey.load_or_create(tmp_path / "device.key").public_der, range(8)))
        audits = list(pool.map(lambda _: AuditKey.load_or_create(tmp_path / "audit.key").public_pem, range(8)))
    assert len(set(devices)) == 1
    assert len(set(audits)) == 1


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_file_that_others_can_touch_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "key"
    write_private(path, b"one")
    path.chmod(mode)
    with pytest.raises(IntegrityError, match=f"{mode:04o}") as caught:
        read_private(path, "the key")
    assert "chmod" in caught.value.remedy


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        read_private(tmp_path / "nowhere", "the key")
    with pytest.raises(IntegrityError):
        read_private(tmp_path, "the key")
    with pytest.raises(StorageError):
        write_private(tmp_path, b"over a directory")


def test_a_key_of_another_kind_is_refused(tmp_path: Path) -> None:
    DeviceKey.load_or_create(tmp_path / "device.key")
    AuditKey.load_or_create(tmp_path / "audit.key")
    with pytest.raises(IntegrityError, match="Ed25519"):
        AuditKey.load_or_create(tmp_path / "device.key")
    with pytest.raises(IntegrityError, match="P-256"):
        DeviceKey.load_or_create(tmp_path / "audit.key")
