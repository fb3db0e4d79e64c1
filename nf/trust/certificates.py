"""Reading certificates: whose they are, whether an authority made them, whether they are in time."""

from __future__ import annotations

from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from nf.errors import IdentityError
from nf.trust.keys import require_p256
from nf.trust.spiffe import SpiffeId

MAX_CSR_BYTES = 8192

_UNREADABLE = (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion)
_BAD_EXTENSIONS = (ValueError, x509.ExtensionNotFound, x509.DuplicateExtension, x509.UnsupportedGeneralNameType)


@dataclass(frozen=True, slots=True)
class Peer:
    """Whose certificate it is. `serial` is the certificate's number; times are seconds since the epoch."""

    spiffe_id: SpiffeId
    serial: int
    not_before: float
    not_after: float


def load_certificate(pem: bytes, what: str = "the certificate") -> x509.Certificate:
    """The first certificate in `pem`. Raises IdentityError."""
    try:
        return x509.load_pem_x509_certificate(pem)
    except _UNREADABLE as error:
        raise IdentityError(f"{what} cannot be read", remedy="send X.509 in PEM") from error


def fingerprint(ca_pem: bytes) -> str:
    """SHA-256 of the certificate's DER, in hexadecimal."""
    return load_certificate(ca_pem).fingerprint(hashes.SHA256()).hex()


def spiffe_id_of(certificate: x509.Certificate) -> SpiffeId:
    """Exactly one URI SAN (X509-SVID, section 2). Raises IdentityError."""
    uris = _uris(certificate)
    if len(uris) != 1:
        raise IdentityError(f"a certificate carries exactly one SPIFFE id, this one {len(uris)}")
    return SpiffeId.parse(uris[0])


def peer_of(certificate: x509.Certificate) -> Peer:
    """Who the certificate names, unchecked. Raises IdentityError."""
    return Peer(
        spiffe_id_of(certificate),
        certificate.serial_number,
        certificate.not_valid_before_utc.timestamp(),
        certificate.not_valid_after_utc.timestamp(),
    )


def check_peer(certificate_pem: bytes, ca_pem: bytes, now: float) -> Peer:
    """A leaf made by this CA, in time, of the CA's own trust domain. Raises IdentityError with the remedy.

    TLS has checked the chain at the handshake; this is for long streams and for certificates that come in a message.
    Revocation is asked of the register (`nf.trust.register.is_revoked`).
    """
    certificate, authority = load_certificate(certificate_pem), load_certificate(ca_pem, "the CA certificate")
    peer = peer_of(certificate)
    where = str(peer.spiffe_id)
    if not issued_by(certificate, authority):
        raise IdentityError("the certificate was made by another authority", where=where, remedy="enrol with this NOC")
    if peer.spiffe_id.domain != domain_of(authority):
        raise IdentityError("the certificate is of another trust domain", where=where, remedy="enrol with this NOC")
    if now < peer.not_before:
        raise IdentityError("the certificate is not valid yet", where=where, remedy="set the clock of this machine")
    if now > peer.not_after:
        raise IdentityError(
            "the certificate has expired", where=where, remedy="renew it: an appliance does so by its device key"
        )
    return peer


def issued_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    """Name and signature fit."""
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def domain_of(authority: x509.Certificate) -> str:
    """The trust domain that a CA certificate names in its URI SAN `spiffe://<domain>`. Raises IdentityError."""
    uris = _uris(authority)
    if len(uris) != 1 or not uris[0].startswith("spiffe://"):
        raise IdentityError("the CA certificate names no trust domain")
    return uris[0].removeprefix("spiffe://")


def _uris(certificate: x509.Certificate) -> list[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except _BAD_EXTENSIONS as error:
        raise IdentityError("the certificate carries no SPIFFE id", remedy="enrol with this NOC") from error
    return names.get_values_for_type(x509.UniformResourceIdentifier)


def check_csr(csr_der: bytes) -> ec.EllipticCurvePublicKey:
    """The key of a PKCS#10 request (RFC 2986): P-256, signed by itself. Names in it are ignored.

    Raises IdentityError.
    """
    remedy = "make a PKCS#10 request with a P-256 key, DER"
    if len(csr_der) > MAX_CSR_BYTES:
        raise IdentityError(f"the certificate request is longer than {MAX_CSR_BYTES} bytes", remedy=remedy)
    try:
        request = x509.load_der_x509_csr(csr_der)
        key = require_p256(request.public_key(), "the key of the certificate request")
        signed = request.is_signature_valid
    except _UNREADABLE as error:
        raise IdentityError("the certificate request cannot be read", remedy=remedy) from error
    if not signed:
        raise IdentityError("the certificate request is not signed by its own key", remedy=remedy)
    return key
