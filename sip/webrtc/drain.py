"""Operation `drain` of the drivers `janus` and `turn`: nothing new is begun, until little enough is left.

Arguments: `limit` that may be left (0), `wait_s` to wait at most (600), `end` true: it takes new ones again, nothing
else. It stays drained afterwards, over restarts too, until it is ended; when it is not drained in time or cancelled it
takes new ones again, unless `keep` is true. One that its document drains stays so. Result: `left`, `before`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from nf.contracts.driver import Checkpoint, Context
from nf.contracts.json import JsonObject
from nf.errors import CancelledError, DeadlineError, NfError, RefusedError
from sip.kamailio.drain import WAIT_S, flag, fraction, number
from sip.naming import DRAIN
from sip.webrtc.daemon import Daemon
from sip.webrtc.documents import EdgeSection
from sip.webrtc.places import DRAINED_FILE, Resolve

_POLL_S: Final = 1.0
_BEFORE, _UNTIL = "before", "until"

S = TypeVar("S", bound=EdgeSection)


@dataclass(frozen=True, slots=True)
class _Goal(Generic[S]):
    section: S
    limit: int
    until: float


class Drain(Generic[S]):
    """`standing`: the section of what is here; None: nothing is."""

    def __init__(self, daemon: Daemon[S], standing: Callable[[], S | None], secrets: Resolve) -> None:
        self._daemon = daemon
        self._standing = standing
        self._secrets = secrets

    async def run(self, arguments: JsonObject, checkpoint: Checkpoint, context: Context) -> JsonObject:
        """Raises InputError, RefusedError (nothing of the kind is here), DeadlineError and CancelledError."""
        section = self._standing()
        noun = self._daemon.words[0]
        if section is None:
            raise RefusedError(f"no {noun} is on this appliance", where=DRAIN, remedy="see nf lineup show")
        name, resolve = section.id, context.resolve_secret or self._secrets
        if flag(arguments, "end"):
            if section.drained:
                remedy = "write drained: false there, and commit"
                raise RefusedError(f"{name} is drained by the fleet's document", where=DRAIN, remedy=remedy)
            await self._set(section, resolve, drained=False)
            return {"text": f"{name} takes new {self._daemon.words[1]}s", "left": await self._daemon.load(section)}
        limit, wait_s = int(number(arguments, "limit", 0.0)), number(arguments, "wait_s", WAIT_S)
        found, keep = checkpoint.data.get(_UNTIL), flag(arguments, "keep")
        until = float(found) if isinstance(found, int | float) else context.clock.now() + wait_s
        await self._set(section, resolve, drained=True)
        done = False
        try:
            result = await self._wait(_Goal(section, limit, until), checkpoint, context)
            done = True
            return result
        finally:
            if not done and not keep:
                await self._set(section, resolve, drained=section.drained)

    async def _set(self, section: S, resolve: Resolve, *, drained: bool) -> None:
        """The file first: whatever starts again in between is told by it."""
        if drained:
            await asyncio.to_thread(self._daemon.places.write, DRAINED_FILE, "drained\n")
        else:
            (self._daemon.places.config / DRAINED_FILE).unlink(missing_ok=True)
        await self._daemon.tell(section, resolve, drained=drained)

    async def _wait(self, goal: _Goal[S], checkpoint: Checkpoint, context: Context) -> JsonObject:
        section, limit, until = goal.section, goal.limit, goal.until
        name = section.id
        noun = f"{self._daemon.words[1]}s"
        left = await self._load(section, 0)
        found = checkpoint.data.get(_BEFORE)
        before = found if isinstance(found, int) else left
        checkpoint.save({_BEFORE: before, _UNTIL: until})
        while left > limit:
            if context.cancel.is_set():
                raise CancelledError(f"cancelled with {left:,} {noun} left", where=name)
            if context.clock.now() >= until:
                text = f"{left:,} of {before:,} {noun} are left, more than {limit:,}"
                raise DeadlineError(text, where=name, remedy="wait longer (wait_s), or allow more (limit)")
            context.progress(fraction(before, left, limit), f"{left:,} {noun} left on {name}")
            await context.clock.sleep(_POLL_S)
            left = await self._load(section, left)
        context.progress(1.0, f"{left:,} {noun} left on {name}")
        return {"text": f"{name} is drained: {left:,} {noun} left", "left": left, "before": before}

    async def _load(self, section: S, known: int) -> int:
        """As much as before while it does not answer."""
        try:
            return await self._daemon.load(section)
        except NfError:
            return max(known, 1)
