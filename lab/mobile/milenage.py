"""Milenage, the algorithms of a USIM: f1, f1*, f2 to f5 and f5* (TS 35.206 clause 4.1)."""

from __future__ import annotations

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

_ROTATED_OCTETS = (8, 0, 4, 8, 12)
"""r1 to r5, which are 64, 0, 32, 64 and 96 bits."""
_CONSTANTS = (0, 1, 2, 4, 8)
"""The last octets of c1 to c5; all before are zero."""


def _xor(left: bytes, right: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(left, right, strict=True))


def _encrypt(key: bytes, block: bytes) -> bytes:
    # One block: no mode is at work.
    encryptor = Cipher(algorithms.AES128(key), modes.ECB()).encryptor()  # noqa: S305
    return encryptor.update(block) + encryptor.finalize()


def opc_of(k: bytes, op: bytes) -> bytes:
    """OPc of a subscriber's key and the operator's OP; 16 octets each."""
    return _xor(_encrypt(k, op), op)


class Milenage:
    """Of one key and OPc, 16 octets each. Raises ValueError for others."""

    def __init__(self, k: bytes, opc: bytes) -> None:
        if len(k) != 16 or len(opc) != 16:
            raise ValueError("K and OPc have 16 octets each")
        self._k, self._opc = k, opc

    def macs(self, rand: bytes, sqn: bytes, amf: bytes) -> tuple[bytes, bytes]:
        """MAC-A of f1 and MAC-S of f1*, 8 octets each. `sqn` has 6 octets, `amf` 2."""
        once = _encrypt(self._k, _xor(rand, self._opc))
        both = (sqn + amf) * 2
        out = self._out(0, _xor(both, self._opc), mixed=once)
        return out[:8], out[8:]

    def res_ak(self, rand: bytes) -> tuple[bytes, bytes]:
        """RES of f2, 8 octets, and AK of f5, 6 octets."""
        out = self._from(rand, 1)
        return out[8:], out[:6]

    def ck(self, rand: bytes) -> bytes:
        return self._from(rand, 2)

    def ik(self, rand: bytes) -> bytes:
        return self._from(rand, 3)

    def ak_resync(self, rand: bytes) -> bytes:
        """AK of f5*, which hides the USIM's own number in an AUTS."""
        return self._from(rand, 4)[:6]

    def _from(self, rand: bytes, which: int) -> bytes:
        return self._out(which, _xor(_encrypt(self._k, _xor(rand, self._opc)), self._opc))

    def _out(self, which: int, block: bytes, mixed: bytes = bytes(16)) -> bytes:
        turn = _ROTATED_OCTETS[which]
        turned = block[turn:] + block[:turn]
        entered = _xor(_xor(turned, bytes(15) + bytes((_CONSTANTS[which],))), mixed)
        return _xor(_encrypt(self._k, entered), self._opc)
