from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from nf.clock import VirtualClock
from nf.errors import ConflictError, IdentityError, InputError, NotFoundError, RefusedError
from nf.store.audit import AuditRecord
from nf.store.sqlite import SqliteStore
from nf.trust.allowance import REFUSALS_PER_NAME, WINDOW_S
from nf.trust.authority import APPLIANCE_LIFETIME_S, Authority
from nf.trust.enrolment import DEFAULT_TOKEN_TTL_S, MAX_TOKEN_TTL_S, TOKEN_BUCKET, Enrolment
from nf.trust.identity import DeviceKey, Identity, key_pem, make_csr, new_key
from nf.trust.nonces import LIFETIME_S, MAX_NONCES, Nonces
from nf.trust.register import CERTIFICATES_KEPT
from nf.trust.spiffe import SpiffeId

ALICE = SpiffeId("tv.example", "operator", "alice")
SERIAL = "SV-POP1-0001"


@pytest.fixture
def enrolment(store: SqliteStore, authority: Authority, clock: VirtualClock) -> Enrolment:
    return Enrolment(store, authority, clock)


@dataclass
class Machine:
    """An appliance's side of the conversation; each part can be made wrong."""

    enrolment: Enrolment
    name: str = "pop1"
    serial: str = SERIAL
    device: DeviceKey = field(default_factory=lambda: DeviceKey(new_key()))
    key: ec.EllipticCurvePrivateKey = field(default_factory=new_key)

    def csr(self) -> bytes:
        # It asks for a name that it has no right to: names in a request do not count.
        return make_csr(self.key, SpiffeId("tv.example", "noc", "noc"))

    async def enrol(
        self, token: str, *, nonce: bytes | None = None, signature: bytes | None = None, csr: bytes | None = None
    ) -> Identity:
        nonce = await self.enrolment.challenge(self.name) if nonce is None else nonce
        csr = self.csr() if csr is None else csr
        certificate, ca = await self.enrolment.enrol(
            appliance=self.name,
            serial=self.serial,
            token=token,
            csr_der=csr,
            device_public_key=self.device.public_der,
            nonce=nonce,
            nonce_signature=self.device.sign(nonce + csr) if signature is None else signature,
        )
        return Identity(key_pem(self.key), certificate, ca)

    async def renew(self, device: DeviceKey | None = None) -> Identity:
        nonce, csr = await self.enrolment.challenge(self.name), self.csr()
        certificate, ca = await self.enrolment.renew(
            appliance=self.name, csr_der=csr, nonce=nonce, nonce_signature=(device or self.device).sign(nonce + csr)
        )
        return Identity(key_pem(self.key), certificate, ca)

    async def token(self, ttl_s: float = 60.0) -> str:
        return await self.enrolment.issue_token(self.name, self.serial, ttl_s, ALICE)


@pytest.fixture
def pop1(enrolment: Enrolment) -> Machine:
    return Machine(enrolment)


def bytes_of_store(directory: Path) -> bytes:
    return b"".join(path.read_bytes() for path in directory.glob("store.db*"))


async def last_record(store: SqliteStore) -> AuditRecord:
    (record,) = await store.audit_records(1)
    return record


async def test_a_token_gives_a_certificate_of_a_day(
    pop1: Machine, store: SqliteStore, clock: VirtualClock, authority: Authority
) -> None:
    identity = await pop1.enrol(await pop1.token())
    assert str(identity.spiffe_id) == "spiffe://tv.example/appliance/pop1"
    assert identity.not_after == clock.now() + APPLIANCE_LIFETIME_S
    assert identity.ca_pem == authority.ca_pem
    assert not await pop1.enrolment.is_revoked(identity.spiffe_id, identity.serial)
    record = await pop1.enrolment.enrolled("pop1")
    assert record is not None
    assert (record.hardware_serial, record.certificate_expires) == (SERIAL, identity.not_after)
    assert await pop1.enrolment.list_enrolled() == (record,)
    audit = await last_record(store)
    assert (audit.actor, audit.action, audit.object, audit.outcome) == (
        str(identity.spiffe_id),
        "enrolment.enrol",
        "appliance/pop1",
        "done",
    )


async def test_neither_the_store_nor_the_audit_holds_a_token(pop1: Machine, store: SqliteStore, tmp_path: Path) -> None:
    token = await pop1.token()
    await pop1.enrol(token)
    with pytest.raises(IdentityError) as caught:
        await pop1.enrol(token)
    assert token not in str(caught.value)
    kept = bytes_of_store(tmp_path)
    assert SERIAL.encode() in kept
    assert token.encode() not in kept


async def test_a_token_is_of_256_bits_and_never_the_same(pop1: Machine) -> None:
    tokens = {await pop1.token() for _ in range(5)}
    assert len(tokens) == 5
    assert {len(token) for token in tokens} == {43}


async def test_a_replayed_token_is_refused_and_audited(pop1: Machine, store: SqliteStore) -> None:
    token = await pop1.token()
    first = await pop1.enrol(token)
    for device in (pop1.device, DeviceKey(new_key())):
        pop1.device = device
        with pytest.raises(IdentityError, match="used already") as caught:
            await pop1.enrol(token)
        assert "fresh token" in caught.value.remedy
        audit = await last_record(store)
        assert (audit.action, audit.outcome) == ("enrolment.enrol", "refused")
        assert json.loads(audit.detail_json)["reason"] == "the token was used already"
    assert not await pop1.enrolment.is_revoked(first.spiffe_id, first.serial)


async def test_a_wrong_serial_is_refused_and_audited_and_the_token_stays_good(
    pop1: Machine, store: SqliteStore
) -> None:
    token = await pop1.token()
    pop1.serial = "SV-OTHER-0001"
    with pytest.raises(IdentityError, match="another serial"):
        await pop1.enrol(token)
    audit = await last_record(store)
    assert audit.outcome == "refused"
    assert json.loads(audit.detail_json)["serial"] == "SV-OTHER-0001"
    pop1.serial = SERIAL
    await pop1.enrol(token)


async def test_a_token_is_of_one_name(pop1: Machine, enrolment: Enrolment) -> None:
    token = await pop1.token()
    other = Machine(enrolment, name="pop2")
    with pytest.raises(IdentityError, match="not valid for this appliance"):
        await other.enrol(token)
    await other.token()
    with pytest.raises(IdentityError, match="not valid for this appliance"):
        await other.enrol(token)
    assert await enrolment.enrolled("pop2") is None


async def test_an_expired_token_is_refused(pop1: Machine, clock: VirtualClock) -> None:
    token = await pop1.token(60)
    await clock.advance(59.9)
    late = await pop1.token(60)
    await clock.advance(60)
    with pytest.raises(IdentityError, match="has expired"):
        await pop1.enrol(late)
    with pytest.raises(IdentityError, match="not valid"):
        await pop1.enrol(token)


async def test_a_token_lives_an_hour_unless_told(pop1: Machine, clock: VirtualClock) -> None:
    token = await pop1.token(0)
    await clock.advance(DEFAULT_TOKEN_TTL_S - 1)
    await pop1.enrol(token)


@pytest.mark.parametrize(
    ("name", "serial", "ttl_s"),
    [
        ("Pop1", SERIAL, 60.0),
        ("", SERIAL, 60.0),
        ("pop1", "", 60.0),
        ("pop1", "a\nb", 60.0),
        ("pop1", "x" * 65, 60.0),
        ("pop1", SERIAL, -1.0),
        ("pop1", SERIAL, MAX_TOKEN_TTL_S + 1),
        ("pop1", SERIAL, float("nan")),
    ],
)
async def test_a_token_for_nonsense_is_not_made(enrolment: Enrolment, name: str, serial: str, ttl_s: float) -> None:
    with pytest.raises(InputError):
        await enrolment.issue_token(name, serial, ttl_s, ALICE)


async def test_two_enrolments_with_one_token_at_once_exactly_one_wins(enrolment: Enrolment, store: SqliteStore) -> None:
    machines = [Machine(enrolment) for _ in range(8)]
    token = await machines[0].token()
    results = await asyncio.gather(*(machine.enrol(token) for machine in machines), return_exceptions=True)
    (winner,) = [result for result in results if isinstance(result, Identity)]
    losers = [result for result in results if not isinstance(result, Identity)]
    assert all(isinstance(result, IdentityError) and "used already" in str(result) for result in losers)
    record = await enrolment.enrolled("pop1")
    assert record is not None
    assert record.holds(winner.serial)
    assert len(record.certificates) == 1


async def test_two_nocs_on_one_store_let_one_enrolment_win(
    store: SqliteStore, authority: Authority, clock: VirtualClock
) -> None:
    machines = [Machine(Enrolment(store, authority, clock)) for _ in range(4)]
    token = await machines[0].token()
    results = await asyncio.gather(*(machine.enrol(token) for machine in machines), return_exceptions=True)
    assert sum(isinstance(result, Identity) for result in results) == 1


async def test_a_nonce_is_good_once_for_its_name_and_for_a_minute(pop1: Machine, clock: VirtualClock) -> None:
    token, nonce = await pop1.token(600), await pop1.enrolment.challenge("pop1")
    assert len(nonce) == 32
    await pop1.enrol(token, nonce=nonce)
    with pytest.raises(IdentityError, match="nonce"):
        await pop1.enrol(await pop1.token(), nonce=nonce)
    with pytest.raises(IdentityError, match="nonce"):
        await pop1.enrol(token, nonce=await pop1.enrolment.challenge("pop2"))
    with pytest.raises(IdentityError, match="nonce"):
        await pop1.enrol(token, nonce=bytes(32))
    old = await pop1.enrolment.challenge("pop1")
    await clock.advance(LIFETIME_S)
    with pytest.raises(IdentityError, match="nonce"):
        await pop1.enrol(token, nonce=old)


async def test_a_refused_request_uses_its_nonce_up(pop1: Machine) -> None:
    token, nonce = await pop1.token(), await pop1.enrolment.challenge("pop1")
    with pytest.raises(IdentityError, match="not valid"):
        await pop1.enrol("guessed", nonce=nonce)
    with pytest.raises(IdentityError, match="nonce"):
        await pop1.enrol(token, nonce=nonce)


async def test_a_flood_of_challenges_stays_bounded(clock: VirtualClock) -> None:
    nonces = Nonces(clock)
    first, *_ = [nonces.issue("pop1") for _ in range(MAX_NONCES + 1)]
    assert len(nonces._issued) == MAX_NONCES
    with pytest.raises(IdentityError):
        nonces.use("pop1", first)
    await clock.advance(LIFETIME_S)
    nonces.issue("pop1")
    assert len(nonces._issued) == 1


async def test_the_device_key_signs_nonce_and_request(pop1: Machine) -> None:
    token, nonce, csr = await pop1.token(), await pop1.enrolment.challenge("pop1"), pop1.csr()
    for signed in (nonce, csr, csr + nonce):
        with pytest.raises(IdentityError, match="did not sign"):
            await pop1.enrol(token, csr=csr, signature=pop1.device.sign(signed))
    with pytest.raises(IdentityError, match="did not sign"):
        await pop1.enrol(token, csr=csr, nonce=nonce, signature=DeviceKey(new_key()).sign(nonce + csr))


async def test_a_device_key_is_on_p256(pop1: Machine) -> None:
    token, nonce, csr = await pop1.token(), await pop1.enrolment.challenge("pop1"), pop1.csr()
    key = ec.generate_private_key(ec.SECP384R1())
    with pytest.raises(IdentityError, match="P-256"):
        await pop1.enrolment.enrol(
            appliance="pop1",
            serial=SERIAL,
            token=token,
            csr_der=csr,
            device_public_key=key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
            nonce=nonce,
            nonce_signature=key.sign(nonce + csr, ec.ECDSA(hashes.SHA256())),
        )


async def test_an_enrolled_name_needs_a_fresh_token(pop1: Machine, enrolment: Enrolment) -> None:
    first = await pop1.enrol(await pop1.token())
    thief = Machine(enrolment)
    with pytest.raises(IdentityError):
        await thief.enrol("guessed")
    second = await thief.enrol(await thief.token())
    assert not await enrolment.is_revoked(second.spiffe_id, second.serial)
    assert await enrolment.is_revoked(first.spiffe_id, first.serial)
    with pytest.raises(IdentityError, match="did not sign"):
        await pop1.renew()


async def test_other_hardware_under_an_enrolled_name_is_refused(pop1: Machine, enrolment: Enrolment) -> None:
    await enrolment.issue_token("pop1", "SV-OTHER-0001", 60, ALICE)
    await pop1.enrol(await pop1.token())
    with pytest.raises(RefusedError, match="other hardware") as caught:
        await enrolment.issue_token("pop1", "SV-OTHER-0001", 60, ALICE)
    assert "nf appliance replace" in caught.value.remedy
    await pop1.token()


async def test_an_expired_appliance_renews_by_its_device_key(
    pop1: Machine, clock: VirtualClock, store: SqliteStore
) -> None:
    first = await pop1.enrol(await pop1.token())
    await clock.advance(31 * 86_400)
    assert first.expired(clock.now())
    pop1.key = new_key()
    second = await pop1.renew()
    assert second.spiffe_id == first.spiffe_id
    assert second.not_after == clock.now() + APPLIANCE_LIFETIME_S
    assert not await pop1.enrolment.is_revoked(second.spiffe_id, second.serial)
    audit = await last_record(store)
    assert (audit.actor, audit.action) == (str(first.spiffe_id), "certificate.renew")


async def test_while_it_renews_old_and_new_certificate_count(pop1: Machine, clock: VirtualClock) -> None:
    first = await pop1.enrol(await pop1.token())
    await clock.advance(57_600)
    second = await pop1.renew()
    for identity in (first, second):
        assert not await pop1.enrolment.is_revoked(identity.spiffe_id, identity.serial)
    await clock.advance(57_600)
    await pop1.renew()
    record = await pop1.enrolment.enrolled("pop1")
    assert record is not None
    assert not record.holds(first.serial)
    assert record.holds(second.serial)


async def test_an_appliance_that_renews_in_a_loop_keeps_its_newest_certificates(pop1: Machine) -> None:
    first = await pop1.enrol(await pop1.token())
    for _ in range(CERTIFICATES_KEPT):
        newest = await pop1.renew()
    record = await pop1.enrolment.enrolled("pop1")
    assert record is not None
    assert len(record.certificates) == CERTIFICATES_KEPT
    assert record.holds(newest.serial)
    assert not record.holds(first.serial)


async def test_renewals_at_once_all_stand(pop1: Machine) -> None:
    await pop1.enrol(await pop1.token())
    renewed = await asyncio.gather(*(pop1.renew() for _ in range(3)))
    record = await pop1.enrolment.enrolled("pop1")
    assert record is not None
    assert all(record.holds(identity.serial) for identity in renewed)


async def test_who_never_enrolled_or_has_another_key_does_not_renew(pop1: Machine) -> None:
    with pytest.raises(IdentityError, match="not enrolled"):
        await pop1.renew()
    await pop1.enrol(await pop1.token())
    with pytest.raises(IdentityError, match="did not sign"):
        await pop1.renew(DeviceKey(new_key()))


async def test_a_revoked_appliance_is_out_until_a_fresh_token(pop1: Machine, store: SqliteStore) -> None:
    first = await pop1.enrol(await pop1.token())
    waiting = await pop1.token()
    await pop1.enrolment.revoke("pop1", ALICE)
    audit = await last_record(store)
    assert (audit.actor, audit.action, audit.object) == (str(ALICE), "identity.revoke", "appliance/pop1")
    assert await pop1.enrolment.is_revoked(first.spiffe_id, first.serial)
    with pytest.raises(IdentityError, match="revoked") as caught:
        await pop1.renew()
    assert "fresh token" in caught.value.remedy
    assert (await last_record(store)).outcome == "refused"
    with pytest.raises(IdentityError, match="not valid"):
        await pop1.enrol(waiting)
    records = len(await store.audit_records(100))
    await pop1.enrolment.revoke("pop1", ALICE)
    assert len(await store.audit_records(100)) == records
    back = await pop1.enrol(await pop1.token())
    assert not await pop1.enrolment.is_revoked(back.spiffe_id, back.serial)
    assert await pop1.enrolment.is_revoked(first.spiffe_id, first.serial)


async def test_only_what_enrolled_is_revoked(enrolment: Enrolment) -> None:
    with pytest.raises(NotFoundError):
        await enrolment.revoke("pop1", ALICE)


async def test_certificates_outside_the_register_do_not_count(enrolment: Enrolment, pop1: Machine) -> None:
    identity = await pop1.enrol(await pop1.token())
    assert await enrolment.is_revoked(identity.spiffe_id, identity.serial + 1)
    assert await enrolment.is_revoked(SpiffeId("tv.example", "appliance", "pop2"), identity.serial)
    assert await enrolment.is_revoked(ALICE, identity.serial)
    assert not await enrolment.is_revoked(SpiffeId("tv.example", "noc", "noc"), 1)


async def test_a_flood_of_wrong_tokens_does_not_fill_the_audit(
    pop1: Machine, store: SqliteStore, clock: VirtualClock
) -> None:
    await pop1.token()
    for _ in range(REFUSALS_PER_NAME + 7):
        with pytest.raises(IdentityError):
            await pop1.enrol("guessed")
    assert len(await store.audit_records(100)) == 1 + REFUSALS_PER_NAME
    await clock.advance(WINDOW_S)
    with pytest.raises(IdentityError):
        await pop1.enrol("guessed")
    assert json.loads((await last_record(store)).detail_json)["unrecorded_before"] == 7


async def test_strangers_leave_nothing_in_the_audit(pop1: Machine, store: SqliteStore) -> None:
    with pytest.raises(IdentityError, match="not valid"):
        await pop1.enrol("guessed")
    assert await store.audit_records(10) == ()


async def test_a_store_that_cannot_write_gives_no_certificate_and_keeps_the_token(
    pop1: Machine, store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = await pop1.token()

    async def lost(*_: object) -> int:
        raise ConflictError("lost")

    with monkeypatch.context() as patch:
        patch.setattr(store, "write", lost)
        with pytest.raises(ConflictError, match="several places"):
            await pop1.enrol(token)
    assert await pop1.enrolment.enrolled("pop1") is None
    kept = await store.get(TOKEN_BUCKET, "pop1")
    assert kept is not None
    assert json.loads(kept.value)["used_at"] is None
    await pop1.enrol(token)


async def test_a_request_for_another_curve_is_refused(pop1: Machine) -> None:
    key = ec.generate_private_key(ec.SECP384R1())
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    with pytest.raises(IdentityError, match="P-256"):
        await pop1.enrol(await pop1.token(), csr=request.public_bytes(Encoding.DER))
