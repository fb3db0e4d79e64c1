"""Ed25519 signatures over manifests, beside them as 64 octets (RFC 8032), so that other tools check them too:

openssl pkeyutl -verify -pubin -inkey manifest.pub -rawin -in manifest.json -sigfile manifest.json.sig
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from images.signing.keys import Keys, manifest_key
from nf.errors import IntegrityError, NotFoundError, StorageError

_LONGEST: Final = 16 * 1024 * 1024  # octets; a manifest has far less


def sign(data: bytes, keys: Keys) -> bytes:
    """64 octets over `data`; the same data gives the same signature. Raises NotFoundError, IntegrityError."""
    return manifest_key(keys).sign(data)


def public_key(data: bytes, *, where: str = "") -> ed25519.Ed25519PublicKey:
    """PEM, as in `manifest.pub`, or the 32 octets of RFC 8032. Raises IntegrityError."""
    try:
        raw = len(data) == 32
        key = ed25519.Ed25519PublicKey.from_public_bytes(data) if raw else serialization.load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, ed25519.Ed25519PublicKey):
        raise IntegrityError(
            "is no Ed25519 public key", where=where, remedy="give manifest.pub of `nf image keys init`"
        )
    return key


def verify(data: bytes, signature: bytes, key: ed25519.Ed25519PublicKey, *, where: str = "") -> None:
    """Raises IntegrityError when the key did not sign exactly this."""
    try:
        key.verify(signature, data)
    except InvalidSignature as error:
        raise IntegrityError(
            "the signature does not fit: it was altered, or signed by another key",
            where=where,
            remedy="do not use it; fetch it again from its origin",
        ) from error


def signature_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.sig")


def sign_manifest(path: Path, keys: Keys) -> Path:
    """Signs the file as it is; the path of the signature. Raises NotFoundError, IntegrityError, StorageError."""
    signature = sign(_read(path), keys)
    try:
        signature_path(path).write_bytes(signature)
    except OSError as error:
        raise StorageError(f"cannot be written: {error.strerror}", where=str(signature_path(path))) from error
    return signature_path(path)


def verify_manifest(path: Path, key: ed25519.Ed25519PublicKey) -> bytes:
    """The content of `path` once its signature has been found good. Raises NotFoundError, IntegrityError."""
    data = _read(path)
    verify(data, _read(signature_path(path)), key, where=str(path))
    return data


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_LONGEST)
    except FileNotFoundError as error:
        raise NotFoundError(
            "is not there: an image without it cannot be trusted", where=str(path), remedy="copy it with the image"
        ) from error
    except OSError as error:
        raise StorageError(f"cannot be read: {error.strerror}", where=str(path)) from error
