"""Operators: who they are, what role they have and on which sites; looked up live, never in a certificate."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from enum import Enum

from nf.contracts.json import JsonObject
from nf.errors import NotFoundError, RefusedError
from nf.store.audit import AuditEntry
from nf.store.contract import Entry, Store
from nf.trust.authority import OPERATOR_LIFETIME_S, Authority
from nf.trust.identity import Identity, new_identity
from nf.trust.register import BUCKET, IdentityRecord, IssuedCertificate, key_of, local_actor, put
from nf.trust.spiffe import SpiffeId


@functools.total_ordering
class OperatorRole(Enum):
    """Each role may do what those before it may: `role >= OperatorRole.ENGINEER`."""

    VIEWER = "viewer"  # reads
    OPERATOR = "operator"  # bounded, expiring deviations
    ENGINEER = "engineer"  # line-ups
    SECURITY = "security"  # identities

    def __lt__(self, other: object) -> bool:
        if not isinstance(other, OperatorRole):
            return NotImplemented
        order = list(OperatorRole)
        return order.index(self) < order.index(other)


class OperatorRecord(IdentityRecord):
    """`sites`: where the role holds; empty = everywhere."""

    name: str
    role: OperatorRole
    sites: tuple[str, ...] = ()
    added_at: float

    def covers(self, site: str) -> bool:
        return not self.sites or site in self.sites


class Operators:
    def __init__(self, store: Store, authority: Authority) -> None:
        self._store = store
        self._authority = authority

    async def add(
        self, name: str, role: OperatorRole, sites: Sequence[str] = (), *, author: SpiffeId | str = ""
    ) -> Identity:
        """A new operator and the one copy of the identity, valid 30 days; only its certificate's number is kept.

        An operator who was removed, or whose certificate has expired, is added anew in the same way.
        `author` empty: typed on the NOC's own machine. Raises InputError, and RefusedError while the name has
        a valid identity.
        """
        spiffe_id = self._id(name)
        entry, record = await self._read(spiffe_id)
        now = self._authority.clock.now()
        if record is not None and record.revoked_at is None and record.certificate_expires > now:
            raise RefusedError(
                "this operator has a valid identity already",
                where=name,
                remedy="use that one; if it was lost, remove the operator and add it again",
            )
        identity = new_identity(self._authority, spiffe_id, OPERATOR_LIFETIME_S)
        issued = IssuedCertificate.of(identity.certificate_pem)
        fresh = OperatorRecord(name=name, role=role, sites=_sorted(sites), added_at=now, certificates=(issued,))
        audit = self._audit(author, "operator.add", fresh, certificate=issued.serial)
        await self._store.write([put(spiffe_id, fresh, entry)], audit)
        return identity

    async def get(self, name: str) -> OperatorRecord | None:
        """None when there is none of that name, or it was removed."""
        _, record = await self._read(self._id(name))
        return record if record is not None and record.revoked_at is None else None

    async def list(self) -> tuple[OperatorRecord, ...]:
        """Those who were not removed, sorted by name."""
        records = [OperatorRecord.read(entry) for entry in await self._store.list(BUCKET, "operator/")]
        return tuple(record for record in records if record.revoked_at is None)

    async def assign(
        self, name: str, role: OperatorRole, sites: Sequence[str] = (), *, author: SpiffeId | str = ""
    ) -> OperatorRecord:
        """Another role or other sites, effective with the next call of that operator. Raises NotFoundError."""
        spiffe_id = self._id(name)
        entry, record = await self._present(spiffe_id)
        changed = record.model_copy(update={"role": role, "sites": _sorted(sites)})
        await self._store.write([put(spiffe_id, changed, entry)], self._audit(author, "operator.assign", changed))
        return changed

    async def remove(self, name: str, *, author: SpiffeId | str = "") -> None:
        """The identity no longer counts, from now on. Raises NotFoundError."""
        spiffe_id = self._id(name)
        entry, record = await self._present(spiffe_id)
        gone = record.model_copy(update={"certificates": (), "revoked_at": self._authority.clock.now()})
        await self._store.write([put(spiffe_id, gone, entry)], self._audit(author, "operator.remove", gone))

    def _id(self, name: str) -> SpiffeId:
        return SpiffeId(self._authority.domain, "operator", name)

    async def _read(self, spiffe_id: SpiffeId) -> tuple[Entry | None, OperatorRecord | None]:
        entry = await self._store.get(BUCKET, key_of(spiffe_id))
        return entry, None if entry is None else OperatorRecord.read(entry)

    async def _present(self, spiffe_id: SpiffeId) -> tuple[Entry, OperatorRecord]:
        entry, record = await self._read(spiffe_id)
        if entry is None or record is None or record.revoked_at is not None:
            raise NotFoundError("no operator of this name", where=spiffe_id.name, remedy="add it: nf operator add")
        return entry, record

    def _audit(self, author: SpiffeId | str, action: str, record: OperatorRecord, certificate: str = "") -> AuditEntry:
        actor = str(author) or local_actor(self._authority.domain)
        detail: JsonObject = {"role": record.role.value, "sites": [*record.sites]}
        if certificate:
            detail["certificate"] = certificate
        return AuditEntry(actor, action, f"operator/{record.name}", "done", detail)


def _sorted(sites: Sequence[str]) -> tuple[str, ...]:
    return tuple(sorted(set(sites)))
