"""The objects of one device in order, and the rules of a SET (RFC 3416, 4.2.5): all of it or nothing."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from ipaddress import AddressValueError, IPv4Address

from lab.devices.objects import SPECS, Oid, Spec, Syntax, Value

Key = tuple[str, int]  # an object's name and its row; row 0 for a scalar
Changes = Mapping[Key, Value]
Reader = Callable[[int], Value]


class Refusal(Enum):
    """Error-status of RFC 3416 by name."""

    NO_CREATION = "noCreation"
    NOT_WRITABLE = "notWritable"
    WRONG_TYPE = "wrongType"
    WRONG_LENGTH = "wrongLength"
    WRONG_VALUE = "wrongValue"
    INCONSISTENT_VALUE = "inconsistentValue"


class SetRefusedError(Exception):
    """A SET that must not be done; `index` counts the variables from 0."""

    def __init__(self, refusal: Refusal, index: int = 0) -> None:
        super().__init__(refusal.value)
        self.refusal = refusal
        self.index = index


class UnfitError(Exception):
    """A device's own rule against a change that types and ranges allow: `key` is what does not go with the rest."""

    def __init__(self, key: Key, refusal: Refusal = Refusal.INCONSISTENT_VALUE) -> None:
        super().__init__(f"{key[0]}.{key[1]}")
        self.key = key
        self.refusal = refusal


class DiedError(Exception):
    """The device ends in the middle of a SET."""


@dataclass(frozen=True, slots=True)
class Instance:
    """A variable. `spec` is None for those of other MIBs, which are read-only here."""

    syntax: Syntax
    row: int
    read: Callable[[], Value]
    spec: Spec | None = None


@dataclass(frozen=True, slots=True)
class Request:
    oid: Oid
    syntaxes: frozenset[Syntax]  # those that the wire type may stand for
    value: Value


class Tree:
    """Variables by OID."""

    def __init__(self, instances: Mapping[Oid, Instance]) -> None:
        self._instances = dict(instances)
        self._order = sorted(self._instances)

    @classmethod
    def of(
        cls, readers: Mapping[str, Reader], rows: Mapping[str, Iterable[int]], others: Mapping[Oid, Instance]
    ) -> Tree:
        """Every object that `readers` names, in each row that its table has."""
        found = dict(others)
        for name, read in readers.items():
            spec = SPECS[name]
            for row in rows[spec.group] if spec.columnar else (0,):
                found[spec.row_oid(row)] = Instance(spec.syntax, row, _bound(read, row), spec)
        return cls(found)

    def get(self, oid: Oid) -> Instance | None:
        return self._instances.get(oid)

    def after(self, oid: Oid) -> tuple[Oid, Instance] | None:
        """The first variable behind `oid`; None at the end."""
        place = bisect_right(self._order, oid)
        if place == len(self._order):
            return None
        found = self._order[place]
        return found, self._instances[found]

    def changes(self, requests: Sequence[Request]) -> dict[Key, Value]:
        """What a SET asks for, if each variable takes its value. Raises SetRefusedError for the first that does not."""
        return dict(self._change(index, request) for index, request in enumerate(requests))

    def _change(self, index: int, request: Request) -> tuple[Key, Value]:
        instance = self._instances.get(request.oid)
        if instance is None:
            raise SetRefusedError(Refusal.NO_CREATION, index)
        spec = instance.spec
        if spec is None or not spec.writable:
            raise SetRefusedError(Refusal.NOT_WRITABLE, index)
        if spec.syntax not in request.syntaxes:
            raise SetRefusedError(Refusal.WRONG_TYPE, index)
        try:
            return (spec.name, instance.row), fitting(spec, request.value)
        except SetRefusedError as refused:
            raise SetRefusedError(refused.refusal, index) from None


def fitting(spec: Spec, value: Value) -> Value:
    """The value as a device keeps it. Raises SetRefusedError when it is not in the object's range."""
    if isinstance(value, int):
        if (spec.low is not None and value < spec.low) or (spec.high is not None and value > spec.high):
            raise SetRefusedError(Refusal.WRONG_VALUE)
        return value
    if spec.syntax is Syntax.IPADDRESS:
        return _address(value)
    if spec.syntax is Syntax.TEXT:
        value = _text(value)
    if not (spec.low or 0) <= len(value) <= (255 if spec.high is None else spec.high):
        raise SetRefusedError(Refusal.WRONG_LENGTH)
    return value


def _address(value: str | bytes) -> str:
    try:
        return str(IPv4Address(value))
    except AddressValueError:
        raise SetRefusedError(Refusal.WRONG_LENGTH) from None


def _text(value: str | bytes) -> str:
    try:
        return value.decode("ascii") if isinstance(value, bytes) else value
    except UnicodeDecodeError:
        raise SetRefusedError(Refusal.WRONG_VALUE) from None


def _bound(read: Reader, row: int) -> Callable[[], Value]:
    return lambda: read(row)
