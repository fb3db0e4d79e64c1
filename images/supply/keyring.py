"""The public halves that judge an image: `manifest.pub`, `db.crt`, `bundle-ca.crt`. No private key is read here."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from nf.errors import InputError, IntegrityError, NotFoundError


@dataclass(frozen=True, slots=True)
class Keyring:
    """What is missing in the directory is None here; what it would have judged counts as not checked."""

    manifest: ed25519.Ed25519PublicKey | None
    secure_boot: x509.Certificate | None
    bundle_authority: x509.Certificate | None


def load_keyring(directory: Path) -> Keyring:
    """Raises NotFoundError when none of the three is there, InputError for one that cannot be read."""
    if not directory.is_dir():
        raise NotFoundError("no such directory", where=str(directory), remedy="--keys names the one with manifest.pub")
    manifest = _read(directory / "manifest.pub")
    secure_boot = _read(directory / "db.crt")
    authority = _read(directory / "bundle-ca.crt")
    if manifest is secure_boot is authority is None:
        raise NotFoundError(
            "no public keys here",
            where=str(directory),
            remedy="it needs manifest.pub, db.crt and bundle-ca.crt of whoever built the image",
        )
    return Keyring(
        None if manifest is None else _public_key(manifest, directory / "manifest.pub"),
        None if secure_boot is None else _certificate(secure_boot, directory / "db.crt"),
        None if authority is None else _certificate(authority, directory / "bundle-ca.crt"),
    )


def key_id(key: ed25519.Ed25519PublicKey) -> str:
    """How a signature names its key: SHA-256 over the raw public key, hexadecimal."""
    raw = key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return hashlib.sha256(raw).hexdigest()


def require_signature(key: ed25519.Ed25519PublicKey, signature: bytes, data: bytes, *, where: str) -> None:
    """Ed25519 (RFC 8032). Raises IntegrityError."""
    try:
        key.verify(signature, data)
    except InvalidSignature:
        raise IntegrityError(
            "its signature does not fit",
            where=where,
            remedy="it was altered, or another key signed it: fetch it again from where it was built",
        ) from None


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=str(path)) from None


def _public_key(pem: bytes, path: Path) -> ed25519.Ed25519PublicKey:
    try:
        key = serialization.load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, ed25519.Ed25519PublicKey):
        raise InputError("is no public Ed25519 key in PEM", where=str(path))
    return key


def _certificate(pem: bytes, path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(pem)
    except ValueError:
        raise InputError("is no certificate in PEM", where=str(path)) from None
