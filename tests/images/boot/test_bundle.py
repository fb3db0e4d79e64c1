"""Update bundles: RAUC and openssl judge the signature, veritysetup the content.

`rauc info` reads manifest and signature only, so it says nothing of a payload; an appliance's dm-verity does.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from images.builder import bundle
from images.signing.keys import Keys
from nf.errors import InputError, IntegrityError

pytestmark = pytest.mark.daemon
"""Needs rauc, openssl, mksquashfs (squashfs-tools) and veritysetup (cryptsetup-bin)."""

CONFIGURATION = """\
[system]
compatible=streamverse-nf-pop-amd64
bootloader=noop
[keyring]
path={keyring}
check-purpose=codesign
"""


@pytest.fixture(scope="session")
def made(keys: Keys, tmp_path_factory: pytest.TempPathFactory, require_programs: Callable[..., None]) -> Path:
    require_programs("rauc", "openssl", "mksquashfs", "veritysetup")
    place = tmp_path_factory.mktemp("bundle")
    make(place / "good.raucb", keys)
    return place / "good.raucb"


def make(out: Path, keys: Keys, role: str = "pop", version: str = "1.2.3") -> None:
    (out.parent / "root").write_bytes(bytes(range(256)) * 2000)
    (out.parent / "boot").write_bytes(b"boot" * 30_000)
    bundle.make_bundle(out, role=role, version=version, root=out.parent / "root", boot=out.parent / "boot", keys=keys)


def rauc(path: Path, keys: Keys) -> subprocess.CompletedProcess[str]:
    configuration = path.with_suffix(".conf")
    configuration.write_text(CONFIGURATION.format(keyring=keys.certificate("bundle-ca")))
    return subprocess.run(
        ["rauc", f"--conf={configuration}", "info", path], capture_output=True, text=True, check=False
    )


@pytest.fixture
def copy(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(made, tmp_path / "copy.raucb"))


def test_rauc_takes_it(made: Path, keys: Keys) -> None:
    said = rauc(made, keys)
    assert said.returncode == 0, said.stderr
    assert "'streamverse-nf-pop-amd64'" in said.stdout
    assert re.search(r"Bundle Format:\s+verity", said.stdout)
    assert "image bundle signer" in said.stdout


def test_we_read_it_back(made: Path, keys: Keys) -> None:
    manifest = bundle.read_manifest(made, keys.certificate("bundle-ca"))
    assert "compatible=streamverse-nf-pop-amd64" in manifest
    bundle.check_payload(made, manifest)


def test_we_read_what_rauc_made(keys: Keys, tmp_path: Path, made: Path) -> None:
    content = tmp_path / "content"
    content.mkdir()
    (content / "rootfs.img").write_bytes(bytes(range(256)) * 4000)
    (content / "manifest.raucm").write_text(
        "[update]\ncompatible=x\nversion=1\n[bundle]\nformat=verity\n[image.rootfs]\nfilename=rootfs.img\n"
    )
    subprocess.run(
        ["rauc", f"--cert={keys.certificate('bundle')}", f"--key={keys.key('bundle')}", "bundle", content,
         tmp_path / "r.raucb"],
        check=True, capture_output=True,
    )  # fmt: skip
    bundle.check_payload(
        tmp_path / "r.raucb", bundle.read_manifest(tmp_path / "r.raucb", keys.certificate("bundle-ca"))
    )
    assert made.exists()


def test_the_same_input_gives_the_same_octets(made: Path, keys: Keys, tmp_path: Path) -> None:
    time.sleep(1.1)
    make(tmp_path / "again.raucb", keys)
    assert (tmp_path / "again.raucb").read_bytes() == made.read_bytes()
    assert not list(tmp_path.glob(".nf-*"))


def test_a_strangers_bundle_is_refused(keys: Keys, stranger: Keys, tmp_path: Path) -> None:
    make(tmp_path / "foreign.raucb", stranger)
    said = rauc(tmp_path / "foreign.raucb", keys)
    assert said.returncode != 0
    assert "signature verification failed" in said.stderr.lower()
    with pytest.raises(IntegrityError, match="signature is not good"):
        bundle.read_manifest(tmp_path / "foreign.raucb", keys.certificate("bundle-ca"))


def test_the_secure_boot_key_signs_no_bundles(keys: Keys, tmp_path: Path) -> None:
    mixed = Path(shutil.copytree(keys.directory, tmp_path / "mixed"))
    for kind in ("key", "crt"):
        shutil.copy(mixed / f"db.{kind}", mixed / f"bundle.{kind}")
    make(tmp_path / "x.raucb", Keys(mixed, keys.organisation, keys.owner))
    assert rauc(tmp_path / "x.raucb", keys).returncode != 0


def test_a_bundle_without_a_signature_is_refused(copy: Path, keys: Keys) -> None:
    data = copy.read_bytes()
    length = int.from_bytes(data[-8:], "big")
    copy.write_bytes(data[: -8 - length])
    assert rauc(copy, keys).returncode != 0
    with pytest.raises(IntegrityError):
        bundle.read_manifest(copy, keys.certificate("bundle-ca"))


def test_an_altered_manifest_is_refused(copy: Path, keys: Keys) -> None:
    data = copy.read_bytes()
    assert data.count(b"version=1.2.3") == 1
    copy.write_bytes(data.replace(b"version=1.2.3", b"version=1.2.4"))
    assert rauc(copy, keys).returncode != 0
    with pytest.raises(IntegrityError):
        bundle.read_manifest(copy, keys.certificate("bundle-ca"))


def test_altered_content_has_a_good_signature_and_is_refused_all_the_same(copy: Path, keys: Keys) -> None:
    data = bytearray(copy.read_bytes())
    data[len(data) // 3] ^= 1
    copy.write_bytes(data)
    manifest = bundle.read_manifest(copy, keys.certificate("bundle-ca"))
    with pytest.raises(IntegrityError, match="not what was signed"):
        bundle.check_payload(copy, manifest)


def test_another_role_is_another_compatible(keys: Keys, tmp_path: Path, made: Path) -> None:
    make(tmp_path / "core.raucb", keys, role="core")
    manifest = bundle.read_manifest(tmp_path / "core.raucb", keys.certificate("bundle-ca"))
    assert "compatible=streamverse-nf-core-amd64\n" in manifest
    assert bundle.compatible("pop") not in manifest
    assert made.exists()


@pytest.mark.parametrize("version", ["", "1\n[x]", "a b", "-1", "x" * 65])
def test_a_version_that_the_manifest_cannot_carry(keys: Keys, tmp_path: Path, version: str) -> None:
    with pytest.raises(InputError):
        make(tmp_path / "x.raucb", keys, version=version)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(st.binary(max_size=120))
def test_what_is_no_bundle(tmp_path: Path, keys: Keys, data: bytes) -> None:
    (tmp_path / "noise").write_bytes(data)
    with pytest.raises(IntegrityError):
        bundle.read_manifest(tmp_path / "noise", keys.certificate("bundle-ca"))
