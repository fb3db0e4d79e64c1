"""What people would think of a call: the E-model (ITU-T G.107, 06/2015) at its default values (its Table 2).

    R = Ro - Is - Id - Ie,eff

Without delay and loss R is 93.2. The advantage factor A is 0: nobody is promised a worse network.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Final

from nf.errors import InputError

_SLR, _RLR, _STMR, _DS, _DR, _TELR, _WEPL = 8.0, 2.0, 15.0, 3.0, 3.0, 65.0, 110.0
_NC, _NFOR, _PS, _PR, _QDU = -70.0, -64.0, 35.0, 35.0, 1.0
_MT_MS: Final = 100.0
_CLOSEST: Final = 1e-9


@dataclass(frozen=True, slots=True)
class Codec:
    """Ie: equipment impairment without loss; bpl: robustness against loss (ITU-T G.113 Appendix I).

    `clock_hz`: of RTP timestamps; `lookahead_ms`: what the codec waits for beyond the packet.
    """

    name: str
    ie: float
    bpl: float
    clock_hz: int = 8000
    lookahead_ms: float = 0.0


CODECS: Final[Mapping[str, Codec]] = MappingProxyType(
    {
        one.name: one
        for one in (
            Codec("PCMU", 0.0, 25.1),  # G.711 with the concealment of its Appendix I
            Codec("PCMA", 0.0, 25.1),
            Codec("G729", 11.0, 19.0, lookahead_ms=5.0),  # G.729A with VAD
            # G.113 has no value for Opus in this model. As G.711's: at the rates of calls its own loss is below 1.
            Codec("opus", 0.0, 25.1, clock_hz=48_000, lookahead_ms=6.5),
        )
    }
)


@dataclass(frozen=True, slots=True)
class Quality:
    """`r`: transmission rating, 0 to 93.2; `mos`: mean opinion score of a conversation (MOS-CQE), 1 to 4.5."""

    r: float
    mos: float


def estimate(codec: Codec, *, delay_ms: float, loss: float, burst_ratio: float = 1.0) -> Quality:
    """`delay_ms`: one way, mouth to ear; `loss`: 0 to 1, what came too late included; `burst_ratio`: mean length of
    observed bursts of loss over that of random loss (1: random). Raises InputError outside of these."""
    if not (0 <= delay_ms < math.inf and 0 <= loss <= 1 and 0 < burst_ratio < math.inf):
        raise InputError(f"no call has delay {delay_ms} ms, loss {loss}, burst ratio {burst_ratio}", where="E-model")
    rating = _basic() - delay_impairment(delay_ms) - equipment_impairment(codec, loss, burst_ratio)
    return Quality(max(0.0, rating), mos(rating))


def mos(rating: float) -> float:
    """Annex B, clause B.1. Below 1 is 1: the polynomial dips there for the smallest R."""
    if rating <= 0:
        return 1.0
    if rating >= 100:
        return 4.5
    return max(1.0, 1 + 0.035 * rating + rating * (rating - 60) * (100 - rating) * 7e-6)


def equipment_impairment(codec: Codec, loss: float, burst_ratio: float = 1.0) -> float:
    """Ie,eff, clause 7.5."""
    percent = loss * 100
    return codec.ie + (95 - codec.ie) * percent / (percent / burst_ratio + codec.bpl)


def delay_impairment(delay_ms: float) -> float:
    """Id = Idte + Idle + Idd, clause 7.4; T = Ta = Tr / 2."""
    return _talker_echo(delay_ms) + _listener_echo(2 * delay_ms) + _too_long(delay_ms)


def _talker_echo(t: float) -> float:
    if t < 1:
        return 0.0
    terv = _TELR - 40 * math.log10((1 + t / 10) / (1 + t / 150)) + 6 * math.exp(-0.3 * t * t)
    roe = -1.5 * (_noise() - _RLR)
    half = (roe - (80 + 2.5 * (terv - 14))) / 2
    return (half + math.sqrt(half * half + 100) - 1) * (1 - math.exp(-t))


def _listener_echo(tr: float) -> float:
    half = (_ro() - 10.5 * (_WEPL + 7) / math.sqrt(math.sqrt(tr + 1))) / 2
    return half + math.sqrt(half * half + 169)


def _too_long(ta: float) -> float:
    if ta <= _MT_MS:
        return 0.0
    x = math.log2(ta / _MT_MS)
    return max(0.0, 25 * (math.pow(1 + x**6, 1 / 6) - 3 * math.pow(1 + (x / 3) ** 6, 1 / 6) + 2))


@cache
def _noise() -> float:
    """No, clause 7.2: in dBm0p."""
    olr = _SLR + _RLR
    sender = _PS - _SLR - _DS - 100 + 0.004 * (_PS - olr - _DS - 14) ** 2
    pre = _PR + 10 * math.log10(1 + 10 ** ((10 - (_STMR + _DR)) / 10))
    receiver = _RLR - 121 + pre + 0.008 * (pre - 35) ** 2
    return 10 * math.log10(sum(math.pow(10, one / 10) for one in (_NC, sender, receiver, _NFOR + _RLR)))


@cache
def _ro() -> float:
    return 15 - 1.5 * (_SLR + _noise())


@cache
def _basic() -> float:
    """Ro - Is, clauses 7.2 and 7.3, at T = 0."""
    xolr = _SLR + _RLR + 0.2 * (64 + _noise() - _RLR)
    iolr = 20 * (math.pow(1 + (xolr / 8) ** 8, 1 / 8) - xolr / 8)
    stmro = -10 * math.log10(10 ** (-_STMR / 10) + 10 ** (-_TELR / 10))
    ist = (
        12 * math.pow(1 + ((stmro - 13) / 6) ** 8, 1 / 8)
        - 28 * math.pow(1 + ((stmro + 1) / 19.4) ** 35, 1 / 35)
        - 13 * math.pow(1 + ((stmro - 3) / 33) ** 13, 1 / 13)
        + 29
    )
    q = 37 - 15 * math.log10(_QDU)
    g = 1.07 + 0.258 * q + 0.0602 * q * q
    iq = 15 * math.log10(1 + 10 ** ((_ro() - 100) / 15 + 46 / 8.4 - g / 9) + 10 ** (46 / 30 - g / 40))
    return _ro() - iolr - ist - iq
