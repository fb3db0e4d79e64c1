"""What people do with devices: look, set by hand, keep and put back configurations, switch groups."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from headend.devices import names, snapshot
from headend.devices.device import Device
from headend.devices.documents import SnmpDevice
from headend.devices.instances import resolve
from headend.devices.ownership import AIR_REMEDY, owner_of, radiates
from headend.devices.showing import listed, shown_device, shown_group
from headend.devices.snapshot import Snapshot, plan_restore
from headend.devices.snapshots import Snapshots
from headend.devices.templates import render, typed
from headend.devices.values import Value, shown
from headend.devices.wanted import SetOutcome
from nf.contracts.driver import Checkpoint, Context, Operation
from nf.contracts.json import Json, JsonObject
from nf.errors import InputError, Problem, RefusedError

if TYPE_CHECKING:
    from headend.devices.driver import SnmpDevices

_Work = Callable[[JsonObject, Context], Coroutine[Any, Any, JsonObject]]


class _Operation:
    """None of them needs a checkpoint: each is short, and repeated as a whole."""

    def __init__(self, work: _Work) -> None:
        self._work = work

    async def run(self, arguments: JsonObject, checkpoint: Checkpoint, context: Context) -> JsonObject:  # noqa: ARG002
        return await self._work(arguments, context)


def operations(driver: SnmpDevices) -> Mapping[str, Operation]:
    """By name; see `headend.devices.names`."""
    hand = _ByHand(driver)
    work: dict[str, _Work] = {
        names.LIST: hand.list,
        names.SHOW: hand.show,
        names.SET: hand.set,
        names.HISTORY: hand.history,
        names.SNAPSHOT: hand.snapshot,
        names.RESTORE: hand.restore,
        names.ACCEPT: hand.accept,
        names.GROUP_SHOW: hand.group_show,
        names.GROUP_SWITCH: hand.group_switch,
        names.GROUP_LOCK: hand.group_lock,
    }
    return {name: _Operation(one) for name, one in work.items()}


class _ByHand:
    """Arguments of all but `list`: device, or group; of what changes something: author (set by the NOC), reason."""

    def __init__(self, driver: SnmpDevices) -> None:
        self._driver = driver

    def _entry(self, arguments: JsonObject) -> SnmpDevice:
        return self._driver.entry(str(arguments.get("device", "")))

    # ---- looking ----

    async def list(self, arguments: JsonObject, context: Context) -> JsonObject:  # noqa: ARG002
        return {"devices": [*listed(self._driver)]}

    async def show(self, arguments: JsonObject, context: Context) -> JsonObject:  # noqa: ARG002
        """Arguments: parameters (names, read now), all (everything, read now); else what the polls have read.

        Raises NotFoundError, InputError, IntegrityError.
        """
        entry = self._entry(arguments)
        device = await self._driver.device(entry)
        asked = arguments.get("parameters")
        wanted = [str(name) for name in asked] if isinstance(asked, list) else []
        watched = self._driver.watching.devices.get(entry.id)
        if wanted or arguments.get("all") is True or watched is None or not watched.values:
            values = await device.read(wanted or None)
        else:
            values = watched.values
        return shown_device(self._driver, entry, device, values)

    async def history(self, arguments: JsonObject, context: Context) -> JsonObject:  # noqa: ARG002
        """Arguments: limit. The newest last. Raises NotFoundError, StorageError."""
        entry = self._entry(arguments)
        limit = arguments.get("limit")
        entries = self._driver.history(entry.id).entries()
        last = entries[-limit:] if isinstance(limit, int) and limit > 0 else entries
        return {"device": entry.id, "entries": [asdict(one) | {"confirmed_by": [*one.confirmed_by]} for one in last]}

    # ---- changing ----

    async def set(self, arguments: JsonObject, context: Context) -> JsonObject:
        """Arguments: changes {name: value}; template: one of the model's, then they are its fields.

        Raises RefusedError (somebody else sets it; the air), NotFoundError, InputError, DeviceError, UnavailableError.
        """
        entry, who = self._entry(arguments), _author(arguments)
        reason = _reason(arguments)
        device = await self._driver.device(entry)
        given = arguments.get("changes")
        if not isinstance(given, dict) or not given:
            raise InputError("nothing is to be set", where=entry.id, remedy="name a parameter and its value")
        template = str(arguments.get("template", ""))
        plain = {name: _plain(name, value) for name, value in given.items()}
        if template:
            changes = render(device.model, template, plain)
        else:
            changes = {name: typed(device.model, resolve(device.model, name).key, v) for name, v in plain.items()}
        self._allow(entry, device, changes)
        context.progress(0.2, "setting and reading back")
        outcome = await self._driver.set(device, changes, who=who, reason=reason)
        return {"device": entry.id, **_outcome(device, outcome)}

    def _allow(self, entry: SnmpDevice, device: Device, changes: Mapping[str, Value]) -> None:
        """Raises RefusedError with everything that is not for people to set."""
        problems: list[Problem] = []
        for name, value in changes.items():
            owner = owner_of(self._driver.applied, device.model, entry.id, name)
            if owner is not None:
                problems.append(Problem(f"{owner.name} sets it", owner.remedy, key=name))
            elif radiates(device.model, name, value):
                problems.append(Problem("would put a carrier on the air", AIR_REMEDY, key=name, value=str(value)))
        if problems:
            text = "; ".join(map(str, problems))
            raise RefusedError(text, where=entry.id, remedy="nothing was written", problems=problems)

    async def snapshot(self, arguments: JsonObject, context: Context) -> JsonObject:  # noqa: ARG002
        """Arguments: act (take, list, diff), one, other (names of snapshots; other empty: the device as it is).

        Raises NotFoundError, UnavailableError, InputError, StorageError.
        """
        entry = self._entry(arguments)
        kept = Snapshots(self._driver.state_dir, entry.id)
        match arguments.get("act"):
            case "take":
                taken = await snapshot.take(await self._driver.device(entry))
                return {"device": entry.id, "name": kept.add(taken), "values": len(taken.values)}
            case "list":
                return {
                    "device": entry.id,
                    "snapshots": [{"name": name, "at": one.at, "model": one.model} for name, one in kept.all()],
                }
            case "diff":
                other = str(arguments.get("other", ""))
                before = kept.get(str(arguments.get("one", "")))
                after = kept.get(other) if other else await snapshot.take(await self._driver.device(entry))
                return {"device": entry.id, "differences": [asdict(one) for one in snapshot.diff(before, after)]}
        raise InputError("a snapshot is taken, listed or compared", where=entry.id)

    async def restore(self, arguments: JsonObject, context: Context) -> JsonObject:
        """Arguments: snapshot, skip_owned. Raises RefusedError (what others set differs), and what `set` raises."""
        entry, who = self._entry(arguments), _author(arguments)
        reason = _reason(arguments)
        device = await self._driver.device(entry)
        kept: Snapshot = Snapshots(self._driver.state_dir, entry.id).get(str(arguments.get("snapshot", "")))
        changes = await plan_restore(device, kept)
        skipped: list[str] = []
        if arguments.get("skip_owned") is True:
            owned = [n for n in changes if owner_of(self._driver.applied, device.model, entry.id, n) is not None]
            skipped = [*owned]
            changes = {name: value for name, value in changes.items() if name not in owned}
        self._allow(entry, device, changes)
        outcome = SetOutcome()
        if changes:
            context.progress(0.2, f"setting {len(changes)} parameters and reading back")
            told = f"{reason} (restore of {arguments.get('snapshot')})"
            outcome = await self._driver.set(device, changes, who=who, reason=told)
        return {"device": entry.id, "skipped": [*skipped], **_outcome(device, outcome)}

    async def accept(self, arguments: JsonObject, context: Context) -> JsonObject:  # noqa: ARG002
        """A person has looked: the SNMPv3 engine that answers is the device's. Raises RefusedError, NotFoundError."""
        entry, who = self._entry(arguments), _author(arguments)
        if not self._driver.engines.accept(entry.id):
            raise RefusedError("there is nothing to accept: its engine is the one that was known", where=entry.id)
        state = self._driver.engines.state(entry.id)
        if state is not None:
            self._driver.memory.engines[entry.id] = state.time
            self._driver.memory.save()
        return {"device": entry.id, "engine_id": state.time.engine_id.hex() if state is not None else "", "by": who}

    # ---- groups ----

    async def group_show(self, arguments: JsonObject, context: Context) -> JsonObject:  # noqa: ARG002
        """Raises NotFoundError."""
        return shown_group(self._driver, str(arguments.get("group", "")))

    async def group_switch(self, arguments: JsonObject, context: Context) -> JsonObject:
        """Arguments: position, unit. Raises NotFoundError, RefusedError, DeviceError, UnavailableError."""
        name, position = str(arguments.get("group", "")), str(arguments.get("position", ""))
        who, reason = _author(arguments), _reason(arguments)
        context.progress(0.2, "switching and reading back")
        await self._driver.redundancy.switch(name, position, str(arguments.get("unit", "")), who, reason)
        return shown_group(self._driver, name)

    async def group_lock(self, arguments: JsonObject, context: Context) -> JsonObject:  # noqa: ARG002
        """Arguments: locked. Raises NotFoundError, RefusedError, StorageError."""
        name, locked = str(arguments.get("group", "")), arguments.get("locked") is True
        reason = _reason(arguments) if locked else ""
        self._driver.redundancy.lock(name, locked=locked, who=_author(arguments), reason=reason)
        return shown_group(self._driver, name)


def _author(arguments: JsonObject) -> str:
    author = str(arguments.get("author", ""))
    if not author:
        raise InputError("nobody is named who wants it", remedy="ask through the NOC")
    return author


def _reason(arguments: JsonObject) -> str:
    reason = str(arguments.get("reason", "")).strip()
    if not reason:
        raise InputError("a change by hand has a reason", remedy="add --reason WHY")
    return reason[:500]


def _plain(name: str, value: Json) -> Value:
    if isinstance(value, list | dict) or value is None:
        raise InputError("is no value", where=name, remedy="write a number or a text")
    return value


def _outcome(device: Device, outcome: SetOutcome) -> JsonObject:
    changed: list[Json] = [
        {
            "name": name,
            "before": change.before,
            "after": change.after,
            "text": _change_text(device, name, change.before, change.after),
        }
        for name, change in outcome.changed.items()
    ]
    return {
        "changed": changed,
        "unchanged": [*outcome.unchanged],
        "confirmed_by": [*outcome.confirmed_by],
        "unproved": [*outcome.unproved],
        "duration_s": round(outcome.duration_s, 3),
        "text": f"{len(changed)} set and read back" if changed else "nothing had to be changed",
    }


def _change_text(device: Device, name: str, before: Value, after: Value) -> str:
    parameter = resolve(device.model, name).parameter
    return f"{shown(parameter, before)} -> {shown(parameter, after)}"
