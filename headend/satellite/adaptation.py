"""Adaptation of a broadcast carrier to the weather at its uplink, without I/O.

Power first: a fade that the beacon shows is answered by uplink power, up to the cap. A MODCOD change costs every
receiver a relock, so it is the last resort before loss: only when power is used up or may not be used, or when the
slope of the fade says that waiting for power would be too late. It skips down as far as the slope demands and comes
back one rung at a time, with hysteresis and a dwell. A fade at one receive site never changes the carrier.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from headend.satellite.actions import (
    Action,
    AlarmKind,
    LeaveSite,
    Observation,
    Reason,
    ReturnSite,
    SetPower,
    StepDown,
    StepUp,
)
from headend.satellite.alarms import AlarmBoard, lock_conditions, site_conditions
from headend.satellite.fade import FadeEstimate, LinkReference
from headend.satellite.ladder import Rung
from headend.satellite.measure import LinkMeasure
from headend.satellite.power import PowerControl
from headend.satellite.sites import SiteWatch
from headend.satellite.ulpc import Mode, UlpcSettings
from nf.errors import Problem

_DEEPENING_DB_PER_S = 0.05
_RECEDED_DB_PER_S = 0.15
_AT_RISK_DB = 1.0


@dataclass(frozen=True, slots=True)
class AdaptationSettings:
    """Margins in dB above what a MODCOD requires, times in seconds.

    margin_down_db   below it the carrier steps down
    margin_up_db     with so much over the next better MODCOD, for `up_hold_s`, it steps up
    dwell_s          after a step no other for so long
    loop_delay_s     from a fade to its report: a satellite hop (0.25 s), measurement, poll
    step_duration_s  from the decision to the new MODCOD on the air: rates down, proved, MODCOD
    relock_s         receivers may be out of lock for so long after a step
    slope_window_s   over which the slope of a fade is taken
    """

    margin_down_db: float = 0.5
    margin_up_db: float = 1.2
    up_hold_s: float = 30.0
    dwell_s: float = 10.0
    loop_delay_s: float = 1.5
    step_duration_s: float = 3.0
    relock_s: float = 2.0
    slope_window_s: float = 6.0


class State(Enum):
    """`CHANGING`: a step was asked for and is not reported back. `DWELL`: after a step, no other for a while."""

    MUTED = "muted"
    STEADY = "steady"
    CHANGING = "changing"
    DWELL = "dwell"


class Input(Enum):
    MUTED = "muted"
    ON_AIR = "on air"
    STEP = "step"
    STEP_OVER = "step over"
    DWELL_OVER = "dwell over"


class Effect(Enum):
    NOTHING = "nothing"
    START_DWELL = "start dwell"
    FORGET = "forget what was measured, power as in clear sky"


TABLE: Mapping[tuple[State, Input], tuple[Effect, State]] = {
    (State.MUTED, Input.MUTED): (Effect.NOTHING, State.MUTED),
    (State.STEADY, Input.MUTED): (Effect.FORGET, State.MUTED),
    (State.DWELL, Input.MUTED): (Effect.FORGET, State.MUTED),
    (State.CHANGING, Input.MUTED): (Effect.FORGET, State.CHANGING),
    (State.MUTED, Input.ON_AIR): (Effect.START_DWELL, State.DWELL),
    (State.STEADY, Input.ON_AIR): (Effect.NOTHING, State.STEADY),
    (State.DWELL, Input.ON_AIR): (Effect.NOTHING, State.DWELL),
    (State.CHANGING, Input.ON_AIR): (Effect.NOTHING, State.CHANGING),
    (State.STEADY, Input.STEP): (Effect.NOTHING, State.CHANGING),
    (State.CHANGING, Input.STEP_OVER): (Effect.START_DWELL, State.DWELL),
    (State.DWELL, Input.DWELL_OVER): (Effect.NOTHING, State.STEADY),
}


class Adaptation:
    """Controller of one carrier. Feed it `observe` about once a second and carry out what it returns.

    A `StepDown` or `StepUp` is reported back with `step_done`, or `step_failed` when it was undone; until then no other
    is asked for. An input that the table does not have raises KeyError.
    """

    def __init__(
        self,
        rungs: Sequence[Rung],
        reference: LinkReference,
        power: UlpcSettings,
        settings: AdaptationSettings,
        *,
        now_s: float,
        rung: int = 0,
    ) -> None:
        self._rungs = tuple(rungs)
        self._reference = reference
        self._settings = settings
        self._index = rung
        self._power = PowerControl(power, onset_db=reference.onset_db, now_s=now_s)
        self._measure = LinkMeasure(
            reference,
            clear_dbm=power.clear_dbm,
            loop_delay_s=settings.loop_delay_s,
            window_s=settings.slope_window_s,
        )
        self._sites = SiteWatch(
            onset_db=reference.onset_db,
            leave_margin_db=settings.margin_down_db,
            return_margin_db=settings.margin_up_db,
            hold_s=settings.up_hold_s,
        )
        self._board = AlarmBoard(onset_db=reference.onset_db, tolerance_db=reference.tolerance_db)
        self._step_failed = ""
        self._since_s = now_s
        self._good_since_s: float | None = None
        self.state = State.MUTED

    @property
    def rung(self) -> Rung:
        """The rung on the air, or the one before while a step is under way."""
        return self._rungs[self._index]

    @property
    def level_dbm(self) -> float:
        """The transmit level as last asked for."""
        return self._power.level_dbm

    @property
    def power_mode(self) -> Mode:
        return self._power.mode

    @property
    def estimate(self) -> FadeEstimate:
        """The fades by the last observation."""
        return self._measure.estimate

    @property
    def sites_away(self) -> frozenset[str]:
        """Receive sites on their next path."""
        return self._sites.away

    @property
    def es_n0_db(self) -> float | None:
        """Of the receiver with the least margin, its own site's fade not counted; None when nobody can tell."""
        return self._measure.es_n0_db

    @property
    def margin_db(self) -> float | None:
        """`es_n0_db` above what the rung on the air requires."""
        return None if self.es_n0_db is None else self.es_n0_db - self.rung.required_es_n0_db

    def observe(self, seen: Observation) -> tuple[Action, ...]:
        """What to do now. `seen.at_s` never goes back."""
        now_s = seen.at_s
        before_dbm = self.level_dbm
        self._input(Input.MUTED if seen.muted else Input.ON_AIR, now_s)
        if seen.muted:
            level = (SetPower(self.level_dbm),) if self.level_dbm != before_dbm else ()
            return (*level, *self._board.update({}))
        if self.state is State.DWELL and now_s - self._since_s >= self._settings.dwell_s:
            self._input(Input.DWELL_OVER, now_s)
        receivers = {site: value for site, value in seen.es_n0_db.items() if site in self._reference.es_n0_db}
        self._measure.update(seen, self.level_dbm if seen.level_dbm is None else seen.level_dbm)
        actions: list[Action] = [*self._control_power(now_s), *self._judge_sites(now_s, receivers)]
        step = self._decide(now_s)
        if step is not None:
            self._input(Input.STEP, now_s)
            actions.append(step)
        return (*actions, *self._board.update(self._conditions(now_s, receivers)))

    def step_done(self, now_s: float, rung: Rung) -> None:
        """The carrier is on `rung`, one of the ladder's. Raises ValueError for another."""
        self._index = self._rungs.index(rung)
        self._step_failed = ""
        self._input(Input.STEP_OVER, now_s)

    def step_failed(self, now_s: float, why: str) -> None:
        """The step was undone; the carrier is where it was. It is asked for again after the dwell, if still needed."""
        self._step_failed = why
        self._input(Input.STEP_OVER, now_s)

    # -- state ------------------------------------------------------------------------------------------------------

    def _input(self, what: Input, now_s: float) -> None:
        effect, self.state = TABLE[self.state, what]
        if effect is Effect.NOTHING:
            return
        self._good_since_s = None
        if effect is Effect.START_DWELL:
            self._since_s = now_s
        else:
            self._power.reset(now_s)
            self._measure.forget()

    def _relocking(self, now_s: float) -> bool:
        after_step = self.state is State.DWELL and now_s - self._since_s < self._settings.relock_s
        return self.state is State.CHANGING or after_step

    # -- power and sites --------------------------------------------------------------------------------------------

    def _control_power(self, now_s: float) -> tuple[SetPower, ...]:
        margin = self.margin_db
        at_risk = margin is not None and margin < self._settings.margin_down_db + _AT_RISK_DB
        level = self._power.update(now_s, self.estimate, at_risk=at_risk)
        return () if level is None else (SetPower(level),)

    def _judge_sites(self, now_s: float, receivers: Mapping[str, float | None]) -> list[LeaveSite | ReturnSite]:
        return self._sites.judge(
            now_s,
            receivers,
            self.estimate,
            required_es_n0_db=self.rung.required_es_n0_db,
            relocking=self._relocking(now_s),
        )

    # -- MODCOD -----------------------------------------------------------------------------------------------------

    def _decide(self, now_s: float) -> StepDown | StepUp | None:
        if self.state is not State.STEADY or self.es_n0_db is None:
            self._good_since_s = None
            return None
        if self._loss_ahead(self.es_n0_db):
            self._good_since_s = None
            return self._down(self.es_n0_db)
        return self._up(now_s, self.es_n0_db)

    def _loss_ahead(self, es_n0_db: float) -> bool:
        ahead_db = self._predicted_db(es_n0_db, self._settings.step_duration_s)
        return ahead_db < self.rung.required_es_n0_db + self._settings.margin_down_db

    def _predicted_db(self, es_n0_db: float, ahead_s: float) -> float:
        """Es/N0 `ahead_s` from now: the fade goes on as it does, and has since it was measured; some power comes."""
        slope = self._measure.slope_db_per_s()
        deeper_db = slope * (self._settings.loop_delay_s + ahead_s) if slope > _DEEPENING_DB_PER_S else 0.0
        answered_db = self.estimate.uplink_db + max(0.0, self._measure.uplink_slope_db_per_s()) * ahead_s
        return es_n0_db - deeper_db + self._power.coming_db(answered_db, ahead_s)

    def _down(self, es_n0_db: float) -> StepDown | None:
        """As far as the fade may get until another step is allowed."""
        if self._index + 1 >= len(self._rungs):
            return None
        ahead_s = self._settings.step_duration_s + self._settings.dwell_s
        ahead_db = self._predicted_db(es_n0_db, ahead_s) - self._settings.margin_down_db
        lower = self._rungs[self._index + 1 :]
        target = next((rung for rung in lower if rung.required_es_n0_db <= ahead_db), lower[-1])
        return StepDown(self.rung, target, self._reason(), es_n0_db)

    def _reason(self) -> Reason:
        if self._power.mode is not Mode.TRACKING:
            return Reason.POWER_HELD
        if self._power.at_cap:
            return Reason.POWER_AT_CAP
        return Reason.TOO_LATE if self._power.left_db(self.estimate.uplink_db) else Reason.COMMON_FADE

    def _up(self, now_s: float, es_n0_db: float) -> StepUp | None:
        """One rung, once it would be safe for long enough; never on the beacon's word alone."""
        above = self._rungs[self._index - 1]
        sure_db = es_n0_db - self._power.unfounded_db()
        good = (
            self._index > 0
            and self.estimate.common_db is not None
            and self._measure.slope_db_per_s() < _RECEDED_DB_PER_S
            and sure_db >= above.required_es_n0_db + self._settings.margin_up_db
        )
        if not good:
            self._good_since_s = None
            return None
        if self._good_since_s is None:
            self._good_since_s = now_s
        if now_s - self._good_since_s < self._settings.up_hold_s:
            return None
        return StepUp(self.rung, above, sure_db)

    # -- alarms -----------------------------------------------------------------------------------------------------

    def _conditions(self, now_s: float, receivers: Mapping[str, float | None]) -> dict[tuple[AlarmKind, str], str]:
        now = self._board.fades(self.estimate, has_beacon=self._reference.beacon_db is not None)
        now |= site_conditions(self.sites_away, self.estimate)
        if not self._relocking(now_s):
            now |= lock_conditions(receivers.values())
        if self._power.at_cap and self._power.mode is Mode.TRACKING and self.estimate.uplink_db:
            now[AlarmKind.POWER_AT_CAP, ""] = f"uplink power is at its cap: {self.level_dbm:.1f} dBm"
        if self._index:
            left_out = ", ".join(self.rung.left_out) or "nobody"
            now[AlarmKind.REDUCED, ""] = f"the carrier is at {self.rung.modcod}; left out: {left_out}"
        at_bottom = self._index + 1 == len(self._rungs)
        if at_bottom and self.es_n0_db is not None and self._loss_ahead(self.es_n0_db):
            now[AlarmKind.NO_LOWER_RUNG, ""] = f"{self.rung.modcod} is the last; reception ends soon"
        if self._step_failed:
            now[AlarmKind.STEP_FAILED, ""] = self._step_failed
        return now


def problems(
    rungs: Sequence[Rung], reference: LinkReference, settings: AdaptationSettings, *, key: str = ""
) -> tuple[Problem, ...]:
    """Receivers whose clear sky gives the first MODCOD too little margin: the carrier could never come back to it."""
    needed = rungs[0].required_es_n0_db + settings.margin_up_db
    return tuple(
        Problem(
            rule=f"{site} has Es/N0 {clear:.1f} dB in clear sky, {rungs[0].modcod} with margin needs {needed:.1f} dB",
            remedy="choose a more robust clear-sky MODCOD, a larger dish there, or more clear-sky power",
            key=key,
            value=site,
        )
        for site, clear in sorted(reference.es_n0_db.items())
        if clear < needed
    )
