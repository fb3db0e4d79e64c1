"""A link to fly the adaptation over: its own arithmetic, its own delays, and a record of what went wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from headend.satellite.actions import Action, Observation, SetPower, StepDown, StepUp
from headend.satellite.adaptation import Adaptation, AdaptationSettings
from headend.satellite.fade import LinkReference
from headend.satellite.ladder import Rung, Service, build_ladder
from headend.satellite.modcod import Modcod, by_name
from headend.satellite.transition import SetModcod, SetRates
from headend.satellite.ulpc import UlpcSettings

Fade = Callable[[float], float]
TICK_S = 0.1
HOP_S = 0.27
READING_S = 0.4
SI_BPS = 50_000
BEACON_DBM = -60.0

SERVICES = (
    Service("news", 1_500_000, 800_000, 1),
    Service("film", 1_500_000, 600_000, 2),
    Service("shop", 900_000, 500_000, 3),
)
RUNGS = build_ladder(
    SERVICES,
    [by_name(name) for name in ("8PSK 3/4", "QPSK 3/4", "QPSK 1/2", "QPSK 1/4")],
    2_000_000,
    pilots=True,
    reserve=0.05,
    si_rate_bps=SI_BPS,
)
REFERENCE = LinkReference({"pop1": 13.0, "pop2": 14.0}, beacon_db=BEACON_DBM)
POWER = UlpcSettings(clear_dbm=-20.0, cap_dbm=-14.0)
SETTINGS = AdaptationSettings()


def no_fade(_: float) -> float:
    return 0.0


def ramp(depth_db: float, slope_db_per_s: float, *, start_s: float = 20.0, hold_s: float = 60.0) -> Fade:
    """Up to `depth_db`, a while there, and back."""
    length_s = depth_db / slope_db_per_s

    def fade(now_s: float) -> float:
        rising = (now_s - start_s) * slope_db_per_s
        falling = depth_db - (now_s - start_s - length_s - hold_s) * slope_db_per_s
        return max(0.0, min(depth_db, rising, falling))

    return fade


def ideal_es_n0_db(modcod: Modcod) -> float:
    """What the receivers of this link really need: 0.5 dB more than the standard's figure."""
    return modcod.es_n0_db + 0.5


@dataclass
class Link:
    """Run it with `run`. `lost`: (seconds, receiver) out of lock though no relock was under way."""

    uplink: Fade = no_fade
    sites: Mapping[str, Fade] = field(default_factory=dict)
    beacon: Callable[[float], float | None] | None = None
    noise: Callable[[], float] = field(default=lambda: 0.0)
    uplink_to_beacon: float = 1.48
    reference: LinkReference = REFERENCE
    power: UlpcSettings = POWER
    settings: AdaptationSettings = SETTINGS
    rungs: tuple[Rung, ...] = RUNGS

    def __post_init__(self) -> None:
        self.controller = Adaptation(self.rungs, self.reference, self.power, self.settings, now_s=0.0)
        self.levels: list[tuple[float, float]] = [(-10.0, self.power.clear_dbm)]
        self.modcod = self.rungs[0].modcod
        self.rates: Mapping[str, int] = self.rungs[0].services
        self.relock_until_s = 0.0
        self.lost: list[tuple[float, str]] = []
        self.overfilled: list[float] = []
        self.relocks: list[float] = []
        self.actions: list[tuple[float, Action]] = []
        self.seen: list[tuple[float, Observation, Adaptation]] = []
        self._due: list[tuple[float, Callable[[float], None]]] = []

    def level_dbm(self, at_s: float) -> float:
        return next(level for since_s, level in reversed(self.levels) if since_s <= at_s)

    def es_n0_db(self, receiver: str, at_s: float) -> float:
        up_s = at_s - HOP_S
        tx_db = self.level_dbm(up_s) - self.power.clear_dbm
        site = self.sites.get(receiver, no_fade)
        return self.reference.es_n0_db[receiver] + tx_db - self.uplink(up_s) - site(at_s)

    def run(self, seconds: float) -> Link:
        ticks = round(seconds / TICK_S)
        for tick in range(ticks):
            now_s = tick * TICK_S
            for due in [due for due in self._due if due[0] <= now_s]:
                self._due.remove(due)
                due[1](now_s)
            self._check(now_s)
            if tick % round(1 / TICK_S) == 0:
                self._poll(now_s)
        return self

    def _check(self, now_s: float) -> None:
        net = next(rung for rung in self.rungs if rung.modcod == self.modcod).net_rate_bps
        if sum(self.rates.values()) + SI_BPS > net * 0.95:
            self.overfilled.append(now_s)
        if now_s >= self.relock_until_s:
            self.lost += [(now_s, name) for name in self.reference.es_n0_db if not self._locked(name, now_s)]

    def _locked(self, receiver: str, at_s: float) -> bool:
        return self.es_n0_db(receiver, at_s) >= ideal_es_n0_db(self.modcod)

    def _poll(self, now_s: float) -> None:
        then_s = now_s - READING_S
        readings = {
            name: self.es_n0_db(name, then_s) + self.noise()
            if self._locked(name, then_s) and now_s >= self.relock_until_s
            else None
            for name in self.reference.es_n0_db
        }
        heard = self.uplink(now_s) / self.uplink_to_beacon
        beacon = BEACON_DBM - heard + self.noise() if self.beacon is None else self.beacon(now_s)
        observation = Observation(now_s, readings, beacon, self.level_dbm(now_s))
        actions = self.controller.observe(observation)
        self.actions += [(now_s, action) for action in actions]
        for action in actions:
            self._carry_out(now_s, action)

    def _carry_out(self, now_s: float, action: Action) -> None:
        if isinstance(action, SetPower):
            self._due.append((now_s + 0.1, lambda at: self.levels.append((at, action.level_dbm))))
        if isinstance(action, StepDown | StepUp):
            at_s = now_s
            for step in action.steps:
                at_s += 1.0
                self._due.append((at_s, lambda at, step=step: self._apply(at, step)))
            self._due.append((at_s + 0.5, lambda at: self.controller.step_done(at, action.rung_to)))

    def _apply(self, now_s: float, step: SetRates | SetModcod) -> None:
        if isinstance(step, SetRates):
            self.rates = step.rates
        else:
            self.modcod = step.modcod
            self.relocks.append(now_s)
            self.relock_until_s = now_s + HOP_S + 0.5

    def of(self, *kinds: type[Action]) -> list[Action]:
        """Actions of these kinds, in order."""
        return [action for _, action in self.actions if isinstance(action, kinds)]
