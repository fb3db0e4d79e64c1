"""The simulated satellite receiver: frames of "radio frequency" in, the transport stream out while it has lock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from ipaddress import IPv4Address

from lab.devices import rf
from lab.devices.alarms import AlarmKind
from lab.devices.config import ReceiverConfig
from lab.devices.control import CLEAR_SKY
from lab.devices.link import NO_CARRIER_DB10, Demodulator, Lock, Received, Tuning
from lab.devices.meter import Meter
from lab.devices.net import Endpoint, Inlet, Outlet
from lab.devices.objects import Value
from lab.devices.rf import Carrier
from lab.devices.settings import Settings
from lab.devices.tree import Changes, Key, Reader
from lab.devices.ts import PACKET, PACKET_BITS
from nf.clock import Clock

_ENABLED = 2
_MARGIN_LOW_DB = 1.0
_NOTHING = Carrier(0, 0, 0, 0, 0)


def defaults(config: ReceiverConfig) -> dict[Key, Value]:
    """The values of a receiver that nobody has set."""
    return {
        ("RcvFrequency", 0): round(config.frequency_mhz * 10),
        ("RcvSymbolRate", 0): config.symbol_rate // 100,
        ("RcvRelockTime", 0): config.relock_ms,
        ("RcvOutputAdminState", 0): _ENABLED,
        ("RcvOutputAddress", 0): str(config.output.address),
        ("RcvOutputPort", 0): config.output.port,
    }


class Receiver:
    kind = "receiver"
    rows: Mapping[str, tuple[int, ...]] = {}
    alarms: tuple[AlarmKind, ...] = (AlarmKind.LOCK_LOST, AlarmKind.MARGIN_LOW)

    def __init__(self, config: ReceiverConfig, settings: Settings, clock: Clock) -> None:
        self.settings = settings
        self.weather = CLEAR_SKY
        self._config = config
        self._clock = clock
        self._demodulator = Demodulator(self._tuning(), config.implementation_loss_db)
        self._inlet = Inlet(Endpoint(config.sky.address, config.sky.port, config.sky.via))
        self._outlet = Outlet(self._output())
        self._meter = Meter(1.0)
        self._translation = round(config.sky.translation_mhz * 10)
        self._sequence: int | None = None
        self._lost_frames = 0

    def readers(self) -> dict[str, Reader]:
        demodulator = self._demodulator
        return {
            "RcvLock": lambda _: demodulator.lock.value,
            "RcvEsN0": lambda _: self._es_n0_db10(),
            "RcvMargin": lambda _: self._margin_db10(),
            "RcvRxPower": lambda _: self._level_db10(),
            "RcvModcod": lambda _: self._seen().modcod,
            "RcvRollOff": lambda _: self._seen().roll_off,
            "RcvPilot": lambda _: self._seen().pilot,
            "RcvCarrierId": lambda _: self._seen().carrier_id,
            "RcvRelockCount": lambda _: demodulator.relocks,
            "RcvLastOutage": lambda _: round(demodulator.last_outage_s * 1000),
            "RcvLostFrames": lambda _: self._lost_frames,
            "RcvOutputBitRate": lambda _: round(self._meter.per_second(self._clock.monotonic()) * PACKET_BITS),
            "RcvOutputPackets": lambda _: self._meter.total,
        }

    def change(self, changes: Changes) -> None:
        self.settings.update(changes)
        if self._tuning() != self._demodulator.tuning:
            self._demodulator.retune(self._tuning(), self._clock.monotonic())
        if self._outlet.endpoint != self._output():
            self._outlet.close()
            self._outlet = Outlet(self._output())

    def tick(self, now: float) -> None:
        fade_db = self.weather.fade.at(now)
        sending = self.settings.number("RcvOutputAdminState") == _ENABLED
        for datagram in self._inlet.read(now):
            frame = rf.unpack(datagram)
            if frame is None:
                continue
            carrier = self._down(frame.carrier)
            if not self._demodulator.tuning.hears(carrier):
                continue
            es_n0_db = self._config.es_n0_clear_db + frame.relative_db10 / 10 - fade_db
            if not self._demodulator.receive(Received(carrier, es_n0_db, now)):
                self._sequence = None
                continue
            self._count_lost(frame.sequence)
            if sending:
                payload = datagram[rf.HEAD_OCTETS :]
                self._outlet.send(payload)
                self._meter.add(now, len(payload) // PACKET)
        self._demodulator.idle(now)

    def holding(self, now: float) -> dict[AlarmKind, str]:
        self._demodulator.idle(now)
        if self._demodulator.lock is not Lock.LOCKED:
            return {AlarmKind.LOCK_LOST: "no lock" if self._demodulator.received else "no carrier"}
        margin = self._demodulator.margin_db()
        if margin is not None and margin < _MARGIN_LOW_DB:
            return {AlarmKind.MARGIN_LOW: f"less than {_MARGIN_LOW_DB:.1f} dB above the threshold"}
        return {}

    def close(self) -> None:
        self._inlet.close()
        self._outlet.close()

    def _down(self, carrier: Carrier) -> Carrier:
        """As the satellite sends it."""
        if not self._translation:
            return carrier
        return replace(carrier, frequency_100khz=carrier.frequency_100khz - self._translation)

    def _count_lost(self, sequence: int) -> None:
        """Only of frames that came one after another while locked; a modulator that starts anew counts anew."""
        if self._sequence is not None and sequence > self._sequence:
            self._lost_frames += sequence - self._sequence - 1
        self._sequence = sequence

    def _seen(self) -> Carrier:
        received = self._demodulator.received
        return _NOTHING if received is None else received.carrier

    def _es_n0_db10(self) -> int:
        received = self._demodulator.received
        return NO_CARRIER_DB10 if received is None else round(received.es_n0_db * 10)

    def _margin_db10(self) -> int:
        margin = self._demodulator.margin_db()
        return NO_CARRIER_DB10 if margin is None else round(margin * 10)

    def _level_db10(self) -> int:
        """The carrier loses as much level as it loses Es/N0: the noise is the receiver's own."""
        received = self._demodulator.received
        if received is None:
            return NO_CARRIER_DB10
        return round((self._config.level_clear_dbm + received.es_n0_db - self._config.es_n0_clear_db) * 10)

    def _tuning(self) -> Tuning:
        settings = self.settings
        relock_s = settings.number("RcvRelockTime") / 1000
        return Tuning(settings.number("RcvFrequency"), settings.number("RcvSymbolRate") * 100, relock_s)

    def _output(self) -> Endpoint:
        address = IPv4Address(self.settings.text("RcvOutputAddress"))
        return Endpoint(address, self.settings.number("RcvOutputPort"), self._config.via)
