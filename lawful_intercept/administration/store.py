"""The store of an ADMF: entries sealed by AES-256-GCM, every act and every refusal in its signed audit chain.

The key of an entry is opaque, and the value is bound to it: whoever has the file without the store's key learns how
many entries there are, and which officer did what at which time to which opaque number.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from cryptography.exceptions import InvalidTag

from lawful_intercept.administration.chain import WROTE, digest_of
from nf.clock import Clock
from nf.contracts.json import JsonObject, canonical
from nf.errors import IntegrityError, NfError
from nf.store.audit import AuditEntry, AuditRecord
from nf.store.contract import ABSENT, Change, Delete, Put
from nf.store.sqlite import SqliteStore

STORE_FILE: Final = "administration.db"
AUDIT_KEY_FILE: Final = "audit.key"
PUBLIC_KEY_FILE: Final = "audit.pub"

_NONCE_OCTETS: Final = 12

Place = tuple[str, str]
"""Bucket and key."""


class Aead(Protocol):
    """As `cryptography`'s AESGCM."""

    def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None) -> bytes: ...
    def decrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Deed:
    """Who does what to which object, for the audit. No field ever holds what a target, agency or LIID is.

    actor        SPIFFE id
    certificate  SHA-256 of the certificate that proved it, in hexadecimal; "" where none did (the ADMF itself)
    object       such as "warrant/2f1c..." or "element/pop1"
    """

    actor: str
    action: str
    object: str
    certificate: str = ""
    detail: JsonObject = field(default_factory=dict)

    def entry(self, outcome: str, **more: JsonObject | str) -> AuditEntry:
        detail: JsonObject = {**self.detail, **more}
        if self.certificate:
            detail["certificate"] = self.certificate
        return AuditEntry(self.actor, self.action, self.object, outcome, detail)


class Store:
    """All methods raise StorageError, BusyError, IntegrityError."""

    def __init__(self, inner: SqliteStore, aead: Aead) -> None:
        """Use `open`."""
        self._inner = inner
        self._aead = aead

    @classmethod
    async def open(cls, path: Path, aead: Aead, sign: Callable[[bytes], bytes], clock: Clock) -> Store:
        """Open or create."""
        return cls(await SqliteStore.open(path, sign=sign, clock=clock), aead)

    async def get(self, bucket: str, key: str) -> JsonObject | None:
        entry = await self._inner.get(bucket, key)
        return None if entry is None else self._opened((bucket, key), entry.value)

    async def all(self, bucket: str) -> dict[str, JsonObject]:
        """Every entry of a bucket, by its key."""
        return {entry.key: self._opened((bucket, entry.key), entry.value) for entry in await self._inner.list(bucket)}

    async def write(
        self, deed: Deed, puts: Mapping[Place, JsonObject], takes: tuple[Place, ...] = (), new: tuple[Place, ...] = ()
    ) -> None:
        """All of it and its record, or nothing. `new`: of `puts`, what may not stand there yet (ConflictError)."""
        sealed = {place: self._sealed(place, value) for place, value in puts.items()}
        changes: list[Change] = [
            Put(*place, value, ABSENT if place in new else None) for place, value in sealed.items()
        ]
        changes += [Delete(*place) for place in takes]
        wrote: JsonObject = {"/".join(place): digest_of(value) for place, value in sealed.items()}
        wrote |= dict.fromkeys(("/".join(place) for place in takes), "")
        await self._inner.write(changes, deed.entry("done", **({WROTE: wrote} if wrote else {})))

    async def read(self, deed: Deed) -> None:
        """Record that somebody looked."""
        await self._inner.write((), deed.entry("done"))

    async def refused(self, deed: Deed, error: NfError) -> None:
        """Record what was not done, and of which kind the refusal was."""
        await self._inner.write((), deed.entry("refused", why=error.status.name))

    async def records(self, limit: int, before: int | None = None) -> tuple[AuditRecord, ...]:
        """Newest first."""
        return await self._inner.audit_records(limit, before)

    async def close(self) -> None:
        await self._inner.close()

    def _sealed(self, place: Place, value: JsonObject) -> bytes:
        nonce = secrets.token_bytes(_NONCE_OCTETS)
        return nonce + self._aead.encrypt(nonce, canonical(value).encode(), "/".join(place).encode())

    def _opened(self, place: Place, sealed: bytes) -> JsonObject:
        name = "/".join(place)
        try:
            text = self._aead.decrypt(sealed[:_NONCE_OCTETS], sealed[_NONCE_OCTETS:], name.encode())
        except (InvalidTag, ValueError):
            raise IntegrityError(
                "an entry of the store does not open", where=name, remedy="nf-li audit verify; see `store_key`"
            ) from None
        data: JsonObject = json.loads(text)
        return data
