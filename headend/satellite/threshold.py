"""What a receiver in the field needs: the standards' ideal Es/N0, and what real receivers and transponders take."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from headend.satellite.modcod import MODCODS, Modcod, Standard

_LOW_ORDER_BITS = 4


@dataclass(frozen=True, slots=True)
class Losses:
    """Losses on top of the ideal Es/N0; practice, so every number is a setting.

    implementation_db             receiver's loss up to 16APSK; a captured professional receiver shows 0.5 at 8PSK 3/4
    high_order_implementation_db  the same from 32APSK on, where phase noise counts
    saturated                     one carrier drives the transponder into saturation: add what the hard limiter costs
    """

    implementation_db: float = 0.5
    high_order_implementation_db: float = 1.5
    saturated: bool = False


DEFAULT_LOSSES = Losses()


def hard_limiter_penalty_db(modcod: Modcod) -> float:
    """dB more Es/N0 through a hard limiter than over AWGN (EN 302 307-2 table 20a).

    S2's table has no such column: its MODCODs get the penalty of S2X's nearest code rate of the same constellation.
    """
    if modcod.hard_limiter_db is not None:
        return round(modcod.hard_limiter_db - modcod.es_n0_db, 2)
    rate = Fraction(modcod.rate)
    alike = [row for row in MODCODS if row.constellation == modcod.constellation and row.standard is Standard.S2X]
    ordinary = [row for row in alike if not row.rate.endswith("-L")]
    nearest = min(ordinary, key=lambda row: abs(Fraction(row.rate) - rate))
    return hard_limiter_penalty_db(nearest)


def required_es_n0_db(modcod: Modcod, losses: Losses) -> float:
    """Es/N0 in dB below which a receiver of this MODCOD is expected to lose lock."""
    low_order = modcod.bits <= _LOW_ORDER_BITS
    loss = losses.implementation_db if low_order else losses.high_order_implementation_db
    penalty = hard_limiter_penalty_db(modcod) if losses.saturated else 0.0
    return round(modcod.es_n0_db + loss + penalty, 2)


def margin_db(modcod: Modcod, es_n0_db: float, losses: Losses) -> float:
    """Es/N0 above what is required; negative when lock is lost."""
    return es_n0_db - required_es_n0_db(modcod, losses)
