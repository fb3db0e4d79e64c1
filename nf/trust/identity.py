"""An identity in use: private key, certificate and the CA that peers are checked against, kept as one file."""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from nf.errors import IdentityError, IntegrityError
from nf.trust.authority import Authority
from nf.trust.certificates import Peer, fingerprint, issued_by, load_certificate, peer_of
from nf.trust.files import read_private, write_private
from nf.trust.keys import DeviceKey, key_pem, load_key, new_key
from nf.trust.spiffe import SpiffeId

__all__ = ["DeviceKey", "Identity", "key_pem", "make_csr", "new_identity", "new_key"]

_FILE = "identity.pem"
_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----\n.+?-----END \1-----\n?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Identity:
    """PEM of each part. Never printed: `key_pem` is left out of its representation.

    Raises IdentityError when the parts do not belong together. An expired identity is one still.
    """

    key_pem: bytes = field(repr=False)
    certificate_pem: bytes
    ca_pem: bytes
    peer: Peer = field(init=False, compare=False)

    def __post_init__(self) -> None:
        certificate = load_certificate(self.certificate_pem)
        if certificate.public_key() != load_key(self.key_pem, "the identity's key").public_key():
            raise IdentityError("the certificate is for another key", remedy="enrol again")
        if not issued_by(certificate, load_certificate(self.ca_pem, "the CA certificate")):
            raise IdentityError("the certificate was made by another authority", remedy="enrol again")
        object.__setattr__(self, "peer", peer_of(certificate))

    @classmethod
    def load(cls, directory: Path) -> Identity:
        """Raises NotFoundError when there is none, IntegrityError when it is corrupt or readable by others."""
        path = directory / _FILE
        blocks = [(match[1], match[0]) for match in _BLOCK.finditer(read_private(path, "the identity"))]
        keys = [pem for label, pem in blocks if label.endswith(b"PRIVATE KEY")]
        certificates = [pem for label, pem in blocks if label == b"CERTIFICATE"]
        if len(keys) != 1 or len(certificates) != 2:
            raise IntegrityError("the identity is corrupt", where=str(path), remedy="remove it and enrol again")
        try:
            return cls(keys[0], certificates[0], certificates[1])
        except (IdentityError, IntegrityError) as error:
            raise IntegrityError(error.message, where=str(path), remedy="remove it and enrol again") from error

    def save(self, directory: Path) -> None:
        """Replace the file as a whole, mode 0600: a reader sees the old one or the new one. Raises StorageError."""
        parts = (self.key_pem, self.certificate_pem, self.ca_pem)
        write_private(directory / _FILE, b"".join(part.rstrip() + b"\n" for part in parts))

    @property
    def spiffe_id(self) -> SpiffeId:
        return self.peer.spiffe_id

    @property
    def serial(self) -> int:
        """The certificate's serial number."""
        return self.peer.serial

    @property
    def not_before(self) -> float:
        """Seconds since the epoch."""
        return self.peer.not_before

    @property
    def not_after(self) -> float:
        """Seconds since the epoch."""
        return self.peer.not_after

    @property
    def ca_fingerprint(self) -> str:
        """SHA-256 of the CA certificate's DER, in hexadecimal."""
        return fingerprint(self.ca_pem)

    def expired(self, now: float) -> bool:
        return now > self.not_after

    def renew_at(self, jitter: float | None = None) -> float:
        """When to renew, in seconds since the epoch: 2/3 of life, give or take 5 % of life.

        `jitter` from 0 to 1 is drawn at random when not given: a fleet enrolled together does not renew together.
        """
        share = secrets.SystemRandom().random() if jitter is None else min(1.0, max(0.0, jitter))
        return self.not_before + (self.not_after - self.not_before) * (2 / 3 + (share - 0.5) / 10)


def new_identity(
    authority: Authority,
    spiffe_id: SpiffeId,
    lifetime_s: float,
    dns_names: Sequence[str] = (),
    ip: Sequence[str | IPv4Address | IPv6Address] = (),
) -> Identity:
    """A fresh key with its certificate, where the authority is at hand. Raises as `Authority.issue`."""
    key = new_key()
    certificate_pem = authority.issue(spiffe_id, key.public_key(), lifetime_s, dns_names, ip)
    return Identity(key_pem(key), certificate_pem, authority.ca_pem)


def make_csr(key: ec.EllipticCurvePrivateKey, spiffe_id: SpiffeId) -> bytes:
    """PKCS#10 request in DER (RFC 2986). The NOC takes only the key from it; the id is for whoever reads it."""
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(str(spiffe_id))])
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).add_extension(names, critical=True)
    return request.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)
