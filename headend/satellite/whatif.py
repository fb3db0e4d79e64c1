"""What would a fade do? The adaptation itself, run over a fade that is only thought of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from headend.satellite.actions import Action, LeaveSite, Observation, ReturnSite, SetPower, StepDown, StepUp
from headend.satellite.adaptation import Adaptation, AdaptationSettings, State
from headend.satellite.fade import LinkReference
from headend.satellite.ladder import Rung
from headend.satellite.ulpc import UlpcSettings

_TICK_S = 0.5
_POLL_TICKS = 2
_LONGEST_S = 3600.0


@dataclass(frozen=True, slots=True)
class Event:
    """Something that would happen, `at_s` after the fade begins, when it is `fade_db` deep."""

    at_s: float
    fade_db: float
    text: str


@dataclass(frozen=True, slots=True)
class FadePlan:
    """What a fade would do.

    power_db   the most that would be added to clear sky's level
    lowest     the rung of the smallest capacity on the way
    relocks    MODCOD changes, each one relock of every receiver
    outage_s   seconds in which a receiver has no lock beyond the relocks: receiver -> seconds
    recovered  all is as before once the fade is gone
    """

    fade_db: float
    slope_db_per_s: float
    site: str
    events: tuple[Event, ...]
    power_db: float
    lowest: Rung
    relocks: int
    outage_s: dict[str, float]
    recovered: bool

    def explain(self) -> tuple[str, ...]:
        """Lines for people."""
        where = f"downlink of {self.site}" if self.site else "uplink"
        head = f"{where} fades by {self.fade_db:.1f} dB at {self.slope_db_per_s:.2f} dB/s, and back"
        lines = [f"{event.at_s:7.1f} s  {event.fade_db:5.1f} dB  {event.text}" for event in self.events]
        outages = [f"{name} would be out of lock for {seconds:.1f} s" for name, seconds in self.outage_s.items()]
        tail = f"power up to +{self.power_db:.1f} dB, receiver relocks: {self.relocks}, lowest: {self.lowest.modcod}"
        end = "all comes back" if self.recovered else "not all comes back within the hour"
        return (head, *lines, tail, *self.lowest.explain()[1:], *outages, end)


def plan_fade(
    rungs: Sequence[Rung],
    reference: LinkReference,
    power: UlpcSettings,
    settings: AdaptationSettings,
    fade_db: float,
    *,
    slope_db_per_s: float = 0.5,
    hold_s: float = 60.0,
    site: str = "",
) -> FadePlan:
    """Fly the adaptation through a fade of the uplink, or of one `site`'s downlink, and back to clear sky."""
    flight = _Flight(rungs, reference, power, settings, site)
    rise_s = fade_db / slope_db_per_s
    gone_s = 2 * rise_s + hold_s
    # Clear sky first: the adaptation starts with a dwell.
    begin_s = settings.dwell_s + 2 * settings.slope_window_s
    now_s = 0.0
    tick = 0
    while now_s - begin_s < gone_s + _LONGEST_S:
        passed_s = now_s - begin_s
        depth_db = max(0.0, min(fade_db, passed_s * slope_db_per_s, (gone_s - passed_s) * slope_db_per_s))
        flight.move(now_s, depth_db, begin_s, poll=tick % _POLL_TICKS == 0)
        if passed_s > gone_s and flight.settled(gone_s + begin_s, now_s):
            break
        tick += 1
        now_s = tick * _TICK_S
    return FadePlan(
        fade_db=fade_db,
        slope_db_per_s=slope_db_per_s,
        site=site,
        events=tuple(flight.events),
        power_db=round(flight.highest_dbm - power.clear_dbm, 1),
        lowest=flight.lowest,
        relocks=flight.relocks,
        outage_s=flight.outage_s,
        recovered=flight.recovered,
    )


class _Flight:
    """The link under the adaptation: everything answers at once but MODCOD steps, which take their time."""

    def __init__(
        self,
        rungs: Sequence[Rung],
        reference: LinkReference,
        power: UlpcSettings,
        settings: AdaptationSettings,
        site: str,
    ) -> None:
        self._rungs, self._reference, self._power, self._settings, self._site = rungs, reference, power, settings, site
        self._controller = Adaptation(rungs, reference, power, settings, now_s=0.0)
        self._step: StepDown | StepUp | None = None
        self._step_over_s = 0.0
        self._level_dbm = power.clear_dbm
        self.events: list[Event] = []
        self.highest_dbm = power.clear_dbm
        self.lowest = rungs[0]
        self.relocks = 0
        self.outage_s: dict[str, float] = {}

    @property
    def recovered(self) -> bool:
        return self._controller.rung is self._rungs[0] and not self._controller.sites_away

    def settled(self, clear_since_s: float, now_s: float) -> bool:
        """Nothing more is to come: all is back and power is down, or has had its time."""
        quiet_s = self._power.headroom_db / self._power.slew_db_per_s + self._settings.dwell_s
        return self.recovered and self._controller.state is State.STEADY and now_s - clear_since_s > quiet_s

    def move(self, now_s: float, depth_db: float, begin_s: float, *, poll: bool) -> None:
        if self._step is not None and now_s >= self._step_over_s:
            self._controller.step_done(now_s, self._step.rung_to)
            self._step = None
        readings = self._readings(depth_db)
        for name, value in readings.items():
            if value is None:
                self.outage_s[name] = self.outage_s.get(name, 0.0) + _TICK_S
        if not poll:
            return
        beacon = self._reference.beacon_db
        if beacon is not None and not self._site:
            beacon -= depth_db / self._reference.uplink_to_beacon
        for action in self._controller.observe(Observation(now_s, readings, beacon, self._level_dbm)):
            self._take(action, now_s, Event(now_s - begin_s, depth_db, ""))

    def _readings(self, depth_db: float) -> dict[str, float | None]:
        offset_db = self._level_dbm - self._power.clear_dbm
        readings: dict[str, float | None] = {}
        for name, clear_db in self._reference.es_n0_db.items():
            hit = not self._site or name == self._site
            value = clear_db + offset_db - (depth_db if hit else 0.0)
            readings[name] = value if value >= self._controller.rung.required_es_n0_db else None
        return readings

    def _take(self, action: Action, now_s: float, event: Event) -> None:
        text = ""
        if isinstance(action, SetPower):
            at_cap = action.level_dbm >= self._power.ceiling_dbm - self._power.deadband_db
            if at_cap and action.level_dbm > self._level_dbm:
                text = f"uplink power reaches its cap, {action.level_dbm:.1f} dBm"
            self._level_dbm = action.level_dbm
            self.highest_dbm = max(self.highest_dbm, action.level_dbm)
        elif isinstance(action, StepDown | StepUp):
            self._step, self._step_over_s = action, now_s + self._settings.step_duration_s
            self.relocks += 1
            if action.rung_to.net_rate_bps < self.lowest.net_rate_bps:
                self.lowest = action.rung_to
            why = f" ({action.reason.value})" if isinstance(action, StepDown) else ""
            text = f"{action.disruption}{why}"
        elif isinstance(action, LeaveSite):
            text = f"{action.site} takes its next path"
        elif isinstance(action, ReturnSite):
            text = f"{action.site} takes the satellite again"
        if text:
            self.events.append(Event(event.at_s, event.fade_db, text))
