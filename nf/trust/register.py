"""The register of identities that a NOC has issued, in its store: which certificates count, and which no longer do.

A certificate counts only while its serial number stands in the record of its identity. Revoking empties the record;
nothing has to be remembered about what was taken away.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError

from nf.errors import IntegrityError
from nf.store.contract import ABSENT, Entry, Put, Store
from nf.trust.certificates import load_certificate
from nf.trust.spiffe import SpiffeId

BUCKET = "identities"
CERTIFICATES_KEPT = 16
"""Of one identity. An appliance that renews in a loop keeps its newest ones."""


class Record(BaseModel):
    """A value of the register: JSON in the store."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_bytes="base64", val_json_bytes="base64")

    @classmethod
    def read(cls, entry: Entry) -> Self:
        """Raises IntegrityError when the entry is not such a record."""
        try:
            return cls.model_validate_json(entry.value)
        except ValidationError as error:
            raise IntegrityError(
                "the register of identities is corrupt",
                where=f"{entry.bucket}/{entry.key}",
                remedy="restore the store from a backup",
            ) from error

    def to_bytes(self) -> bytes:
        return self.model_dump_json().encode()


class IssuedCertificate(Record):
    """`serial`: the certificate's number in hexadecimal; `not_after`: seconds since the epoch."""

    serial: str
    not_after: float

    @classmethod
    def of(cls, certificate_pem: bytes) -> IssuedCertificate:
        certificate = load_certificate(certificate_pem)
        return cls(serial=hexadecimal(certificate.serial_number), not_after=certificate.not_valid_after_utc.timestamp())


class IdentityRecord(Record):
    """What every identity in the register has. Times are seconds since the epoch."""

    certificates: tuple[IssuedCertificate, ...] = ()
    revoked_at: float | None = None

    @property
    def certificate_expires(self) -> float:
        """When the last of its certificates ends; 0 = it has none."""
        return max((certificate.not_after for certificate in self.certificates), default=0.0)

    def holds(self, certificate_serial: int) -> bool:
        """Whether that certificate was issued under this record."""
        serial = hexadecimal(certificate_serial)
        return self.revoked_at is None and any(certificate.serial == serial for certificate in self.certificates)

    def live(self, now: float) -> tuple[IssuedCertificate, ...]:
        """Its certificates that have not expired, as many as are kept beside a new one."""
        return tuple(c for c in self.certificates if c.not_after > now)[-(CERTIFICATES_KEPT - 1) :]


class ApplianceRecord(IdentityRecord):
    """`hardware_serial` is the machine's, `device_public_key` SubjectPublicKeyInfo DER of the key it renews with."""

    name: str
    hardware_serial: str
    device_public_key: bytes
    enrolled_at: float


def key_of(spiffe_id: SpiffeId) -> str:
    return f"{spiffe_id.kind}/{spiffe_id.name}"


def put(spiffe_id: SpiffeId, record: IdentityRecord, replaces: Entry | None) -> Put:
    """The change that writes `record` where `replaces` stands now."""
    return Put(BUCKET, key_of(spiffe_id), record.to_bytes(), replaces.revision if replaces else ABSENT)


async def is_revoked(store: Store, spiffe_id: SpiffeId, certificate_serial: int) -> bool:
    """Whether this certificate no longer counts, or never was in the register. A NOC's own always counts."""
    if spiffe_id.kind == "noc":
        return False
    entry = await store.get(BUCKET, key_of(spiffe_id))
    if entry is None:
        return True
    return not _CertificatesOnly.read(entry).holds(certificate_serial)


async def revoked_appliances(
    store: Store, certificates: Collection[tuple[SpiffeId, int]]
) -> frozenset[tuple[SpiffeId, int]]:
    """Those of these certificates (id, serial number) that no longer count: one look at the register for all."""
    entries = {entry.key: entry for entry in await store.list(BUCKET, "appliance/")}
    return frozenset(
        (spiffe_id, serial)
        for spiffe_id, serial in certificates
        if (entry := entries.get(key_of(spiffe_id))) is None or not _CertificatesOnly.read(entry).holds(serial)
    )


def hexadecimal(serial: int) -> str:
    """A certificate's serial number as it stands in records and in the audit."""
    return f"{serial:x}"


def local_actor(domain: str) -> str:
    """The actor of what is typed on the NOC's own machine, where no operator's identity is at hand."""
    return str(SpiffeId(domain, "noc", "local"))


class _CertificatesOnly(IdentityRecord):
    model_config = ConfigDict(frozen=True, extra="ignore")
