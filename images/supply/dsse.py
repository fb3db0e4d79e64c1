"""Dead Simple Signing Envelope (secure-systems-lab/dsse, protocol 1.0.2): JSON around a signed payload, Ed25519."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric import ed25519

from images.supply import strict_json
from images.supply.keyring import key_id, require_signature
from nf.errors import IntegrityError

Sign = Callable[[bytes], bytes]
"""The private half: from data to 64 octets."""

_KEYS: Final = {"payload", "payloadType", "signatures"}


def pre_authentication(payload_type: str, payload: bytes) -> bytes:
    """PAE: what is signed in place of the payload alone, so that its type is signed too."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def seal(payload_type: str, payload: bytes, *, sign: Sign, public: ed25519.Ed25519PublicKey) -> bytes:
    """The envelope, in the one form that `open_sealed` takes."""
    return _encode(payload_type, payload, key_id(public), sign(pre_authentication(payload_type, payload)))


def open_sealed(data: bytes, payload_type: str, public: ed25519.Ed25519PublicKey, *, where: str) -> bytes:
    """The payload, once it was found that `public` signed it as `payload_type`.

    Stricter than the protocol: one signature, and no octet may be other than `seal` writes it.
    Raises IntegrityError.
    """
    raw = strict_json.loads(data, where=where)
    try:
        payload, signature = _base64(raw["payload"]), raw["signatures"][0]
        signed, key = _base64(signature["sig"]), signature["keyid"]
    except (KeyError, IndexError, TypeError, ValueError):
        raise IntegrityError("it is no signed envelope", where=where) from None
    if raw.get("payloadType") != payload_type:
        raise IntegrityError(f"it holds no {payload_type}", where=where)
    if key != key_id(public):
        raise IntegrityError(
            "another key signed it", where=where, remedy="the keyring is that of another maker, or it was replaced"
        )
    require_signature(public, signed, pre_authentication(payload_type, payload), where=where)
    if data != _encode(payload_type, payload, key_id(public), signed) or raw.keys() != _KEYS:
        raise IntegrityError("octets around the signed part were altered", where=where)
    return payload


def _encode(payload_type: str, payload: bytes, key: str, signature: bytes) -> bytes:
    return strict_json.pretty(
        {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": payload_type,
            "signatures": [{"keyid": key, "sig": base64.b64encode(signature).decode()}],
        }
    )


def _base64(text: Any) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise ValueError(text) from None
