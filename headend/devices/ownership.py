"""Who sets a parameter of a device: the fleet's `parameters`, a redundancy group, a carrier, or a person by hand."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from headend.devices.conditions import same
from headend.devices.documents import SnmpDevicesSection
from headend.devices.instances import resolve
from headend.devices.model import Model
from headend.devices.values import Value
from nf.errors import InputError

AIR_REMEDY = "name the device as the modem of a carrier; two people put that on the air: nf link transmit"


@dataclass(frozen=True, slots=True)
class Owner:
    """`remedy`: what a person does who wants another value."""

    name: str
    remedy: str


def radiates(model: Model, name: str, value: Value) -> bool:
    """Whether this value would put a carrier on the air. Raises InputError for an unknown parameter."""
    dangerous = resolve(model, name).parameter.radiates
    return dangerous is not None and same(dangerous, value)


def owner_of(section: SnmpDevicesSection, model: Model, device: str, name: str) -> Owner | None:
    """Who alone sets `name` of `device`; None when people do. Raises InputError for an unknown parameter."""
    instance = resolve(model, name)
    for group in section.groups:  # first: a group may switch what belongs to a carrier
        switched = (parameter for switches, parameter in group.parameters() if switches == device)
        if instance.name in canonical(model, switched):
            return Owner(f"redundancy group {group.id}", f"nf device switch {group.id} POSITION UNIT")
    for claim in section.claims:
        if claim.device == device and instance.key in claim.parameters:
            return Owner(claim.owner, claim.remedy)
    entry = next((one for one in section.devices if one.id == device), None)
    if entry is not None and instance.name in canonical(model, entry.parameters):
        remedy = f"change `parameters` of {device} in the fleet and commit"
        return Owner("the fleet document", remedy)
    return None


def canonical(model: Model, names: Iterable[str]) -> Iterator[str]:
    """Names as `resolve` writes them; unknown ones are left out."""
    for name in names:
        try:
            yield resolve(model, name).name
        except InputError:
            continue
