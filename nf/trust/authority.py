"""The local certificate authority of a NOC: P-256, one trust domain, leaf certificates with exactly one SPIFFE id."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from nf.clock import Clock
from nf.errors import IdentityError, InputError, IntegrityError, NotFoundError, RefusedError
from nf.trust.certificates import domain_of, fingerprint, load_certificate
from nf.trust.files import read_private, write_private
from nf.trust.keys import key_pem, load_key, new_key, require_p256
from nf.trust.spiffe import SpiffeId

BACKDATE_S = 300
"""Certificates begin this long before they are made: clocks of appliances may be a little behind."""

APPLIANCE_LIFETIME_S = 86_400
OPERATOR_LIFETIME_S = 30 * 86_400
NOC_LIFETIME_S = 86_400

_CA_LIFETIME = timedelta(days=3650)
_KEY_FILE, _CERTIFICATE_FILE = "ca.key", "ca.pem"


class Authority:
    """Signs with a key that stays in `directory` (mode 0600)."""

    def __init__(
        self, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate, ca_pem: bytes, clock: Clock
    ) -> None:
        """Use `create` or `open`."""
        self._key = key
        self._certificate = certificate
        self.clock = clock
        self.ca_pem = ca_pem
        self.domain = domain_of(certificate)
        self.fingerprint = fingerprint(ca_pem)

    @classmethod
    def create(cls, directory: Path, domain: str, clock: Clock) -> Authority:
        """Make key and certificate, valid ten years. Raises RefusedError (there is one), InputError, StorageError."""
        SpiffeId(domain, "noc", "noc")  # refuses what is no trust domain
        if (directory / _CERTIFICATE_FILE).exists():
            raise RefusedError(
                "there is an authority already", where=str(directory), remedy="use it, or name another directory"
            )
        key = new_key()
        certificate = _self_signed(key, domain, clock.now())
        write_private(directory / _KEY_FILE, key_pem(key))
        write_private(directory / _CERTIFICATE_FILE, _pem(certificate))
        return cls.open(directory, clock)

    @classmethod
    def open(cls, directory: Path, clock: Clock) -> Authority:
        """Raises NotFoundError, or IntegrityError (corrupt, mismatched, or readable by others)."""
        where = str(directory)
        try:
            ca_pem = (directory / _CERTIFICATE_FILE).read_bytes()
        except OSError as error:
            raise NotFoundError("there is no authority", where=where, remedy="make one: nf noc init") from error
        key_file = directory / _KEY_FILE
        try:
            key = load_key(read_private(key_file, "the CA key"), str(key_file))
            certificate = load_certificate(ca_pem, "the CA certificate")
            authority = cls(key, certificate, ca_pem, clock)
        except (IdentityError, NotFoundError) as error:
            raise IntegrityError(error.message, where=where, remedy="restore the directory from a backup") from error
        if certificate.public_key() != key.public_key():
            raise IntegrityError(
                "the CA key and the CA certificate do not belong together",
                where=where,
                remedy="restore the directory from a backup",
            )
        return authority

    def issue(
        self,
        spiffe_id: SpiffeId,
        public_key: ec.EllipticCurvePublicKey | x509.CertificateSigningRequest,
        lifetime_s: float,
        dns_names: Sequence[str] = (),
        ip: Sequence[str | IPv4Address | IPv6Address] = (),
    ) -> bytes:
        """A leaf certificate in PEM for client and server, valid from `BACKDATE_S` ago for `lifetime_s` from now.

        Names in a request are ignored. It never outlives the authority itself.
        Raises InputError (another domain, a malformed DNS or IP name), IdentityError (not P-256), RefusedError.
        """
        if spiffe_id.domain != self.domain:
            raise InputError(f"this authority serves {self.domain}", where=str(spiffe_id))
        if lifetime_s <= 0:
            raise InputError("a certificate lives longer than 0 s", where=str(spiffe_id))
        if isinstance(public_key, x509.CertificateSigningRequest):
            key = require_p256(public_key.public_key(), "the key of the certificate request")
        else:
            key = require_p256(public_key, "the key")
        now = datetime.fromtimestamp(self.clock.now(), UTC)
        end = min(now + timedelta(seconds=lifetime_s), self._certificate.not_valid_after_utc)
        if end <= now:
            raise RefusedError("the CA certificate has expired", where=self.domain, remedy="make a new authority")
        names = _san(spiffe_id, dns_names, ip)
        return _pem(_leaf(key, names, (now - timedelta(seconds=BACKDATE_S), end), self._certificate, self._key))


def _san(
    spiffe_id: SpiffeId, dns_names: Sequence[str], ip: Sequence[str | IPv4Address | IPv6Address]
) -> x509.SubjectAlternativeName:
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(str(spiffe_id))]
    try:
        names += [x509.DNSName(name) for name in dns_names]
        names += [x509.IPAddress(ip_address(address)) for address in ip]
    except ValueError as error:
        raise InputError(f"not a name for a certificate: {error}", where=str(spiffe_id)) from error
    return x509.SubjectAlternativeName(names)


def _self_signed(key: ec.EllipticCurvePrivateKey, domain: str, at: float) -> x509.Certificate:
    now = datetime.fromtimestamp(at, UTC)
    # Common names end at 64 characters (RFC 5280, upper bounds); the URI is the name that counts.
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"StreamVerse NF CA {domain}"[:64])])
    uri = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(f"spiffe://{domain}")])
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(seconds=BACKDATE_S))
        .not_valid_after(now + _CA_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(sign_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(uri, critical=False)
        .sign(key, hashes.SHA256())
    )


def _leaf(
    key: ec.EllipticCurvePublicKey,
    names: x509.SubjectAlternativeName,
    valid: tuple[datetime, datetime],
    issuer: x509.Certificate,
    issuer_key: ec.EllipticCurvePrivateKey,
) -> x509.Certificate:
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH])
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(issuer.subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(valid[0])
        .not_valid_after(valid[1])
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(sign_certificates=False), critical=True)
        .add_extension(usage, critical=False)
        # An empty subject makes the alternative name critical (RFC 5280, 4.2.1.6).
        .add_extension(names, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
        .sign(issuer_key, hashes.SHA256())
    )


def _key_usage(*, sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not sign_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.PEM)
