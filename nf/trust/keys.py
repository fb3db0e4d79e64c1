"""Keys: P-256 for identities and devices (ECDSA with SHA-256), Ed25519 for the head of the audit chain."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from nf.errors import IdentityError, IntegrityError, NotFoundError
from nf.trust.files import read_private, write_private


def new_key() -> ec.EllipticCurvePrivateKey:
    """A fresh P-256 key."""
    return ec.generate_private_key(ec.SECP256R1())


def key_pem(key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey) -> bytes:
    """PKCS#8 PEM, not encrypted: what protects it is the mode of its file."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def public_der(key: ec.EllipticCurvePublicKey) -> bytes:
    """SubjectPublicKeyInfo DER."""
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def load_key(pem: bytes, where: str) -> ec.EllipticCurvePrivateKey:
    """Raises IntegrityError when it is not a P-256 key."""
    key = _load(pem, where)
    if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1):
        return key
    raise IntegrityError("not a P-256 key", where=where, remedy="restore the file from a backup")


def load_public_key(der: bytes, what: str) -> ec.EllipticCurvePublicKey:
    """Raises IdentityError when it is not a P-256 key."""
    try:
        key = serialization.load_der_public_key(der)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise IdentityError(f"{what} cannot be read", remedy="send SubjectPublicKeyInfo DER") from error
    return require_p256(key, what)


def require_p256(key: object, what: str) -> ec.EllipticCurvePublicKey:
    """Raises IdentityError for any other curve or algorithm."""
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
        return key
    raise IdentityError(f"{what} is not a P-256 key", remedy="make an ECDSA key on curve P-256")


def verify_signature(public_key: ec.EllipticCurvePublicKey, signature: bytes, data: bytes) -> bool:
    """ECDSA with SHA-256, DER signature."""
    try:
        public_key.verify(signature, data, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True


@dataclass(frozen=True, slots=True)
class DeviceKey:
    """The key that a machine makes once and keeps: it proves that a renewal comes from the machine that enrolled."""

    private: ec.EllipticCurvePrivateKey

    @classmethod
    def load_or_create(cls, path: Path) -> DeviceKey:
        """Raises IntegrityError (corrupt, or readable by others) and StorageError."""
        return cls(load_key(_load_or_create(path, "the device key", lambda: key_pem(new_key())), str(path)))

    @property
    def public_der(self) -> bytes:
        return public_der(self.private.public_key())

    def sign(self, data: bytes) -> bytes:
        """ECDSA with SHA-256, DER signature."""
        return self.private.sign(data, ec.ECDSA(hashes.SHA256()))


@dataclass(frozen=True, slots=True)
class AuditKey:
    """Ed25519 key of a NOC; signs the head of its audit chain."""

    private: ed25519.Ed25519PrivateKey

    @classmethod
    def load_or_create(cls, path: Path) -> AuditKey:
        """Raises IntegrityError (corrupt, or readable by others) and StorageError."""
        pem = _load_or_create(path, "the audit key", lambda: key_pem(ed25519.Ed25519PrivateKey.generate()))
        key = _load(pem, str(path))
        if not isinstance(key, ed25519.Ed25519PrivateKey):
            raise IntegrityError("not an Ed25519 key", where=str(path), remedy="restore the file from a backup")
        return cls(key)

    def sign(self, data: bytes) -> bytes:
        return self.private.sign(data)

    @property
    def public_pem(self) -> bytes:
        """For whoever wants to check a signed head elsewhere."""
        return self.private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )


def _load(pem: bytes, where: str) -> PrivateKeyTypes:
    try:
        return serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise IntegrityError("the key is corrupt", where=where, remedy="restore the file from a backup") from error


def _load_or_create(path: Path, what: str, create: Callable[[], bytes]) -> bytes:
    try:
        return read_private(path, what)
    except NotFoundError:
        write_private(path, create(), keep=True)
        return read_private(path, what)
