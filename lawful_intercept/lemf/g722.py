"""Decoding G.722 at 64 kbit/s (ITU-T G.722 clauses 4 and 5): two bands of ADPCM and a quadrature mirror filter."""

from __future__ import annotations

from array import array
from typing import Final

_WL: Final = (-60, -30, 58, 172, 334, 538, 1198, 3042)
_RL42: Final = (0, 7, 6, 5, 4, 3, 2, 1, 7, 6, 5, 4, 3, 2, 1, 0)
_ILB: Final = (
    *(2048, 2093, 2139, 2186, 2233, 2282, 2332, 2383, 2435, 2489, 2543, 2599, 2656, 2714, 2774, 2834),
    *(2896, 2960, 3025, 3091, 3158, 3228, 3298, 3371, 3444, 3520, 3597, 3676, 3756, 3838, 3922, 4008),
)
_WH: Final = (0, -214, 798)
_RH2: Final = (2, 1, 2, 1)
_QM2: Final = (-7408, -1616, 7408, 1616)
_QM4: Final = (
    *(0, -20456, -12896, -8968, -6288, -4240, -2584, -1200),
    *(20456, 12896, 8968, 6288, 4240, 2584, 1200, 0),
)
_QM6: Final = (
    *(-136, -136, -136, -136, -24808, -21904, -19008, -16704, -14984, -13512, -12280, -11192, -10232, -9360, -8576),
    *(-7856, -7192, -6576, -6000, -5456, -4944, -4464, -4008, -3576, -3168, -2776, -2400, -2032, -1688, -1360, -1040),
    *(-728, 24808, 21904, 19008, 16704, 14984, 13512, 12280, 11192, 10232, 9360, 8576, 7856, 7192, 6576, 6000, 5456),
    *(4944, 4464, 4008, 3576, 3168, 2776, 2400, 2032, 1688, 1360, 1040, 728, 432, 136, -432, -136),
)
_QMF: Final = (3, -11, 12, 32, -210, 951, 3876, -805, 362, -156, 53, -11)


def _saturated(value: int) -> int:
    return -32768 if value < -32768 else min(value, 32767)


class _Band:
    """Adaptive predictor and quantiser of one band. `shift`: of its scale factor; `most`: of its logarithm."""

    __slots__ = ("_a", "_b", "_d", "_most", "_nb", "_p", "_r", "_shift", "_sz", "det", "s")

    def __init__(self, shift: int, most: int) -> None:
        self._shift, self._most = shift, most
        self._nb, self._sz, self.s = 0, 0, 0
        self.det = 32 if shift == 8 else 8
        self._a, self._r, self._p = [0, 0, 0], [0, 0, 0], [0, 0, 0]
        self._b, self._d = [0] * 7, [0] * 7

    def scale(self, step: int) -> None:
        """Logarithm and scale factor after a code word (blocks 3L, 3H)."""
        nb = self._nb = max(0, min(((self._nb * 127) >> 7) + step, self._most))
        places = self._shift - (nb >> 11)
        factor = _ILB[(nb >> 6) & 31]
        self.det = (factor >> places if places >= 0 else factor << -places) << 2

    def predict(self, difference: int) -> None:
        """Block 4: the predictor learns from `difference`, and `s` is what it expects next."""
        a, b, d, p, r = self._a, self._b, self._d, self._p, self._r
        d[0], r[0], p[0] = difference, _saturated(self.s + difference), _saturated(self._sz + difference)
        same1, same2 = (p[0] < 0) == (p[1] < 0), (p[0] < 0) == (p[2] < 0)
        lean = _saturated(a[1] << 2)
        lean = min(-lean if same1 else lean, 32767)
        a2 = (lean >> 7) + (128 if same2 else -128) + ((a[2] * 32512) >> 15)
        a2 = max(-12288, min(a2, 12288))
        a1 = _saturated((192 if same1 else -192) + ((a[1] * 32640) >> 15))
        most = _saturated(15360 - a2)
        a[1], a[2] = max(-most, min(a1, most)), a2
        step = 128 if difference else 0
        negative = difference < 0
        for tap in range(6, 0, -1):
            moved = step if (d[tap] < 0) == negative else -step
            b[tap] = _saturated(moved + ((b[tap] * 32640) >> 15))
        d[1:7] = d[0:6]
        r[2], r[1], p[2], p[1] = r[1], r[0], p[1], p[0]
        pole = _saturated(((a[1] * _saturated(r[1] + r[1])) >> 15) + ((a[2] * _saturated(r[2] + r[2])) >> 15))
        self._sz = _saturated(sum((b[tap] * _saturated(d[tap] + d[tap])) >> 15 for tap in range(1, 7)))
        self.s = _saturated(pole + self._sz)


class Decoder:
    """Of one stream; 16,000 samples a second come from 8,000 octets."""

    def __init__(self) -> None:
        self._low, self._high = _Band(8, 18432), _Band(10, 22528)
        self._x = [0] * 24

    def decode(self, octets: bytes) -> array[int]:
        """Signed 16-bit samples."""
        out, low, high, x = array("h"), self._low, self._high, self._x
        for code in octets:
            six, two = code & 0x3F, code >> 6
            four = six >> 2
            r_low = max(-16384, min(low.s + ((low.det * _QM6[six]) >> 15), 16383))
            difference = (low.det * _QM4[four]) >> 15
            low.scale(_WL[_RL42[four]])
            low.predict(difference)
            difference = (high.det * _QM2[two]) >> 15
            r_high = max(-16384, min(high.s + difference, 16383))
            high.scale(_WH[_RH2[two]])
            high.predict(difference)
            x[:22] = x[2:]
            x[22], x[23] = r_low + r_high, r_low - r_high
            first = sum(x[2 * tap + 1] * _QMF[11 - tap] for tap in range(12))
            second = sum(x[2 * tap] * _QMF[tap] for tap in range(12))
            out.append(_saturated(first >> 11))
            out.append(_saturated(second >> 11))
        return out
