"""The update bundle: what RAUC installs into the slot that does not run (RAUC's reference, section "verity format").

    squashfs of the slot's images | dm-verity tree over it | CMS signature around the manifest | its length, 8 octets

The manifest names the digest of each image and the root hash over all of them, so that an appliance reads no octet of a
payload that the signature does not cover. The signature carries no time: the same input gives the same bundle.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
from pathlib import Path

from images.builder.grub import SIGNING_TIME
from images.builder.squashfs import make_squashfs
from images.builder.tools import run
from images.report import Report, silent
from images.signing.keys import Keys
from nf.errors import DriverError, InputError, IntegrityError, StorageError

_BLOCK = 4096
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+~_-]{0,63}")
_ROOT_HASH = re.compile(r"^Root hash:\s*([0-9a-f]{64})$", re.MULTILINE)
_LENGTH_OCTETS = 8


def compatible(role: str) -> str:
    """What an appliance of `role` takes updates for, and no other."""
    return f"streamverse-nf-{role}-amd64"


def make_bundle(
    out: Path,
    *,
    role: str,
    version: str,
    root: Path,
    boot: Path,
    keys: Keys,
    epoch: int = SIGNING_TIME,
    report: Report = silent,
) -> None:
    """Writes the signed bundle; `epoch`: seconds, stands as the build in its manifest.

    Raises InputError for a role or version that RAUC's manifest cannot carry, UnavailableError, DriverError.
    """
    for name, value in (("role", role), ("version", version)):
        if not _NAME.fullmatch(value):
            raise InputError("letters, digits and . + ~ _ - are possible", where=f"{name} {value!r}")
    with tempfile.TemporaryDirectory(prefix=".nf-bundle-", dir=out.parent) as scratch:
        content = Path(scratch, "content")
        content.mkdir()
        images = {"rootfs": ("rootfs.img", root), "boot": ("boot.vfat", boot)}
        for name, source in images.values():
            _place(source, content / name)
        manifest = _manifest(role, version, epoch, images)
        (content / "manifest.raucm").write_text(manifest)
        payload = Path(scratch, "payload")
        report(0.2, "packing the bundle")
        make_squashfs(content, payload, epoch=epoch, level=3, exclude=(), options=("-all-root",))
        manifest += _seal(payload, salt=hashlib.sha256(manifest.encode()).hexdigest())
        report(0.8, "signing the bundle")
        signature = _sign(manifest, keys, Path(scratch))
        with payload.open("ab") as file:
            file.write(signature + len(signature).to_bytes(_LENGTH_OCTETS, "big"))
        os.utime(payload, (epoch, epoch))
        payload.replace(out)
    report(1.0, "bundle made")


def read_manifest(bundle: Path, authority: Path) -> str:
    """The manifest of a bundle whose signature `authority` (PEM) vouches for; the payload itself is not read.

    Raises IntegrityError when the signature is not good, UnavailableError.
    """
    signature = _signature(bundle)
    with tempfile.TemporaryDirectory(prefix="nf-bundle-") as scratch:
        message = Path(scratch, "signature.der")
        message.write_bytes(signature)
        try:
            return run(
                "openssl", "cms", "-verify", "-inform", "DER", "-in", str(message), "-CAfile", str(authority),
                "-no-CApath", "-no-CAstore", "-purpose", "any", package="openssl",
            )  # fmt: skip
        except DriverError as error:
            raise IntegrityError(
                f"the signature is not good: {error.message}",
                where=str(bundle),
                remedy="it was altered, or signed by another authority: do not use it",
            ) from error


def check_payload(bundle: Path, manifest: str) -> None:
    """Reads the whole payload against the root hash of a verified manifest. Raises IntegrityError, UnavailableError."""
    entries = dict(line.split("=", 1) for line in manifest.splitlines() if line.startswith("verity-"))
    try:
        size, root_hash, salt = int(entries["verity-size"]), entries["verity-hash"], entries["verity-salt"]
        whole = bundle.stat().st_size - len(_signature(bundle)) - _LENGTH_OCTETS
    except (KeyError, ValueError) as error:
        raise IntegrityError("the manifest has no verity section", where=str(bundle)) from error
    data = whole - size
    try:
        run(
            "veritysetup", "verify", str(bundle), str(bundle), root_hash, "--no-superblock", f"--hash-offset={data}",
            f"--data-blocks={data // _BLOCK}", f"--salt={salt}", "--hash=sha256", package="cryptsetup-bin",
        )  # fmt: skip
    except DriverError as error:
        raise IntegrityError(
            "its content is not what was signed", where=str(bundle), remedy="it was altered: do not use it"
        ) from error


def _signature(bundle: Path) -> bytes:
    try:
        with bundle.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(end - _LENGTH_OCTETS, 0))
            length = int.from_bytes(file.read(_LENGTH_OCTETS), "big")
            if not 0 < length <= min(64 << 10, end - _LENGTH_OCTETS):
                raise IntegrityError("carries no signature", where=str(bundle), remedy="it is unsigned or cut off")
            file.seek(end - _LENGTH_OCTETS - length)
            return file.read(length)
    except OSError as error:
        raise StorageError(f"cannot be read: {error.strerror}", where=str(bundle)) from error


def _manifest(role: str, version: str, epoch: int, images: dict[str, tuple[str, Path]]) -> str:
    text = f"[update]\ncompatible={compatible(role)}\nversion={version}\nbuild={epoch}\n\n"
    for name, (file, source) in images.items():
        text += f"[image.{name}]\nsha256={_digest(source)}\nsize={source.stat().st_size}\nfilename={file}\n\n"
    return text + "[bundle]\nformat=verity\n"


def _seal(payload: Path, *, salt: str) -> str:
    """Appends the tree of hashes; the lines of the manifest that describe it."""
    data = -(-payload.stat().st_size // _BLOCK) * _BLOCK
    with payload.open("r+b") as file:
        file.truncate(data)
    said = run(
        "veritysetup", "format", str(payload), str(payload), "--no-superblock", f"--hash-offset={data}",
        f"--data-blocks={data // _BLOCK}", f"--salt={salt}", "--hash=sha256", package="cryptsetup-bin",
    )  # fmt: skip
    found = _ROOT_HASH.search(said)
    if found is None:
        raise DriverError("veritysetup named no root hash")
    return f"verity-hash={found[1]}\nverity-salt={salt}\nverity-size={payload.stat().st_size - data}\n"


def _sign(manifest: str, keys: Keys, scratch: Path) -> bytes:
    text, made = scratch / "manifest", scratch / "signature.der"
    text.write_text(manifest)
    run(
        "openssl", "cms", "-sign", "-binary", "-nodetach", "-noattr", "-md", "sha256", "-outform", "DER",
        "-in", str(text), "-out", str(made), "-signer", str(keys.certificate("bundle")),
        "-inkey", str(keys.key("bundle")), package="openssl",
    )  # fmt: skip
    return made.read_bytes()


def _place(source: Path, target: Path) -> None:
    """Another name for the same file where that is possible; a copy else."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
