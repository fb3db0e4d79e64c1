"""Parameters of one model as they stand on one device: names with their rows, resolved to OIDs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from headend.devices.model import Model, Parameter
from headend.devices.rows import Name, encode_row, format_oid, format_row, parse_name, parse_row
from nf.documents.rules import nearest
from nf.errors import InputError, Problem

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Instance:
    """One parameter of one row: `name` as people write it, canonical."""

    name: str
    key: str  # in the model's file
    parameter: Parameter
    suffix: tuple[int, ...] = ()

    @property
    def oid(self) -> str:
        return self._instance(self.parameter.oid)

    @property
    def write_oid(self) -> str:
        return self._instance(self.parameter.write_oid or self.parameter.oid)

    def _instance(self, oid: str) -> str:
        if "#" in oid:
            return oid.replace("#", format_oid(self.suffix))
        return f"{oid}.{format_oid(self.suffix)}" if self.suffix else oid


def resolve(model: Model, name: str) -> Instance:
    """The instance that a name with its row means. Raises InputError, which says what is known."""
    parsed = parsed_name(name)
    parameter = model.parameters.get(parsed.parameter)
    if parameter is None:
        raise refused(name, f"{model.name} has no such parameter", nearest(parsed.parameter, model.parameters))
    place = model.table_of(parsed.parameter)
    if place is None:
        return Instance(parsed.parameter, parsed.parameter, parameter)
    table, index = place
    if parsed.row is None:
        raise refused(name, f"{table} is a table", f"name the row, as in {table}[1].{parsed.column}")
    try:
        keys = parse_row(index.index, parsed.row)
        suffix = encode_row(index.index, keys)
    except ValueError as error:
        raise refused(name, str(error), f"its index is {', '.join(kind.value for kind in index.index)}") from None
    full = Name(table, format_row(index.index, keys), parsed.column)
    return Instance(str(full), parsed.parameter, parameter, suffix)


def beside(model: Model, name: str, instance: Instance) -> Instance:
    """The parameter `name` of the file as it stands beside `instance`: of the same row where both are of one table."""
    place = model.table_of(name)
    if place is None:
        return Instance(name, name, model.parameters[name])
    if instance.key.partition(".")[0] != place[0]:
        raise InputError(f"{name} is a table's, and {instance.name} is not", where=model.name)
    row = parse_name(instance.name).row
    return Instance(str(Name(place[0], row, name.partition(".")[2])), name, model.parameters[name], instance.suffix)


def parsed_name(name: str) -> Name:
    try:
        return parse_name(name)
    except ValueError as error:
        raise refused(name, str(error), "write it as tx_level or service[3].bitrate") from None


def refused(name: str, rule: str, remedy: str) -> InputError:
    return InputError(f"{name}: {rule}", remedy=remedy, problems=[Problem(rule, remedy, key=name)])


def batches(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """`items` in pieces of at most `size`."""
    return (items[start : start + size] for start in range(0, len(items), size))
