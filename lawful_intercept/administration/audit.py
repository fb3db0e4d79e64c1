"""Verification of a store's audit from outside: of a copy, offline, with the public key alone.

It takes a store's file, or what `nf-li audit export` wrote: a line of JSON for each record, and the signed head last.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from lawful_intercept.administration.chain import Standing, Verdict, digest_of, judge
from nf.contracts.json import Json, JsonObject
from nf.errors import InputError, IntegrityError, NfError, StorageError
from nf.store.audit import AuditHead, AuditRecord
from nf.store.copy import copy_database

FORMAT: Final = "streamverse.nf-li audit v1"

_SQLITE: Final = b"SQLite format 3\0"
_FIELDS: Final = ("number", "at_us", "actor", "action", "object", "outcome", "detail", "previous", "hash")
_QUERY: Final = f"SELECT {', '.join(_FIELDS)} FROM audit ORDER BY number"  # noqa: S608 - only constants
_MOST_LINE: Final = 1 << 20


def public_key(pem: bytes, where: str) -> Ed25519PublicKey:
    """Raises InputError."""
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise InputError("not an Ed25519 public key in PEM", where=where, remedy="use the ADMF's audit.pub")
    return key


def verify_file(path: Path, key: Ed25519PublicKey, earlier: Iterable[AuditHead] = ()) -> Verdict:
    """A store's file or an export. Blocks. Raises InputError, StorageError.

    What cannot be read as what it claims to be is broken, not an error.
    """
    try:
        with path.open("rb") as file:
            begins = file.read(len(_SQLITE))
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=str(path), remedy="check the path") from error
    try:
        if begins == _SQLITE:
            return verify_store(path, key, earlier)
        records, head = read_export(path)
        return judge(records, head, key, earlier=earlier)
    except IntegrityError as error:
        return Verdict(0, "", 0, error.message)


def verify_store(path: Path, key: Ed25519PublicKey, earlier: Iterable[AuditHead] = ()) -> Verdict:
    """Of a copy that is made for it: a process that has it open goes on. Raises StorageError, IntegrityError."""
    with tempfile.TemporaryDirectory(prefix="nf-li-", dir=path.parent if _writable(path.parent) else None) as folder:
        copy = Path(folder) / "copy.db"
        copy_database(path, copy)
        with contextlib.closing(sqlite3.connect(f"{copy.absolute().as_uri()}?mode=ro", uri=True)) as db:
            return _judge_database(db, key, earlier)


def _writable(folder: Path) -> bool:
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _judge_database(db: sqlite3.Connection, key: Ed25519PublicKey, earlier: Iterable[AuditHead]) -> Verdict:
    db.text_factory = lambda octets: octets.decode("utf-8", "surrogateescape")
    try:
        db.execute("PRAGMA trusted_schema = OFF")
        found = str(db.execute("PRAGMA integrity_check(1)").fetchone()[0])
        if found != "ok":
            return Verdict(0, "", 0, f"the file is corrupt: {found}")
        row = db.execute("SELECT number, hash, signature FROM audit_head").fetchone()
        entries = {
            f"{bucket}/{name}": Standing(digest_of(value), revision)
            for bucket, name, value, revision in db.execute("SELECT bucket, key, value, revision FROM entries")
        }
        revision = int(db.execute("SELECT value FROM revision").fetchone()[0])
        records = (AuditRecord(*record) for record in db.execute(_QUERY))
        head = None if row is None else AuditHead(*row)
        return judge(records, head, key, entries=entries, revision=revision, earlier=earlier)
    except (sqlite3.Error, TypeError, ValueError) as error:
        raise IntegrityError(f"the file cannot be read as a store: {type(error).__name__}") from error


def export_lines(records: Iterable[AuditRecord], head: AuditHead, key_pem: bytes) -> Iterator[str]:
    """Records from the first on, and the head."""
    yield json.dumps({"format": FORMAT, "public_key": key_pem.decode("ascii")})
    for record in records:
        yield json.dumps(record_json(record), ensure_ascii=False)
    yield json.dumps(head_json(head))


def record_json(record: AuditRecord) -> JsonObject:
    """All of it; `detail` is the text that is under the hash."""
    return {name: getattr(record, _attribute(name)) for name in _FIELDS}


def head_of(path: Path) -> AuditHead:
    """As a store has it now. Blocks. Raises IntegrityError, StorageError."""
    try:
        with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db:
            row = db.execute("SELECT number, hash, signature FROM audit_head").fetchone()
    except sqlite3.Error as error:
        raise StorageError("the store cannot be read", where=str(path), remedy="check its disk") from error
    if row is None:
        raise IntegrityError("the head of the audit is missing", where=str(path), remedy="nf-li audit verify")
    return AuditHead(*row)


def head_json(head: AuditHead) -> JsonObject:
    return {"head": head.number, "hash": head.hash, "signature": head.signature.hex()}


def read_head(data: Json) -> AuditHead:
    """Raises IntegrityError."""
    if isinstance(data, dict):
        number, digest, signature = data.get("head"), data.get("hash"), data.get("signature")
        if isinstance(number, int) and isinstance(digest, str) and isinstance(signature, str):
            with contextlib.suppress(ValueError):
                return AuditHead(number, digest, bytes.fromhex(signature))
    raise IntegrityError("a line is no head of an audit")


def read_heads(path: Path) -> tuple[AuditHead, ...]:
    """Heads that the ADMF wrote for the auditor, or the last line of an export. Raises InputError, IntegrityError."""
    return tuple(read_head(line) for line in _lines(path) if isinstance(line, dict) and "head" in line)


def read_export(path: Path) -> tuple[list[AuditRecord], AuditHead | None]:
    """Raises InputError, IntegrityError."""
    lines = _lines(path)
    first = next(lines, None)
    if not isinstance(first, dict) or first.get("format") != FORMAT:
        raise InputError(
            "neither a store nor an export of its audit", where=str(path), remedy="nf-li audit export writes one"
        )
    records: list[AuditRecord] = []
    head: AuditHead | None = None
    for line in lines:
        if head is not None:
            raise IntegrityError("something stands behind the head")
        if isinstance(line, dict) and "head" in line:
            head = read_head(line)
        else:
            records.append(_record(line))
    return records, head


def _record(line: Json) -> AuditRecord:
    if not isinstance(line, dict) or set(line) != set(_FIELDS):
        raise IntegrityError("a line is no record of an audit")
    values = [line[name] for name in _FIELDS]
    if not all(
        isinstance(value, int if name in _FIELDS[:2] else str) for name, value in zip(_FIELDS, values, strict=True)
    ):
        raise IntegrityError("a line is no record of an audit")
    return AuditRecord(*values)  # type: ignore[arg-type]  # each is what its field is


def _attribute(name: str) -> str:
    return "detail_json" if name == "detail" else name


def _lines(path: Path) -> Iterator[Json]:
    try:
        with path.open("rb") as file:
            while line := file.readline(_MOST_LINE):
                yield json.loads(line)
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=str(path), remedy="check the path") from error
    except (ValueError, RecursionError):
        raise IntegrityError("a line is no JSON") from None


def broken(verdict: Verdict, where: str) -> NfError:
    """What is said when it is not intact."""
    return IntegrityError(
        verdict.detail,
        where=f"audit record {verdict.record}" if verdict.record else where,
        remedy="keep a copy of the ADMF's state directory, and compare it with the last backup and exported heads",
    )


def append_head(path: Path, head: AuditHead) -> None:
    """One more line for the auditor. Blocks. Raises StorageError."""
    try:
        with path.open("a", encoding="ascii") as file:
            file.write(json.dumps(head_json(head)) + "\n")
    except OSError as error:
        raise StorageError(f"cannot be written: {error.strerror}", where=str(path), remedy="check its disk") from error
