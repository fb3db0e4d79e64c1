"""What the redundancy groups of a fleet must obey."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from headend.devices.alarms import SILENT
from headend.devices.checks import LOC, parameter_problems, value_problems
from headend.devices.claims import Claim
from headend.devices.derived import DerivedGroup
from headend.devices.documents import (
    MutedParameter,
    Position,
    RedundancyGroup,
    Setting,
    SnmpDevice,
    SnmpEquipment,
    SwitchedParameter,
)
from headend.devices.errors import SET_FAILED
from headend.devices.hms import CAUSE as HMS
from headend.devices.instances import beside, resolve
from headend.devices.model import Model
from headend.devices.ownership import canonical
from nf.documents.keys import Loc, format_key
from nf.documents.rules import nearest, unique, unknown
from nf.errors import InputError, Problem


def group_problems(equipment: SnmpEquipment, models: Mapping[str, Model], claims: Sequence[Claim]) -> Iterator[Problem]:
    """Every broken rule of the groups."""
    listed = [((*LOC, "groups", number), group) for number, group in enumerate(equipment.groups)]
    yield from unique(
        "there is a group of this name already: {first}",
        "rename one of them",
        ((format_key((*loc, "id")), group.id, group.id) for loc, group in listed),
    )
    yield from unique(
        "the unit has a place already: {first}",
        "a unit carries, or stands by for, one group",
        (place for loc, group in listed for place in _units(loc, group)),
    )
    check = _Check({device.id: device for device in equipment.devices}, models, claims)
    for loc, group in listed:
        yield from check.group(loc, group)


def _units(loc: Loc, group: RedundancyGroup) -> Iterator[tuple[str, str, str]]:
    for number, position in enumerate(group.positions):
        yield format_key((*loc, "positions", number, "main")), position.main, position.main
    for number, backup in enumerate(group.backups):
        yield format_key((*loc, "backups", number)), backup, backup


class _Check:
    def __init__(self, devices: Mapping[str, SnmpDevice], models: Mapping[str, Model], claims: Sequence[Claim]) -> None:
        self._devices = devices
        self._models = models
        self._claims = claims
        self._taken: dict[tuple[str, str], str] = {}  # (device, parameter) -> key of who switches it

    def group(self, loc: Loc, group: RedundancyGroup) -> Iterator[Problem]:
        for key, unit, _ in _units(loc, group):
            if unit not in self._devices:
                yield unknown("device in spec.equipment.snmp of the fleet", key, unit, self._devices)
            else:
                yield from self.same_appliance(key, unit, group)
        yield from unique(
            "there is a position of this name already: {first}",
            "rename one of them",
            ((format_key((*loc, "positions", n, "id")), p.id, p.id) for n, p in enumerate(group.positions)),
        )
        yield from self.triggers(loc, group)
        for number, position in enumerate(group.positions):
            yield from self._position((*loc, "positions", number), group, position)

    def same_appliance(self, key: str, name: str, group: RedundancyGroup) -> Iterator[Problem]:
        first = self._devices.get(group.units[0])
        if first is not None and self._devices[name].appliance != first.appliance:
            rule = f"{self._devices[name].appliance} looks after it, and {first.appliance} after {first.id}"
            yield Problem(
                rule, "one appliance switches a group: it looks after all of its devices", key=key, value=name
            )

    def triggers(self, loc: Loc, group: RedundancyGroup) -> Iterator[Problem]:
        known = {SILENT, SET_FAILED}
        for unit in group.units:
            model = self._model(unit)
            if model is not None:
                known |= {rule.cause for rule in model.spec.alarms} | ({HMS} if model.spec.hms_alarms else set())
        for number, cause in enumerate(group.triggers):
            if cause not in known:
                key = format_key((*loc, "triggers", number))
                yield Problem("no unit of the group raises such an alarm", nearest(cause, known), key=key, value=cause)

    def _model(self, device: str) -> Model | None:
        return self._models.get(self._devices[device].model) if device in self._devices else None

    def _position(self, loc: Loc, group: RedundancyGroup, position: Position) -> Iterator[Problem]:
        if group.mute_on_error and not position.mute:
            rule = "the group mutes on error, and nothing says how"
            yield Problem(rule, "add mute: to the position", key=format_key((*loc, "id")), value=position.id)
        for number, one in enumerate(position.switch):
            place = (*loc, "switch", number)
            given: list[tuple[Loc, Setting]] = [((*place, "main"), one.main)]
            if isinstance(one.backup, Mapping):
                given += [((*place, "backup", unit), value) for unit, value in one.backup.items()]
                yield from _each_backup(format_key((*place, "backup")), one.backup, group.backups)
            else:
                given.append(((*place, "backup"), one.backup))
            yield from self._values(place, one, given, group)
        for number, muted in enumerate(position.mute):
            place = (*loc, "mute", number)
            yield from self._values(
                place, muted, [((*place, "muted"), muted.muted), ((*place, "heard"), muted.heard)], group
            )

    def _values(
        self,
        place: Loc,
        one: SwitchedParameter | MutedParameter,
        given: Sequence[tuple[Loc, Setting]],
        group: RedundancyGroup,
    ) -> Iterator[Problem]:
        where = format_key((*place, "device"))
        model = self._model(one.device)
        if one.device not in self._devices:
            yield unknown("device in spec.equipment.snmp of the fleet", where, one.device, self._devices)
        if model is None:
            return
        yield from self.same_appliance(where, one.device, group)
        at = format_key((*place, "parameter"))
        found = [*parameter_problems(at, model, one.device, one.parameter, self._claims)]
        yield from found
        if found:
            return
        for loc, value in given:
            yield from value_problems(format_key(loc), model, one.parameter, value)
        if isinstance(one, SwitchedParameter) and one.effect is not None:
            yield from _effect_problems((*place, "effect"), model, one)
        name = resolve(model, one.parameter).name
        if name in canonical(model, self._devices[one.device].parameters):
            remedy = "remove it from one of the two"
            yield Problem(f"`parameters` of {one.device} sets it too", remedy, key=at, value=one.parameter)
        first = self._taken.setdefault((one.device, name), at)
        if first != at:
            yield Problem(f"is switched already: {first}", "remove one of the two", key=at, value=one.parameter)


def _effect_problems(loc: Loc, model: Model, one: SwitchedParameter) -> Iterator[Problem]:
    effect = one.effect
    if effect is None:
        return
    instance = resolve(model, one.parameter)
    for place, name, value in (
        ((*loc, "watch"), effect.watch, effect.expect),
        *(((*loc, "when", name), name, value) for name, value in effect.when.items()),
    ):
        key = format_key(place)
        if name not in model.parameters:
            yield Problem(f"{model.name} has no such parameter", nearest(name, model.parameters), key=key, value=name)
            continue
        try:
            beside(model, name, instance)
        except InputError as error:
            yield Problem(error.message, "watch one of the same row, or one that has no row", key=key, value=name)
            continue
        choices = model.parameters[name].enum
        if choices and value not in choices:
            yield Problem("is none of its values", nearest(str(value), map(str, choices)), key=key, value=str(value))


def derived_problems(
    equipment: SnmpEquipment, models: Mapping[str, Model], derived: Sequence[DerivedGroup]
) -> Iterator[Problem]:
    """What a group that another part of the equipment wants must obey; told at the place that wants it."""
    taken = {group.id: format_key((*LOC, "groups", number)) for number, group in enumerate(equipment.groups)}
    listed = [((*LOC, "groups", number), group) for number, group in enumerate(equipment.groups)]
    units = {unit: key for loc, group in listed for key, unit, _ in _units(loc, group)}
    known = {device.id: device for device in equipment.devices}
    check = _Check(known, models, ())
    for one in derived:
        if one.group.id in taken:
            rule = f"its group {one.group.id} has the name of another: {taken[one.group.id]}"
            yield Problem(rule, "rename one of them", key=one.key)
        taken[one.group.id] = one.key
        for unit in one.group.units:
            if unit in units:
                rule = f"{unit} has a place already: {units[unit]}"
                yield Problem(rule, "a unit carries, or stands by for, one group", key=one.key)
            units[unit] = one.key
            if unit in known:  # who wants the group says what is not there
                yield from check.same_appliance(one.key, unit, one.group)
        for problem in check.triggers((), one.group):
            yield replace(problem, key=one.key)


def _each_backup(key: str, values: Mapping[str, Setting], backups: Sequence[str]) -> Iterator[Problem]:
    for unit in backups:
        if unit not in values:
            yield Problem(f"there is no value for {unit}", "give every backup its value", key=key)
    for unit in values:
        if unit not in backups:
            yield unknown("backup in the group", key, unit, backups)
