"""What a cache is asked to do: several orders for one channel at once, and what it has done already."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nf.contracts.json import Json, JsonObject, canonical
from nf.documents.model import RuleError
from nf.errors import InputError, StorageError
from nf.media.purge.message import PURGE, Mode, Scope
from nf.media.purge.tags import Tag, parse_tag
from nf.media.purge.urls import Url, parse_url

_MISSED: Final = "the cache has not what the NOC believes: it was put back to an earlier state"


@dataclass(frozen=True, slots=True)
class Selection:
    """What one match of one order selects in `channel`. `expires`: seconds since the epoch."""

    scope: Scope
    match: str
    mode: Mode
    channel: str
    order: str
    expires: float

    @property
    def tag(self) -> Tag:
        return Tag(self.channel) if self.scope is Scope.ALL else parse_tag(self.match)

    @property
    def url(self) -> Url:
        return parse_url(self.match, below=self.scope is Scope.PREFIX)

    @property
    def by_tag(self) -> bool:
        return self.scope in {Scope.ALL, Scope.TAG}

    @property
    def host(self) -> str:
        """The only host that it is about; empty: every host of the channel."""
        return self.url.host if self.scope in {Scope.URL, Scope.PREFIX} else ""

    def selects(self, name: str) -> bool:
        match self.scope:
            case Scope.ALL | Scope.TAG:
                return self.tag.holds(name)
            case Scope.URL:
                return name == self.url.name
            case Scope.PREFIX:
                return name.startswith(self.url.name)
            case Scope.REGEX:
                return re.search(self.match, f"/{self.channel}/{name}") is not None


@dataclass(frozen=True, slots=True)
class Work:
    """`seqs`: the numbers of the orders. `after`: the last that this cache has acknowledged, as the NOC knows it.
    `lost`: why more than these were missed, so that all of the channel goes."""

    stream: str
    channel: str
    seqs: tuple[int, ...]
    after: int
    lost: str
    selections: tuple[Selection, ...]

    def whole(self, reason: str) -> Work:
        """All of the channel in its place, since something was missed."""
        everything = Selection(Scope.ALL, self.channel, Mode.REFETCH, self.channel, "", 0.0)
        return Work(self.stream, self.channel, self.seqs, self.after, reason, (everything,))

    def samples(self, names: Iterable[str], limit: int) -> tuple[str, ...]:
        """Objects that stand for what is selected: those that are named, then those of `names`."""
        named = (one.url.name for one in self.selections if one.scope is Scope.URL)
        listed = (name for name in names if any(one.selects(name) for one in self.selections))
        found = dict.fromkeys(named)
        found.update(dict.fromkeys(listed))
        return tuple(found)[:limit]

    @property
    def needs_listing(self) -> bool:
        return any(one.scope is not Scope.URL for one in self.selections)

    def answer(self, found: JsonObject) -> JsonObject:
        """The result of an operation: for each order what came of them all."""
        text = f"{found.get('text', '')}; all of {self.channel}: {self.lost}" if self.lost else found.get("text", "")
        each: JsonObject = {str(seq): {**found, "state": "done", "text": text} for seq in self.seqs}
        return {"text": text, "orders": each}


def work_of(arguments: JsonObject) -> Work:
    """Of what the NOC asks. Raises InputError."""
    orders = arguments.get("orders")
    channel = arguments.get("object")
    if not isinstance(orders, list) or not orders or not isinstance(channel, str) or not channel:
        raise InputError("a purge has orders for an object", where=PURGE, remedy="run it by nf purge")
    lost = str(arguments.get("lost", ""))
    found: dict[Selection, None] = {}
    seqs: list[int] = []
    for order in orders:
        if not isinstance(order, dict):
            raise InputError("an order is an object", where=PURGE)
        seqs.append(_whole(order.get("seq")))
        if not lost:
            found.update(dict.fromkeys(_selections(order, channel)))
    work = Work(
        str(arguments.get("stream", "")), channel, tuple(seqs), _whole(arguments.get("after")), lost, tuple(found)
    )
    return work.whole(lost) if lost else work


def _selections(order: JsonObject, channel: str) -> Iterable[Selection]:
    match, expires = order.get("match"), order.get("expires")
    matches = [match] if isinstance(match, str) else match
    try:
        scope, mode = Scope(str(order.get("scope"))), Mode(str(order.get("mode", Mode.REFETCH)))
        for one in matches if isinstance(matches, list) else ():
            limit = float(expires) if isinstance(expires, int | float) else 0.0
            selection = Selection(scope, str(one), mode, channel, str(order.get("id", "")), limit)
            _check(selection)
            yield selection
    except (RuleError, ValueError, re.error) as error:
        raise InputError(f"this selects nothing: {error}", where=PURGE, remedy="run it by nf purge") from None


def _check(selection: Selection) -> None:
    if selection.by_tag and selection.tag.channel != selection.channel:
        raise RuleError(f"{selection.match} is no tag of {selection.channel}")
    if selection.scope in {Scope.URL, Scope.PREFIX} and selection.url.channel != selection.channel:
        raise RuleError(f"{selection.match} is no URL of {selection.channel}")
    if selection.scope is Scope.REGEX:
        re.compile(selection.match)


def _whole(value: Json) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


class Applied:
    """The last number of each stream that this cache has carried out, in a file that lives and dies with the cache."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def of(self, stream: str) -> int | None:
        """None: it has never carried out any, and is as new."""
        return self._read().get(stream)

    def note(self, work: Work) -> None:
        """Durable when it returns. Raises StorageError."""
        if not work.stream:
            return
        applied = self._read()
        value = max(work.seqs, default=0)
        applied[work.stream] = max(applied.get(work.stream, 0), value, work.after)
        new = self._path.with_suffix(".new")
        try:
            new.write_text(canonical(applied))
            new.replace(self._path)
        except OSError as error:
            raise StorageError(f"cannot be written: {error.strerror}", where=str(self._path)) from error

    def complete(self, work: Work) -> Work:
        """The work, or all of the channel when this cache lacks what the NOC believes it has acknowledged."""
        own = self.of(work.stream)
        return work if work.lost or own is None or own >= work.after else work.whole(_MISSED)

    def _read(self) -> dict[str, int]:
        try:
            found = json.loads(self._path.read_text())
        except (OSError, ValueError):
            return {}
        kept: Mapping[object, object] = found if isinstance(found, dict) else {}
        return {str(stream): seq for stream, seq in kept.items() if isinstance(seq, int)}
