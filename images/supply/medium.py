"""An installer medium: what boots is signed as on an appliance, and its payload is judged by the manifest inside of it.

`inst_payload` is a squashfs with disk.img, manifest.json and its signature; the signed command line of the kernel image
names the key (`nf.payload_key`, the raw Ed25519 key in base64) by which the installer will judge it.
"""

from __future__ import annotations

import base64
import hashlib
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from typing import Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from images.supply import chain, pe, shipped
from images.supply.checks import Checks
from images.supply.keyring import Keyring, require_signature
from images.supply.region import CHUNK, Region
from images.supply.shipped import Shipped
from nf.errors import IntegrityError

PAYLOAD: Final = "payload"
_DISK: Final = "disk.img"
_MANIFEST: Final = "manifest.json"
_LARGEST_MANIFEST: Final = 64 << 20


def check_payload(checks: Checks, keyring: Keyring, disk: Region, parts: Mapping[str, Region]) -> Shipped | None:
    """The manifest of what it installs, once that and the image were found good."""
    subject = f"{disk.name}/inst_{PAYLOAD}"
    key, part = keyring.manifest, parts.get(PAYLOAD)
    if part is None:
        return None  # told with the partitions
    if key is None or shutil.which("unsquashfs") is None:
        why = "the keyring has no manifest.pub" if key is None else "squashfs-tools is not installed"
        checks.skip(subject, "payload", why)
        return None
    boot = parts.get("boot_a")
    if boot is not None:
        checks.run(subject, "its key is in the signed command line", lambda: _require_key(boot, key))
    manifest = checks.run(subject, "signature of the manifest inside", lambda: _manifest(part, key))
    if manifest is not None:
        told = f"{manifest.role} {manifest.version}"
        checks.run(subject, f"digest of {_DISK} inside", lambda: _require_image(checks, part, manifest), good=told)
    return manifest


def _require_key(boot: Region, key: ed25519.Ed25519PublicKey) -> None:
    words = pe.command_line(pe.parse(chain.read_program(boot, chain.KERNEL), boot.name))
    raw = key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    if words.get("nf.payload_key") != base64.b64encode(raw).decode():
        raise IntegrityError(
            "it would accept an image signed by another key", where=boot.name, remedy="make the medium again"
        )


def _manifest(part: Region, key: ed25519.Ed25519PublicKey) -> Shipped:
    data = b"".join(_contents(part, _MANIFEST, _LARGEST_MANIFEST))
    require_signature(key, b"".join(_contents(part, f"{_MANIFEST}.sig", 4096)), data, where=part.name)
    return shipped.parse(data, where=part.name)


def _require_image(checks: Checks, part: Region, manifest: Shipped) -> None:
    expected = manifest.file(_DISK)
    hasher, size = hashlib.sha256(), 0
    for chunk in _contents(part, _DISK, expected.size):
        hasher.update(chunk)
        size += len(chunk)
        checks.tick(0)
    if size != expected.size or hasher.hexdigest() != expected.sha256:
        raise IntegrityError("the image that it installs was altered", where=part.name, remedy="make the medium again")


def _contents(part: Region, name: str, limit: int) -> Iterator[bytes]:
    """A file's octets in pieces, at most `limit`. Raises IntegrityError."""
    place = ["-o", str(part.start), f"/proc/self/fd/{part.descriptor}", name]
    with subprocess.Popen(
        ["unsquashfs", "-cat", *place], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, pass_fds=(part.descriptor,)
    ) as running:
        if running.stdout is None:
            raise IntegrityError(f"{name} cannot be read from it", where=part.name)
        left = limit
        while chunk := running.stdout.read(min(CHUNK, left + 1)):
            left -= len(chunk)
            if left < 0:
                running.kill()
                raise IntegrityError(f"{name} in it is too long", where=part.name)
            yield chunk
        if running.wait():
            raise IntegrityError(f"{name} cannot be read from it", where=part.name)
