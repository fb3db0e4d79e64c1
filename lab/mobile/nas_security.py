"""Security of NAS messages (TS 24.501 clause 4.4): headers, counts, 128-NIA2 with NEA0 or 128-NEA2.

The algorithms are those of TS 33.501 annex D, which are 128-EIA2 and 128-EEA2 of TS 33.401 annex B.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from enum import IntEnum

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.cmac import CMAC

EPD_5GMM = 0x7E
NEA0, NEA2, NIA2 = 0, 2, 2
CAPABILITIES = bytes((1 << (7 - NEA0) | 1 << (7 - NEA2), 1 << (7 - NIA2)))
"""UE security capability (TS 24.501 clause 9.11.3.54): an octet of ciphering, one of integrity. Not NIA0: no emergency
calls are made here."""

_BEARER = 1
"""Of 3GPP access (TS 33.501 clause 6.4.3.1)."""
_UPLINK, _DOWNLINK = 0, 1
_HEADER = 7
_MOST_COUNT = 1 << 24


class NasSecurityError(Exception):
    """The message is none that a UE takes: no security header, an ill MAC, a count that was there before."""


class HeaderType(IntEnum):
    """TS 24.501 clause 9.3."""

    PLAIN = 0
    INTEGRITY = 1
    CIPHERED = 2
    INTEGRITY_NEW = 3
    CIPHERED_NEW = 4


@dataclass(frozen=True, slots=True)
class Protected:
    """A message with its security header. `body` is ciphered where the type says so; `sequence` has 8 bits."""

    type: HeaderType
    mac: bytes
    sequence: int
    body: bytes

    @classmethod
    def parse(cls, data: bytes) -> Protected:
        """Raises NasSecurityError."""
        if len(data) <= _HEADER or data[0] != EPD_5GMM or not 1 <= data[1] <= HeaderType.CIPHERED_NEW:
            raise NasSecurityError(f"no security header: {data[:_HEADER].hex()}")
        return cls(HeaderType(data[1]), data[2:6], data[6], data[_HEADER:])

    def encode(self) -> bytes:
        return bytes((EPD_5GMM, self.type)) + self.mac + bytes((self.sequence,)) + self.body

    @property
    def signed(self) -> bytes:
        """What the MAC is over."""
        return bytes((self.sequence,)) + self.body


def nia2(key: bytes, count: int, bearer: int, direction: int, message: bytes) -> bytes:
    """128-EIA2: 4 octets (TS 33.401 annex B.2.3)."""
    cmac = CMAC(algorithms.AES128(key))
    cmac.update(count.to_bytes(4) + bytes((bearer << 3 | direction << 2, 0, 0, 0)) + message)
    return cmac.finalize()[:4]


def nea2(key: bytes, count: int, bearer: int, direction: int, message: bytes) -> bytes:
    """128-EEA2, both ways (TS 33.401 annex B.1.3)."""
    start = count.to_bytes(4) + bytes((bearer << 3 | direction << 2,)) + bytes(11)
    encryptor = Cipher(algorithms.AES128(key), modes.CTR(start)).encryptor()
    return encryptor.update(message) + encryptor.finalize()


@dataclass(slots=True)
class NasSecurity:
    """A UE's context. `uplink`: NAS COUNT of our next message; `downlink`: of the last that was taken, or -1."""

    ciphering: int
    encryption_key: bytes
    integrity_key: bytes
    uplink: int = 0
    downlink: int = -1

    def cipher(self, body: bytes, count: int, direction: int) -> bytes:
        return body if self.ciphering == NEA0 else nea2(self.encryption_key, count, _BEARER, direction, body)

    def container(self, message: bytes) -> bytes:
        """A message that travels within the next one, ciphered as that would be (TS 24.501 clause 4.4.6 b)."""
        return self.cipher(message, self.uplink, _UPLINK)

    def protect(self, message: bytes, kind: HeaderType = HeaderType.CIPHERED) -> bytes:
        """Raises NasSecurityError once the counts are used up."""
        count = self.uplink
        if count >= _MOST_COUNT:
            raise NasSecurityError("the NAS COUNT is used up")
        self.uplink += 1
        ciphered = kind in (HeaderType.CIPHERED, HeaderType.CIPHERED_NEW)
        body = self.cipher(message, count, _UPLINK) if ciphered else message
        made = Protected(kind, b"", count & 0xFF, body)
        mac = nia2(self.integrity_key, count, _BEARER, _UPLINK, made.signed)
        return Protected(kind, mac, made.sequence, body).encode()

    def open(self, protected: Protected) -> bytes:
        """The message. Raises NasSecurityError; the count then stays."""
        count = self._count(protected.sequence)
        if not hmac.compare_digest(
            nia2(self.integrity_key, count, _BEARER, _DOWNLINK, protected.signed), protected.mac
        ):
            raise NasSecurityError(f"ill MAC at COUNT {count}")
        self.downlink = count
        if protected.type in (HeaderType.CIPHERED, HeaderType.CIPHERED_NEW):
            return self.cipher(protected.body, count, _DOWNLINK)
        return protected.body

    def _count(self, sequence: int) -> int:
        """The next count with this sequence number: one that was there before is never met again."""
        first = self.downlink + 1
        return first + (sequence - first) % 256
