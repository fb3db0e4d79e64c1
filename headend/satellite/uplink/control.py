"""The loop of one carrier: look at modem and receivers, ask the adaptation, do what it says, tell what was seen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from headend.devices.device import Device
from headend.devices.values import ParameterValue
from headend.satellite.actions import Action, Alarm, AlarmKind, Observation, SetPower, StepDown, StepUp
from headend.satellite.adaptation import Adaptation, AdaptationSettings
from headend.satellite.documents import Carrier, UplinkCarrier
from headend.satellite.fade import LinkReference
from headend.satellite.ladder import Rung
from headend.satellite.modcod import by_name
from headend.satellite.threshold import required_es_n0_db
from headend.satellite.ulpc import UlpcSettings
from headend.satellite.uplink.chain import Chain
from headend.satellite.uplink.relock import RelockWatch
from headend.satellite.uplink.settings import TRANSMITTING
from nf.clock import Clock
from nf.contracts.driver import Event
from nf.errors import NfError
from nf.telemetry.alarms import AlarmEvent, Severity
from nf.telemetry.samples import Sample

_MODEM: Final = (
    "tx_enable",
    "tx_level",
    "modcod",
    "net_bit_rate",
    "input_lock",
    "input_bit_rate",
    "dropped_packets",
    "queue_delay",
    "beacon_lock",
    "beacon_level",
)
_RECEIVER: Final = ("lock", "es_n0", "margin", "modcod", "relock_count")
_SEVERITIES: Mapping[AlarmKind, Severity] = MappingProxyType(
    {
        AlarmKind.UPLINK_FADE: Severity.WARNING,
        AlarmKind.COMMON_FADE: Severity.MINOR,
        AlarmKind.SITE_FADE: Severity.MINOR,
        AlarmKind.BEACON_LOST: Severity.MAJOR,
        AlarmKind.BEACON_SUSPECT: Severity.MINOR,
        AlarmKind.POWER_AT_CAP: Severity.MINOR,
        AlarmKind.CARRIER_LOST: Severity.CRITICAL,
        AlarmKind.NO_TELEMETRY: Severity.MAJOR,
        AlarmKind.REDUCED: Severity.MAJOR,
        AlarmKind.NO_LOWER_RUNG: Severity.CRITICAL,
        AlarmKind.STEP_FAILED: Severity.CRITICAL,
    }
)
OVERFLOW: Final = "carrier-overfilled"
SILENT: Final = "device-silent"
NOT_STANDING_BY: Final = "encoder-not-standing-by"
_STANDBY_S: Final = 5.0
"""So often the encoder that is not heard is looked at, and set when it is not as it should be."""


@dataclass(slots=True)
class Seen:
    """What was last read. Receivers by site."""

    modem: Mapping[str, ParameterValue] = field(default_factory=dict)
    receivers: dict[str, Mapping[str, ParameterValue]] = field(default_factory=dict)
    silent: frozenset[str] = frozenset()


def rungs(carrier: UplinkCarrier) -> tuple[Rung, ...]:
    """The ladder of a section as the adaptation knows it; channels are called `channel/path`."""
    top = {f"{service.channel}/{service.path}": service.rate_bps for service in carrier.ladder[0].services}
    losses = carrier.carrier.margins.losses
    found = []
    for one in carrier.ladder:
        services = {f"{service.channel}/{service.path}": service.rate_bps for service in one.services}
        found.append(
            Rung(
                modcod=by_name(one.modcod),
                net_rate_bps=one.net_rate_bps,
                ts_rate_bps=one.ts_rate_bps,
                usable_bps=one.ts_rate_bps - carrier.carrier.si_rate_bps,
                required_es_n0_db=required_es_n0_db(by_name(one.modcod), losses),
                services=MappingProxyType(services),
                wanted=MappingProxyType(top),
                left_out=tuple(name for name in top if name not in services),
            )
        )
    return tuple(found)


def adaptation(carrier: UplinkCarrier, now_s: float, rung: int) -> Adaptation:
    """The controller of a carrier that stands at `rung` of its ladder."""
    return Adaptation(
        rungs(carrier), reference(carrier), power(carrier.carrier), timing(carrier.carrier), now_s=now_s, rung=rung
    )


def reference(carrier: UplinkCarrier) -> LinkReference:
    """The link in clear sky."""
    return LinkReference(
        es_n0_db={receiver.site: receiver.clear_es_n0_db for receiver in carrier.receivers},
        beacon_db=carrier.carrier.beacon_clear_dbm,
    )


def timing(carrier: Carrier) -> AdaptationSettings:
    margins = carrier.margins
    return AdaptationSettings(
        margin_down_db=margins.down_db,
        margin_up_db=margins.up_db,
        up_hold_s=margins.hold_ms / 1000,
        dwell_s=margins.dwell_ms / 1000,
    )


def power(carrier: Carrier) -> UlpcSettings:
    return UlpcSettings(
        clear_dbm=carrier.power.clear_dbm, cap_dbm=carrier.power.cap_dbm, slew_db_per_s=carrier.power.slew_db_s
    )


class Control:
    """Of one carrier. `lock`: held while the chain is changed; a commit holds it too. `current`: it is still wanted.

    relock_s   what the last change of the MODCOD cost, by site: seconds without lock, as measured
    """

    def __init__(
        self,
        chain: Chain,
        receivers: Mapping[str, Device],
        lock: asyncio.Lock,
        clock: Clock,
        rung: int,
        *,
        current: Callable[[], bool],
    ) -> None:
        self.chain = chain
        self.seen = Seen()
        self._receivers = receivers
        self._lock = lock
        self._current = current
        self._clock = clock
        self.adaptation = adaptation(chain.carrier, clock.monotonic(), rung)
        self._dropped: float | None = None
        self._told: set[tuple[str, str]] = set()
        self._relock: RelockWatch | None = None
        self.relock_s: dict[str, float] = {}
        self._standby_due = 0.0
        self._standby: asyncio.Task[str] | None = None

    @property
    def name(self) -> str:
        return self.chain.carrier.carrier.id

    async def run_once(self) -> AsyncIterator[Event]:
        """Look, act, tell. Yields the samples and alarms that come of it."""
        await self._look()
        for event in self._device_alarms():
            yield event
        if self.chain.modem.name not in self.seen.silent:
            for action in self.adaptation.observe(self._observation()):
                async for told in self._carry_out(action):
                    yield told
        for sample in self._samples():
            yield sample
        for sample in self._relocks():
            yield sample
        for event in self._keep_standby():
            yield event

    def stop(self) -> None:
        """End what it does beside its loop."""
        if self._standby is not None:
            self._standby.cancel()
        if self._relock is not None:
            self._relock.end()

    def _watch_relock(self, modcod: str) -> RelockWatch:
        if self._relock is not None:
            self._relock.end()
        self._relock = RelockWatch(self._receivers, modcod, self._clock)
        self._relock.begin()
        return self._relock

    def _relocks(self) -> Iterator[Sample]:
        """Each site's, once it is known."""
        if self._relock is None:
            return
        for site, seconds in tuple(self._relock.seconds.items()):
            del self._relock.seconds[site]
            self.relock_s[site] = seconds
            yield Sample(
                "satellite.relock", self._clock.now(), {"carrier": self.name, "site": site}, {"relock_s": seconds}
            )

    def _keep_standby(self) -> Iterator[AlarmEvent]:
        """Beside the loop: an encoder that does not answer must not keep anybody from seeing the weather."""
        if self._standby is not None and self._standby.done():
            why = "" if self._standby.cancelled() else self._standby.result()
            self._standby = None
            if why:
                remedy = "see that it has power, and that its address and credentials are right"
                yield self._alarm(NOT_STANDING_BY, "", Severity.MINOR, why, remedy)
            else:
                yield self._clear(NOT_STANDING_BY, "")
        if self.chain.standby is None or self._standby is not None or self._clock.monotonic() < self._standby_due:
            return
        self._standby_due = self._clock.monotonic() + _STANDBY_S
        if self._current():
            rung = next(one for one in self.chain.carrier.ladder if one.modcod == self.adaptation.rung.modcod.name)
            self._standby = asyncio.create_task(self.chain.set_other(rung), name=f"standby encoder of {self.name}")

    # ---- looking ----

    async def _look(self) -> None:
        names = sorted(self._receivers)
        modem, *found = await asyncio.gather(
            self.chain.modem.read(_MODEM), *(self._receivers[name].read(_RECEIVER) for name in names)
        )
        receivers = dict(zip(names, found, strict=True))
        silent = {self._receivers[name].name for name, values in receivers.items() if not _answers(values)}
        if not _answers(modem):
            silent.add(self.chain.modem.name)
        self.seen = Seen(modem, dict(receivers), frozenset(silent))

    def _observation(self) -> Observation:
        modem = self.seen.modem
        return Observation(
            at_s=self._clock.monotonic(),
            es_n0_db={
                site: _number(values, "es_n0") if values["lock"].value == "locked" else None
                for site, values in self.seen.receivers.items()
                if _answers(values)
            },
            beacon_db=_number(modem, "beacon_level") if modem["beacon_lock"].value == "locked" else None,
            level_dbm=_number(modem, "tx_level"),
            muted=modem["tx_enable"].value != TRANSMITTING,
        )

    # ---- acting ----

    async def _carry_out(self, action: Action) -> AsyncIterator[Event]:
        match action:
            case SetPower(level_dbm):
                try:
                    await self.chain.modem.set({"tx_level": round(level_dbm, 1)})
                except NfError as error:
                    yield self._alarm("power-not-set", "", Severity.MAJOR, str(error), error.remedy)
                else:
                    yield self._clear("power-not-set", "")
            case StepDown() | StepUp():
                async for event in self._step(action):
                    yield event
            case Alarm(kind, where, text, raised):
                severity = _SEVERITIES[kind] if raised else Severity.CLEARED
                yield self._alarm(kind.value, where, severity, text, "see `nf link show`")

    async def _step(self, action: StepDown | StepUp) -> AsyncIterator[Event]:
        """In one go; what fails half-way is taken back to the rung before."""
        steps = {one.modcod.name: index for index, one in enumerate(rungs(self.chain.carrier))}
        ladder = self.chain.carrier.ladder
        target = ladder[steps[action.rung_to.modcod.name]]
        async with self._lock:
            if not self._current():
                self.adaptation.step_failed(self._clock.monotonic(), "a commit has changed the carrier meanwhile")
                return
            relock = self._watch_relock(target.modcod)
            try:
                await self.chain.go(target)
            except NfError as error:
                relock.end()
                try:
                    await self.chain.go(ladder[steps[action.rung_from.modcod.name]])
                except NfError as again:
                    yield self._alarm("step-not-undone", "", Severity.CRITICAL, str(again), again.remedy)
                self.adaptation.step_failed(self._clock.monotonic(), str(error))
                return
        self.adaptation.step_done(self._clock.monotonic(), action.rung_to)
        self._standby_due = 0.0
        yield self._clear("step-not-undone", "")

    # ---- telling ----

    def _device_alarms(self) -> Iterator[AlarmEvent]:
        devices = {device.name for device in (self.chain.modem, *self._receivers.values())}
        for device in sorted(devices):
            told = (SILENT, device) in self._told
            if device in self.seen.silent:
                self._told.add((SILENT, device))
                remedy = "see that it has power, and that its address and credentials are right"
                yield AlarmEvent(SILENT, device, Severity.MAJOR, self._clock.now(), "it does not answer SNMP", remedy)
            elif told:
                self._told.discard((SILENT, device))
                yield AlarmEvent(SILENT, device, Severity.CLEARED, self._clock.now())
        dropped = _number(self.seen.modem, "dropped_packets")
        if dropped is not None:
            if self._dropped is not None and dropped > self._dropped:
                text = f"the modem dropped {dropped - self._dropped:.0f} packets that its MODCOD does not carry"
                yield self._alarm(OVERFLOW, "", Severity.CRITICAL, text, "see `nf link show`")
            elif self._dropped is not None:
                yield self._clear(OVERFLOW, "")
            self._dropped = dropped

    def _alarm(self, cause: str, where: str, severity: Severity, text: str, remedy: str) -> AlarmEvent:
        about = f"{self.name}/{where}" if where else self.name
        if severity is Severity.CLEARED:
            self._told.discard((cause, about))
        else:
            self._told.add((cause, about))
        return AlarmEvent(cause, about, severity, self._clock.now(), text, remedy)

    def _clear(self, cause: str, where: str) -> AlarmEvent:
        return self._alarm(cause, where, Severity.CLEARED, "", "")

    def _samples(self) -> Iterator[Sample]:
        now = self._clock.now()
        modem = self.seen.modem
        if self.chain.modem.name not in self.seen.silent:
            on_air = modem["tx_enable"].value == TRANSMITTING
            kinds = {
                "tx_level": "tx_level_dbm",
                "net_bit_rate": "net_bitrate_bps",
                "input_bit_rate": "input_bitrate_bps",
                "dropped_packets": "dropped_packets",
                "queue_delay": "queue_ms",
                "beacon_level": "beacon_dbm",
            }
            values = {unit: found for name, unit in kinds.items() if (found := _number(modem, name)) is not None}
            margin = self.adaptation.margin_db
            extra = {"margin_db": margin} if margin is not None else {}
            yield Sample(
                "satellite.carrier",
                now,
                {"carrier": self.name, "modcod": str(modem["modcod"].value)},
                {**values, **extra, "on_air": float(on_air)},
                text=f"{modem['modcod'].value}, {'on the air' if on_air else 'muted'}",
            )
            yield from self._hops(now, on_air)
        for site, read in self.seen.receivers.items():
            if _answers(read):
                names = {"es_n0": "es_n0_db", "margin": "margin_db", "relock_count": "relocks"}
                values = {unit: found for name, unit in names.items() if (found := _number(read, name)) is not None}
                locked = read["lock"].value == "locked"
                yield Sample(
                    "satellite.site", now, {"carrier": self.name, "site": site}, {**values, "locked": float(locked)}
                )

    def _hops(self, now: float, on_air: bool) -> Iterator[Sample]:
        """Every service's first hop: up while it is on the air."""
        sent = self.adaptation.rung.services
        for service in self.chain.carrier.services:
            rate = sent.get(f"{service.channel}/{service.path}", 0)
            up = on_air and rate > 0
            text = f"{self.adaptation.rung.modcod.name}" if up else "left out" if on_air else "the carrier is muted"
            yield Sample(
                "path.hop",
                now,
                {"channel": service.channel, "path": service.path, "point": "uplink"},
                {"up": float(up), "bitrate_bps": float(rate if up else 0), "age_ms": 0.0},
                text=text,
            )


def _answers(values: Mapping[str, ParameterValue]) -> bool:
    return any(value.good for value in values.values())


def _number(values: Mapping[str, ParameterValue], name: str) -> float | None:
    value = values.get(name)
    found = value.value if value is not None and value.good else None
    return float(found) if isinstance(found, int | float) else None
