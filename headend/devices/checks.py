"""What the devices of a fleet must obey."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from headend.devices.claims import Claim
from headend.devices.documents import Setting, SnmpDevice, SnmpEquipment
from headend.devices.instances import resolve
from headend.devices.model import Model
from headend.devices.ownership import AIR_REMEDY, radiates
from headend.devices.wanted import checked
from nf.documents.fleet import Fleet
from nf.documents.keys import Loc, format_key
from nf.documents.rules import unique, unknown
from nf.errors import InputError, Problem

LOC: Loc = ("spec", "equipment", "snmp")


def device_problems(
    equipment: SnmpEquipment, fleet: Fleet, models: Mapping[str, Model], claims: Sequence[Claim]
) -> Iterator[Problem]:
    """Every broken rule of the devices."""
    listed = [((*LOC, "devices", number), device) for number, device in enumerate(equipment.devices)]
    yield from unique(
        "there is a device of this name already: {first}",
        "rename one of them",
        ((format_key((*loc, "id")), device.id, device.id) for loc, device in listed),
    )
    yield from unique(
        "another device is at this address and port: {first}",
        "one agent is one device: correct the address, or remove one of them",
        (
            (format_key((*loc, "address")), (str(device.address), device.port), f"{device.address}:{device.port}")
            for loc, device in listed
        ),
    )
    appliances = {appliance.id for appliance in fleet.spec.appliances}
    for loc, device in listed:
        if device.appliance not in appliances:
            yield unknown("appliance in the fleet", format_key((*loc, "appliance")), device.appliance, appliances)
        model = models.get(device.model)
        if model is None:
            yield unknown("device model", format_key((*loc, "model")), device.model, models)
        else:
            yield from _parameter_problems((*loc, "parameters"), device, model, claims)


def _parameter_problems(loc: Loc, device: SnmpDevice, model: Model, claims: Sequence[Claim]) -> Iterator[Problem]:
    first: dict[str, str] = {}
    for name, value in device.parameters.items():
        key = format_key((*loc, name))
        found = [*parameter_problems(key, model, device.id, name, claims)]
        yield from found
        if found:
            continue
        yield from value_problems(key, model, name, value)
        canonical = resolve(model, name).name
        if canonical in first:
            yield Problem(f"means the same as {first[canonical]}", "keep one of the two", key=key)
        first.setdefault(canonical, name)


def parameter_problems(key: str, model: Model, device: str, name: str, claims: Sequence[Claim]) -> Iterator[Problem]:
    """What speaks against a document setting `name` of `device`, whatever the value; told at `key`."""
    try:
        instance = resolve(model, name)
    except InputError as error:
        yield from (replace(problem, key=key, value=name) for problem in error.problems)
        return
    parameter = instance.parameter
    if not parameter.writable:
        yield Problem("is read-only", "set one that can be set", key=key, value=name)
    elif parameter.secret:
        yield Problem("is a key, and no document holds keys", "set it at the device itself", key=key, value=name)
    elif not parameter.access.readable:
        rule = "holds nothing that could be read back, so nobody could tell whether it is set"
        yield Problem(rule, f"nf device set {device} {name}=VALUE, once", key=key, value=name)
    for claim in claims:
        if claim.device == device and instance.key in claim.parameters:
            yield Problem(f"{claim.owner} sets it", f"remove it here; {claim.remedy}", key=key, value=name)


def value_problems(key: str, model: Model, name: str, value: Setting) -> Iterator[Problem]:
    """What speaks against this value of a parameter that a document may set."""
    try:
        checked(model, name, value)
    except InputError as error:
        yield from (replace(problem, key=key) for problem in error.problems)
        return
    if radiates(model, name, value):
        yield Problem("would put a carrier on the air", AIR_REMEDY, key=key, value=str(value))
