"""A set as a transaction: check, remember, SET, read back, wait for the effect, else take it back.

An answer without an error proves nothing: agents were seen that answer so and do nothing (a noSuchInstance value with
error-status 0, an object that keeps what it had). What counts is what is read afterwards, and what it brings about.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Final

from headend.devices import conditions, values
from headend.devices.errors import Aftermath, DeviceError
from headend.devices.instances import Instance, batches, beside
from headend.devices.model import Effect, Write
from headend.devices.values import ParameterValue, Value
from headend.devices.wanted import (
    Change,
    FailedError,
    SetOutcome,
    Wanted,
    plan,
    style_of,
    varbind_of,
    with_their_group,
)
from headend.snmp.errors import AgentSilentError, SnmpError, SnmpSecurityError
from headend.snmp.values import Quality, Syntax, Varbind, Wire
from nf.errors import Problem, RefusedError, UnavailableError

if TYPE_CHECKING:
    from headend.devices.device import Device

PATIENCE_S: Final = 1.0
"""How much longer than its settling time a device is asked before a value counts as not taken."""
_POLL_S: Final = 0.2


@dataclass(frozen=True, slots=True)
class _Before:
    value: ParameterValue
    wire: Wire


class Setting:
    """One set on one device."""

    def __init__(self, device: Device, changes: Mapping[str, Value], confirm: Sequence[Effect] | None) -> None:
        self._device = device
        self._model = device.model
        self._clock = device.clock
        self._wanted = plan(device, changes)
        self._effects = tuple(self._model.standing_effects if confirm is None else confirm)
        self._before: dict[str, _Before] = {}
        self._written: list[Wanted] = []

    async def run(self) -> SetOutcome:
        started = self._clock.monotonic()
        await self._remember()
        await self._check_interlocks()
        todo = [item for item in self._wanted if not self._holds(item)]
        unchanged = tuple(item.name for item in self._wanted if item not in todo)
        confirmed: tuple[str, ...] = ()
        if todo:
            try:
                await self._write(todo)
                await self._read_back(todo)
                confirmed = await self._confirm(todo)
            except FailedError as failed:
                raise await self._take_back(failed) from failed
        return SetOutcome(
            changed={item.name: Change(self._shown_before(item), self._shown(item, item.value)) for item in todo},
            unchanged=unchanged,
            confirmed_by=confirmed,
            unproved=tuple(item.name for item in todo if not item.readable and not confirmed),
            duration_s=self._clock.monotonic() - started,
        )

    # ---- before ----

    async def _remember(self) -> None:
        readable = [item for item in self._wanted if item.readable]
        for batch in batches(readable, self._model.spec.get_batch):
            readings = await self._device.session.get([item.instance.oid for item in batch])
            for item in batch:
                reading = readings.get(item.instance.oid)
                value = self._device.decode(item.instance, reading)
                self._before[item.name] = _Before(value, reading.value if reading else None)
        states = {name: before.value.quality for name, before in self._before.items()}
        silent = [name for name, quality in states.items() if quality in (Quality.UNREACHABLE, Quality.STALE)]
        if silent:
            raise UnavailableError(
                "the device does not answer; nothing was written", where=self._device.name, remedy="check the device"
            )
        missing = [name for name, quality in states.items() if quality is Quality.MISSING and self._absent(name)]
        if missing:
            raise DeviceError(
                f"the device has no {', '.join(missing)}; nothing was written",
                where=self._device.name,
                remedy="check the row, the licence and whether this is the right model",
                aftermath=Aftermath.UNCHANGED,
                before={},
            )

    def _absent(self, name: str) -> bool:
        return self._before[name].wire is None

    async def _check_interlocks(self) -> None:
        for interlock in self._model.spec.interlocks:
            for item in self._wanted:
                if item.instance.key not in interlock.parameters or self._holds(item):
                    continue
                if interlock.to and not any(conditions.same(to, item.value) for to in interlock.to):
                    continue
                needed = [(beside(self._model, name, item.instance), value) for name, value in interlock.needs.items()]
                found = await self._device.read_instances(need for need, _ in needed)
                broken = [
                    f"{need.name} is {found[need.name].value}, not {value}"
                    for need, value in needed
                    if not conditions.same(value, found[need.name].value)
                ]
                if broken:
                    raise RefusedError(
                        f"{item.name} may not be set now: {interlock.because} ({'; '.join(broken)})",
                        where=self._device.name,
                        remedy=interlock.remedy,
                    )

    def _holds(self, item: Wanted) -> bool:
        before = self._before.get(item.name)
        if before is None or not before.value.good:
            return False
        return values.equal(item.instance.parameter, item.value, before.value.value)

    # ---- writing ----

    async def _write(self, items: Sequence[Wanted]) -> None:
        """In the order given; objects of one style that stand together share a PDU as far as the device allows."""
        for (style, group), run in groupby(items, key=style_of):
            together = list(run)
            if style is Write.COMMAND:
                for item in together:
                    await self._send([item], [self._command(item)])
                continue
            for batch in batches(together, self._model.spec.set_batch):
                await self._send(batch, [varbind_of(item) for item in batch])
            if style is Write.APPLY:
                await self._commit(group)

    async def _commit(self, group: str) -> None:
        apply = self._model.spec.applies[group]
        try:
            await self._set([Varbind(apply.oid, apply.value, apply.syntax)])
        except AgentSilentError:
            return  # what is read back tells whether it arrived

    def _command(self, item: Wanted) -> Varbind:
        line, template = self._model.spec.command_line, item.instance.parameter.command
        if line is None or template is None:
            raise FailedError(f"the model has no command for {item.name}")
        row = item.instance.name.partition("[")[2].partition("]")[0]
        wire = item.wire.decode("utf-8", "replace") if isinstance(item.wire, bytes) else item.wire
        return Varbind(line.oid, template.format(value=wire, row=row).encode(), Syntax.OCTETS)

    async def _send(self, items: Sequence[Wanted], varbinds: Sequence[Varbind]) -> None:
        self._written += items
        try:
            await self._set(varbinds, items)
        except AgentSilentError:
            # Its answer may be lost, not the SET; going on blindly would leave it half done if it was.
            staged = any(item.instance.parameter.write is Write.APPLY for item in items)
            if not staged:
                await self._read_back(items)

    async def _set(self, varbinds: Sequence[Varbind], items: Sequence[Wanted] = ()) -> None:
        try:
            await self._device.setter.set(self._device.target, varbinds)
        except SnmpError as error:
            refused = next((item for item in items if item.instance.write_oid == error.oid), None)
            name = refused.name if refused is not None else ", ".join(item.name for item in items) or "the commit"
            problem = Problem(f"the device refuses: {error.error_status}", "see the device's own log", key=name)
            raise FailedError(f"the device refuses {name}: {error.error_status}", [problem]) from error
        except SnmpSecurityError as error:
            raise FailedError(f"the device does not accept our SET: {error.message}") from error

    # ---- proof ----

    async def _read_back(self, items: Sequence[Wanted]) -> None:
        """Until every value is there, or settling time and patience are over. Raises FailedError."""
        readable = [item for item in items if item.readable]
        settle = max((item.instance.parameter.settle_s for item in items), default=0.0)
        await self._clock.sleep(settle)
        deadline = self._clock.monotonic() + max(PATIENCE_S, settle)
        while True:
            found = await self._device.read_instances(item.instance for item in readable)
            wrong = [item for item in readable if not self._is(item, found[item.name])]
            if not wrong:
                return
            if self._clock.monotonic() >= deadline:
                raise self._not_taken(wrong, found)
            await self._clock.sleep(_POLL_S)

    def _is(self, item: Wanted, found: ParameterValue) -> bool:
        return found.good and values.equal(item.instance.parameter, item.value, found.value)

    def _not_taken(self, wrong: Sequence[Wanted], found: Mapping[str, ParameterValue]) -> FailedError:
        problems = [
            Problem(
                f"was set to {self._shown(item, item.value)} and reads {self._read_as(item, found[item.name])}",
                "the device answered without an error and did not do it",
                key=item.name,
            )
            for item in wrong
        ]
        if all(found[item.name].quality is Quality.UNREACHABLE for item in wrong):
            return FailedError("the device stopped answering", problems)
        return FailedError("; ".join(f"{problem.key} {problem.rule}" for problem in problems), problems)

    async def _confirm(self, items: Sequence[Wanted]) -> tuple[str, ...]:
        """The effects that were seen. Raises FailedError."""
        pending = [
            (effect, item)
            for effect in self._effects
            for item in items
            if not effect.parameters or item.instance.key in effect.parameters
        ]
        seen: dict[str, None] = {}
        watched: set[tuple[int, str]] = set()
        for effect, item in pending:
            watch = beside(self._model, effect.watch, item.instance)
            if (id(effect), watch.name) not in watched:
                watched.add((id(effect), watch.name))
                told = await self._wait_for(effect, watch, item, items)
                if told:
                    seen[told] = None
        return tuple(seen)

    async def _wait_for(self, effect: Effect, watch: Instance, item: Wanted, items: Sequence[Wanted]) -> str:
        deadline = self._clock.monotonic() + effect.within_s
        conditional = [(beside(self._model, name, item.instance), value) for name, value in effect.when.items()]
        others = [*(need for need, _ in conditional), watch]
        tracked = beside(self._model, effect.expect.tracks, item.instance) if effect.expect.tracks else None
        if tracked is not None:
            others.append(tracked)
        readable = [each for each in items if each.readable]
        while True:
            found = await self._device.read_instances([*others, *(each.instance for each in readable)])
            lost = [each for each in readable if found[each.name].good and not self._is(each, found[each.name])]
            if lost:
                raise self._not_taken(lost, found)
            if not all(conditions.same(value, found[need.name].value) for need, value in conditional):
                return ""
            value = found[watch.name]
            if value.good and conditions.holds(
                effect.expect, value.value, None if tracked is None else found[tracked.name].value
            ):
                return effect.text or f"{watch.name} is {values.shown(watch.parameter, value.value)}"
            if self._clock.monotonic() >= deadline:
                expected = conditions.text(effect.expect, watch.parameter.unit)
                is_now = values.shown(watch.parameter, value.value) if value.good else value.quality.value
                rule = f"is {is_now}, not {expected}, {effect.within_s:g} s after the set"
                problem = Problem(rule, "the effect of the change did not come", key=watch.name)
                raise FailedError(f"the values were taken and have no effect: {watch.name} {rule}", [problem])
            await self._clock.sleep(_POLL_S)

    # ---- taking back ----

    async def _take_back(self, failed: FailedError) -> DeviceError:
        """The old values, written and read back; the error that says how it ended."""
        aftermath, told = await self._rolled_back()
        remedy = {
            Aftermath.UNCHANGED: "nothing was changed",
            Aftermath.ROLLED_BACK: "the old values are back",
            Aftermath.CHANGED: "the device does not take its old values: set it by hand",
            Aftermath.UNKNOWN: "nobody knows what the device holds: look at it",
        }[aftermath]
        before = {
            item.name: self._before[item.name].value.value
            for item in self._written
            if item.name in self._before and not item.instance.parameter.secret
        }
        return DeviceError(
            str(failed) + told,
            where=self._device.name,
            remedy=remedy,
            problems=failed.problems,
            aftermath=aftermath,
            before=before,
        )

    async def _rolled_back(self) -> tuple[Aftermath, str]:
        known = {name for name, before in self._before.items() if before.wire is not None}
        lost = [item.name for item in self._written if item.name not in known]
        old = [self._old(item) for item in self._written if item.name in known]
        now = await self._device.read_instances(item.instance for item in old)
        differing = [item for item in old if not self._is_old(item, now[item.name])]
        staged = [item for item in old if item.instance.parameter.write is Write.APPLY]
        if not differing and not lost:
            await self._restage(staged)
            return Aftermath.ROLLED_BACK if staged else Aftermath.UNCHANGED, ""
        try:
            await self._write(list(reversed(with_their_group(differing, staged))))
            await self._wait_for_old(old)
        except FailedError as failed:
            now = await self._device.read_instances(item.instance for item in old)
            silent = all(value.quality is Quality.UNREACHABLE for value in now.values())
            return Aftermath.UNKNOWN if silent else Aftermath.CHANGED, f"; taking it back failed: {failed}"
        if lost:
            return Aftermath.CHANGED, f"; {', '.join(lost)} cannot be taken back: its old value could not be read"
        return Aftermath.ROLLED_BACK, ""

    def _old(self, item: Wanted) -> Wanted:
        before = self._before[item.name]
        return Wanted(item.instance, before.value.value, before.wire)

    def _is_old(self, item: Wanted, found: ParameterValue) -> bool:
        before = self._before[item.name].value
        if found.quality is not before.quality:
            return False
        return not before.good or values.equal(item.instance.parameter, before.value, found.value)

    async def _wait_for_old(self, items: Sequence[Wanted]) -> None:
        deadline = self._clock.monotonic() + max(
            PATIENCE_S, 2 * max((item.instance.parameter.settle_s for item in items), default=0.0)
        )
        while True:
            found = await self._device.read_instances(item.instance for item in items)
            wrong = [item for item in items if not self._is_old(item, found[item.name])]
            if not wrong:
                return
            if self._clock.monotonic() >= deadline:
                raise self._not_taken(wrong, found)
            await self._clock.sleep(_POLL_S)

    async def _restage(self, staged: Sequence[Wanted]) -> None:
        """A value that was staged and never made true would come with the next commit of somebody else."""
        for batch in batches(staged, self._model.spec.set_batch):
            try:
                await self._set([varbind_of(item) for item in batch], batch)
            except (FailedError, AgentSilentError):
                return

    # ---- words ----

    def _shown_before(self, item: Wanted) -> Value:
        before = self._before.get(item.name)
        return self._shown(item, before.value.value) if before is not None else None

    def _shown(self, item: Wanted, value: Value) -> Value:
        return values.shown(item.instance.parameter, value) if item.instance.parameter.secret else value

    def _read_as(self, item: Wanted, found: ParameterValue) -> str:
        return values.shown(item.instance.parameter, found.value) if found.good else found.quality.value
