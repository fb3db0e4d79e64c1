"""What binds the entries of a store to its audit chain. Pure.

Each act's record names the SHA-256 of every entry that the act wrote, as it stands sealed in the store. So the chain,
whose head is signed, covers the entries too: one that was changed, put back, added or taken away is found, without the
key that opens it. Revisions of the store count the acts that wrote something.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from nf.contracts.json import JsonObject
from nf.store.audit import AuditHead, AuditRecord, head_message
from nf.store.audit import verify as walk

WROTE: Final = "wrote"
"""Key of a record's detail: {"bucket/key": SHA-256 of the sealed value, or "" when the entry was taken away}."""

Digests = Mapping[str, str]


def digest_of(sealed: bytes) -> str:
    return hashlib.sha256(sealed).hexdigest()


@dataclass(frozen=True, slots=True)
class Standing:
    """An entry as the store has it."""

    digest: str
    revision: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """`record`: the number of the record that is wrong, missing, or whose entry is; 0 = none."""

    records: int
    head: str
    record: int = 0
    detail: str = ""

    @property
    def intact(self) -> bool:
        return not self.detail

    def json(self) -> JsonObject:
        return {
            "intact": self.intact,
            "records": self.records,
            "head": self.head,
            "record": self.record,
            "detail": self.detail,
        }


def judge(
    records: Iterable[AuditRecord],
    head: AuditHead | None,
    public_key: Ed25519PublicKey,
    *,
    entries: Mapping[str, Standing] | None = None,
    revision: int = 0,
    earlier: Iterable[AuditHead] = (),
) -> Verdict:
    """Walk the chain, then its head's signature, then heads that were exported before, then the entries.

    `entries` and `revision`: of the store; None where there are the records alone.
    """
    seen: list[AuditRecord] = []
    report = walk(_kept(records, seen), head, None)
    if not report.intact:
        return Verdict(report.records, report.head, report.first_broken, report.detail)
    end = report.records, report.head
    if head is None or not signed_by(public_key, head):
        return Verdict(*end, max(report.records, 1), "the head is not signed by this key")
    fault = _against_earlier(seen, public_key, earlier)
    if fault is None and entries is not None:
        fault = _against_entries(seen, entries, revision)
    return Verdict(*end, *fault) if fault else Verdict(*end)


def signed_by(public_key: Ed25519PublicKey, head: AuditHead) -> bool:
    try:
        public_key.verify(head.signature, head_message(head.number, head.hash))
    except InvalidSignature:
        return False
    return True


def _kept(records: Iterable[AuditRecord], seen: list[AuditRecord]) -> Iterable[AuditRecord]:
    for record in records:
        seen.append(record)
        yield record


def _against_earlier(
    records: list[AuditRecord], public_key: Ed25519PublicKey, earlier: Iterable[AuditHead]
) -> tuple[int, str] | None:
    for head in earlier:
        if not signed_by(public_key, head):
            return max(head.number, 1), "a head that was exported before is not signed by this key"
        if head.number > len(records):
            return len(records) + 1, f"records {len(records) + 1} to {head.number} were there when a head was exported"
        if head.number and records[head.number - 1].hash != head.hash:
            return head.number, "it is another one than when a head was exported"
    return None


def _against_entries(
    records: list[AuditRecord], entries: Mapping[str, Standing], revision: int
) -> tuple[int, str] | None:
    expected: dict[str, tuple[Standing, int]] = {}
    writes = 0
    for record in records:
        wrote = wrote_by(record)
        writes += bool(wrote)
        for name, digest in wrote.items():
            expected[name] = Standing(digest, writes), record.number
    for name, (standing, number) in expected.items():
        found = entries.get(name)
        if not standing.digest and found is not None:
            return number, f"entry {name}, which it took away, is there"
        if standing.digest and found != standing:
            return number, f"entry {name}, which it wrote, is {'another one' if found else 'gone'}"
    unknown = entries.keys() - expected.keys()
    if unknown:
        return len(records), f"entry {min(unknown)} is there and no record wrote it"
    if revision != writes:
        return len(records), f"the store is at revision {revision} and the records wrote {writes}"
    return None


def wrote_by(record: AuditRecord) -> Digests:
    """What the act wrote, by entry; a detail that is not ours wrote nothing."""
    detail = json.loads(record.detail_json)
    wrote = detail.get(WROTE) if isinstance(detail, dict) else None
    if not isinstance(wrote, dict):
        return {}
    return {str(name): str(digest) for name, digest in wrote.items()}
