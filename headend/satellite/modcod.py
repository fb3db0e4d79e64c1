"""The 67 MODCODs of DVB-S2 and DVB-S2X with normal FECFRAMEs.

EN 302 307-1 table 13 (S2) and EN 302 307-2 table 20a (S2X). Es/N0 are the standards' ideal figures: AWGN,
quasi-error-free (PER 1e-7 for S2, FER 1e-5 for S2X), 50 LDPC iterations, perfect synchronization. What a receiver
needs in the field is in `threshold.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from fractions import Fraction
from types import MappingProxyType

from nf.errors import InputError

NORMAL_FECFRAME_BITS = 64_800
SHORT_FECFRAME_BITS = 16_200


class Standard(Enum):
    """Which part of EN 302 307 defines a MODCOD. Receivers of `S2` cannot demodulate `S2X`."""

    S2 = "DVB-S2"
    S2X = "DVB-S2X"


@dataclass(frozen=True, slots=True)
class Modcod:
    """A modulation with a code.

    name             as people write it, such as `8PSK 3/4`; `-L` is optimised for quasi-linear transponders
    number           1..67 in the order of the standards' tables; up to 28 it is the MODCOD field of the PLHEADER
    constellation    QPSK, 8PSK, 8APSK ... 256APSK
    rate             the code's label, such as `3/4` or `2/3-L`
    bits             bits in a symbol
    kbch             bits of the BBFRAME of a normal FECFRAME
    kbch_short       the same of a short FECFRAME (16,200 bits); None where S2 defines none. S2X has short codes of its
                     own, which are not in this table
    es_n0_db         ideal Es/N0 over AWGN
    hard_limiter_db  ideal Es/N0 through the hard limiter channel (a saturated transponder); S2X's tables only
    pls              PLS code without pilots; with pilots it is one more (EN 302 307-2 clause 5.5.2.2)
    """

    name: str
    number: int
    standard: Standard
    constellation: str
    rate: str
    bits: int
    kbch: int
    kbch_short: int | None
    es_n0_db: float
    hard_limiter_db: float | None
    pls: int

    @property
    def vl_snr(self) -> bool:
        """Of the very-low-SNR set: always has pilots, and a header of 900 symbols that most receivers do not know."""
        return self.pls == VL_SNR_PLS

    def __str__(self) -> str:
        return self.name


VL_SNR_PLS = 128
BITS: Mapping[str, int] = MappingProxyType(
    {"QPSK": 2, "8PSK": 3, "8APSK": 3, "16APSK": 4, "32APSK": 5, "64APSK": 6, "128APSK": 7, "256APSK": 8}
)

# EN 302 307-1 table 5b: BBFRAME bits of a short FECFRAME. The effective rate is below the label (1/4 is 1/5).
_KBCH_SHORT = {
    "1/4": 3072,
    "1/3": 5232,
    "2/5": 6312,
    "1/2": 7032,
    "3/5": 9552,
    "2/3": 10632,
    "3/4": 11712,
    "4/5": 12432,
    "5/6": 13152,
    "8/9": 14232,
}

# constellation: rate, Es/N0 dB; in the order of their MODCOD numbers 1..28
_S2: tuple[tuple[str, tuple[tuple[str, float], ...]], ...] = (
    (
        "QPSK",
        (
            ("1/4", -2.35),
            ("1/3", -1.24),
            ("2/5", -0.30),
            ("1/2", 1.00),
            ("3/5", 2.23),
            ("2/3", 3.10),
            ("3/4", 4.03),
            ("4/5", 4.68),
            ("5/6", 5.18),
            ("8/9", 6.20),
            ("9/10", 6.42),
        ),
    ),
    ("8PSK", (("3/5", 5.50), ("2/3", 6.62), ("3/4", 7.91), ("5/6", 9.35), ("8/9", 10.69), ("9/10", 10.98))),
    ("16APSK", (("2/3", 8.97), ("3/4", 10.21), ("4/5", 11.03), ("5/6", 11.61), ("8/9", 12.89), ("9/10", 13.13))),
    ("32APSK", (("3/4", 12.73), ("4/5", 13.64), ("5/6", 14.28), ("8/9", 15.69), ("9/10", 16.05))),
)

# constellation, rate, PLS code without pilots, Es/N0 dB over AWGN and through the hard limiter
_S2X: tuple[tuple[str, str, int, float, float], ...] = (
    ("QPSK", "2/9", VL_SNR_PLS, -2.85, -2.45),
    ("QPSK", "13/45", 132, -2.03, -1.60),
    ("QPSK", "9/20", 134, 0.22, 0.69),
    ("QPSK", "11/20", 136, 1.45, 1.97),
    ("8APSK", "5/9-L", 138, 4.73, 5.95),
    ("8APSK", "26/45-L", 140, 5.13, 6.35),
    ("8PSK", "23/36", 142, 6.12, 6.96),
    ("8PSK", "25/36", 144, 7.02, 7.93),
    ("8PSK", "13/18", 146, 7.49, 8.42),
    ("16APSK", "1/2-L", 148, 5.97, 8.40),
    ("16APSK", "8/15-L", 150, 6.55, 9.00),
    ("16APSK", "5/9-L", 152, 6.84, 9.35),
    ("16APSK", "26/45", 154, 7.51, 9.17),
    ("16APSK", "3/5", 156, 7.80, 9.38),
    ("16APSK", "3/5-L", 158, 7.41, 9.94),
    ("16APSK", "28/45", 160, 8.10, 9.76),
    ("16APSK", "23/36", 162, 8.38, 10.04),
    ("16APSK", "2/3-L", 164, 8.43, 11.06),
    ("16APSK", "25/36", 166, 9.27, 11.04),
    ("16APSK", "13/18", 168, 9.71, 11.52),
    ("16APSK", "7/9", 170, 10.65, 12.50),
    ("16APSK", "77/90", 172, 11.99, 14.00),
    ("32APSK", "2/3-L", 174, 11.10, 13.81),
    ("32APSK", "32/45", 178, 11.75, 14.50),
    ("32APSK", "11/15", 180, 12.17, 14.91),
    ("32APSK", "7/9", 182, 13.05, 15.84),
    ("64APSK", "32/45-L", 184, 13.98, 17.70),
    ("64APSK", "11/15", 186, 14.81, 17.97),
    ("64APSK", "7/9", 190, 15.47, 19.10),
    ("64APSK", "4/5", 194, 15.87, 19.54),
    ("64APSK", "5/6", 198, 16.55, 20.44),
    ("128APSK", "3/4", 200, 17.73, 21.43),
    ("128APSK", "7/9", 202, 18.53, 22.21),
    ("256APSK", "29/45-L", 204, 16.98, 21.60),
    ("256APSK", "2/3-L", 206, 17.24, 21.89),
    ("256APSK", "31/45-L", 208, 18.10, 22.90),
    ("256APSK", "32/45", 210, 18.59, 22.91),
    ("256APSK", "11/15-L", 212, 18.84, 23.80),
    ("256APSK", "3/4", 214, 19.57, 24.02),
)


def _bch_errors(standard: Standard, constellation: str, rate: str) -> int:
    """Errors that the BCH code corrects; 16 parity bits each (EN 302 307-1 table 5a).

    S2X's own codes have 12; three of its MODCODs use the S2 code of their rate.
    """
    label = rate.removesuffix("-L")
    if label in {"8/9", "9/10"}:
        return 8
    if label == "5/6" or (label == "2/3" and (standard is Standard.S2 or constellation == "32APSK")):
        return 10
    return 12


def _kbch(standard: Standard, constellation: str, rate: str) -> int:
    coded = NORMAL_FECFRAME_BITS * Fraction(rate.removesuffix("-L"))
    return int(coded) - 16 * _bch_errors(standard, constellation, rate)


def _rows() -> tuple[Modcod, ...]:
    s2 = [(mod, rate, es_n0) for mod, rates in _S2 for rate, es_n0 in rates]
    rows = [
        Modcod(
            name=f"{mod} {rate}",
            number=number,
            standard=Standard.S2,
            constellation=mod,
            rate=rate,
            bits=BITS[mod],
            kbch=_kbch(Standard.S2, mod, rate),
            kbch_short=_KBCH_SHORT.get(rate),
            es_n0_db=es_n0,
            hard_limiter_db=None,
            pls=4 * number,
        )
        for number, (mod, rate, es_n0) in enumerate(s2, start=1)
    ]
    rows += [
        Modcod(
            name=f"{mod} {rate}",
            number=number,
            standard=Standard.S2X,
            constellation=mod,
            rate=rate,
            bits=BITS[mod],
            kbch=_kbch(Standard.S2X, mod, rate),
            kbch_short=None,
            es_n0_db=awgn,
            hard_limiter_db=limited,
            pls=pls,
        )
        for number, (mod, rate, pls, awgn, limited) in enumerate(_S2X, start=len(rows) + 1)
    ]
    return tuple(rows)


MODCODS: tuple[Modcod, ...] = _rows()
"""All 67, by `number`."""

_BY_NAME = {row.name: row for row in MODCODS}


def by_name(name: str) -> Modcod:
    """The MODCOD called `name`, such as `8PSK 3/4`. Raises InputError."""
    found = _BY_NAME.get(" ".join(name.split()))
    if found is None:
        raise InputError(
            f"there is no MODCOD {name!r}",
            remedy="write constellation and code rate of EN 302 307, such as '8PSK 3/4' or '16APSK 3/5-L'",
        )
    return found


def by_number(number: int) -> Modcod:
    """The MODCOD with this `number`, 1..67. Raises InputError."""
    if not 1 <= number <= len(MODCODS):
        raise InputError(f"MODCOD number {number} is not in 1..{len(MODCODS)}", remedy="see the table of MODCODs")
    return MODCODS[number - 1]
