"""Backup of a NOC: its documents, its CA and its audit chain, consistent while it runs; and what a good one is."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nf.clock import Clock
from nf.contracts.json import JsonObject
from nf.errors import IntegrityError, NfError, NotFoundError, RefusedError
from nf.noc import archive
from nf.noc.archive import NAMES, Snapshot
from nf.noc.records import Book
from nf.store.audit import AuditEntry
from nf.store.copy import copy_database
from nf.store.sqlite import SqliteStore
from nf.trust.authority import Authority
from nf.trust.files import read_private, write_private
from nf.trust.keys import AuditKey
from nf.trust.register import local_actor

_DATABASE: Final = "noc.db"


@dataclass(frozen=True, slots=True)
class Report:
    """What a snapshot was found to be. `complete`: the keys were opened and the signed audit chain verified."""

    domain: str
    revision: int
    audit_records: int
    taken_at: float
    complete: bool = True


def take(state_dir: Path, taken_at: float) -> Snapshot:
    """What the NOC in `state_dir` is now, also while it runs. Blocks. Raises NotFoundError, StorageError."""
    if not (state_dir / _DATABASE).exists():
        raise NotFoundError("there is no NOC here", where=str(state_dir), remedy="name its --state-dir")
    with tempfile.TemporaryDirectory(prefix=".nf-copy-", dir=state_dir) as scratch:
        copy = Path(scratch) / _DATABASE
        copy_database(state_dir / _DATABASE, copy)
        records, revision = _counts(copy)
        parts = {_DATABASE: copy.read_bytes()}
    parts["ca.pem"] = (state_dir / NAMES["ca.pem"]).read_bytes()
    for name in ("ca.key", "audit.key"):
        parts[name] = read_private(state_dir / NAMES[name], name)
    about: JsonObject = {"taken_at": taken_at, "audit_records": records, "store_revision": revision}
    return Snapshot(parts, {**about, "ca_sha256": archive.digest(parts["ca.pem"])})


def _counts(database: Path) -> tuple[int, int]:
    """(audit records, revision of the store) of a copy."""
    with contextlib.closing(sqlite3.connect(database)) as db:
        records = int(db.execute("SELECT number FROM audit_head").fetchone()[0])
        return records, int(db.execute("SELECT value FROM revision").fetchone()[0])


def _require(state_dir: Path, file: Path) -> None:
    if file.exists():
        raise RefusedError("exists already", where=str(file), remedy="name a new file; backups are not overwritten")
    if not (state_dir / _DATABASE).exists():
        raise NotFoundError("there is no NOC here", where=str(state_dir), remedy="name its --state-dir")


async def create(state_dir: Path, file: Path, passphrase: str, clock: Clock) -> Report:
    """Write a sealed backup to `file` (mode 0600), verified; it is on record in the audit chain that it contains.

    Raises NotFoundError, InputError (the passphrase), RefusedError (the file exists), StorageError, IntegrityError.
    """
    _require(state_dir, file)
    await record(state_dir, "backup.create", f"file/{file.name}", clock)
    snapshot = await asyncio.to_thread(take, state_dir, clock.now())
    report = await verify(snapshot, clock, str(state_dir))
    data = await asyncio.to_thread(archive.pack, snapshot, passphrase)
    await asyncio.to_thread(write_private, file, data)
    return report


async def record(state_dir: Path, action: str, target: str, clock: Clock) -> None:
    """An audit record by whoever types on the NOC's own machine."""
    authority = Authority.open(state_dir / "ca", clock)
    store = await _open(state_dir, clock)
    try:
        await store.write([], AuditEntry(local_actor(authority.domain), action, target, "done"))
    finally:
        await store.close()


async def _open(state_dir: Path, clock: Clock) -> SqliteStore:
    key = AuditKey.load_or_create(state_dir / NAMES["audit.key"])
    return await SqliteStore.open(state_dir / _DATABASE, sign=key.sign, clock=clock)


async def verify(snapshot: Snapshot, clock: Clock, where: str) -> Report:
    """Set it up elsewhere and look: the store, the CA pair, the signed audit chain. Raises IntegrityError."""
    with tempfile.TemporaryDirectory(prefix="nf-verify-") as scratch:
        directory = Path(scratch)
        await asyncio.to_thread(write_parts, snapshot, directory)
        return await inspect(directory, snapshot, clock, where)


def write_parts(snapshot: Snapshot, directory: Path) -> None:
    """The files of a state directory. Blocks. Raises StorageError."""
    for name, path in NAMES.items():
        write_private(directory / path, snapshot.parts[name])


async def inspect(directory: Path, snapshot: Snapshot, clock: Clock, where: str) -> Report:
    """Whether a state directory is a whole NOC. Raises IntegrityError that names the part which is not."""
    try:
        domain = Authority.open(directory / "ca", clock).domain
    except NfError as error:
        raise archive.broken(f"is not usable: {error.message}", where, "ca.key") from error
    try:
        store = await _open(directory, clock)
    except NfError as error:
        raise archive.broken(f"is not usable: {error.message}", where, _DATABASE) from error
    try:
        audit = await store.audit_verify()
        revision = await Book(store).current_number()
    except NfError as error:
        raise archive.broken(f"is not usable: {error.message}", where, _DATABASE) from error
    finally:
        await store.close()
    if not audit.intact:
        raise IntegrityError(
            f"the part {_DATABASE} has a broken audit chain: record {audit.first_broken}: {audit.detail}",
            where=where,
            remedy="use another backup; somebody changed the record, or store and key are not of one NOC",
        )
    return Report(domain, revision, audit.records, float(str(snapshot.about.get("taken_at", 0.0))))
