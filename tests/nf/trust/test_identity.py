from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nf.clock import VirtualClock
from nf.errors import IdentityError, IntegrityError, NotFoundError, StorageError
from nf.trust.authority import APPLIANCE_LIFETIME_S, BACKDATE_S, Authority
from nf.trust.certificates import check_csr, check_peer, load_certificate, spiffe_id_of
from nf.trust.identity import DeviceKey, Identity, key_pem, make_csr, new_identity, new_key
from nf.trust.keys import load_public_key, verify_signature
from nf.trust.spiffe import SpiffeId

POP1 = SpiffeId("tv.example", "appliance", "pop1")
KEY = new_key()
CSR = make_csr(KEY, POP1)
PUBLIC = DeviceKey(KEY).public_der
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture
def identity(authority: Authority) -> Identity:
    return new_identity(authority, POP1, APPLIANCE_LIFETIME_S)


def test_what_is_saved_is_loaded(identity: Identity, tmp_path: Path) -> None:
    identity.save(tmp_path / "id")
    assert Identity.load(tmp_path / "id") == identity
    assert [stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "id").iterdir()] == [0o600]
    assert identity.spiffe_id == POP1


def test_a_saved_identity_replaces_the_old_one_whole(authority: Authority, tmp_path: Path) -> None:
    first, second = (new_identity(authority, POP1, APPLIANCE_LIFETIME_S) for _ in range(2))
    first.save(tmp_path / "id")
    second.save(tmp_path / "id")
    assert Identity.load(tmp_path / "id") == second
    assert len(list((tmp_path / "id").iterdir())) == 1


def test_a_save_that_fails_leaves_the_old_identity(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (new_identity(authority, POP1, APPLIANCE_LIFETIME_S) for _ in range(2))
    first.save(tmp_path / "id")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="space"):
        second.save(tmp_path / "id")
    assert Identity.load(tmp_path / "id") == first
    assert len(list((tmp_path / "id").iterdir())) == 1


def test_it_renews_at_two_thirds_of_its_life_give_or_take(identity: Identity) -> None:
    life = APPLIANCE_LIFETIME_S + BACKDATE_S
    assert identity.renew_at(0.5) == pytest.approx(identity.not_before + life * 2 / 3)
    assert identity.renew_at(0.0) == pytest.approx(identity.not_before + life * (2 / 3 - 0.05))
    assert identity.renew_at(1.0) == pytest.approx(identity.not_before + life * (2 / 3 + 0.05))
    drawn = {identity.renew_at() for _ in range(10)}
    assert len(drawn) > 1
    assert all(identity.renew_at(0.0) <= at <= identity.renew_at(1.0) for at in drawn)


def test_the_private_key_is_in_no_representation(identity: Identity) -> None:
    assert "PRIVATE" not in repr(identity)
    assert "PRIVATE" not in str(identity)


def test_parts_that_do_not_belong_together_are_refused(identity: Identity, tmp_path: Path) -> None:
    foreign = Authority.create(tmp_path / "foreign", "tv.example", VirtualClock())
    with pytest.raises(IdentityError, match="another key"):
        Identity(key_pem(new_key()), identity.certificate_pem, identity.ca_pem)
    with pytest.raises(IdentityError, match="another authority"):
        Identity(identity.key_pem, identity.certificate_pem, foreign.ca_pem)


def test_where_there_is_none_it_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        Identity.load(tmp_path)


def test_an_identity_that_others_can_read_or_that_is_cut_is_refused(identity: Identity, tmp_path: Path) -> None:
    identity.save(tmp_path)
    (file,) = tmp_path.glob("identity.pem")
    file.chmod(0o644)
    with pytest.raises(IntegrityError, match="0644"):
        Identity.load(tmp_path)
    file.chmod(0o600)
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(IntegrityError, match="corrupt"):
        Identity.load(tmp_path)


def test_a_device_key_is_made_once(tmp_path: Path) -> None:
    first = DeviceKey.load_or_create(tmp_path / "device.key")
    again = DeviceKey.load_or_create(tmp_path / "device.key")
    assert first.public_der == again.public_der
    public = load_public_key(again.public_der, "the device key")
    assert verify_signature(public, first.sign(b"data"), b"data")
    assert not verify_signature(public, first.sign(b"data"), b"Data")
    assert not verify_signature(public, b"no signature", b"data")


def test_a_corrupt_device_key_is_refused_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "device.key"
    DeviceKey.load_or_create(path)
    path.write_bytes(b"garbage")
    with pytest.raises(IntegrityError, match="corrupt"):
        DeviceKey.load_or_create(path)
    assert path.read_bytes() == b"garbage"


async def test_a_peer_is_checked(identity: Identity, authority: Authority, tmp_path: Path, clock: VirtualClock) -> None:
    pem, ca, now = identity.certificate_pem, authority.ca_pem, clock.now()
    assert check_peer(pem, ca, now) == identity.peer
    assert check_peer(pem, ca, now - BACKDATE_S).serial == identity.serial
    foreign = Authority.create(tmp_path / "foreign", "tv.example", clock)
    with pytest.raises(IdentityError, match="another authority"):
        check_peer(pem, foreign.ca_pem, now)
    with pytest.raises(IdentityError, match="not valid yet"):
        check_peer(pem, ca, now - BACKDATE_S - 1)
    with pytest.raises(IdentityError, match="expired") as caught:
        check_peer(pem, ca, now + APPLIANCE_LIFETIME_S + 1)
    assert "device key" in caught.value.remedy
    with pytest.raises(IdentityError, match="cannot be read"):
        check_peer(b"garbage", ca, now)


@pytest.mark.parametrize("uris", [[], [str(POP1), "spiffe://tv.example/noc/noc"], ["https://tv.example/"]])
def test_a_certificate_names_exactly_one_spiffe_id(authority: Authority, uris: list[str]) -> None:
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(x509.Name([]))
        .public_key(KEY.public_key())
        .serial_number(1)
        .not_valid_before(load_certificate(authority.ca_pem).not_valid_before_utc)
        .not_valid_after(load_certificate(authority.ca_pem).not_valid_after_utc)
    )
    if uris:
        names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri) for uri in uris])
        builder = builder.add_extension(names, critical=True)
    with pytest.raises(IdentityError, match="SPIFFE"):
        spiffe_id_of(builder.sign(KEY, hashes.SHA256()))


def test_a_request_carries_its_key() -> None:
    assert check_csr(CSR) == KEY.public_key()


def test_a_request_with_another_curve_is_refused() -> None:
    key = ec.generate_private_key(ec.SECP384R1())
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    with pytest.raises(IdentityError, match="P-256"):
        check_csr(request.public_bytes(Encoding.DER))


def test_a_request_that_its_key_did_not_sign_is_refused() -> None:
    other = DeviceKey(new_key()).public_der
    assert len(other) == len(PUBLIC)
    with pytest.raises(IdentityError, match="not signed"):
        check_csr(CSR.replace(PUBLIC, other))


@unhurried
@given(st.binary(max_size=200) | st.just(b"x" * 9000))
def test_any_bytes_are_refused_as_a_request_and_as_a_key(data: bytes) -> None:
    with pytest.raises(IdentityError):
        check_csr(data)
    with pytest.raises(IdentityError):
        load_public_key(data, "the device key")


@unhurried
@given(st.integers(0, len(CSR) - 1), st.integers(1, 255))
def test_a_request_with_one_byte_changed_is_refused(at: int, change: int) -> None:
    damaged = CSR[:at] + bytes([CSR[at] ^ change]) + CSR[at + 1 :]
    with pytest.raises(IdentityError):
        check_csr(damaged)


@unhurried
@given(st.integers(0, len(PUBLIC) - 1), st.integers(1, 255))
def test_a_public_key_with_one_byte_changed_does_not_verify_or_is_refused(at: int, change: int) -> None:
    damaged = PUBLIC[:at] + bytes([PUBLIC[at] ^ change]) + PUBLIC[at + 1 :]
    if damaged[26] == 7:  # the hybrid form of the same point (X9.62, 4.3.6)
        return
    with contextlib.suppress(IdentityError):
        key = load_public_key(damaged, "the device key")
        assert not verify_signature(key, DeviceKey(KEY).sign(b"data"), b"data")


def test_a_request_of_an_unknown_version_is_refused() -> None:
    damaged = bytearray(CSR)
    at = CSR.index(b"\x02\x01\x00")
    damaged[at + 2] = 1
    with pytest.raises(IdentityError, match="cannot be read"):
        check_csr(bytes(damaged))
