"""Certificates of caches and fronts: what may be installed, and when one is about to end.

A certificate is a secret of the appliance: one file of PEM with the chain, leaf first, and the key of the leaf.
"""

from __future__ import annotations

import hmac
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from nf.errors import RefusedError
from nf.telemetry.alarms import AlarmEvent, Severity

EXPIRING_S = 7 * 86_400.0
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


def check(hosts: Iterable[str], pems: Mapping[str, str], now: float, part: str) -> None:
    """Every certificate is good and in time, and every host has one. `part`: of the equipment, which names them.

    Raises RefusedError.
    """
    found = {name: read_certificate(pem, f"certificate {name}") for name, pem in pems.items()}
    for name, certificate in found.items():
        if not certificate.not_before <= now <= certificate.not_after:
            word = "over" if now > certificate.not_after else "not begun"
            raise RefusedError(f"its time is {word}", where=f"certificate {name}", remedy="renew it, or set the clock")
    for host in sorted(set(hosts)):
        if not any(certificate.covers(host) for certificate in found.values()):
            known = ", ".join(sorted({name for one in found.values() for name in one.names}))
            remedy = "name one that has it among its DNS names"
            raise RefusedError(
                f"no certificate is for {host}; there are {known}", where=f"fleet, equipment, {part}", remedy=remedy
            )


def prune(directory: Path, keep: Collection[str]) -> None:
    """Keys that nothing names any more do not stay. `keep`: names of files."""
    for path in directory.glob("*.pem"):
        if path.name not in keep:
            path.unlink(missing_ok=True)


class CertificateWatch:
    """Alarm `cause` while a certificate that is served has less than EXPIRING_S left. Certificates are read again when
    their files have changed."""

    def __init__(self, cause: str, appliance: str) -> None:
        self._cause = cause
        self._appliance = appliance
        self._ends: dict[Path, tuple[float, float]] = {}
        self._said: dict[str, str] = {}

    def take(self, files: Mapping[str, Path], now: float) -> tuple[AlarmEvent, ...]:
        """`files`: reference -> what is served of it. Every state is said once, also the good one, so that what an
        earlier life of the agent raised is cleared."""
        events: list[AlarmEvent] = []
        for reference in sorted({*files, *self._said}):
            end = self._end(files[reference]) if reference in files else None
            text = _expiry(reference, end, now)
            if self._said.get(reference) == text:
                continue
            self._said[reference] = text
            severity = Severity.MAJOR if text else Severity.CLEARED
            remedy = "write the renewed one into the file of the secret: it is installed without a restart"
            events.append(AlarmEvent(self._cause, f"{self._appliance}/{reference}", severity, now, text, remedy))
        return tuple(events)

    def _end(self, path: Path) -> float | None:
        try:
            changed = path.stat().st_mtime
            known = self._ends.get(path)
            if known is None or known[0] != changed:
                known = changed, read_certificate(path.read_text(), path.name).not_after
                self._ends[path] = known
        except (OSError, ValueError, RefusedError):
            return None
        return known[1]


def _expiry(reference: str, end: float | None, now: float) -> str:
    """Worded by the day, so that it is not said anew all the time."""
    if end is None or end - now >= EXPIRING_S:
        return ""
    days = int((end - now) // 86_400)
    return (
        f"{reference} is over"
        if end <= now
        else f"{reference} is over in {days} days"
        if days
        else f"{reference} is over today"
    )
