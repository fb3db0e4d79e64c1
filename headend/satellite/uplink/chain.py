"""A carrier's chain of devices: where it stands, and how it goes from one operating point to another.

What falls, falls first: services leave the multiplex and encoders slow down before the multiplex does, and the
multiplex before the carrier's MODCOD. What rises, rises after it. So the carrier is never sent more than it takes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from headend.devices.device import Device
from headend.devices.instances import resolve
from headend.devices.values import ParameterValue, Value, equal
from headend.satellite.documents import UplinkCarrier, UplinkRung
from headend.satellite.uplink.settings import MUTED, OFF, RF_PARAMETERS, TRANSMITTING, Settings, settings
from headend.snmp.values import Quality
from nf.clock import Clock
from nf.errors import DriverError

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
    silent        devices that do not answer: nothing is known of them
    transmitting  None when the modem is silent
    """

    rung: int | None
    deviations: tuple[str, ...] = ()
    silent: tuple[str, ...] = ()
    transmitting: bool | None = None


class Chain:
    """The devices of one carrier. Sets are verified by `Device.set`; callers keep changes of one chain apart."""

    def __init__(self, carrier: UplinkCarrier, encoder: Device, mux: Device, modem: Device, clock: Clock) -> None:
        self.carrier = carrier
        self.encoder = encoder
        self.mux = mux
        self.modem = modem
        self._clock = clock

    # ---- looking ----

    async def standing(self) -> Standing:
        """Raises nothing: a device that does not answer is told as silent."""
        top = settings(self.carrier, self.carrier.ladder[0])
        encoder, mux, modem = await asyncio.gather(
            self.encoder.read({*top.encoder, "channel.admin_state", *self._rates()}),
            self.mux.read({*top.mux, "service.admin_state", *self._limits()}),
            self.modem.read({*top.modem, "tx_enable"}),
        )
        devices = ((self.encoder, encoder), (self.mux, mux), (self.modem, modem))
        silent = tuple(device.name for device, values in devices if _silent(values))
        modcod = modem["modcod"].value
        rung = next((n for n, one in enumerate(self.carrier.ladder) if one.modcod == modcod), None)
        wanted = settings(self.carrier, self.carrier.ladder[rung or 0])
        deviations = [
            *_differences(self.encoder, wanted.encoder, encoder),
            *_differences(self.mux, wanted.mux, mux),
            *_differences(self.modem, wanted.modem, modem),
        ]
        on = modem["tx_enable"]
        return Standing(rung, tuple(deviations), silent, on.value == TRANSMITTING if on.good else None)

    def _rates(self) -> set[str]:
        return {f"channel[{service.row}].bit_rate" for service in self.carrier.services}

    def _limits(self) -> set[str]:
        return {f"service[{service.row}].max_bit_rate" for service in self.carrier.services}

    # ---- changing ----

    async def go(self, rung: UplinkRung) -> None:
        """To an operating point, from wherever the chain stands.

        Raises DriverError, UnavailableError, RefusedError, InputError: what was not reached.
        """
        wanted = settings(self.carrier, rung)
        await self._fall(wanted, rung)
        await self._carrier(wanted)
        await self.mux.set(_only(wanted.mux, "output_", "transport_stream_id"))
        await self.encoder.set(wanted.encoder)
        await self.mux.set(_rows(wanted.mux))

    async def _fall(self, wanted: Settings, rung: UplinkRung) -> None:
        encoder = await self.encoder.read(["channel.admin_state", "channel.bit_rate"])
        mux = await self.mux.read(["service.admin_state", "service.input_bit_rate", "output_bit_rate"])
        leave = _leaving(mux, wanted.mux)
        if leave:
            await self.mux.set(leave)
        slower = _leaving(encoder, wanted.encoder) | {
            name: value
            for name, value in wanted.encoder.items()
            if name.endswith(".bit_rate") and _number(encoder.get(name)) > _number_of(value)
        }
        if slower:
            await self.encoder.set(slower)
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
        mux = await self.mux.read(["service.admin_state"])
        encoder = await self.encoder.read(["channel.admin_state"])
        await self.mux.set(
            {name: OFF for name, value in mux.items() if value.value != OFF} | {"output_admin_state": OFF}
        )
        await self.encoder.set({name: OFF for name, value in encoder.items() if value.value != OFF})


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


def _rows(values: Mapping[str, Value]) -> dict[str, Value]:
    return {name: value for name, value in values.items() if "[" in name}


def _number(value: ParameterValue | None) -> float:
    found = value.value if value is not None and value.good else None
    return float(found) if isinstance(found, int | float) else 0.0


def _number_of(value: Value) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
