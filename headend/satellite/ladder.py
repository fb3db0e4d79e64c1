"""What each MODCOD of a carrier carries: who has the full rate, who the minimum, who is left out.

A rung is one MODCOD with the services it carries. Services are served in the order of their priority; 1 is the most
important. Nobody has more than the minimum while somebody more important is cut, and nobody is carried while somebody
more important is left out. So the least important leave first, and who left last comes back first.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from types import MappingProxyType

from headend.satellite.framing import FrameSize, net_bitrate_bps
from headend.satellite.modcod import Modcod
from headend.satellite.threshold import DEFAULT_LOSSES, Losses, required_es_n0_db
from nf.errors import InputError

GRANULARITY_BPS = 1000


@dataclass(frozen=True, slots=True)
class Service:
    """A channel on the carrier. Rates are those of its transport stream packets: all PIDs of the service and its PMT.

    rate_bps      with enough capacity
    min_rate_bps  the least that is worth sending; below it the service leaves
    priority      1 is the most important; among equals the one listed first stays longer
    """

    channel: str
    rate_bps: int
    min_rate_bps: int
    priority: int

    def __post_init__(self) -> None:
        if not 0 < self.min_rate_bps <= self.rate_bps:
            raise InputError(
                f"minimum {self.min_rate_bps} bit/s of {self.rate_bps} bit/s",
                where=self.channel,
                remedy="a minimum is more than 0 and at most the rate",
            )


@dataclass(frozen=True, slots=True)
class Rung:
    """One MODCOD and what it carries.

    net_rate_bps       of the carrier
    ts_rate_bps        of the multiplex, constant: net rate less the reserve; services, SI and null packets
    usable_bps         for services: `ts_rate_bps` less SI; negative where SI alone does not fit
    required_es_n0_db  below it receivers lose lock
    services           channel -> bit/s, in the order of priority
    wanted             channel -> bit/s each would have with enough capacity, also for those left out
    left_out           the most important first: the order in which they come back
    """

    modcod: Modcod
    net_rate_bps: int
    ts_rate_bps: int
    usable_bps: int
    required_es_n0_db: float
    services: Mapping[str, int]
    wanted: Mapping[str, int]
    left_out: tuple[str, ...]

    @property
    def used_bps(self) -> int:
        """Bit/s of all services that are carried."""
        return sum(self.services.values())

    @property
    def shortfall_bps(self) -> int:
        """Bit/s that lack for every service at its full rate; 0 when all fit."""
        return max(0, sum(self.wanted.values()) - self.usable_bps)

    @property
    def reduced(self) -> tuple[str, ...]:
        """Channels that are carried below their full rate."""
        return tuple(channel for channel, rate in self.services.items() if rate < self.wanted[channel])

    @property
    def whole(self) -> bool:
        """Everybody has the full rate."""
        return not self.left_out and not self.reduced

    def explain(self) -> tuple[str, ...]:
        """Lines for people: the capacity, then each channel with what it gets and why."""
        head = (
            f"{self.modcod}: needs Es/N0 {self.required_es_n0_db:.2f} dB, carries {_mbit(self.net_rate_bps)} net, "
            f"{_mbit(self.usable_bps)} for services, {_mbit(self.used_bps)} used"
        )
        return (head, *(self._fate(channel) for channel in self.wanted))

    def _fate(self, channel: str) -> str:
        rate, wanted = self.services.get(channel, 0), self.wanted[channel]
        if not rate:
            return f"{channel}: left out, its minimum no longer fits behind those of higher priority"
        if rate < wanted:
            return f"{channel}: {_mbit(rate)} of {_mbit(wanted)}, so that all that are carried fit"
        return f"{channel}: {_mbit(rate)}"


def by_priority(services: Iterable[Service]) -> list[Service]:
    """The most important first; among equals as listed."""
    return sorted(services, key=lambda service: service.priority)


def share(services: Iterable[Service], usable_bps: int) -> tuple[dict[str, int], tuple[str, ...]]:
    """Divide `usable_bps`: (channel -> bit/s, channels left out), both in the order of priority.

    As many as fit at their minimum are carried; what is left then fills them up, the most important first. Whoever is
    cut between minimum and full rate is filled up in whole kbit/s, since encoders take those.
    """
    ranked = by_priority(services)
    left = usable_bps
    kept = 0
    for service in ranked:
        if service.min_rate_bps > left:
            break
        left -= service.min_rate_bps
        kept += 1
    rates = {}
    for service in ranked[:kept]:
        more = service.rate_bps - service.min_rate_bps
        if more > left:
            more = left - left % GRANULARITY_BPS
            left = more  # the remainder of the rounding feeds nobody less important
        rates[service.channel] = service.min_rate_bps + more
        left -= more
    return rates, tuple(service.channel for service in ranked[kept:])


def build_ladder(
    services: Sequence[Service],
    modcods: Iterable[Modcod],
    symbol_rate_baud: int,
    *,
    pilots: bool,
    reserve: float,
    si_rate_bps: int,
    losses: Losses = DEFAULT_LOSSES,
    frame: FrameSize = FrameSize.NORMAL,
) -> tuple[Rung, ...]:
    """The rungs of a carrier, from the clear-sky MODCOD (the highest net rate) down to the most robust one.

    `reserve`: share of the net rate that stays free (0 <= reserve < 1). `si_rate_bps`: PAT, NIT, SDT, EIT, TDT.
    Left out are MODCODs that need no less Es/N0 than another that carries as much, and below the clear-sky one those
    that carry nobody. The first rung is there even when it does not carry everybody; see its `shortfall_bps`.
    Raises InputError.
    """
    names = [service.channel for service in services]
    if len(names) != len(set(names)):
        raise InputError("a channel is listed twice", where=", ".join(sorted(names)))
    if not 0 <= reserve < 1 or si_rate_bps < 0:
        raise InputError(f"reserve {reserve}, SI {si_rate_bps} bit/s", remedy="a reserve is a share of 0 to below 1")
    rungs = []
    for modcod in modcods:
        net = net_bitrate_bps(modcod, symbol_rate_baud, pilots=pilots, frame=frame)
        rungs.append(_rung(modcod, net, services, reserve=reserve, si_bps=si_rate_bps, losses=losses))
    if not rungs:
        raise InputError("no MODCOD is allowed", remedy="name at least the clear-sky MODCOD")
    useful: list[Rung] = []
    for one in sorted(rungs, key=lambda rung: (rung.required_es_n0_db, -rung.net_rate_bps)):
        if not useful or one.net_rate_bps > useful[-1].net_rate_bps:
            useful.append(one)
    top, *rest = reversed(useful)
    return (top, *(one for one in rest if one.services))


def _rung(
    modcod: Modcod, net_bps: int, services: Sequence[Service], *, reserve: float, si_bps: int, losses: Losses
) -> Rung:
    ts_bps = math.floor(net_bps * (1 - Fraction(repr(reserve))))
    rates, left_out = share(services, ts_bps - si_bps)
    return Rung(
        modcod=modcod,
        net_rate_bps=net_bps,
        ts_rate_bps=ts_bps,
        usable_bps=ts_bps - si_bps,
        required_es_n0_db=required_es_n0_db(modcod, losses),
        services=MappingProxyType(rates),
        wanted=MappingProxyType({service.channel: service.rate_bps for service in by_priority(services)}),
        left_out=left_out,
    )


def _mbit(bps: int) -> str:
    return f"{bps / 1e6:.3f} Mbit/s"
