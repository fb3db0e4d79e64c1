"""Notifications as senders of every kind make them, the forged ones too: USM by hand (RFC 3414, 3826, 7860)."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence

from cryptography.hazmat.decrepit.ciphers.modes import CFB
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms

from headend.snmp.ber import OCTETS, SEQUENCE, element, integer
from headend.snmp.header import INFORM, TRAP_V1, TRAP_V2
from headend.snmp.target import Usm

TRAP_OID = "1.3.6.1.6.3.1.1.5.3"  # linkDown
_DIGEST = 24  # octets of HMAC-SHA-256 that are sent


def oid(text: str) -> bytes:
    first, second, *rest = map(int, text.split("."))
    octets = bytearray([first * 40 + second])
    for number in rest:
        septets = [number & 0x7F]
        while number := number >> 7:
            septets.append(number & 0x7F | 0x80)
        octets += bytes(reversed(septets))
    return element(0x06, bytes(octets))


def bindings(pairs: Sequence[tuple[str, bytes]]) -> bytes:
    return element(SEQUENCE, *(element(SEQUENCE, oid(name), value) for name, value in pairs))


def _pdu(trap_oid: str, *, inform: bool, number: int, text: bytes) -> bytes:
    pairs = [
        ("1.3.6.1.2.1.1.3.0", element(0x43, b"\x01")),
        ("1.3.6.1.6.3.1.1.4.1.0", oid(trap_oid)),
        ("1.3.6.1.2.1.2.2.1.1.2", integer(number)),
        ("1.3.6.1.2.1.31.1.1.1.18.2", element(OCTETS, text)),
    ]
    zero = integer(0)
    return element(INFORM if inform else TRAP_V2, integer(number), zero, zero, bindings(pairs))


def trap_v2c(community: str, trap_oid: str, *, inform: bool = False, number: int = 1, text: bytes = b"eth2") -> bytes:
    pdu = _pdu(trap_oid, inform=inform, number=number, text=text)
    return element(SEQUENCE, integer(1), element(OCTETS, community.encode()), pdu)


def trap_v1(community: str) -> bytes:
    """linkDown, generic trap 2."""
    address, ticks = element(0x40, bytes([10, 1, 1, 33])), element(0x43, b"\x01")
    pairs = bindings([("1.3.6.1.2.1.2.2.1.1.2", integer(2))])
    pdu = element(TRAP_V1, oid("1.3.6.1.4.1.1070"), address, integer(2), integer(0), ticks, pairs)
    return element(SEQUENCE, integer(0), element(OCTETS, community.encode()), pdu)


def localised(password: str, engine_id: bytes) -> bytes:
    """RFC 3414 A.2 with SHA-256."""
    repeated = (password.encode() * (1_048_576 // len(password) + 1))[:1_048_576]
    master = hashlib.sha256(repeated).digest()
    return hashlib.sha256(master + engine_id + master).digest()


def trap_v3(
    engine_id: bytes,
    usm: Usm,
    *,
    boots: int,
    time_s: int,
    encrypt: bool = True,
    authenticate: bool = True,
    number: int = 1,
    flags: int | None = None,
) -> bytes:
    """A TRAP of an SNMPv3 engine; `flags` lies about what was done."""
    scoped = element(
        SEQUENCE,
        element(OCTETS, engine_id),
        element(OCTETS),
        _pdu(TRAP_OID, inform=False, number=number, text=b"eth2"),
    )
    encrypt = encrypt and authenticate
    salt = number.to_bytes(8, "big") if encrypt else b""
    body = scoped
    if encrypt:
        key = localised(usm.privacy_key.get_secret_value(), engine_id)[:16]
        vector = boots.to_bytes(4, "big") + time_s.to_bytes(4, "big") + salt
        cipher = Cipher(algorithms.AES(key), CFB(vector)).encryptor()
        body = element(OCTETS, cipher.update(scoped) + cipher.finalize())
    level = authenticate | encrypt << 1 if flags is None else flags

    def message(digest: bytes) -> bytes:
        parameters = (
            element(OCTETS, engine_id),
            integer(boots),
            integer(time_s),
            element(OCTETS, usm.user.encode()),
            element(OCTETS, digest),
            element(OCTETS, salt),
        )
        security = element(OCTETS, element(SEQUENCE, *parameters))
        head = element(SEQUENCE, integer(number), integer(65_507), element(OCTETS, bytes([level])), integer(3))
        return element(SEQUENCE, integer(3), head, security, body)

    if not authenticate:
        return message(b"")
    key = localised(usm.auth_key.get_secret_value(), engine_id)
    return message(hmac.digest(key, message(bytes(_DIGEST)), "sha256")[:_DIGEST])
