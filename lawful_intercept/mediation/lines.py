"""From a product to PS-PDUs: what is the same for all of a product, and one stream of it in one session.

`Outlet` holds header, payload key and integrity settings of a product; `Line` numbers and encodes one (LIID, CIN, IRI
or CC) of it, and puts integrity checks behind what they cover.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, Protocol

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from lawful_intercept.handover.encryption import KEY_OCTETS, Algorithm, PayloadCipher
from lawful_intercept.handover.integrity import HashAlgorithm, IntegrityStream, KeySigner, Rhythm, Signer
from lawful_intercept.handover.ps_pdu import CcKind, CcTemplate, IriTemplate
from lawful_intercept.handover.values import Header, Qualifier
from lawful_intercept.keys import read_key
from lawful_intercept.mediation.correlation import Correlated, Counter, Sessions
from lawful_intercept.mediation.products import Product
from lawful_intercept.x1 import extensions as x1
from nf.errors import InputError
from nf.trust.files import read_private

_U32: Final = 0xFFFFFFFF
_ALGORITHMS: Final = {
    x1.EncryptionAlgorithm.AES_192_CBC: Algorithm.AES_192_CBC,
    x1.EncryptionAlgorithm.AES_256_CBC: Algorithm.AES_256_CBC,
}
_HASHES: Final = {
    x1.HashAlgorithm.SHA_1: HashAlgorithm.SHA_1,
    x1.HashAlgorithm.SHA_256: HashAlgorithm.SHA_256,
    x1.HashAlgorithm.SHA_384: HashAlgorithm.SHA_384,
    x1.HashAlgorithm.SHA_512: HashAlgorithm.SHA_512,
}
HASH, SIGNATURE, SIGNED = 10, 20, 30
"""Added to a data type: counters of integrity checks, and of the first hash that is not signed yet."""


class Staging(Protocol):
    """Where PS-PDUs of one spool wait for the next group (`journal.Outbox`)."""

    @property
    def staged(self) -> list[bytes]:
        """For ever the same list."""

    def stage(self, octets: bytes) -> int:
        """Adds one; its number in the spool."""


class Secrets:
    """Payload keys and signing keys of one LIID at one destination. Reading them may block."""

    def __init__(self, settings: x1.HandoverSettings, started_s: int) -> None:
        """Raises NfError of any kind when a key cannot be had, or is of another kind than the settings say."""
        self.cipher: PayloadCipher | None = None
        self.signer: Signer | None = None
        if settings.encryption is not None:
            algorithm = _ALGORITHMS[settings.encryption.algorithm]
            with read_key(settings.encryption.key, frozenset({KEY_OCTETS[algorithm]})) as key, key.opened() as octets:
                copy = bytearray(octets)
                self.cipher = PayloadCipher(copy, algorithm, started_s)
                copy[:] = bytes(len(copy))
        if settings.integrity is not None and settings.integrity.signature is not None:
            self.signer = _signer(settings.integrity.signature)

    def close(self) -> None:
        if self.cipher is not None:
            self.cipher.close()


def _signer(settings: x1.Signature) -> Signer:
    """Raises NfError."""
    scheme, _, path = settings.key.partition(":")
    if scheme != "file":
        raise InputError("a signing key is a file", remedy="write file:PATH of a PEM file")
    try:
        key = load_pem_private_key(read_private(Path(path), "a signing key"), None)
    except (ValueError, TypeError):
        raise InputError("a signing key cannot be read", remedy="write PEM (PKCS #8) without a passphrase") from None
    if settings.algorithm is x1.SignatureAlgorithm.ECDSA and isinstance(key, EllipticCurvePrivateKey):
        return KeySigner(key)
    if settings.algorithm is x1.SignatureAlgorithm.EDDSA and isinstance(key, Ed25519PrivateKey | Ed448PrivateKey):
        return KeySigner(key)
    raise InputError("a signing key is of another kind than its algorithm", remedy="use ecdsa or eddsa")


class Outlet:
    """Of one product. `secrets`: None, or shared by the IRI and the CC of its LIID at this destination."""

    def __init__(self, product: Product, secrets: Secrets) -> None:
        """Raises InputError for settings that no PS-PDU can have."""
        self.product = product
        self.header: Header = product.header()
        self.secrets = secrets

    def integrity(self, session: Correlated, sessions: Sessions) -> IntegrityStream | None:
        settings = self.product.settings.integrity
        if settings is None:
            return None
        signature = settings.signature
        rhythm = Rhythm(settings.pdus, settings.after_ms * 1_000_000)
        if signature is not None:
            rhythm = Rhythm(rhythm.hash_pdus, rhythm.hash_ns, signature.hashes, signature.after_ms * 1_000_000)
        hashed, signed, unsigned = (self.number(session, sessions, extra).value for extra in (HASH, SIGNATURE, SIGNED))
        return IntegrityStream(
            self.header,
            session.cin,
            self.product.kind,
            algorithm=_HASHES[settings.hash],
            signer=self.secrets.signer,
            rhythm=rhythm,
            first_hash=(hashed or 1) & _U32,
            first_signature=(signed or 1) & _U32,
            unsigned=[number & _U32 for number in range(unsigned or 1, hashed or 1)],
        )

    def unsigned(self, session: Correlated) -> bool:
        """Whether there are hashes of it that no signature covers."""
        liid, did, kind = self.product.stream
        hashed, signed = (session.numbers.get((liid, did, kind + extra)) for extra in (HASH, SIGNED))
        return (
            self.secrets.signer is not None
            and hashed is not None
            and hashed.value > (signed.value or 1 if signed else 1)
        )

    def number(self, session: Correlated, sessions: Sessions, extra: int = 0) -> Counter:
        liid, did, kind = self.product.stream
        return sessions.number(session, liid, did, kind + extra)


class Line:
    """One stream in one session: numbers, encodes and checks what is handed over, in order."""

    def __init__(
        self,
        outlet: Outlet,
        session: Correlated,
        sessions: Sessions,
        changed: set[Counter],
        staging: Staging,
    ) -> None:
        """`staging`: of the product's spool."""
        self.product = outlet.product
        self.cin = session.cin
        self.label = f"{self.product.did}/{int(self.product.kind)}"
        self.unhashed: int | None = None
        """The first record of the spool that no integrity check covers yet."""
        self._outlet = outlet
        self._changed = changed
        self._staging = staging
        self.counter = outlet.number(session, sessions)
        self._cc: dict[tuple[CcKind, Qualifier], CcTemplate] = {}
        self._iri: IriTemplate | None = None
        self._integrity = outlet.integrity(session, sessions)
        self.staged = staging.staged if self._integrity is None else None
        """Takes a PDU as `put` does, whose number the caller counts: for what no integrity check follows."""
        if self._integrity is not None:
            self._hashed, self._signed, self._unsigned = (
                outlet.number(session, sessions, extra) for extra in (HASH, SIGNATURE, SIGNED)
            )

    def content(self, kind: CcKind, qualifier: Qualifier) -> CcTemplate:
        found = self._cc.get((kind, qualifier))
        if found is None:
            secrets = self._outlet.secrets
            found = self._cc[kind, qualifier] = CcTemplate(
                self._outlet.header, self.cin, kind, qualifier=qualifier, cipher=secrets.cipher
            )
        return found

    def signalling(self) -> IriTemplate:
        if self._iri is None:
            self._iri = IriTemplate(self._outlet.header, self.cin, cipher=self._outlet.secrets.cipher)
        return self._iri

    @property
    def sequence(self) -> int:
        """Of what is put next."""
        return self.counter.value & _U32

    def put(self, pdu: bytes, now_ns: int) -> None:
        """A PDU that was encoded with `sequence`."""
        counter = self.counter
        counter.value += 1
        self._changed.add(counter)
        number = self._staging.stage(pdu)
        if self._integrity is not None:
            if self.unhashed is None:
                self.unhashed = number
            self._check(self._integrity.add((counter.value - 1) & _U32, pdu, now_ns))

    def again(self, sequence: int, pdu: bytes, number: int, now_ns: int) -> None:
        """A PDU of before a restart that no check covers: it is in the spool already."""
        if self._integrity is not None:
            if self.unhashed is None:
                self.unhashed = number
            self._check(self._integrity.add(sequence, pdu, now_ns))

    def due(self, now_ns: int) -> None:
        """Checks whose time has come."""
        if self._integrity is not None:
            self._check(self._integrity.due(now_ns))

    def close(self, now_ns: int) -> None:
        """Nothing more is put: all of it is checked."""
        if self._integrity is not None:
            self._check(self._integrity.close(now_ns))

    @property
    def next_due_ns(self) -> int | None:
        return None if self._integrity is None else self._integrity.next_due_ns

    def _check(self, pdus: list[bytes]) -> None:
        if not pdus or self._integrity is None:
            return
        for pdu in pdus:
            self._staging.stage(pdu)
        hashed, signed = self._integrity.next_hash, self._integrity.next_signature
        if hashed != self._hashed.value:
            self.unhashed = None
        if signed != self._signed.value and signed > 1:
            self._unsigned.value = hashed
        self._hashed.value, self._signed.value = hashed, signed
        self._changed |= {self._hashed, self._signed, self._unsigned}
