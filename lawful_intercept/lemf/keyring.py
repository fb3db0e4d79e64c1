"""Keys that the agency has: of encrypted payloads by LIID, and public ones of operators' signatures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final, Self

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from lawful_intercept.handover.decoder import PsPdu, decrypt
from lawful_intercept.handover.encryption import wipe
from lawful_intercept.handover.integrity import IntegrityCheck, PublicKey
from lawful_intercept.handover.reading import PduError
from lawful_intercept.identifiers import liid_octets
from lawful_intercept.keys import SecretKey, read_key
from lawful_intercept.lemf.settings import LemfSettings
from nf.errors import IntegrityError, NotFoundError

_PAYLOAD_OCTETS: Final = frozenset({24, 32})


class Keyring:
    """Keys stay in sealed memory; `close` overwrites them."""

    def __init__(self, payload: Mapping[bytes, SecretKey], signatures: Iterable[PublicKey]) -> None:
        self._payload, self._signatures = dict(payload), tuple(signatures)

    @classmethod
    def of(cls, settings: LemfSettings) -> Self:
        """May block. Raises what `keys.read_key` raises; IntegrityError, NotFoundError for a public key."""
        payload = {liid_octets(one.liid): read_key(one.key, _PAYLOAD_OCTETS) for one in settings.payload_keys}
        return cls(payload, [_public_key(path) for path in settings.signature_keys])

    def close(self) -> None:
        for key in self._payload.values():
            key.wipe()

    def opened(self, pdu: PsPdu) -> PsPdu:
        """In clear. Raises PduError when no key here opens it."""
        if pdu.encrypted is None:
            return pdu
        key = self._payload.get(pdu.liid)
        if key is None:
            raise PduError("is encrypted, and there is no key for its LIID")
        with key.opened() as view:
            octets = bytearray(view)
        try:
            return decrypt(pdu, octets)
        finally:
            wipe(octets)

    def knows_signer(self, check: IntegrityCheck) -> bool | None:
        """Whether one of the keys signed it; None where there are no keys."""
        if not self._signatures:
            return None
        return any(check.is_signed_by(key) for key in self._signatures)


def _public_key(path: Path) -> PublicKey:
    try:
        key = load_pem_public_key(path.read_bytes())
    except OSError:
        raise NotFoundError("a public key is not there", where=str(path)) from None
    except ValueError:
        key = None
    if not isinstance(key, EllipticCurvePublicKey | Ed25519PublicKey | Ed448PublicKey):
        raise IntegrityError("not a public key that signatures are checked with", where=str(path), remedy="write PEM")
    return key
