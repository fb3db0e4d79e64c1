from __future__ import annotations

import ipaddress
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID

from nf.clock import VirtualClock
from nf.errors import IdentityError, InputError, IntegrityError, NotFoundError, RefusedError
from nf.trust.authority import APPLIANCE_LIFETIME_S, BACKDATE_S, Authority
from nf.trust.certificates import check_peer, fingerprint, spiffe_id_of
from nf.trust.identity import make_csr
from nf.trust.keys import new_key
from nf.trust.spiffe import SpiffeId

POP1 = SpiffeId("tv.example", "appliance", "pop1")


def leaf(authority: Authority, **names: list[str]) -> x509.Certificate:
    key = new_key().public_key()
    return x509.load_pem_x509_certificate(authority.issue(POP1, key, APPLIANCE_LIFETIME_S, **names))


def test_the_key_is_readable_by_its_owner_only(authority: Authority, tmp_path: Path) -> None:
    assert stat.S_IMODE((tmp_path / "ca").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "ca" / "ca.key").stat().st_mode) == 0o600


def test_an_opened_authority_is_the_one_that_was_made(
    authority: Authority, tmp_path: Path, clock: VirtualClock
) -> None:
    again = Authority.open(tmp_path / "ca", clock)
    assert (again.domain, again.ca_pem, again.fingerprint) == ("tv.example", authority.ca_pem, authority.fingerprint)
    assert again.fingerprint == fingerprint(authority.ca_pem)
    assert check_peer(again.issue(POP1, new_key().public_key(), 60), authority.ca_pem, clock.now()).spiffe_id == POP1


def test_there_is_one_authority_in_a_directory(authority: Authority, tmp_path: Path, clock: VirtualClock) -> None:
    with pytest.raises(RefusedError, match="already"):
        Authority.create(tmp_path / "ca", "tv.example", clock)
    assert Authority.open(tmp_path / "ca", clock).fingerprint == authority.fingerprint


def test_a_leaf_has_what_it_should(authority: Authority, clock: VirtualClock) -> None:
    certificate = leaf(authority, dns_names=["noc.tv.example"], ip=["172.20.20.10", "::1"])
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [str(POP1)]
    assert names.get_values_for_type(x509.DNSName) == ["noc.tv.example"]
    assert names.get_values_for_type(x509.IPAddress) == [
        ipaddress.ip_address("172.20.20.10"),
        ipaddress.ip_address("::1"),
    ]
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert set(usage) == {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH}
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert certificate.not_valid_before_utc.timestamp() == clock.now() - BACKDATE_S
    assert certificate.not_valid_after_utc.timestamp() == clock.now() + APPLIANCE_LIFETIME_S
    assert certificate.serial_number != leaf(authority).serial_number


def test_names_in_a_request_are_ignored(authority: Authority) -> None:
    request = x509.load_der_x509_csr(make_csr(new_key(), SpiffeId("tv.example", "noc", "noc")))
    certificate = x509.load_pem_x509_certificate(authority.issue(POP1, request, 60))
    assert spiffe_id_of(certificate) == POP1
    assert certificate.public_key() == request.public_key()


async def test_a_leaf_never_outlives_its_authority(authority: Authority, clock: VirtualClock) -> None:
    ca_ends = x509.load_pem_x509_certificate(authority.ca_pem).not_valid_after_utc
    await clock.advance(ca_ends.timestamp() - clock.now() - 100)
    assert leaf(authority).not_valid_after_utc == ca_ends
    await clock.advance(101)
    with pytest.raises(RefusedError, match="expired"):
        leaf(authority)


@pytest.mark.parametrize("key", [ec.generate_private_key(ec.SECP384R1()), ed25519.Ed25519PrivateKey.generate()])
def test_only_p256_keys_are_certified(authority: Authority, key: ec.EllipticCurvePrivateKey) -> None:
    with pytest.raises(IdentityError, match="P-256"):
        authority.issue(POP1, key.public_key(), 60)


def test_another_domain_and_bad_names_are_refused(authority: Authority) -> None:
    key = new_key().public_key()
    with pytest.raises(InputError, match="serves"):
        authority.issue(SpiffeId("other.example", "appliance", "pop1"), key, 60)
    with pytest.raises(InputError):
        authority.issue(POP1, key, 60, ip=["172.20.20"])
    with pytest.raises(InputError):
        authority.issue(POP1, key, 60, dns_names=["nöc"])
    with pytest.raises(InputError):
        authority.issue(POP1, key, 0)


@pytest.mark.parametrize("domain", ["", "TV.example", "tv.example/x", "-x"])
def test_what_is_no_domain_makes_no_authority(tmp_path: Path, clock: VirtualClock, domain: str) -> None:
    with pytest.raises(InputError):
        Authority.create(tmp_path / "other", domain, clock)
    assert not (tmp_path / "other").exists()


def _open_mode(directory: Path) -> None:
    (directory / "ca.key").chmod(0o640)


def _cut_key(directory: Path) -> None:
    path = directory / "ca.key"
    path.write_bytes(path.read_bytes()[:80])


def _no_key(directory: Path) -> None:
    (directory / "ca.key").unlink()


def _cut_certificate(directory: Path) -> None:
    path = directory / "ca.pem"
    path.write_bytes(path.read_bytes()[:80])


def _foreign_key(directory: Path) -> None:
    Authority.create(directory / "foreign", "tv.example", VirtualClock())
    shutil.copy2(directory / "foreign" / "ca.key", directory / "ca.key")


def _leaf_for_ca(directory: Path) -> None:
    pem = Authority.open(directory, VirtualClock()).issue(POP1, new_key().public_key(), 60)
    (directory / "ca.pem").write_bytes(pem)


@pytest.mark.parametrize(
    "damage", [_open_mode, _cut_key, _no_key, _cut_certificate, _foreign_key, _leaf_for_ca], ids=lambda f: f.__name__
)
def test_a_damaged_authority_is_refused_with_what_to_do(
    authority: Authority, tmp_path: Path, clock: VirtualClock, damage: Callable[[Path], None]
) -> None:
    damage(tmp_path / "ca")
    with pytest.raises(IntegrityError) as caught:
        Authority.open(tmp_path / "ca", clock)
    assert caught.value.remedy
    assert str(tmp_path / "ca") in caught.value.where


def test_where_there_is_none_the_remedy_names_the_command(tmp_path: Path, clock: VirtualClock) -> None:
    with pytest.raises(NotFoundError, match="nf noc init"):
        Authority.open(tmp_path / "nowhere", clock)
