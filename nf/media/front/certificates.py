"""Certificates of a front: what may be installed, and where.

A file is named after what is in it, so that another one is another configuration, which Caddy then loads.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from nf.errors import RefusedError
from nf.media.front.documents import FrontSection
from nf.trust.files import write_private

_REMEDY = "write the chain, leaf first, and its key into the file of the secret, in PEM, with mode 0600"


@dataclass(frozen=True, slots=True)
class Certificate:
    """`names`: DNS names that it is for, perhaps `*.example.test`. Times in seconds since the epoch."""

    names: tuple[str, ...]
    not_before: float
    not_after: float

    def covers(self, host: str) -> bool:
        """RFC 9525 section 6.3: a wildcard stands for one whole label, the first."""
        return any(name == host or (name[:2] == "*." and name[2:] == host.partition(".")[2]) for name in self.names)


def read_certificate(pem: str, where: str) -> Certificate:
    """The leaf of `pem`, whose key must be with it. Raises RefusedError, which does not quote the text."""
    data = pem.encode()
    try:
        leaf = x509.load_pem_x509_certificates(data)[0]
        own = load_pem_private_key(data, None).public_key()
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, TypeError, IndexError, UnsupportedAlgorithm, x509.ExtensionNotFound):
        raise RefusedError("not a certificate with DNS names and its key", where=where, remedy=_REMEDY) from None
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if not hmac.compare_digest(own.public_bytes(*form), leaf.public_key().public_bytes(*form)):
        raise RefusedError("the key is not that of the first certificate", where=where, remedy=_REMEDY)
    return Certificate(
        tuple(name.lower() for name in names.get_values_for_type(x509.DNSName)),
        leaf.not_valid_before_utc.timestamp(),
        leaf.not_valid_after_utc.timestamp(),
    )


def resolve(section: FrontSection, secret: Callable[[str], str]) -> dict[str, str]:
    """Reference -> PEM. Raises what `secret` raises."""
    return {reference: secret(reference) for reference in section.certificates}


def check(section: FrontSection, pems: Mapping[str, str], now: float) -> None:
    """Every certificate is good and in time, and every host has one. Raises RefusedError."""
    found = {reference: read_certificate(pem, reference) for reference, pem in pems.items()}
    for reference, certificate in found.items():
        if not certificate.not_before <= now <= certificate.not_after:
            word = "over" if now > certificate.not_after else "not begun"
            raise RefusedError(f"its time is {word}", where=reference, remedy="renew it, or set the clock")
    for host in sorted({channel.host for channel in section.channels}):
        if not any(certificate.covers(host) for certificate in found.values()):
            known = ", ".join(sorted({name for one in found.values() for name in one.names}))
            remedy = "name one that has it among its DNS names (fleet, equipment, cdn-front)"
            raise RefusedError(f"no certificate is for {host}; there are {known}", where="cdn-front", remedy=remedy)


def file_name(pem: str) -> str:
    return f"{hashlib.sha256(pem.encode()).hexdigest()[:32]}.pem"


def install(directory: Path, pems: Mapping[str, str]) -> dict[str, str]:
    """Reference -> path, each file for root alone. Raises StorageError."""
    paths = {reference: directory / file_name(pem) for reference, pem in pems.items()}
    for reference, path in paths.items():
        if not path.exists():
            write_private(path, pems[reference].encode())
    return {reference: str(path) for reference, path in paths.items()}


def prune(directory: Path, keep: Mapping[str, str]) -> None:
    """Keys that nothing names any more do not stay."""
    for path in directory.glob("*.pem"):
        if str(path) not in keep.values():
            path.unlink(missing_ok=True)
