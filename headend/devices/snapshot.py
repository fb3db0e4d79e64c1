"""A device's configuration as a file: taken, compared, put back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from headend.devices import values
from headend.devices.instances import resolve
from headend.devices.model import Access
from headend.devices.rows import parse_name
from headend.devices.values import Value
from headend.devices.wanted import SetOutcome
from headend.snmp.values import Quality
from nf.contracts.json import JsonObject
from nf.errors import InputError, RefusedError, UnavailableError

if TYPE_CHECKING:
    from headend.devices.device import Device

VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Every readable parameter that is configuration; secrets are never in it.

    at       wall-clock seconds since the epoch
    values   by name with its row
    """

    device: str
    model: str
    at: float
    values: Mapping[str, Value]

    def to_json(self) -> JsonObject:
        return {
            "version": VERSION,
            "device": self.device,
            "model": self.model,
            "at": self.at,
            "values": dict(self.values),
        }

    def dumps(self) -> str:
        """Sorted, one line each, so that it lies well in a version control."""
        return json.dumps(self.to_json(), indent=2, sort_keys=True, ensure_ascii=False) + "\n"

    @classmethod
    def loads(cls, text: str, *, where: str = "snapshot") -> Snapshot:
        """Raises InputError for what is no snapshot."""
        try:
            data = json.loads(text)
            version, found = data["version"], data["values"]
            plain = all(isinstance(value, str | int | float | None) for value in found.values())
            snapshot = cls(str(data["device"]), str(data["model"]), float(data["at"]), dict(found))
        except (ValueError, TypeError, KeyError, AttributeError):
            raise InputError(
                "is no snapshot of a device", where=where, remedy="take one with `nf device snapshot`"
            ) from None
        if version != VERSION or not plain:
            raise InputError(
                f"is a snapshot of version {version}", where=where, remedy=f"this software reads {VERSION}"
            )
        return snapshot


@dataclass(frozen=True, slots=True)
class Difference:
    """None where one side does not have it."""

    name: str
    before: Value
    after: Value


async def take(device: Device) -> Snapshot:
    """Raises UnavailableError when the device does not answer; what it does not have is left out."""
    wanted = [
        name
        for name, parameter in device.model.parameters.items()
        if parameter.access is Access.READ_WRITE and parameter.configuration and not parameter.secret
    ]
    found = await device.read(wanted)
    if any(value.quality in (Quality.UNREACHABLE, Quality.STALE) for value in found.values()):
        raise UnavailableError("the device does not answer", where=device.name, remedy="take the snapshot again")
    held = {name: value.value for name, value in found.items() if value.good}
    return Snapshot(device.name, device.model.name, device.clock.now(), held)


def diff(before: Snapshot, after: Snapshot) -> tuple[Difference, ...]:
    """What changed from one to the other, by name. Raises InputError for snapshots of two models."""
    if before.model != after.model:
        raise InputError(f"one is of {before.model}, the other of {after.model}", remedy="compare two of one model")
    names = sorted({*before.values, *after.values}, key=_order)
    pairs = ((name, before.values.get(name), after.values.get(name)) for name in names)
    return tuple(Difference(name, old, new) for name, old, new in pairs if old != new)


def _order(name: str) -> tuple[str, int, str]:
    row = parse_name(name).row or ""
    return parse_name(name).base, int(row) if row.isdigit() else 0, name


async def plan_restore(device: Device, snapshot: Snapshot) -> dict[str, Value]:
    """What has to be set so that the device is as the snapshot says; empty when it is.

    Raises RefusedError (another model; rows that the device does not have now), UnavailableError.
    """
    if snapshot.model != device.model.name:
        raise RefusedError(
            f"the snapshot is of a {snapshot.model}, this is a {device.model.name}",
            where=device.name,
            remedy="use a snapshot of this device, or of one of its model",
        )
    now = await take(device)
    absent = sorted(name for name in snapshot.values if name not in now.values)
    if absent:
        raise RefusedError(
            f"the device does not have: {', '.join(absent)}", where=device.name, remedy="check cards and licences"
        )
    return {
        name: value
        for name, value in snapshot.values.items()
        if not values.equal(resolve(device.model, name).parameter, value, now.values[name])
    }


async def restore(device: Device, snapshot: Snapshot) -> SetOutcome:
    """As one verified set. Raises what `plan_restore` and `Device.set` raise."""
    changes = await plan_restore(device, snapshot)
    return await device.set(changes) if changes else SetOutcome()
