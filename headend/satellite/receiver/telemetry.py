"""What a receiver and its feed say, as samples and alarms."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from headend.devices.alarms import SILENT as DEVICE_SILENT
from headend.satellite.documents import ReceivedCarrier, ReceivedService
from headend.satellite.feed.client import FeedStatus, ServiceStatus
from headend.satellite.receiver.reception import ReceiverReading, Reception, describe
from headend.transport.packet import PACKET_SIZE
from nf.contracts.driver import Event
from nf.telemetry.alarms import AlarmEvent, Severity
from nf.telemetry.samples import Sample

RECEPTION, FALLBACK, FEED = "satellite-reception-bad", "satellite-on-fallback", "satellite-feed-down"
_FRESH_MS: Final = 1000.0


@dataclass(frozen=True, slots=True)
class _Count:
    packets: int
    uptime_s: float


class CarrierWatch:
    """Samples and alarms of one carrier. Says every state once, also the good one, so that what an earlier life of
    the agent raised is cleared."""

    def __init__(self, carrier: ReceivedCarrier) -> None:
        self.carrier = carrier
        self.reception = Reception(carrier.margins)
        self._said: dict[tuple[str, str], bool] = {}
        self._counts: dict[tuple[str, str], _Count] = {}

    def take(self, reading: ReceiverReading | None, status: FeedStatus | None, now: float) -> Iterator[Event]:
        """`reading` None: nothing new was read. `status` None: the feed does not answer."""
        if reading is not None:
            yield from self._device(reading, now)
        yield from self._feed(status, now)

    def _device(self, reading: ReceiverReading, now: float) -> Iterator[Event]:
        carrier = self.carrier
        yield from self._say(
            AlarmEvent(
                DEVICE_SILENT,
                carrier.device.id,
                Severity.MAJOR,
                now,
                "the device does not answer",
                "check power, management network and credentials",
            ),
            raised=not reading.answered,
        )
        good = self.reception.take(reading)
        if good is not None:
            yield from self._say(
                AlarmEvent(
                    RECEPTION,
                    f"{carrier.carrier}/{carrier.device.id}",
                    Severity.MAJOR,
                    now,
                    f"reception of carrier {carrier.carrier} is bad: {describe(reading)}",
                    "see with `nf link show` whether other sites fade too; else check dish and weather here",
                ),
                raised=not good,
            )
        if reading.answered:
            values = {**reading.values} | ({} if good is None else {"good": float(good)})
            text = describe(reading) + (f", {reading.modcod}" if reading.modcod is not None else "")
            labels = {"carrier": carrier.carrier, "device": carrier.device.id}
            yield Sample("satellite.receiver", now, labels, values, text=text)

    def _feed(self, status: FeedStatus | None, now: float) -> Iterator[Event]:
        carrier = self.carrier
        yield from self._say(
            AlarmEvent(
                FEED,
                carrier.carrier,
                Severity.MAJOR,
                now,
                f"the feed of carrier {carrier.carrier} does not answer",
                "read the log of its unit on this appliance",
            ),
            raised=status is None,
        )
        if status is None:
            return
        found = {(service.channel, service.path): service for service in status.services}
        for service in carrier.services:
            told = found.get((service.channel, service.path))
            if told is not None:
                yield from self._service(service, told, status.uptime_s, now)

    def _service(self, service: ReceivedService, told: ServiceStatus, uptime_s: float, now: float) -> Iterator[Event]:
        key = (service.channel, service.path)
        count, before = _Count(told.packets, uptime_s), self._counts.get(key)
        self._counts[key] = count
        values = {
            "bitrate_bps": _bitrate_bps(before, count),
            "packets": float(told.packets),
            "continuity_errors": float(told.continuity_errors),
            "switches": float(told.switches),
        }
        if told.age_ms is not None:
            values["age_ms"] = told.age_ms
        labels = {"channel": service.channel, "path": service.path, "point": "downlink"}
        yield Sample("path.hop", now, labels, values, text=self._text(service, told))
        if service.fallback_port is not None:
            name = service.fallback or "its fallback"
            text = f"{service.channel} comes by {name} instead of carrier {self.carrier.carrier} ({self._why(told)})"
            remedy = f"see the reception of the carrier; {_way_back(service, told)}"
            alarm = AlarmEvent(FALLBACK, f"{service.channel}/{service.path}", Severity.MINOR, now, text, remedy)
            yield from self._say(alarm, raised=told.input == "fallback")

    def _text(self, service: ReceivedService, told: ServiceStatus) -> str:
        """`on satellite`, `on iptv (margin -0.3 dB)`."""
        fresh = told.age_ms is not None and told.age_ms <= _FRESH_MS
        if told.input == "fallback":
            where = f"on {service.fallback or 'its fallback'} ({self._why(told)})"
        else:
            bad = self.reception.good is False
            where = f"on satellite ({self._why(told)})" if bad else "on satellite"
        return where if fresh else f"nothing comes {where}"

    def _why(self, told: ServiceStatus) -> str:
        """Why the satellite is not taken."""
        if self.reception.good is False and self.reception.reading is not None:
            return describe(self.reception.reading)
        if told.waiting:
            return "sound again, waits for an operator"
        return "sound again, not for long enough" if told.satellite.present else "the service does not come"

    def end(self, now: float) -> Iterator[Event]:
        """The carrier is no longer received: its alarms end."""
        for (cause, about), raised in self._said.items():
            if raised:
                yield AlarmEvent(cause, about, Severity.CLEARED, now, "the carrier is no longer received here")
        self._said.clear()

    def _say(self, event: AlarmEvent, *, raised: bool) -> Iterator[Event]:
        key = (event.cause, event.object)
        if self._said.get(key) is raised:
            return
        self._said[key] = raised
        yield event if raised else replace(event, severity=Severity.CLEARED)


def _way_back(service: ReceivedService, told: ServiceStatus) -> str:
    rules = service.failover
    if told.waiting or (rules is not None and rules.failback_approve == "operator"):
        return f"when it is sound, approve the way back: nf path approve {service.channel}"
    after_s = 5.0 if rules is None else rules.failback_after_ms / 1000
    return f"it goes back by itself after {after_s:g} s without a loss"


def _bitrate_bps(before: _Count | None, count: _Count) -> float:
    """Of what was sent between two looks; since the feed began where it began anew."""
    if before is None or count.uptime_s <= before.uptime_s or count.packets < before.packets:
        before = _Count(0, 0.0)
    elapsed_s = count.uptime_s - before.uptime_s
    return (count.packets - before.packets) * PACKET_SIZE * 8 / elapsed_s if elapsed_s > 0 else 0.0
