"""Keys for firmware: signature lists and signed updates as efitools and openssl read them."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from images.signing import firmware
from images.signing.keys import Keys, read_certificate
from nf.errors import InputError

WHEN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
EMPTY = (
    bytes(16) + bytes.fromhex("8d2bf1ff96768b4ca9852747075b4f50")
    + struct.pack("<Q4sIHHHBB", 1 << 16, b"_FVH", 0x4FEFF, 72, 0, 0, 0, 2)
    + struct.pack("<IIII", 16, 4096, 0, 0)
    + firmware._STORE.bytes_le + struct.pack("<IBBHI", 60000, 0x5A, 0xFE, 0, 0)
)  # fmt: skip


def store() -> bytes:
    return EMPTY.ljust(1 << 16, b"\xff")


@pytest.mark.daemon
def test_efitools_finds_our_certificate(keys: Keys, tmp_path: Path, require_programs: Callable[..., None]) -> None:
    require_programs("sig-list-to-certs")
    made = firmware.enrolment_files(keys, when=WHEN)
    (tmp_path / "db.esl").write_bytes(made["db.esl"])
    subprocess.run(["sig-list-to-certs", "db.esl", "out"], cwd=tmp_path, check=True, capture_output=True)
    assert (tmp_path / "out-0.der").read_bytes() == read_certificate(keys.certificate("db")).public_bytes(Encoding.DER)


@pytest.mark.parametrize(("name", "signer"), [("PK", "PK"), ("KEK", "PK"), ("db", "KEK")])
def test_openssl_finds_each_update_signed_by_the_key_above_it(
    keys: Keys, tmp_path: Path, name: str, signer: str
) -> None:
    made = firmware.enrolment_files(keys, when=WHEN)
    update, listed = made[f"{name}.auth"], made[f"{name}.esl"]
    stamp, (length,) = update[:16], struct.unpack_from("<I", update, 16)
    assert update[16 + length :] == listed
    assert struct.unpack_from("<HBBBBB", stamp) == (2026, 1, 2, 3, 4, 5)
    covered = name.encode("utf-16-le") + firmware.VENDOR[name].bytes_le + struct.pack("<I", 0x27) + stamp + listed
    (tmp_path / "p7").write_bytes(update[40 : 16 + length])
    (tmp_path / "content").write_bytes(covered)

    def verified() -> int:
        return subprocess.run(
            ["openssl", "cms", "-verify", "-binary", "-inform", "DER", "-in", tmp_path / "p7",
             "-content", tmp_path / "content",
             "-CAfile", keys.certificate(signer), "-partial_chain", "-purpose", "any", "-out", "/dev/null"],
            capture_output=True, check=False,
        ).returncode  # fmt: skip

    assert verified() == 0
    (tmp_path / "content").write_bytes(covered[:-1] + bytes([covered[-1] ^ 1]))
    assert verified() != 0


def test_the_same_input_gives_the_same_files(keys: Keys) -> None:
    assert firmware.enrolment_files(keys, when=WHEN) == firmware.enrolment_files(keys, when=WHEN)


def test_a_digest_list_for_dbx(keys: Keys) -> None:
    made = firmware.digest_list([b"a" * 32, b"b" * 32], keys.owner)
    total, header, size = struct.unpack_from("<III", made, 16)
    assert (total, header, size) == (len(made), 0, 48)
    assert made[28:44] == keys.owner.bytes_le
    assert made[44:76] == b"a" * 32


def test_the_store_holds_our_keys_and_stays_as_long_as_it_was(keys: Keys) -> None:
    made = firmware.variable_store(store(), keys, when=WHEN)
    assert len(made) == 1 << 16
    for name in ("PK", "KEK", "db", "SecureBootEnable"):
        assert name.encode("utf-16-le") + b"\0\0" in made
    assert read_certificate(keys.certificate("db")).public_bytes(Encoding.DER) in made


def test_a_store_that_is_in_use_is_refused(keys: Keys) -> None:
    used = firmware.variable_store(store(), keys, when=WHEN)
    with pytest.raises(InputError, match="already"):
        firmware.variable_store(used, keys, when=WHEN)


@pytest.mark.parametrize("template", [b"", bytes(1000), EMPTY[:60]])
def test_what_is_no_store(keys: Keys, template: bytes) -> None:
    with pytest.raises(InputError):
        firmware.variable_store(template, keys, when=WHEN)
