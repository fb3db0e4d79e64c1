"""A session as a package that stands by itself: what came, what it says, what is missing; digests and a signature.

A ZIP file: manifest.json (files with SHA-256, session, gaps, checks), manifest.sig (ECDSA with SHA-256, DER) and
certificate.pem of the receiver that signed, hi2.ber and hi3.ber (PS-PDUs as they came, encrypted payloads still so, one
after another), sip/*.txt, events/*.json (TS 33.128) and audio/*.wav.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from lawful_intercept.handover.decoder import Content
from lawful_intercept.handover.threegpp import read_iri
from lawful_intercept.handover.values import DataType, IriType
from lawful_intercept.lemf.audio import record
from lawful_intercept.lemf.sessions import Archive
from lawful_intercept.tls import Files
from nf.contracts.json import Json, JsonObject
from nf.errors import IdentityError, InputError, IntegrityError, NotFoundError, RefusedError, StorageError
from nf.trust.certificates import issued_by, load_certificate, spiffe_id_of
from nf.trust.files import read_private
from nf.trust.keys import load_key, verify_signature

FORMAT: Final = "streamverse-lemf-evidence-1"
MANIFEST: Final = "manifest.json"
SIGNATURE: Final = "manifest.sig"
CERTIFICATE: Final = "certificate.pem"
_SIGNING: Final = frozenset({MANIFEST, SIGNATURE, CERTIFICATE})
_MOST_MANIFEST: Final = 64 << 20
_CHUNK: Final = 1 << 20
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True, repr=False)
class Package:
    """What `check` found. `signer`: whose certificate; `trusted`: the given authority made it; None: none was given."""

    manifest: dict[str, Any]
    files: int
    signer: str
    trusted: bool | None

    def to_json(self) -> JsonObject:
        session = self.manifest["session"]
        return {"files": self.files, "signer": self.signer, "trusted": self.trusted, "session": session}


class _Writer:
    """Files into the ZIP, digested on their way."""

    def __init__(self, package: zipfile.ZipFile) -> None:
        self._package = package
        self.files: list[Json] = []

    @contextmanager
    def opened(self, name: str) -> Iterator[_Digesting]:
        with self._package.open(zipfile.ZipInfo(name, _EPOCH), "w", force_zip64=True) as member:
            digesting = _Digesting(member)
            yield digesting
        self.files.append({"name": name, "octets": digesting.octets, "sha256": digesting.digest.hexdigest()})

    def write(self, name: str, octets: bytes) -> None:
        with self.opened(name) as member:
            member.write(octets)

    def copy(self, name: str, path: Path) -> None:
        with path.open("rb") as source, self.opened(name) as member:
            while octets := source.read(_CHUNK):
                member.write(octets)


class _Digesting:
    def __init__(self, member: IO[bytes]) -> None:
        self._member = member
        self.digest = hashlib.sha256()
        self.octets = 0

    def write(self, octets: bytes) -> None:
        self._member.write(octets)
        self.digest.update(octets)
        self.octets += len(octets)


def export(
    archive: Archive, session: int, target: Path, *, receiver: str, signing: Files, made_at: float
) -> JsonObject:
    """Write the package; its manifest. `signing`: certificate and key (P-256) of the receiver.

    Raises RefusedError (there is such a file), NotFoundError (no such session), IntegrityError, StorageError.
    """
    found = archive.session(session)
    key = load_key(read_private(signing.key, "a private key"), str(signing.key))
    try:
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise RefusedError("there is such a file", where=str(target), remedy="name another") from None
    except OSError as error:
        raise StorageError(f"cannot be written: {error.strerror}", where=str(target)) from error
    try:
        with os.fdopen(descriptor, "wb") as file, zipfile.ZipFile(file, "w") as package:
            writer = _Writer(package)
            _product(archive, session, writer)
            audio = _audio(archive, session, writer, target.parent)
            manifest: JsonObject = {
                "format": FORMAT,
                "receiver": receiver,
                "made_at": datetime.fromtimestamp(made_at, UTC).isoformat(timespec="seconds"),
                "session": found.to_json(),
                "audio": audio,
                "files": list(writer.files),
            }
            octets = json.dumps(manifest, indent=2, sort_keys=True).encode() + b"\n"
            package.writestr(zipfile.ZipInfo(MANIFEST, _EPOCH), octets)
            package.writestr(zipfile.ZipInfo(SIGNATURE, _EPOCH), key.sign(octets, ec.ECDSA(hashes.SHA256())))
            package.writestr(zipfile.ZipInfo(CERTIFICATE, _EPOCH), signing.certificate.read_bytes())
    except BaseException as error:
        target.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise StorageError(f"cannot be written: {error.strerror}", where=str(target)) from error
        raise
    return manifest


def _product(archive: Archive, session: int, writer: _Writer) -> None:
    for interface in (2, 3):
        with writer.opened(f"hi{interface}.ber") as member:
            for entry in archive.everything(session):
                if entry.interface == interface:
                    member.write(entry.pdu)
    number = 0
    for pdu in archive.pdus(session, DataType.IRI):
        for iri in pdu.iri:
            number += 1
            kind = IriType(iri.iri_type).name.lower() if iri.iri_type in tuple(IriType) else "iri"
            name = f"{number:04d}-{pdu.sequence}-{kind}"
            if iri.content in {Content.SIP, Content.SIP_IRI_ONLY}:
                writer.write(f"sip/{name}.txt", iri.octets)
            elif iri.content is Content.THREEGPP:
                writer.write(f"events/{name}.json", _event(iri.octets))
            else:
                writer.write(f"iri/{name}.bin", iri.octets)


def _event(octets: bytes) -> bytes:
    try:
        name, fields = read_iri(octets)
    except InputError:
        return json.dumps({"octets": octets.hex()}).encode() + b"\n"
    return json.dumps({"event": name, "fields": fields}, default=_shown, indent=2).encode() + b"\n"


def _shown(value: object) -> str:
    return value.hex() if isinstance(value, bytes | bytearray) else str(value)


def _audio(archive: Archive, session: int, writer: _Writer, beside: Path) -> JsonObject | None:
    with tempfile.TemporaryDirectory(prefix=".audio-", dir=beside) as folder:
        try:
            recording = record(archive, session, Path(folder))
        except NotFoundError:
            return None
        for path in recording.files:
            writer.copy(f"audio/{path.name}", path)
    return recording.to_json()


def check(path: Path, authority: Path | None = None) -> Package:
    """Digests, signature, and that nothing was added. `authority`: PEM of who made the receiver's certificate.

    Raises NotFoundError, IntegrityError (what is wrong with it), IdentityError (the authority is no certificate).
    """
    where = str(path)
    try:
        believed = None if authority is None else load_certificate(authority.read_bytes(), "the authority")
    except OSError:
        raise NotFoundError("there is no such certificate", where=str(authority)) from None
    try:
        with zipfile.ZipFile(path) as package:
            return _check(package, where, believed)
    except FileNotFoundError:
        raise NotFoundError("there is no such package", where=where) from None
    except (zipfile.BadZipFile, KeyError, TypeError, ValueError, OSError, RuntimeError, IdentityError) as error:
        raise IntegrityError("not a package of evidence, or a damaged one", where=where) from error


def _check(package: zipfile.ZipFile, where: str, authority: x509.Certificate | None) -> Package:
    names = package.namelist()
    signing = [package.getinfo(name).file_size for name in _SIGNING]
    if len(names) != len(set(names)) or max(signing) > _MOST_MANIFEST:
        raise IntegrityError("not a package of evidence", where=where)
    octets, signature = package.read(MANIFEST), package.read(SIGNATURE)
    certificate = load_certificate(package.read(CERTIFICATE), "certificate.pem")
    public = certificate.public_key()
    if not isinstance(public, ec.EllipticCurvePublicKey) or not verify_signature(public, signature, octets):
        raise IntegrityError("the manifest is not what was signed", where=where)
    manifest = json.loads(octets)
    if manifest["format"] != FORMAT:
        raise IntegrityError("a package of another form", where=where)
    told = {str(one["name"]): str(one["sha256"]) for one in manifest["files"]}
    if set(names) - _SIGNING != told.keys():
        raise IntegrityError("files were added or taken away", where=where)
    for name, wanted in told.items():
        digest = hashlib.sha256()
        with package.open(name) as member:
            while piece := member.read(_CHUNK):
                digest.update(piece)
        if digest.hexdigest() != wanted:
            raise IntegrityError("a file is not what was signed", where=f"{where}: {name}")
    trusted = None if authority is None else issued_by(certificate, authority)
    return Package(manifest, len(told), str(spiffe_id_of(certificate)), trusted)
