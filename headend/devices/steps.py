"""The steps from the devices that are looked after to those that are to be. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from headend.devices.change import PATIENCE_S
from headend.devices.documents import SnmpDevice, SnmpDevicesSection
from headend.devices.instances import resolve
from headend.devices.modelfile import find_model
from nf.contracts.driver import State, Step
from nf.contracts.json import Json, JsonObject

SET: Final = "devices.set"
LEAVE: Final = "devices.leave"
MANAGE: Final = "devices.manage"
RESTORE: Final = "devices.restore"
_ANSWERING_S: Final = 10.0


def plan(have: State, want: SnmpDevicesSection | None) -> tuple[Step, ...]:
    """A step for each device that comes, goes, or is to be set otherwise, and one for what is around them.

    At the first commit of an appliance (nothing was ever applied) devices may be silent: `first` in the arguments.
    """
    before = _devices(have.value)
    found = have.value.get("altered") if have.value is not None else None
    altered: Mapping[str, Json] = found if isinstance(found, dict) else {}
    wanted = {device.id: device for device in want.devices} if want is not None else {}
    return tuple(_steps(have, before, altered, wanted, want))


def _steps(
    have: State,
    before: Mapping[str, JsonObject],
    altered: Mapping[str, Json],
    wanted: Mapping[str, SnmpDevice],
    want: SnmpDevicesSection | None,
) -> Iterator[Step]:
    for name in sorted(before.keys() - wanted.keys()):
        yield Step(
            id=f"device.{name}",
            kind=LEAVE,
            arguments={"device": before[name]},
            summary=f"{name} is not looked after any more; it stays as it is",
        )
    for name, device in sorted(wanted.items()):
        if name in altered or before.get(name) != device.to_json():
            yield _set(device, before.get(name), altered.get(name), first=have.value is None)
    rest = rest_of(want)
    if rest != _rest(have.value):
        groups = ", ".join(group.id for group in want.groups) if want is not None else ""
        yield Step(
            id="devices",
            kind=MANAGE,
            arguments={"rest": rest},
            summary=f"redundancy groups {groups}" if groups else "what others set on the devices; notifications",
        )


def _set(device: SnmpDevice, before: JsonObject | None, altered: Json, *, first: bool) -> Step:
    old = before.get("parameters") if before is not None else None
    known = old if isinstance(old, dict) else {}
    changed = [name for name, value in device.parameters.items() if name not in known or known[name] != value]
    if altered:
        changed = [*device.parameters]
    cost = f"{device.id} is set: {', '.join(changed)}; what it carries may be interrupted" if changed else ""
    return Step(
        id=f"device.{device.id}",
        kind=SET,
        arguments={"device": device.to_json(), "first": first},
        budget_s=_budget_s(device),
        undo_budget_s=_budget_s(device),
        disruption=cost,
        summary=f"{device.id}, a {device.model} at {device.address}"
        + (f", with {len(device.parameters)} parameters" if device.parameters else ""),
    )


def _budget_s(device: SnmpDevice) -> float:
    """Its slowest settling and every effect that confirms it, twice: it may have to be taken back."""
    if not device.parameters:
        return _ANSWERING_S
    model = find_model(device.model)
    instances = [resolve(model, name) for name in device.parameters]
    settle = max(instance.parameter.settle_s for instance in instances) + PATIENCE_S
    keys = {instance.key for instance in instances}
    effects = [e for e in model.standing_effects if not e.parameters or keys.intersection(e.parameters)]
    return _ANSWERING_S + 2 * settle + sum(effect.within_s for effect in effects)


def rest_of(section: SnmpDevicesSection | None) -> JsonObject | None:
    """A section without its devices."""
    return None if section is None else _rest(section.to_json())


def _rest(value: JsonObject | None) -> JsonObject | None:
    if value is None:
        return None
    return {key: found for key, found in value.items() if key not in ("devices", "altered")}


def _devices(value: JsonObject | None) -> dict[str, JsonObject]:
    found = value.get("devices") if value is not None else None
    return {str(one["id"]): one for one in found if isinstance(one, dict)} if isinstance(found, list) else {}
