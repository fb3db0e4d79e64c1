"""Encryption of a PS-PDU's payload (ETSI TS 102 232-1 clause 7.3 and annex on payload encryption): AES in CBC mode.

The initialisation vector is the header's sequence number four times, as the standard has it: sessions of one LIID with
the same key and number share it, and only the byte counter in the first block differs. The header stays readable.
Encryption is therefore no substitute for TLS on the link, and every LIID needs a key of its own.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC

from lawful_intercept.handover.ber import integer, tlv
from lawful_intercept.handover.values import DataType
from nf.errors import InputError, RefusedError

BLOCK: Final = 16
MOST_COUNTED: Final = (1 << 64) - 1


class Algorithm(IntEnum):
    """encryptionType; those that are written here."""

    AES_192_CBC = 3
    AES_256_CBC = 4


KEY_OCTETS: Final = {Algorithm.AES_192_CBC: 24, Algorithm.AES_256_CBC: 32}
PAYLOAD_TYPE_OF_PART: Final = {2: 2, 3: 3, 4: 4, 5: 5, 6: 6, 7: 7, 1: 8}
"""encryptedPayloadType of a part of TS 102 232."""


class PayloadCipher:
    """The key of one LIID towards one agency, and the byte counters of its IRI and of its CC.

    The key is copied and overwritten by `close`; who gave it overwrites its own. Not for several threads at once.
    """

    def __init__(self, key: bytes | bytearray | memoryview, algorithm: Algorithm, started_s: int) -> None:
        """`started_s`: Unix time from which the byte counters begin. Raises InputError for a key of another length."""
        check_key(key, algorithm)
        self.algorithm = algorithm
        self._key = bytearray(key)
        self._aes: AES | None = AES(self._key)
        self._counters = dict.fromkeys(DataType, started_s << 32)

    def container(self, data_type: DataType, sequence: int, payload: bytes, part: int) -> bytes:
        """encryptionContainer with `payload` (an encoded Payload CHOICE) of a part of TS 102 232.

        Raises RefusedError after `close`.
        """
        if self._aes is None:
            raise RefusedError("the payload's key has been overwritten", remedy="make a new cipher")
        plain = tlv(0x30, integer(0x80, self._counters[data_type]), tlv(0xA1, payload))
        encryptor = Cipher(self._aes, CBC(vector(sequence))).encryptor()
        sealed = encryptor.update(plain + bytes(-len(plain) % BLOCK)) + encryptor.finalize()
        return tlv(0xA4, integer(0x80, self.algorithm), tlv(0x81, sealed), integer(0x82, PAYLOAD_TYPE_OF_PART[part]))

    def sent(self, data_type: DataType, octets: int) -> None:
        """A PS-PDU of that many octets was written: the next one's counter."""
        self._counters[data_type] = (self._counters[data_type] + octets) & MOST_COUNTED

    def close(self) -> None:
        """Overwrite the key."""
        self._aes = None
        wipe(self._key)


def check_key(key: bytes | bytearray | memoryview, algorithm: Algorithm) -> None:
    """Raises InputError."""
    wanted = KEY_OCTETS[algorithm]
    if len(key) != wanted:
        raise InputError("a payload's key has another length than its algorithm's", remedy=f"give {wanted} octets")


def vector(sequence: int) -> bytes:
    return sequence.to_bytes(4, "big") * 4


def unseal(key: bytes | bytearray, sequence: int, sealed: bytes) -> bytes:
    """An EncryptedPayload with the zero octets after it, or noise when the key is another.

    Raises InputError for what is no whole number of blocks.
    """
    if not sealed or len(sealed) % BLOCK:
        raise InputError("an encrypted payload is cut", remedy="check the sender's encryption")
    decryptor = Cipher(AES(key), CBC(vector(sequence))).decryptor()
    return decryptor.update(sealed) + decryptor.finalize()


def wipe(key: bytearray) -> None:
    key[:] = bytes(len(key))
