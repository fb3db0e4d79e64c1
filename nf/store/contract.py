"""The store contract: what a NOC keeps, as entries in buckets, changed all-or-nothing with compare-and-swap.

Every implementation passes the same test-suite (tests/nf/store). Names are restricted to what every backing
store takes: a bucket is `[a-z][a-z0-9-]*`, a key is `[-/_=.a-zA-Z0-9]+` without a leading or trailing dot.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from nf.errors import InputError
from nf.store.audit import AuditEntry, AuditRecord, AuditReport

ABSENT = 0
"""As `expected_revision`: the entry must not exist."""

_BUCKET = re.compile(r"[a-z][a-z0-9-]{0,62}")
_KEY = re.compile(r"(?!\.)[-/_=.a-zA-Z0-9]{1,255}(?<!\.)")


@dataclass(frozen=True, slots=True)
class Entry:
    """`revision` is that of the write which last put it; revisions grow over the whole store and never repeat."""

    bucket: str
    key: str
    value: bytes
    revision: int


@dataclass(frozen=True, slots=True)
class Put:
    """`expected_revision`: None = whatever stands there, 0 = nothing may stand there, else exactly that revision."""

    bucket: str
    key: str
    value: bytes
    expected_revision: int | None = None


@dataclass(frozen=True, slots=True)
class Delete:
    """`expected_revision` as in `Put`. Deleting what is not there, with None, is no error."""

    bucket: str
    key: str
    expected_revision: int | None = None


Change = Put | Delete


class Store(Protocol):
    """All methods may raise StorageError (cannot be written), BusyError (locked too long), IntegrityError (corrupt)."""

    async def get(self, bucket: str, key: str) -> Entry | None: ...

    async def list(self, bucket: str, prefix: str = "") -> tuple[Entry, ...]:
        """Entries whose key starts with `prefix`, sorted by key."""

    async def write(self, changes: Sequence[Change], audit: AuditEntry | None = None) -> int:
        """All changes and the audit record, or nothing; durable when it returns. The new revision of the store.

        Raises ConflictError when an expected revision does not stand. A cancelled write may have happened.
        """

    async def audit_records(self, limit: int, before: int | None = None) -> tuple[AuditRecord, ...]:
        """Newest first, at most `limit`, only those with a number lower than `before`."""

    async def audit_verify(self) -> AuditReport:
        """Walk the whole chain. A broken chain is a result, not an error."""

    async def close(self) -> None:
        """Wait for what runs and let go of the store. Repeating it is no error."""


def check_changes(changes: Sequence[Change]) -> None:
    """Raises InputError for a name outside the contract or an entry that is named twice in one write."""
    seen: set[tuple[str, str]] = set()
    for change in changes:
        check_name(change.bucket, change.key)
        if (change.bucket, change.key) in seen:
            raise InputError("one write names an entry twice", where=f"{change.bucket}/{change.key}")
        seen.add((change.bucket, change.key))


def check_prefix(bucket: str, prefix: str) -> None:
    """Raises InputError when no key could begin like this."""
    check_name(bucket, f"x{prefix}x")


def check_name(bucket: str, key: str) -> None:
    """Raises InputError for a name outside the contract."""
    if not _BUCKET.fullmatch(bucket) or not _KEY.fullmatch(key):
        raise InputError(
            "not a name that a store takes",
            where=f"{bucket}/{key}",
            remedy="buckets: lower-case letters, digits, hyphens; keys: letters, digits, - / _ = .",
        )
