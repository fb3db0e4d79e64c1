"""A redundancy group: the health of units in, switches out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from headend.devices.redundancy import (
    STRANDED,
    UNDER_WAY,
    Action,
    Effect,
    Input,
    Mode,
    Mute,
    Settings,
    State,
    Stranded,
    Switch,
    SwitchFailed,
    transition,
)
from nf.errors import InputError, NotFoundError, RefusedError


@dataclass(slots=True)
class _Position:
    """`due`: when the delay that runs is over. `switched`: times of its automatic switches."""

    name: str
    main: str
    active: str
    state: State = State.ON_MAIN
    due: float = 0.0
    target: str = ""
    reason: str = ""
    automatic: bool = False
    muted: bool = False
    spent: bool = False
    switched: list[float] = field(default_factory=list)


class Group:
    """1+1: one position and one backup; N+M: N positions and M backups, the first free and clean one is taken.

    `mains`: position -> its main unit. Times are seconds of one clock that never goes back.
    """

    def __init__(self, settings: Settings, mains: Mapping[str, str], backups: Iterable[str]) -> None:
        self.settings = settings
        self.backups = tuple(backups)
        units = [*mains.values(), *self.backups]
        if len(set(units)) != len(units):
            raise InputError("a unit stands twice in the group", remedy="each position has a main unit of its own")
        self._positions = {name: _Position(name, main, main) for name, main in mains.items()}
        self._alarms: dict[str, frozenset[str]] = {}
        self._distrusted: dict[str, float] = {}
        self._failing_since: dict[str, float] = {}
        self._locked = False
        self._now = 0.0

    # ---- what stands ----

    def active(self, position: str) -> str:
        """The unit that carries a position; while a switch is under way, the one before."""
        return self._of(position).active

    def state(self, position: str) -> State:
        return self._of(position).state

    @property
    def locked(self) -> bool:
        return self._locked

    def next_timeout(self) -> float | None:
        """When `update` has something to do though no alarm has changed; None: never."""
        delays = (State.MAIN_FAILING, State.BACKUP_FAILING, State.RETURN_WAIT)
        times = [*self._distrusted.values()]
        for place in self._positions.values():
            times += [place.due] if place.state in delays else []
            times += [self._failing_due(place.active)] if place.state in STRANDED else []
            times += [at + self.settings.flap.window_s for at in place.switched]
        return min((at for at in times if at > self._now), default=None)

    # ---- inputs ----

    def resume(self, position: str, unit: str) -> None:
        """After a restart: `unit` was seen to carry the position. Raises NotFoundError."""
        place = self._of(position)
        if unit == place.main:
            return
        if unit not in self.backups or unit in self._taken(place):
            raise NotFoundError(
                "no such free unit for this position", where=f"{position} {unit}", remedy="see the group"
            )
        place.active, place.state = unit, State.ON_BACKUP

    def update(self, alarms: Mapping[str, Iterable[str]], now: float) -> list[Action]:
        """The alarm causes that stand on each unit. A unit that is not named is unknown: it neither triggers a switch
        nor takes over.
        """
        self._alarms = {unit: frozenset(causes) for unit, causes in alarms.items()}
        failing = [unit for unit in self._alarms if self._failing(unit)]
        self._failing_since = {unit: self._failing_since.get(unit, now) for unit in failing}
        return self._settle(now)

    def finished(self, position: str, *, ok: bool, now: float) -> list[Action]:
        """How the switch that was asked for has ended. Raises IntegrityError when none is under way."""
        place = self._of(position)
        actions = self._feed(place, Input.DONE if ok else Input.FAILED, now)
        return actions + self._settle(now)

    def switch(self, position: str, unit: str, now: float) -> list[Action]:
        """By a person: no delay, no flap limit, no lock. Raises RefusedError, NotFoundError."""
        place = self._of(position)
        if place.state in UNDER_WAY:
            raise RefusedError("a switch is under way", where=position, remedy="wait for its end")
        if unit == place.active:
            raise RefusedError(f"{unit} carries it already", where=position)
        if unit != place.main and unit not in self.backups:
            raise NotFoundError("no such unit for this position", where=f"{position} {unit}", remedy="see the group")
        if unit in self._taken(place):
            raise RefusedError(f"{unit} carries another position", where=position, remedy="free it first")
        place.target, place.reason, place.automatic = unit, "asked for", False
        return self._feed(place, Input.TO_MAIN if unit == place.main else Input.TO_BACKUP, now)

    def lock(self, *, locked: bool, now: float) -> list[Action]:
        """The maintenance lock: while it is on, nothing switches by itself."""
        self._locked = locked
        return self._settle(now)

    # ---- the machine ----

    def _of(self, position: str) -> _Position:
        if position not in self._positions:
            raise NotFoundError("no such position", where=position, remedy=f"known: {', '.join(self._positions)}")
        return self._positions[position]

    def _settle(self, now: float) -> list[Action]:
        actions: list[Action] = []
        self._now = now
        for place in self._positions.values():
            while (given := self._derive(place, now)) is not None:
                actions += self._feed(place, given, now)
        return actions

    def _derive(self, place: _Position, now: float) -> Input | None:
        """What the table is to hear now; None when nothing."""
        if place.state in UNDER_WAY or place.active not in self._alarms:
            return None
        carrying = place.state in (State.ON_MAIN, State.ON_BACKUP, State.RETURN_WAIT)
        if not self._failing(place.active):
            return self._derive_return(place, now) if carrying else Input.ACTIVE_CLEAN
        return Input.ACTIVE_FAILED if carrying else self._derive_takeover(place, now)

    def _derive_takeover(self, place: _Position, now: float) -> Input | None:
        # A switch that failed strands a position whose unit may be sound, or unknown: it gets the whole delay too.
        if now < (self._failing_due(place.active) if place.state in STRANDED else place.due):
            return None
        place.reason = self._forbidden(place, now)
        target = None if place.reason else self._takeover(place, now)
        if target is None:
            place.reason = place.reason or "no unit that is free and clean"
            return None if place.state in STRANDED else Input.DENIED
        place.target, place.automatic, place.reason = target, True, f"{place.active} has failed"
        return Input.TO_MAIN if target == place.main else Input.TO_BACKUP

    def _derive_return(self, place: _Position, now: float) -> Input | None:
        if place.state is State.ON_MAIN:
            return None
        wished = self.settings.mode is Mode.REVERTING and self._clean(place.main, now)
        if place.state is State.ON_BACKUP:
            return Input.RETURN_WISHED if wished else None
        if not wished:
            return Input.RETURN_OFF
        if now < place.due or self._locked or self._flapping(place, now):
            return None
        place.target, place.automatic, place.reason = place.main, True, f"{place.main} is clean again"
        return Input.TO_MAIN

    def _forbidden(self, place: _Position, now: float) -> str:
        """Why nothing may take over by itself; empty when it may."""
        if self.settings.mode is Mode.MANUAL:
            return "the group is switched by hand only"
        if self._locked:
            return "the group is locked for maintenance"
        if self.settings.mode is Mode.ONCE and place.spent:
            return "it has switched once and stays"
        return "it has switched too often" if self._flapping(place, now) else ""

    def _takeover(self, place: _Position, now: float) -> str | None:
        """The unit that is to take over: a clean one, the main first."""
        taken = self._taken(place)
        others = [unit for unit in (place.main, *self.backups) if unit != place.active and unit not in taken]
        clean = [unit for unit in others if self._clean(unit, now)]
        if not clean and not self.settings.backup_must_be_clean and place.active == place.main:
            known = [unit for unit in others if unit in self._alarms]
            clean = [unit for unit in known if now >= self._distrusted.get(unit, now)]
        return next(iter(clean), None)

    def _failing_due(self, unit: str) -> float:
        return self._failing_since.get(unit, self._now) + self.settings.switch_delay_s

    def _failing(self, unit: str) -> bool:
        return bool(self._alarms.get(unit, frozenset()) & self.settings.triggers)

    def _clean(self, unit: str, now: float) -> bool:
        return unit in self._alarms and not self._failing(unit) and now >= self._distrusted.get(unit, now)

    def _taken(self, place: _Position) -> set[str]:
        """Units that other positions have, or are switching to."""
        others = [other for other in self._positions.values() if other is not place]
        return {other.active for other in others} | {other.target for other in others if other.state in UNDER_WAY}

    def _flapping(self, place: _Position, now: float) -> bool:
        window = self.settings.flap.window_s
        place.switched = [at for at in place.switched if now - at < window]
        return len(place.switched) >= self.settings.flap.switches

    def _feed(self, place: _Position, given: Input, now: float) -> list[Action]:
        was = place.state
        effect, place.state = transition(place.state, given)
        actions = list(self._act(place, effect, now))
        if was in STRANDED and place.state not in STRANDED:
            actions.append(Stranded(place.name, place.active, ""))
        return actions

    def _act(self, place: _Position, effect: Effect, now: float) -> Iterable[Action]:
        if effect is Effect.START_SWITCH_DELAY:
            place.due = now + self.settings.switch_delay_s
        elif effect is Effect.START_RETURN_DELAY:
            place.due = now + self.settings.switch_back_delay_s
        elif effect is Effect.SWITCH:
            if place.automatic:
                place.switched.append(now)
            yield Switch(place.name, place.active, place.target, place.automatic, place.reason)
        elif effect is Effect.ARRIVED:
            place.active = place.target
            place.spent = place.active != place.main and (place.spent or place.automatic)
            yield from self._mute(place, muted=False)
        elif effect is Effect.RECOVERED:
            yield from self._mute(place, muted=False)
        elif effect is Effect.STRAND:
            yield Stranded(place.name, place.active, place.reason)
            yield from self._mute(place, muted=self.settings.mute_on_error)
        elif effect is Effect.SWITCH_FAILED:
            yield from self._switch_failed(place, now)

    def _switch_failed(self, place: _Position, now: float) -> Iterable[Action]:
        self._distrusted[place.target] = now + self.settings.distrust_s
        if place.automatic and place.switched:
            place.switched.pop()
        yield SwitchFailed(place.name, place.target)
        yield Stranded(place.name, place.active, f"the switch to {place.target} has failed")
        yield from self._mute(place, muted=self.settings.mute_on_error and self._failing(place.active))

    def _mute(self, place: _Position, *, muted: bool) -> Iterable[Action]:
        if place.muted != muted:
            place.muted = muted
            yield Mute(place.name, muted)
