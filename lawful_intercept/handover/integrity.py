"""Integrity of what is handed over: hashes of PS-PDUs and signatures of hashes (ETSI TS 102 232-1 clause 7.2). Sans-IO.

A hash is over whole PS-PDUs as they were sent, one after another in the order of `includedSequenceNumbers`, of one
LIID, CIN and type (IRI or CC). A signature is over an encoded integrityCheck that names the hash PDUs' numbers and has
an empty checkValue, and stands in the same structure then. Sources differ on it: agree on it with the agency.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePrivateKey, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PrivateKey, Ed448PublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from lawful_intercept.handover.ber import integer, tlv
from lawful_intercept.handover.decoder import PsPdu, Tri
from lawful_intercept.handover.reading import PduError, elements, fields, need, unsigned
from lawful_intercept.handover.tri import information
from lawful_intercept.handover.values import MOST, DataType, Header, Qualifier, check_cin

NS: Final = 1_000_000_000
MOST_INCLUDED: Final = 100_000
"""Numbers that one check may name; what is read beyond it is refused."""
PrivateKey = EllipticCurvePrivateKey | Ed25519PrivateKey | Ed448PrivateKey
PublicKey = EllipticCurvePublicKey | Ed25519PublicKey | Ed448PublicKey


class CheckType(IntEnum):
    HASH = 1
    SIGNATURE = 2


class HashAlgorithm(IntEnum):
    """SHA-1 is for old agencies only."""

    SHA_1 = 1
    SHA_256 = 2
    SHA_384 = 3
    SHA_512 = 4


class SignatureAlgorithm(IntEnum):
    DSA = 1
    ECDSA = 2
    EDDSA = 3


_HASHES: Final = {
    HashAlgorithm.SHA_1: "sha1",
    HashAlgorithm.SHA_256: "sha256",
    HashAlgorithm.SHA_384: "sha384",
    HashAlgorithm.SHA_512: "sha512",
}


class Signer(Protocol):
    """A key that signs, wherever it is kept."""

    @property
    def algorithm(self) -> SignatureAlgorithm: ...

    def sign(self, octets: bytes) -> bytes:
        """ECDSA: with SHA-256, a DER structure (RFC 3279 clause 2.2.3)."""
        ...


class KeySigner:
    """With a key in memory."""

    def __init__(self, key: PrivateKey) -> None:
        self._key = key

    @property
    def algorithm(self) -> SignatureAlgorithm:
        elliptic = isinstance(self._key, EllipticCurvePrivateKey)
        return SignatureAlgorithm.ECDSA if elliptic else SignatureAlgorithm.EDDSA

    def sign(self, octets: bytes) -> bytes:
        if isinstance(self._key, EllipticCurvePrivateKey):
            return self._key.sign(octets, ECDSA(hashes.SHA256()))
        return self._key.sign(octets)


@dataclass(frozen=True, slots=True, repr=False)
class IntegrityCheck:
    """`numbers`: the PDUs' sequence numbers in the order in which they were hashed, or hash PDUs' numbers."""

    numbers: tuple[int, ...]
    check_type: CheckType
    data_type: DataType
    value: bytes
    hash_algorithm: HashAlgorithm | None = None
    signature_algorithm: SignatureAlgorithm | None = None

    def contents(self, value: bytes | None = None) -> bytes:
        """Encoded, without its tag; with another checkValue when one is given."""
        algorithm, signature = self.hash_algorithm, self.signature_algorithm
        return b"".join(
            (
                tlv(0xA0, *(integer(0x02, number) for number in self.numbers)),
                integer(0x81, self.check_type),
                integer(0x82, self.data_type),
                tlv(0x83, self.value if value is None else value),
                b"" if algorithm is None else integer(0x84, algorithm),
                b"" if signature is None else integer(0x85, signature),
            )
        )

    def signed_octets(self) -> bytes:
        """What a signature is over."""
        return tlv(Tri.INTEGRITY_CHECK.value, self.contents(b""))

    def is_hash_of(self, pdus: Sequence[bytes]) -> bool:
        """Whether it is the hash of these PS-PDUs in this order; SHA-256 where it does not say which."""
        digest = hashlib.new(_HASHES[self.hash_algorithm or HashAlgorithm.SHA_256], usedforsecurity=False)
        for pdu in pdus:
            digest.update(pdu)
        return digest.digest() == self.value

    def is_signed_by(self, key: PublicKey) -> bool:
        try:
            if isinstance(key, EllipticCurvePublicKey):
                key.verify(self.value, self.signed_octets(), ECDSA(hashes.SHA256()))
            else:
                key.verify(self.value, self.signed_octets())
        except InvalidSignature:
            return False
        return True


def read_check(pdu: PsPdu) -> IntegrityCheck:
    """Of a PDU whose `tri` is INTEGRITY_CHECK. Raises PduError."""
    found = fields(pdu.tri_octets)
    numbers = [one.contents for one in elements(need(found, 0xA0))]
    if len(numbers) > MOST_INCLUDED:
        raise PduError("names more numbers than a check may")
    try:
        return IntegrityCheck(
            tuple(unsigned(one, MOST) for one in numbers),
            CheckType(unsigned(need(found, 0x81), 255)),
            DataType(unsigned(need(found, 0x82), 255)),
            need(found, 0x83),
            HashAlgorithm(unsigned(found[0x84], 255)) if 0x84 in found else None,
            SignatureAlgorithm(unsigned(found[0x85], 255)) if 0x85 in found else None,
        )
    except ValueError as error:
        raise PduError("has an integrity check of a kind that is not known here") from error


@dataclass(frozen=True, slots=True)
class Rhythm:
    """When a hash is due (so many PDUs, or so long after the first), and a signature (so many hashes, or so long)."""

    hash_pdus: int = 1000
    hash_ns: int = NS
    signature_hashes: int = 15
    signature_ns: int = 30 * NS


class IntegrityStream:
    """Checks of one LIID, CIN and type. Hash and signature PDUs have a counter each, kept over restarts by the caller.

    What `add`, `due` and `close` return has to be sent after the PDU that was given, in this order.
    """

    def __init__(
        self,
        header: Header,
        cin: int,
        kind: DataType,
        *,
        algorithm: HashAlgorithm = HashAlgorithm.SHA_256,
        signer: Signer | None = None,
        rhythm: Rhythm | None = None,
        first_hash: int = 1,
        first_signature: int = 1,
        unsigned: Sequence[int] = (),
        qualifier: Qualifier = Qualifier.MEDIATION,
    ) -> None:
        """No signatures without `signer`. `unsigned`: hash PDUs of before a restart that no signature named yet.

        Raises InputError.
        """
        self._header, self._cin, self._kind = header, check_cin(cin), kind
        self._algorithm, self._signer, self._rhythm = algorithm, signer, rhythm or Rhythm()
        self._qualifier = qualifier
        self.next_hash, self.next_signature = first_hash, first_signature
        self._digest = hashlib.new(_HASHES[algorithm], usedforsecurity=False)
        self._numbers: list[int] = []
        self._hashes: list[int] = [*unsigned] if signer is not None else []
        self._hash_due: int | None = None
        self._signature_due: int | None = 0 if self._hashes else None

    def add(self, sequence: int, pdu: bytes, now_ns: int) -> list[bytes]:
        """A PDU of this stream is sent: which checks follow it."""
        self._digest.update(pdu)
        self._numbers.append(sequence)
        if self._hash_due is None:
            self._hash_due = now_ns + self._rhythm.hash_ns
        return self.due(now_ns)

    @property
    def next_due_ns(self) -> int | None:
        """When `due` has something to say, if nothing is added before."""
        return min((at for at in (self._hash_due, self._signature_due) if at is not None), default=None)

    def due(self, now_ns: int) -> list[bytes]:
        rhythm, made = self._rhythm, list[bytes]()
        if self._numbers and (len(self._numbers) >= rhythm.hash_pdus or now_ns >= (self._hash_due or 0)):
            made.append(self._hash(now_ns))
        if self._hashes and (len(self._hashes) >= rhythm.signature_hashes or now_ns >= (self._signature_due or 0)):
            made.append(self._signature(now_ns))
        return made

    def close(self, now_ns: int) -> list[bytes]:
        """Nothing more comes: what is not hashed or signed is now."""
        made = [self._hash(now_ns)] if self._numbers else []
        return [*made, self._signature(now_ns)] if self._hashes else made

    def _hash(self, now_ns: int) -> bytes:
        check = IntegrityCheck(
            tuple(self._numbers), CheckType.HASH, self._kind, self._digest.digest(), hash_algorithm=self._algorithm
        )
        self._digest = hashlib.new(_HASHES[self._algorithm], usedforsecurity=False)
        self._numbers, self._hash_due = [], None
        number, self.next_hash = self.next_hash, (self.next_hash + 1) & MOST
        if self._signer is not None:
            self._hashes.append(number)
            if self._signature_due is None:
                self._signature_due = now_ns + self._rhythm.signature_ns
        return self._pdu(number, now_ns, check.contents())

    def _signature(self, now_ns: int) -> bytes:
        assert self._signer is not None  # noqa: S101 - hashes are kept for a signer only
        check = IntegrityCheck(
            tuple(self._hashes), CheckType.SIGNATURE, self._kind, b"", signature_algorithm=self._signer.algorithm
        )
        self._hashes, self._signature_due = [], None
        number, self.next_signature = self.next_signature, (self.next_signature + 1) & MOST
        return self._pdu(number, now_ns, check.contents(self._signer.sign(check.signed_octets())))

    def _pdu(self, number: int, now_ns: int, contents: bytes) -> bytes:
        return information(
            self._header, self._cin, number, now_ns, Tri.INTEGRITY_CHECK, contents, qualifier=self._qualifier
        )
