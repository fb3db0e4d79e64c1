"""Certificates of an edge: what may be installed, what is, and which one is served.

A certificate is a secret of the appliance: one file of PEM with the chain, leaf first, and the key of the leaf.
"""

from __future__ import annotations

import asyncio
import hmac
import os
import shutil
import socket
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from nf.errors import DriverError, NfError, RefusedError
from nf.media.documents import EdgeSection
from nf.media.edge.render import GROUP, USER, certificate_file
from nf.trust.files import write_private

_HANDSHAKE_TIMEOUT_S = 2.0
_REMEDY = "write the chain, leaf first, and its key into the file of the secret, in PEM, with mode 0600"


@dataclass(frozen=True, slots=True)
class Certificate:
    """`names`: DNS names that it is for, perhaps `*.example.test`. Times in seconds since the epoch."""

    names: tuple[str, ...]
    der: bytes
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
        leaf.public_bytes(Encoding.DER),
        leaf.not_valid_before_utc.timestamp(),
        leaf.not_valid_after_utc.timestamp(),
    )


def resolve(section: EdgeSection, secret: Callable[[str], str]) -> dict[str, str]:
    """File name -> PEM of every certificate that the section names. Raises what `secret` raises."""
    references = section.tls.certificates if section.tls is not None else ()
    return {certificate_file(reference): secret(reference) for reference in references}


def check(section: EdgeSection, pems: Mapping[str, str], now: float) -> None:
    """Every certificate is good and in time, and every host has one. Raises RefusedError."""
    found = {name: read_certificate(pem, f"certificate {name}") for name, pem in pems.items()}
    for name, certificate in found.items():
        if not certificate.not_before <= now <= certificate.not_after:
            word = "over" if now > certificate.not_after else "not begun"
            raise RefusedError(f"its time is {word}", where=f"certificate {name}", remedy="renew it, or set the clock")
    if section.tls is None:
        return
    for host in sorted({channel.host for channel in section.channels}):
        if not any(certificate.covers(host) for certificate in found.values()):
            known = ", ".join(sorted({name for one in found.values() for name in one.names}))
            remedy = "name one that has it among its DNS names (fleet, equipment, cdn)"
            raise RefusedError(f"no certificate is for {host}; there are {known}", where="cdn-edge", remedy=remedy)


def install(directory: Path, pems: Mapping[str, str]) -> bool:
    """Write what differs, for Traffic Server's user alone; whether anything did. Raises DriverError."""
    changed = False
    try:
        for name, pem in pems.items():
            path = directory / name
            if installed(path) != pem:
                write_private(path, pem.encode())
                shutil.chown(path, USER, GROUP)
                changed = True
    except (LookupError, OSError, NfError) as error:
        raise DriverError(f"cannot write {directory}: {error}") from error
    return changed


def prune(directory: Path, keep: frozenset[str]) -> None:
    """Keys that nothing names any more do not stay."""
    for path in directory.glob("*.pem"):
        if path.name not in keep:
            path.unlink(missing_ok=True)


def installed(path: Path) -> str | None:
    try:
        return path.read_text()
    except (OSError, ValueError):
        return None


def touch(path: Path, at: float) -> None:
    """Make a reload read it again: Traffic Server tells a new file by its time of change, in whole seconds."""
    changed = max(at, path.stat().st_mtime + 1.0)
    os.utime(path, (changed, changed))


async def served(address: str, port: int, name: str) -> bytes | None:
    """DER of the certificate that a client gets who asks for `name`; None when there is no handshake."""
    return await asyncio.to_thread(_served, address, port, name)


def _served(address: str, port: int, name: str) -> bytes | None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # it is compared, octet for octet, with the one that was installed
    context.verify_mode = ssl.CERT_NONE
    try:
        with (
            socket.create_connection((address, port), _HANDSHAKE_TIMEOUT_S) as raw,
            context.wrap_socket(raw, server_hostname=name) as secured,
        ):
            return secured.getpeercert(binary_form=True)
    except (OSError, ValueError):
        return None


async def unserved(section: EdgeSection, directory: Path) -> tuple[str, ...]:
    """The installed certificates that a client who asks for one of their names does not get."""
    missing = []
    references = section.tls.certificates if section.tls is not None else ()
    for reference in references:
        name = certificate_file(reference)
        pem = installed(directory / name)
        try:
            certificate = read_certificate(pem or "", name)
        except RefusedError:
            missing.append(reference)
            continue
        asked = next((n.replace("*", "any", 1) for n in certificate.names), "")
        port = section.tls.port if section.tls is not None else 443
        if await served(str(section.listen[0]), port, asked) != certificate.der:
            missing.append(reference)
    return tuple(missing)
