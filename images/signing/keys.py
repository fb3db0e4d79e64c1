"""The signing material of an organisation: one directory, made once, never committed.

    PK, KEK, db      RSA-2048   who may change keys, who may change db, what may boot (UEFI 2.10, 32.3)
    bundle-ca        RSA-3072   what appliances trust for updates; it signs signers only
    bundle           RSA-3072   signs update bundles (CMS, RFC 5652), extended key usage codeSigning
    manifest         Ed25519    signs the manifest and the provenance of an image (RFC 8032)

Private keys are PKCS#8 PEM with mode 0600. A build needs those of `db`, `bundle` and `manifest` only: the others belong
on a medium that is locked away, and this directory is complete without them.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from nf.errors import InputError, IntegrityError, NotFoundError, RefusedError, StorageError
from nf.trust.files import read_private, write_private

CERTIFICATES = ("PK", "KEK", "db", "bundle-ca", "bundle")
FOR_BUILDS = ("db", "bundle", "manifest")
"""The private keys that a build uses; the rest may be kept elsewhere."""

ROLES = {
    "PK": "owns the firmware's keys: signs changes of PK and KEK",
    "KEK": "signs changes of db and dbx",
    "db": "signs what firmware boots: GRUB and the kernel image",
    "bundle-ca": "signs bundle signers; appliances trust it",
    "bundle": "signs update bundles",
    "manifest": "signs manifests and provenance",
}

_AUTHORITY_YEARS = 25
_SIGNER_YEARS = 5
_SKEW = timedelta(days=1)  # an appliance whose clock is a little behind still takes what was signed today


@dataclass(frozen=True)
class Keys:
    """Paths of one directory of signing material, checked by `load_keys`."""

    directory: Path
    organisation: str
    owner: uuid.UUID
    """SignatureOwner of the entries in PK, KEK and db."""

    def key(self, name: str) -> Path:
        return self.directory / f"{name}.key"

    def certificate(self, name: str) -> Path:
        return self.directory / f"{name}.crt"

    @property
    def manifest_public(self) -> Path:
        return self.directory / "manifest.pub"


def make_keys(directory: Path, *, organisation: str = "StreamVerse") -> Keys:
    """New signing material in `directory`, all of it or nothing.

    Raises RefusedError when something is in it already, InputError for an organisation that no certificate can
    name, StorageError when it cannot be written.
    """
    if not 1 <= len(organisation) <= 40 or not organisation.isprintable():
        raise InputError("1 to 40 printable characters are needed", where="organisation")
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise RefusedError(
            "something is there already",
            where=str(directory),
            remedy="name a new directory; keys are never overwritten",
        )
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent))
    except OSError as error:
        raise StorageError(f"cannot be written: {error.strerror}", where=str(directory)) from error
    try:
        _fill(made, organisation)
        made.replace(directory)
    except OSError as error:
        raise StorageError(f"cannot be written: {error.strerror}", where=str(directory)) from error
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return load_keys(directory)


def load_keys(directory: Path, *, now: datetime | None = None) -> Keys:
    """The material of `directory`, fit for a build.

    Raises NotFoundError when a certificate or one of `FOR_BUILDS` is missing, IntegrityError when a key can be read by
    others, does not belong to its certificate, or when the bundle signer is not of the authority or has expired.
    """
    now = now or datetime.now(UTC)
    policy = _policy(directory)
    keys = Keys(directory, policy["organisation"], uuid.UUID(policy["owner"]))
    certificates = {name: read_certificate(keys.certificate(name)) for name in CERTIFICATES}
    for name in CERTIFICATES:
        if name in FOR_BUILDS or keys.key(name).exists():
            _require_pair(keys.key(name), certificates[name], name)
    manifest_key(keys)
    _require_signer(certificates["bundle"], certificates["bundle-ca"], keys, now)
    return keys


def read_certificate(path: Path) -> x509.Certificate:
    """Raises NotFoundError, IntegrityError."""
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except FileNotFoundError as error:
        raise NotFoundError(
            "a certificate is not there", where=str(path), remedy="nf image keys init makes new material"
        ) from error
    except ValueError as error:
        raise IntegrityError("not a certificate", where=str(path), remedy="restore it from a backup") from error


def read_rsa_key(path: Path, name: str) -> rsa.RSAPrivateKey:
    """Raises NotFoundError, IntegrityError."""
    pem = read_private(path, f"the key {name}")
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError) as error:
        raise IntegrityError("not a private key", where=str(path), remedy="restore it from a backup") from error
    if not isinstance(key, rsa.RSAPrivateKey):
        raise IntegrityError("not an RSA key", where=str(path), remedy="restore it from a backup")
    return key


def manifest_key(keys: Keys) -> ed25519.Ed25519PrivateKey:
    """Raises NotFoundError, IntegrityError when the private key is not that of `manifest.pub`."""
    path = keys.key("manifest")
    try:
        key = serialization.load_pem_private_key(read_private(path, "the key manifest"), password=None)
    except (ValueError, TypeError) as error:
        raise IntegrityError("not a private key", where=str(path), remedy="restore it from a backup") from error
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        raise IntegrityError("not an Ed25519 key", where=str(path), remedy="restore it from a backup")
    try:
        public = keys.manifest_public.read_bytes()
    except FileNotFoundError as error:
        raise NotFoundError("the public key is not there", where=str(keys.manifest_public)) from error
    if public != _public_pem(key.public_key()):
        raise IntegrityError("is not the public half of manifest.key", where=str(keys.manifest_public))
    return key


def _policy(directory: Path) -> dict[str, str]:
    path = directory / "policy.json"
    try:
        policy = json.loads(path.read_bytes())
        return {"organisation": str(policy["organisation"]), "owner": str(uuid.UUID(policy["owner"]))}
    except FileNotFoundError as error:
        raise NotFoundError(
            "no signing material here", where=str(directory), remedy=f"nf image keys init {directory}"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise IntegrityError("cannot be read", where=str(path), remedy="restore it from a backup") from error


def _require_pair(path: Path, certificate: x509.Certificate, name: str) -> None:
    if read_rsa_key(path, name).public_key() != certificate.public_key():
        raise IntegrityError(f"is not the key of {name}.crt", where=str(path), remedy="restore both from one backup")


def _require_signer(signer: x509.Certificate, authority: x509.Certificate, keys: Keys, now: datetime) -> None:
    where = str(keys.certificate("bundle"))
    try:
        signer.verify_directly_issued_by(authority)
    except Exception as error:  # the library's own tree here: ValueError, TypeError, InvalidSignature
        raise IntegrityError("was not issued by bundle-ca.crt", where=where) from error
    if not signer.not_valid_before_utc <= now <= signer.not_valid_after_utc:
        raise IntegrityError(
            f"is valid from {signer.not_valid_before_utc:%Y-%m-%d} to {signer.not_valid_after_utc:%Y-%m-%d}",
            where=where,
            remedy="appliances would refuse the bundle: issue a new signer",
        )


def _fill(directory: Path, organisation: str) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    for name in ("PK", "KEK", "db"):
        key = rsa.generate_private_key(65537, 2048)
        own = _name(organisation, f"Secure Boot {name}")
        _write_pair(directory, name, key, _issue(own, own, key, key, now=now, years=_AUTHORITY_YEARS, path_length=None))
    authority = rsa.generate_private_key(65537, 3072)
    root = _name(organisation, "image bundles")
    _write_pair(
        directory,
        "bundle-ca",
        authority,
        _issue(root, root, authority, authority, now=now, years=_AUTHORITY_YEARS, path_length=0),
    )
    write_signer(directory, organisation, authority, now)
    manifest = ed25519.Ed25519PrivateKey.generate()
    write_private(directory / "manifest.key", _private_pem(manifest))
    (directory / "manifest.pub").write_bytes(_public_pem(manifest.public_key()))
    policy = {"version": 1, "organisation": organisation, "owner": str(uuid.uuid4()), "made": now.isoformat()}
    (directory / "policy.json").write_text(json.dumps(policy, indent=2) + "\n")


def write_signer(directory: Path, organisation: str, authority: rsa.RSAPrivateKey, now: datetime) -> None:
    """A new bundle signer in place of the one that is there. Raises StorageError."""
    key = rsa.generate_private_key(65537, 3072)
    root = _name(organisation, "image bundles")
    own = _name(organisation, f"image bundle signer {now:%Y-%m-%d}")
    _write_pair(
        directory, "bundle", key, _issue(own, root, key, authority, now=now, years=_SIGNER_YEARS, path_length=-1)
    )


def _name(organisation: str, common: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation),
            x509.NameAttribute(NameOID.COMMON_NAME, f"{organisation} {common}"[:64]),
        ]
    )


def _issue(
    subject: x509.Name,
    issuer: x509.Name,
    key: rsa.RSAPrivateKey,
    signer: rsa.RSAPrivateKey,
    *,
    now: datetime,
    years: int,
    path_length: int | None,
) -> x509.Certificate:
    """`path_length` of an authority; None for a Secure Boot key, -1 for a bundle signer."""
    authority = path_length is not None and path_length >= 0
    usage = x509.KeyUsage(
        digital_signature=not authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + timedelta(days=365 * years))
        .add_extension(
            x509.BasicConstraints(ca=authority, path_length=path_length if authority else None), critical=True
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        .add_extension(usage, critical=True)
    )
    if path_length == -1:
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), critical=False)
    return builder.sign(signer, hashes.SHA256())


def _write_pair(directory: Path, name: str, key: rsa.RSAPrivateKey, certificate: x509.Certificate) -> None:
    write_private(directory / f"{name}.key", _private_pem(key))
    (directory / f"{name}.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


def _private_pem(key: rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _public_pem(key: ed25519.Ed25519PublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
