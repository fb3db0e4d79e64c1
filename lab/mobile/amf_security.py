"""The network's half of 5G AKA and NAS security, for the stand-in AMF.

It shares no code with the UE's (`milenage`, `nas_keys`, `nas_security`), so that a mistake of one shows in the other:
Milenage here is of integers, HMAC is the library's, CMAC and the counter mode are written out upon single AES blocks.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.hmac import HMAC

_ALL = (1 << 128) - 1
_STEP = 32
"""From one sequence number to the next: IND has five bits."""
_AMF_FIELD = 0x8000
"""With the separation bit of 5G (TS 33.501 annex D refers to TS 33.102 annex H)."""
_CMAC_CONSTANT = 0x87


def _aes(key: bytes, block: int) -> int:
    encryptor = Cipher(algorithms.AES128(key), modes.ECB()).encryptor()  # noqa: S305 - one block
    return int.from_bytes(encryptor.update(block.to_bytes(16)) + encryptor.finalize())


def _turned(value: int, bits: int) -> int:
    return (value << bits | value >> (128 - bits)) & _ALL


@dataclass(slots=True)
class Subscription:
    """What a home network knows of a USIM. `sqn`: the last that was used, 48 bits."""

    k: bytes
    opc: int
    sqn: int = 0

    def _out(self, rand: int, turn: int, constant: int) -> int:
        mixed = _aes(self.k, rand ^ self.opc)
        return _aes(self.k, _turned(mixed ^ self.opc, turn) ^ constant) ^ self.opc

    def _mac(self, rand: int, sqn: int, field: int) -> int:
        half = sqn << 16 | field
        mixed = _aes(self.k, rand ^ self.opc)
        return _aes(self.k, mixed ^ _turned((half << 64 | half) ^ self.opc, 64)) ^ self.opc

    def resynchronise(self, rand: bytes, auts: bytes) -> bool:
        """Takes the number of an AUTS; False when that is not of this USIM (TS 33.102 clause 6.3.5)."""
        value = int.from_bytes(rand)
        sqn = int.from_bytes(auts[:6]) ^ self._out(value, 96, 8) >> 80
        if self._mac(value, sqn, 0) & (1 << 64) - 1 != int.from_bytes(auts[6:14]):
            return False
        self.sqn = sqn
        return True

    def challenge(self, network: bytes) -> Challenge:
        """With the next number. `network`: serving network name."""
        self.sqn += _STEP
        rand = secrets.randbits(128)
        second = self._out(rand, 0, 1)
        hidden = (self.sqn ^ second >> 80).to_bytes(6)
        mac = self._mac(rand, self.sqn, _AMF_FIELD) >> 64
        both = (self._out(rand, 32, 2) << 128 | self._out(rand, 64, 4)).to_bytes(32)
        octets, res = rand.to_bytes(16), (second & (1 << 64) - 1).to_bytes(8)
        return Challenge(
            rand=octets,
            autn=hidden + _AMF_FIELD.to_bytes(2) + mac.to_bytes(8),
            expected=derive(both, b"\x6b", network, octets, res)[16:],
            k_seaf=derive(derive(both, b"\x6a", network, hidden), b"\x6c", network),
        )


@dataclass(frozen=True, slots=True)
class Challenge:
    """`expected`: XRES*."""

    rand: bytes
    autn: bytes
    expected: bytes
    k_seaf: bytes


def derive(key: bytes, code: bytes, *parts: bytes) -> bytes:
    """TS 33.220 annex B.2."""
    made = HMAC(key, hashes.SHA256())
    made.update(code)
    for part in parts:
        made.update(part)
        made.update(len(part).to_bytes(2))
    return made.finalize()


def _doubled(value: int) -> int:
    return (value << 1 & _ALL) ^ (_CMAC_CONSTANT if value >> 127 else 0)


def cmac(key: bytes, message: bytes) -> bytes:
    """RFC 4493: 16 octets."""
    once = _doubled(_aes(key, 0))
    whole = len(message) % 16 == 0 and message != b""
    padded = message if whole else message + b"\x80" + bytes(-(len(message) + 1) % 16)
    blocks = [int.from_bytes(padded[at : at + 16]) for at in range(0, len(padded), 16)]
    blocks[-1] ^= once if whole else _doubled(once)
    state = 0
    for block in blocks:
        state = _aes(key, state ^ block)
    return state.to_bytes(16)


def counter_mode(key: bytes, start: int, message: bytes) -> bytes:
    """`start`: the first counter block."""
    stream = b"".join(_aes(key, start + at).to_bytes(16) for at in range((len(message) + 15) // 16))
    return bytes(a ^ b for a, b in zip(message, stream, strict=False))


@dataclass(slots=True)
class Link:
    """A NAS security context at the AMF. `down`: count of the next message to the UE; `up`: least that is taken."""

    k_amf: bytes
    ciphering: int
    integrity: int = 2
    down: int = 0
    up: int = 0

    def _key(self, kind: int, algorithm: int) -> bytes:
        return derive(self.k_amf, b"\x69", bytes((kind,)), bytes((algorithm,)))[16:]

    def _head(self, count: int, direction: int) -> int:
        # 3GPP access has bearer 1.
        return count << 32 | 1 << 27 | direction << 26

    def _mac(self, count: int, direction: int, signed: bytes) -> bytes:
        head = self._head(count, direction).to_bytes(8)
        return cmac(self._key(2, self.integrity), head + signed)[:4]

    def cipher(self, count: int, direction: int, body: bytes) -> bytes:
        if self.ciphering == 0:
            return body
        return counter_mode(self._key(1, self.ciphering), self._head(count, direction) << 64, body)

    def seal(self, message: bytes, kind: int) -> bytes:
        """`kind`: security header type; 2 and 4 are ciphered."""
        count, self.down = self.down, self.down + 1
        body = self.cipher(count, 1, message) if kind in (2, 4) else message
        signed = bytes((count & 255,)) + body
        return bytes((0x7E, kind)) + self._mac(count, 1, signed) + signed

    def unseal(self, data: bytes) -> bytes | None:
        """The message; None for one that this UE has not sent now."""
        if len(data) < 8 or data[0] != 0x7E or data[1] not in (1, 2, 4):
            return None
        count = self.up + (data[6] - self.up) % 256
        if self._mac(count, 0, data[6:]) != data[2:6]:
            return None
        self.up = count + 1
        return self.cipher(count, 0, data[7:]) if data[1] in (2, 4) else data[7:]

    def k_gnb(self) -> bytes:
        """For the radio, of the message that was taken last."""
        return derive(self.k_amf, b"\x6e", (self.up - 1).to_bytes(4), b"\1")
