"""The certificate of a proxy's TLS listeners: checked before it is used, or made where none is named."""

from __future__ import annotations

import ssl
import tempfile
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from nf.errors import RefusedError

OWN: Final = "StreamVerse NF proxy"
_DAYS: Final = 3650


def checked(pem: str, where: str) -> str:
    """The same text, if it is a certificate with its private key. Raises RefusedError, which does not quote it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
            file.write(pem)
            file.flush()
            context.load_cert_chain(file.name)
    except (ssl.SSLError, ValueError):
        remedy = "write the certificate, its chain and its private key into it, in PEM, in this order"
        raise RefusedError("no certificate with its private key", where=where, remedy=remedy) from None
    return pem


def is_own(pem: str) -> bool:
    """Made by `self_signed`, and good for a month at least."""
    try:
        found = x509.load_pem_x509_certificate(pem.encode())
    except ValueError:
        return False
    names = found.issuer.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    soon = datetime.now(UTC) + timedelta(days=30)
    return any(name.value == OWN for name in names) and found.not_valid_after_utc > soon


def self_signed(names: Iterable[str]) -> str:
    """Certificate and key, P-256. `names`: addresses and domains that it is good for."""
    key = ec.generate_private_key(ec.SECP256R1())
    alternatives = [_alternative(name) for name in names]
    subject = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, OWN)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=_DAYS))
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return (made.public_bytes(serialization.Encoding.PEM) + private).decode()


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(IPv4Address(name))
    except ValueError:
        return x509.DNSName(name)
