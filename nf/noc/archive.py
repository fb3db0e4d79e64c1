"""The file of a backup: one tar with a manifest, the SHA-256 of each part, and the keys sealed by a passphrase.

    manifest.json       format, what it is of, salt, name, size and SHA-256 of each part
    manifest.sha256     the SHA-256 of manifest.json
    noc.db, ca.pem      as they are
    ca.key.sealed, audit.key.sealed
                        AES-256-GCM (NIST SP 800-38D) under scrypt (RFC 7914) of the passphrase; what the manifest
                        says of the open parts is authenticated with them

Whatever byte of the file is changed or missing, reading it fails and names the part.
"""

from __future__ import annotations

import hashlib
import io
import json
import secrets
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from nf.contracts.json import Json, JsonObject, canonical
from nf.errors import DeniedError, InputError, IntegrityError

FORMAT: Final = "streamverse.nf/backup/v1"
MIN_PASSPHRASE: Final = 12
_MANIFEST, _DIGEST = "manifest.json", "manifest.sha256"
_OPEN: Final = ("noc.db", "ca.pem")
_SEALED: Final = ("ca.key", "audit.key")
_NONCE_BYTES, _SALT_BYTES = 12, 16
_SCRYPT_N, _SCRYPT_R, _SCRYPT_P = 2**16, 8, 1  # 64 MiB for each guess
_REMEDY: Final = "use another backup; this file is not what was written"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that a NOC is, at one instant. `parts`: file in the state directory -> content."""

    parts: Mapping[str, bytes]
    about: JsonObject


NAMES: Final = {"noc.db": "noc.db", "ca.pem": "ca/ca.pem", "ca.key": "ca/ca.key", "audit.key": "audit.key"}
"""Part -> path below the state directory."""


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def describe(parts: Mapping[str, bytes]) -> list[Json]:
    return [{"name": name, "size": len(data), "sha256": digest(data)} for name, data in parts.items()]


def pack(snapshot: Snapshot, passphrase: str) -> bytes:
    """Raises InputError when the passphrase is too short."""
    if len(passphrase) < MIN_PASSPHRASE:
        raise InputError(
            f"the passphrase has fewer than {MIN_PASSPHRASE} characters", remedy="take several words, and keep them"
        )
    salt = secrets.token_bytes(_SALT_BYTES)
    members = {name: snapshot.parts[name] for name in _OPEN}
    head: JsonObject = {"format": FORMAT, "about": snapshot.about, "salt": salt.hex(), "parts": describe(members)}
    key = AESGCM(_derive(passphrase, salt))
    for name in _SEALED:
        nonce = secrets.token_bytes(_NONCE_BYTES)
        members[f"{name}.sealed"] = nonce + key.encrypt(nonce, snapshot.parts[name], _bound(head, name))
    manifest = canonical({**head, "parts": describe(members)}).encode()
    return _tar({_MANIFEST: manifest, _DIGEST: digest(manifest).encode(), **members})


@dataclass(frozen=True, slots=True)
class Archive:
    """A backup whose every part has its SHA-256; its keys are still sealed."""

    manifest: JsonObject
    members: Mapping[str, bytes]
    where: str

    @property
    def about(self) -> JsonObject:
        about = self.manifest["about"]
        return about if isinstance(about, dict) else {}

    def open(self, passphrase: str) -> Snapshot:
        """Raises DeniedError when the passphrase is wrong or a part was changed together with its digest."""
        parts = {name: self.members[name] for name in _OPEN}
        head: JsonObject = {**self.manifest, "parts": describe(parts)}
        key = AESGCM(_derive(passphrase, bytes.fromhex(str(self.manifest["salt"]))))
        for name in _SEALED:
            sealed = self.members[f"{name}.sealed"]
            try:
                parts[name] = key.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], _bound(head, name))
            except InvalidTag as error:
                raise DeniedError(
                    "the passphrase does not open it, or somebody altered the backup and its digests",
                    where=f"{self.where}, part {name}.sealed",
                    remedy="check the passphrase; else use another backup",
                ) from error
        return Snapshot(parts, self.about)


def read(data: bytes, where: str) -> Archive:
    """Raises IntegrityError that names the part which is missing, truncated or altered."""
    members = _members(data, where)
    manifest = _manifest(members, where)
    listed = manifest.get("parts")
    parts = [part for part in listed if isinstance(part, dict)] if isinstance(listed, list) else []
    described = {str(part.get("name")): part for part in parts}
    for name in (*_OPEN, *(f"{name}.sealed" for name in _SEALED)):
        if name not in members or name not in described:
            raise broken("is missing", where, name)
        if described[name] != {"name": name, "size": len(members[name]), "sha256": digest(members[name])}:
            raise broken("is altered: its SHA-256 is not the one of the manifest", where, name)
    # Headers and padding have no digest of their own: the same parts make exactly one file.
    if _tar(members) != data:
        raise IntegrityError("truncated or altered before, between or behind its parts", where=where, remedy=_REMEDY)
    return Archive(manifest, members, where)


def _manifest(members: Mapping[str, bytes], where: str) -> JsonObject:
    for name in (_MANIFEST, _DIGEST):
        if name not in members:
            raise broken("is missing", where, name)
    if members[_DIGEST] != digest(members[_MANIFEST]).encode():
        raise broken("is altered", where, _MANIFEST)
    try:
        manifest = json.loads(members[_MANIFEST])
    except ValueError as error:
        raise broken("is not JSON", where, _MANIFEST) from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise broken(f"is not of the format {FORMAT}", where, _MANIFEST)
    return manifest


def broken(what: str, where: str, part: str) -> IntegrityError:
    return IntegrityError(f"the part {part} {what}", where=where, remedy=_REMEDY)


def _members(data: bytes, where: str) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    part = _MANIFEST
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:
            for member in tar:
                part = member.name
                file = tar.extractfile(member) if member.isfile() else None
                content = b"" if file is None else file.read()
                if len(content) != member.size:
                    raise broken("is truncated", where, part)
                found[part] = content
    except (tarfile.TarError, ValueError, OSError, UnicodeError) as error:
        raise broken(f"is truncated or altered ({error})", where, part) from error
    return found


def _tar(members: Mapping[str, bytes]) -> bytes:
    """The one file that these parts make."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), 0o600
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def _bound(head: JsonObject, name: str) -> bytes:
    return canonical([head, name]).encode()


def _derive(passphrase: str, salt: bytes) -> bytes:
    return Scrypt(salt=salt, length=32, n=_SCRYPT_N, r=_SCRYPT_R, p=_SCRYPT_P).derive(passphrase.encode())
