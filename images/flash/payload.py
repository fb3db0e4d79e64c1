"""What is to be written, once its signature has been found good: nothing is read from an image before that."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from images.signing.manifest import verify_manifest
from nf.errors import IntegrityError, NotFoundError

MANIFEST: Final = "manifest.json"
DISK: Final = "disk.img"


@dataclass(frozen=True, slots=True)
class Payload:
    """A disk image that its manifest, signed by our key, vouches for. `size` in octets, `sha256` in hexadecimal."""

    image: Path
    size: int
    sha256: str
    role: str
    version: str


def open_payload(path: Path, key: Ed25519PublicKey) -> Payload:
    """`path`: a directory of `nf image build`, or a disk image with its manifest beside it.

    Raises NotFoundError, StorageError, and IntegrityError for anything that the key has not signed. The image itself is
    compared with the manifest when it is read.
    """
    image = path / DISK if path.is_dir() else path
    manifest = image.with_name(MANIFEST)
    text = verify_manifest(manifest, key)
    try:
        told: Any = json.loads(text)
        entry = told["files"][image.name]
        found = Payload(image, int(entry["size"]), str(entry["sha256"]), str(told["role"]), str(told["version"]))
    except (ValueError, KeyError, TypeError) as error:
        raise IntegrityError(f"does not describe {image.name}: {error}", where=str(manifest)) from None
    size = _size(image)
    if size != found.size:
        raise IntegrityError(f"has {size} octets, {found.size} were signed", where=str(image), remedy="fetch it again")
    return found


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise NotFoundError(f"cannot be read: {error.strerror}", where=str(path), remedy="nf image build") from None
