"""The simulated modulator: a transport stream in, frames of "radio frequency" out, muted until told to radiate."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from ipaddress import IPv4Address

from lab.devices import rf
from lab.devices.alarms import AlarmKind
from lab.devices.config import ModemConfig
from lab.devices.control import CLEAR_SKY, DeviceFault
from lab.devices.link import beacon_fade_db
from lab.devices.meter import Meter
from lab.devices.modcods import MODCODS
from lab.devices.net import Endpoint, Inlet, Outlet
from lab.devices.objects import Value
from lab.devices.settings import PRIVATE, Settings
from lab.devices.shaper import Shaper
from lab.devices.tree import Changes, Key, Reader, Refusal, UnfitError
from lab.devices.ts import DATAGRAM_PACKETS, PACKET_BITS, packets_of
from nf.clock import Clock

_CARRIER = ("Modcod", "SymbolRate", "RollOff", "Pilot", "Frequency")
_COMMITTED = PRIVATE + "committed"
_APPLY, _DISCARD, _IDLE = 2, 3, 1
_ENABLED = 2
_LOST, _LOCKED = 1, 2
_MUTED_EIRP = -1000
_BEACON_RANGE_DB = 20.0
_INPUT_TIMEOUT_S = 1.0
_OVERFLOW_HOLDS_S = 10.0
_PEAK_S = 10


def defaults(config: ModemConfig) -> dict[Key, Value]:
    """The values of a modulator that nobody has set."""
    carrier = config.carrier
    values = {
        "Modcod": carrier.modcod_number(),
        "SymbolRate": carrier.symbol_rate // 100,
        "RollOff": carrier.roll_off_number(),
        "Pilot": 2 if carrier.pilots else 1,
        "Frequency": round(carrier.frequency_mhz * 10),
    }
    kept: dict[Key, Value] = {
        (f"Mod{state}{name}", 0): values[name] for state in ("Staged", "Active") for name in _CARRIER
    }
    return kept | {
        ("ModTxLevel", 0): round(config.level_dbm * 10),
        ("ModCarrierIdEnable", 0): _ENABLED,
        ("ModInputAddress", 0): str(config.input.address),
        ("ModInputPort", 0): config.input.port,
        (_COMMITTED, 0): 0,
    }


class Modem:
    kind = "modem"
    rows: Mapping[str, tuple[int, ...]] = {}
    alarms: tuple[AlarmKind, ...] = (
        AlarmKind.INPUT_LOST,
        AlarmKind.OUTPUT_OVERFLOW,
        AlarmKind.TRANSMIT_MUTED,
        AlarmKind.LEVEL_AT_MAXIMUM,
        AlarmKind.BEACON_LOST,
    )

    def __init__(self, config: ModemConfig, settings: Settings, clock: Clock) -> None:
        self.settings = settings
        self.weather = CLEAR_SKY
        self._config = config
        self._clock = clock
        now = clock.monotonic()
        self._carrier = self._active()
        self._shaper = Shaper(self._net_bps(), now)
        self._inlet = Inlet(self._input())
        self._outlet = Outlet(Endpoint(config.sky.address, config.sky.port, config.sky.via))
        self._input_meter = Meter(1.0)
        self._input_at = now - _INPUT_TIMEOUT_S
        self._transmitting = False
        self._commits = self._sent = self._sequence = 0
        self._peaks: deque[tuple[int, float]] = deque()
        self._dropped_at, self._dropped_seen = now - _OVERFLOW_HOLDS_S, 0
        self._beacon_lost = False
        self._beacon_seen_dbm = config.beacon_dbm

    def readers(self) -> dict[str, Reader]:
        config, shaper = self._config, self._shaper
        return {
            "ModCommit": lambda _: _IDLE,
            "ModPendingChanges": lambda _: sum(1 for name in _CARRIER if self._staged(name) != self._on_air(name)),
            "ModCommitCount": lambda _: self._commits,
            "ModNetBitRate": lambda _: int(shaper.rate_bps),
            "ModTxEnable": lambda _: int(self._transmitting),
            "ModTxLevelNominal": lambda _: round(config.level_dbm * 10),
            "ModTxLevelMaximum": lambda _: round(config.level_maximum_dbm * 10),
            "ModEirp": lambda _: self._eirp_db10() if self._transmitting else _MUTED_EIRP,
            "ModCarrierId": lambda _: bytes.fromhex(config.carrier_id),
            "ModOutputPackets": lambda _: self._sent,
            "ModInputLock": lambda _: _LOCKED if self._has_input() else _LOST,
            "ModInputBitRate": lambda _: round(self._input_meter.per_second(self._clock.monotonic()) * PACKET_BITS),
            "ModInputPackets": lambda _: self._input_meter.total,
            "ModDroppedPackets": lambda _: shaper.dropped,
            "ModNullPackets": lambda _: shaper.stuffed,
            "ModQueueDelay": lambda _: round(shaper.delay_s() * 1000),
            "ModQueueDelayPeak": lambda _: round(max((peak for _, peak in self._peaks), default=0.0) * 1000),
            "ModBeaconLock": lambda _: _LOST if self._beacon_lost else _LOCKED,
            "ModBeaconLevel": lambda _: round(self._beacon_seen_dbm * 10),
            "ModBeaconLevelNominal": lambda _: round(config.beacon_dbm * 10),
        }

    def change(self, changes: Changes) -> None:
        asked = dict(changes)
        enable, commit = asked.pop(("ModTxEnable", 0), None), asked.pop(("ModCommit", 0), None)
        level = asked.get(("ModTxLevel", 0))
        if isinstance(level, int) and level > round(self._config.level_maximum_dbm * 10):
            raise UnfitError(("ModTxLevel", 0), Refusal.WRONG_VALUE)
        if enable and commit != _APPLY and not self.settings.number(_COMMITTED):
            raise UnfitError(("ModTxEnable", 0))
        if asked:
            self.settings.update(asked)
        if commit == _APPLY:
            self._apply()
        elif commit == _DISCARD:
            self.settings.update({(f"ModStaged{name}", 0): self._on_air(name) for name in _CARRIER})
        if enable is not None:
            self._transmitting = bool(enable)
        if self._inlet.endpoint != self._input():
            self._inlet.close()
            self._inlet = Inlet(self._input())
        self._carrier = self._active()

    def tick(self, now: float) -> None:
        self._look_at_beacon(now)
        arrived = [packet for datagram in self._inlet.read(now) for packet in packets_of(datagram)]
        if arrived:
            self._input_at = now
            self._input_meter.add(now, len(arrived))
        leaving = self._shaper.carry(arrived, now)
        if self._transmitting and leaving:
            self._radiate(leaving, now)
        self._remember_delay(now)

    def holding(self, now: float) -> dict[AlarmKind, str]:
        found = {}
        if not self._has_input():
            found[AlarmKind.INPUT_LOST] = self._inlet.failure or "no transport stream at the input"
        if self._shaper.dropped != self._dropped_seen:
            self._dropped_at, self._dropped_seen = now, self._shaper.dropped
        if now - self._dropped_at < _OVERFLOW_HOLDS_S:
            found[AlarmKind.OUTPUT_OVERFLOW] = f"{self._dropped_seen} packets dropped since start"
        if not self._transmitting:
            found[AlarmKind.TRANSMIT_MUTED] = "the carrier is muted"
        if self.settings.number("ModTxLevel") >= round(self._config.level_maximum_dbm * 10):
            found[AlarmKind.LEVEL_AT_MAXIMUM] = "output level at its maximum"
        if self._beacon_lost:
            found[AlarmKind.BEACON_LOST] = "the beacon receiver has no lock"
        return found

    def close(self) -> None:
        self._inlet.close()
        self._outlet.close()

    def _apply(self) -> None:
        staged: dict[Key, Value] = {(f"ModActive{name}", 0): self._staged(name) for name in _CARRIER}
        self.settings.update(staged | {(_COMMITTED, 0): 1})
        self._commits += 1
        self._shaper.rate_bps = self._net_bps()

    def _radiate(self, packets: list[bytes], now: float) -> None:
        level = self.settings.number("ModTxLevel") / 10 - self._config.level_dbm - self.weather.fade.at(now)
        eirp, relative = self._eirp_db10(), round(level * 10)
        for start in range(0, len(packets), DATAGRAM_PACKETS):
            head = rf.pack(rf.Frame(self._carrier, self._sequence, eirp, relative))
            self._outlet.send(head + b"".join(packets[start : start + DATAGRAM_PACKETS]))
            self._sequence += 1
        self._sent += len(packets)

    def _look_at_beacon(self, now: float) -> None:
        fade = beacon_fade_db(self.weather.fade.at(now))
        self._beacon_lost = self.weather.has(DeviceFault.BEACON_LOST) or fade > _BEACON_RANGE_DB
        if not self._beacon_lost:
            self._beacon_seen_dbm = self._config.beacon_dbm - fade

    def _remember_delay(self, now: float) -> None:
        second, delay = int(now), self._shaper.delay_s()
        if self._peaks and self._peaks[-1][0] == second:
            self._peaks[-1] = second, max(delay, self._peaks[-1][1])
        else:
            self._peaks.append((second, delay))
        while self._peaks[0][0] <= second - _PEAK_S:
            self._peaks.popleft()

    def _eirp_db10(self) -> int:
        """Level in 0.1 dBm, gain in dB: EIRP in 0.1 dBW."""
        return self.settings.number("ModTxLevel") + round((self._config.gain_db - 30) * 10)

    def _has_input(self) -> bool:
        return self._clock.monotonic() - self._input_at < _INPUT_TIMEOUT_S

    def _staged(self, name: str) -> int:
        return self.settings.number(f"ModStaged{name}")

    def _on_air(self, name: str) -> int:
        return self.settings.number(f"ModActive{name}")

    def _net_bps(self) -> float:
        modcod = MODCODS[self._on_air("Modcod")]
        return modcod.net_bps(self._on_air("SymbolRate") * 100, pilots=self._on_air("Pilot") == 2)

    def _active(self) -> rf.Carrier:
        identity = self.settings.number("ModCarrierIdEnable") == _ENABLED
        return rf.Carrier(
            self._on_air("Modcod"),
            self._on_air("SymbolRate") * 100,
            self._on_air("RollOff"),
            self._on_air("Pilot"),
            self._on_air("Frequency"),
            bytes.fromhex(self._config.carrier_id) if identity else b"",
        )

    def _input(self) -> Endpoint:
        address = IPv4Address(self.settings.text("ModInputAddress"))
        return Endpoint(address, self.settings.number("ModInputPort"), self._config.via)
