"""The audit chain: who did what to which object, each record bound to the one before it by SHA-256.

Record n carries the hash of record n-1, so a record cannot be altered, removed or moved without breaking every later
hash. The head (number of records and last hash) is signed with Ed25519 (RFC 8032), so the tail cannot be cut off.
Pure functions: a store keeps the rows, in the same transaction as the change that they tell of.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from nf.contracts.json import Json, JsonObject, canonical
from nf.errors import IdentityError, InputError
from nf.trust.spiffe import SpiffeId

GENESIS = "0" * 64
"""What stands for the previous hash in record 1."""

_HEAD_CONTEXT = "streamverse.nf audit head v1"
_RECORD_CONTEXT = "streamverse.nf audit record v1"
_SECRET_KEYS = frozenset({"token", "password", "passphrase", "secret", "private_key", "key_pem"})


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """What a caller hands in.

    actor     SPIFFE id of who did it
    action    dotted verb, such as "lineup.commit" or "enrolment.enrol"
    object    what it was done to, such as "appliance/pop1"
    outcome   "done", "refused", or what the action's own words are
    detail    plain JSON, never a secret

    Raises InputError when the actor is no SPIFFE id or the detail holds what looks like a secret.
    """

    actor: str
    action: str
    object: str
    outcome: str
    detail: JsonObject = field(default_factory=dict)

    def __post_init__(self) -> None:
        try:
            SpiffeId.parse(self.actor)
        except IdentityError as error:
            raise InputError("the actor of an audit record is a SPIFFE id", where=self.actor) from error
        if not (self.action and self.object and self.outcome):
            raise InputError("an audit record names its action, object and outcome", where=self.action)
        _refuse_secrets(self.detail)
        try:
            canonical([self.action, self.object, self.outcome, self.detail]).encode()
        except (ValueError, TypeError) as error:
            raise InputError("an audit record holds plain JSON in UTF-8", where=self.action) from error


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """One link of the chain. `number` counts from 1; `at_us` is microseconds since the epoch; hashes in hexadecimal."""

    number: int
    at_us: int
    actor: str
    action: str
    object: str
    outcome: str
    detail_json: str
    previous: str
    hash: str

    @property
    def at(self) -> float:
        """Seconds since the epoch."""
        return self.at_us / 1e6


@dataclass(frozen=True, slots=True)
class AuditHead:
    """The end of the chain as it was signed. `signature` is empty in a store without a signing key."""

    number: int = 0
    hash: str = GENESIS
    signature: bytes = b""


@dataclass(frozen=True, slots=True)
class AuditReport:
    """Result of a verification. `first_broken` is the number of the first record that is wrong or missing, 0 = none."""

    records: int
    head: str
    intact: bool
    first_broken: int = 0
    detail: str = ""


def link(entry: AuditEntry, previous: AuditHead, at: float) -> AuditRecord:
    """The record that follows `previous`. `at`: seconds since the epoch."""
    number, at_us, detail = previous.number + 1, round(at * 1e6), canonical(entry.detail)
    digest = _hash(number, at_us, (entry.actor, entry.action, entry.object, entry.outcome, detail), previous.hash)
    return AuditRecord(
        number, at_us, entry.actor, entry.action, entry.object, entry.outcome, detail, previous.hash, digest
    )


def seal(number: int, last_hash: str, sign: Callable[[bytes], bytes] | None) -> AuditHead:
    """The head that ends with record `number` (0 and GENESIS: of an empty chain), signed when there is a key."""
    return AuditHead(number, last_hash, sign(head_message(number, last_hash)) if sign else b"")


def check_head(head: AuditHead | None, sign: Callable[[bytes], bytes] | None) -> str:
    """What is wrong with a head, "" = nothing. To be asked before a chain grows: else a new signature would cover up.

    A signature is checked by making it anew: Ed25519 is deterministic (RFC 8032, 5.1.6).
    """
    if head is None:
        return "the head of the chain is missing"
    if sign is None:
        return ""
    if not head.signature:
        return "the head is not signed"
    if not hmac.compare_digest(head.signature, sign(head_message(head.number, head.hash))):
        return "the head's signature is not by this key"
    return ""


def head_message(number: int, last_hash: str) -> bytes:
    """The bytes under the head's signature."""
    return canonical([_HEAD_CONTEXT, number, last_hash]).encode()


def verify(
    records: Iterable[AuditRecord], head: AuditHead | None, sign: Callable[[bytes], bytes] | None = None
) -> AuditReport:
    """Walk the chain from record 1 and compare it with its signed head.

    Without `sign` only the hashes and the head's count are checked.
    """
    number, previous = 0, GENESIS
    for record in records:
        fault = _fault(record, number + 1, previous)
        if fault:
            return AuditReport(number, previous, intact=False, first_broken=number + 1, detail=fault)
        number, previous = record.number, record.hash
    return _against_head(number, previous, head, sign)


def _against_head(
    number: int, last_hash: str, head: AuditHead | None, sign: Callable[[bytes], bytes] | None
) -> AuditReport:
    first, detail = 0, check_head(head, sign)
    if head is None:
        first = number + 1
    elif head.number > number:
        first, detail = number + 1, f"records {number + 1} to {head.number} are missing from the end"
    elif head.number < number:
        first, detail = head.number + 1, f"the head stands at record {head.number} and does not cover it"
    elif head.hash != last_hash:
        first, detail = max(number, 1), "the head names another hash than the last record"
    elif detail:
        first = max(number, 1)
    return AuditReport(number, last_hash, intact=not first, first_broken=first, detail=detail)


def _fault(record: AuditRecord, expected_number: int, previous: str) -> str:
    if record.number != expected_number:
        return f"record {expected_number} is missing, record {record.number} stands in its place"
    if record.previous != previous:
        return "it does not continue the record before it"
    fields = (record.actor, record.action, record.object, record.outcome, record.detail_json)
    if record.hash != _hash(record.number, record.at_us, fields, previous):
        return "its content does not match its hash"
    return ""


def _hash(number: int, at_us: int, fields: tuple[str, ...], previous: str) -> str:
    text = canonical([_RECORD_CONTEXT, number, at_us, *fields, previous])
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _refuse_secrets(value: Json, key: str = "") -> None:
    if key.lower() in _SECRET_KEYS or (isinstance(value, str) and "PRIVATE KEY-----" in value):
        raise InputError("an audit record never holds a secret", where=key or "detail")
    if isinstance(value, dict):
        for name, inner in value.items():
            _refuse_secrets(inner, name)
    elif isinstance(value, list):
        for inner in value:
            _refuse_secrets(inner)
