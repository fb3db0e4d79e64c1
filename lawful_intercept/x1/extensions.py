"""What an agency's handover is like, as an extension of X1's destinations and mediation details (Owner `StreamVerse`).

A foreign element reads past it by its owner. Keys never travel: their references do. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from lxml import etree

from lawful_intercept.x1 import xml
from lawful_intercept.x1.messages import Extension
from nf.errors import InputError

OWNER: Final = "StreamVerse"
NAMESPACE: Final = "urn:streamverse:li:x1:1"
_ROOT: Final = f"{{{NAMESPACE}}}handoverSettings"

_REFERENCE: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[!-~]{1,500}")


class TimeForm(Enum):
    """How a PS-PDU tells its time: microSecondTimeStamp or GeneralizedTime."""

    MICROSECONDS = "microseconds"
    GENERALIZED = "generalized"


class EncryptionAlgorithm(Enum):
    AES_192_CBC = "aes-192-cbc"
    AES_256_CBC = "aes-256-cbc"


class HashAlgorithm(Enum):
    SHA_1 = "sha-1"
    SHA_256 = "sha-256"
    SHA_384 = "sha-384"
    SHA_512 = "sha-512"


class SignatureAlgorithm(Enum):
    ECDSA = "ecdsa"
    EDDSA = "eddsa"


def check_reference(key: str) -> str:
    """A key is named, never carried: `file:PATH`, `pkcs11:...`. Raises InputError."""
    if _REFERENCE.fullmatch(key) is None:
        raise InputError("not a reference to a key", remedy="write file:PATH or pkcs11:URI")
    return key


@dataclass(frozen=True, slots=True, repr=False)
class Encryption:
    """Of PS-PDU payloads (TS 102 232-1). `key`: reference, read by mediation. Raises InputError."""

    algorithm: EncryptionAlgorithm
    key: str

    def __post_init__(self) -> None:
        check_reference(self.key)


@dataclass(frozen=True, slots=True, repr=False)
class Signature:
    """`hashes`, `after_ms`: a signature follows so many hash PDUs, or the first unsigned one so much later."""

    algorithm: SignatureAlgorithm
    key: str
    hashes: int = 15
    after_ms: int = 30_000

    def __post_init__(self) -> None:
        check_reference(self.key)
        _check_counts(self.hashes, self.after_ms)


@dataclass(frozen=True, slots=True, repr=False)
class Integrity:
    """`pdus`, `after_ms`: a hash follows so many PDUs, or the first unhashed one so much later. Raises InputError."""

    hash: HashAlgorithm = HashAlgorithm.SHA_256
    pdus: int = 1000
    after_ms: int = 1000
    signature: Signature | None = None

    def __post_init__(self) -> None:
        _check_counts(self.pdus, self.after_ms)


@dataclass(frozen=True, slots=True, repr=False)
class HandoverSettings:
    """How PS-PDUs for an agency are written and delivered. Countries: ISO 3166, two letters. Raises InputError.

    operator, element  operatorIdentifier, networkElementIdentifier ("" = none): at most 16 octets
    point              interceptionPointID, at most 8, "" = none
    domain_version     last arc of li-psDomainId
    hi2_port, hi3_port where HI2 and HI3 are delivered at the destination's address; 0 = at its port
    acknowledgements   pDUAcknowledgement is asked for when a connection opens
    keepalive_s        after so long in silence a keep-alive is sent, with `keepalive_liid`
    """

    authorisation_country: str
    delivery_country: str
    operator: str
    element: str = ""
    point: str = ""
    domain_version: int = 17
    time_form: TimeForm = TimeForm.MICROSECONDS
    encryption: Encryption | None = None
    integrity: Integrity | None = None
    acknowledgements: bool = False
    hi2_port: int = 0
    hi3_port: int = 0
    tls: bool = True
    keepalive_s: int = 300
    keepalive_liid: str = "-"

    def __post_init__(self) -> None:
        for country in (self.authorisation_country, self.delivery_country):
            _require(re.fullmatch(r"[A-Z]{2}", country), "a country code is not one", "two capital letters of ISO 3166")
        _require(
            re.fullmatch(r"[!-~]{1,16}", self.operator), "the operator identifier is not one", "1 to 16 characters"
        )
        _require(
            re.fullmatch(r"[!-~]{0,16}", self.element), "the element identifier is not one", "at most 16 characters"
        )
        _require(re.fullmatch(r"[A-Za-z0-9 '()+,./:=?-]{0,8}", self.point), "the point is not one", "at most 8 letters")
        _require(0 <= self.domain_version < 1 << 14, "the domain version is not one", "0 to 16383")
        for port in (self.hi2_port, self.hi3_port):
            _require(
                0 <= port <= 65535 and port != 1, "a handover port is not one", "2 to 65535; 0 = the destination's"
            )
        _require(1 <= self.keepalive_s <= 86_400, "the time between keep-alives is not one", "1 to 86400 seconds")
        _require(
            re.fullmatch(r"[!-~]{1,25}", self.keepalive_liid), "the keep-alives' LIID is not one", "1 to 25 characters"
        )


def _require(good: object, what: str, remedy: str) -> None:
    if not good:
        raise InputError(what, remedy=remedy)


def _check_counts(units: int, after_ms: int) -> None:
    _require(1 <= units <= 100_000, "the number between integrity checks is not one", "1 to 100000")
    _require(1 <= after_ms <= 3_600_000, "the time between integrity checks is not one", "1 to 3600000 milliseconds")


def handover_extension(settings: HandoverSettings) -> Extension:
    """For `DestinationDetails.extensions` and `MediationDetails.extensions`."""
    root = etree.Element(_ROOT, nsmap={None: NAMESPACE})
    _put(root, "authorisationCountry", settings.authorisation_country)
    _put(root, "deliveryCountry", settings.delivery_country)
    _put(root, "operator", settings.operator)
    _put(root, "element", settings.element)
    _put(root, "point", settings.point)
    _put(root, "domainVersion", str(settings.domain_version))
    _put(root, "timeForm", settings.time_form.value)
    if settings.encryption is not None:
        node = _put(root, "encryption")
        _put(node, "algorithm", settings.encryption.algorithm.value)
        _put(node, "keyReference", settings.encryption.key)
    if settings.integrity is not None:
        node = _put(root, "integrity")
        _put(node, "hash", settings.integrity.hash.value)
        _put(node, "pdus", str(settings.integrity.pdus))
        _put(node, "afterMilliseconds", str(settings.integrity.after_ms))
        if (signature := settings.integrity.signature) is not None:
            inner = _put(node, "signature")
            _put(inner, "algorithm", signature.algorithm.value)
            _put(inner, "keyReference", signature.key)
            _put(inner, "hashes", str(signature.hashes))
            _put(inner, "afterMilliseconds", str(signature.after_ms))
    _put(root, "acknowledgements", _boolean_text(settings.acknowledgements))
    _put(root, "hi2Port", str(settings.hi2_port))
    _put(root, "hi3Port", str(settings.hi3_port))
    _put(root, "tls", _boolean_text(settings.tls))
    _put(root, "keepaliveSeconds", str(settings.keepalive_s))
    _put(root, "keepaliveLiid", settings.keepalive_liid)
    return Extension(OWNER, (xml.canonical(root),))


def handover_of(extensions: Iterable[Extension]) -> HandoverSettings | None:
    """The settings among extensions, or None. Raises X1Fault (1010): more than one, or not readable as ours."""
    found = [each for each in extensions if each.owner == OWNER]
    if not found:
        return None
    if len(found) > 1 or len(found[0].content) != 1:
        raise xml.syntax("there are handover settings more than once, or none")
    root = xml.parse(found[0].content[0], xml.REQUEST_LIMIT)
    if root.tag != _ROOT:
        raise xml.syntax("an extension of this owner is not known")
    try:
        return _read(root)
    except InputError:
        raise xml.syntax("the handover settings are not valid") from None


def _read(root: etree._Element) -> HandoverSettings:
    reader = _Fields(root)
    settings = HandoverSettings(
        authorisation_country=reader.text("authorisationCountry"),
        delivery_country=reader.text("deliveryCountry"),
        operator=reader.text("operator"),
        element=reader.text("element"),
        point=reader.text("point"),
        domain_version=reader.number("domainVersion"),
        time_form=reader.value("timeForm", TimeForm),
        encryption=_read_encryption(reader),
        integrity=_read_integrity(reader),
        acknowledgements=reader.value("acknowledgements", xml.boolean),
        hi2_port=reader.number("hi2Port"),
        hi3_port=reader.number("hi3Port"),
        tls=reader.value("tls", xml.boolean),
        keepalive_s=reader.number("keepaliveSeconds"),
        keepalive_liid=reader.text("keepaliveLiid"),
    )
    reader.end()
    return settings


def _read_encryption(outer: _Fields) -> Encryption | None:
    node = outer.maybe("encryption", NAMESPACE)
    if node is None:
        return None
    reader = _Fields(node)
    encryption = Encryption(reader.value("algorithm", EncryptionAlgorithm), reader.text("keyReference"))
    reader.end()
    return encryption


def _read_integrity(outer: _Fields) -> Integrity | None:
    node = outer.maybe("integrity", NAMESPACE)
    if node is None:
        return None
    reader = _Fields(node)
    integrity = Integrity(
        reader.value("hash", HashAlgorithm),
        reader.number("pdus"),
        reader.number("afterMilliseconds"),
        _read_signature(reader),
    )
    reader.end()
    return integrity


def _read_signature(outer: _Fields) -> Signature | None:
    node = outer.maybe("signature", NAMESPACE)
    if node is None:
        return None
    reader = _Fields(node)
    signature = Signature(
        reader.value("algorithm", SignatureAlgorithm),
        reader.text("keyReference"),
        reader.number("hashes"),
        reader.number("afterMilliseconds"),
    )
    reader.end()
    return signature


class _Fields(xml.Reader):
    def value(self, name: str, read: Callable[[str], xml.T]) -> xml.T:
        return xml.value_of(self.one(name, NAMESPACE), read, exact=True)

    def text(self, name: str) -> str:
        return self.value(name, str)

    def number(self, name: str) -> int:
        return self.value(name, xml.natural)


def _put(parent: etree._Element, name: str, text: str | None = None) -> etree._Element:
    return xml.put(parent, name, text, NAMESPACE)


def _boolean_text(value: bool) -> str:
    return "true" if value else "false"
