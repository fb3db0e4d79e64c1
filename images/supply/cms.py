"""Signed data of CMS (RFC 5652 section 5) with one signer, as RAUC bundles and Authenticode carry it.

Everything is bound: what no signature covers must have the one value that it can have, so no bit of it may change.
"""

from __future__ import annotations

import hmac
import warnings
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.utils import CryptographyDeprecationWarning

from images.supply import der
from nf.errors import IntegrityError

DATA: Final = "1.2.840.113549.1.7.1"
SPC_INDIRECT_DATA: Final = "1.3.6.1.4.1.311.2.1.4"
_SIGNED_DATA: Final = "1.2.840.113549.1.7.2"
_CONTENT_TYPE: Final = "1.2.840.113549.1.9.3"
_MESSAGE_DIGEST: Final = "1.2.840.113549.1.9.4"
_RSA: Final = "1.2.840.113549.1.1.1"
_LEAST_RSA_BITS: Final = 2048
_DIGESTS: Final[dict[str, hashes.HashAlgorithm]] = {
    "2.16.840.1.101.3.4.2.1": hashes.SHA256(),
    "2.16.840.1.101.3.4.2.2": hashes.SHA384(),
    "2.16.840.1.101.3.4.2.3": hashes.SHA512(),
}
_SIGNATURES: Final = {
    "1.2.840.113549.1.1.11": "sha256",
    "1.2.840.113549.1.1.12": "sha384",
    "1.2.840.113549.1.1.13": "sha512",
    "1.2.840.10045.4.3.2": "sha256",
    "1.2.840.10045.4.3.3": "sha384",
    "1.2.840.10045.4.3.4": "sha512",
}


@dataclass(frozen=True, slots=True)
class Signed:
    """What was signed, and by whom. `content`: the octets that the digest covers."""

    content_type: str
    content: bytes
    signer: x509.Certificate


@dataclass(frozen=True, slots=True)
class _Parsed:
    content_type: str
    content: bytes
    certificates: tuple[x509.Certificate, ...]
    issuer: bytes
    serial: int
    digest: hashes.HashAlgorithm
    attributes: bytes | None
    algorithm: str
    signature: bytes


def verify(data: bytes, authority: x509.Certificate, *, where: str, valid_at: datetime | None = None) -> Signed:
    """Check the signature; its certificate must be `authority` or be issued by it.

    `valid_at`: the time at which both certificates must be valid; firmware does not look at it, RAUC does.
    Raises IntegrityError.
    """
    parsed = _parse(data, where)
    signer = _signer(parsed, authority, where)
    for certificate in (signer, authority):
        if valid_at is not None and not (
            certificate.not_valid_before_utc <= valid_at <= certificate.not_valid_after_utc
        ):
            raise IntegrityError(
                f"the certificate {certificate.subject.rfc4514_string()} is valid from "
                f"{certificate.not_valid_before_utc:%Y-%m-%d} to {certificate.not_valid_after_utc:%Y-%m-%d} only",
                where=where,
                remedy="sign it again with a valid certificate",
            )
    if parsed.attributes is None:
        covered = parsed.content
    else:
        _check_attributes(parsed, parsed.attributes, where)
        covered = der.encode(der.SET, parsed.attributes)  # RFC 5652 clause 5.4: as SET, not as [0]
    _check_signature(parsed, signer, covered, where)
    return Signed(parsed.content_type, parsed.content, signer)


def _parse(data: bytes, where: str) -> _Parsed:
    whole = der.Reader(data, where=where)
    outer = whole.enter(der.SEQUENCE)
    whole.end()
    if outer.oid() != _SIGNED_DATA:
        raise outer.refused("it holds no signed data")
    explicit = outer.enter(der.context(0))
    outer.end()
    signed = explicit.enter(der.SEQUENCE)
    explicit.end()
    # 1 for data and for all of Authenticode; other versions belong to what is not used here (RFC 5652 clause 5.1).
    if signed.integer() != 1:
        raise signed.refused("the version is not 1")
    digests = signed.enter(der.SET)
    named = digests.algorithm()
    digests.end()
    content_type, content = _content(signed)
    certificates = _certificates(signed, where)
    signers = signed.enter(der.SET)
    signed.end()
    signer = signers.enter(der.SEQUENCE)
    signers.end()
    if signer.integer() != 1:
        raise signer.refused("the version of its signer is not 1")
    identifier = signer.enter(der.SEQUENCE)
    issuer = identifier.take(der.SEQUENCE).raw
    serial = identifier.integer()
    identifier.end()
    digest = signer.algorithm()
    if digest != named or digest not in _DIGESTS:
        raise signer.refused(f"digest {digest} is not acceptable")
    # Without signed attributes the content itself is signed; RFC 5652 clause 5.3 allows that for plain data only.
    has_attributes = signer.next_tag() == der.context(0) or content_type != DATA
    attributes = signer.take(der.context(0)).value if has_attributes else None
    algorithm = signer.algorithm()
    signature = signer.take(der.OCTET_STRING).value
    signer.end()
    return _Parsed(
        content_type, content, certificates, issuer, serial, _DIGESTS[digest], attributes, algorithm, signature
    )


def _content(signed: der.Reader) -> tuple[str, bytes]:
    inside = signed.enter(der.SEQUENCE)
    content_type = inside.oid()
    explicit = inside.enter(der.context(0))
    inside.end()
    if content_type == DATA:
        content = explicit.take(der.OCTET_STRING).value
    elif content_type == SPC_INDIRECT_DATA:
        content = explicit.take(der.SEQUENCE).value  # PKCS#7: the digest leaves out tag and length
    else:
        raise inside.refused(f"content of type {content_type}")
    explicit.end()
    return content_type, content


def _certificates(signed: der.Reader, where: str) -> tuple[x509.Certificate, ...]:
    inside = signed.enter(der.context(0))
    found: list[x509.Certificate] = []
    while not inside.is_over:
        found.append(_certificate(inside.take(der.SEQUENCE).raw, where))
    return tuple(found)


def _certificate(raw: bytes, where: str) -> x509.Certificate:
    """Read whole: the library reads most of its fields only when they are asked for."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = x509.load_der_x509_certificate(raw)
            for name in (found.issuer, found.subject):
                name.public_bytes()
            _ = found.serial_number, found.not_valid_before_utc, found.not_valid_after_utc, found.public_key()
    except (ValueError, UnsupportedAlgorithm, CryptographyDeprecationWarning):
        raise IntegrityError("the signature holds a certificate that cannot be read", where=where) from None
    return found


def _signer(parsed: _Parsed, authority: x509.Certificate, where: str) -> x509.Certificate:
    strangers = [one for one in parsed.certificates if one != authority]
    if len(strangers) > 1 or len(parsed.certificates) > 2:
        raise IntegrityError("the signature holds certificates that nobody asked for", where=where)
    signer = strangers[0] if strangers else authority
    if signer.serial_number != parsed.serial or signer.issuer.public_bytes() != parsed.issuer:
        raise IntegrityError("the signature names a signer whose certificate it does not hold", where=where)
    if signer != authority:
        try:
            signer.verify_directly_issued_by(authority)
            is_issued = True
        except (ValueError, TypeError, InvalidSignature):
            is_issued = False
        if not is_issued:
            raise IntegrityError(
                f"signed by {signer.subject.rfc4514_string()}, not issued by {authority.subject.rfc4514_string()}",
                where=where,
                remedy="a foreign key signed it, or the keyring is another maker's",
            )
    return signer


def _check_attributes(parsed: _Parsed, attributes: bytes, where: str) -> None:
    reader = der.Reader(attributes, where=where)
    found: dict[str, der.Element] = {}
    while not reader.is_over:
        attribute = reader.enter(der.SEQUENCE)
        name = attribute.oid()
        if name in found:
            raise reader.refused("an attribute stands there twice")
        found[name] = attribute.take(der.SET)
        attribute.end()
    kind = der.encode(der.SET, _encode_oid(parsed.content_type))
    hasher = hashes.Hash(parsed.digest)
    hasher.update(parsed.content)
    digest = der.encode(der.SET, der.encode(der.OCTET_STRING, hasher.finalize()))
    if _CONTENT_TYPE not in found or not hmac.compare_digest(found[_CONTENT_TYPE].raw, kind):
        raise IntegrityError("the signature is about another kind of content", where=where)
    if _MESSAGE_DIGEST not in found or not hmac.compare_digest(found[_MESSAGE_DIGEST].raw, digest):
        raise IntegrityError("the signed content was altered", where=where)


def _check_signature(parsed: _Parsed, signer: x509.Certificate, covered: bytes, where: str) -> None:
    expected = parsed.digest.name if parsed.algorithm == _RSA else _SIGNATURES.get(parsed.algorithm)
    if expected != parsed.digest.name:
        raise IntegrityError(f"signature algorithm {parsed.algorithm} is not acceptable", where=where)
    key = signer.public_key()
    is_ecdsa = parsed.algorithm.startswith("1.2.840.10045.")
    try:
        if isinstance(key, rsa.RSAPublicKey) and not is_ecdsa and key.key_size >= _LEAST_RSA_BITS:
            key.verify(parsed.signature, covered, padding.PKCS1v15(), parsed.digest)
        elif isinstance(key, ec.EllipticCurvePublicKey) and is_ecdsa:
            key.verify(parsed.signature, covered, ec.ECDSA(parsed.digest))
        else:
            raise IntegrityError("its certificate has a kind of key that is not acceptable", where=where)
    except InvalidSignature:
        raise IntegrityError("the signature does not fit: it, or what it covers, was altered", where=where) from None


def _encode_oid(dotted: str) -> bytes:
    arcs = [int(arc) for arc in dotted.split(".")]
    value = bytearray()
    for arc in (arcs[0] * 40 + arcs[1], *arcs[2:]):
        octets = [arc & 0x7F]
        while arc := arc >> 7:
            octets.append(arc & 0x7F | 0x80)
        value += bytes(reversed(octets))
    return der.encode(der.OBJECT_IDENTIFIER, bytes(value))
