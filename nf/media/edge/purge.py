"""The operation `purge` of an edge: one object by PURGE, all of a channel by a new generation of its maps.

Traffic Server cannot find what it has by a key or a prefix. So what is below a prefix goes with the whole channel.
"""

from __future__ import annotations

from collections.abc import Iterator

from nf.contracts.driver import Checkpoint, Context
from nf.contracts.json import JsonObject
from nf.errors import DriverError
from nf.media.documents import EdgeChannel, EdgeSection
from nf.media.edge.render import PURGE_ALL, hosts, section_of, tls_hosts
from nf.media.edge.server import UNIT, Server
from nf.media.http import Connection, Response, cache_status
from nf.media.purge import SERVED, Get, Scope, added, lead_of, listed, prove, scope_of

_ANSWER_TIMEOUT_S = 10.0


class EdgePurge:
    """Arguments and result: see `nf.media.purge`. A repetition purges again, which takes nothing that counts."""

    def __init__(self, server: Server) -> None:
        self._server = server

    async def run(self, arguments: JsonObject, checkpoint: Checkpoint, context: Context) -> JsonObject:
        """Raises InputError, DriverError when the purge is not acknowledged or not proved, UnavailableError."""
        scope = scope_of(arguments)
        section = section_of(self._server.read_files())
        entries = [entry for entry in section.channels if _concerns(scope, entry)] if section else []
        if section is None or not entries:
            channels = section.channels if section else ()
            known = sorted({entry.host for entry in channels if entry.channel == scope.channel})
            return {"text": f"it does not serve {scope.host or scope.channel}", SERVED: [*known]}
        lead_s = lead_of(arguments, checkpoint, context.clock)
        total: JsonObject = {}
        for entry in entries:
            for connection, names in doors(section, entry):
                try:
                    for host in names:
                        done = await _Map(entry, host, connection, context).purge(scope, lead_s)
                        total = added(total, done)
                finally:
                    connection.close()
        below = "" if scope.whole or scope.single else ", with all else of the channel: an edge knows no prefixes"
        return {**total, "text": f"purged on {section.listen[0]}{below}"}


def doors(section: EdgeSection, entry: EdgeChannel) -> Iterator[tuple[Connection, tuple[str, ...]]]:
    """Connections by http and by https, with the forms of the host that each has a map for."""
    address = str(section.listen[0])
    yield Connection(address, section.port, timeout_s=_ANSWER_TIMEOUT_S), hosts(section, entry)
    if section.tls is not None:
        secured = Connection(address, section.tls.port, timeout_s=_ANSWER_TIMEOUT_S, tls_name=entry.host)
        yield secured, tls_hosts(section, entry)


class _Map:
    """One line of the remap table: a channel under one form of its host."""

    def __init__(self, entry: EdgeChannel, host: str, connection: Connection, context: Context) -> None:
        self._entry = entry
        self._host = host
        self._connection = connection
        self._context = context

    async def purge(self, scope: Scope, lead_s: float) -> JsonObject:
        get: Get = self._get
        names = (scope.name,) if scope.single else await listed(get)
        self._context.progress(0.1, f"purging {self._host}/{scope.channel}/{scope.name}")
        began = self._context.clock.monotonic()
        await self._take_out(scope)
        proof = await prove(names, get, is_hit, self._context, began=began, lead_s=lead_s)
        return proof.to_json()

    async def _take_out(self, scope: Scope) -> None:
        name, value = PURGE_ALL
        extra = {} if scope.single else {name: value}
        answer = await self._connection.request("PURGE", self._target(scope.name), {"Host": self._host, **extra})
        # 404: it was not in the cache.
        if answer.status != 200 and not (scope.single and answer.status == 404):
            raise DriverError(
                f"Traffic Server answered {answer.status} to PURGE",
                where=f"unit {UNIT}",
                remedy="see that its remap table is the planned one: nf appliance show",
            )

    async def _get(self, name: str) -> Response:
        return await self._connection.get(self._target(name), {"Host": self._host})

    def _target(self, name: str) -> str:
        return f"/{self._entry.channel}/{name}"


def is_hit(response: Response) -> bool:
    """Whether Traffic Server answered from what it had, or had it and asked whether it still holds."""
    return cache_status(response.headers) in {"hit", "stale"}


def _concerns(scope: Scope, entry: EdgeChannel) -> bool:
    return entry.channel == scope.channel and scope.host in {"", entry.host}
