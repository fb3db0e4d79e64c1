"""Devices and groups as operations show them: plain JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from headend.devices.device import Device
from headend.devices.documents import SnmpDevice
from headend.devices.instances import resolve
from headend.devices.ownership import owner_of
from headend.devices.values import ParameterValue, shown
from nf.contracts.json import Json, JsonObject

if TYPE_CHECKING:
    from headend.devices.driver import SnmpDevices
    from headend.devices.redundant import Running


def listed(driver: SnmpDevices) -> Iterator[JsonObject]:
    """One line for each device."""
    now = driver.clock.monotonic()
    for entry in driver.applied.devices:
        watched = driver.watching.devices.get(entry.id)
        ages = [now - value.at for value in watched.values.values() if value.good] if watched is not None else []
        yield {
            "device": entry.id,
            "model": entry.model,
            "address": f"{entry.address}:{entry.port}",
            "appliance": driver.appliance,
            "state": watched.state if watched is not None else "not polled yet",
            "age_s": round(max(0.0, min(ages)), 1) if ages else None,
            "alarms": len(driver.causes(entry.id) or ()),
            "parameters": len(entry.parameters),
        }


def shown_device(
    driver: SnmpDevices, entry: SnmpDevice, device: Device, values: Mapping[str, ParameterValue]
) -> JsonObject:
    """A device with values, each with its unit, quality, age and owner. Nothing of a secret."""
    watched = driver.watching.devices.get(entry.id)
    alarms: list[Json] = []
    if watched is not None and watched.alarms is not None:
        alarms += [
            {"cause": one.cause, "object": one.object, "severity": one.severity.value, "text": one.text}
            for one in watched.alarms.standing
        ]
    if watched is not None and watched.hms is not None:
        alarms += [
            {"cause": "hms-alarm", "object": one.object_oid, "severity": one.severity.value, "text": one.text}
            for one in watched.hms.standing
        ]
    return {
        "device": entry.id,
        "model": entry.model,
        "product": f"{device.model.spec.vendor} {device.model.spec.product}",
        "proven_on": device.model.spec.proven_on,
        "address": f"{entry.address}:{entry.port}",
        "appliance": driver.appliance,
        "state": watched.state if watched is not None else "not polled yet",
        "why": (watched.unusable or watched.wrong_model) if watched is not None else "",
        "alarms": alarms,
        "values": [_value(driver, device, name, value) for name, value in values.items()],
    }


def _value(driver: SnmpDevices, device: Device, name: str, value: ParameterValue) -> JsonObject:
    """A column whose rows could not be read has no row in its name, and no owner."""
    table = "[" not in name and device.model.table_of(name) is not None
    parameter = device.model.parameters[name] if table else resolve(device.model, name).parameter
    owner = None if table else owner_of(driver.applied, device.model, device.name, name)
    hidden = parameter.secret and value.value is not None
    return {
        "name": name,
        "value": None if hidden else value.value,
        "text": "-" if value.value is None else value.bound + shown(parameter, value.value),
        "unit": value.unit,
        "quality": value.quality.value,
        "age_s": round(max(0.0, driver.clock.monotonic() - value.at), 1),
        "settable": parameter.writable and owner is None,
        "owner": owner.name if owner is not None else "",
    }


def shown_group(driver: SnmpDevices, name: str) -> JsonObject:
    """Raises NotFoundError."""
    running = driver.redundancy.running(name)
    lock = driver.memory.locks.get(name)
    return {
        "group": name,
        "mode": running.entry.mode.value,
        "known": running.ready,
        "locked": None if lock is None else {"by": lock.by, "reason": lock.reason, "at": lock.at},
        "positions": [
            {
                "position": position.id,
                "main": position.main,
                "active": running.group.active(position.id),
                "state": running.group.state(position.id).value,
            }
            for position in running.entry.positions
        ],
        "units": [_unit(driver, running, unit) for unit in running.entry.units],
    }


def _unit(driver: SnmpDevices, running: Running, unit: str) -> JsonObject:
    """`alarms` is null while nothing is known of the unit."""
    causes = driver.causes(unit)
    return {
        "unit": unit,
        "alarms": None if causes is None else [*sorted(causes)],
        "failing": causes is not None and bool(causes & running.entry.settings.triggers),
    }
