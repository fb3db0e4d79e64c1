"""Carriers in a transponder: what they occupy, whether they fit, and a picture of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from headend.satellite.modcod import Standard
from nf.errors import InputError, Problem

ROLL_OFFS: dict[Standard, frozenset[float]] = {
    Standard.S2: frozenset({0.35, 0.25, 0.20}),
    Standard.S2X: frozenset({0.35, 0.25, 0.20, 0.15, 0.10, 0.05}),
}
FLOOR_DB = -40.0
_ROUNDING_HZ = 0.5


@dataclass(frozen=True, slots=True)
class Carrier:
    """A carrier. `level_db`: its power density against the others', for the picture.

    `roll_off`: of the root raised cosine filter, EN 302 307-1 clause 5.6 and EN 302 307-2 clause 5.6.
    """

    name: str
    centre_hz: float
    symbol_rate_baud: float
    roll_off: float
    standard: Standard = Standard.S2X
    level_db: float = 0.0

    def __post_init__(self) -> None:
        if self.roll_off not in ROLL_OFFS[self.standard]:
            known = ", ".join(f"{value:.2f}" for value in sorted(ROLL_OFFS[self.standard]))
            raise InputError(
                f"{self.standard.value} has no roll-off {self.roll_off}", where=self.name, remedy=f"use one of {known}"
            )
        if self.symbol_rate_baud <= 0:
            raise InputError("a symbol rate is more than 0", where=self.name)

    @property
    def occupied_hz(self) -> float:
        """Symbol rate x (1 + roll-off)."""
        return self.symbol_rate_baud * (1 + self.roll_off)

    @property
    def low_hz(self) -> float:
        return self.centre_hz - self.occupied_hz / 2

    @property
    def high_hz(self) -> float:
        return self.centre_hz + self.occupied_hz / 2

    def density(self, frequency_hz: float) -> float:
        """Power density at `frequency_hz` against that in the middle (0..1): the raised cosine."""
        distance = abs(frequency_hz - self.centre_hz) / self.symbol_rate_baud
        flat, end = (1 - self.roll_off) / 2, (1 + self.roll_off) / 2
        if distance <= flat:
            return 1.0
        if distance >= end:
            return 0.0
        return 0.5 * (1 + math.cos(math.pi * (distance - flat) / self.roll_off))


@dataclass(frozen=True, slots=True)
class Transponder:
    """`guard_hz`: free between two carriers, and at both edges."""

    name: str
    centre_hz: float
    bandwidth_hz: float
    guard_hz: float = 0.0

    @property
    def low_hz(self) -> float:
        return self.centre_hz - self.bandwidth_hz / 2

    @property
    def high_hz(self) -> float:
        return self.centre_hz + self.bandwidth_hz / 2


def max_symbol_rate_baud(bandwidth_hz: float, roll_off: float) -> float:
    """The symbol rate that fills `bandwidth_hz`."""
    return bandwidth_hz / (1 + roll_off)


def problems(transponder: Transponder, carriers: Sequence[Carrier], *, key: str = "") -> tuple[Problem, ...]:
    """Carriers that are wider than the transponder, reach into its edges, or are too near to each other."""
    found = [problem for carrier in carriers for problem in _edge_problems(transponder, carrier, key)]
    names = [carrier.name for carrier in carriers]
    found += [
        Problem("a carrier's name is used twice", "give it another name", key=key, value=name)
        for name in sorted({name for name in names if names.count(name) > 1})
    ]
    # A wide carrier can reach over its neighbour, so each is held against the farthest edge below it.
    ordered = sorted(carriers, key=lambda carrier: carrier.low_hz)
    farthest = ordered[:1]
    for carrier in ordered[1:]:
        farthest.append(max(farthest[-1], carrier, key=lambda one: one.high_hz))
    for below, carrier in zip(farthest, ordered[1:], strict=False):
        gap_hz = carrier.low_hz - below.high_hz
        if gap_hz < transponder.guard_hz - _ROUNDING_HZ:
            what = f"overlap by {_mhz(-gap_hz)}" if gap_hz < 0 else f"are {_mhz(gap_hz)} apart"
            rule = f"{below.name} and {carrier.name} {what}; the guard is {_mhz(transponder.guard_hz)}"
            remedy = f"move {carrier.name} up by {_mhz(transponder.guard_hz - gap_hz)} or lower a symbol rate"
            found.append(Problem(rule, remedy, key=key, value=carrier.name))
    return tuple(found)


def _edge_problems(transponder: Transponder, carrier: Carrier, key: str) -> list[Problem]:
    room_hz = transponder.bandwidth_hz - 2 * transponder.guard_hz
    if carrier.occupied_hz > room_hz + _ROUNDING_HZ:
        rate = max_symbol_rate_baud(room_hz, carrier.roll_off) / 1e6
        rule = f"{carrier.name} occupies {_mhz(carrier.occupied_hz)}, {transponder.name} has room for {_mhz(room_hz)}"
        return [Problem(rule, f"lower its symbol rate to {rate:.3f} Msym/s", key=key, value=carrier.name)]
    over = (
        ("below", transponder.low_hz + transponder.guard_hz - carrier.low_hz),
        ("above", carrier.high_hz - transponder.high_hz + transponder.guard_hz),
    )
    return [
        Problem(
            f"{carrier.name} reaches {_mhz(excess_hz)} {side} {transponder.name}'s edge and its guard",
            f"move its centre by {_mhz(excess_hz)}",
            key=key,
            value=carrier.name,
        )
        for side, excess_hz in over
        if excess_hz > _ROUNDING_HZ
    ]


def spectrum_db(carriers: Sequence[Carrier], frequency_hz: float) -> float:
    """Power density of all carriers at a frequency, against a carrier of level 0; not below -40 dB."""
    power = sum(10 ** (carrier.level_db / 10) * carrier.density(frequency_hz) for carrier in carriers)
    return max(FLOOR_DB, 10 * math.log10(power)) if power > 0 else FLOOR_DB


def sampled(transponder: Transponder, carriers: Sequence[Carrier], points: int) -> list[tuple[float, float]]:
    """(Hz, dB) at evenly spread frequencies, from 5 % below to 5 % above the transponder."""
    margin_hz = transponder.bandwidth_hz * 0.05
    start_hz = transponder.low_hz - margin_hz
    step_hz = (transponder.bandwidth_hz + 2 * margin_hz) / (points - 1)
    return [(hz, spectrum_db(carriers, hz)) for hz in (start_hz + step_hz * at for at in range(points))]


def gaps_hz(transponder: Transponder, carriers: Sequence[Carrier]) -> tuple[tuple[float, float], ...]:
    """(from, to) of the stretches that no carrier occupies, in ascending order."""
    edges = sorted((carrier.low_hz, carrier.high_hz) for carrier in carriers)
    free, reached = [], transponder.low_hz
    for low, high in (*edges, (transponder.high_hz, transponder.high_hz)):
        end = min(low, transponder.high_hz)
        if end > reached + _ROUNDING_HZ:
            free.append((reached, end))
        reached = max(reached, high)
    return tuple(free)


def _mhz(hz: float) -> str:
    return f"{hz / 1e6:.3f} MHz"
