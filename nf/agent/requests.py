"""What the NOC may ask outside transactions: overrides, operations, a hold of reconcile, status."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nf.agent.support import collect, observe
from nf.contracts.driver import Driver
from nf.contracts.image import ImageManager
from nf.contracts.json import Json, JsonObject
from nf.contracts.units import Units, UnitStatus
from nf.errors import InputError, NfError, RefusedError
from nf.transaction.engine import Engine
from nf.transaction.model import OperationRecord, Override


def _override(override: Override) -> JsonObject:
    return {
        "id": override.id,
        "section": override.section,
        "patch": override.patch,
        "reason": override.reason,
        "author": override.author,
        "created_at": override.created_at,
        "expires_at": override.expires_at,
        "state": override.state.value,
    }


def _operation(record: OperationRecord) -> JsonObject:
    return {
        "id": record.id,
        "driver": record.driver,
        "name": record.name,
        "arguments": record.arguments,
        "state": record.state.value,
        "result": record.result,
        "error": record.error,
        "fraction": record.fraction,
        "text": record.text,
        "created_at": record.created_at,
        "ended_at": record.ended_at,
    }


def _unit(status: UnitStatus) -> JsonObject:
    return {
        "name": status.name,
        "state": status.state.value,
        "pid": status.pid,
        "since": status.since,
        "restarts": status.restarts,
        "last_exit": status.last_exit,
    }


class Requests:
    def __init__(
        self,
        engine: Engine,
        drivers: Sequence[Driver],
        units: Units | None,
        probe_kinds: Sequence[str],
        hold: Callable[[float], None],
        *,
        image: ImageManager | None = None,
    ) -> None:
        """`hold`: repair no drift until that time, in seconds since the epoch. `image` None: it runs from none."""
        self._engine = engine
        self._drivers = tuple(drivers)
        self._units = units
        self._probe_kinds = tuple(probe_kinds)
        self._hold = hold
        self._image = image

    async def answer(self, method: str, arguments: Any) -> Json:
        """Raises InputError (unknown method, missing argument) and what the engine raises."""
        if not isinstance(arguments, Mapping):
            raise InputError("the arguments are no object", where=method)
        try:
            return await self._answer(method, arguments)
        except KeyError as error:
            raise InputError(f"argument {error} is missing", where=method) from error

    async def _answer(  # noqa: PLR0911 - one return for each method of the table
        self, method: str, arguments: Mapping[str, Any]
    ) -> Json:
        engine = self._engine
        if method == "override.add":
            added = await engine.add_override(
                str(arguments["section"]),
                dict(arguments["patch"]),
                str(arguments["reason"]),
                str(arguments["author"]),
                float(arguments["ttl_s"]),
            )
            return _override(added)
        if method == "override.list":
            return [_override(override) for override in engine.list_overrides()]
        if method == "override.end":
            await engine.end_override(str(arguments["id"]))
            return None
        if method.startswith("operation."):
            return await self._operation(method, arguments)
        if method.startswith("image."):
            return await self._of_image().answer(method, arguments)
        if method == "reconcile.hold":
            self._hold(float(arguments["until"]))
            return None
        if method == "status":
            return await self._status()
        if method == "observe":
            return await observe(self._drivers)
        if method == "support.collect":
            return await collect(engine, self._drivers, self._units, await self._status())
        raise _unknown(method)

    async def _operation(self, method: str, arguments: Mapping[str, Any]) -> Json:
        engine = self._engine
        if method == "operation.start":
            given = dict(arguments.get("arguments", {}))
            return await engine.start_operation(str(arguments["driver"]), str(arguments["name"]), given)
        if method == "operation.list":
            return [_operation(record) for record in engine.list_operations()]
        if method == "operation.cancel":
            await engine.cancel_operation(str(arguments["id"]))
            return None
        raise _unknown(method)

    def _of_image(self) -> ImageManager:
        if self._image is None:
            raise RefusedError(
                "this machine runs from no image", where="image", remedy="install it from an image to upgrade it so"
            )
        return self._image

    async def _status(self) -> JsonObject:
        standing = self._engine.standing
        flight = standing.in_flight
        kinds: list[Json] = [*self._probe_kinds]
        return {
            "confirmed_revision": standing.confirmed_revision,
            "confirmed_digest": standing.confirmed_digest,
            "transaction": None
            if flight is None
            else {"id": flight.transaction, "revision": flight.revision, "state": flight.state.name.lower()},
            "drivers": [
                {"name": driver.name, "section": driver.section, "operations": [*sorted(driver.operations)]}
                for driver in self._drivers
            ],
            "probes": kinds,
            "units": await self._unit_list(),
            "overrides": [_override(override) for override in self._engine.list_overrides()],
            "operations": [_operation(record) for record in self._engine.list_operations()],
        }

    async def _unit_list(self) -> Json:
        if self._units is None:
            return []
        try:
            return [_unit(status) for status in await self._units.list()]
        except NfError as error:
            return [{"name": "supervisor", "state": "unreachable", "error": str(error)}]


def _unknown(method: str) -> InputError:
    return InputError("no such request", where=method, remedy="the NOC and the agent may differ in version")
