"""The operation `purge` of a shield: a channel by its key, what is below a prefix by a ban, one object by PURGE."""

from __future__ import annotations

import re

from nf.contracts.driver import Checkpoint, Context
from nf.contracts.json import JsonObject
from nf.contracts.units import UnitState
from nf.errors import DriverError
from nf.media.documents import CACHE_KEY_HEADER, ShieldChannel, ShieldSection, object_prefix
from nf.media.http import Connection, Response
from nf.media.purge import Scope, added, lead_of, listed, prove, scope_of
from nf.media.shield.render import section_of
from nf.media.shield.varnish import UNIT, Varnish

_ANSWER_TIMEOUT_S = 10.0
_REMEDY = "read the log of the unit varnishd"


class ShieldPurge:
    """Arguments and result: see `nf.media.purge`. A repetition purges again, which takes nothing that counts."""

    def __init__(self, varnish: Varnish) -> None:
        self._varnish = varnish

    async def run(self, arguments: JsonObject, checkpoint: Checkpoint, context: Context) -> JsonObject:
        """Raises InputError, DriverError when the purge is not acknowledged or not proved, UnavailableError."""
        scope = scope_of(arguments)
        section = section_of(self._varnish.read() or "")
        entries = [entry for entry in section.channels if entry.channel == scope.channel] if section else []
        if section is None or not entries:
            return {"text": f"it does not serve {scope.channel}"}
        status = await self._varnish.status()
        if status is None or status.state in {UnitState.STOPPED, UnitState.FAILED}:
            return {"text": "it does not run, and what it had was in memory only"}
        lead_s = lead_of(arguments, checkpoint, context.clock)
        connection = Connection(str(section.listen), section.port, timeout_s=_ANSWER_TIMEOUT_S)
        try:
            return await self._purge(scope, section, entries, connection, context=context, lead_s=lead_s)
        finally:
            connection.close()

    async def _purge(
        self,
        scope: Scope,
        section: ShieldSection,
        entries: list[ShieldChannel],
        connection: Connection,
        *,
        context: Context,
        lead_s: float,
    ) -> JsonObject:
        total: JsonObject = {}
        names = {entry.path: await self._names(scope, entry, connection) for entry in entries}
        context.progress(0.1, f"purging {scope.channel}/{scope.name}")
        began = context.clock.monotonic()
        purged = await self._take_out(scope, entries, connection)
        for entry in entries:

            async def get(name: str, entry: ShieldChannel = entry) -> Response:
                return await connection.get(_target(entry, name))

            proof = await prove(names[entry.path], get, _is_hit, context, began=began, lead_s=lead_s)
            total = added(total, proof.to_json())
        if purged is not None:
            total["purged"] = purged
        return {**total, "text": f"purged on {section.listen}"}

    async def _names(self, scope: Scope, entry: ShieldChannel, connection: Connection) -> tuple[str, ...]:
        if scope.single:
            return (scope.name,)
        found = await listed(lambda name: connection.get(_target(entry, name)))
        return tuple(name for name in found if scope.covers(name))

    async def _take_out(self, scope: Scope, entries: list[ShieldChannel], connection: Connection) -> int | None:
        """How many objects, where Varnish counts them."""
        if scope.whole:
            answer = await connection.request("PURGEKEYS", "/", {CACHE_KEY_HEADER: scope.channel})
            _require(answer, "PURGEKEYS")
            return _count(answer)
        for entry in entries:
            if scope.single:
                _require(await connection.request("PURGE", _target(entry, scope.name)), "PURGE")
            else:
                await self._varnish.ban(f"^{re.escape(_target(entry, scope.name))}")
        return None


def _target(entry: ShieldChannel, name: str) -> str:
    return object_prefix(entry.bucket, entry.channel) + name


def _is_hit(response: Response) -> bool:
    return response.headers.get("x-shield") == "hit"


def _require(answer: Response, method: str) -> None:
    if answer.status != 200:
        raise DriverError(f"Varnish answered {answer.status} to {method}", where=f"unit {UNIT}", remedy=_REMEDY)


def _count(answer: Response) -> int | None:
    """Varnish says it in the reason phrase only, which also stands in the body of its synthetic answers."""
    found = re.search(rb"Purged (\d+)", answer.body)
    return int(found[1]) if found else None
