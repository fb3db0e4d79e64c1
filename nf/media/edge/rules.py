"""Rules of Traffic Server's plugin regex_revalidate: what was stored before a rule and matches it is asked for anew.

The plugin never forgets a rule that leaves its file: it goes on until its time is over (apache/trafficserver 2030). So
a rule is ended by another time, two seconds ahead. It reads the file at a reload, when its time of change is greater
in whole seconds, and writes what it has read into a file of state, which is how a rule is known to be in force.
"""

from __future__ import annotations

import asyncio
import math
import os
import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from nf.clock import Clock
from nf.errors import DriverError, RefusedError
from nf.media.edge.render import GROUP, RULES, RULES_STATE, SHIELD_HOST, USER
from nf.media.edge.server import UNIT, Server
from nf.media.purge.message import Mode

MAX_RULES: Final = 256
"""Each is tried with every answer that the cache has."""
MAX_LINE: Final = 1_800
BEFORE: Final = rf"http://{re.escape(SHIELD_HOST)}(?::80)?"
"""Expression of how a URL begins after the remap table: that is what the plugin sees."""
END: Final = "(?:[?]|$)"
"""Where a path ends: the plugin sees the query too."""

_LINE = re.compile(r"(?P<pattern>\S+?)\(\?#(?P<id>[^)\s]*)\) (?P<expires>\d+) (?P<action>MISS|STALE)")
_ACTIONS: Final = {Mode.REFETCH: "MISS", Mode.REFRESH: "STALE"}
_OVER_S: Final = 2
_POLL_S: Final = 0.05
_EFFECT_S: Final = 20.0
_AGAIN_S: Final = 3.0


@dataclass(frozen=True, slots=True)
class Rule:
    """`id`: of the order that it comes from. `expires`: whole seconds since the epoch."""

    id: str
    pattern: str
    expires: int
    mode: Mode

    @property
    def text(self) -> str:
        """The expression with the id in a comment (PCRE): the plugin keeps the time of an expression that it knows."""
        return f"{self.pattern}(?#{self.id})"

    @property
    def line(self) -> str:
        return f"{self.text} {self.expires} {_ACTIONS[self.mode]}"


def parse_rules(text: str) -> tuple[Rule, ...]:
    """Lines that are none of ours are passed over."""
    modes = {action: mode for mode, action in _ACTIONS.items()}
    found = (_LINE.fullmatch(line) for line in text.splitlines())
    return tuple(
        Rule(one["id"], one["pattern"], int(one["expires"]), modes[one["action"]]) for one in found if one is not None
    )


class Rules:
    """The file lies beside the cache: a rule that a restart forgot would be none."""

    def __init__(self, server: Server, clock: Clock) -> None:
        self._server = server
        self._clock = clock
        self._changing = asyncio.Lock()

    @property
    def _file(self) -> Path:
        return self._server.places.cache / RULES

    def active(self) -> tuple[Rule, ...]:
        now = self._clock.now()
        return tuple(rule for rule in self._read() if rule.expires > now)

    async def add(self, rules: Iterable[Rule]) -> None:
        """In force when it returns. Raises RefusedError (too many), DriverError."""
        async with self._changing:
            kept = {rule.text: rule for rule in self.active()}
            new = {rule.text: rule for rule in rules}
            for text in new.keys() & kept.keys():  # a repetition: what came into the cache since then goes too
                new[text] = replace(new[text], expires=max(new[text].expires, kept[text].expires + 1))
            wanted = kept | new
            if len(wanted) > MAX_RULES:
                raise RefusedError(
                    f"an edge holds {MAX_RULES} rules, and would have {len(wanted)}",
                    where=f"unit {UNIT}",
                    remedy="end some: nf purge rules delete; or purge by tag, which needs none",
                )
            for rule in new.values():
                if len(rule.line) > MAX_LINE:
                    raise RefusedError("the expression is too long for a rule", where=rule.id, remedy="purge by tag")
            if new:
                await self._put(wanted.values(), new)

    async def end(self, ids: Iterable[str]) -> tuple[Rule, ...]:
        """Those that were ended. They hold for two more seconds. Raises DriverError."""
        async with self._changing:
            wanted_ids = frozenset(ids)
            over = math.ceil(self._clock.now()) + _OVER_S
            ended = {rule.text: replace(rule, expires=over) for rule in self.active() if rule.id in wanted_ids}
            if ended:
                kept = {rule.text: rule for rule in self.active()}
                await self._put((kept | ended).values(), ended)
            return tuple(ended.values())

    def _read(self) -> tuple[Rule, ...]:
        try:
            return parse_rules(self._file.read_text())
        except FileNotFoundError:
            return ()
        except (OSError, ValueError) as error:
            raise DriverError(f"cannot read {self._file}: {error}", where=f"unit {UNIT}") from error

    async def _put(self, rules: Iterable[Rule], changed: Mapping[str, Rule]) -> None:
        self._write("".join(f"{rule.line}\n" for rule in rules))
        await self._server.reload()
        began = asked = self._clock.monotonic()
        while not self._in_force(changed):
            now = self._clock.monotonic()
            if now - began > _EFFECT_S:
                raise DriverError(
                    f"Traffic Server did not take {len(changed)} rules within {_EFFECT_S:.0f} s",
                    where=f"unit {UNIT}",
                    remedy="see that its plugin regex_revalidate is loaded; purge again",
                )
            if now - asked > _AGAIN_S:
                await self._server.reload()
                asked = now
            await self._clock.sleep(_POLL_S)

    def _in_force(self, changed: Mapping[str, Rule]) -> bool:
        """Whether the plugin says that it has them, and until when."""
        try:
            told = (self._server.places.cache / RULES_STATE).read_text().splitlines()
        except (OSError, ValueError):
            return False
        held = {(words[0], words[2]) for words in map(str.split, told) if len(words) == 4}
        return all((text, str(rule.expires)) in held for text, rule in changed.items())

    def _write(self, text: str) -> None:
        try:
            last = self._file.stat().st_mtime if self._file.exists() else 0.0
            new = self._file.with_suffix(".new")
            new.write_text(text)
            new.chmod(0o644)
            shutil.chown(new, USER, GROUP)
            changed = max(math.floor(self._clock.now()), math.floor(last) + 1)
            os.utime(new, (changed, changed))
            new.replace(self._file)
        except (LookupError, OSError) as error:
            raise DriverError(f"cannot write {self._file}: {error}", where=f"unit {UNIT}") from error
