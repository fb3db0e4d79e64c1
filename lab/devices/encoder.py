"""The simulated encoder: channels, each with a real ffmpeg."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address

from lab.devices.alarms import AlarmKind
from lab.devices.channel import Channel, ChannelPlan
from lab.devices.config import EncoderConfig
from lab.devices.control import CLEAR_SKY
from lab.devices.meter import Meter
from lab.devices.net import Endpoint
from lab.devices.objects import Value
from lab.devices.settings import Settings
from lab.devices.tree import Changes, Key, Reader
from lab.devices.ts import PACKET_BITS
from nf.clock import Clock

_DISABLED, _ENABLED = 1, 2
_LOST, _LOCKED = 1, 2


def defaults(config: EncoderConfig) -> dict[Key, Value]:
    """The values of an encoder that nobody has set."""
    values: dict[Key, Value] = {}
    for row, channel in enumerate(config.channels, 1):
        values |= {
            ("EncName", row): channel.name,
            ("EncAdminState", row): _ENABLED if channel.enabled else _DISABLED,
            ("EncInputAddress", row): str(channel.input.address),
            ("EncInputPort", row): channel.input.port,
            ("EncOutputAddress", row): str(channel.output.address),
            ("EncOutputPort", row): channel.output.port,
            ("EncBitRate", row): channel.bit_rate_kbps,
        }
    return values


class Encoder:
    kind = "encoder"
    alarms: tuple[AlarmKind, ...] = (AlarmKind.INPUT_LOST, AlarmKind.PROCESS_FAILED)

    def __init__(self, config: EncoderConfig, settings: Settings, clock: Clock) -> None:
        self.settings = settings
        self.weather = CLEAR_SKY
        self.rows: Mapping[str, tuple[int, ...]] = {"Enc": tuple(range(1, len(config.channels) + 1))}
        self._config = config
        self._clock = clock
        self._channels = {row: Channel(self._plan(row)) for row in self.rows["Enc"]}

    def readers(self) -> dict[str, Reader]:
        channels = self._channels
        return {
            "EncActualBitRate": lambda row: self._kbps(channels[row].output_meter, PACKET_BITS),
            "EncInputLock": lambda row: _LOCKED if channels[row].locked(self._clock.monotonic()) else _LOST,
            "EncInputBitRate": lambda row: self._kbps(channels[row].input_meter, 8),
            "EncOutputPackets": lambda row: channels[row].output_meter.total,
            "EncRestarts": lambda row: channels[row].restarts,
        }

    def change(self, changes: Changes) -> None:
        self.settings.update(changes)
        for row, channel in self._channels.items():
            if channel.plan != self._plan(row):
                channel.replan(self._plan(row))

    def tick(self, now: float) -> None:
        for channel in self._channels.values():
            channel.tick(now)

    def holding(self, now: float) -> dict[AlarmKind, str]:
        enabled = [channel for channel in self._channels.values() if channel.plan.enabled]
        lost = [channel.plan.name for channel in enabled if not channel.locked(now)]
        failed = [f"{channel.plan.name}: {channel.failure}" for channel in enabled if channel.failure]
        found = {}
        if lost:
            found[AlarmKind.INPUT_LOST] = f"no contribution comes in for {', '.join(lost)}"
        if failed:
            found[AlarmKind.PROCESS_FAILED] = "; ".join(failed)
        return found

    def close(self) -> None:
        for channel in self._channels.values():
            channel.close()

    def _kbps(self, meter: Meter, bits: int) -> int:
        return round(meter.per_second(self._clock.monotonic()) * bits / 1000)

    def _plan(self, row: int) -> ChannelPlan:
        settings, via = self.settings, self._config.via

        def place(way: str) -> Endpoint:
            address = IPv4Address(settings.text(f"Enc{way}Address", row))
            return Endpoint(address, settings.number(f"Enc{way}Port", row), via)

        enabled = settings.number("EncAdminState", row) == _ENABLED
        rate = settings.number("EncBitRate", row)
        return ChannelPlan(enabled, settings.text("EncName", row), place("Input"), place("Output"), rate)
