"""Modulation and coding of normal FECFRAMEs, as far as a modulator and a demodulator need them.

Numbered as NfLabModcod. K_bch and ideal Es/N0: EN 302 307-1, tables 5a and 13; EN 302 307-2, tables 5a and 20a.
"""

from __future__ import annotations

from dataclasses import dataclass

_FECFRAME_BITS = 64_800
_BBHEADER_BITS = 80
_SLOT_SYMBOLS = 90
_PILOT_SYMBOLS, _PILOT_SLOTS = 36, 16
_BITS = {"QPSK": 2, "8PSK": 3, "8APSK": 3, "16APSK": 4, "32APSK": 5, "64APSK": 6, "128APSK": 7, "256APSK": 8}

# Modulation, code rate, K_bch in bits, ideal Es/N0 in dB (AWGN, quasi error free).
_ROWS = """
QPSK    1/4      16008  -2.35
QPSK    1/3      21408  -1.24
QPSK    2/5      25728  -0.30
QPSK    1/2      32208   1.00
QPSK    3/5      38688   2.23
QPSK    2/3      43040   3.10
QPSK    3/4      48408   4.03
QPSK    4/5      51648   4.68
QPSK    5/6      53840   5.18
QPSK    8/9      57472   6.20
QPSK    9/10     58192   6.42
8PSK    3/5      38688   5.50
8PSK    2/3      43040   6.62
8PSK    3/4      48408   7.91
8PSK    5/6      53840   9.35
8PSK    8/9      57472  10.69
8PSK    9/10     58192  10.98
16APSK  2/3      43040   8.97
16APSK  3/4      48408  10.21
16APSK  4/5      51648  11.03
16APSK  5/6      53840  11.61
16APSK  8/9      57472  12.89
16APSK  9/10     58192  13.13
32APSK  3/4      48408  12.73
32APSK  4/5      51648  13.64
32APSK  5/6      53840  14.28
32APSK  8/9      57472  15.69
32APSK  9/10     58192  16.05
QPSK    2/9      14208  -2.85
QPSK    13/45    18528  -2.03
QPSK    9/20     28968   0.22
QPSK    11/20    35448   1.45
8APSK   5/9-L    35808   4.73
8APSK   26/45-L  37248   5.13
8PSK    23/36    41208   6.12
8PSK    25/36    44808   7.02
8PSK    13/18    46608   7.49
16APSK  1/2-L    32208   5.97
16APSK  8/15-L   34368   6.55
16APSK  5/9-L    35808   6.84
16APSK  26/45    37248   7.51
16APSK  3/5      38688   7.80
16APSK  3/5-L    38688   7.41
16APSK  28/45    40128   8.10
16APSK  23/36    41208   8.38
16APSK  2/3-L    43008   8.43
16APSK  25/36    44808   9.27
16APSK  13/18    46608   9.71
16APSK  7/9      50208  10.65
16APSK  77/90    55248  11.99
32APSK  2/3-L    43040  11.10
32APSK  32/45    45888  11.75
32APSK  11/15    47328  12.17
32APSK  7/9      50208  13.05
64APSK  32/45-L  45888  13.98
64APSK  11/15    47328  14.81
64APSK  7/9      50208  15.47
64APSK  4/5      51648  15.87
64APSK  5/6      53840  16.55
128APSK 3/4      48408  17.73
128APSK 7/9      50208  18.53
256APSK 29/45-L  41568  16.98
256APSK 2/3-L    43008  17.24
256APSK 31/45-L  44448  18.10
256APSK 32/45    45888  18.59
256APSK 11/15-L  47328  18.84
256APSK 3/4      48408  19.57
"""


@dataclass(frozen=True, slots=True)
class Modcod:
    number: int
    name: str
    bits_per_symbol: int
    kbch_bits: int
    es_n0_db: float

    def net_bps(self, symbol_rate: int, *, pilots: bool) -> float:
        """Transport stream rate of a carrier: symbol rate times (K_bch - 80) bits over the PLFRAME's symbols."""
        slots = -(-_FECFRAME_BITS // (self.bits_per_symbol * _SLOT_SYMBOLS))
        symbols = _SLOT_SYMBOLS * (slots + 1)
        if pilots:
            symbols += _PILOT_SYMBOLS * ((slots - 1) // _PILOT_SLOTS)
        return symbol_rate * (self.kbch_bits - _BBHEADER_BITS) / symbols


def _parse(number: int, line: str) -> Modcod:
    modulation, rate, kbch, es_n0 = line.split()
    return Modcod(number, f"{modulation} {rate}", _BITS[modulation], int(kbch), float(es_n0))


MODCODS = {number: _parse(number, line) for number, line in enumerate(_ROWS.strip().splitlines(), 1)}
