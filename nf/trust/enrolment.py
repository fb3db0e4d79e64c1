"""Enrolment of appliances: the first certificate by a one-time token, later ones by the device key, and revocation.

What a caller proves: `enrol` a token bound to name and hardware serial, and possession of the device key; `renew`
possession of the device key that was enrolled, also when the certificate has expired long ago.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric import ec

from nf.clock import Clock
from nf.contracts.json import JsonObject
from nf.errors import ConflictError, IdentityError, InputError, NotFoundError, RefusedError
from nf.store.audit import AuditEntry
from nf.store.contract import Change, Delete, Entry, Put, Store
from nf.trust import register
from nf.trust.allowance import Allowance
from nf.trust.authority import APPLIANCE_LIFETIME_S, Authority
from nf.trust.certificates import check_csr
from nf.trust.keys import load_public_key, verify_signature
from nf.trust.nonces import Nonces
from nf.trust.register import BUCKET, ApplianceRecord, IssuedCertificate, Record, key_of, put
from nf.trust.spiffe import SpiffeId

TOKEN_BUCKET = "enrolment-tokens"  # noqa: S105 - the name of a bucket
DEFAULT_TOKEN_TTL_S = 3600.0
MAX_TOKEN_TTL_S = 7 * 86_400.0
NEW_TOKEN = "ask for a fresh token: nf appliance enroll"  # noqa: S105 - a remedy for people

_ATTEMPTS = 4  # of a write that loses compare-and-swap


class TokenRecord(Record):
    """The one token of an appliance; only its SHA-256 is kept. Times are seconds since the epoch."""

    token_sha256: str
    hardware_serial: str
    author: str
    issued_at: float
    expires_at: float
    used_at: float | None = None


@dataclass(frozen=True, slots=True)
class _Refusal:
    reason: str
    remedy: str = NEW_TOKEN


_UNKNOWN_TOKEN = _Refusal("the token is not valid for this appliance")


class Enrolment:
    def __init__(self, store: Store, authority: Authority, clock: Clock) -> None:
        self._store = store
        self._authority = authority
        self._clock = clock
        self._nonces = Nonces(clock)
        self._refusals = Allowance(clock)

    async def issue_token(self, appliance: str, serial: str, ttl_s: float, author: SpiffeId | str) -> str:
        """A token of 256 bits for one enrolment of this name on this hardware; an earlier token of the name ends.

        For an enrolled appliance with the same serial it is a re-enrolment. `ttl_s` 0: one hour.
        Raises InputError, RefusedError when the name is enrolled on other hardware.
        """
        spiffe_id = self._id(appliance)
        ttl_s = ttl_s or DEFAULT_TOKEN_TTL_S
        if not 0 < ttl_s <= MAX_TOKEN_TTL_S:
            raise InputError(f"a token lives at most {MAX_TOKEN_TTL_S:g} s", where=appliance, remedy="shorten its time")
        if not 0 < len(serial) <= 64 or not serial.isprintable():
            raise InputError("a hardware serial has 1 to 64 printable characters", where=appliance)
        record = await self.enrolled(appliance)
        if record is not None and record.hardware_serial != serial:
            raise RefusedError(
                f"it is enrolled with serial {record.hardware_serial}; serial {serial} is other hardware",
                where=appliance,
                remedy=f"if it takes the place of the other: nf appliance replace {appliance} --serial {serial}",
            )
        token, now = secrets.token_urlsafe(32), self._clock.now()
        kept = TokenRecord(
            token_sha256=_digest(token),
            hardware_serial=serial,
            author=str(author),
            issued_at=now,
            expires_at=now + ttl_s,
        )
        detail: JsonObject = {"serial": serial, "expires_at": kept.expires_at, "again": record is not None}
        audit = self._audit(author, "enrolment.token", spiffe_id, "done", detail)
        await self._store.write([Put(TOKEN_BUCKET, appliance, kept.to_bytes())], audit)
        return token

    async def challenge(self, appliance: str) -> bytes:
        """A nonce of 32 bytes for one `enrol` or `renew` of this name within 60 s. Unknown names get one too."""
        return self._nonces.issue(self._id(appliance).name)

    async def enrol(
        self,
        *,
        appliance: str,
        serial: str,
        token: str,
        csr_der: bytes,
        device_public_key: bytes,
        nonce: bytes,
        nonce_signature: bytes,
    ) -> tuple[bytes, bytes]:
        """Certificate (24 h) and CA, both PEM. The token is used up in the same write that records the certificate.

        `nonce_signature`: ECDSA-SHA256 by the device key over nonce || csr_der. Names in the request are ignored.
        Raises IdentityError; a refusal of a known token is audited.
        """
        spiffe_id = self._id(appliance)
        self._nonces.use(appliance, nonce)
        csr_key = check_csr(csr_der)
        device_key = load_public_key(device_public_key, "the device key")
        _require_signature(device_key, nonce_signature, nonce + csr_der, appliance)
        for _ in range(_ATTEMPTS):
            token_entry = await self._store.get(TOKEN_BUCKET, appliance)
            refusal = self._judge(token_entry, token, serial)
            if token_entry is None or refusal is not None:
                raise await self._refused(
                    spiffe_id, "enrolment.enrol", refusal or _UNKNOWN_TOKEN, {"serial": serial[:64]}
                )
            certificate_pem = self._authority.issue(spiffe_id, csr_key, APPLIANCE_LIFETIME_S)
            record = ApplianceRecord(
                name=appliance,
                hardware_serial=serial,
                device_public_key=device_public_key,
                enrolled_at=self._clock.now(),
                certificates=(IssuedCertificate.of(certificate_pem),),
            )
            with contextlib.suppress(ConflictError):
                await self._record_enrolment(spiffe_id, record, token_entry)
                return certificate_pem, self._authority.ca_pem
        raise _contended(appliance)

    async def renew(
        self, *, appliance: str, csr_der: bytes, nonce: bytes, nonce_signature: bytes
    ) -> tuple[bytes, bytes]:
        """A new certificate (24 h) and the CA, both PEM, by the enrolled device key; the old one may have expired.

        Raises IdentityError when it never enrolled, was revoked, or another key signed.
        """
        spiffe_id = self._id(appliance)
        self._nonces.use(appliance, nonce)
        csr_key = check_csr(csr_der)
        for _ in range(_ATTEMPTS):
            entry, record = await self._read(spiffe_id)
            if entry is None or record is None:
                raise IdentityError("it is not enrolled", where=appliance, remedy=NEW_TOKEN)
            device_key = load_public_key(record.device_public_key, "the device key")
            _require_signature(device_key, nonce_signature, nonce + csr_der, appliance)
            if record.revoked_at is not None:
                refusal = _Refusal("its identity was revoked", "if it may come back, " + NEW_TOKEN)
                raise await self._refused(spiffe_id, "certificate.renew", refusal, {})
            certificate_pem = self._authority.issue(spiffe_id, csr_key, APPLIANCE_LIFETIME_S)
            issued = IssuedCertificate.of(certificate_pem)
            certificates = (*record.live(self._clock.now()), issued)
            audit = self._audit(spiffe_id, "certificate.renew", spiffe_id, "done", {"certificate": issued.serial})
            renewed = record.model_copy(update={"certificates": certificates})
            with contextlib.suppress(ConflictError):
                await self._store.write([put(spiffe_id, renewed, entry)], audit)
                return certificate_pem, self._authority.ca_pem
        raise _contended(appliance)

    async def revoke(self, appliance: str, author: SpiffeId | str) -> None:
        """None of its certificates counts from now on, it cannot renew, a waiting token ends. Repeating is no error.

        Raises NotFoundError when it never enrolled.
        """
        spiffe_id = self._id(appliance)
        for _ in range(_ATTEMPTS):
            entry, record = await self._read(spiffe_id)
            if entry is None or record is None:
                raise NotFoundError("it is not enrolled", where=appliance, remedy="look it up: nf appliance list")
            if record.revoked_at is not None:
                return
            revoked = record.model_copy(update={"certificates": (), "revoked_at": self._clock.now()})
            changes: list[Change] = [put(spiffe_id, revoked, entry), Delete(TOKEN_BUCKET, appliance)]
            audit = self._audit(author, "identity.revoke", spiffe_id, "done", {"serial": record.hardware_serial})
            with contextlib.suppress(ConflictError):
                await self._store.write(changes, audit)
                return
        raise _contended(appliance)

    async def replace(
        self, appliance: str, author: SpiffeId | str, changes: Sequence[Change], detail: JsonObject
    ) -> bool:
        """Other hardware takes the name: its identity and a waiting token end in one write with `changes`.

        From then on the name counts as never enrolled. True when it had an identity that was not revoked.
        """
        spiffe_id = self._id(appliance)
        for _ in range(_ATTEMPTS):
            entry, record = await self._read(spiffe_id)
            audit = self._audit(author, "appliance.replace", spiffe_id, "done", detail)
            gone: list[Change] = [Delete(TOKEN_BUCKET, appliance)]
            if entry is not None:
                gone.append(Delete(entry.bucket, entry.key, entry.revision))
            with contextlib.suppress(ConflictError):
                await self._store.write([*changes, *gone], audit)
                return record is not None and record.revoked_at is None
        raise _contended(appliance)

    async def is_revoked(self, spiffe_id: SpiffeId, certificate_serial: int) -> bool:
        """Whether a certificate that TLS accepted no longer counts, or never was in the register; of any kind."""
        return await register.is_revoked(self._store, spiffe_id, certificate_serial)

    async def revoked(self, certificates: Collection[tuple[SpiffeId, int]]) -> frozenset[tuple[SpiffeId, int]]:
        """Those of these certificates of appliances (id, serial number) that no longer count."""
        return await register.revoked_appliances(self._store, certificates)

    async def enrolled(self, appliance: str) -> ApplianceRecord | None:
        """What is known of an appliance that has enrolled, revoked or not."""
        return (await self._read(self._id(appliance)))[1]

    async def list_enrolled(self) -> tuple[ApplianceRecord, ...]:
        """Every appliance that has enrolled, revoked or not, sorted by name."""
        return tuple(ApplianceRecord.read(entry) for entry in await self._store.list(BUCKET, "appliance/"))

    def _id(self, appliance: str) -> SpiffeId:
        return SpiffeId(self._authority.domain, "appliance", appliance)

    async def _read(self, spiffe_id: SpiffeId) -> tuple[Entry | None, ApplianceRecord | None]:
        entry = await self._store.get(BUCKET, key_of(spiffe_id))
        return entry, None if entry is None else ApplianceRecord.read(entry)

    def _judge(self, entry: Entry | None, token: str, serial: str) -> _Refusal | None:
        kept = None if entry is None else TokenRecord.read(entry)
        if kept is None or not hmac.compare_digest(kept.token_sha256, _digest(token)):
            return _UNKNOWN_TOKEN
        if kept.used_at is not None:
            return _Refusal(
                "the token was used already", "an enrolled appliance renews by its device key; else " + NEW_TOKEN
            )
        if kept.expires_at <= self._clock.now():
            return _Refusal("the token has expired")
        if kept.hardware_serial != serial:
            return _Refusal("the token is for hardware with another serial", "enrol the machine that it was made for")
        return None

    async def _record_enrolment(self, spiffe_id: SpiffeId, record: ApplianceRecord, token_entry: Entry) -> None:
        entry = await self._store.get(BUCKET, key_of(spiffe_id))
        used = TokenRecord.read(token_entry).model_copy(update={"used_at": record.enrolled_at})
        detail: JsonObject = {
            "serial": record.hardware_serial,
            "certificate": record.certificates[0].serial,
            "again": entry is not None,
        }
        changes = [
            Put(TOKEN_BUCKET, record.name, used.to_bytes(), token_entry.revision),
            put(spiffe_id, record, entry),
        ]
        await self._store.write(changes, self._audit(spiffe_id, "enrolment.enrol", spiffe_id, "done", detail))

    async def _refused(self, spiffe_id: SpiffeId, action: str, refusal: _Refusal, detail: JsonObject) -> IdentityError:
        """The error to raise, after its audit record. The actor is who the caller claims to be."""
        unrecorded = self._refusals.admit(spiffe_id.name)
        if unrecorded is not None and await self._known(spiffe_id):
            detail = {**detail, "reason": refusal.reason, "claimed": True, "unrecorded_before": unrecorded}
            await self._store.write([], self._audit(spiffe_id, action, spiffe_id, "refused", detail))
        return IdentityError(refusal.reason, where=spiffe_id.name, remedy=refusal.remedy)

    async def _known(self, spiffe_id: SpiffeId) -> bool:
        token = await self._store.get(TOKEN_BUCKET, spiffe_id.name)
        return token is not None or await self._store.get(BUCKET, key_of(spiffe_id)) is not None

    @staticmethod
    def _audit(actor: SpiffeId | str, action: str, spiffe_id: SpiffeId, outcome: str, detail: JsonObject) -> AuditEntry:
        return AuditEntry(str(actor), action, key_of(spiffe_id), outcome, detail)


def _require_signature(key: ec.EllipticCurvePublicKey, signature: bytes, data: bytes, appliance: str) -> None:
    if not verify_signature(key, signature, data):
        raise IdentityError("its device key did not sign this request", where=appliance, remedy=NEW_TOKEN)


def _contended(appliance: str) -> ConflictError:
    return ConflictError("its identity is being changed from several places", where=appliance, remedy="repeat it")


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
