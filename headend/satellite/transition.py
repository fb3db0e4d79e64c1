"""The order of a change of rung: at no instant does the multiplex send more than the carrier takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from headend.satellite.ladder import Rung
from headend.satellite.modcod import Modcod


@dataclass(frozen=True, slots=True)
class SetRates:
    """Encoders and multiplex to these rates (channel -> bit/s), proved before the next step.

    Channels of `leave` go out of the multiplex before, those of `join` come in after the others have their rate.
    """

    rates: Mapping[str, int]
    leave: tuple[str, ...]
    join: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SetModcod:
    """The carrier to this MODCOD; every receiver relocks once."""

    modcod: Modcod


def order(rung_from: Rung, rung_to: Rung) -> tuple[SetRates | SetModcod, ...]:
    """Steps from one rung to another: what falls falls before the MODCOD changes, what rises rises after it.

    Going down, rates go down before the MODCOD; going up, the MODCOD goes up before the rates. A channel may rise on
    the way down, where another has left; it then rises last. Steps that would change nothing are left out.
    """
    both = {
        channel: min(rate, rung_to.services[channel])
        for channel, rate in rung_from.services.items()
        if channel in rung_to.services
    }
    before = _rates(rung_from.services, both)
    modcod = (SetModcod(rung_to.modcod),) if rung_from.modcod != rung_to.modcod else ()
    after = _rates(both, rung_to.services)
    return (*before, *modcod, *after)


def _rates(have: Mapping[str, int], want: Mapping[str, int]) -> tuple[SetRates, ...]:
    if dict(have) == dict(want):
        return ()
    leave = tuple(channel for channel in have if channel not in want)
    join = tuple(channel for channel in want if channel not in have)
    return (SetRates(MappingProxyType(dict(want)), leave, join),)
