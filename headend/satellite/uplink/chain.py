"""A carrier's chain of devices: where it stands, and how it goes from one operating point to another.

What falls, falls first: services leave the multiplex and encoders slow down before the multiplex does, and the
multiplex before the carrier's MODCOD. What rises, rises after it. So the carrier is never sent more than it takes.

With a second encoder, both are set alike, and the multiplex hears one of them: which one is a redundancy group's to
switch, and never changed here. What is set on the other one may fail; it is set again when it answers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from headend.devices.device import Device
from headend.devices.instances import resolve
from headend.devices.values import ParameterValue, Value, equal
from headend.satellite.documents import UplinkCarrier, UplinkRung
from headend.satellite.uplink.settings import (
    MUTED,
    OFF,
    RF_PARAMETERS,
    TRANSMITTING,
    Settings,
    settings,
    standby_port,
)
from headend.snmp.values import Quality
from nf.clock import Clock
from nf.errors import DriverError, NfError

INPUT_S: Final = 8.0
"""So long an encoder may take until what it sends is what it was told."""
_POLL_S: Final = 0.2
_TOLERANCE: Final = 1.02
_ROWS: Final = ("channel.admin_state", "service.admin_state")


Wrong = Callable[[Mapping[str, ParameterValue]], list[str]]
"""Names of the values that are not yet as they should be."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a chain stands.

    rung          index in the ladder of the point whose MODCOD is active; None when no rung has it
    deviations    what differs from that rung (or from the first), one line each
    silent        devices that do not answer: nothing is known of them; the encoder that is not heard counts in `idle`
    encoder       the one that the multiplex hears
    idle          why the other encoder cannot stand by; empty when it can, or there is none
    transmitting  None when the modem is silent
    """

    rung: int | None
    deviations: tuple[str, ...] = ()
    silent: tuple[str, ...] = ()
    transmitting: bool | None = None
    encoder: str = ""
    idle: str = ""


@dataclass(frozen=True, slots=True)
class _Encoders:
    """The one that is heard with its settings, and the other one. `ports`: of the multiplex, for the one that is."""

    heard: Device
    wanted: Mapping[str, Value]
    other: Device | None
    other_wanted: Mapping[str, Value]
    ports: Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class ChainDevices:
    encoder: Device
    mux: Device
    modem: Device
    standby: Device | None = None


class Chain:
    """The devices of one carrier. Sets are verified by `Device.set`; callers keep changes of one chain apart."""

    def __init__(self, carrier: UplinkCarrier, devices: ChainDevices, clock: Clock) -> None:
        self.carrier = carrier
        self.encoder, self.standby, self.mux, self.modem = devices.encoder, devices.standby, devices.mux, devices.modem
        self._clock = clock

    # ---- looking ----

    async def standing(self) -> Standing:
        """Raises nothing: a device that does not answer is told as silent."""
        top = settings(self.carrier, self.carrier.ladder[0])
        mux, modem = await asyncio.gather(
            self.mux.read({*top.mux, "service.admin_state", *self._limits()}),
            self.modem.read({*top.modem, "tx_enable"}),
        )
        modcod = modem["modcod"].value
        rung = next((n for n, one in enumerate(self.carrier.ladder) if one.modcod == modcod), None)
        wanted = settings(self.carrier, self.carrier.ladder[rung or 0])
        encoders = self._encoders(wanted, mux)
        heard, idle = await asyncio.gather(
            encoders.heard.read({*top.encoder, "channel.admin_state", *self._rates()}), self._idle(encoders)
        )
        devices = ((encoders.heard, heard), (self.mux, mux), (self.modem, modem))
        deviations = [
            *_differences(encoders.heard, encoders.wanted, heard),
            *_differences(self.mux, {**wanted.mux, **encoders.ports}, mux),
            *_differences(self.modem, wanted.modem, modem),
        ]
        on = modem["tx_enable"]
        return Standing(
            rung,
            tuple(deviations),
            tuple(device.name for device, values in devices if _silent(values)),
            on.value == TRANSMITTING if on.good else None,
            encoders.heard.name,
            idle,
        )

    def _encoders(self, wanted: Settings, mux: Mapping[str, ParameterValue]) -> _Encoders:
        """Which encoder is heard, by the ports that the multiplex listens at: the first, where it says neither."""
        first = {f"service[{service.row}].input_port": service.mux_port for service in self.carrier.services}
        if self.standby is None:
            return _Encoders(self.encoder, wanted.encoder, None, {}, first)
        second = {f"service[{service.row}].input_port": standby_port(service) for service in self.carrier.services}
        if any(_is(self.mux, name, port, mux.get(name)) for name, port in second.items()):
            return _Encoders(self.standby, wanted.standby, self.encoder, wanted.encoder, second)
        return _Encoders(self.encoder, wanted.encoder, self.standby, wanted.standby, first)

    async def _idle(self, encoders: _Encoders) -> str:
        """Why the encoder that is not heard cannot stand by."""
        if encoders.other is None:
            return ""
        found = await encoders.other.read({*encoders.other_wanted, "channel.admin_state"})
        if _silent(found):
            return f"{encoders.other.name} does not answer"
        return "; ".join(_differences(encoders.other, encoders.other_wanted, found))

    def _rates(self) -> set[str]:
        return {f"channel[{service.row}].bit_rate" for service in self.carrier.services}

    def _limits(self) -> set[str]:
        return {f"service[{service.row}].max_bit_rate" for service in self.carrier.services}

    # ---- changing ----

    async def go(self, rung: UplinkRung) -> None:
        """To an operating point, from wherever the chain stands. The encoder that is not heard is left: `set_other`.

        Raises DriverError, UnavailableError, RefusedError, InputError: what was not reached.
        """
        wanted = settings(self.carrier, rung)
        encoders = self._encoders(wanted, await self.mux.read(self._ports()))
        await self._fall(wanted, rung, encoders)
        await self._carrier(wanted)
        await self.mux.set(_only(wanted.mux, "output_", "transport_stream_id"))
        await self._widen(wanted)
        await encoders.heard.set(encoders.wanted)
        await self.mux.set(await self._rows(wanted))

    async def _widen(self, wanted: Settings) -> None:
        """More room for services that are to rise: the multiplex drops what an encoder sends above its limit."""
        now = await self.mux.read(self._limits())
        wider = {
            name: limit
            for name, limit in wanted.mux.items()
            if name in now and now[name].good and _number(now[name]) < _number_of(limit)
        }
        if wider:
            await self.mux.set(wider)

    async def _rows(self, wanted: Settings) -> dict[str, Value]:
        """Ports as they are, unless they are nobody's: a group may have switched them meanwhile."""
        encoders = self._encoders(wanted, await self.mux.read(self._ports()))
        return _only_rows(wanted.mux) | dict(encoders.ports)

    async def set_other(self, rung: UplinkRung) -> str:
        """Let the encoder that is not heard stand by at `rung`; why it does not, else empty. Raises nothing of it."""
        wanted = settings(self.carrier, rung)
        try:
            encoders = self._encoders(wanted, await self.mux.read(self._ports()))
            if encoders.other is None:
                return ""
            # Nobody waits for its effects: they are seen by what its group counts as a failure.
            await encoders.other.set(encoders.other_wanted, confirm=())
        except NfError as error:
            return str(error)
        return ""

    def _ports(self) -> list[str]:
        return [f"service[{service.row}].input_port" for service in self.carrier.services]

    async def _fall(self, wanted: Settings, rung: UplinkRung, encoders: _Encoders) -> None:
        encoder = await encoders.heard.read(["channel.admin_state", "channel.bit_rate"])
        mux = await self.mux.read(["service.admin_state", "service.input_bit_rate", "output_bit_rate"])
        leave = _leaving(mux, wanted.mux)
        if leave:
            await self.mux.set(leave)
        slower = _leaving(encoder, encoders.wanted) | {
            name: value
            for name, value in encoders.wanted.items()
            if name.endswith(".bit_rate") and _number(encoder.get(name)) > _number_of(value)
        }
        if slower:
            await encoders.heard.set(slower)
        now = _number(mux.get("output_bit_rate"))
        if now > rung.ts_rate_bps:
            await self._await_rates({name: v for name, v in wanted.mux.items() if name.endswith(".max_bit_rate")})
            await self.mux.set({"output_bit_rate": rung.ts_rate_bps})
            await self._await_output(rung.ts_rate_bps)

    async def _carrier(self, wanted: Settings) -> None:
        """The modem's part; muted first when the carrier becomes another one."""
        modem = await self.modem.read([*wanted.modem, "tx_enable"])
        changed = [name for name, value in wanted.modem.items() if not _is(self.modem, name, value, modem.get(name))]
        if RF_PARAMETERS.intersection(changed) and modem["tx_enable"].value != MUTED:
            await self.mute()
        if changed:
            await self.modem.set({name: wanted.modem[name] for name in changed})
        if "apply_carrier" in self.modem.model.parameters:
            # A modulator may refuse to radiate a carrier that nobody ever applied, though it is as it should be.
            count = await self.modem.read(["commit_count"])
            if count["commit_count"].value == 0:
                await self.modem.set({"apply_carrier": "now"})

    async def _await_rates(self, limits: Mapping[str, Value]) -> None:
        """Until no service sends the multiplex more than it may."""
        names = {name.replace(".max_bit_rate", ".input_bit_rate"): _number_of(limit) for name, limit in limits.items()}
        await self._until(
            self.mux,
            names,
            lambda values: [name for name, most in names.items() if _number(values.get(name)) > most * _TOLERANCE],
            "the encoder does not slow down",
        )

    async def _await_output(self, most_bps: int) -> None:
        await self._until(
            self.mux,
            ["actual_bit_rate"],
            lambda values: ["actual_bit_rate"] * (_number(values.get("actual_bit_rate")) > most_bps * _TOLERANCE),
            f"the multiplex still sends more than {most_bps} bit/s",
        )

    async def _until(self, device: Device, names: Iterable[str], wrong: Wrong, what: str) -> None:
        if not (asked := list(names)):
            return
        end = self._clock.monotonic() + INPUT_S
        while True:
            values = await device.read(asked)
            left = wrong(values)
            if not left:
                return
            if self._clock.monotonic() >= end:
                shown = ", ".join(f"{name} is {values[name].value}" for name in left if name in values)
                raise DriverError(f"{what}: {shown}", where=device.name, remedy="look at the device, and commit again")
            await self._clock.sleep(_POLL_S)

    # ---- transmission ----

    async def mute(self) -> None:
        await self.modem.set({"tx_enable": MUTED})

    async def transmit(self) -> None:
        """Whoever calls it has seen that two people want it."""
        await self.modem.set({"tx_enable": TRANSMITTING})

    async def close_down(self) -> None:
        """The carrier leaves: muted, and nothing is encoded or multiplexed for it any more."""
        await self.mute()
        mux = await self.mux.read(["service.admin_state", *self._ports()])
        encoders = self._encoders(settings(self.carrier, self.carrier.ladder[0]), mux)
        await self.mux.set(
            {name: OFF for name, value in mux.items() if name.endswith(".admin_state") and value.value != OFF}
            | {"output_admin_state": OFF}
        )
        await _empty(encoders.heard)
        if encoders.other is not None:
            with suppress(NfError):  # it is not heard by anybody
                await _empty(encoders.other)


async def _empty(encoder: Device) -> None:
    found = await encoder.read(["channel.admin_state"])
    await encoder.set({name: OFF for name, value in found.items() if value.value != OFF})


def _silent(values: Mapping[str, ParameterValue]) -> bool:
    lost = (Quality.UNREACHABLE, Quality.STALE)
    return bool(values) and all(value.quality in lost for value in values.values())


def _is(device: Device, name: str, wanted: Value, found: ParameterValue | None) -> bool:
    if found is None or not found.good:
        return False
    return equal(resolve(device.model, name).parameter, wanted, found.value)


def _differences(device: Device, wanted: Mapping[str, Value], found: Mapping[str, ParameterValue]) -> Iterable[str]:
    """What stands otherwise, and rows that are on although nobody wants them. Nothing of a silent device."""
    if _silent(found):
        return
    for name, value in wanted.items():
        if not _is(device, name, value, found.get(name)):
            shown = found[name].value if name in found and found[name].good else "unreadable"
            yield f"{device.name}: {name} is {shown}, not {value}"
    for name, read in found.items():
        if name.endswith(".admin_state") and name not in wanted and read.good and read.value != OFF:
            yield f"{device.name}: {name} is {read.value}, and nobody uses the row"


def _leaving(found: Mapping[str, ParameterValue], wanted: Mapping[str, Value]) -> dict[str, Value]:
    """Rows that are on and are not to be."""
    return {
        name: OFF
        for name, value in found.items()
        if name.endswith("].admin_state") and value.good and value.value != OFF and wanted.get(name, OFF) == OFF
    }


def _only(values: Mapping[str, Value], *beginnings: str) -> dict[str, Value]:
    return {name: value for name, value in values.items() if name.startswith(beginnings)}


def _only_rows(values: Mapping[str, Value]) -> dict[str, Value]:
    return {name: value for name, value in values.items() if "[" in name}


def _number(value: ParameterValue | None) -> float:
    found = value.value if value is not None and value.good else None
    return float(found) if isinstance(found, int | float) else 0.0


def _number_of(value: Value) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
