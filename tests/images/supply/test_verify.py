"""`nf image verify` on a small build made by the real tools: what is whole passes, what is not fails and says why."""

from __future__ import annotations

import json
import shutil
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from images.supply import dmverity, pe
from images.supply.checks import Verdict, Verification
from images.supply.keyring import load_keyring
from images.supply.region import opened
from images.supply.verify import verify
from nf.errors import InputError, IntegrityError, NotFoundError
from tests.images.supply.small_build import (
    NOW,
    Maker,
    SmallBuild,
    make_bundle,
    make_disk,
    make_kernel,
    make_maker,
    make_medium,
    make_volume,
    run,
    sign_build,
)

pytestmark = pytest.mark.daemon


def _judge(path: Path, maker: Maker) -> Verification:
    return verify(path, load_keyring(maker.keyring), now=NOW)


def _reasons(found: Verification) -> str:
    return "\n".join(f"{one.subject}: {one.what}: {one.reason}" for one in found.failed)


def test_a_build_as_it_was_made_is_good(built: SmallBuild) -> None:
    found = _judge(built.directory, built.maker)
    assert found.is_good, _reasons(found)
    asked = {(one.subject, one.what) for one in found.checks}
    assert ("manifest.json", "signature") in asked
    assert ("provenance.json", "is about these files") in asked
    assert ("esp.vfat", "Secure Boot signature") in asked
    assert ("nf.efi", "command line binds the root") in asked
    assert ("rootfs.img", "dm-verity root hash") in asked
    assert ("streamverse-nf-pop-1.2.raucb", "payload is what was signed") in asked
    assert ("disk.img/root_b", "holds rootfs.img") in asked
    assert any("root.json" in note for note in found.notes)
    assert any("commit 0123456789abcdef" in note for note in found.notes)


@pytest.mark.parametrize("name", ["disk.img", "streamverse-nf-pop-1.2.raucb"])
def test_one_file_with_its_manifest_beside_it_is_good(built: SmallBuild, name: str) -> None:
    found = _judge(built.directory / name, built.maker)
    assert found.is_good, _reasons(found)
    assert any(one.what == "digest" for one in found.checks)


def test_a_bundle_alone_is_good_by_its_own_signature(build: SmallBuild, tmp_path: Path) -> None:
    alone = Path(shutil.copy(build.bundle, tmp_path))
    found = _judge(alone, build.maker)
    assert found.is_good, _reasons(found)
    assert any(one.subject.endswith("/rootfs.img") and "dm-verity" in one.what for one in found.checks)


def test_a_disk_alone_has_a_good_chain_but_not_every_octet_is_vouched_for(build: SmallBuild, tmp_path: Path) -> None:
    alone = Path(shutil.copy(build.directory / "disk.img", tmp_path))
    found = _judge(alone, build.maker)
    assert not found.failed, _reasons(found)
    assert not found.is_good
    assert [one.what for one in found.unchecked] == ["digest"]


def test_other_makers_are_refused_everywhere(built: SmallBuild, tmp_path: Path) -> None:
    stranger = make_maker(tmp_path / "stranger", "Stranger")
    for path in (built.directory, built.directory / "disk.img", built.bundle):
        assert _judge(path, stranger).failed


def test_each_signature_is_judged_by_its_own_key(built: SmallBuild, tmp_path: Path) -> None:
    stranger = make_maker(tmp_path / "stranger", "Stranger")
    for name, told in (
        ("db.crt", "Secure Boot"),
        ("bundle-ca.crt", "signature of the bundle"),
        ("manifest.pub", "sig"),
    ):
        mixed = Path(shutil.copytree(built.maker.keyring, tmp_path / name))
        shutil.copy(stranger.keyring / name, mixed)
        found = verify(built.directory, load_keyring(mixed), now=NOW)
        assert told in _reasons(found)


def test_a_missing_key_is_told_and_is_no_pass(built: SmallBuild, tmp_path: Path) -> None:
    for name in ("db.crt", "bundle-ca.crt", "manifest.pub"):
        less = Path(shutil.copytree(built.maker.keyring, tmp_path / name))
        (less / name).unlink()
        found = verify(built.directory, load_keyring(less), now=NOW)
        assert not found.is_good
        assert name in "".join(one.reason for one in found.unchecked)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_flipped_bit_anywhere_in_a_build_fails(build: SmallBuild, data: st.DataObject) -> None:
    files = sorted(one for one in build.directory.iterdir() if one.name != "root.json")
    path = data.draw(st.sampled_from(files), label="file")
    bit = data.draw(st.integers(0, path.stat().st_size * 8 - 1), label="bit")
    _flip(path, bit)
    try:
        assert _judge(build.directory, build.maker).failed
    finally:
        _flip(path, bit)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_flipped_bit_anywhere_in_a_lone_bundle_fails(build: SmallBuild, tmp_path: Path, data: st.DataObject) -> None:
    alone = tmp_path / "alone.raucb"
    if not alone.exists():
        shutil.copy(build.bundle, alone)
    bit = data.draw(st.integers(0, alone.stat().st_size * 8 - 1), label="bit")
    _flip(alone, bit)
    try:
        assert _judge(alone, build.maker).failed
    finally:
        _flip(alone, bit)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_flipped_bit_of_a_program_is_found_by_its_signature_alone(built: SmallBuild, data: st.DataObject) -> None:
    authority = built.maker.db.certificate
    whole = (built.directory / "nf.efi").read_bytes()
    pe.verify(pe.parse(whole, "nf.efi"), authority)
    # Half of them into the certificate table, which is small and the hardest to judge.
    start = data.draw(st.sampled_from([0, pe.parse(whole, "nf.efi").table_start]))
    bit = data.draw(st.integers(start * 8, len(whole) * 8 - 1))
    damaged = bytearray(whole)
    damaged[bit // 8] ^= 1 << bit % 8
    with pytest.raises(IntegrityError):
        pe.verify(pe.parse(bytes(damaged), "nf.efi"), authority)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_flipped_bit_of_a_root_is_found_by_its_root_hash_alone(build: SmallBuild, data: st.DataObject) -> None:
    path = build.directory / "rootfs.img"
    root = json.loads((build.directory / "root.json").read_text())
    identity = range(root["hash_offset"] + 16, root["hash_offset"] + 32)  # the superblock's UUID means nothing
    octet = data.draw(st.integers(0, path.stat().st_size - 1).filter(lambda at: at not in identity))
    bit = octet * 8 + data.draw(st.integers(0, 7))
    _flip(path, bit)
    with opened(path) as image, pytest.raises(IntegrityError):
        dmverity.check_image(image, root["hash_offset"], root["root_hash"])
    _flip(path, bit)


@pytest.mark.parametrize("name", ["disk.img", "rootfs.img", "sbom.cdx.json", "licences.json"])
def test_a_missing_or_shortened_file_fails(build: SmallBuild, name: str) -> None:
    path = build.directory / name
    path.write_bytes(path.read_bytes()[:-1])
    assert f"{name}: digest" in _reasons(_judge(build.directory, build.maker))
    path.unlink()
    assert "it is missing" in _reasons(_judge(build.directory, build.maker))


def test_a_signed_manifest_does_not_cover_up_a_root_of_another_build(build: SmallBuild) -> None:
    """Whoever holds the manifest key alone cannot make a root that the kernel image would mount."""
    path = build.directory / "rootfs.img"
    path.write_bytes(b"\xff" + path.read_bytes()[1:])
    build.sign()
    told = _reasons(_judge(build.directory, build.maker))
    assert "rootfs.img: dm-verity root hash" in told
    assert "is not the one of the manifest" in told  # the bundle
    assert "disk.img/root_a: holds rootfs.img" in told


def test_a_kernel_that_binds_another_root_fails(build: SmallBuild, tmp_path: Path) -> None:
    kernel = tmp_path / "nf.efi"
    make_kernel(kernel, build.maker, f"nf.roothash={'0' * 64} nf.hashoff=4096 ro")
    shutil.copy(kernel, build.directory)
    make_volume(build.directory / "boot.vfat", {"nf.efi": kernel})
    build.sign()
    told = _reasons(_judge(build.directory, build.maker))
    assert "nf.efi: command line binds the root: it binds root hash 0000" in told


def test_an_unsigned_kernel_on_the_disk_fails(build: SmallBuild, tmp_path: Path) -> None:
    kernel = tmp_path / "nf.efi"
    shutil.copy(build.directory / "nf.efi", kernel)
    run("sbattach", "--remove", kernel)
    make_volume(build.directory / "boot.vfat", {"nf.efi": kernel})
    root, esp = build.directory / "rootfs.img", build.directory / "esp.vfat"
    make_disk(build.directory / "disk.img", esp=esp, boot=build.directory / "boot.vfat", root=root)
    build.sign()
    told = _reasons(_judge(build.directory, build.maker))
    assert "disk.img/boot_a: Secure Boot signature: it is not signed" in told
    assert "boot.vfat: holds nf.efi: it holds another kernel image" in told


def test_bundles_of_another_role_another_signer_or_an_expired_one_fail(build: SmallBuild, tmp_path: Path) -> None:
    parts = {"root": build.directory / "rootfs.img", "boot": build.directory / "boot.vfat"}
    make_bundle(build.bundle, build.maker, compatible="streamverse-nf-core-amd64", **parts)
    build.sign()
    told = _reasons(_judge(build.directory, build.maker))
    assert "role: it is for streamverse-nf-core-amd64, not for streamverse-nf-pop-amd64" in told
    alone = tmp_path / "alone.raucb"
    make_bundle(alone, build.maker, compatible="vendor-router-amd64", **parts)
    assert "it is for vendor-router-amd64" in _reasons(_judge(alone, build.maker))
    late = verify(alone, load_keyring(build.maker.keyring), now=NOW + timedelta(days=40_000))
    assert "is valid from" in _reasons(late)


def test_what_hides_beside_the_partitions_is_found(build: SmallBuild) -> None:
    disk = build.directory / "disk.img"
    for at, told in ((40 * 512, "stands between its partitions"), (9 * (1 << 20) + 5, "disk.img/data: is empty")):
        whole = disk.read_bytes()
        disk.write_bytes(whole[:at] + b"secret" + whole[at + 6 :])
        build.sign()
        assert told in _reasons(_judge(build.directory, build.maker))
        disk.write_bytes(whole)


def test_an_empty_second_slot_is_no_fault(build: SmallBuild) -> None:
    disk = bytearray((build.directory / "disk.img").read_bytes())
    disk[5 << 20 : 7 << 20] = bytes(2 << 20)
    disk[8 << 20 : 9 << 20] = bytes(1 << 20)
    (build.directory / "disk.img").write_bytes(disk)
    build.sign()
    found = _judge(build.directory, build.maker)
    assert found.is_good, _reasons(found)


def test_a_manifest_of_another_role_than_it_is_compatible_with_fails(build: SmallBuild) -> None:
    sign_build(build.directory, build.maker, compatible="streamverse-nf-core-amd64")
    assert "its role is streamverse-nf-pop-amd64" in _reasons(_judge(build.directory, build.maker))


def test_provenance_of_another_build_fails(build: SmallBuild) -> None:
    kept = (build.directory / "provenance.json").read_bytes()
    (build.directory / "packages.txt").write_text("other\n")
    build.sign()
    (build.directory / "provenance.json").write_bytes(kept)
    told = _reasons(_judge(build.directory, build.maker))
    assert "it is about other files: manifest.json, packages.txt" in told


def test_what_is_no_image_is_refused_at_once(tmp_path: Path, maker: Maker) -> None:
    (tmp_path / "text").write_text("hello")
    with pytest.raises(InputError, match="neither a disk image nor a bundle"):
        _judge(tmp_path / "text", maker)
    with pytest.raises(NotFoundError):
        _judge(tmp_path / "absent", maker)
    with pytest.raises(NotFoundError, match=r"no manifest\.json"):
        _judge(tmp_path, maker)
    with pytest.raises(NotFoundError, match="no public keys"):
        load_keyring(tmp_path)


def test_an_installer_medium_is_judged_by_what_it_starts_and_installs(build: SmallBuild, tmp_path: Path) -> None:
    raw = build.maker.manifest.public_key().public_bytes_raw()
    medium = tmp_path / "installer.img"
    make_medium(medium, build.maker, build.directory, payload_key=raw)
    found = _judge(medium, build.maker)
    assert found.is_good, _reasons(found)
    assert found.kind == "installer medium"
    assert any("disk.img inside" in one.what and one.reason == "pop 1.2" for one in found.checks)
    make_medium(medium, build.maker, build.directory, payload_key=b"k" * 32)
    assert "signed by another key" in _reasons(_judge(medium, build.maker))
    _flip(build.directory / "disk.img", 8)
    make_medium(medium, build.maker, build.directory, payload_key=raw)
    assert "the image that it installs was altered" in _reasons(_judge(medium, build.maker))
    stranger = make_maker(tmp_path / "stranger", "Stranger")
    assert "manifest inside" in _reasons(_judge(medium, stranger))


def test_independent_tools_agree(built: SmallBuild, tmp_path: Path) -> None:
    """What we call good is so for sbverify, veritysetup and openssl too."""
    place, keys = built.directory, built.maker.directory
    root = json.loads((place / "root.json").read_text())
    run("sbverify", "--cert", keys / "db.crt", place / "nf.efi")
    image = place / "rootfs.img"
    run("veritysetup", "verify", f"--hash-offset={root['hash_offset']}", image, image, root["root_hash"])
    whole = built.bundle.read_bytes()
    (tmp_path / "cms").write_bytes(whole[-8 - int.from_bytes(whole[-8:], "big") : -8])
    run(
        *("openssl", "cms", "-verify", "-inform", "DER", "-purpose", "any", "-CAfile", keys / "bundle-ca.crt"),
        *("-in", tmp_path / "cms", "-out", tmp_path / "manifest", "-attime", str(int(NOW.timestamp()))),
    )
    assert b"verity-hash=" in (tmp_path / "manifest").read_bytes()
    run(
        *("openssl", "pkeyutl", "-verify", "-pubin", "-inkey", built.maker.keyring / "manifest.pub", "-rawin"),
        *("-in", place / "manifest.json", "-sigfile", place / "manifest.json.sig"),
    )


def test_the_command(
    built: SmallBuild, build: SmallBuild, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    options = ["--keys", str(built.maker.keyring), "--json"]
    _call(monkeypatch, *options, str(built.directory), code=0)
    answer = json.loads(capfd.readouterr().out)
    assert answer["good"]
    assert {one["verdict"] for one in answer["checks"]} == {Verdict.PASSED.value}
    _flip(build.directory / "nf.efi", 9000 * 8)
    monkeypatch.setenv("COLUMNS", "250")
    _call(monkeypatch, *options[:2], str(build.directory), code=9)
    told = capfd.readouterr()
    assert "it was altered after it was signed" in " ".join(told.out.split())
    assert "do not flash or install it" in told.err


def _call(monkeypatch: pytest.MonkeyPatch, *arguments: str, code: int) -> None:
    from nf.cli.main import main

    monkeypatch.setattr("sys.argv", ["nf", "image", "verify", *arguments])
    assert main() == code


def _flip(path: Path, bit: int) -> None:
    with path.open("r+b") as file:
        file.seek(bit // 8)
        octet = file.read(1)[0]
        file.seek(bit // 8)
        file.write(bytes([octet ^ 1 << bit % 8]))
