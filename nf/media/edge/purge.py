"""The operations `purge` and `purge-rules` of an edge.

One object goes by PURGE, all of a channel by a new generation of its maps, what has a tag by PURGE of all that the
index knows of it. What an expression matches, and what is only to be asked whether it is still the same, goes by a rule
of regex_revalidate, as does a tag where the index is not complete: by a rule exactly what matches goes, when it is
asked for next.
"""

from __future__ import annotations

import asyncio
import math
import re
import sqlite3
import uuid
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from nf.contracts.driver import Checkpoint, Context
from nf.contracts.json import Json, JsonObject
from nf.errors import DriverError
from nf.media.documents import HLS_MANIFEST, EdgeChannel, EdgeSection, object_prefix
from nf.media.edge.index import TagIndex
from nf.media.edge.render import PURGE_ALL, hosts, section_of, tls_hosts
from nf.media.edge.rules import BEFORE, END, Rule, Rules
from nf.media.edge.server import UNIT, Server
from nf.media.http import Connection, Response, cache_status
from nf.media.purge.expression import within
from nf.media.purge.message import LASTS, Mode, Scope
from nf.media.purge.proof import MAX_PROOFS, SERVED, added, lead_of, listed, prove
from nf.media.purge.tags import PLAYLIST, Kind, Tag
from nf.media.purge.work import Applied, Selection, Work, work_of

_ANSWER_TIMEOUT_S = 10.0
_LOG_S = 5.0
_POLL_S = 0.1
_KINDS: Final = {
    None: "",
    Kind.MANIFEST: r"(?=[^?]*\.(?:m3u8|mpd)(?:[?]|$))",
    Kind.INIT: r"(?=(?:[^?]*/)?init[^/?]*(?:[?]|$))(?![^?]*\.(?:m3u8|mpd)(?:[?]|$))",
    Kind.SEGMENT: r"(?!(?:[^?]*/)?init[^/?]*(?:[?]|$))(?![^?]*\.(?:m3u8|mpd)(?:[?]|$))",
}
"""What a name below the channel looks like, ahead of it."""


class EdgePurge:
    """Arguments and result: see `nf.media.purge.work`. A repetition purges again, which takes nothing that counts."""

    def __init__(self, server: Server, rules: Rules, index: TagIndex) -> None:
        self._server = server
        self._rules = rules
        self._index = index
        self._applied = Applied(server.places.cache / "purges.json")

    async def run(self, arguments: JsonObject, checkpoint: Checkpoint, context: Context) -> JsonObject:
        """Raises InputError, DriverError when the purge is not acknowledged or not proved, UnavailableError."""
        work = self._applied.complete(work_of(arguments))
        section = section_of(self._server.read_files())
        entries = [entry for entry in section.channels if entry.channel == work.channel] if section else []
        if section is None or not any(_concerns(one, entry) for one in work.selections for entry in entries):
            served: list[Json] = [*sorted({entry.host for entry in entries})]
            asked = next((one.host for one in work.selections if one.host), "") or work.channel
            return work.answer({"text": f"it does not serve {asked}", SERVED: served})
        lead_s = lead_of(arguments, checkpoint, context.clock)
        opened = [(entry, *door) for entry in entries for door in doors(section, entry)]
        maps = [_Map(entry, host, connection, work) for entry, connection, names in opened for host in names]
        try:
            cache = f"unit {UNIT} on {section.listen[0]}"
            total = await self._purge(work, entries, maps, cache=cache, context=context, lead_s=lead_s)
        finally:
            for _, connection, _ in opened:
                connection.close()
        self._applied.note(work)
        return work.answer({**total, "text": f"purged on {section.listen[0]}"})

    async def _purge(
        self,
        work: Work,
        entries: list[EdgeChannel],
        maps: list[_Map],
        *,
        cache: str,
        context: Context,
        lead_s: float,
    ) -> JsonObject:
        known = await self._known(work, maps, context)
        context.progress(0.1, f"purging {work.channel}")
        for one in maps:
            await one.list()
        began = context.clock.monotonic()
        await self._rules.add(
            rule
            for entry in entries
            for one in work.selections
            for rule in _rules(one, entry, known, context.clock.now())
        )
        purged = 0
        for one in maps:
            purged += await one.take_out(known)
        total: JsonObject = {}
        for one in maps:
            proof = await prove(one.samples, one.get_each, word, context, cache=cache, began=began, lead_s=lead_s)
            total = added(total, proof.to_json())
        return total | ({"purged": purged} if purged else {})

    async def _known(self, work: Work, maps: list[_Map], context: Context) -> frozenset[str] | None:
        """The names that the index has of the channel; None when it may lack some, or is not needed."""
        if not any(_by_index(one) for one in work.selections):
            return None

        mark = f"nf-mark={uuid.uuid4().hex}"
        await maps[0].get(f"{HLS_MANIFEST}?{mark}")

        def read() -> bool:
            return self._index.follow(context.clock.now(), mark)

        try:
            # The log is written about a second late: what was fetched until now is in it once the mark is.
            limit = context.clock.monotonic() + _LOG_S
            while not await asyncio.to_thread(read):
                if context.clock.monotonic() > limit:
                    return None
                await context.clock.sleep(_POLL_S)
            if not await asyncio.to_thread(self._index.complete, context.clock.now()):
                return None
            return await asyncio.to_thread(self._index.names, work.channel)
        except (OSError, sqlite3.Error):
            return None


def doors(section: EdgeSection, entry: EdgeChannel) -> Iterator[tuple[Connection, tuple[str, ...]]]:
    """Connections by http and by https, with the forms of the host that each has a map for."""
    address = str(section.listen[0])
    yield Connection(address, section.port, timeout_s=_ANSWER_TIMEOUT_S), hosts(section, entry)
    if section.tls is not None:
        secured = Connection(address, section.tls.port, timeout_s=_ANSWER_TIMEOUT_S, tls_name=entry.host)
        yield secured, tls_hosts(section, entry)


class _Map:
    """One line of the remap table: a channel under one form of its host."""

    def __init__(self, entry: EdgeChannel, host: str, connection: Connection, work: Work) -> None:
        self._entry = entry
        self._host = host
        self._connection = connection
        self._selections = tuple(one for one in work.selections if _concerns(one, entry))
        self._work = work
        self._listed: tuple[str, ...] = ()

    async def list(self) -> None:
        if any(one.scope is not Scope.URL for one in self._selections):
            self._listed = await listed(self.get)

    @property
    def samples(self) -> tuple[str, ...]:
        return self._work.samples(self._listed, MAX_PROOFS) if self._selections else ()

    async def take_out(self, known: frozenset[str] | None) -> int:
        """How many objects went, where Traffic Server says it of each."""
        name, value = PURGE_ALL
        if any(_whole(one) for one in self._selections):
            answer = await self._connection.request("PURGE", self._target(""), {"Host": self._host, name: value})
            _require(answer.status)
            return 0
        names: dict[str, None] = {}
        for one in self._selections:
            if one.mode is Mode.REFETCH and one.scope is Scope.URL:
                names[one.url.name] = None
            elif _by_index(one) and known is not None:
                names.update(dict.fromkeys(name for name in known.union(self._listed) if one.tag.holds(name)))
        statuses = await self._connection.each("PURGE", [self._target(name) for name in names], {"Host": self._host})
        for status in statuses:
            _require(200 if status == 404 else status)  # 404: it was not in the cache
        return statuses.count(200)

    async def get(self, name: str) -> Response:
        return await self._connection.get(self._target(name), {"Host": self._host})

    async def get_each(self, names: Sequence[str]) -> Sequence[Response]:
        return await self._connection.get_each([self._target(name) for name in names], {"Host": self._host})

    def _target(self, name: str) -> str:
        return f"/{self._entry.channel}/{name}"


class EdgeRules:
    """The operation `purge-rules`: the rules that hold now; `delete`: ids of those that are to end before."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules

    async def run(self, arguments: JsonObject, checkpoint: Checkpoint, context: Context) -> JsonObject:  # noqa: ARG002
        """Raises DriverError."""
        wanted = arguments.get("delete")
        ended = await self._rules.end(map(str, wanted)) if isinstance(wanted, list) and wanted else ()
        gone = {rule.text for rule in ended}
        active: list[Json] = [_told(rule) for rule in self._rules.active() if rule.text not in gone]
        deleted: list[Json] = [*sorted({rule.id for rule in ended})]
        return {"text": f"{len(active)} rules", "rules": active, "deleted": deleted}


def word(response: Response) -> str:
    """What Traffic Server says: `hit`; `stale`: it had it, and asked whether it still holds; anything else."""
    return cache_status(response.headers)


def _told(rule: Rule) -> JsonObject:
    return {"id": rule.id, "pattern": rule.pattern, "mode": str(rule.mode), "expires": rule.expires}


def _concerns(selection: Selection, entry: EdgeChannel) -> bool:
    return selection.channel == entry.channel and selection.host in {"", entry.host, *entry.aliases}


def _whole(selection: Selection) -> bool:
    return selection.mode is Mode.REFETCH and selection.by_tag and selection.tag.whole


def _by_index(selection: Selection) -> bool:
    return selection.mode is Mode.REFETCH and selection.by_tag and not selection.tag.whole


def _rules(selection: Selection, entry: EdgeChannel, known: frozenset[str] | None, now: float) -> Iterable[Rule]:
    """What is left to a rule."""
    by_purge = selection.mode is Mode.REFETCH and (
        selection.scope is Scope.URL or _whole(selection) or (_by_index(selection) and known is not None)
    )
    if by_purge or not _concerns(selection, entry):
        return
    expires = math.ceil(selection.expires or now + LASTS.total_seconds())
    yield Rule(selection.order, pattern(selection, entry), expires, selection.mode)


def pattern(selection: Selection, entry: EdgeChannel) -> str:
    """Of the URLs that it selects, as they are after the remap table."""
    prefix = f"^{BEFORE}{re.escape(object_prefix(entry.bucket, entry.channel))}"
    match selection.scope:
        case Scope.URL:
            return f"{prefix}{re.escape(selection.url.name)}{END}"
        case Scope.PREFIX:
            return f"{prefix}{re.escape(selection.url.name)}"
        case Scope.REGEX:
            return within(selection.match, BEFORE, entry.bucket, entry.channel, END)
        case _:
            return prefix + _of_tag(selection.tag)


def _of_tag(tag: Tag) -> str:
    if not tag.rendition:
        return _KINDS[tag.kind]
    name = re.escape(tag.rendition)
    return f"{_KINDS[tag.kind]}{name}(?:/|{re.escape(PLAYLIST)}{END})"


def _require(status: int) -> None:
    if status != 200:
        raise DriverError(
            f"Traffic Server answered {status} to PURGE",
            where=f"unit {UNIT}",
            remedy="see that its remap table is the planned one: nf appliance show",
        )
