"""What is to be written, once its signature has been found good: nothing is read from an image before that."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from nf.errors import IntegrityError, NotFoundError, StorageError

MANIFEST: Final = "manifest.json"
DISK: Final = "disk.img"
_LONGEST: Final = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Payload:
    """A disk image that its manifest, signed by our key, vouches for. `size` in octets, `sha256` in hexadecimal."""

    image: Path
    size: int
    sha256: str
    role: str
    version: str


def public_key(data: bytes, *, where: str) -> Ed25519PublicKey:
    """PEM, or the 32 octets of RFC 8032. Raises IntegrityError."""
    try:
        key = Ed25519PublicKey.from_public_bytes(data) if len(data) == 32 else serialization.load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise IntegrityError(
            "is no Ed25519 public key", where=where, remedy="give manifest.pub of `nf image keys init`"
        )
    return key


def open_payload(path: Path, key: Ed25519PublicKey) -> Payload:
    """`path`: a directory of `nf image build`, or a disk image with its manifest beside it.

    Raises NotFoundError, StorageError, and IntegrityError for anything that the key has not signed. The image itself is
    compared with the manifest when it is read.
    """
    image = path / DISK if path.is_dir() else path
    manifest = image.with_name(MANIFEST)
    text, signature = _read(manifest), _read(manifest.with_name(f"{MANIFEST}.sig"))
    try:
        key.verify(signature, text)
    except InvalidSignature:
        raise IntegrityError(
            "the signature does not fit: it was altered, or signed by another key",
            where=str(manifest),
            remedy="do not use it; fetch the image again from its origin",
        ) from None
    try:
        told: Any = json.loads(text)
        entry = told["files"][image.name]
        found = Payload(image, int(entry["octets"]), str(entry["sha256"]), str(told["role"]), str(told["version"]))
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


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_LONGEST)
    except FileNotFoundError:
        raise NotFoundError(
            "is not there: an image without it cannot be trusted", where=str(path), remedy="copy it with the image"
        ) from None
    except OSError as error:
        raise StorageError(f"cannot be read: {error.strerror}", where=str(path)) from error
