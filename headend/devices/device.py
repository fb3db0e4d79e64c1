"""A device: its model, where it is, and what is read from it and set on it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from headend.devices import values
from headend.devices.change import Setting
from headend.devices.instances import Instance, batches, parsed_name, refused, resolve
from headend.devices.model import Effect, Model, Range
from headend.devices.rows import Name, decode_row, format_row, parse_name, suffix_of
from headend.devices.transport import Reader, Writer
from headend.devices.values import ParameterValue
from headend.devices.wanted import SetOutcome
from headend.snmp.target import Target
from headend.snmp.values import Quality, Reading, Varbind
from nf.clock import Clock
from nf.documents.rules import nearest
from nf.errors import InputError, UnavailableError


@dataclass(frozen=True, slots=True)
class Watched:
    """Objects that are polled together: by OID, what they are."""

    every_s: float
    instances: Mapping[str, Instance]


class Device:
    """One device. Reads may run side by side; sets wait for each other.

    limits   narrower ranges than the model's, by parameter: what this carrier or site may do (the plan's power cap)
    """

    def __init__(
        self,
        model: Model,
        target: Target,
        session: Reader,
        setter: Writer,
        clock: Clock,
        *,
        name: str = "",
        limits: Mapping[str, Range] | None = None,
    ) -> None:
        self.model = model
        self.target = target
        self.name = name or str(target)
        self.limits = dict(limits or {})
        self.session = session
        self.setter = setter
        self.clock = clock
        self.lock = asyncio.Lock()

    async def read(self, names: Iterable[str] | None = None) -> dict[str, ParameterValue]:
        """Values by canonical name, the file's order; None: everything that can be read.

        `service` and `service.bitrate` mean every row. A device that does not answer is in the quality, not an
        exception. Raises InputError for a name that its model does not have.
        """
        whole: dict[str, None] = {}
        single: dict[str, Instance] = {}
        for name in self.model.parameters if names is None else names:
            parsed = parsed_name(name)
            if parsed.row is None and parsed.base in self.model.spec.tables:
                whole.update(dict.fromkeys(self._columns(parsed)))
                continue
            instance = resolve(self.model, name)
            if instance.parameter.access.readable:
                single[instance.name] = instance
            elif names is not None:
                raise refused(name, "cannot be read", "it is written only")
        found = await self.read_instances(single.values())
        for column in whole:
            found.update(await self._read_column(column))
        return found

    def _columns(self, parsed: Name) -> Iterator[str]:
        if parsed.column is None:
            columns = self.model.columns(parsed.base)
            yield from (name for name in columns if self.model.parameters[name].access.readable)
        elif parsed.parameter not in self.model.parameters:
            remedy = nearest(parsed.parameter, self.model.parameters)
            raise refused(str(parsed), f"{self.model.name} has no such parameter", remedy)
        elif self.model.parameters[parsed.parameter].access.readable:
            yield parsed.parameter

    async def read_instances(self, instances: Iterable[Instance]) -> dict[str, ParameterValue]:
        """Values by name, in requests of the size that the device takes."""
        wanted = list(instances)
        found: dict[str, ParameterValue] = {}
        for batch in batches(wanted, self.model.spec.get_batch):
            readings = await self.session.get([instance.oid for instance in batch])
            for instance in batch:
                found[instance.name] = self.decode(instance, readings.get(instance.oid))
        return found

    def decode(self, instance: Instance, reading: Reading | None) -> ParameterValue:
        """A reading of `instance.oid`, by a poller for instance, in the parameter's terms."""
        unit = instance.parameter.unit
        if reading is None:
            return ParameterValue(None, unit, Quality.UNREACHABLE, self.clock.monotonic())
        if reading.quality not in (Quality.GOOD, Quality.STALE):
            return ParameterValue(None, unit, reading.quality, reading.at)
        decoded = values.decode(instance.parameter, reading.value)
        quality = reading.quality if decoded.quality is Quality.GOOD else decoded.quality
        return ParameterValue(decoded.value, unit, quality, reading.at, decoded.bound)

    async def _read_column(self, key: str) -> dict[str, ParameterValue]:
        parameter, place = self.model.parameters[key], self.model.table_of(key)
        if place is not None and place[1].subtrees is not None:
            table, _, column = key.partition(".")
            rows = (f"{table}[{row}].{column}" for row in range(1, place[1].subtrees + 1))
            return await self.read_instances(resolve(self.model, name) for name in rows)
        try:
            varbinds = await self.session.walk(parameter.oid)
        except UnavailableError:
            return {key: ParameterValue(None, parameter.unit, Quality.UNREACHABLE, self.clock.monotonic())}
        return self.decode_column(key, varbinds)

    def decode_column(self, key: str, varbinds: Sequence[Varbind]) -> dict[str, ParameterValue]:
        """Rows of one column of a walk; an instance that is not of the index's form is left out."""
        parameter, place = self.model.parameters[key], self.model.table_of(key)
        if place is None:
            raise InputError(f"{key} is no column of a table", where=self.model.name)
        table, index = place
        now = self.clock.monotonic()
        found: dict[str, ParameterValue] = {}
        for varbind in varbinds:
            suffix = suffix_of(varbind.oid, parameter.oid)
            if suffix is None:
                continue
            try:
                row = format_row(index.index, decode_row(index.index, suffix))
            except ValueError:
                continue
            decoded = values.decode(parameter, varbind.value)
            name = str(Name(table, row, key.partition(".")[2]))
            found[name] = ParameterValue(decoded.value, parameter.unit, decoded.quality, now, decoded.bound)
        return found

    async def telemetry(self) -> tuple[Watched, ...]:
        """What the model says is to be polled, with the rows that there are now.

        Raises UnavailableError when it stops answering meanwhile: that it has no rows is another thing.
        """
        rows: dict[str, list[str]] = {}
        groups: list[Watched] = []
        for group in self.model.spec.telemetry:
            instances: dict[str, Instance] = {}
            for name in group.parameters:
                for column in self.model.columns(name) if name in self.model.spec.tables else (name,):
                    if self.model.parameters[column].access.readable:
                        instances |= {found.oid: found for found in await self._rows_of(column, rows)}
            groups.append(Watched(group.every_s, instances))
        return tuple(groups)

    async def _rows_of(self, key: str, known: dict[str, list[str]]) -> list[Instance]:
        place = self.model.table_of(key)
        if place is None:
            return [resolve(self.model, key)]
        table = place[0]
        if table not in known:
            column = self.model.rows_column(table)
            found = await self._read_column(column)
            if column in found and found[column].quality is Quality.UNREACHABLE:
                raise UnavailableError(
                    f"its rows of {table} are not known: it does not answer", where=self.name, remedy="check the device"
                )
            known[table] = [row for row in (parse_name(name).row for name in found) if row is not None]
        return [resolve(self.model, str(Name(table, row, key.partition(".")[2]))) for row in known[table]]

    async def set(self, changes: Mapping[str, values.Value], *, confirm: Sequence[Effect] | None = None) -> SetOutcome:
        """Set, and prove it: check ranges and interlocks, remember the old values, SET, read back after settling, wait
        for the effects; else take it back.

        `confirm`: instead of the model's own effects. What already holds is not written. A cancelled set takes nothing
        back: `restore` a snapshot then.

        Raises InputError (a value the device cannot have: nothing was written), RefusedError (an interlock: nothing
        was written), UnavailableError (it does not answer: nothing was written), DeviceError (it did not do it; it says
        what the device holds now).
        """
        async with self.lock:
            return await Setting(self, changes, confirm).run()
