"""The devices' share of a compilation: every appliance gets the devices that it looks after, whatever the line-up."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from headend.devices.checks import device_problems
from headend.devices.claims import Claim, ClaimsDevices
from headend.devices.derived import DerivedGroup, GroupsDevices
from headend.devices.documents import (
    ClaimedParameters,
    NotificationPlace,
    RedundancyGroup,
    SnmpDevice,
    SnmpDevicesSection,
    SnmpEquipment,
)
from headend.devices.group_checks import derived_problems, group_problems
from headend.devices.modelfile import load_models
from headend.devices.names import ALL, DEVICES, GROUP_OPERATIONS, LIST, OPERATIONS
from nf.contracts.planner import Contribution, FleetOperation
from nf.documents.fleet import Fleet
from nf.documents.lineup import LineUp


class DevicesPlanner:
    """Planner of `spec.equipment.snmp`."""

    @property
    def name(self) -> str:
        return "devices"

    def plan(self, lineup: LineUp, fleet: Fleet) -> Contribution:
        equipment = fleet.spec.equipment.get("snmp")
        if not isinstance(equipment, SnmpEquipment):
            return Contribution()
        claims = tuple(_claims(fleet))
        models = load_models()
        derived = tuple(_derived(lineup, fleet))
        problems = [
            *device_problems(equipment, fleet, models, claims),
            *group_problems(equipment, models, claims),
            *derived_problems(equipment, models, derived),
        ]
        if problems:
            return Contribution(problems=tuple(dict.fromkeys(problems)))
        looked_after: dict[str, list[SnmpDevice]] = defaultdict(list)
        for device in sorted(equipment.devices, key=lambda device: device.id):
            looked_after[device.appliance].append(device)
        groups = _groups_by_appliance(equipment, [one.group for one in derived])
        return Contribution(
            sections={
                appliance: {DEVICES: _section(fleet, appliance, devices, groups.get(appliance, ()), claims)}
                for appliance, devices in sorted(looked_after.items())
            },
            operations=tuple(_operations(looked_after, groups)),
        )


def _claims(fleet: Fleet) -> Iterator[Claim]:
    for part in fleet.spec.equipment.values():
        if isinstance(part, ClaimsDevices):
            yield from part.device_claims()


def _derived(lineup: LineUp, fleet: Fleet) -> Iterator[DerivedGroup]:
    for _, part in sorted(fleet.spec.equipment.items()):
        if isinstance(part, GroupsDevices):
            yield from part.device_groups(lineup)


def _groups_by_appliance(
    equipment: SnmpEquipment, derived: Sequence[RedundancyGroup]
) -> Mapping[str, Sequence[RedundancyGroup]]:
    """Where a group's first unit is looked after; the checks see to it that all of it is looked after there."""
    appliance_of = {device.id: device.appliance for device in equipment.devices}
    found: dict[str, list[RedundancyGroup]] = defaultdict(list)
    for group in sorted((*equipment.groups, *derived), key=lambda group: group.id):
        if group.units[0] in appliance_of:  # else the part that wants it says that it is not there
            found[appliance_of[group.units[0]]].append(group)
    return found


def _section(
    fleet: Fleet,
    appliance: str,
    devices: Sequence[SnmpDevice],
    groups: Sequence[RedundancyGroup],
    claims: Sequence[Claim],
) -> SnmpDevicesSection:
    names = {device.id for device in devices}
    mine = [claim for claim in claims if claim.device in names]
    return SnmpDevicesSection(
        devices=tuple(devices),
        groups=tuple(groups),
        claims=tuple(
            ClaimedParameters(
                device=claim.device,
                parameters=tuple(sorted(claim.parameters)),
                owner=claim.owner,
                remedy=claim.remedy,
            )
            for claim in sorted(mine, key=lambda claim: (claim.device, claim.owner))
        ),
        notifications=NotificationPlace(address=fleet.appliance(appliance).management),
    )


def _operations(
    devices: Mapping[str, Sequence[SnmpDevice]], groups: Mapping[str, Sequence[RedundancyGroup]]
) -> Iterator[FleetOperation]:
    everywhere = tuple((appliance, DEVICES) for appliance in sorted(devices))
    if everywhere:
        yield FleetOperation(LIST, ALL, (everywhere,))
    for appliance, found in sorted(devices.items()):
        for device in found:
            for name in OPERATIONS:
                yield FleetOperation(name, device.id, (((appliance, DEVICES),),))
    for appliance, listed in sorted(groups.items()):
        for group in listed:
            for name in GROUP_OPERATIONS:
                yield FleetOperation(name, group.id, (((appliance, DEVICES),),))
