"""The operation `purge` of a shield: by key what has a tag, an object by PURGE, what an expression matches by a ban."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from nf.contracts.driver import Checkpoint, Context
from nf.contracts.json import JsonObject
from nf.contracts.units import UnitState
from nf.errors import DriverError
from nf.media.documents import CACHE_KEY_HEADER, ShieldChannel, ShieldSection, object_prefix
from nf.media.http import Connection, Response
from nf.media.purge.expression import within
from nf.media.purge.message import Mode, Scope
from nf.media.purge.proof import MAX_PROOFS, added, lead_of, listed, prove
from nf.media.purge.tags import Kind, Tag, kind_of
from nf.media.purge.work import Applied, Selection, Work, work_of
from nf.media.shield.render import section_of
from nf.media.shield.varnish import UNIT, Varnish

_ANSWER_TIMEOUT_S = 10.0
_KEYS_OCTETS: Final = 4_000
"""Varnish takes 8 KiB for a header."""
_REMEDY = "read the log of the unit varnishd"


class ShieldPurge:
    """Arguments and result: see `nf.media.purge.work`. A repetition purges again, which takes nothing that counts."""

    def __init__(self, varnish: Varnish) -> None:
        self._varnish = varnish
        self._applied = Applied(varnish.directory / "purges.json")

    async def run(self, arguments: JsonObject, checkpoint: Checkpoint, context: Context) -> JsonObject:
        """Raises InputError, DriverError when the purge is not acknowledged or not proved, UnavailableError."""
        work = self._applied.complete(work_of(arguments))
        section = section_of(self._varnish.read() or "")
        entries = [entry for entry in section.channels if entry.channel == work.channel] if section else []
        if section is None or not entries:
            return work.answer({"text": f"it does not serve {work.channel}"})
        status = await self._varnish.status()
        if status is None or status.state in {UnitState.STOPPED, UnitState.FAILED}:
            return work.answer({"text": "it does not run, and what it had was in memory only"})
        lead_s = lead_of(arguments, checkpoint, context.clock)
        connection = Connection(str(section.listen), section.port, timeout_s=_ANSWER_TIMEOUT_S)
        try:
            found = await self._purge(work, section, entries, connection, context=context, lead_s=lead_s)
        finally:
            connection.close()
        self._applied.note(work)
        return work.answer(found)

    async def _purge(
        self,
        work: Work,
        section: ShieldSection,
        entries: list[ShieldChannel],
        connection: Connection,
        *,
        context: Context,
        lead_s: float,
    ) -> JsonObject:
        names = {entry.path: await _samples(work, entry, connection) for entry in entries}
        context.progress(0.1, f"purging {work.channel}")
        began = context.clock.monotonic()
        purged = await self._take_out(work, entries, connection)
        total: JsonObject = {}
        for entry in entries:

            async def get_each(some: Sequence[str], entry: ShieldChannel = entry) -> Sequence[Response]:
                return await connection.get_each([_target(entry, name) for name in some])

            cache = f"unit {UNIT} on {section.listen}"
            proof = await prove(names[entry.path], get_each, _word, context, cache=cache, began=began, lead_s=lead_s)
            total = added(total, proof.to_json())
        if purged is not None:
            total["purged"] = purged
        return {**total, "text": f"purged on {section.listen}"}

    async def _take_out(self, work: Work, entries: list[ShieldChannel], connection: Connection) -> int | None:
        """How many objects, where Varnish counts them."""
        keyed = [one for one in work.selections if one.by_tag]
        hard = [str(tag) for one in keyed for tag in _hard_tags(one)]
        soft = [str(one.tag) for one in keyed if one.mode is Mode.REFRESH and one.tag.kind is not Kind.MANIFEST]
        purged = [
            await _purge_keys(connection, "PURGEKEYS", hard),
            await _purge_keys(connection, "SOFTPURGEKEYS", soft),
        ]
        for entry in entries:
            await _purge_objects(work, entry, connection)
            for one in work.selections:
                if one.scope in {Scope.PREFIX, Scope.REGEX}:
                    await self._varnish.ban(_pattern(entry, one))
        return sum(purged) if keyed else None


def _hard_tags(selection: Selection) -> tuple[Tag, ...]:
    """What goes at once. A manifest is never kept for its validator: it is another one with every segment."""
    tag = selection.tag
    if selection.mode is Mode.REFETCH or tag.kind is Kind.MANIFEST:
        return (tag,)
    return (Tag(tag.channel, tag.rendition, Kind.MANIFEST),) if tag.kind is None else ()


async def _samples(work: Work, entry: ShieldChannel, connection: Connection) -> tuple[str, ...]:
    found = await listed(lambda name: connection.get(_target(entry, name))) if work.needs_listing else ()
    return work.samples(found, MAX_PROOFS)


async def _purge_keys(connection: Connection, method: str, keys: list[str]) -> int:
    purged = 0
    for some in _portions(dict.fromkeys(keys)):
        answer = await connection.request(method, "/", {CACHE_KEY_HEADER: some})
        _require(answer.status, method)
        purged += _count(answer)
    return purged


async def _purge_objects(work: Work, entry: ShieldChannel, connection: Connection) -> None:
    asked: dict[str, dict[str, None]] = {"PURGE": {}, "SOFTPURGE": {}}
    for one in work.selections:
        if one.scope is Scope.URL:
            soft = one.mode is Mode.REFRESH and kind_of(one.url.name) is not Kind.MANIFEST
            asked["SOFTPURGE" if soft else "PURGE"][_target(entry, one.url.name)] = None
    for method, targets in asked.items():
        for status in await connection.each(method, tuple(targets)):
            _require(200 if status == 404 else status, method)


def _portions(keys: Iterable[str]) -> Iterator[str]:
    """As many at once as a header holds."""
    some: list[str] = []
    octets = 0
    for key in keys:
        octets += len(key) + 1
        if octets > _KEYS_OCTETS:
            yield " ".join(some)
            some, octets = [], len(key) + 1
        some.append(key)
    if some:
        yield " ".join(some)


def _pattern(entry: ShieldChannel, selection: Selection) -> str:
    if selection.scope is Scope.PREFIX:
        return f"^{re.escape(_target(entry, selection.url.name))}"
    return within(selection.match, "", entry.bucket, entry.channel)


def _target(entry: ShieldChannel, name: str) -> str:
    return object_prefix(entry.bucket, entry.channel) + name


def _word(response: Response) -> str:
    return response.headers.get("x-shield", "")


def _require(status: int, method: str) -> None:
    if status != 200:
        raise DriverError(f"Varnish answered {status} to {method}", where=f"unit {UNIT}", remedy=_REMEDY)


def _count(answer: Response) -> int:
    """Varnish says it in the reason phrase only, which also stands in the body of its synthetic answers."""
    found = re.search(rb"Purged (\d+)", answer.body)
    return int(found[1]) if found else 0
