"""What a set wants of a device, checked against its model and put into wire form; and what came of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from headend.devices import values
from headend.devices.instances import Instance, refused, resolve
from headend.devices.model import Model, Range, Write
from headend.devices.values import Value, ValueRefusedError
from headend.snmp.values import Varbind, Wire
from nf.errors import InputError, Problem

if TYPE_CHECKING:
    from headend.devices.device import Device


@dataclass(frozen=True, slots=True)
class Change:
    """What one parameter was and is. `before` is None where it could not be read (write-only)."""

    before: Value
    after: Value


@dataclass(frozen=True, slots=True)
class SetOutcome:
    """A set that was proved: every value read back, every effect seen.

    confirmed_by   the effects, in an operator's words; empty where the model knows none and none was asked for
    unproved       write-only parameters and commands: they hold nothing that could be read back
    """

    changed: Mapping[str, Change] = field(default_factory=dict)
    unchanged: tuple[str, ...] = ()
    confirmed_by: tuple[str, ...] = ()
    unproved: tuple[str, ...] = ()
    duration_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """One value to be set, on its instance, and as it goes over the wire."""

    instance: Instance
    value: Value
    wire: Wire

    @property
    def name(self) -> str:
        return self.instance.name

    @property
    def readable(self) -> bool:
        return self.instance.parameter.access.readable


class FailedError(Exception):
    """Why the set is not what was wanted; it becomes a DeviceError once the old values are back."""

    def __init__(self, message: str, problems: Sequence[Problem] = ()) -> None:
        super().__init__(message)
        self.problems = tuple(problems)


def plan(device: Device, changes: Mapping[str, Value]) -> tuple[Wanted, ...]:
    """Raises InputError with every value that the device cannot have."""
    wanted: list[Wanted] = []
    problems: list[Problem] = []
    for name, value in changes.items():
        try:
            wanted.append(checked(device.model, name, value, device.limits))
        except InputError as error:
            problems += error.problems
    names = [item.name for item in wanted]
    doubled = {name for name in names if names.count(name) > 1}
    problems += [Problem("is set twice", "keep one of the two", key=name) for name in sorted(doubled)]
    if problems:
        text = "; ".join(map(str, problems))
        raise InputError(text, where=device.name, problems=problems, remedy="nothing was written")
    return tuple(wanted)


def checked(model: Model, name: str, value: Value, limits: Mapping[str, Range] | None = None) -> Wanted:
    """A value of a parameter as it goes over the wire. `limits`: narrower ranges than the model's.

    Raises InputError: unknown, read-only, or a value that it cannot have; nothing of a secret is in it.
    """
    instance = resolve(model, name)
    parameter = instance.parameter
    if not parameter.writable:
        raise refused(instance.name, "is read-only", "set one that can be set")
    known = limits or {}
    try:
        values.check(parameter, value, known.get(instance.name, known.get(instance.key)))
        return Wanted(instance, value, values.encode(parameter, value))
    except ValueRefusedError as error:
        told = "" if parameter.secret else error.problem.value
        problem = Problem(error.problem.rule, error.problem.remedy, key=instance.name, value=told)
        raise InputError(problem.rule, problems=[problem]) from None


def style_of(item: Wanted) -> tuple[Write, str]:
    return item.instance.parameter.write, item.instance.parameter.apply or ""


def varbind_of(item: Wanted) -> Varbind:
    return Varbind(item.instance.write_oid, item.wire, item.instance.parameter.syntax)


def with_their_group(differing: Iterable[Wanted], staged: Iterable[Wanted]) -> list[Wanted]:
    """What differs, and all that was staged beside it: a commit takes every staged value."""
    items = list(differing)
    groups = {item.instance.parameter.apply for item in items if item.instance.parameter.write is Write.APPLY}
    return items + [item for item in staged if item.instance.parameter.apply in groups and item not in items]
