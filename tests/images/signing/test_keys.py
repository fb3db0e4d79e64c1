"""Signing material: what is made, what is refused. openssl is the second reader."""

from __future__ import annotations

import json
import shutil
import stat
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from images.commands import app
from images.signing.keys import CERTIFICATES, FOR_BUILDS, ROLES, Keys, load_keys, make_keys, read_certificate
from nf.errors import InputError, IntegrityError, NotFoundError, RefusedError


@pytest.fixture
def copy(keys: Keys, tmp_path: Path) -> Path:
    return Path(shutil.copytree(keys.directory, tmp_path / "copy"))


def test_every_file_is_there_and_private_ones_are_the_owners_only(keys: Keys) -> None:
    made = {path.name for path in keys.directory.iterdir()}
    assert made == {
        *(f"{name}.key" for name in ROLES), *(f"{name}.crt" for name in CERTIFICATES), "manifest.pub", "policy.json",
    }  # fmt: skip
    for name in ROLES:
        assert stat.S_IMODE(keys.key(name).stat().st_mode) == 0o600
    assert stat.S_IMODE(keys.directory.stat().st_mode) == 0o700


def test_openssl_finds_the_chain_good_and_for_code_only(keys: Keys) -> None:
    def verify(*options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["openssl", "verify", "-x509_strict", "-CAfile", keys.certificate("bundle-ca"), *options,
             keys.certificate("bundle")],
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    assert verify().returncode == 0, verify().stderr
    assert verify("-purpose", "sslserver").returncode != 0


def test_secure_boot_keys_are_what_every_firmware_takes(keys: Keys) -> None:
    for name in ("PK", "KEK", "db"):
        certificate = read_certificate(keys.certificate(name))
        public = certificate.public_key()
        assert getattr(public, "key_size", 0) == 2048
        certificate.verify_directly_issued_by(certificate)
        assert certificate.not_valid_after_utc - datetime.now(UTC) > timedelta(days=365 * 20)


def test_a_bundle_signer_can_sign_no_further_signer(keys: Keys) -> None:
    signer, authority = (read_certificate(keys.certificate(name)) for name in ("bundle", "bundle-ca"))
    assert signer.extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False
    assert authority.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length == 0


def test_nothing_is_overwritten(keys: Keys) -> None:
    before = keys.key("db").read_bytes()
    with pytest.raises(RefusedError, match="something is there already"):
        make_keys(keys.directory)
    assert keys.key("db").read_bytes() == before


def test_no_half_directory_is_left(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="printable"):
        make_keys(tmp_path / "keys", organisation="x\n")
    assert list(tmp_path.iterdir()) == []


def test_a_build_needs_neither_the_platform_key_nor_the_authority(copy: Path) -> None:
    for name in ROLES.keys() - set(FOR_BUILDS):
        (copy / f"{name}.key").unlink()
    load_keys(copy)


@pytest.mark.parametrize("name", FOR_BUILDS)
def test_what_a_build_needs_is_missed(copy: Path, name: str) -> None:
    (copy / f"{name}.key").unlink()
    with pytest.raises(NotFoundError, match=f"the key {name} is not there"):
        load_keys(copy)


@pytest.mark.parametrize("name", ROLES)
def test_a_key_that_others_can_read_is_refused(copy: Path, name: str) -> None:
    (copy / f"{name}.key").chmod(0o640)
    with pytest.raises(IntegrityError, match="can be read by others"):
        load_keys(copy)


def test_a_key_that_is_not_the_certificates_is_refused(copy: Path) -> None:
    shutil.copy(copy / "KEK.key", copy / "db.key")
    with pytest.raises(IntegrityError, match=r"is not the key of db\.crt"):
        load_keys(copy)


def test_a_signer_of_another_authority_is_refused(copy: Path) -> None:
    for kind in ("key", "crt"):
        shutil.copy(copy / f"db.{kind}", copy / f"bundle.{kind}")
    with pytest.raises(IntegrityError, match="was not issued by"):
        load_keys(copy)


def test_a_signer_whose_time_is_over_is_refused(keys: Keys) -> None:
    with pytest.raises(IntegrityError, match="is valid from") as caught:
        load_keys(keys.directory, now=datetime.now(UTC) + timedelta(days=365 * 6))
    assert "new signer" in caught.value.remedy


def test_another_manifest_key_is_refused(copy: Path) -> None:
    (copy / "manifest.pub").write_bytes((copy / "manifest.pub").read_bytes().replace(b"A", b"B", 1))
    with pytest.raises(IntegrityError, match="public half"):
        load_keys(copy)


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"organisation": "x", "owner": "y"}', '{"owner": 1, "organisation": 1}']
)
def test_a_policy_that_cannot_be_read(copy: Path, text: str) -> None:
    (copy / "policy.json").write_text(text)
    with pytest.raises(IntegrityError, match="cannot be read"):
        load_keys(copy)


def test_an_empty_directory_says_how_to_begin(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError) as caught:
        load_keys(tmp_path)
    assert "nf image keys init" in caught.value.remedy


def test_the_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from nf.cli.main import main

    directory = tmp_path / "keys"
    assert main(["image", "keys", "init", str(directory), "--organisation", "Example"]) == 0
    capsys.readouterr()
    (directory / "PK.key").unlink()
    assert main(["image", "keys", "show", str(directory), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    private = {row["name"]: row["private"] for row in said["keys"]}
    assert private == {**dict.fromkeys(ROLES, "here"), "PK": "elsewhere"}
    assert main(["image", "keys", "show", str(directory)]) == 0
    assert "signs update bundles" in capsys.readouterr().out
    assert main(["image", "keys", "init", str(directory)]) != 0
    assert app is not None
