"""Signatures of manifests: good for exactly the octets that were signed, in this program's eyes and in openssl's."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from images.signing import manifest
from images.signing.keys import Keys
from nf.errors import IntegrityError, NotFoundError

TEXT = b'{"role": "pop", "version": "1.0"}\n'


def public(keys: Keys) -> Ed25519PublicKey:
    return manifest.public_key(keys.manifest_public.read_bytes())


@pytest.fixture
def signed(keys: Keys, tmp_path: Path) -> Path:
    path = tmp_path / "manifest.json"
    path.write_bytes(TEXT)
    manifest.sign_manifest(path, keys)
    return path


def test_what_was_signed_is_returned(signed: Path, keys: Keys) -> None:
    assert manifest.verify_manifest(signed, public(keys)) == TEXT


def test_openssl_agrees(signed: Path, keys: Keys) -> None:
    command = [
        "openssl", "pkeyutl", "-verify", "-pubin", "-inkey", str(keys.manifest_public), "-rawin", "-in", str(signed),
        "-sigfile", f"{signed}.sig",
    ]  # fmt: skip
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    signed.write_bytes(TEXT + b" ")
    assert subprocess.run(command, capture_output=True, check=False).returncode != 0


@given(place=st.integers(0, len(TEXT) - 1), bit=st.integers(0, 7))
def test_one_bit_is_enough(keys: Keys, place: int, bit: int) -> None:
    signature, key = manifest.sign(TEXT, keys), public(keys)
    altered = bytearray(TEXT)
    altered[place] ^= 1 << bit
    with pytest.raises(IntegrityError, match="does not fit"):
        manifest.verify(bytes(altered), signature, key)


@given(st.binary(max_size=80))
def test_no_other_signature_fits(keys: Keys, signature: bytes) -> None:
    with pytest.raises(IntegrityError, match="does not fit"):
        manifest.verify(TEXT, signature, public(keys))


@given(st.binary(max_size=200))
def test_what_is_no_public_key(data: bytes) -> None:
    if len(data) != 32:
        with pytest.raises(IntegrityError, match="public key"):
            manifest.public_key(data)


def test_the_certificate_of_another_purpose_is_no_manifest_key(keys: Keys) -> None:
    with pytest.raises(IntegrityError):
        manifest.public_key(keys.certificate("db").read_bytes())


def test_without_its_signature_it_is_nothing(signed: Path, keys: Keys) -> None:
    manifest.signature_path(signed).unlink()
    with pytest.raises(NotFoundError):
        manifest.verify_manifest(signed, public(keys))
